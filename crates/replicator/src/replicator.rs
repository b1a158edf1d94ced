//! The front door: a [`Replicator`] runs cycle after cycle, or one, or shows what it would do.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::Notify;
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use ultrasimple_cluster::alone::alone;
use ultrasimple_cluster::{Grant, Halted, Lease, Membership, Report};
use ultrasimple_core::cluster_file::Holder;
use ultrasimple_core::{Clock, Epoch, ShardId, ShardKey, Timestamp, VolumeName};
use ultrasimple_sqlite::{CaptureOptions, Capturer};
use ultrasimple_store::Store;
use ultrasimple_trace::catalogue as c;
use ultrasimple_trace::{Span, Tracer};

use crate::budget::{Begin, PutBudget};
use crate::epoch::Taken;
use crate::health::{Health, Sight};
use crate::leash::LeashedStore;
use crate::node::{Halt, Node};
use crate::options::ReplicatorOptions;
use crate::roster::Stage;
use crate::scanner::Scanned;
use crate::statistics::{Counters, CycleReport, Statistics};
use crate::tree::{Plan, ScanNews, Tree, tell};
use crate::witness::Witness;
use crate::{CycleError, RunError, StartError, epoch, heap};

/// How long a capture waits for a lock, and for a file that has just changed to settle.
const BUSY_TIMEOUT: Duration = Duration::from_millis(250);
/// A scan that takes longer than this is worth a line in the log.
const SLOW_SCAN: Duration = Duration::from_mins(1);

/// How long the store may take to say what time it is.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// A scan that takes longer than this is taken for one that does not end.
const SCAN_HANGS: Duration = Duration::from_mins(5);

/// A cycle whose scan is done.
struct Begun {
    span: Span,
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
    pub(crate) counters: Arc<Counters>,
    tracer: Tracer,
    /// Made by the first start; what is spent is spent for all that follow.
    budget: OnceLock<Arc<Mutex<PutBudget>>>,
    /// Its place in a fleet. `None`: it is alone.
    membership: Mutex<Option<Membership>>,
    /// The actors, while they run.
    pub(crate) running: Mutex<Option<Node>>,
}

/// What is running.
#[derive(Clone)]
struct Running {
    node: Node,
    halt: Halt,
    membership: Membership,
    gained: Arc<Notify>,
    health: Arc<Mutex<Health>>,
    counters: Arc<Counters>,
}

impl Running {
    /// Finds out whether the store works for this node, where uploads do not tell. `before` and `now` are what they
    /// told; `waits`: some are under way or wait.
    fn examine(&self, replicator: &Replicator, before: (u64, u64), now: (u64, u64), waits: bool) {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        let has_worked = now.0 > before.0;
        if replicator.membership().is_none() || !(waits || health.doubts_store()) {
            return;
        }
        if has_worked {
            self.tell(health.store_worked());
        } else if now.1 > before.1 || waits {
            drop(health);
            let (store, clock) = (Arc::clone(&replicator.store), Arc::clone(&replicator.clock));
            let running = self.clone();
            tokio::spawn(async move {
                let asked = tokio::time::timeout(PROBE_TIMEOUT, store.time()).await;
                let works = matches!(asked, Ok(Ok(_)));
                let mut health = running.health.lock().unwrap_or_else(PoisonError::into_inner);
                let now = clock.monotonic();
                let news = if works { health.store_worked() } else { health.store_failed(now) };
                running.tell(news);
            });
        }
    }

    /// Tells the others, if it is news, whether this node can do its work.
    fn tell(&self, news: Option<bool>) {
        let Some(works) = news else { return };
        self.counters.works(works);
        if works {
            tracing::info!("This node can do its work again");
        } else {
            tracing::error!(
                "The store has not worked for this node for a while, or its file system hangs or lacks a volume: \
                 other nodes are to take over"
            );
        }
        let membership = self.membership.clone();
        tokio::spawn(async move { membership.report(Report::Fit { is_fit: works }).await });
    }

    /// A scan goes on for so long, or has ended.
    fn scans(&self, for_so_long: Duration) {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        self.tell(health.scan_hangs(for_so_long >= SCAN_HANGS));
    }

    /// What the last scan saw of the volumes.
    fn saw(&self, replicator: &Replicator, volumes: &BTreeMap<VolumeName, Sight>) {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        let (empty, news) = health.saw(volumes);
        for volume in empty {
            let unseen = volumes.get(&volume).map_or(0, |sight| sight.unseen);
            tracing::error!(
                %volume, unseen,
                "The volume {volume} has no database, but {unseen} should be there: is it mounted? None of them is \
                 backed up here"
            );
        }
        if replicator.membership().is_some() {
            self.tell(news);
        }
    }

    /// Waits until the next cycle is due.
    async fn next(&self, ticks: &mut Interval) {
        tokio::select! {
            _ = ticks.tick() => {}
            () = self.gained.notified() => {}
        }
    }

    /// Waits until it must stop, and gives the reason.
    async fn halted(&self) -> RunError {
        tokio::select! {
            reason = self.halt.wait() => RunError::Halted(reason),
            Halted { reason, may_rejoin } = self.membership.halted() => {
                if may_rejoin { RunError::Rejoin(reason) } else { RunError::Halted(reason) }
            }
        }
    }
}

/// One shard of this node.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ShardStatus {
    /// Which.
    #[serde(flatten)]
    pub key: ShardName,
    /// Under which this node writes.
    pub epoch: Epoch,
    /// `starting`: its catalog is being read. `owned`. `releasing`: it is being given back.
    pub phase: &'static str,
    /// Since when it is this node's.
    pub since: Timestamp,
    /// Databases known.
    pub databases: u64,
    /// Databases with a change that the bucket has not yet.
    pub pending: u64,
    /// Databases whose last attempt failed, or whose newest backup is marked as damaged.
    pub failing: u64,
    /// How long the oldest change has been waiting.
    pub exposure_seconds: f64,
    /// The same of those changes only that nothing about their own database keeps out of the bucket.
    pub waiting_seconds: f64,
}

/// A shard's volume and number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShardName {
    /// The volume.
    pub volume: VolumeName,
    /// The shard of the volume.
    pub shard: ShardId,
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
        Ok(Self {
            options,
            store,
            clock,
            capturer,
            counters,
            tracer: Tracer::off(),
            budget: OnceLock::new(),
            membership: Mutex::default(),
            running: Mutex::default(),
        })
    }

    /// Makes it a node of a fleet: from the next start on it backs up the shards that the cluster gives it. The bucket
    /// was taken for the fleet before ([`crate::take`]).
    pub fn join(&self, membership: Membership) {
        *self.membership.lock().unwrap_or_else(PoisonError::into_inner) = Some(membership);
    }

    pub(crate) fn membership(&self) -> Option<Membership> {
        self.membership.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Until when it may act as a node of its fleet. `None` where it is in none.
    pub fn lease(&self) -> Option<Lease> {
        self.membership().map(|membership| membership.lease().clone())
    }

    /// How many shards of its volumes nobody had when etcd last told. `None` where it is in no fleet.
    pub fn unowned_shards(&self) -> Option<u64> {
        self.membership().map(|membership| membership.unowned())
    }

    /// How long it will be, as things are, until `-put-budget` lets another upload begin; zero where that may be now.
    /// `None` where there is no such budget.
    pub fn budget_wait(&self) -> Option<Duration> {
        self.options.put_budget?;
        let Some(budget) = self.budget.get() else { return Some(Duration::ZERO) };
        // Only uploads keep it up to date.
        let mut budget = budget.lock().unwrap_or_else(PoisonError::into_inner).clone();
        budget.meter(self.store.requests().put_class(), self.clock.monotonic());
        let in_flight = usize::try_from(self.statistics().in_flight).unwrap_or(usize::MAX);
        Some(budget.ready(in_flight).err().unwrap_or_default())
    }

    /// Has somebody told what takes how long. The first one stays.
    #[must_use]
    pub fn watched_by(self, witness: Arc<dyn Witness>) -> Self {
        self.counters.tell(witness);
        self
    }

    /// Has what takes time told as spans.
    #[must_use]
    pub fn traced_by(self, tracer: Tracer) -> Self {
        Self { tracer, ..self }
    }

    /// The shards of this node, as they are now. None while it does not run.
    ///
    /// # Errors
    /// When an actor does not answer.
    pub async fn shards(&self) -> Result<Vec<ShardStatus>, CycleError> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(node) = running else { return Ok(Vec::new()) };
        let tree = node.tree().await?;
        let counts = tree.roster.counts();
        let glances = tree.glances().await?.into_iter();
        let shards = glances.map(|(place, entry, glance)| {
            let ShardKey { volume, shard } = entry.owner.seat().shard.clone();
            ShardStatus {
                key: ShardName { volume, shard },
                epoch: entry.owner.epoch(),
                phase: match entry.stage {
                    Stage::New => "starting",
                    Stage::Ready { .. } => "owned",
                    Stage::Releasing => "releasing",
                },
                since: entry.since,
                databases: counts.of_place(place),
                pending: glance.pending,
                failing: glance.failing,
                exposure_seconds: glance.exposure.as_secs_f64(),
                waiting_seconds: glance.unserved.as_secs_f64(),
            }
        });
        Ok(shards.collect())
    }

    /// What has happened so far.
    pub fn statistics(&self) -> Statistics {
        self.counters.statistics(self.store.requests(), self.clock.monotonic())
    }

    /// Runs a cycle every `interval` until cancelled, then ends what is in flight and gives its shards back.
    ///
    /// # Errors
    /// When it cannot start, or must stop: another daemon has taken over the bucket, or the actors
    /// keep failing.
    pub async fn run(&self, interval: Duration, cancel: CancellationToken) -> Result<(), RunError> {
        let running = self.start().await?;
        let mut news = ScanNews::default();
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut since_last = self.statistics();
        ticks.tick().await;
        let stopped = loop {
            let cycle = async {
                let tree = running.node.tree().await?;
                let said = self.counters.store_says();
                let begun = self.begin_cycle(&running, &tree, &mut news).await?;
                // The line is told as soon as all is stored, or when the next cycle is due.
                let is_due = tokio::select! {
                    idle = tree.when_idle() => idle.map(|()| false)?,
                    _ = ticks.tick() => true,
                    () = running.gained.notified() => true,
                };
                let report = self.end_cycle(&running, &tree, begun, &mut since_last).await?;
                running.examine(
                    self,
                    said,
                    self.counters.store_says(),
                    report.pending > report.failed,
                );
                if !is_due {
                    running.next(&mut ticks).await;
                }
                Ok::<(), CycleError>(())
            };
            let ended = tokio::select! {
                biased;
                () = cancel.cancelled() => break Ok(()),
                why = running.halted() => break Err(why),
                ended = cycle => ended,
            };
            if let Err(error) = ended {
                tracing::error!(%error, "The cycle was broken off; the next one begins anew");
                tokio::select! {
                    biased;
                    () = cancel.cancelled() => break Ok(()),
                    why = running.halted() => break Err(why),
                    _ = ticks.tick() => {}
                }
            }
        };
        self.stop(&running, stopped).await
    }

    /// Runs one cycle to its end.
    ///
    /// # Errors
    /// As [`Self::run`], and when the scan fails or catalogs cannot be read.
    pub async fn run_once(&self, cancel: CancellationToken) -> Result<CycleReport, RunError> {
        let running = self.start().await?;
        let mut since_last = self.statistics();
        let cycle = async {
            let tree = running.node.tree().await?;
            if let Some(error) = tree.settle().await? {
                return Err(CycleError::Catalogs(error));
            }
            let begun = self.begin_cycle(&running, &tree, &mut ScanNews::default()).await?;
            tree.when_idle().await?;
            let report = self.end_cycle(&running, &tree, begun, &mut since_last).await?;
            tree.keep_once().await?;
            Ok(report)
        };
        let ended = tokio::select! {
            biased;
            () = cancel.cancelled() => Err(RunError::Cancelled),
            why = running.halted() => Err(why),
            ended = cycle => ended.map_err(RunError::Cycle),
        };
        self.stop(&running, ended).await
    }

    async fn start(&self) -> Result<Running, RunError> {
        let options = &self.options;
        let (membership, is_new) = match self.membership() {
            Some(membership) => (membership, false),
            None => self.alone().await?,
        };
        let halt = Halt::default();
        let begin = if is_new { Begin::First } else { Begin::Again };
        let budget = self.budget.get_or_init(|| {
            let counted = self.store.requests().put_class();
            let budget = PutBudget::new(options.put_budget, begin, counted, self.clock.monotonic());
            Arc::new(Mutex::new(budget))
        });
        let lease = membership.lease().clone();
        let gained = Arc::new(Notify::new());
        let plan = Plan {
            options: options.clone(),
            membership: membership.clone(),
            store: Arc::new(LeashedStore::new(Arc::clone(&self.store), lease)),
            clock: Arc::clone(&self.clock),
            capturer: Arc::clone(&self.capturer),
            counters: Arc::clone(&self.counters),
            tracer: self.tracer.clone(),
            budget: Arc::clone(budget),
            is_new,
            is_second_life: false,
            gained: Arc::clone(&gained),
            halt: halt.clone(),
        };
        let node = Node::spawn(plan).await?;
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(node.clone());
        let counters = Arc::clone(&self.counters);
        counters.works(true);
        Ok(Running { node, halt, membership, gained, health: Arc::default(), counters })
    }

    /// Takes the bucket and all shards. Also tells whether the bucket is new.
    async fn alone(&self) -> Result<(Membership, bool), StartError> {
        let Self { options, store, clock, .. } = self;
        let holder = Holder::Node(options.node.clone());
        let taken = epoch::take(store, options.volumes.shards(), &holder, None).await?;
        let Taken { generation, is_new, .. } = taken;
        let before = Epoch::new(generation.saturating_sub(1), 0);
        let grant = Grant { epoch: Epoch::new(generation, 0), handed_over_by: Some(before) };
        let membership = alone(options.volumes.keys(), grant, Arc::clone(clock));
        Ok((membership, is_new))
    }

    async fn begin_cycle(
        &self,
        running: &Running,
        tree: &Tree,
        news: &mut ScanNews,
    ) -> Result<Begun, CycleError> {
        let start = self.clock.monotonic();
        let mut span = self.tracer.root(&c::CYCLE);
        let scanned = span.within(self.scan_and_offer(running, tree)).await;
        let scanned = scanned.inspect_err(|error| span.fail(error.word(), error))?;
        span.enter(|| news.tell(&scanned));
        let (databases, changed) = (scanned.databases, scanned.changed);
        self.counters.scanned(&scanned);
        let problems = scanned.problems.len() as u64;
        Ok(Begun { span, start, scan: scanned.took, databases, changed, problems })
    }

    /// Scans, and says so when that takes long.
    async fn scan_and_offer(&self, running: &Running, tree: &Tree) -> Result<Scanned, CycleError> {
        let scanning = tree.scan_and_offer();
        tokio::pin!(scanning);
        let mut waited = Duration::ZERO;
        loop {
            tokio::select! {
                scanned = &mut scanning => {
                    if scanned.is_ok() {
                        running.scans(Duration::ZERO);
                    }
                    return scanned;
                }
                () = tokio::time::sleep(SLOW_SCAN) => {
                    if !tree.is_scanning() {
                        // A bucket is listed, which may take hours: others would do no better.
                        continue;
                    }
                    waited += SLOW_SCAN;
                    tracing::warn!("The scan takes long: does a file system hang?");
                    running.scans(waited);
                }
            }
        }
    }

    /// Makes the report of a cycle, and tells it.
    async fn end_cycle(
        &self,
        running: &Running,
        tree: &Tree,
        begun: Begun,
        since_last: &mut Statistics,
    ) -> Result<CycleReport, CycleError> {
        let Begun { mut span, start, scan, databases, changed, problems } = begun;
        let (glance, volumes) = tree.glance().await?;
        running.saw(self, &volumes);
        self.counters.at_glance(glance, self.clock.monotonic());
        let now = self.statistics();
        let took = self.clock.monotonic().saturating_sub(start);
        // So that the histogram knows of which cycle it is told.
        span.enter(|| self.counters.cycled(took));
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
            took,
            problems,
        };
        *since_last = now;
        report.describe(&mut span);
        self.counters.reported(self.clock.now(), report.clone());
        span.enter(|| tell(&report));
        drop(span);
        // A start over known databases sends nothing, and yet reads all catalogs.
        let was_much = report.changed.max(report.stored + report.unchanged) >= heap::WORTHWHILE;
        if report.pending == 0 && was_much {
            // Whether it is done yet does not matter to anybody.
            drop(tokio::task::spawn_blocking(heap::release));
        }
        Ok(report)
    }

    /// Ends what is in flight and gives the shards back, unless another daemon has taken over: then all is given
    /// up at once.
    async fn stop<T>(&self, running: &Running, ended: Result<T, RunError>) -> Result<T, RunError> {
        let Running { node, membership, .. } = running;
        let is_halted = matches!(ended, Err(RunError::Halted(_) | RunError::Rejoin(_)));
        if let Ok(tree) = node.tree().await {
            let limit = if is_halted { Duration::ZERO } else { self.options.drain_timeout };
            if let Err(error) = tree.drain(limit).await {
                tracing::warn!(%error, "Uploads in flight could not be awaited");
            }
            if !limit.is_zero() && tokio::time::timeout(limit, membership.leave()).await.is_err() {
                tracing::warn!(
                    ?limit,
                    "Not all catalogs could be written in time; the next start captures again what they lack"
                );
            }
        }
        self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        node.stop().await;
        ended
    }
}

#[cfg(test)]
#[path = "replicator_tests.rs"]
mod tests;
