//! The actor that has the shards of this node made, read in, and given back, as the cluster says.
//!
//! ```text
//!   assigned ──▶ New ──catalog read──▶ Ready ──to go elsewhere──▶ Releasing ──▶ (reported, gone)
//!                 └──────────── taken away: ended at once ────────────┘
//! ```
//!
//! It is the only one that writes the [`Roster`]. Reading catalogs and giving shards back are tasks beside it, a
//! bounded number at once. Called when the assignments change, and by the cycle.

use std::collections::HashSet;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use futures::{StreamExt, stream};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, RpcReplyPort, SpawnErr};
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::{CancellationToken, DropGuard};
use ultrasimple_cluster::{Assignment, Assignments, Membership, Phase, Report};
use ultrasimple_core::config::VerifyPercent;
use ultrasimple_core::{Clock, Epoch, Place, ShardKey, Volumes};
use ultrasimple_keeper::catalogs;
use ultrasimple_trace::catalogue as c;
use ultrasimple_trace::{Here, Span, child};

use crate::CycleError;
use crate::heap;
use crate::keeper::tend;
use crate::recall::{RecallError, Recollection, Trust, recall};
use crate::roster::{Entry, Roster, Stage};
use crate::scan::Table;
use crate::shard_owner::{self, Ask, Seat, ShardOwner};
use crate::tending::Tender;
use crate::tree::Namer;
use crate::uploader::Uploader;

/// Catalogs read, and shards given back, at once.
const AT_ONCE: usize = 32;
/// For so many catalogs it is cheaper to find out first which there are.
const WORTH_A_LISTING: usize = 16;
/// What was given up gets so long to notice.
const GIVEN_UP: Duration = Duration::from_secs(5);

/// What the steward needs.
#[derive(Clone)]
pub(crate) struct Arguments {
    pub(crate) membership: Membership,
    pub(crate) roster: Roster,
    pub(crate) volumes: Volumes,
    pub(crate) uploader: Uploader,
    pub(crate) tender: Arc<Tender>,
    pub(crate) table: Arc<RwLock<Table>>,
    pub(crate) namer: Arc<Namer>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) min_upload_interval: Duration,
    pub(crate) verify_percent: VerifyPercent,
    /// How long what is in flight may take when a shard is given back.
    pub(crate) drain_timeout: Duration,
    /// The actors were made anew, and have forgotten what they did under these grants.
    pub(crate) is_second_life: bool,
    /// Cancelled: uploads in flight are given up.
    pub(crate) abort: CancellationToken,
    /// Told when a shard became ready.
    pub(crate) gained: Arc<Notify>,
    /// Whom the owners' ends are told.
    pub(crate) supervisor: ActorCell,
}

/// A handle to the steward.
#[derive(Debug, Clone)]
pub(crate) struct Steward(ActorRef<Message>);

enum Message {
    /// The assignments are others.
    Assigned,
    /// What the catalog of a shard says was read, or could not be.
    Recalled(Place, Epoch, Box<Result<Option<Recollection>, RecallError>>),
    /// A cycle begins: what could not be read may be readable now.
    Retry,
    /// Tells, when no catalog is being read, why some could not be.
    Settled(RpcReplyPort<Option<String>>),
}

impl Steward {
    pub(crate) async fn spawn(arguments: Arguments) -> Result<Self, SpawnErr> {
        let supervisor = arguments.supervisor.clone();
        let (actor, _) = Actor::spawn_linked(None, StewardActor, arguments, supervisor).await?;
        Ok(Self(actor))
    }

    pub(crate) fn cell(&self) -> ActorCell {
        self.0.get_cell()
    }

    /// A cycle begins.
    pub(crate) fn retry(&self) {
        let _ = self.0.cast(Message::Retry);
    }

    /// Waits until no catalog is being read, and gives the reason if some could not be.
    pub(crate) async fn settled(&self) -> Result<Option<String>, CycleError> {
        crate::node::answer(self.0.call(Message::Settled, None).await, "the steward")
    }
}

struct StewardActor;

struct State {
    arguments: Arguments,
    reading: HashSet<(Place, Epoch)>,
    /// Databases of which catalogs told, in this reading.
    recalled: u64,
    /// Why a catalog could not be read, as it was last told.
    unread: Option<String>,
    waiting: Vec<RpcReplyPort<Option<String>>>,
    turns: Arc<Semaphore>,
    /// Ends the task that watches the assignments.
    _watching: DropGuard,
}

impl Actor for StewardActor {
    type Msg = Message;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(
        &self,
        myself: ActorRef<Message>,
        arguments: Arguments,
    ) -> Result<State, ActorProcessingErr> {
        let stop = CancellationToken::new();
        tokio::spawn(watch(arguments.membership.clone(), myself.clone(), stop.clone()));
        let mut state = State {
            arguments,
            reading: HashSet::new(),
            recalled: 0,
            unread: None,
            waiting: Vec::new(),
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            _watching: stop.drop_guard(),
        };
        state.adopt(&myself).await?;
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<Message>,
        message: Message,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Message::Assigned => state.adopt(&myself).await?,
            Message::Recalled(place, epoch, outcome) => state.recalled(place, epoch, *outcome),
            Message::Retry => state.read_catalogs(&myself),
            Message::Settled(reply) => state.waiting.push(reply),
        }
        if state.reading.is_empty() {
            for reply in state.waiting.drain(..) {
                let _ = reply.send(state.unread.clone());
            }
        }
        Ok(())
    }
}

/// Tells the steward when the assignments change.
async fn watch(membership: Membership, steward: ActorRef<Message>, stop: CancellationToken) {
    let mut assignments = membership.watch();
    loop {
        let changed = tokio::select! {
            () = stop.cancelled() => return,
            changed = assignments.changed() => changed,
        };
        if changed.is_err() || steward.cast(Message::Assigned).is_err() {
            return;
        }
    }
}

impl State {
    /// Makes the roster what the assignments say.
    async fn adopt(&mut self, myself: &ActorRef<Message>) -> Result<(), SpawnErr> {
        let assignments = self.arguments.membership.assignments();
        let Arguments { roster, volumes, uploader, .. } = &self.arguments;
        for (place, entry) in roster.entries() {
            let assigned = assignments.get(&entry.owner.seat().shard);
            if assigned.map(|assigned| assigned.grant.epoch) != Some(entry.owner.epoch()) {
                roster.remove(place);
                uploader.withdraw(place);
                entry.owner.end();
            }
        }
        // What is given back at once is one trace.
        let mut give_back = None;
        for (shard, assignment) in assignments.iter() {
            match volumes.place_of(shard) {
                Some(place) => self.assign(shard, place, *assignment, &mut give_back).await?,
                None => {
                    tracing::error!(%shard, "The shard {shard} is on none of this node's volumes");
                }
            }
        }
        self.read_catalogs(myself);
        Ok(())
    }

    async fn assign(
        &self,
        shard: &ShardKey,
        place: Place,
        assignment: Assignment,
        give_back: &mut Option<Span>,
    ) -> Result<(), SpawnErr> {
        let Arguments { roster, membership, tender, .. } = &self.arguments;
        let Assignment { grant, phase } = assignment;
        match (roster.get(place), phase) {
            (None, Phase::Owned) => self.seat(shard, place, assignment).await,
            // Nothing was begun.
            (None, Phase::Releasing) => {
                let (membership, shard, epoch) = (membership.clone(), shard.clone(), grant.epoch);
                let released = Report::Released { shard, epoch, catalog: None };
                tokio::spawn(async move { membership.report(released).await });
                Ok(())
            }
            (Some(_), Phase::Owned) => Ok(()),
            (Some(entry), Phase::Releasing) => {
                if entry.stage != Stage::Releasing {
                    roster.update(place, grant.epoch, |entry| entry.stage = Stage::Releasing);
                    let give_back =
                        give_back.get_or_insert_with(|| tender.tracer.root(&c::GIVE_BACK));
                    self.release(entry, give_back.here().child(&c::HAND_OVER));
                }
                Ok(())
            }
        }
    }

    /// Makes the owner of a shard.
    async fn seat(
        &self,
        shard: &ShardKey,
        place: Place,
        assignment: Assignment,
    ) -> Result<(), SpawnErr> {
        let Arguments { roster, uploader, table, namer, clock, abort, .. } = &self.arguments;
        let abort = abort.child_token();
        let seat = Seat {
            shard: shard.clone(),
            place,
            grant: assignment.grant,
            retire: abort.child_token(),
            abort,
        };
        let arguments = shard_owner::Arguments {
            seat: Arc::new(seat),
            uploader: uploader.clone(),
            table: Arc::clone(table),
            namer: Arc::clone(namer),
            clock: Arc::clone(clock),
            min_upload_interval: self.arguments.min_upload_interval,
            verify_percent: self.arguments.verify_percent,
        };
        let owner = ShardOwner::spawn(arguments, self.arguments.supervisor.clone()).await?;
        let (stage, since) = (Stage::New, clock.now());
        roster.insert(place, Entry { owner, stage, since, reconciled_at: None });
        Ok(())
    }

    /// Has the catalogs read of all shards that need it.
    fn read_catalogs(&mut self, myself: &ActorRef<Message>) {
        let Arguments { roster, tender, membership, is_second_life, .. } = &self.arguments;
        let unread = roster.entries().into_iter().filter_map(|(place, entry)| {
            let is_due =
                entry.stage == Stage::New && self.reading.insert((place, entry.owner.epoch()));
            is_due.then_some(entry.owner)
        });
        let unread: Vec<_> = unread.collect();
        if !unread.is_empty() {
            let reading = Reading {
                steward: myself.clone(),
                tender: Arc::clone(tender),
                membership: membership.clone(),
                is_second_life: *is_second_life,
            };
            tokio::spawn(reading.run(unread));
        }
    }

    fn recalled(
        &mut self,
        place: Place,
        epoch: Epoch,
        outcome: Result<Option<Recollection>, RecallError>,
    ) {
        self.reading.remove(&(place, epoch));
        let recollection = match outcome {
            Ok(recollection) => recollection,
            Err(error) => {
                let error = error.to_string();
                if self.unread.as_ref() != Some(&error) {
                    tracing::warn!(%error, "Catalogs cannot be read now; their shards wait: {error}");
                }
                self.unread = Some(error);
                return;
            }
        };
        if self.reading.is_empty() {
            self.unread = None;
        }
        let lacks_catalog = recollection.is_none();
        self.recalled += recollection.as_ref().map_or(0, |found| found.databases.len() as u64);
        self.arguments.roster.update(place, epoch, |entry| {
            if let Some(recollection) = recollection {
                entry.reconciled_at = recollection.reconciled_at;
                entry.owner.recall(recollection);
            }
            if entry.stage == Stage::New {
                entry.stage = Stage::Ready { is_observed: false, lacks_catalog };
            }
        });
        if self.reading.is_empty() {
            self.arguments.gained.notify_one();
            if std::mem::take(&mut self.recalled) >= heap::WORTHWHILE {
                // Before the scan takes as much again. Whether it is done yet does not matter to anybody.
                drop(tokio::task::spawn_blocking(heap::release));
            }
        }
    }

    /// Gives a shard back: what is in flight ends, its catalog says all, and the cluster hears of it.
    fn release(&self, entry: Entry, mut span: Span) {
        let Arguments { membership, uploader, tender, drain_timeout, .. } = self.arguments.clone();
        let turns = Arc::clone(&self.turns);
        let owner = entry.owner;
        tokio::spawn(async move {
            owner.seat().describe(&mut span);
            let last_word = async {
                owner.seat().retire.cancel();
                uploader.withdraw(owner.seat().place);
                let mut quiet = tokio::time::timeout(drain_timeout, owner.quiet()).await;
                if quiet.is_err() {
                    owner.seat().abort.cancel();
                    quiet = tokio::time::timeout(GIVEN_UP, owner.quiet()).await;
                }
                match (quiet, entry.stage) {
                    // What its catalog says was never read.
                    (_, Stage::New) | (Err(_), _) => None,
                    (Ok(_), _) => {
                        let _turn = turns.acquire_owned().await;
                        let told = async {
                            tend(&tender, &membership, &owner, Ask::Final, None).await;
                            owner.quiet().await
                        };
                        tokio::time::timeout(drain_timeout, told).await.ok().flatten()
                    }
                }
            };
            let last_word = async { child(&c::RELEASE).within(last_word).await };
            let catalog = span.within(last_word).await;
            let Seat { shard, grant, .. } = owner.seat();
            let (shard, epoch) = (shard.clone(), grant.epoch);
            membership.report(Report::Released { shard, epoch, catalog }).await;
            if span.is_on() {
                let is_gone = |now: &Arc<Assignments>| {
                    now.get(&owner.seat().shard).is_none_or(|now| now.grant.epoch != epoch)
                };
                // When nobody tells any more, nobody will know better.
                let _ = membership.watch().wait_for(is_gone).await;
            }
        });
    }
}

/// The reading of some catalogs.
struct Reading {
    steward: ActorRef<Message>,
    tender: Arc<Tender>,
    membership: Membership,
    is_second_life: bool,
}

impl Reading {
    async fn run(self, owners: Vec<ShardOwner>) {
        let span = self.tender.tracer.root(&c::TAKE_OVER);
        let there = if owners.len() >= WORTH_A_LISTING { self.list(&owners).await } else { None };
        let reads = stream::iter(owners).for_each_concurrent(AT_ONCE, |owner| {
            let is_there = there.as_ref().is_none_or(|there| there.contains(&owner.seat().shard));
            self.read(owner, is_there, span.here())
        });
        reads.await;
    }

    /// Which catalogs there are; `None` where that cannot be told, and each is to be asked for.
    async fn list(&self, owners: &[ShardOwner]) -> Option<HashSet<ShardKey>> {
        let volumes: HashSet<_> = owners.iter().map(|owner| &owner.seat().shard.volume).collect();
        let mut there = HashSet::new();
        for volume in volumes {
            there.extend(catalogs::list(&*self.tender.store, Some(volume)).await.ok()?);
        }
        Some(there)
    }

    async fn read(&self, owner: ShardOwner, is_there: bool, take_over: Here) {
        let seat = owner.seat();
        let mut span = take_over.child(&c::CLAIM);
        seat.describe(&mut span);
        let trust = if self.is_second_life { Trust::None } else { Trust::Grant(seat.grant) };
        let recalled = span.within(recall(&self.tender, seat, trust));
        let outcome = if is_there { recalled.await } else { Ok(None) };
        match &outcome {
            Ok(Some(found)) => span.set(&c::DATABASES, found.databases.len()),
            Ok(None) => span.set(&c::DATABASES, 0usize),
            Err(error) => span.fail(error.word(), error),
        }
        drop(span);
        if let Err(error @ RecallError::Fenced { epoch, .. }) = &outcome {
            self.membership.report(owner.fenced(*epoch, error.to_string())).await;
        }
        let told = Message::Recalled(seat.place, seat.grant.epoch, Box::new(outcome));
        let _ = self.steward.cast(told);
    }
}
