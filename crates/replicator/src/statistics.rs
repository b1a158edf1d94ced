//! What has happened so far, counted.

use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Serialize;
use ultrasimple_core::Timestamp;
use ultrasimple_store::RequestCounts;

use crate::bill::{Meter, ProjectedMonth};
use crate::keeping::{Keeping, KeepingCounters, Kept};

/// Counted by uploads as they happen.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    stored: AtomicU64,
    bytes: AtomicU64,
    unchanged: AtomicU64,
    failed: AtomicU64,
    store_failed: AtomicU64,
    last: Mutex<LastCycle>,
    keeping: Arc<KeepingCounters>,
    meter: Mutex<Meter>,
}

#[derive(Debug, Clone, Default)]
struct LastCycle {
    scans: u64,
    databases: u64,
    changed: u64,
    pending: u64,
    failing: u64,
    exposure: Duration,
    kept: Kept,
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

    pub(crate) fn failed(&self, is_the_stores: bool) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        self.store_failed.fetch_add(u64::from(is_the_stores), Ordering::Relaxed);
    }

    /// How often the store has confirmed an upload, and how often it was to blame that one failed.
    pub(crate) fn store_says(&self) -> (u64, u64) {
        (self.stored.load(Ordering::Relaxed), self.store_failed.load(Ordering::Relaxed))
    }

    pub(crate) fn scanned(&self, at: Timestamp, took: Duration, databases: u64, changed: u64) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.scans += 1;
        (last.at, last.took, last.databases, last.changed) = (Some(at), took, databases, changed);
    }

    pub(crate) fn at_glance(&self, glance: crate::shard::Glance) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        (last.pending, last.failing, last.exposure) =
            (glance.pending, glance.failing, glance.exposure);
        last.kept = glance.kept;
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
        Statistics {
            databases: last.databases,
            scans: last.scans,
            changed_last_cycle: last.changed,
            pending: last.pending,
            failing: last.failing,
            max_exposure_seconds: last.exposure.as_secs_f64(),
            uploads_success: self.stored.load(Ordering::Relaxed),
            uploads_failed: self.failed.load(Ordering::Relaxed),
            unchanged: self.unchanged.load(Ordering::Relaxed),
            bytes_uploaded: self.bytes.load(Ordering::Relaxed),
            last_scan: last.at,
            last_scan_seconds: last.took.as_secs_f64(),
            kept: last.kept,
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
    /// Databases with a change that the bucket has not yet.
    pub pending: u64,
    /// Databases whose last attempt failed, or whose newest backup is marked as damaged.
    pub failing: u64,
    /// How long the oldest of those changes has been waiting, in seconds.
    pub max_exposure_seconds: f64,
    /// Backups stored.
    pub uploads_success: u64,
    /// Attempts that failed.
    pub uploads_failed: u64,
    /// Captures that had the content of the last backup, so that nothing was sent.
    pub unchanged: u64,
    /// Bytes of all backups stored, compressed.
    pub bytes_uploaded: u64,
    /// When the last scan began.
    pub last_scan: Option<Timestamp>,
    /// How long it took, in seconds.
    pub last_scan_seconds: f64,
    /// What the bucket holds, as far as the catalogs say.
    pub kept: Kept,
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
