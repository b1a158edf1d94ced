//! The front door: a [`Replicator`] runs cycle after cycle, or one, or shows what it would do.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use ultrasimple_core::cluster_file::Holder;
use ultrasimple_core::{Clock, Epoch};
use ultrasimple_sqlite::{CaptureOptions, Capturer};
use ultrasimple_store::Store;

use crate::budget::{Begin, PutBudget};
use crate::epoch::Taken;
use crate::node::{Halt, Node};
use crate::options::ReplicatorOptions;
use crate::scanner::Scanned;
use crate::statistics::{Counters, CycleReport, Statistics};
use crate::tree::{Plan, ScanNews, Tree, tell};
use crate::{CycleError, RunError, StartError, epoch, heap};

/// How long a capture waits for a lock, and for a file that has just changed to settle.
const BUSY_TIMEOUT: Duration = Duration::from_millis(250);
/// A scan that takes longer than this is worth a line in the log.
const SLOW_SCAN: Duration = Duration::from_mins(1);

/// A cycle whose scan is done.
struct Begun {
    start: Duration,
    scan: Duration,
    databases: u64,
    changed: u64,
    problems: u64,
}

/// Backs up every changed database of a volume to a store, again and again.
///
/// The process must not have the databases open itself: POSIX locks belong to the process, and reading
/// a database's file here would drop the locks that the process holds on it elsewhere.
#[derive(Debug)]
pub struct Replicator {
    pub(crate) options: ReplicatorOptions,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) capturer: Arc<Capturer>,
    counters: Arc<Counters>,
    /// Made by the first start; what is spent is spent for all that follow.
    budget: OnceLock<Arc<Mutex<PutBudget>>>,
}

impl Replicator {
    /// Prepares a replicator. Nothing is read or written yet but the scratch directory.
    ///
    /// # Errors
    /// When the scratch directory cannot be used.
    pub fn new(
        options: ReplicatorOptions,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StartError> {
        let mut capturing = CaptureOptions::new(&options.scratch);
        capturing.spool_limit = options.spool_limit;
        capturing.busy_timeout = BUSY_TIMEOUT;
        capturing.clock = Arc::clone(&clock);
        let capturer = Capturer::new(capturing).map_err(StartError::Scratch)?;
        let (capturer, counters) = (Arc::new(capturer), Arc::new(Counters::default()));
        // The projection of the bill starts here.
        counters.statistics(store.requests(), clock.monotonic());
        Ok(Self { options, store, clock, capturer, counters, budget: OnceLock::new() })
    }

    /// What has happened so far.
    pub fn statistics(&self) -> Statistics {
        self.counters.statistics(self.store.requests(), self.clock.monotonic())
    }

    /// Runs a cycle every `interval` until cancelled, then ends what is in flight.
    ///
    /// # Errors
    /// When it cannot start, or must stop: another daemon has taken over the bucket, or the actors
    /// keep failing.
    pub async fn run(&self, interval: Duration, cancel: CancellationToken) -> Result<(), RunError> {
        let (node, halt) = self.start().await?;
        let mut news = ScanNews::default();
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut since_last = self.statistics();
        ticks.tick().await;
        let stopped = loop {
            let cycle = async {
                let tree = node.tree().await?;
                let begun = self.begin_cycle(&tree, &mut news).await?;
                // The line is told as soon as all is stored, or when the next cycle is due.
                let is_due = tokio::select! {
                    idle = tree.when_idle() => idle.map(|()| false)?,
                    _ = ticks.tick() => true,
                };
                self.end_cycle(&tree, begun, &mut since_last).await?;
                if !is_due {
                    ticks.tick().await;
                }
                Ok::<(), CycleError>(())
            };
            let ended = tokio::select! {
                biased;
                () = cancel.cancelled() => break Ok(()),
                reason = halt.wait() => break Err(RunError::Halted(reason)),
                ended = cycle => ended,
            };
            if let Err(error) = ended {
                tracing::error!(%error, "The cycle was broken off; the next one begins anew");
                ticks.tick().await;
            }
        };
        self.stop(&node, stopped).await
    }

    /// Runs one cycle to its end.
    ///
    /// # Errors
    /// As [`Self::run`], and when the scan fails.
    pub async fn run_once(&self, cancel: CancellationToken) -> Result<CycleReport, RunError> {
        let (node, halt) = self.start().await?;
        let mut since_last = self.statistics();
        let cycle = async {
            let tree = node.tree().await?;
            let begun = self.begin_cycle(&tree, &mut ScanNews::default()).await?;
            tree.when_idle().await?;
            let report = self.end_cycle(&tree, begun, &mut since_last).await?;
            tree.keep_once().await?;
            Ok(report)
        };
        let ended = tokio::select! {
            biased;
            () = cancel.cancelled() => Err(RunError::Cancelled),
            reason = halt.wait() => Err(RunError::Halted(reason)),
            ended = cycle => ended.map_err(RunError::Cycle),
        };
        self.stop(&node, ended).await
    }

    async fn start(&self) -> Result<(Node, Halt), RunError> {
        let options = &self.options;
        let holder = Holder::Node(options.node.clone());
        let Taken { generation, is_new, .. } =
            epoch::take(&self.store, options.shards, &holder).await?;
        let epoch = Epoch::new(generation, 0);
        let halt = Halt::default();
        let begin = if is_new { Begin::First } else { Begin::Again };
        let budget = self.budget.get_or_init(|| {
            let counted = self.store.requests().put_class();
            let budget = PutBudget::new(options.put_budget, begin, counted, self.clock.monotonic());
            Arc::new(Mutex::new(budget))
        });
        let plan = Plan {
            options: options.clone(),
            store: Arc::clone(&self.store),
            clock: Arc::clone(&self.clock),
            capturer: Arc::clone(&self.capturer),
            counters: Arc::clone(&self.counters),
            budget: Arc::clone(budget),
            epoch,
            is_new,
            halt: halt.clone(),
        };
        Ok((Node::spawn(plan).await?, halt))
    }

    async fn begin_cycle(&self, tree: &Tree, news: &mut ScanNews) -> Result<Begun, CycleError> {
        let start = self.clock.monotonic();
        let scanning = tree.scan_and_offer();
        tokio::pin!(scanning);
        let scanned: Scanned = loop {
            tokio::select! {
                scanned = &mut scanning => break scanned?,
                () = tokio::time::sleep(SLOW_SCAN) => {
                    tracing::warn!("The scan takes long: does a file system hang?");
                }
            }
        };
        news.tell(&scanned);
        let (databases, changed) = (scanned.databases, scanned.news);
        self.counters.scanned(scanned.at, scanned.took, databases, changed);
        let problems = scanned.problems.len() as u64;
        Ok(Begun { start, scan: scanned.took, databases, changed, problems })
    }

    /// Makes the report of a cycle, and tells it.
    async fn end_cycle(
        &self,
        tree: &Tree,
        begun: Begun,
        since_last: &mut Statistics,
    ) -> Result<CycleReport, CycleError> {
        let Begun { start, scan, databases, changed, problems } = begun;
        let glance = tree.glance().await?;
        self.counters.at_glance(glance);
        let now = self.statistics();
        let report = CycleReport {
            databases,
            changed,
            stored: now.uploads_success - since_last.uploads_success,
            unchanged: now.unchanged - since_last.unchanged,
            failed: glance.failing,
            pending: glance.pending,
            bytes: now.bytes_uploaded - since_last.bytes_uploaded,
            max_exposure: glance.exposure,
            scan,
            took: self.clock.monotonic().saturating_sub(start),
            problems,
        };
        *since_last = now;
        tell(&report);
        if report.pending == 0 && report.stored + report.unchanged >= heap::WORTHWHILE {
            // Whether it is done yet does not matter to anybody.
            drop(tokio::task::spawn_blocking(heap::release));
        }
        Ok(report)
    }

    /// Ends what is in flight, unless another daemon has taken over: then it is given up at once.
    async fn stop<T>(&self, node: &Node, ended: Result<T, RunError>) -> Result<T, RunError> {
        if let Ok(tree) = node.tree().await {
            let limit = match &ended {
                Err(RunError::Halted(_)) => Duration::ZERO,
                _ => self.options.drain_timeout,
            };
            if let Err(error) = tree.drain(limit).await {
                tracing::warn!(%error, "Uploads in flight could not be awaited");
            }
            if !limit.is_zero()
                && let Err(error) = tree.finish(limit).await
            {
                tracing::warn!(%error, "The catalogs could not be written");
            }
        }
        node.stop().await;
        ended
    }
}

#[cfg(test)]
#[path = "replicator_tests.rs"]
mod tests;
