//! A span in which there may be ten thousand others, of which some are told.
//!
//! Its children may outlast it, as uploads outlast their cycle. What is kept by the time it ends is told then; the span
//! itself when the last of its children has ended, because it says how many of them were left out.

use std::sync::{Arc, Mutex, PoisonError};

use crate::catalogue::{CHILDREN, FAILED_LEFT_OUT, LEFT_OUT, SpanType};
use crate::picks::{Counts, Most, Picks, Verdict};
use crate::span::{Finished, Role, To};

/// Children that failed and are told, in one group. Beyond that, the first one of each kind of failure.
pub const MOST_FAILED: usize = 64;
/// The slowest children of a group are told.
pub const MOST_SLOW: usize = 16;
/// So many of the others are told, drawn by chance.
pub const MOST_RANDOM: usize = 8;

const MOST: Most = Most { failed: MOST_FAILED, slow: MOST_SLOW, random: MOST_RANDOM };

/// A span of many, with all that was within it.
#[derive(Debug, Default)]
pub(crate) struct Bundle(pub(crate) Mutex<Vec<Finished>>);

/// See the module.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) to: To,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    picks: Picks<Vec<Finished>>,
    /// Children that go on.
    open: usize,
    is_ended: bool,
    /// The span, which waits for them.
    span: Option<Finished>,
}

impl Group {
    /// The group that a span of this type is, if it is one, and its role then.
    pub(crate) fn of(of: &SpanType, to: &To, role: Role) -> (Option<Arc<Self>>, Role) {
        // What is one of many is no group: all of it is kept, or nothing.
        if !of.is_group || !matches!(role, Role::Plain) {
            return (None, role);
        }
        let state = State { picks: Picks::new(MOST), open: 0, is_ended: false, span: None };
        let group = Arc::new(Self { to: to.clone(), state: Mutex::new(state) });
        (Some(Arc::clone(&group)), Role::Group(group))
    }

    pub(crate) fn child_begins(&self) {
        self.lock().open += 1;
    }

    /// What is to be told now.
    #[must_use]
    pub(crate) fn child_ended(&self, verdict: Verdict, spans: Vec<Finished>) -> Vec<Finished> {
        let mut state = self.lock();
        state.open = state.open.saturating_sub(1);
        state.picks.offer(verdict, spans);
        if state.is_ended && state.open == 0 { state.take() } else { Vec::new() }
    }

    /// What is to be told now.
    #[must_use]
    pub(crate) fn end(&self, span: Finished) -> Vec<Finished> {
        let mut state = self.lock();
        state.is_ended = true;
        state.span = Some(span);
        if state.open == 0 { state.take() } else { state.kept() }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn kept(&mut self) -> Vec<Finished> {
        self.picks.take().into_iter().flatten().collect()
    }

    /// All that is kept, and the span.
    fn take(&mut self) -> Vec<Finished> {
        let mut spans = self.kept();
        if let Some(mut span) = self.span.take() {
            let Counts { ended, left_out, failed_left_out } = self.picks.counts();
            span.set(&CHILDREN, ended.into());
            span.set(&LEFT_OUT, left_out.into());
            span.set(&FAILED_LEFT_OUT, failed_left_out.into());
            spans.push(span);
        }
        spans
    }
}
