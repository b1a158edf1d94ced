//! The actor that tends the shards in the background: catalogs, retention, verification, and the daily
//! comparison of the bucket with the catalogs.
//!
//! One round at a time, a few shards at once; what is due in each its owner knows. What is under way in a shard
//! that is given back is given up: the next owner does it. Called by the cycle, and by the steward for the last word.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::{StreamExt, stream};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, RpcReplyPort, SpawnErr};
use tokio::sync::Semaphore;
use ultrasimple_cluster::Membership;
use ultrasimple_core::catalog::Edit;
use ultrasimple_core::{Place, ShardKey, Timestamp, Volumes};
use ultrasimple_keeper::reconcile::{self, Budget, Pass, ReconcileReport};
use ultrasimple_keeper::{UpdateError, catalogs};
use ultrasimple_store::StoreError;
use ultrasimple_trace::catalogue as c;

use crate::CycleError;
use crate::agenda::Due;
use crate::extent::ROOM;
use crate::heap;
use crate::roster::Roster;
use crate::shard_owner::{Ask, ShardOwner};
use crate::tending::{TendError, Tender};

/// Shards tended at once, in a round: each holds one catalog in memory.
const AT_ONCE: usize = 8;
/// The time between two rounds.
const ROUND: Duration = Duration::from_secs(15);
/// The time between two comparisons, and in which a budget of requests is to do.
const DAY: Duration = Duration::from_hours(24);
/// How long a comparison that failed, or whose budget is spent, waits.
const HOUR: Duration = Duration::from_hours(1);

/// What the keeper needs.
pub(crate) struct Arguments {
    pub(crate) tender: Arc<Tender>,
    pub(crate) volumes: Volumes,
    pub(crate) roster: Roster,
    pub(crate) membership: Membership,
}

/// A handle to the keeper.
#[derive(Debug, Clone)]
pub(crate) struct Keeper {
    actor: ActorRef<Message>,
    busy: Arc<AtomicBool>,
}

enum Message {
    /// A cycle begins: see what is due. When the bucket was last compared with the catalogs.
    Tick(Option<Timestamp>),
    /// The only cycle has ended: do what is due at once.
    Once(RpcReplyPort<()>),
    /// Tells when all before it is done.
    #[cfg(test)]
    Idle(RpcReplyPort<()>),
}

impl Keeper {
    pub(crate) async fn spawn(
        arguments: Arguments,
        supervisor: ActorCell,
    ) -> Result<Self, SpawnErr> {
        let busy = Arc::new(AtomicBool::new(false));
        let actor = KeeperActor { busy: Arc::clone(&busy) };
        let (actor, _) = Actor::spawn_linked(None, actor, arguments, supervisor).await?;
        Ok(Self { actor, busy })
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
}

struct KeeperActor {
    busy: Arc<AtomicBool>,
}

struct State {
    arguments: Arguments,
    /// When the last round began (monotonic clock).
    round: Option<Duration>,
    /// It told the catalogs much, which their owners have forgotten by the next.
    was_much: bool,
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
        Ok(State { arguments, round: None, was_much: false, comparison: Comparison::default() })
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
                    if std::mem::take(&mut state.was_much) {
                        // Whether it is done yet does not matter to anybody.
                        drop(tokio::task::spawn_blocking(heap::release));
                    }
                    state.was_much = state.arguments.round(Ask::Due).await >= heap::WORTHWHILE;
                    state.compare(reconciled_at, now).await;
                }
                self.busy.store(false, Ordering::Release);
            }
            Message::Once(reply) => {
                state.arguments.round(Ask::Once).await;
                let _ = reply.send(());
            }
            #[cfg(test)]
            Message::Idle(reply) => reply.send(()).unwrap(),
        }
        Ok(())
    }
}

impl Arguments {
    /// The first shard of the first volume, if it is this node's: whoever has it compares the bucket with the
    /// catalogs.
    fn first_shard(&self) -> Option<ShardKey> {
        let first = self.volumes.keys().next()?;
        let place: Place = self.volumes.place_of(&first)?;
        self.roster.get(place).map(|_| first)
    }

    /// Tends all shards in which something is due. Gives the number of databases in the catalogs that were in memory.
    async fn round(&self, ask: Ask) -> u64 {
        let ready = stream::iter(self.roster.ready());
        let room = Semaphore::new(ROOM as usize);
        let room = &room;
        let tended = ready.map(|(_, entry)| async move {
            tend(&self.tender, &self.membership, &entry.owner, ask, Some(room)).await
        });
        tended.buffer_unordered(AT_ONCE).fold(0, async |sum, databases| sum + databases).await
    }
}

/// Does in one shard what is due, or what is asked for. Given up when the shard is given back, unless it is that
/// for which it is done. Waits for `room`: the catalog's share of it. Gives the number of databases in the catalog.
pub(crate) async fn tend(
    tender: &Tender,
    membership: &Membership,
    owner: &ShardOwner,
    ask: Ask,
    room: Option<&Semaphore>,
) -> u64 {
    // An owner that is gone takes the whole tree with it.
    let Ok(Some(job)) = owner.begin_tending(ask).await else { return 0 };
    let (databases, share) = (job.extent.databases, job.extent.share());
    let mut span = tender.tracer.begin(&c::TEND);
    owner.seat().describe(&mut span);
    let key = job.key.object_key();
    let is_final = matches!(ask, Ask::Final | Ask::Once);
    let work = async {
        // Nobody closes it.
        let _permits = match room {
            Some(room) => room.acquire_many(share).await.ok(),
            None => None,
        };
        tender.tend(job, is_final).await
    };
    let tended = tokio::select! {
        biased;
        // Of the last word only who gives the shard back decides how long it may take.
        () = owner.seat().retire.cancelled(), if ask != Ask::Final => {
            owner.end_tending(None);
            return databases;
        }
        tended = span.within(work) => tended,
    };
    match tended {
        Ok(tended) => {
            span.set(&c::DATABASES, tended.facts.extent.databases);
            owner.end_tending(Some(tended));
        }
        Err(error) => {
            span.fail(error.word(), &error);
            owner.end_tending(None);
            tender.counters.catalog_failed();
            if let TendError::Catalog(UpdateError::Fenced { node, epoch }) = &error {
                let what = format!(
                    "a later daemon writes to this bucket: node {node} with epoch {epoch} wrote {key}; this \
                     one stops, so that the two do not overwrite each other"
                );
                tender.counters.fenced();
                membership.report(owner.fenced(*epoch, what)).await;
            } else {
                span.enter(|| {
                    tracing::warn!(%key, %error, "{key} could not be tended, and will be again: {error}");
                });
            }
        }
    }
    databases
}

impl State {
    /// Goes on with the comparison, if it is time.
    async fn compare(&mut self, reconciled_at: Option<Timestamp>, now: Duration) {
        let tender = &self.arguments.tender;
        let per_day = tender.settings.reconcile_requests;
        // One node of all that have a volume in common does it.
        let Some(first) = self.arguments.first_shard().filter(|_| per_day > 0) else {
            self.comparison = Comparison::default();
            return;
        };
        let next = *self.comparison.next.get_or_insert_with(|| {
            let since = reconciled_at.map(|at| tender.clock.now().duration_since(at));
            let since = since.and_then(|since| Duration::try_from(since).ok()).unwrap_or_default();
            now + DAY.saturating_sub(since)
        });
        if now < next {
            return;
        }
        if self.comparison.pass.is_none()
            && let Some(wait) = self.wait(&first).await
        {
            self.comparison.next = Some(now + wait);
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

    /// How much longer to leave it to the nodes of other volumes.
    async fn wait(&self, first: &ShardKey) -> Option<Duration> {
        let tender = &self.arguments.tender;
        match reconcile::wait(&*tender.store, first, tender.clock.now()).await {
            Ok(wait) => wait,
            Err(error) => {
                tracing::warn!(%error, "The bucket could not be compared with the catalogs: {error}");
                Some(HOUR)
            }
        }
    }

    async fn step(&mut self, budget: &mut Budget) -> Result<Option<ReconcileReport>, StoreError> {
        let Arguments { tender, .. } = &self.arguments;
        let store = &*tender.store;
        let mut pass = match self.comparison.pass.take() {
            Some(pass) => pass,
            None => Pass::begin(store, tender.clock.now(), budget).await?,
        };
        let done = pass.go_on(store, &tender.author(None, false), budget).await;
        self.comparison.pass = Some(pass);
        done
    }

    /// Says what was found, has the owners of what changed look again, and notes in one catalog that it was done.
    async fn tell(&self, report: &ReconcileReport) {
        let Arguments { tender, volumes, roster, membership } = &self.arguments;
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
        for key in changed {
            let place = volumes.place_of(key);
            if let Some(entry) = place.and_then(|place| roster.get(place)) {
                tend(tender, membership, &entry.owner, Ask::Look, None).await;
            }
        }
        let Some(first) = self.arguments.first_shard() else { return };
        let edit = [Edit::ReconciledAt(tender.clock.now())];
        // Not as its owner, to whom what was stored meanwhile is to be told.
        let author = tender.author(None, false);
        let noted = catalogs::update(&*tender.store, &first, &author, &edit).await;
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
            Self::Final => write.then_some(Due { write, ..Due::default() }),
            Self::Look => Some(Due { write, ..Due::default() }),
        }
    }
}
