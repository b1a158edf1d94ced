//! Which upload begins when: the decision, without I/O, clock or messages.
//!
//! ```text
//!            ┌─ first line:  by exposure ──────────┐   limit    budget
//!   offer ───┤                                     ├──▶ ? ──────▶ ? ──────▶ Begin … ended
//!            └─ second line: its last attempt failed┘
//! ```
//!
//! Owns the queue (a database is in it once, because its owner offers it once at a time) and the number of uploads
//! in flight. Called by the uploader, which does what it says; by the simulation, in virtual time.
//!
//! The first line is served by exposure, the largest first. What failed waits in the second line, in the
//! order in which it was tried last: it must neither starve the others nor starve. Its turn comes
//! whenever the first line is empty. Beside a first line that never gets empty (`-put-budget`), one of it
//! is tried at a time; when that fails, the first line gets [`PATIENCE`] times what it cost before the next
//! is tried, and when it succeeds, the next follows at once.

use std::cmp::Reverse;
use std::collections::binary_heap::PeekMut;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use crate::budget::PutBudget;
use crate::flow::AdaptiveLimit;
use crate::scan::DatabaseId;
use crate::shard::{Offer, Outcome, Past};

/// So many failures of the store in a row, and the rest of the cycle's queue is not tried: capturing
/// what cannot be stored costs the host, and helps nobody.
pub(crate) const FAILURES_IN_A_ROW: u32 = 20;
/// Of eight requests, what keeps failing gets one where others wait.
const PATIENCE: u64 = 7;

/// What is to be done next.
#[derive(Debug)]
pub(crate) enum Next<O> {
    /// Begin this upload; [`Dispatcher::ended`] takes the ticket back.
    Begin(Ticket, O, Offer),
    /// Tell the owner that it is not tried now.
    Defer(O, DatabaseId),
    /// Nothing until then, unless something ends, or is offered, before.
    Wait(Duration),
    /// Nothing until something ends or is offered.
    Nothing,
}

/// An upload in flight.
#[derive(Debug)]
#[must_use = "an upload that never ends keeps its place for ever"]
pub(crate) struct Ticket {
    /// One of the second line is tried beside the first: requests spent when it began.
    trial: Option<u64>,
}

/// How an upload ended, as far as it matters to the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ended {
    store: StoreSays,
    failed: bool,
    sent: bool,
}

impl Ended {
    /// `sent`: a request to write was made, or may have been.
    pub(crate) fn of(outcome: &Outcome, sent: bool) -> Self {
        let failed = matches!(outcome, Outcome::Failed(_) | Outcome::Doubtful(..));
        Self { store: StoreSays::of(outcome), failed, sent }
    }

    /// Whether the store was to blame.
    pub(crate) fn is_the_stores_failure(self) -> bool {
        self.store == StoreSays::Broken
    }
}

/// What an upload told about the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StoreSays {
    /// It works.
    Works,
    /// It asks for fewer requests at once.
    SlowDown,
    /// It does not work: down, refusing, not answering.
    Broken,
    /// The store was not asked.
    Nothing,
}

impl StoreSays {
    fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Stored { .. } => Self::Works,
            Outcome::Failed(failure) | Outcome::Doubtful(failure, _) => match failure.kind {
                "slow_down" => Self::SlowDown,
                "unavailable" | "unknown_outcome" | "denied" => Self::Broken,
                _ => Self::Nothing,
            },
            Outcome::Unchanged { .. }
            | Outcome::Vanished
            | Outcome::GivenUp(_)
            | Outcome::Deferred => Self::Nothing,
        }
    }
}

/// See the module. `O` is whom an offer comes from.
#[derive(Debug)]
pub(crate) struct Dispatcher<O> {
    limit: AdaptiveLimit,
    first: BinaryHeap<Queued<O>>,
    /// Databases in it.
    in_first: usize,
    second: VecDeque<(O, Offer)>,
    /// One of the second line is being tried beside the first.
    trial_under_way: bool,
    /// No other one is before so many requests are spent.
    next_trial: u64,
    arrivals: u64,
    in_flight: usize,
    failures_in_a_row: u32,
    draining: bool,
}

/// The largest exposure first; among equals, the first to arrive.
#[derive(Debug)]
struct Queued<O> {
    arrival: u64,
    owner: O,
    offer: Offer,
    /// Those that arrived with it, and of which there is nothing else to say either: in a first cycle, all there are.
    alike: Option<Box<Alike>>,
}

/// The last one first.
#[derive(Debug)]
struct Alike(Vec<DatabaseId>);

impl<O> Queued<O> {
    /// All of them, in the order of their arrival.
    fn into_ids(self) -> (O, impl Iterator<Item = DatabaseId>) {
        let alike = self.alike.map_or_else(Vec::new, |alike| alike.0);
        (self.owner, std::iter::once(self.offer.id).chain(alike.into_iter().rev()))
    }

    fn len(&self) -> usize {
        1 + self.alike.as_ref().map_or(0, |alike| alike.0.len())
    }

    fn order(&self) -> Reverse<(Duration, u64)> {
        Reverse((self.offer.since, self.arrival))
    }
}

impl<O> PartialEq for Queued<O> {
    fn eq(&self, other: &Self) -> bool {
        self.order() == other.order()
    }
}
impl<O> Eq for Queued<O> {}
impl<O> PartialOrd for Queued<O> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<O> Ord for Queued<O> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.order().cmp(&other.order())
    }
}

impl<O: Clone> Dispatcher<O> {
    /// At most `concurrent` uploads at once.
    pub(crate) fn new(concurrent: usize) -> Self {
        Self {
            limit: AdaptiveLimit::new(concurrent),
            first: BinaryHeap::new(),
            in_first: 0,
            second: VecDeque::new(),
            trial_under_way: false,
            next_trial: 0,
            arrivals: 0,
            in_flight: 0,
            failures_in_a_row: 0,
            draining: false,
        }
    }

    /// Takes databases to be backed up.
    pub(crate) fn offer(&mut self, owner: &O, offers: Vec<Offer>) {
        let mut offers = offers.into_iter().peekable();
        while let Some(offer) = offers.next() {
            if offer.has_failed() {
                self.second.push_back((owner.clone(), offer));
                continue;
            }
            let mut alike = Vec::new();
            while let Some(next) = offers.next_if(|next| next.is_like(&offer)) {
                alike.push(next.id);
            }
            alike.reverse();
            alike.shrink_to_fit();
            let alike = (!alike.is_empty()).then(|| Box::new(Alike(alike)));
            self.arrivals += 1;
            let (arrival, owner) = (self.arrivals, owner.clone());
            let queued = Queued { arrival, owner, offer, alike };
            self.in_first += queued.len();
            self.first.push(queued);
        }
    }

    /// The next of the first line.
    fn pop_first(&mut self) -> Option<(O, Offer)> {
        let mut next = self.first.peek_mut()?;
        self.in_first -= 1;
        let following = next.alike.as_mut().and_then(|alike| alike.0.pop());
        let Some(following) = following else {
            let Queued { owner, offer, .. } = PeekMut::pop(next);
            return Some((owner, offer));
        };
        let Offer { id, since, .. } = next.offer;
        next.offer.id = following;
        Some((next.owner.clone(), Offer::new(id, since, Past::default())))
    }

    /// Takes out what waits of some owners.
    pub(crate) fn withdraw(&mut self, is_theirs: impl Fn(&O) -> bool) -> Vec<(O, DatabaseId)> {
        let first = std::mem::take(&mut self.first).into_iter();
        let (out, stay): (Vec<_>, Vec<_>) = first.partition(|queued| is_theirs(&queued.owner));
        self.in_first = stay.iter().map(Queued::len).sum();
        self.first = stay.into();
        let second = std::mem::take(&mut self.second).into_iter();
        let (later, stay): (Vec<_>, Vec<_>) = second.partition(|(owner, _)| is_theirs(owner));
        self.second = stay.into();
        let out = out.into_iter().flat_map(|queued| {
            let (owner, ids) = queued.into_ids();
            ids.map(move |id| (owner.clone(), id))
        });
        out.chain(later.into_iter().map(|(owner, offer)| (owner, offer.id))).collect()
    }

    /// A cycle begins: what did not work may work again.
    pub(crate) fn new_cycle(&mut self) {
        if self.is_broken() {
            // Whoever was tried meanwhile was not to blame.
            self.next_trial = 0;
        }
        self.failures_in_a_row = 0;
    }

    /// From now on nothing begins.
    pub(crate) fn drain(&mut self) {
        self.draining = true;
    }

    /// An upload has ended; `budget` knows its requests. Tells whether the store has now failed so often
    /// that the rest waits for the next cycle.
    #[expect(clippy::needless_pass_by_value, reason = "an upload ends once")]
    pub(crate) fn ended(&mut self, ticket: Ticket, ended: Ended, budget: &mut PutBudget) -> bool {
        let Ended { store, failed, sent } = ended;
        self.in_flight = self.in_flight.saturating_sub(1);
        self.limit.ended(store == StoreSays::SlowDown, self.in_flight);
        if sent {
            budget.sent();
        }
        if let Some(begun) = ticket.trial {
            self.trial_under_way = false;
            let spent = budget.spent();
            let cost = spent.saturating_sub(begun).max(1);
            self.next_trial = if failed { spent + PATIENCE * cost } else { 0 };
        }
        match store {
            StoreSays::Works => self.failures_in_a_row = 0,
            StoreSays::Broken => {
                self.failures_in_a_row += 1;
                return self.failures_in_a_row == FAILURES_IN_A_ROW;
            }
            StoreSays::SlowDown | StoreSays::Nothing => {}
        }
        false
    }

    /// What is to be done next. To be asked until there is nothing.
    pub(crate) fn next(&mut self, budget: &PutBudget) -> Next<O> {
        if self.is_empty() {
            self.first.shrink_to_fit();
            self.second.shrink_to_fit();
            return Next::Nothing;
        }
        if self.draining || self.is_broken() {
            return match self.pop_first().or_else(|| self.second.pop_front()) {
                Some((owner, offer)) => Next::Defer(owner, offer.id),
                None => Next::Nothing,
            };
        }
        if self.in_flight >= self.limit.get() {
            return Next::Nothing;
        }
        if let Err(wait) = budget.ready(self.in_flight) {
            return Next::Wait(wait);
        }
        let spent = budget.spent();
        let may_try = !self.trial_under_way && spent >= self.next_trial;
        let turn_of_second = self.first.is_empty() || may_try;
        let begun = match self.second.pop_front_if(|_| turn_of_second) {
            Some((owner, offer)) => {
                let trial = may_try.then_some(spent);
                self.trial_under_way |= may_try;
                Some((Ticket { trial }, owner, offer))
            }
            None => self.pop_first().map(|(owner, offer)| (Ticket { trial: None }, owner, offer)),
        };
        let Some((ticket, owner, offer)) = begun else { return Next::Nothing };
        self.in_flight += 1;
        Next::Begin(ticket, owner, offer)
    }

    fn is_broken(&self) -> bool {
        self.failures_in_a_row >= FAILURES_IN_A_ROW
    }

    fn is_empty(&self) -> bool {
        self.first.is_empty() && self.second.is_empty()
    }

    /// How many wait for their turn.
    pub(crate) fn waiting(&self) -> usize {
        self.in_first + self.second.len()
    }

    /// How many uploads are under way.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Nothing waits and nothing is in flight.
    pub(crate) fn is_idle(&self) -> bool {
        self.in_flight == 0 && self.is_empty()
    }
}

#[cfg(test)]
#[path = "dispatch_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "dispatch_simulation.rs"]
mod simulation;
