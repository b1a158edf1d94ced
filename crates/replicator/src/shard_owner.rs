//! The actor that owns a shard: feeds [`Shard`] and hands its offers to the uploader.
//!
//! Owns what is known of the shard's databases. Does no I/O of its own. Called by the cycle, by the
//! uploads that end, and by the steward, who made it and ends it.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, RpcReplyPort, SpawnErr};
use tokio_util::sync::CancellationToken;
use ultrasimple_cluster::{Grant, Report};
use ultrasimple_core::config::VerifyPercent;
use ultrasimple_core::{Clock, Epoch, Hour, Place, ShardKey};
use ultrasimple_trace::{Span, catalogue as c};

use crate::CycleError;
use crate::agenda::Agenda;
use crate::keeping::Kept;
use crate::recall::Recollection;
use crate::scan::{DatabaseId, Table};
use crate::scanner::News;
use crate::shard::portrait::{Portrait, Standing};
use crate::shard::{DAMAGED, Failing, Glance, Outcome, Shard};
use crate::tending::{self, Job, Tended};
use crate::tree::Namer;
use crate::uploader::Uploader;

/// How long an owner may take to answer: it does nothing slow.
const ANSWER: Duration = Duration::from_secs(30);

/// What owners need.
#[derive(Clone)]
pub(crate) struct Arguments {
    pub(crate) seat: Arc<Seat>,
    pub(crate) uploader: Uploader,
    pub(crate) table: Arc<RwLock<Table>>,
    pub(crate) namer: Arc<Namer>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) min_upload_interval: Duration,
    pub(crate) verify_percent: VerifyPercent,
}

/// The right to a shard, and what ends it.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) shard: ShardKey,
    pub(crate) place: Place,
    pub(crate) grant: Grant,
    /// Cancelled: nothing new begins; what is in flight may end.
    pub(crate) retire: CancellationToken,
    /// Cancelled: what is in flight is given up.
    pub(crate) abort: CancellationToken,
}

impl Seat {
    /// Says of a span which shard it is about.
    pub(crate) fn describe(&self, span: &mut Span) {
        span.say(&c::VOLUME, &self.shard.volume);
        span.set(&c::SHARD, u64::from(self.shard.shard.0));
        span.set(&c::EPOCH, self.grant.epoch.0);
    }
}

/// What a shard is asked to have done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    /// What is due.
    Due,
    /// What is due, verification excepted, and a catalog that says all.
    Once,
    /// A catalog that says all, for good.
    Final,
    /// To look at the catalog again: somebody else changed it.
    Look,
}

/// A handle to one owner.
#[derive(Debug, Clone)]
pub(crate) struct ShardOwner {
    actor: ActorRef<Message>,
    seat: Arc<Seat>,
}

enum Message {
    Recall(Box<Recollection>),
    Observe(News, RpcReplyPort<usize>),
    Settle(DatabaseId, Outcome, Traced),
    Glance(RpcReplyPort<Glance>),
    Portrait(usize, RpcReplyPort<Portrait>),
    Standings(Vec<DatabaseId>, RpcReplyPort<Vec<Standing>>),
    BeginTending(Ask, RpcReplyPort<Option<Box<Job>>>),
    EndTending(Option<Box<Tended>>),
    Quiet(RpcReplyPort<Option<Epoch>>),
}

/// The upload whose end is told, and the wait until the owner knows.
struct Traced {
    backup: Span,
    commit: Span,
}

impl ShardOwner {
    pub(crate) async fn spawn(
        arguments: Arguments,
        supervisor: ActorCell,
    ) -> Result<Self, SpawnErr> {
        let seat = Arc::clone(&arguments.seat);
        let (actor, _) = Actor::spawn_linked(None, OwnerActor, arguments, supervisor).await?;
        Ok(Self { actor, seat })
    }

    pub(crate) fn cell(&self) -> ActorCell {
        self.actor.get_cell()
    }

    /// The right by which it owns.
    pub(crate) fn seat(&self) -> &Seat {
        &self.seat
    }

    /// The epoch under which it writes.
    pub(crate) fn epoch(&self) -> Epoch {
        self.seat.grant.epoch
    }

    /// What to report when the bucket has something of a later owner.
    pub(crate) fn fenced(&self, by: Epoch, what: String) -> Report {
        Report::Fenced { shard: self.seat.shard.clone(), epoch: self.epoch(), by, what }
    }

    /// Ends it at once: the shard is somebody else's.
    pub(crate) fn end(&self) {
        self.seat.retire.cancel();
        self.seat.abort.cancel();
        self.actor.stop(None);
    }

    /// Waits until nothing of it is in flight; it is retired before. Gives the epoch of the catalog that says all
    /// there is, if one does.
    pub(crate) async fn quiet(&self) -> Option<Epoch> {
        let answer = self.actor.call(Message::Quiet, None).await;
        crate::node::answer(answer, "a shard owner").ok().flatten()
    }

    /// Takes in what the shard's catalog says. To be told before the first scan.
    pub(crate) fn recall(&self, recollection: Recollection) {
        let _ = self.actor.cast(Message::Recall(Box::new(recollection)));
    }

    /// Takes in what a scan saw, and offers all that wait. Returns how many it offered.
    pub(crate) async fn observe(&self, news: News) -> Result<usize, CycleError> {
        self.ask(|reply| Message::Observe(news, reply)).await
    }

    /// What there is to do about the shard's catalog and backups now. Its end is to be told.
    pub(crate) async fn begin_tending(&self, ask: Ask) -> Result<Option<Job>, CycleError> {
        let job = self.ask(|reply| Message::BeginTending(ask, reply)).await?;
        Ok(job.map(|job| *job))
    }

    /// What came of it; `None` when it failed.
    pub(crate) fn end_tending(&self, tended: Option<Tended>) {
        let _ = self.actor.cast(Message::EndTending(tended.map(Box::new)));
    }

    /// Takes in how an upload ended, which ends its span.
    pub(crate) fn settle(&self, id: DatabaseId, outcome: Outcome, backup: Span) {
        let traced = Traced { commit: backup.here().child(&c::COMMIT), backup };
        // An owner that is gone has forgotten all it knew: its successor begins anew.
        let _ = self.actor.cast(Message::Settle(id, outcome, traced));
    }

    /// Takes in that an upload is not tried now.
    pub(crate) fn defer(&self, id: DatabaseId) {
        self.settle(id, Outcome::Deferred, Span::off());
    }

    pub(crate) async fn glance(&self) -> Result<Glance, CycleError> {
        self.ask(Message::Glance).await
    }

    /// The shard as people see it, with no more than `most` failing databases.
    pub(crate) async fn portrait(&self, most: usize) -> Result<Portrait, CycleError> {
        self.ask(|reply| Message::Portrait(most, reply)).await
    }

    /// How each of these databases stands.
    pub(crate) async fn standings(
        &self,
        ids: Vec<DatabaseId>,
    ) -> Result<Vec<Standing>, CycleError> {
        self.ask(|reply| Message::Standings(ids, reply)).await
    }

    async fn ask<T: Send + 'static>(
        &self,
        message: impl FnOnce(RpcReplyPort<T>) -> Message,
    ) -> Result<T, CycleError> {
        crate::node::answer(self.actor.call(message, Some(ANSWER)).await, "a shard owner")
    }
}

struct OwnerActor;

struct State {
    shard: Shard,
    agenda: Agenda,
    kept: Kept,
    /// The epoch of the catalog that says all but what is untold, if one does.
    last_word: Option<Epoch>,
    is_tending: bool,
    waiting: Vec<RpcReplyPort<Option<Epoch>>>,
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
        let agenda = Agenda::new(arguments.clock.monotonic());
        Ok(State {
            shard: Shard::default(),
            agenda,
            kept: Kept::default(),
            last_word: None,
            is_tending: false,
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
        let now = state.arguments.clock.monotonic();
        match message {
            Message::Recall(recollection) => {
                let Recollection { databases, unsure_since, facts, kept, .. } = *recollection;
                state.last_word = recollection.last_word;
                state.shard.recall(databases, unsure_since);
                state.agenda.learn(facts);
                state.kept = kept;
            }
            Message::Observe(news, reply) => {
                state.shard.observe(news, now, state.arguments.clock.now());
                let count = state.offer(myself, now);
                // A caller that no longer waits needs no answer.
                let _ = reply.send(count);
            }
            Message::Settle(id, outcome, Traced { backup, commit }) => {
                backup.enter(|| state.settle(id, outcome, now));
                drop((commit, backup));
            }
            Message::Glance(reply) => {
                let _ = reply.send(state.glance(now));
            }
            Message::Portrait(most, reply) => {
                let _ = reply.send(state.shard.portrait(now, most));
            }
            Message::Standings(ids, reply) => {
                let standings = ids.into_iter().map(|id| state.shard.standing(id));
                let _ = reply.send(standings.collect());
            }
            Message::BeginTending(ask, reply) => {
                let _ = reply.send(state.begin_tending(ask, now).map(Box::new));
            }
            Message::EndTending(Some(tended)) => state.end_tending(*tended, now),
            Message::EndTending(None) => {
                state.is_tending = false;
                state.shard.not_written();
                state.agenda.failed(now);
            }
            Message::Quiet(reply) => state.waiting.push(reply),
        }
        state.tell_quiet();
        Ok(())
    }
}

impl State {
    /// Hands all that wait to the uploader, unless the shard is to go.
    fn offer(&mut self, myself: ActorRef<Message>, now: Duration) -> usize {
        let Arguments { seat, uploader, min_upload_interval, .. } = &self.arguments;
        if seat.retire.is_cancelled() {
            return 0;
        }
        let offers = self.shard.offers(now, *min_upload_interval);
        let count = offers.len();
        if count > 0 {
            uploader.offer(ShardOwner { actor: myself, seat: Arc::clone(seat) }, offers);
        }
        count
    }

    fn glance(&self, now: Duration) -> Glance {
        let is_told = self.shard.untold().changes == 0;
        let catalog_age = if is_told { Duration::ZERO } else { self.agenda.age(now) };
        Glance { kept: self.kept, catalog_age, ..self.shard.glance(now) }
    }

    fn tell_quiet(&mut self) {
        if self.waiting.is_empty() || self.is_tending || self.shard.in_flight() > 0 {
            return;
        }
        let says_all = self.shard.is_sure() && self.shard.untold().changes == 0;
        let last_word = self.last_word.filter(|_| says_all);
        for reply in self.waiting.drain(..) {
            let _ = reply.send(last_word);
        }
    }

    fn begin_tending(&mut self, ask: Ask, now: Duration) -> Option<Job> {
        let Arguments { seat, table, namer, clock, verify_percent, .. } = &self.arguments;
        if self.is_tending || (seat.retire.is_cancelled() && ask != Ask::Final) {
            return None;
        }
        let (untold, glance, time) = (self.shard.untold(), self.shard.glance(now), clock.now());
        let due = self.agenda.due(untold, glance, *verify_percent, now, time);
        let due = ask.of(due, untold.changes)?;
        let table = table.read().unwrap_or_else(PoisonError::into_inner);
        let place = |id| {
            let path = table.path(id)?;
            let stem = namer.stem(&path)?;
            Some((path, stem))
        };
        let changes = self.shard.begin_write(place, |path| namer.stem(path));
        let gone = self.shard.untold_absences(time);
        self.is_tending = true;
        let epoch = seat.grant.epoch;
        let is_sure = self.shard.is_sure();
        let is_blank = self.agenda.is_blank();
        let (key, extent) = (seat.shard.clone(), self.agenda.extent(untold));
        Some(Job { key, epoch, due, is_blank, is_sure, extent, changes, gone })
    }

    fn end_tending(&mut self, tended: Tended, now: Duration) {
        let Tended { facts, kept, newest, told, done, epoch } = tended;
        self.is_tending = false;
        self.last_word =
            (epoch == self.arguments.seat.grant.epoch).then_some(epoch).or(self.last_word);
        self.shard.written(&told);
        self.agenda.written(now);
        self.agenda.learn(facts);
        self.kept = kept;
        if done.prune {
            self.agenda.pruned(now);
        }
        if done.verify > 0 {
            self.agenda.verified(now);
        }
        let table = self.arguments.table.read().unwrap_or_else(PoisonError::into_inner);
        let this_hour = Hour::of(self.arguments.clock.now());
        let lost = self.shard.forget(
            |id, last| {
                let (_, identity) = table.identify(id)?;
                tending::lost(newest.get(&identity), last, this_hour)
            },
            now,
        );
        if lost > 0 {
            tracing::warn!(
                lost,
                "{lost} databases whose newest backup is lost, or not the one that was stored, are backed \
                 up again"
            );
        }
    }

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
