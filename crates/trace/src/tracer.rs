//! Where traces begin.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::SystemTime;

use ultrasimple_core::Clock;

use crate::catalogue::SpanType;
use crate::group::Group;
use crate::ids::{Ids, TraceId};
use crate::span::{Finished, Place, Role, Span, To};

/// Takes the spans that have ended, and are to be told. It must return at once: uploads wait for it.
pub trait Sink: Debug + Send + Sync {
    /// Takes them.
    fn take(&self, spans: Vec<Finished>);
}

/// Which traces are made at all, decided when they begin.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sampler {
    /// All.
    All,
    /// None.
    None,
    /// This part of all, between 0 and 1, by their ids: whoever knows a trace decides alike.
    Part(f64),
}

impl Sampler {
    fn takes(self, TraceId(id): TraceId) -> bool {
        match self {
            Self::All => true,
            Self::None => false,
            Self::Part(part) => {
                // As the specification has it: by 63 bits of the lower half.
                #[expect(
                    clippy::cast_precision_loss,
                    clippy::cast_possible_truncation,
                    reason = "a part"
                )]
                let drawn = (id as u64 >> 1) as f64 / (1u64 << 63) as f64;
                drawn < part
            }
        }
    }
}

/// Begins traces. One that is off begins none. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct Tracer(Option<Arc<Shared>>);

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Ids,
    pub(crate) sink: Arc<dyn Sink>,
    sampler: Sampler,
}

impl Tracer {
    /// One that traces nothing.
    pub const fn off() -> Self {
        Self(None)
    }

    /// One that traces what `sampler` takes.
    pub fn new(sink: Arc<dyn Sink>, sampler: Sampler, clock: Arc<dyn Clock>) -> Self {
        if sampler == Sampler::None {
            return Self::off();
        }
        Self(Some(Arc::new(Shared { clock, ids: Ids::default(), sink, sampler })))
    }

    /// Whether it traces anything.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Begins a trace with this span.
    pub fn root(&self, of: &'static SpanType) -> Span {
        let Some(shared) = &self.0 else { return Span::off() };
        let context = shared.ids.trace();
        if !shared.sampler.takes(context.trace) {
            return Span::off();
        }
        let (wall, monotonic) = (SystemTime::from(shared.clock.now()), shared.clock.monotonic());
        let zero = wall.checked_sub(monotonic).unwrap_or(SystemTime::UNIX_EPOCH);
        let (group, role) = Group::of(of, &To::Sink, Role::Plain);
        let place = Place { shared: Arc::clone(shared), context, zero, to: To::Sink, group };
        Span::begin(of, None, place, role)
    }

    /// Begins a child of the span that the code runs in; where that is none, a trace.
    pub fn begin(&self, of: &'static SpanType) -> Span {
        if crate::context().is_some() { crate::child(of) } else { self.root(of) }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
