//! What has happened so far, counted.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use serde::Serialize;
use ultrasimple_core::Timestamp;
use ultrasimple_store::RequestCounts;
use ultrasimple_trace::{Span, catalogue as c};

use crate::bill::{Meter, ProjectedMonth};
use crate::keeping::{Keeping, KeepingCounters, Kept};
use crate::roster::{Roster, ShardCounts};
use crate::scanner::Scanned;
use crate::shard::{Failure, Glance};
use crate::witness::{UploadOutcome, Witness};

/// Cycles that are remembered: an hour of them, at the default interval.
pub const RECENT_CYCLES: usize = 240;

/// Counted by uploads as they happen.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    stored: AtomicU64,
    bytes: AtomicU64,
    unchanged: AtomicU64,
    failed: Mutex<BTreeMap<&'static str, u64>>,
    store_failed: AtomicU64,
    queued: AtomicU64,
    in_flight: AtomicU64,
    /// This node cannot do its work.
    is_unwell: AtomicBool,
    last: Mutex<LastCycle>,
    recent: Mutex<VecDeque<PastCycle>>,
    keeping: Arc<KeepingCounters>,
    meter: Mutex<Meter>,
    /// Of the actors that run.
    roster: Mutex<Roster>,
    witness: OnceLock<Arc<dyn Witness>>,
}

#[derive(Debug, Clone, Default)]
struct LastCycle {
    scans: u64,
    databases: u64,
    changed: u64,
    changed_in_all: u64,
    problems: u64,
    glance: Glance,
    /// When that was (monotonic clock).
    glanced: Duration,
    at: Option<Timestamp>,
    took: Duration,
}

impl Counters {
    pub(crate) fn stored(&self, bytes: u64) {
        self.stored.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn unchanged(&self) {
        self.unchanged.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn failed(&self, failure: &Failure, is_the_stores: bool) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        *failed.entry(failure.kind).or_default() += 1;
        self.store_failed.fetch_add(u64::from(is_the_stores), Ordering::Relaxed);
    }

    /// How often the store has confirmed an upload, and how often it was to blame that one failed.
    pub(crate) fn store_says(&self) -> (u64, u64) {
        (self.stored.load(Ordering::Relaxed), self.store_failed.load(Ordering::Relaxed))
    }

    /// The bucket has something of a later owner.
    pub(crate) fn fenced(&self) {
        self.keeping.fenced();
    }

    /// How many wait for an upload now, and how many uploads are under way.
    pub(crate) fn dispatching(&self, queued: usize, in_flight: usize) {
        self.queued.store(queued as u64, Ordering::Relaxed);
        self.in_flight.store(in_flight as u64, Ordering::Relaxed);
    }

    /// Whether this node can do its work.
    pub(crate) fn works(&self, works: bool) {
        self.is_unwell.store(!works, Ordering::Relaxed);
    }

    /// From now on these are the shards.
    pub(crate) fn count_shards(&self, roster: &Roster) {
        *self.roster.lock().unwrap_or_else(PoisonError::into_inner) = roster.clone();
    }

    /// From now on it is told what takes how long. There is one at most.
    pub(crate) fn tell(&self, witness: Arc<dyn Witness>) {
        let _ = self.witness.set(witness);
    }

    /// An upload has ended, of a change that has been waiting for so long.
    pub(crate) fn uploaded(&self, outcome: UploadOutcome, took: Duration, exposure: Duration) {
        let Some(witness) = self.witness.get() else { return };
        witness.uploaded(outcome, took);
        if matches!(outcome, UploadOutcome::Stored | UploadOutcome::Unchanged) {
            witness.protected(exposure);
        }
    }

    pub(crate) fn cycled(&self, took: Duration) {
        if let Some(witness) = self.witness.get() {
            witness.cycled(took);
        }
    }

    pub(crate) fn scanned(&self, scanned: &Scanned) {
        let Scanned { at, took, databases, changed, ref problems, .. } = *scanned;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.scans += 1;
        last.changed_in_all += changed;
        (last.at, last.took, last.databases, last.changed) = (Some(at), took, databases, changed);
        last.problems = problems.len() as u64;
        drop(last);
        if let Some(witness) = self.witness.get() {
            witness.scanned(took);
        }
    }

    /// How the shards looked at `now` (monotonic clock).
    pub(crate) fn at_glance(&self, glance: Glance, now: Duration) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        (last.glance, last.glanced) = (glance, now);
    }

    /// A cycle has ended.
    pub(crate) fn reported(&self, at: Timestamp, report: CycleReport) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() >= RECENT_CYCLES {
            recent.pop_front();
        }
        recent.push_back(PastCycle { at, report });
    }

    /// The last cycles, the oldest first.
    pub(crate) fn recent(&self) -> Vec<PastCycle> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// What is counted of the keeping of the bucket.
    pub(crate) fn keeping(&self) -> Arc<KeepingCounters> {
        Arc::clone(&self.keeping)
    }

    /// `requests` are those that the store has counted by `now` (monotonic clock). To be asked from the
    /// start on: what the projection compares with is kept by the way.
    pub(crate) fn statistics(&self, requests: RequestCounts, now: Duration) -> Statistics {
        let projected_month = {
            let mut meter = self.meter.lock().unwrap_or_else(PoisonError::into_inner);
            meter.note(requests, now);
            meter.project(requests, now)
        };
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let roster = self.roster.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Glance { pending, waiting, failing, catalog_age, kept, .. } = last.glance;
        // What waited then waits still, as far as anybody knows: this goes on when cycles do not.
        let since = now.saturating_sub(last.glanced);
        let goes_on = |are_any: bool, exposure: Duration| {
            if are_any { (exposure + since).as_secs_f64() } else { 0.0 }
        };
        let Glance { exposure, waiting_exposure, failing_exposure, .. } = last.glance;
        Statistics {
            databases: last.databases,
            scans: last.scans,
            changed_last_cycle: last.changed,
            changed: last.changed_in_all,
            pending,
            waiting,
            failing,
            max_exposure_seconds: goes_on(pending > 0, exposure),
            waiting_exposure_seconds: goes_on(waiting > 0, waiting_exposure),
            failing_exposure_seconds: goes_on(pending > waiting, failing_exposure),
            uploads_success: self.stored.load(Ordering::Relaxed),
            uploads_failed: failed.values().sum(),
            failed_by_kind: failed,
            queued: self.queued.load(Ordering::Relaxed),
            in_flight: self.in_flight.load(Ordering::Relaxed),
            shards: roster.shard_counts(),
            fences: self.keeping.fences(),
            unchanged: self.unchanged.load(Ordering::Relaxed),
            bytes_uploaded: self.bytes.load(Ordering::Relaxed),
            last_scan: last.at,
            last_scan_seconds: last.took.as_secs_f64(),
            scan_problems: last.problems,
            is_unwell: self.is_unwell.load(Ordering::Relaxed),
            kept,
            catalog_age_seconds: catalog_age.as_secs_f64(),
            keeping: self.keeping.snapshot(),
            requests,
            projected_month,
        }
    }
}

/// What has happened since the start, and how things stood after the last cycle.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Statistics {
    /// Databases known.
    pub databases: u64,
    /// Scans completed.
    pub scans: u64,
    /// Databases that the last scan found new or changed.
    pub changed_last_cycle: u64,
    /// What all scans found new or changed.
    pub changed: u64,
    /// Databases with a change that the bucket has not yet.
    pub pending: u64,
    /// Of these, those that are not failing.
    pub waiting: u64,
    /// Databases whose last attempt failed, or whose newest backup is marked as damaged.
    pub failing: u64,
    /// How long the oldest of those changes has been waiting, in seconds.
    pub max_exposure_seconds: f64,
    /// The same of databases that are not failing.
    pub waiting_exposure_seconds: f64,
    /// The same of databases that are.
    pub failing_exposure_seconds: f64,
    /// Backups stored.
    pub uploads_success: u64,
    /// Attempts that failed.
    pub uploads_failed: u64,
    /// These, by the kind of failure; there are few.
    pub failed_by_kind: BTreeMap<&'static str, u64>,
    /// Databases that wait for their upload to begin.
    pub queued: u64,
    /// Uploads under way.
    pub in_flight: u64,
    /// This node's shards.
    pub shards: ShardCounts,
    /// Times that the bucket had something of a later owner.
    pub fences: u64,
    /// Captures that had the content of the last backup, so that nothing was sent.
    pub unchanged: u64,
    /// Bytes of all backups stored, compressed.
    pub bytes_uploaded: u64,
    /// When the last scan began.
    pub last_scan: Option<Timestamp>,
    /// How long it took, in seconds.
    pub last_scan_seconds: f64,
    /// Places that it could not look at.
    pub scan_problems: u64,
    /// The store has not worked for this node for a while, or its file system hangs or lacks a volume: in a fleet,
    /// others take over.
    pub is_unwell: bool,
    /// What the bucket holds, as far as the catalogs say.
    pub kept: Kept,
    /// How long a catalog has lacked something that the bucket has, at most, in seconds.
    pub catalog_age_seconds: f64,
    /// What was done to keep it in order.
    pub keeping: Keeping,
    /// Requests sent to the store since it was opened, by kind, whatever for: backups, and what belongs to
    /// them. Those that failed count, too.
    pub requests: RequestCounts,
    /// What a month costs that goes on as the last 24 hours went. `None` in the first five minutes.
    pub projected_month: Option<ProjectedMonth>,
}

/// One cycle, as it ended (or as it stood when the next one was due).
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct CycleReport {
    /// Databases known.
    pub databases: u64,
    /// Databases that the scan found new or changed.
    pub changed: u64,
    /// Backups stored since the last report.
    pub stored: u64,
    /// Captures whose content was that of the last backup.
    pub unchanged: u64,
    /// Databases that are failing now: last attempt failed, or newest backup marked as damaged.
    pub failed: u64,
    /// Databases with a change that the bucket has not yet, the failing ones included.
    pub pending: u64,
    /// Bytes of the backups stored since the last report, compressed.
    pub bytes: u64,
    /// How long the oldest change has been waiting.
    pub max_exposure: Duration,
    /// How long the scan took.
    pub scan: Duration,
    /// How long the cycle took until now.
    pub took: Duration,
    /// Places that the scan could not look at.
    pub problems: u64,
}

impl CycleReport {
    /// Says the same of the cycle's span.
    pub(crate) fn describe(&self, span: &mut Span) {
        span.set(&c::DATABASES, self.databases);
        span.set(&c::CHANGED, self.changed);
        span.set(&c::PROBLEMS, self.problems);
        span.set(&c::STORED, self.stored);
        span.set(&c::UNCHANGED, self.unchanged);
        span.set(&c::PENDING, self.pending);
        span.set(&c::FAILING, self.failed);
    }
}

/// One of the last cycles.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PastCycle {
    /// When it ended.
    pub at: Timestamp,
    /// How.
    pub report: CycleReport,
}
