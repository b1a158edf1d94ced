//! The actor that runs the uploads: does what the [`Dispatcher`] says.
//!
//! Owns the uploads in flight, each a task of its own. A panic in one is that database's failure. Called
//! by shard owners, the cycle, and the uploads that end.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use ractor::{
    Actor, ActorCell, ActorProcessingErr, ActorRef, MessagingErr, RpcReplyPort, SpawnErr,
};
use tokio::task::JoinHandle;
use ultrasimple_cluster::{Membership, Report};
use ultrasimple_core::{Footer, Hour, Place};
use ultrasimple_trace::catalogue as c;
use ultrasimple_trace::{Here, Span};

use crate::CycleError;
use crate::backup::{Attempt, Stop, Workshop};
use crate::budget::PutBudget;
use crate::dispatch::{Dispatcher, Ended, FAILURES_IN_A_ROW, Next, Ticket};
use crate::scan::DatabaseId;
use crate::shard::{Failure, Offer, Outcome};
use crate::shard_owner::ShardOwner;
use crate::witness::UploadOutcome;

/// A wait for `-put-budget` that is worth a line in the log, at most once in that time.
const LONG_WAIT: Duration = Duration::from_hours(1);

/// What the uploader needs.
pub(crate) struct Arguments {
    pub(crate) workshop: Arc<Workshop>,
    pub(crate) concurrent: usize,
    /// Outlives the actors: those that are made anew have no more to spend.
    pub(crate) budget: Arc<Mutex<PutBudget>>,
    pub(crate) membership: Membership,
}

/// A handle to the uploader.
#[derive(Debug, Clone)]
pub(crate) struct Uploader(ActorRef<Message>);

enum Message {
    Offer(ShardOwner, Vec<Offer>),
    Ended(Ticket, Ended),
    /// A cycle begins: what did not work may work again. What is begun from now on belongs to it.
    NewCycle(Here),
    /// The put budget may have a request again.
    Refilled,
    WhenIdle(RpcReplyPort<()>),
    /// A shard goes elsewhere: nothing of it that waits is begun.
    Withdraw(Place),
    /// Begin nothing new.
    Drain(RpcReplyPort<()>),
}

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

    /// Tells that a cycle begins, and where it is in its trace.
    pub(crate) fn new_cycle(&self, cycle: Here) {
        let _ = self.0.cast(Message::NewCycle(cycle));
    }

    /// Gives back what waits of a shard.
    pub(crate) fn withdraw(&self, place: Place) {
        let _ = self.0.cast(Message::Withdraw(place));
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
    dispatcher: Dispatcher<ShardOwner>,
    alarm: Option<Alarm>,
    /// When a long wait was last told.
    told: Option<Duration>,
    waiting: Vec<RpcReplyPort<()>>,
    /// The last cycle that began.
    cycle: Here,
}

/// A [`Message::Refilled`] to come.
struct Alarm {
    due: Duration,
    task: JoinHandle<Result<(), MessagingErr<Message>>>,
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
        let dispatcher = Dispatcher::new(arguments.concurrent);
        let (waiting, cycle) = (Vec::new(), Here::default());
        Ok(State { arguments, dispatcher, alarm: None, told: None, waiting, cycle })
    }

    async fn handle(
        &self,
        myself: ActorRef<Message>,
        message: Message,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let budget = Arc::clone(&state.arguments.budget);
        let mut budget = budget.lock().unwrap_or_else(PoisonError::into_inner);
        let workshop = &state.arguments.workshop;
        budget.meter(workshop.store.requests().put_class(), workshop.clock.monotonic());
        match message {
            // Offered while the shard was being withdrawn: in the queue, it would hold up its release.
            Message::Offer(owner, offers) if owner.seat().retire.is_cancelled() => {
                for offer in offers {
                    owner.defer(offer.id);
                }
            }
            Message::Offer(owner, offers) => state.dispatcher.offer(&owner, offers),
            Message::Ended(ticket, ended) => {
                if state.dispatcher.ended(ticket, ended, &mut budget) {
                    let waiting = state.dispatcher.waiting();
                    tracing::error!(
                        waiting,
                        "The store failed {FAILURES_IN_A_ROW} times in a row; {waiting} databases wait \
                         for the next cycle"
                    );
                }
            }
            Message::NewCycle(cycle) => {
                state.cycle = cycle;
                state.dispatcher.new_cycle();
            }
            Message::Refilled => state.alarm = None,
            Message::WhenIdle(reply) => {
                state.waiting.retain(|waiting| !waiting.is_closed());
                state.waiting.push(reply);
            }
            Message::Withdraw(place) => {
                let is_its = |owner: &ShardOwner| owner.seat().place == place;
                for (owner, id) in state.dispatcher.withdraw(is_its) {
                    owner.defer(id);
                }
            }
            Message::Drain(reply) => {
                state.dispatcher.drain();
                state.waiting.push(reply);
            }
        }
        state.act(&myself, &budget);
        let (waiting, in_flight) = (state.dispatcher.waiting(), state.dispatcher.in_flight());
        state.arguments.workshop.counters.dispatching(waiting, in_flight);
        if state.dispatcher.is_idle() {
            for reply in state.waiting.drain(..) {
                let _ = reply.send(());
            }
        }
        Ok(())
    }
}

impl State {
    /// Does what is to be done now.
    fn act(&mut self, myself: &ActorRef<Message>, budget: &PutBudget) {
        loop {
            match self.dispatcher.next(budget) {
                Next::Begin(ticket, owner, offer) => self.begin(myself, ticket, owner, offer),
                Next::Defer(owner, id) => owner.defer(id),
                Next::Wait(wait) => return self.wake_in(myself, wait),
                Next::Nothing => return,
            }
        }
    }

    fn begin(&self, myself: &ActorRef<Message>, ticket: Ticket, owner: ShardOwner, offer: Offer) {
        let upload = Upload {
            workshop: Arc::clone(&self.arguments.workshop),
            membership: self.arguments.membership.clone(),
        };
        let (myself, span) = (myself.clone(), self.cycle.child(&c::BACKUP));
        tokio::spawn(async move {
            let ended = span.here().within(upload.run(owner, offer, span)).await;
            let _ = myself.cast(Message::Ended(ticket, ended));
        });
    }

    /// Looks again in so long, or earlier.
    fn wake_in(&mut self, myself: &ActorRef<Message>, wait: Duration) {
        let now = self.arguments.workshop.clock.monotonic();
        self.tell_long(wait, now);
        let due = now + wait;
        if self.alarm.as_ref().is_some_and(|alarm| alarm.due <= due) {
            return;
        }
        let task = myself.send_after(wait, || Message::Refilled);
        if let Some(Alarm { task, .. }) = self.alarm.replace(Alarm { due, task }) {
            task.abort();
        }
    }

    fn tell_long(&mut self, wait: Duration, now: Duration) {
        let is_news = self.told.is_none_or(|told| now.saturating_sub(told) >= LONG_WAIT);
        if wait >= LONG_WAIT && is_news {
            self.told = Some(now);
            let (waiting, minutes) = (self.dispatcher.waiting(), wait.as_secs() / 60);
            tracing::warn!(
                waiting,
                minutes,
                "The put budget is spent for now: the next upload begins in {minutes} minutes; \
                 {waiting} databases wait"
            );
        }
    }
}

/// The bucket has a backup of a later owner.
fn fenced(owner: &ShardOwner, theirs: &Footer) -> Report {
    let Footer { node, epoch, path, captured_at, .. } = theirs;
    let what = format!(
        "a later daemon writes to this bucket: node {node} with epoch {epoch} stored a backup of {path} at \
         {captured_at}; this one stops, so that the two do not overwrite each other"
    );
    owner.fenced(*epoch, what)
}

/// One upload, from its start to the owner's knowledge of its end.
struct Upload {
    workshop: Arc<Workshop>,
    membership: Membership,
}

impl Upload {
    /// It runs within the span that it tells of.
    async fn run(self, owner: ShardOwner, offer: Offer, mut span: Span) -> Ended {
        let (id, since) = (offer.id, offer.since);
        self.describe(&mut span, &owner, id);
        if owner.seat().retire.is_cancelled() || !self.membership.lease().is_trusted() {
            owner.defer(id);
            return Ended::of(&Outcome::Deferred, false);
        }
        let (clock, counters) = (&self.workshop.clock, &self.workshop.counters);
        let begun = clock.monotonic();
        span.set(&c::EXPOSURE, begun.saturating_sub(since));
        let Attempt { outcome, sent } = self.attempt(&owner, offer).await;
        let ended = Ended::of(&outcome, sent);
        match &outcome {
            Outcome::Failed(failure) | Outcome::Doubtful(failure, _) => {
                counters.failed(failure, ended.is_the_stores_failure());
                span.fail(failure.kind, &failure.reason);
            }
            Outcome::Unchanged { .. } => counters.unchanged(),
            _ => {}
        }
        let now = clock.monotonic();
        let (took, exposure) = (now.saturating_sub(begun), now.saturating_sub(since));
        let came = UploadOutcome::of(&outcome);
        counters.uploaded(came, took, exposure);
        span.set(&c::OUTCOME, came.word());
        owner.settle(id, outcome, span);
        ended
    }

    fn describe(&self, span: &mut Span, owner: &ShardOwner, id: DatabaseId) {
        if !span.is_on() {
            return;
        }
        let table = self.workshop.table.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(path) = table.path(id) {
            span.say(&c::FILE_PATH, &path);
        }
        owner.seat().describe(span);
    }

    async fn attempt(&self, owner: &ShardOwner, offer: Offer) -> Attempt {
        let (clock, counters) = (&self.workshop.clock, &self.workshop.counters);
        let lease = self.membership.lease();
        let this_hour = || Hour::of(clock.now());
        let (id, begun_in) = (offer.id, this_hour());
        let attempt = self.workshop.back_up(id, owner.epoch(), offer.known());
        let attempt = AssertUnwindSafe(attempt).catch_unwind();
        // Whether a request that is given up was made, nobody knows.
        let given_up =
            || Attempt { outcome: Outcome::GivenUp(begun_in.max(this_hour())), sent: true };
        tokio::select! {
            biased;
            () = owner.seat().abort.cancelled() => given_up(),
            () = lease.lost() => given_up(),
            result = attempt => match result {
                Ok(Ok(attempt)) => attempt,
                Ok(Err(Stop::Fenced(theirs))) => {
                    counters.fenced();
                    self.membership.report(fenced(owner, &theirs)).await;
                    given_up()
                }
                Err(_) => {
                    let reason = "the upload panicked, which is a bug, please report it".to_owned();
                    let outcome = Outcome::Doubtful(
                        Failure { kind: "panic", reason },
                        begun_in.max(this_hour()),
                    );
                    Attempt { outcome, sent: true }
                }
            },
        }
    }
}
