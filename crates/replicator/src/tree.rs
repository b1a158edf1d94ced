//! The actors of one life, how to make them, and the cycle that runs through them.
//!
//! ```text
//! Scanner ──changed, gone──▶ ShardOwner ──offers──▶ Uploader ──outcome──▶ ShardOwner
//! ```

use std::collections::HashSet;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use futures::future::try_join_all;
use ractor::ActorId;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use ultrasimple_core::pattern::PatternSet;
use ultrasimple_core::template::{PathTemplate, Setting};
use ultrasimple_core::{
    Clock, Epoch, KeyStem, NodeName, ShardId, ShardKey, SourcePath, VolumeName, placement,
};
use ultrasimple_sqlite::Capturer;
use ultrasimple_store::Store;

use crate::CycleError;
use crate::backup::{MemoryBudget, Workshop};
use crate::budget::PutBudget;
use crate::keeper::{self, Keeper};
use crate::node::Halt;
use crate::options::ReplicatorOptions;
use crate::recall::Recall;
use crate::scan::{Problem, Table, VolumeScanner};
use crate::scanner::{self, Scanned, Scanner};
use crate::shard::Glance;
use crate::shard_owner::{self, ShardOwner};
use crate::statistics::{Counters, CycleReport};
use crate::tending::Tender;
use crate::uploader::{self, Uploader};

/// All that is needed to make the actors, again and again.
pub(crate) struct Plan {
    pub(crate) options: ReplicatorOptions,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) capturer: Arc<Capturer>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) budget: Arc<Mutex<PutBudget>>,
    pub(crate) epoch: Epoch,
    /// Nothing was in the bucket before this start.
    pub(crate) is_new: bool,
    pub(crate) halt: Halt,
}

impl Plan {
    /// A scanner that knows nothing yet, and what all uploads share.
    pub(crate) fn scanner_and_workshop(&self) -> (scanner::Arguments, Arc<Workshop>) {
        let options = &self.options;
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let scanner = volume_scanner(options, self.store.max_key_bytes(), threads);
        let workshop = Workshop {
            table: scanner.table(),
            patterns: options.patterns.clone(),
            template: options.template.clone(),
            volume: options.volume.clone(),
            node: options.node.clone(),
            epoch: self.epoch,
            shards: options.shards,
            check: options.check,
            capturer: Arc::clone(&self.capturer),
            store: Arc::clone(&self.store),
            clock: Arc::clone(&self.clock),
            counters: Arc::clone(&self.counters),
            memory: MemoryBudget::new(options.memory_budget),
            // Waiting for a lock takes no processor: a few more than there are cores.
            captures: Arc::new(Semaphore::new(4 * threads)),
        };
        let arguments = scanner::Arguments {
            scanner,
            volume: options.volume.clone(),
            shards: options.shards,
            clock: Arc::clone(&self.clock),
        };
        (arguments, Arc::new(workshop))
    }

    pub(crate) fn uploader(
        &self,
        workshop: Arc<Workshop>,
        abort: CancellationToken,
    ) -> uploader::Arguments {
        uploader::Arguments {
            workshop,
            concurrent: self.options.concurrent,
            budget: Arc::clone(&self.budget),
            abort,
            halt: self.halt.clone(),
        }
    }

    pub(crate) fn owner(
        &self,
        shard: ShardId,
        uploader: Uploader,
        table: Arc<RwLock<Table>>,
        namer: Arc<Namer>,
    ) -> shard_owner::Arguments {
        shard_owner::Arguments {
            key: ShardKey { volume: self.options.volume.clone(), shard },
            uploader,
            table,
            namer,
            clock: Arc::clone(&self.clock),
            min_upload_interval: self.options.min_upload_interval,
            verify_percent: self.options.keep.verify_percent_per_day,
        }
    }

    pub(crate) fn namer(&self) -> Namer {
        Namer::new(&self.options, self.store.max_key_bytes())
    }

    pub(crate) fn keeper(&self, owners: Vec<ShardOwner>) -> keeper::Arguments {
        let tender = Tender {
            store: Arc::clone(&self.store),
            clock: Arc::clone(&self.clock),
            capturer: Arc::clone(&self.capturer),
            counters: self.counters.keeping(),
            settings: self.options.keep,
            node: self.options.node.clone(),
            epoch: self.epoch,
            shards: self.options.shards,
            holds: tokio::sync::Mutex::default(),
        };
        let (volume, halt) = (self.options.volume.clone(), self.halt.clone());
        keeper::Arguments { tender: Arc::new(tender), volume, owners, halt }
    }
}

/// The scanner of the options' patterns.
pub(crate) fn volume_scanner(
    options: &ReplicatorOptions,
    max_key_bytes: usize,
    threads: usize,
) -> VolumeScanner {
    let namer = Namer::new(options, max_key_bytes);
    let key_of = move |path: &SourcePath| Some(placement::key_hash(&namer.stem(path)?));
    VolumeScanner::new(options.patterns.clone(), Box::new(key_of), threads)
}

/// Gives databases the stems of their keys.
#[derive(Debug)]
pub(crate) struct Namer {
    patterns: PatternSet,
    template: PathTemplate,
    volume: VolumeName,
    node: NodeName,
    max_key_bytes: usize,
}

impl Namer {
    fn new(options: &ReplicatorOptions, max_key_bytes: usize) -> Self {
        Self {
            patterns: options.patterns.clone(),
            template: options.template.clone(),
            volume: options.volume.clone(),
            node: options.node.clone(),
            max_key_bytes,
        }
    }

    /// The stem of the database at `path`, where it has one.
    pub(crate) fn stem(&self, path: &SourcePath) -> Option<KeyStem> {
        let Self { patterns, template, volume, node, max_key_bytes } = self;
        let setting = Setting { patterns, volume, node, max_key_bytes: *max_key_bytes };
        template.expand(path, setting).ok()
    }
}

/// The actors of one life.
pub(crate) struct Tree {
    pub(crate) scanner: Scanner,
    pub(crate) uploader: Uploader,
    pub(crate) owners: Vec<ShardOwner>,
    pub(crate) keeper: Keeper,
    pub(crate) recall: Recall,
    pub(crate) abort: CancellationToken,
}

impl Tree {
    fn cells(&self) -> impl Iterator<Item = ractor::ActorCell> + '_ {
        let one = [self.scanner.cell(), self.uploader.cell(), self.keeper.cell()];
        one.into_iter().chain(self.owners.iter().map(ShardOwner::cell))
    }

    /// Whether an actor is one of these.
    pub(crate) fn has(&self, id: ActorId) -> bool {
        self.cells().any(|cell| cell.get_id() == id)
    }

    /// Gives up the uploads in flight.
    pub(crate) fn abort(&self) {
        self.abort.cancel();
    }

    /// Ends all actors at once.
    pub(crate) fn kill(&self) {
        self.cells().for_each(|cell| cell.kill());
    }

    /// Scans, and hands what is to be backed up to the uploader. Does not wait for uploads.
    pub(crate) async fn scan_and_offer(&self) -> Result<Scanned, CycleError> {
        let recalled = self.recall.before_scan(&self.owners).await;
        recalled.map_err(|error| CycleError::Catalogs(error.to_string()))?;
        let mut scanned = self.scanner.scan().await?;
        let by_shard = std::mem::take(&mut scanned.by_shard);
        let reconciled_at = self.recall.after_scan(&self.owners, &by_shard).await;
        self.uploader.new_cycle();
        let observing = self.owners.iter().zip(by_shard).map(|(owner, news)| owner.observe(news));
        try_join_all(observing).await?;
        self.keeper.tick(reconciled_at);
        Ok(scanned)
    }

    /// Writes the catalogs and deletes what retention gives up, after the only cycle.
    pub(crate) async fn keep_once(&self) -> Result<(), CycleError> {
        self.keeper.once().await
    }

    /// Writes what the catalogs do not say yet, for as long as there is time.
    pub(crate) async fn finish(&self, limit: Duration) -> Result<(), CycleError> {
        let finished = tokio::time::timeout(limit, self.keeper.finish()).await;
        if finished.is_err() {
            tracing::warn!(
                ?limit,
                "Not all catalogs could be written in time; the next start captures again what they lack"
            );
        }
        finished.unwrap_or(Ok(()))
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

    /// All shards at a glance.
    pub(crate) async fn glance(&self) -> Result<Glance, CycleError> {
        let glances = try_join_all(self.owners.iter().map(ShardOwner::glance)).await?;
        Ok(glances.into_iter().fold(Glance::default(), |all, one| Glance {
            pending: all.pending + one.pending,
            failing: all.failing + one.failing,
            exposure: all.exposure.max(one.exposure),
            kept: all.kept.and(one.kept),
        }))
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
