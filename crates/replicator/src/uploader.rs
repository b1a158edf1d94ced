//! The actor that decides which upload begins when: the largest exposure first, no more at once than
//! allowed, and no more a month than budgeted.
//!
//! Owns the queue (one entry per database, because owners offer one at a time) and the uploads in
//! flight, each a task of its own. A panic in one is that database's failure. Called by shard owners,
//! the cycle, and the uploads that end.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, RpcReplyPort, SpawnErr};
use tokio_util::sync::CancellationToken;

use crate::CycleError;
use crate::backup::{Attempt, Stop, Workshop};
use crate::flow::{AdaptiveLimit, PutBudget};
use crate::node::Halt;
use crate::shard::{Failure, Offer, Outcome};
use crate::shard_owner::ShardOwner;

/// What the uploader needs.
pub(crate) struct Arguments {
    pub(crate) workshop: Arc<Workshop>,
    pub(crate) concurrent: usize,
    pub(crate) put_budget: Option<u64>,
    /// Cancelled: uploads in flight are given up.
    pub(crate) abort: CancellationToken,
    pub(crate) halt: Halt,
}

/// A handle to the uploader.
#[derive(Debug, Clone)]
pub(crate) struct Uploader(ActorRef<Message>);

enum Message {
    Offer(ShardOwner, Vec<Offer>),
    Ended(Ended),
    /// A cycle begins: what did not work may work again.
    NewCycle,
    /// The put budget may have a request again.
    Refilled,
    WhenIdle(RpcReplyPort<()>),
    /// Begin nothing new.
    Drain(RpcReplyPort<()>),
}

#[derive(Debug, Clone, Copy)]
struct Ended {
    store: StoreSays,
    /// Nothing was sent.
    spared: bool,
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
            Outcome::Failed(failure) => match failure.kind {
                "slow_down" => Self::SlowDown,
                "unavailable" | "unknown_outcome" | "denied" => Self::Broken,
                _ => Self::Nothing,
            },
            Outcome::Unchanged { .. } | Outcome::Vanished | Outcome::Deferred => Self::Nothing,
        }
    }
}

/// So many failures of the store in a row, and the rest of the cycle's queue is not tried: capturing
/// what cannot be stored costs the host, and helps nobody.
const FAILURES_IN_A_ROW: u32 = 20;

impl Uploader {
    pub(crate) async fn spawn(
        arguments: Arguments,
        supervisor: ActorCell,
    ) -> Result<Self, SpawnErr> {
        let (actor, _) = Actor::spawn_linked(None, UploaderActor, arguments, supervisor).await?;
        Ok(Self(actor))
    }

    pub(crate) fn cell(&self) -> ActorCell {
        self.0.get_cell()
    }

    /// Takes databases to back up. Each offer is answered by [`ShardOwner::settle`].
    pub(crate) fn offer(&self, owner: ShardOwner, offers: Vec<Offer>) {
        // An uploader that is gone takes the whole tree with it; all begins anew.
        let _ = self.0.cast(Message::Offer(owner, offers));
    }

    /// Tells that a cycle begins.
    pub(crate) fn new_cycle(&self) {
        let _ = self.0.cast(Message::NewCycle);
    }

    /// Waits until nothing is queued or in flight.
    pub(crate) async fn when_idle(&self) -> Result<(), CycleError> {
        crate::node::answer(self.0.call(Message::WhenIdle, None).await, "the uploader")
    }

    /// Drops the queue and waits until nothing is in flight.
    pub(crate) async fn drain(&self) -> Result<(), CycleError> {
        crate::node::answer(self.0.call(Message::Drain, None).await, "the uploader")
    }
}

struct UploaderActor;

struct State {
    arguments: Arguments,
    limit: AdaptiveLimit,
    budget: Option<PutBudget>,
    queue: BinaryHeap<Queued>,
    arrivals: u64,
    in_flight: usize,
    failures_in_a_row: u32,
    draining: bool,
    awaiting_refill: bool,
    waiting: Vec<RpcReplyPort<()>>,
}

/// First what has not failed yet, then what has: the hopeless must not starve the others (R7). Among those,
/// the largest exposure; among equals, the first to arrive.
struct Queued {
    order: Reverse<(bool, Duration, u64)>,
    owner: ShardOwner,
    offer: Offer,
}

impl PartialEq for Queued {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}
impl Eq for Queued {}
impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Queued {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.order.cmp(&other.order)
    }
}

impl Actor for UploaderActor {
    type Msg = Message;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(
        &self,
        _: ActorRef<Message>,
        arguments: Arguments,
    ) -> Result<State, ActorProcessingErr> {
        let now = arguments.workshop.clock.monotonic();
        Ok(State {
            limit: AdaptiveLimit::new(arguments.concurrent),
            budget: arguments.put_budget.map(|per_month| PutBudget::new(per_month, now)),
            queue: BinaryHeap::new(),
            arrivals: 0,
            in_flight: 0,
            failures_in_a_row: 0,
            draining: false,
            awaiting_refill: false,
            waiting: Vec::new(),
            arguments,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<Message>,
        message: Message,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Message::Offer(owner, offers) => {
                for offer in offers {
                    state.arrivals += 1;
                    let order = Reverse((offer.has_failed, offer.since, state.arrivals));
                    state.queue.push(Queued { order, owner: owner.clone(), offer });
                }
            }
            Message::Ended(ended) => {
                state.in_flight -= 1;
                state.limit.ended(ended.store == StoreSays::SlowDown, state.in_flight);
                state.note(ended.store);
                if let Some(budget) = state.budget.as_mut().filter(|_| ended.spared) {
                    budget.give_back();
                }
            }
            Message::NewCycle => state.failures_in_a_row = 0,
            Message::Refilled => state.awaiting_refill = false,
            Message::WhenIdle(reply) => {
                state.waiting.retain(|waiting| !waiting.is_closed());
                state.waiting.push(reply);
            }
            Message::Drain(reply) => {
                state.draining = true;
                state.waiting.push(reply);
            }
        }
        state.begin(&myself);
        if state.queue.is_empty() {
            state.queue.shrink_to_fit();
        }
        if state.in_flight == 0 && state.queue.is_empty() {
            for reply in state.waiting.drain(..) {
                let _ = reply.send(());
            }
        }
        Ok(())
    }
}

impl State {
    fn note(&mut self, store: StoreSays) {
        match store {
            StoreSays::Works => self.failures_in_a_row = 0,
            StoreSays::Broken => {
                self.failures_in_a_row += 1;
                if self.failures_in_a_row == FAILURES_IN_A_ROW {
                    let waiting = self.queue.len();
                    tracing::error!(
                        waiting,
                        "The store failed {FAILURES_IN_A_ROW} times in a row; {waiting} databases wait \
                         for the next cycle"
                    );
                }
            }
            StoreSays::SlowDown | StoreSays::Nothing => {}
        }
    }

    /// Begins as many uploads as may be in flight.
    fn begin(&mut self, myself: &ActorRef<Message>) {
        if self.draining || self.failures_in_a_row >= FAILURES_IN_A_ROW {
            for queued in self.queue.drain() {
                queued.owner.settle(queued.offer.id, Outcome::Deferred);
            }
        }
        while self.in_flight < self.limit.get() && !self.queue.is_empty() && !self.awaiting_refill {
            if let Some(budget) = &mut self.budget
                && let Err(wait) = budget.take(self.arguments.workshop.clock.monotonic())
            {
                self.awaiting_refill = true;
                drop(myself.send_after(wait, || Message::Refilled));
                return;
            }
            let Some(Queued { owner, offer, .. }) = self.queue.pop() else { return };
            self.in_flight += 1;
            let upload = Upload {
                workshop: Arc::clone(&self.arguments.workshop),
                abort: self.arguments.abort.clone(),
                halt: self.arguments.halt.clone(),
            };
            let myself = myself.clone();
            tokio::spawn(async move {
                let ended = upload.run(owner, offer).await;
                let _ = myself.cast(Message::Ended(ended));
            });
        }
    }
}

/// One upload, from its start to the owner's knowledge of its end.
struct Upload {
    workshop: Arc<Workshop>,
    abort: CancellationToken,
    halt: Halt,
}

impl Upload {
    async fn run(self, owner: ShardOwner, offer: Offer) -> Ended {
        let Offer { id, last, unsure_since, .. } = offer;
        let last = last.map(|last| *last);
        let attempt =
            AssertUnwindSafe(self.workshop.back_up(id, last, unsure_since)).catch_unwind();
        let Attempt { outcome, sent } = tokio::select! {
            biased;
            // Whether a request that is given up was made, nobody knows.
            () = self.abort.cancelled() => Attempt { outcome: Outcome::Deferred, sent: true },
            result = attempt => match result {
                Ok(Ok(attempt)) => attempt,
                Ok(Err(Stop::Fenced(theirs))) => {
                    self.halt.fenced(&theirs);
                    Attempt { outcome: Outcome::Deferred, sent: true }
                }
                Err(_) => {
                    let reason = "the upload panicked, which is a bug, please report it".to_owned();
                    let outcome = Outcome::Failed(Failure { kind: "panic", reason });
                    Attempt { outcome, sent: true }
                }
            },
        };
        let counters = &self.workshop.counters;
        match &outcome {
            Outcome::Failed(_) => counters.failed(),
            Outcome::Unchanged { .. } => counters.unchanged(),
            _ => {}
        }
        let store = StoreSays::of(&outcome);
        owner.settle(id, outcome);
        Ended { store, spared: !sent }
    }
}
