//! What is kept in the bucket, counted.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;
use ultrasimple_core::{Catalog, Timestamp};
use ultrasimple_keeper::Verdict;
use ultrasimple_keeper::reconcile::ReconcileReport;

/// What the catalogs say of the bucket, as far as they were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Kept {
    /// Backups in the bucket.
    pub backups: u64,
    /// Bytes of their objects.
    pub bytes: u64,
    /// Databases whose newest backup was never read back and verified.
    pub unverified: u64,
    /// When the oldest of these newest backups was captured.
    pub oldest_unverified: Option<Timestamp>,
    /// Databases whose newest backup is marked, or was found to be corrupt.
    pub bad: u64,
}

impl Kept {
    pub(crate) fn of(catalog: &Catalog) -> Self {
        let mut kept =
            Self { backups: catalog.backups(), bytes: catalog.bytes(), ..Self::default() };
        for record in catalog.databases.values() {
            kept.bad += u64::from(record.newest_is_bad().is_some());
            let Some(newest) = record.newest_hour() else { continue };
            if newest.verified_at.is_none() {
                kept.unverified += 1;
                let captured_at = record.newest.as_ref().map(|newest| newest.captured_at);
                let captured_at = captured_at.unwrap_or_else(|| newest.hour.start());
                kept.oldest_unverified = earliest(kept.oldest_unverified, Some(captured_at));
            }
        }
        kept
    }

    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            backups: self.backups + other.backups,
            bytes: self.bytes + other.bytes,
            unverified: self.unverified + other.unverified,
            oldest_unverified: earliest(self.oldest_unverified, other.oldest_unverified),
            bad: self.bad + other.bad,
        }
    }
}

fn earliest(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    [a, b].into_iter().flatten().min()
}

/// Counted as it happens.
#[derive(Debug, Default)]
pub(crate) struct KeepingCounters {
    catalogs: AtomicU64,
    catalog_failures: AtomicU64,
    deleted: AtomicU64,
    delete_failures: AtomicU64,
    unproven: AtomicU64,
    verified: AtomicU64,
    warnings: AtomicU64,
    failures: AtomicU64,
    found: AtomicU64,
    missing: AtomicU64,
    foreign: AtomicU64,
    fences: AtomicU64,
}

fn add(counter: &AtomicU64, count: usize) {
    counter.fetch_add(count as u64, Ordering::Relaxed);
}

impl KeepingCounters {
    pub(crate) fn catalog_written(&self) {
        add(&self.catalogs, 1);
    }

    pub(crate) fn catalog_failed(&self) {
        add(&self.catalog_failures, 1);
    }

    pub(crate) fn pruned(&self, deleted: usize, failed: usize, unproven: usize) {
        add(&self.deleted, deleted);
        add(&self.delete_failures, failed);
        add(&self.unproven, unproven);
    }

    pub(crate) fn verified(&self, verdict: &Verdict) {
        add(&self.verified, 1);
        match verdict {
            Verdict::Ok => {}
            Verdict::Warning(_) => add(&self.warnings, 1),
            Verdict::Failure(_) => add(&self.failures, 1),
        }
    }

    pub(crate) fn reconciled(&self, report: &ReconcileReport) {
        add(&self.found, report.found.len());
        add(&self.missing, report.missing.len());
        add(&self.foreign, report.foreign.len());
    }

    /// The bucket has something of a later owner.
    pub(crate) fn fenced(&self) {
        add(&self.fences, 1);
    }

    /// How often it had.
    pub(crate) fn fences(&self) -> u64 {
        self.fences.load(Ordering::Relaxed)
    }

    pub(crate) fn snapshot(&self) -> Keeping {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Keeping {
            catalogs_written: read(&self.catalogs),
            catalog_failures: read(&self.catalog_failures),
            deleted: read(&self.deleted),
            delete_failures: read(&self.delete_failures),
            unproven: read(&self.unproven),
            verified: read(&self.verified),
            verify_warnings: read(&self.warnings),
            verify_failures: read(&self.failures),
            found: read(&self.found),
            missing: read(&self.missing),
            foreign: read(&self.foreign),
        }
    }
}

/// What was done to keep the bucket in order, since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Keeping {
    /// Catalogs written.
    pub catalogs_written: u64,
    /// Times that a shard's catalog could not be read or written.
    pub catalog_failures: u64,
    /// Backups that retention deleted.
    pub deleted: u64,
    /// Deletions that failed, to be tried again.
    pub delete_failures: u64,
    /// Objects old enough to be deleted that are not provably backups of their database.
    pub unproven: u64,
    /// Backups read back.
    pub verified: u64,
    /// Of these, with a warning.
    pub verify_warnings: u64,
    /// Of these, lost.
    pub verify_failures: u64,
    /// Backups that no catalog knew.
    pub found: u64,
    /// Backups that a catalog knew and that are gone.
    pub missing: u64,
    /// Objects under our keys that are no readable backups of their database.
    pub foreign: u64,
}
