//! The actor that tends the shards in the background: catalogs, retention, verification, and the daily
//! comparison of the bucket with the catalogs.
//!
//! One round at a time, a few shards at once; what is due in each its owner knows. A round that is in the way of
//! the end is given up: what it had not done is done by the next start. Called by the cycle.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::{StreamExt, stream};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, RpcReplyPort, SpawnErr};
use tokio_util::sync::CancellationToken;
use ultrasimple_core::catalog::Edit;
use ultrasimple_core::{ShardId, ShardKey, Timestamp, VolumeName};
use ultrasimple_keeper::reconcile::{Budget, Pass, ReconcileReport};
use ultrasimple_keeper::{Author, UpdateError, catalogs};
use ultrasimple_store::StoreError;

use crate::CycleError;
use crate::agenda::Due;
use crate::node::Halt;
use crate::shard_owner::{Ask, ShardOwner};
use crate::tending::{TendError, Tender};

/// Shards tended at once: each holds one catalog in memory.
const AT_ONCE: usize = 4;
/// Shards whose catalogs are written at once at the end, when there is little time.
const AT_ONCE_AT_THE_END: usize = 32;
/// The time between two rounds.
const ROUND: Duration = Duration::from_secs(15);
/// The time between two comparisons, and in which a budget of requests is to do.
const DAY: Duration = Duration::from_hours(24);
/// How long a comparison that failed, or whose budget is spent, waits.
const HOUR: Duration = Duration::from_hours(1);

/// What the keeper needs.
pub(crate) struct Arguments {
    pub(crate) tender: Arc<Tender>,
    pub(crate) volume: VolumeName,
    pub(crate) owners: Vec<ShardOwner>,
    pub(crate) halt: Halt,
}

/// A handle to the keeper.
#[derive(Debug, Clone)]
pub(crate) struct Keeper {
    actor: ActorRef<Message>,
    busy: Arc<AtomicBool>,
    hurry: CancellationToken,
}

enum Message {
    /// A cycle begins: see what is due. When the bucket was last compared with the catalogs.
    Tick(Option<Timestamp>),
    /// The only cycle has ended: do what is due at once.
    Once(RpcReplyPort<()>),
    /// The end: write what the catalogs do not say yet.
    Finish(RpcReplyPort<()>),
    /// Tells when all before it is done.
    #[cfg(test)]
    Idle(RpcReplyPort<()>),
}

impl Keeper {
    pub(crate) async fn spawn(
        arguments: Arguments,
        supervisor: ActorCell,
    ) -> Result<Self, SpawnErr> {
        let (busy, hurry) = (Arc::new(AtomicBool::new(false)), CancellationToken::new());
        let actor = KeeperActor { busy: Arc::clone(&busy), hurry: hurry.clone() };
        let (actor, _) = Actor::spawn_linked(None, actor, arguments, supervisor).await?;
        Ok(Self { actor, busy, hurry })
    }

    pub(crate) fn cell(&self) -> ActorCell {
        self.actor.get_cell()
    }

    /// A cycle begins. Never waits; does nothing while a round is under way.
    pub(crate) fn tick(&self, reconciled_at: Option<Timestamp>) {
        if !self.busy.swap(true, Ordering::AcqRel) {
            // A keeper that is gone takes the whole tree with it; all begins anew.
            let _ = self.actor.cast(Message::Tick(reconciled_at));
        }
    }

    /// Writes the catalogs and deletes what retention gives up, after the only cycle.
    pub(crate) async fn once(&self) -> Result<(), CycleError> {
        crate::node::answer(self.actor.call(Message::Once, None).await, "the keeper")
    }

    /// Waits until what is under way is done.
    #[cfg(test)]
    pub(crate) async fn idle(&self) {
        self.actor.call(Message::Idle, None).await.unwrap();
    }

    /// Gives up what is under way and writes what the catalogs do not say yet.
    pub(crate) async fn finish(&self) -> Result<(), CycleError> {
        self.hurry.cancel();
        crate::node::answer(self.actor.call(Message::Finish, None).await, "the keeper")
    }
}

struct KeeperActor {
    busy: Arc<AtomicBool>,
    hurry: CancellationToken,
}

struct State {
    arguments: Arguments,
    /// When the last round began (monotonic clock).
    round: Option<Duration>,
    comparison: Comparison,
}

/// The comparison of the bucket with the catalogs.
#[derive(Default)]
struct Comparison {
    /// When the next step is due (monotonic clock); unknown before the first round.
    next: Option<Duration>,
    pass: Option<Pass>,
    /// Requests left, and until when these are to do.
    budget: Option<(Budget, Duration)>,
}

impl Actor for KeeperActor {
    type Msg = Message;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(
        &self,
        _: ActorRef<Message>,
        arguments: Arguments,
    ) -> Result<State, ActorProcessingErr> {
        Ok(State { arguments, round: None, comparison: Comparison::default() })
    }

    async fn handle(
        &self,
        _: ActorRef<Message>,
        message: Message,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Message::Tick(reconciled_at) => {
                let now = state.arguments.tender.clock.monotonic();
                if state.round.is_none_or(|round| now.saturating_sub(round) >= ROUND) {
                    state.round = Some(now);
                    let round = async {
                        state.arguments.round(Ask::Due, false, AT_ONCE).await;
                        state.compare(reconciled_at, now).await;
                    };
                    tokio::select! {
                        biased;
                        () = self.hurry.cancelled() => {}
                        () = round => {}
                    }
                }
                self.busy.store(false, Ordering::Release);
            }
            Message::Once(reply) => {
                tokio::select! {
                    biased;
                    () = self.hurry.cancelled() => {}
                    () = state.arguments.round(Ask::Once, true, AT_ONCE) => {}
                }
                let _ = reply.send(());
            }
            #[cfg(test)]
            Message::Idle(reply) => reply.send(()).unwrap(),
            Message::Finish(reply) => {
                state.arguments.round(Ask::Write, true, AT_ONCE_AT_THE_END).await;
                let _ = reply.send(());
            }
        }
        Ok(())
    }
}

impl Arguments {
    /// Tends all shards in which something is due.
    async fn round(&self, ask: Ask, is_final: bool, at_once: usize) {
        let owners = stream::iter(self.owners.clone());
        owners
            .for_each_concurrent(at_once, |owner| async move {
                self.tend(&owner, ask, is_final).await;
            })
            .await;
    }

    async fn tend(&self, owner: &ShardOwner, ask: Ask, is_final: bool) {
        // An owner that is gone takes the whole tree with it.
        let Ok(Some(job)) = owner.begin_tending(ask).await else { return };
        let key = job.key.object_key();
        match self.tender.tend(job, is_final).await {
            Ok(tended) => owner.end_tending(Some(tended)),
            Err(error) => {
                owner.end_tending(None);
                self.tender.counters.catalog_failed();
                if let TendError::Catalog(UpdateError::Fenced { node, epoch }) = &error {
                    self.halt.fenced_by_catalog(&key, node, *epoch);
                } else {
                    tracing::warn!(%key, %error, "{key} could not be tended, and will be again: {error}");
                }
            }
        }
    }
}

impl State {
    /// Goes on with the comparison, if it is time.
    async fn compare(&mut self, reconciled_at: Option<Timestamp>, now: Duration) {
        let tender = &self.arguments.tender;
        let per_day = tender.settings.reconcile_requests;
        if per_day == 0 {
            return;
        }
        let next = *self.comparison.next.get_or_insert_with(|| {
            let since = reconciled_at.map(|at| tender.clock.now().duration_since(at));
            let since = since.and_then(|since| Duration::try_from(since).ok()).unwrap_or_default();
            now + DAY.saturating_sub(since)
        });
        if now < next {
            return;
        }
        let (mut budget, until) = match self.comparison.budget.take() {
            Some((budget, until)) if now < until => (budget, until),
            _ => (Budget(per_day), now + DAY),
        };
        let step = self.step(&mut budget).await;
        self.comparison.budget = Some((budget, until));
        self.comparison.next = Some(match step {
            Ok(Some(report)) => {
                self.comparison.pass = None;
                self.tell(&report).await;
                now + DAY
            }
            Ok(None) => until,
            Err(error) => {
                tracing::warn!(%error, "The bucket could not be compared with the catalogs: {error}");
                now + HOUR
            }
        });
    }

    async fn step(&mut self, budget: &mut Budget) -> Result<Option<ReconcileReport>, StoreError> {
        let Arguments { tender, .. } = &self.arguments;
        let store = &*tender.store;
        let mut pass = match self.comparison.pass.take() {
            Some(pass) => pass,
            None => Pass::begin(store, tender.clock.now(), budget).await?,
        };
        let done = pass.go_on(store, &tender.author(false), budget).await;
        self.comparison.pass = Some(pass);
        done
    }

    /// Says what was found, has the owners of what changed look again, and notes in one catalog that it was done.
    async fn tell(&self, report: &ReconcileReport) {
        let Arguments { tender, volume, owners, .. } = &self.arguments;
        tender.counters.reconciled(report);
        let ReconcileReport { found, missing, foreign, changed, failed } = report;
        let (found, missing, foreign) = (found.len(), missing.len(), foreign.len());
        if found + missing + foreign == 0 {
            tracing::info!("The bucket has what the catalogs say");
        } else {
            tracing::warn!(
                found,
                missing,
                foreign,
                "The bucket is not what the catalogs said: {found} backups were not known, {missing} are \
                 gone, {foreign} objects are no backups of their database; the catalogs say so now"
            );
        }
        for key in &report.missing {
            tracing::error!(%key, "The backup {key} is gone from the bucket");
        }
        for (key, why) in &report.foreign {
            tracing::error!(%key, "The object {key} is not a backup of its database: {why}");
        }
        for (key, why) in failed {
            let key = key.object_key();
            tracing::warn!(%key, "{key} could not be mended: {why}");
        }
        for ShardKey { shard, .. } in changed.iter().filter(|key| key.volume == *volume) {
            if let Some(owner) = owners.get(shard.0 as usize) {
                self.arguments.tend(owner, Ask::Look, false).await;
            }
        }
        let first = match catalogs::list(&*tender.store, Some(volume)).await {
            Ok(keys) => keys.into_iter().next(),
            Err(_) => None,
        };
        let shard = first.map_or(ShardId(0), |key| key.shard);
        let key = ShardKey { volume: volume.clone(), shard };
        let edit = [Edit::ReconciledAt(tender.clock.now())];
        // Not as its owner, to whom what was stored meanwhile is to be told.
        let author = Author { epoch: None, ..tender.author(false) };
        let noted = catalogs::update(&*tender.store, &key, &author, &edit).await;
        if let Err(error) = noted {
            tracing::warn!(%error, "That the bucket was compared could not be noted: {error}");
        }
    }
}

impl Ask {
    /// What to do where the agenda has `due`, and `untold` changes are not in the catalog.
    pub(crate) fn of(self, due: Due, untold: usize) -> Option<Due> {
        let write = untold > 0;
        match self {
            Self::Due => due.is_anything().then_some(due),
            Self::Once => {
                (write || due.prune).then_some(Due { write, prune: due.prune, verify: 0 })
            }
            Self::Write => write.then_some(Due { write, ..Due::default() }),
            Self::Look => Some(Due { write, ..Due::default() }),
        }
    }
}
