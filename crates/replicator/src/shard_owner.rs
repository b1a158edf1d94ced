//! The actor that owns a shard: feeds [`Shard`] and hands its offers to the uploader.
//!
//! Owns what is known of the shard's databases. Does no I/O of its own. Called by the cycle and by the
//! uploads that end.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, RpcReplyPort, SpawnErr};
use ultrasimple_core::{Clock, FingerprintDigest};

use crate::CycleError;
use crate::scan::{DatabaseId, Table};
use crate::shard::{DAMAGED, Failing, Glance, Outcome, Shard};
use crate::uploader::Uploader;

/// How long an owner may take to answer: it does nothing slow.
const ANSWER: Duration = Duration::from_secs(30);

/// What owners need.
#[derive(Clone)]
pub(crate) struct Arguments {
    pub(crate) uploader: Uploader,
    pub(crate) table: Arc<RwLock<Table>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) min_upload_interval: Duration,
}

/// A handle to one owner.
#[derive(Debug, Clone)]
pub(crate) struct ShardOwner(ActorRef<Message>);

enum Message {
    Observe(Vec<(DatabaseId, FingerprintDigest)>, Arc<[DatabaseId]>, RpcReplyPort<usize>),
    Settle(DatabaseId, Outcome),
    Glance(RpcReplyPort<Glance>),
}

impl ShardOwner {
    pub(crate) async fn spawn(
        arguments: Arguments,
        supervisor: ActorCell,
    ) -> Result<Self, SpawnErr> {
        let (actor, _) = Actor::spawn_linked(None, OwnerActor, arguments, supervisor).await?;
        Ok(Self(actor))
    }

    pub(crate) fn cell(&self) -> ActorCell {
        self.0.get_cell()
    }

    /// Takes in what a scan saw, and offers all that wait. Returns how many it offered.
    pub(crate) async fn observe(
        &self,
        changed: Vec<(DatabaseId, FingerprintDigest)>,
        gone: Arc<[DatabaseId]>,
    ) -> Result<usize, CycleError> {
        self.ask(|reply| Message::Observe(changed, gone, reply)).await
    }

    /// Takes in how an upload ended.
    pub(crate) fn settle(&self, id: DatabaseId, outcome: Outcome) {
        // An owner that is gone has forgotten all it knew: its successor begins anew.
        let _ = self.0.cast(Message::Settle(id, outcome));
    }

    pub(crate) async fn glance(&self) -> Result<Glance, CycleError> {
        self.ask(Message::Glance).await
    }

    async fn ask<T: Send + 'static>(
        &self,
        message: impl FnOnce(RpcReplyPort<T>) -> Message,
    ) -> Result<T, CycleError> {
        crate::node::answer(self.0.call(message, Some(ANSWER)).await, "a shard owner")
    }
}

struct OwnerActor;

struct State {
    shard: Shard,
    arguments: Arguments,
}

impl Actor for OwnerActor {
    type Msg = Message;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(
        &self,
        _: ActorRef<Message>,
        arguments: Arguments,
    ) -> Result<State, ActorProcessingErr> {
        Ok(State { shard: Shard::default(), arguments })
    }

    async fn handle(
        &self,
        myself: ActorRef<Message>,
        message: Message,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let now = state.arguments.clock.monotonic();
        match message {
            Message::Observe(changed, gone, reply) => {
                state.shard.observe(&changed, &gone, now);
                let offers = state.shard.offers(now, state.arguments.min_upload_interval);
                let count = offers.len();
                if count > 0 {
                    state.arguments.uploader.offer(ShardOwner(myself), offers);
                }
                // A caller that no longer waits needs no answer.
                let _ = reply.send(count);
            }
            Message::Settle(id, outcome) => state.settle(id, outcome, now),
            Message::Glance(reply) => {
                let _ = reply.send(state.shard.glance(now));
            }
        }
        Ok(())
    }
}

impl State {
    fn settle(&mut self, id: DatabaseId, outcome: Outcome, now: Duration) {
        let before = self.shard.failing(id).map(|failing| failing.failure.kind);
        self.shard.settle(id, outcome, now);
        let after = self.shard.failing(id);
        if before.is_none() && after.is_none() {
            return;
        }
        let table = self.arguments.table.read().unwrap_or_else(PoisonError::into_inner);
        let Some(path) = table.path(id) else { return };
        let Some(Failing { failure, since, attempts }) = after else {
            tracing::info!(%path, "Backed up again: {path}");
            return;
        };
        if before != Some(failure.kind) || is_worth_repeating(attempts) {
            let failing_seconds = now.saturating_sub(since).as_secs();
            tracing::warn!(
                %path, kind = failure.kind, attempts, failing_seconds,
                "{}: {path}: {}", heading(failure.kind), failure.reason
            );
        }
    }
}

/// What is wrong, in a word or two.
fn heading(kind: &str) -> &'static str {
    if kind == DAMAGED { "Damaged" } else { "Not backed up" }
}

/// The 10th, 100th, … attempt in a row: a failure that lasts is told again, ever more rarely.
fn is_worth_repeating(attempts: u32) -> bool {
    attempts >= 10 && 10u32.checked_pow(attempts.ilog10()) == Some(attempts)
}
