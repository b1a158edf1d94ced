//! The actors of one life, how to make them, and the cycle that runs through them.
//!
//! ```text
//! Scanner ──changed, gone──▶ ShardOwner ──offers──▶ Uploader ──outcome──▶ ShardOwner
//! ```

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use futures::future::try_join_all;
use ractor::{ActorCell, ActorId, SpawnErr};
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use ultrasimple_cluster::Membership;
use ultrasimple_core::pattern::PatternSet;
use ultrasimple_core::template::{PathTemplate, Setting};
use ultrasimple_core::{
    Clock, KeyStem, NodeName, Place, SourcePath, Timestamp, VolumeName, Volumes, placement,
};
use ultrasimple_sqlite::Capturer;
use ultrasimple_store::Store;
use ultrasimple_trace::catalogue as c;
use ultrasimple_trace::{Tracer, child, here};

use crate::CycleError;
use crate::backup::{MemoryBudget, Workshop};
use crate::budget::PutBudget;
use crate::health::Sight;
use crate::keeper::{self, Keeper};
use crate::node::Halt;
use crate::options::ReplicatorOptions;
use crate::recall::{self, RecallError, Trust};
use crate::roster::{self, Entry, Roster, Stage};
use crate::scan::{Naming, NonZeroKey, Problem, Table, VolumeScanner};
use crate::scanner::{self, News, Scanned, Scanner, Wanted};
use crate::shard::Glance;
use crate::shard_owner::ShardOwner;
use crate::statistics::{Counters, CycleReport};
use crate::steward::{self, Steward};
use crate::tending::Tender;
use crate::uploader::{self, Uploader};

/// All that is needed to make the actors, again and again.
pub(crate) struct Plan {
    pub(crate) options: ReplicatorOptions,
    /// The shards of this node.
    pub(crate) membership: Membership,
    /// Writes only while the lease is trusted.
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) capturer: Arc<Capturer>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) tracer: Tracer,
    pub(crate) budget: Arc<Mutex<PutBudget>>,
    /// Nothing was in the bucket before this start.
    pub(crate) is_new: bool,
    /// The actors were made before.
    pub(crate) is_second_life: bool,
    /// Told when a shard became ready.
    pub(crate) gained: Arc<Notify>,
    pub(crate) halt: Halt,
}

/// A scanner that knows nothing yet, and what all uploads share.
pub(crate) fn scanner_and_workshop(
    options: &ReplicatorOptions,
    store: &Arc<dyn Store>,
    clock: &Arc<dyn Clock>,
    capturer: &Arc<Capturer>,
    counters: &Arc<Counters>,
) -> (scanner::Arguments, Arc<Workshop>) {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let scanner = volume_scanner(options, store.max_key_bytes(), threads);
    let workshop = Workshop {
        table: scanner.table(),
        patterns: options.patterns.clone(),
        template: options.template.clone(),
        volumes: options.volumes.clone(),
        node: options.node.clone(),
        check: options.check,
        capturer: Arc::clone(capturer),
        store: Arc::clone(store),
        clock: Arc::clone(clock),
        counters: Arc::clone(counters),
        memory: MemoryBudget::new(options.memory_budget),
        // Waiting for a lock takes no processor: a few more than there are cores.
        captures: Arc::new(Semaphore::new(4 * threads)),
    };
    (scanner::Arguments { scanner, clock: Arc::clone(clock) }, Arc::new(workshop))
}

impl Plan {
    /// Makes the actors, each knowing those it talks to.
    pub(crate) async fn grow(&self, supervisor: ActorCell) -> Result<Tree, SpawnErr> {
        let Self { options, membership, store, clock, capturer, counters, .. } = self;
        let abort = CancellationToken::new();
        let (scanner, workshop) = scanner_and_workshop(options, store, clock, capturer, counters);
        let table = Arc::clone(&workshop.table);
        let uploader = uploader::Arguments {
            workshop,
            concurrent: options.concurrent,
            budget: Arc::clone(&self.budget),
            membership: membership.clone(),
        };
        let uploader = Uploader::spawn(uploader, supervisor.clone()).await?;
        let scanner = Scanner::spawn(scanner, supervisor.clone()).await?;
        let (roster, tender) = (Roster::default(), Arc::new(self.tender()));
        counters.count_shards(&roster);
        let keeper = keeper::Arguments {
            tender: Arc::clone(&tender),
            volumes: options.volumes.clone(),
            roster: roster.clone(),
            membership: membership.clone(),
        };
        let keeper = Keeper::spawn(keeper, supervisor.clone()).await?;
        let namer = Arc::new(Namer::new(options, store.max_key_bytes()));
        let steward = steward::Arguments {
            membership: membership.clone(),
            roster: roster.clone(),
            volumes: options.volumes.clone(),
            uploader: uploader.clone(),
            tender: Arc::clone(&tender),
            table: Arc::clone(&table),
            namer: Arc::clone(&namer),
            clock: Arc::clone(clock),
            min_upload_interval: options.min_upload_interval,
            verify_percent: options.keep.verify_percent_per_day,
            drain_timeout: options.drain_timeout,
            is_second_life: self.is_second_life,
            abort: abort.clone(),
            gained: Arc::clone(&self.gained),
            supervisor,
        };
        let steward = Steward::spawn(steward).await?;
        let (volumes, is_new) = (options.volumes.clone(), self.is_new);
        Ok(Tree {
            scanner,
            uploader,
            keeper,
            steward,
            roster,
            tender,
            table,
            namer,
            volumes,
            is_new,
            is_settled: AtomicBool::new(false),
            is_scanning: AtomicBool::new(false),
            abort,
        })
    }

    fn tender(&self) -> Tender {
        Tender {
            store: Arc::clone(&self.store),
            clock: Arc::clone(&self.clock),
            capturer: Arc::clone(&self.capturer),
            counters: self.counters.keeping(),
            tracer: self.tracer.clone(),
            settings: self.options.keep,
            node: self.options.node.clone(),
            shards: self.options.volumes.shards(),
            holds: tokio::sync::Mutex::default(),
        }
    }
}

/// The scanner of the options' patterns.
pub(crate) fn volume_scanner(
    options: &ReplicatorOptions,
    max_key_bytes: usize,
    threads: usize,
) -> VolumeScanner {
    let namer = Namer::new(options, max_key_bytes);
    let name_of = move |path: &SourcePath| namer.naming(path);
    VolumeScanner::new(options.patterns.clone(), Box::new(name_of), threads)
}

/// Says what databases are called in the bucket, and whose they are.
#[derive(Debug)]
pub(crate) struct Namer {
    patterns: PatternSet,
    template: PathTemplate,
    volumes: Volumes,
    node: NodeName,
    max_key_bytes: usize,
}

impl Namer {
    fn new(options: &ReplicatorOptions, max_key_bytes: usize) -> Self {
        Self {
            patterns: options.patterns.clone(),
            template: options.template.clone(),
            volumes: options.volumes.clone(),
            node: options.node.clone(),
            max_key_bytes,
        }
    }

    /// The stem of the database at `path`, where it has one.
    pub(crate) fn stem(&self, path: &SourcePath) -> Option<KeyStem> {
        let Self { patterns, template, volumes, node, max_key_bytes } = self;
        let volume = &volumes.of(path)?.name;
        let setting = Setting { patterns, volume, node, max_key_bytes: *max_key_bytes };
        template.expand(path, setting).ok()
    }

    fn naming(&self, path: &SourcePath) -> Naming {
        let hash = self.stem(path).map(|stem| placement::key_hash(&stem));
        Naming { key: hash.map(NonZeroKey::new), place: self.volumes.place(path) }
    }
}

/// The actors of one life.
pub(crate) struct Tree {
    scanner: Scanner,
    uploader: Uploader,
    pub(crate) keeper: Keeper,
    steward: Steward,
    pub(crate) roster: Roster,
    tender: Arc<Tender>,
    pub(crate) table: Arc<RwLock<Table>>,
    pub(crate) namer: Arc<Namer>,
    volumes: Volumes,
    is_new: bool,
    is_settled: AtomicBool,
    is_scanning: AtomicBool,
    abort: CancellationToken,
}

impl Tree {
    fn cells(&self) -> impl Iterator<Item = ActorCell> + '_ {
        [self.scanner.cell(), self.uploader.cell(), self.keeper.cell(), self.steward.cell()]
            .into_iter()
    }

    /// Whether an actor is one of these.
    pub(crate) fn has(&self, id: ActorId) -> bool {
        self.cells().any(|cell| cell.get_id() == id) || self.roster.has(id)
    }

    /// Gives up the uploads in flight.
    pub(crate) fn abort(&self) {
        self.abort.cancel();
    }

    /// Ends all actors at once.
    pub(crate) fn kill(&self) {
        self.cells().for_each(|cell| cell.kill());
        self.roster.owners().iter().for_each(|owner| owner.cell().kill());
    }

    /// Waits, the first time, until the catalogs of this node's shards are read. Gives the reason if some could not
    /// be: their databases wait.
    pub(crate) async fn settle(&self) -> Result<Option<String>, CycleError> {
        if self.is_settled.load(Ordering::Acquire) {
            return Ok(None);
        }
        let unread = self.steward.settled().await?;
        self.is_settled.store(true, Ordering::Release);
        Ok(unread)
    }

    /// Waits until no catalog is being read.
    #[cfg(test)]
    pub(crate) async fn settled_again(&self) {
        self.steward.settled().await.unwrap();
    }

    /// Scans, and hands what is to be backed up to the uploader. Does not wait for uploads.
    pub(crate) async fn scan_and_offer(&self) -> Result<Scanned, CycleError> {
        self.settle().await?;
        self.steward.retry();
        let ready = self.roster.ready();
        let wanted = roster::wanted(&ready, self.volumes.places());
        let mut scanned = self.scan(wanted).await?;
        self.roster.set_counts(Arc::clone(&scanned.counts));
        let mut news = std::mem::take(&mut scanned.news);
        self.rebuild_missing(&news).await;
        // What begins from now on belongs to this cycle.
        self.uploader.new_cycle(here());
        let mut span = child(&c::DISPATCH);
        let observing = ready.into_iter().map(|(place, entry)| {
            let news = news.remove(&place).unwrap_or_default();
            async move {
                let observed = entry.owner.observe(news).await;
                self.roster.observed(place, entry.owner.epoch());
                self.unless_gone(place, &entry.owner, observed)
            }
        });
        let offered = try_join_all(observing).await;
        let offered = offered.inspect_err(|error| span.fail(error.word(), error))?;
        span.set(&c::OFFERED, offered.into_iter().flatten().sum::<usize>());
        drop(span);
        self.keeper.tick(self.reconciled_at());
        Ok(scanned)
    }

    async fn scan(&self, wanted: Wanted) -> Result<Scanned, CycleError> {
        let mut span = child(&c::SCAN);
        self.is_scanning.store(true, Ordering::Release);
        let scanned = self.scanner.scan(Arc::new(wanted)).await;
        self.is_scanning.store(false, Ordering::Release);
        let scanned = scanned.inspect_err(|error| span.fail(error.word(), error))?;
        span.set(&c::DATABASES, scanned.databases);
        span.set(&c::CHANGED, scanned.changed);
        span.set(&c::PROBLEMS, scanned.problems.len());
        Ok(scanned)
    }

    /// Whether it is the file systems that are being waited for, and not the store.
    pub(crate) fn is_scanning(&self) -> bool {
        self.is_scanning.load(Ordering::Acquire)
    }

    /// Where databases are in shards that have no usable catalog, on a bucket that is not new, makes the catalogs
    /// from the objects.
    async fn rebuild_missing(&self, news: &HashMap<Place, News>) {
        let lacking = self.roster.entries().into_iter().filter(|(place, entry)| {
            let lacks = matches!(entry.stage, Stage::Ready { lacks_catalog: true, .. });
            lacks && news.get(place).is_some_and(|news| !news.changed.is_empty())
        });
        let lacking: Vec<_> = lacking.collect();
        if lacking.is_empty() {
            return;
        }
        if !self.is_new
            && let Err(error) = self.rebuild(&lacking, news).await
        {
            tracing::warn!(
                %error,
                "The missing catalogs could not be made from the objects: {error}; what is in the \
                 bucket already may be sent once more"
            );
        }
    }

    async fn rebuild(
        &self,
        lacking: &[(Place, Entry)],
        news: &HashMap<Place, News>,
    ) -> Result<(), RecallError> {
        let stems: HashSet<_> = {
            let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
            let news = lacking.iter().filter_map(|(place, _)| news.get(place));
            let ids = news.flat_map(|news| &news.changed).map(|changed| changed.id);
            let stems = ids.filter_map(|id| self.namer.stem(&table.path(id)?));
            stems.map(|stem| placement::key_hash(&stem)).collect()
        };
        recall::rebuild_missing(&self.tender, lacking.len(), &stems).await?;
        for (_, Entry { owner, .. }) in lacking {
            let found = recall::recall(&self.tender, owner.seat(), Trust::None).await?;
            if let Some(recollection) = found {
                owner.recall(recollection);
            }
        }
        Ok(())
    }

    /// When the bucket was last compared with the catalogs, as far as this node's say.
    fn reconciled_at(&self) -> Option<Timestamp> {
        self.roster.entries().into_iter().filter_map(|(_, entry)| entry.reconciled_at).max()
    }

    /// Writes the catalogs and deletes what retention gives up, after the only cycle.
    pub(crate) async fn keep_once(&self) -> Result<(), CycleError> {
        self.keeper.once().await
    }

    /// Waits until all that was offered has ended.
    pub(crate) async fn when_idle(&self) -> Result<(), CycleError> {
        self.uploader.when_idle().await
    }

    /// Ends what is in flight, begins nothing new, and gives up what does not end within `limit`.
    pub(crate) async fn drain(&self, limit: Duration) -> Result<(), CycleError> {
        let drained = tokio::time::timeout(limit, self.uploader.drain()).await;
        if drained.is_err() {
            self.abort();
            tracing::warn!(?limit, "Uploads did not end in time; they were given up");
        }
        drained.unwrap_or(Ok(()))
    }

    /// Each shard at a glance.
    pub(crate) async fn glances(&self) -> Result<Vec<(Place, Entry, Glance)>, CycleError> {
        let glances = self.roster.entries().into_iter().map(|(place, entry)| async move {
            let glance = entry.owner.glance().await;
            let glance = self.unless_gone(place, &entry.owner, glance)?;
            Ok(glance.map(|glance| (place, entry, glance)))
        });
        Ok(try_join_all(glances).await?.into_iter().flatten().collect())
    }

    /// An owner whose shard has been taken away meanwhile need not answer.
    pub(crate) fn unless_gone<T>(
        &self,
        place: Place,
        owner: &ShardOwner,
        answer: Result<T, CycleError>,
    ) -> Result<Option<T>, CycleError> {
        let is_here = || self.roster.get(place).is_some_and(|e| e.owner.epoch() == owner.epoch());
        match answer {
            Err(_) if !is_here() => Ok(None),
            answer => answer.map(Some),
        }
    }

    /// All shards at a glance, and each volume of this node.
    pub(crate) async fn glance(&self) -> Result<(Glance, BTreeMap<VolumeName, Sight>), CycleError> {
        let mut volumes: BTreeMap<VolumeName, Sight> = BTreeMap::new();
        let volume_of = |place| self.volumes.key(place).map(|key| key.volume);
        for volume in self.roster.counts().places().filter_map(volume_of) {
            volumes.entry(volume).or_default().is_seen = true;
        }
        let mut all = Glance::default();
        for (place, _, one) in self.glances().await? {
            if let Some(volume) = volume_of(place).filter(|_| one.unseen > 0) {
                volumes.entry(volume).or_default().unseen += one.unseen;
            }
            all = Glance {
                pending: all.pending + one.pending,
                waiting: all.waiting + one.waiting,
                failing: all.failing + one.failing,
                exposure: all.exposure.max(one.exposure),
                waiting_exposure: all.waiting_exposure.max(one.waiting_exposure),
                failing_exposure: all.failing_exposure.max(one.failing_exposure),
                unserved: all.unserved.max(one.unserved),
                catalog_age: all.catalog_age.max(one.catalog_age),
                unseen: all.unseen + one.unseen,
                kept: all.kept.and(one.kept),
            };
        }
        Ok((all, volumes))
    }
}

/// Tells, once and again when it changes, what a scan could not look at.
#[derive(Default)]
pub(crate) struct ScanNews {
    problems: HashSet<Problem>,
    empty_patterns: Vec<String>,
}

impl ScanNews {
    pub(crate) fn tell(&mut self, scanned: &Scanned) {
        for problem in &scanned.problems {
            if !self.problems.contains(problem) {
                let Problem { path, reason } = problem;
                tracing::error!(%path, "Cannot scan {path}: {reason}");
            }
        }
        for pattern in &scanned.empty_patterns {
            if !self.empty_patterns.contains(pattern) {
                tracing::warn!(%pattern, "No database matches the pattern {pattern}");
            }
        }
        self.problems = scanned.problems.iter().cloned().collect();
        self.empty_patterns.clone_from(&scanned.empty_patterns);
    }
}

/// Tells how a cycle went, in one line.
pub(crate) fn tell(report: &CycleReport) {
    let CycleReport { databases, changed, stored, unchanged, failed, pending, bytes, .. } = *report;
    let max_exposure_seconds = report.max_exposure.as_secs_f64();
    let scan_ms = report.scan.as_millis();
    let took = format_duration(report.took);
    tracing::info!(
        databases,
        changed,
        stored,
        unchanged,
        failed,
        pending,
        bytes,
        max_exposure_seconds,
        scan_ms,
        "Scan complete: {databases} databases, {stored} synced (took {took})"
    );
}

fn format_duration(took: Duration) -> String {
    let ms = took.as_millis();
    if ms < 10_000 { format!("{ms}ms") } else { format!("{:.1}s", took.as_secs_f64()) }
}
