//! What the simulation drives of this crate: the owner of a shard without its actor, the queue of uploads, the
//! sending of a capture, and the tending of a shard, over whatever store and clock.
//!
//! Nothing is decided here: each call is what the actor of the same name does with the same message. It differs
//! from them in one thing: what they do in the order of a hash map comes sorted, so that a run can be repeated.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use ultrasimple_cluster::{Grant, Lease};
use ultrasimple_core::catalog::StoredBackup;
use ultrasimple_core::config::{KeepSettings, VerifyPercent};
use ultrasimple_core::footer::FooterFields;
use ultrasimple_core::{
    Clock, ContentHash, Epoch, FingerprintDigest, Hour, KeyStem, NodeName, ShardKey, ShortHash,
    SourcePath, Timestamp, Volumes, object,
};
use ultrasimple_keeper::UpdateError;
use ultrasimple_sqlite::{CaptureOptions, Capturer};
use ultrasimple_store::{Store, StoreError};
use ultrasimple_trace::Tracer;

use crate::StartError;
use crate::agenda::Agenda;
use crate::backup::send::Sending;
use crate::backup::{Attempt, Prepared, PreparedBody, Stop};
use crate::budget::{Begin, PutBudget};
use crate::dispatch::{Dispatcher, Ended, Next, Ticket};
use crate::keeping::KeepingCounters;
use crate::leash::LeashedStore;
use crate::recall::{RecallError, Recollection, Trust, rebuild_missing, recall};
use crate::scan::{DatabaseId, Gone, Identity, test_id};
use crate::scanner::{Changed, News};
use crate::shard::{self, Offer, Shard};
use crate::shard_owner::{Ask, Seat};
use crate::statistics::Counters;
use crate::tending::{self, Job, TendError, Tended, Tender};

/// What a scanner knows of a database.
#[derive(Debug, Clone)]
pub struct Place {
    /// A number that no other database of this node has, or has had.
    pub number: u32,
    /// Where it is.
    pub path: SourcePath,
    /// What its key begins with.
    pub stem: KeyStem,
}

impl Place {
    fn id(&self) -> DatabaseId {
        test_id(self.number)
    }

    fn identity(&self) -> Identity {
        Identity::new(&self.path, &self.stem)
    }
}

/// What a scan saw of one shard.
#[derive(Debug, Default)]
pub struct Sight<'a> {
    /// New, or with another fingerprint.
    pub changed: Vec<(&'a Place, FingerprintDigest)>,
    /// No longer there.
    pub gone: Vec<&'a Place>,
}

/// The owner of a shard.
#[derive(Debug)]
pub struct Owner {
    seat: Arc<Seat>,
    shard: Shard,
    agenda: Agenda,
    last_word: Option<Epoch>,
    is_tending: bool,
}

impl Owner {
    /// One that knows nothing yet. `None`: the shard is on none of the volumes.
    pub fn new(shard: ShardKey, grant: Grant, volumes: &Volumes, now: Duration) -> Option<Self> {
        let place = volumes.place_of(&shard)?;
        let (retire, abort) = (CancellationToken::new(), CancellationToken::new());
        Some(Self {
            seat: Arc::new(Seat { shard, place, grant, retire, abort }),
            shard: Shard::default(),
            agenda: Agenda::new(now),
            last_word: None,
            is_tending: false,
        })
    }

    /// The right by which it owns.
    pub fn grant(&self) -> Grant {
        self.seat.grant
    }

    /// To read its catalog with.
    pub fn chair(&self) -> Chair {
        Chair(Arc::clone(&self.seat))
    }

    /// Takes in what the catalog says.
    pub fn recall(&mut self, recalled: Recalled) {
        let Recollection { databases, unsure_since, facts, last_word, .. } = recalled.0;
        self.last_word = last_word;
        self.shard.recall(databases, unsure_since);
        self.agenda.learn(facts);
    }

    /// When nothing of it is in flight: the epoch of the catalog that says all there is, if one does.
    pub fn quiet(&self) -> Option<Option<Epoch>> {
        let is_quiet = !self.is_tending && self.shard.in_flight() == 0;
        let says_all = self.shard.is_sure() && self.shard.untold().changes == 0;
        is_quiet.then(|| self.last_word.filter(|_| says_all))
    }

    /// Takes in what a scan saw, and offers what is to be backed up.
    pub fn observe(&mut self, sight: Sight<'_>, now: Duration, time: Timestamp) -> Vec<Offered> {
        let changed = sight.changed.into_iter().map(|(place, digest)| Changed {
            id: place.id(),
            identity: place.identity(),
            digest,
        });
        let gone = sight.gone.into_iter().map(|place| Gone {
            id: place.id(),
            identity: place.identity(),
            path: place.path.clone(),
            place: Some(self.seat.place),
        });
        let news = News { changed: changed.collect(), gone: gone.collect() };
        self.shard.observe(news, now, time);
        if self.seat.retire.is_cancelled() {
            return Vec::new();
        }
        let mut offers = self.shard.offers(now, Duration::ZERO);
        offers.sort_by_key(|offer| offer.id.test_number());
        offers.into_iter().map(Offered).collect()
    }

    /// Takes in how an attempt ended.
    pub fn settle(&mut self, number: u32, outcome: Outcome, now: Duration) {
        self.shard.settle(test_id(number), outcome.0, now);
    }

    /// What is to be done for the catalog now. Its end is to be told.
    pub fn begin_tending(
        &mut self,
        ask: Asked,
        places: &dyn Fn(u32) -> Option<Place>,
        now: Duration,
        time: Timestamp,
    ) -> Option<Work> {
        if self.is_tending || (self.seat.retire.is_cancelled() && ask != Asked::Final) {
            return None;
        }
        let (untold, glance) = (self.shard.untold(), self.shard.glance(now));
        let due = self.agenda.due(untold, glance, VerifyPercent::OFF, now, time);
        let due = match ask {
            Asked::Due => Ask::Due.of(due, untold.changes)?,
            Asked::Once => Ask::Once.of(due, untold.changes)?,
            Asked::Final => Ask::Final.of(due, untold.changes)?,
            Asked::Look => Ask::Look.of(due, untold.changes)?,
        };
        let place = |id: DatabaseId| {
            let place = places(id.test_number())?;
            Some((place.path, place.stem))
        };
        // A path is never that of another database here.
        let stem = |path: &SourcePath| {
            let name = String::from_utf8_lossy(path.as_bytes()).trim_start_matches('/').to_owned();
            KeyStem::new(name.trim_end_matches(".db"), 1_024).ok()
        };
        let changes = self.shard.begin_write(place, stem);
        let gone = self.shard.untold_absences(time);
        self.is_tending = true;
        let (key, epoch) = (self.seat.shard.clone(), self.seat.grant.epoch);
        let is_sure = self.shard.is_sure();
        let is_blank = self.agenda.is_blank();
        let extent = self.agenda.extent(untold);
        Some(Work(Job { key, epoch, due, is_blank, is_sure, extent, changes, gone }))
    }

    /// What came of it; `None`: it failed, or was given up. Gives the number of databases that turned out to be lost.
    pub fn end_tending(
        &mut self,
        done: Option<Done>,
        places: &dyn Fn(u32) -> Option<Place>,
        now: Duration,
        time: Timestamp,
    ) -> usize {
        self.is_tending = false;
        let Some(Done(tended)) = done else {
            self.shard.not_written();
            self.agenda.failed(now);
            return 0;
        };
        let Tended { facts, newest, told, done, epoch, .. } = tended;
        self.last_word = (epoch == self.seat.grant.epoch).then_some(epoch).or(self.last_word);
        self.shard.written(&told);
        self.agenda.written(now);
        self.agenda.learn(facts);
        if done.prune {
            self.agenda.pruned(now);
        }
        let this_hour = Hour::of(time);
        self.shard.forget(
            |id, last| {
                let identity = places(id.test_number())?.identity();
                tending::lost(newest.get(&identity), last, this_hour)
            },
            now,
        )
    }

    /// For which fingerprints it says that the bucket has all that a database with them holds, in no order.
    pub fn vouches(&self) -> impl Iterator<Item = FingerprintDigest> + '_ {
        self.shard.digests()
    }

    /// Databases with a change that the bucket has not.
    pub fn pending(&self) -> u64 {
        self.shard.glance(Duration::ZERO).pending
    }

    /// How much there is to tell the catalog.
    pub fn untold(&self) -> usize {
        self.shard.untold().changes
    }
}

/// What an owner asks to have done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// What is due.
    Due,
    /// What is due, verification excepted, and a catalog that says all.
    Once,
    /// A catalog that says all, for good.
    Final,
    /// To look at the catalog again.
    Look,
}

/// The right to a shard.
#[derive(Debug, Clone)]
pub struct Chair(Arc<Seat>);

impl Chair {
    /// Of which shard.
    pub fn shard(&self) -> &ShardKey {
        &self.0.shard
    }

    /// Under which epoch.
    pub fn epoch(&self) -> Epoch {
        self.0.grant.epoch
    }

    /// Nothing new begins.
    pub fn retire(&self) {
        self.0.retire.cancel();
    }

    /// Whether nothing new begins.
    pub fn is_retired(&self) -> bool {
        self.0.retire.is_cancelled()
    }

    /// Waits until nothing new begins.
    pub async fn retired(&self) {
        self.0.retire.cancelled().await;
    }

    /// What is in flight is given up.
    pub fn abort(&self) {
        self.0.retire.cancel();
        self.0.abort.cancel();
    }

    /// Waits until what is in flight is to be given up.
    pub async fn aborted(&self) {
        self.0.abort.cancelled().await;
    }
}

/// How much a catalog is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trusted {
    /// It says all there is if the grant says so.
    Grant,
    /// There may be more.
    None,
    /// It says all there is, whatever the grant says: on purpose, to see that it is found out.
    Blindly,
}

/// What a catalog says to an owner.
#[derive(Debug)]
pub struct Recalled(Recollection);

/// A database to be backed up.
#[derive(Debug, Clone)]
pub struct Offered(Offer);

impl Offered {
    /// Which.
    pub fn number(&self) -> u32 {
        self.0.id.test_number()
    }

    /// What its owner knows of its newest backup. As `captured`, it is not sent when it is unchanged.
    pub fn last_content(&self) -> Option<ShortHash> {
        self.0.clone().known().sure().map(|last| last.content)
    }

    /// Whether the bucket may have more than the owner knows.
    pub fn is_unsure(&self) -> bool {
        self.0.clone().known().unsure_since.is_some()
    }
}

/// How an attempt ended.
#[derive(Debug, Clone)]
pub struct Outcome(shard::Outcome);

impl Outcome {
    /// Not tried.
    pub fn deferred() -> Self {
        Self(shard::Outcome::Deferred)
    }

    /// Given up on the way; it was to be of this hour at the latest.
    pub fn given_up(hour: Hour) -> Self {
        Self(shard::Outcome::GivenUp(hour))
    }

    /// The file is gone.
    pub fn vanished() -> Self {
        Self(shard::Outcome::Vanished)
    }

    /// The content is that of the last backup.
    pub fn unchanged(digest: FingerprintDigest, settled: bool) -> Self {
        Self(shard::Outcome::Unchanged { digest, settled })
    }

    /// The database cannot be read.
    pub fn unreadable() -> Self {
        let reason = "the simulated database is locked".to_owned();
        Self(shard::Outcome::Failed(shard::Failure { kind: "busy", reason }))
    }

    /// The outcome of a write that was answered as if it had been confirmed.
    pub fn stored(digest: FingerprintDigest, backup: StoredBackup, at: Duration) -> Self {
        Self(shard::Outcome::Stored { digest, settled: true, backup, at })
    }

    /// In a word.
    pub fn name(&self) -> &'static str {
        match &self.0 {
            shard::Outcome::Stored { .. } => "stored",
            shard::Outcome::Unchanged { .. } => "unchanged",
            shard::Outcome::Failed(failure) | shard::Outcome::Doubtful(failure, _) => failure.kind,
            shard::Outcome::GivenUp(_) => "given up",
            shard::Outcome::Vanished => "vanished",
            shard::Outcome::Deferred => "deferred",
        }
    }

    /// Whether the store has confirmed the content.
    pub fn is_stored(&self) -> bool {
        matches!(self.0, shard::Outcome::Stored { .. })
    }
}

/// How the sending of a capture ended.
#[derive(Debug)]
pub enum Sent {
    /// To be settled; and whether a request to write was made.
    Ended(Outcome, bool),
    /// The bucket has something of a later owner, with this epoch.
    Fenced(Epoch),
}

/// A capture.
#[derive(Debug, Clone)]
pub struct Captured {
    /// Taken before the image was read.
    pub digest: FingerprintDigest,
    /// Whether a later change will show in the fingerprint.
    pub settled: bool,
    /// The bytes.
    pub image: Vec<u8>,
    /// What the footer says.
    pub fields: FooterFields,
}

/// Counters that nobody reads.
#[derive(Debug, Default)]
pub struct Counts(Counters);

/// Sends a capture as an upload does.
pub async fn send(
    store: &dyn Store,
    clock: &dyn Clock,
    counts: &Counts,
    stem: &KeyStem,
    offered: Offered,
    captured: Captured,
) -> Sent {
    let Captured { digest, settled, image, fields } = captured;
    let content = ContentHash::of(&image);
    let Ok((bytes, footer)) = object::encode_hashed(&image, content, fields.clone()) else {
        return Sent::Ended(Outcome::unreadable(), false);
    };
    let body = PreparedBody::Object(bytes.into(), Box::new(footer));
    let prepared = Prepared { digest, settled, content, fields, body };
    let known = offered.0.known();
    let counters = &counts.0;
    let sending = Sending { store, clock, counters, stem, known };
    match sending.run(prepared).await {
        Ok(Attempt { outcome, sent }) => Sent::Ended(Outcome(outcome), sent),
        Err(Stop::Fenced(footer)) => Sent::Fenced(footer.epoch),
    }
}

/// The queue of uploads of a node.
#[derive(Debug)]
pub struct Queue {
    dispatcher: Dispatcher<Chair>,
    budget: PutBudget,
}

/// What the queue says.
#[derive(Debug)]
pub enum Turn {
    /// Begin this upload.
    Begin(Slot, Chair, Offered),
    /// It is not tried now.
    Defer(Chair, u32),
    /// Nothing until something ends or is offered.
    Nothing,
}

/// A place among the uploads in flight.
#[derive(Debug)]
pub struct Slot(Ticket);

impl Queue {
    /// At most `concurrent` uploads at once.
    pub fn new(concurrent: usize) -> Self {
        let budget = PutBudget::new(None, Begin::Again, 0, Duration::ZERO);
        Self { dispatcher: Dispatcher::new(concurrent), budget }
    }

    /// Takes a database to be backed up.
    pub fn offer(&mut self, chair: &Chair, offered: Offered) {
        self.dispatcher.offer(chair, vec![offered.0]);
    }

    /// A cycle begins.
    pub fn new_cycle(&mut self) {
        self.dispatcher.new_cycle();
    }

    /// What is to be done next. To be asked until there is nothing.
    pub fn next_turn(&mut self) -> Turn {
        match self.dispatcher.next(&self.budget) {
            Next::Begin(ticket, chair, offer) => Turn::Begin(Slot(ticket), chair, Offered(offer)),
            Next::Defer(chair, id) => Turn::Defer(chair, id.test_number()),
            Next::Wait(_) | Next::Nothing => Turn::Nothing,
        }
    }

    /// An upload has ended. Whether the store has now failed so often that the rest waits.
    pub fn ended(&mut self, slot: Slot, outcome: &Outcome, sent: bool) -> bool {
        self.dispatcher.ended(slot.0, Ended::of(&outcome.0, sent), &mut self.budget)
    }

    /// Takes out what waits of a shard.
    pub fn withdraw(&mut self, shard: &ShardKey) -> Vec<u32> {
        let mut out: Vec<_> = self.dispatcher.withdraw(|chair| chair.0.shard == *shard);
        out.sort_by_key(|(_, id)| id.test_number());
        out.into_iter().map(|(_, id)| id.test_number()).collect()
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.dispatcher.waiting()
    }
}

/// A store that writes only while the lease is trusted.
pub fn leashed(store: Arc<dyn Store>, lease: Lease) -> Arc<dyn Store> {
    Arc::new(LeashedStore::new(store, lease))
}

/// Whoever tends the shards of a node.
#[derive(Debug, Clone)]
pub struct Keeper(Arc<Tender>);

/// What is to be done for a catalog.
#[derive(Debug)]
pub struct Work(Job);

/// What came of it.
#[derive(Debug)]
pub struct Done(Tended);

/// Why nothing came of it.
#[derive(Debug)]
pub enum Undone {
    /// A later owner has written the catalog, with this epoch.
    Fenced(Epoch),
    /// To be tried again.
    Failed(String),
}

impl Keeper {
    /// One that writes as this node.
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        settings: KeepSettings,
        node: NodeName,
        shards: u32,
    ) -> Option<Self> {
        Some(Self(Arc::new(Tender {
            store,
            clock,
            capturer: capturer()?,
            counters: Arc::new(KeepingCounters::default()),
            tracer: Tracer::off(),
            settings,
            node,
            shards,
            holds: tokio::sync::Mutex::default(),
        })))
    }

    /// What the catalog says to the owner of its shard. `None` where there is none that can be used.
    ///
    /// # Errors
    /// When the store cannot be read, or a later owner has written it.
    pub async fn recall(&self, chair: &Chair, trust: Trusted) -> Result<Option<Recalled>, Undone> {
        let is_believed = trust == Trusted::Blindly;
        let trust = match trust {
            Trusted::Grant => Trust::Grant(chair.0.grant),
            Trusted::None | Trusted::Blindly => Trust::None,
        };
        match recall(&self.0, &chair.0, trust).await {
            Ok(recollection) => Ok(recollection.map(|recollection| {
                let unsure_since = recollection.unsure_since.filter(|_| !is_believed);
                Recalled(Recollection { unsure_since, ..recollection })
            })),
            Err(RecallError::Fenced { epoch, .. }) => Err(Undone::Fenced(epoch)),
            Err(error @ RecallError::Store(_)) => Err(Undone::Failed(error.to_string())),
        }
    }

    /// Makes the catalogs of shards that have none from the objects of these databases.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn rebuild(&self, shards: usize, stems: &[KeyStem]) -> Result<(), StoreError> {
        let stems = stems.iter().map(ultrasimple_core::placement::key_hash).collect();
        rebuild_missing(&self.0, shards, &stems).await
    }

    /// Does what is to be done.
    ///
    /// # Errors
    /// When it could not be done, or a later owner has written.
    pub async fn tend(&self, work: Work, is_final: bool) -> Result<Done, Undone> {
        match self.0.tend(work.0, is_final).await {
            Ok(tended) => Ok(Done(tended)),
            Err(TendError::Catalog(UpdateError::Fenced { epoch, .. })) => {
                Err(Undone::Fenced(epoch))
            }
            Err(error) => Err(Undone::Failed(error.to_string())),
        }
    }
}

/// Nothing is captured with it: verification is left out.
fn capturer() -> Option<Arc<Capturer>> {
    static CAPTURER: OnceLock<Option<Arc<Capturer>>> = OnceLock::new();
    let make = || {
        let scratch = std::env::temp_dir().join("ultrasimple-simulation");
        let capturer = Capturer::new(CaptureOptions::new(scratch));
        capturer.map_err(StartError::Scratch).ok().map(Arc::new)
    };
    CAPTURER.get_or_init(make).clone()
}
