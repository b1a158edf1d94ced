//! The numbers of this node, as the catalogue of `ultrasimple-telemetry` names them.
//!
//! Counted elsewhere: this asks for them, and gives each its name. Only distributions are kept here, as they happen.

use std::time::Duration;

use ultrasimple_cluster::Lease;
use ultrasimple_core::{Clock, SystemClock, Timestamp};
use ultrasimple_replicator::{
    Keeping, ProjectedMonth, ShardCounts, Statistics, UploadOutcome, Witness,
};
use ultrasimple_telemetry::{Exemplar, Histogram, Samples, catalogue as c, process};

/// What is counted as it happens.
#[derive(Debug)]
pub(crate) struct Distributions {
    cycles: Histogram,
    scans: Histogram,
    uploads: Histogram,
    exposure: Histogram,
}

impl Default for Distributions {
    fn default() -> Self {
        Self {
            cycles: Histogram::new(&c::CYCLE_DURATION),
            scans: Histogram::new(&c::SCAN_DURATION),
            uploads: Histogram::new(&c::UPLOAD_DURATION),
            exposure: Histogram::new(&c::EXPOSURE),
        }
    }
}

impl Distributions {
    pub(crate) fn all(&self) -> [&Histogram; 4] {
        [&self.cycles, &self.scans, &self.uploads, &self.exposure]
    }

    /// How long changes had been waiting when the bucket had them.
    pub(crate) fn exposure(&self) -> &Histogram {
        &self.exposure
    }
}

impl Witness for Distributions {
    fn scanned(&self, took: Duration) {
        self.scans.record(None, took);
    }

    fn cycled(&self, took: Duration) {
        let example = ultrasimple_trace::context();
        let example = example.map(|context| Exemplar { context, at: SystemClock.now(), took });
        self.cycles.record_with(None, took, example);
    }

    fn uploaded(&self, outcome: UploadOutcome, took: Duration) {
        self.uploads.record(Some(outcome.word()), took);
    }

    fn protected(&self, exposure: Duration) {
        self.exposure.record(None, exposure);
    }
}

/// What the numbers are made of.
pub(crate) struct Figures<'a> {
    pub(crate) statistics: Statistics,
    pub(crate) distributions: &'a Distributions,
    /// Of a node of a fleet.
    pub(crate) fleet: Option<FleetFigures>,
    /// How many requests a month, and how long until the next upload may begin.
    pub(crate) budget: Option<(u64, Duration)>,
    pub(crate) interval: Duration,
    pub(crate) now: Timestamp,
    pub(crate) uptime: Duration,
}

/// What only a node of a fleet has.
pub(crate) struct FleetFigures {
    pub(crate) lease: Lease,
    pub(crate) lease_ttl: Duration,
    pub(crate) unowned_shards: u64,
}

impl Figures<'_> {
    pub(crate) fn samples(&self) -> Samples {
        let mut samples = Samples::default();
        self.of_databases(&mut samples);
        self.of_bucket(&mut samples);
        self.of_bill(&mut samples);
        self.of_fleet(&mut samples);
        for histogram in self.distributions.all() {
            samples.distribution(histogram);
        }
        samples.counts(&c::BUILD, [(env!("CARGO_PKG_VERSION"), 1)]);
        samples.real(&c::UPTIME, self.uptime.as_secs_f64());
        process::sample(&mut samples);
        samples
    }

    fn of_databases(&self, samples: &mut Samples) {
        let now = &self.statistics;
        let clean = now.databases.saturating_sub(now.failing + now.waiting);
        let states = [("clean", clean), ("pending", now.waiting), ("failing", now.failing)];
        samples.counts(&c::DATABASES, states);
        let exposures =
            [("pending", now.waiting_exposure_seconds), ("failing", now.failing_exposure_seconds)];
        samples.reals(&c::EXPOSURE_MAX, exposures);
        samples.real(&c::SCAN_TIMESTAMP, now.last_scan.map_or(0.0, seconds));
        samples.count(&c::SCAN_PROBLEMS, now.scan_problems);
        samples.real(&c::CYCLE_INTERVAL, self.interval.as_secs_f64());
        let failed = now.failed_by_kind.iter().map(|(kind, count)| (*kind, *count));
        samples.counts_by_word(&c::BACKUPS_FAILED, failed);
        samples.count(&c::CHANGES, now.changed);
        samples.count(&c::BACKUPS_STORED, now.uploads_success);
        samples.count(&c::BACKUPS_UNCHANGED, now.unchanged);
        samples.count(&c::BACKUPS_SENT, now.bytes_uploaded);
        samples.count(&c::QUEUE_LENGTH, now.queued);
        samples.count(&c::UPLOADS_IN_FLIGHT, now.in_flight);
    }

    fn of_bucket(&self, samples: &mut Samples) {
        let kept = self.statistics.kept;
        samples.count(&c::BUCKET_BACKUPS, kept.backups);
        samples.count(&c::BUCKET_SIZE, kept.bytes);
        samples.count(&c::BUCKET_BAD, kept.bad);
        samples.count(&c::UNVERIFIED, kept.unverified);
        let age =
            kept.oldest_unverified.map_or(0.0, |at| (seconds(self.now) - seconds(at)).max(0.0));
        samples.real(&c::UNVERIFIED_AGE, age);
        samples.real(&c::CATALOG_AGE, self.statistics.catalog_age_seconds);
        let Keeping { catalogs_written, catalog_failures, .. } = self.statistics.keeping;
        let written = [("ok", catalogs_written), ("failed", catalog_failures)];
        samples.counts(&c::CATALOG_WRITES, written);
        let Keeping { deleted, delete_failures, unproven, .. } = self.statistics.keeping;
        let given_up = [("deleted", deleted), ("failed", delete_failures), ("unproven", unproven)];
        samples.counts(&c::RETENTION, given_up);
        let Keeping { verified, verify_warnings, verify_failures, .. } = self.statistics.keeping;
        let ok = verified.saturating_sub(verify_warnings + verify_failures);
        let read = [("ok", ok), ("warning", verify_warnings), ("failure", verify_failures)];
        samples.counts(&c::VERIFICATIONS, read);
        let Keeping { found, missing, foreign, .. } = self.statistics.keeping;
        let compared = [("found", found), ("missing", missing), ("foreign", foreign)];
        samples.counts(&c::COMPARISON, compared);
    }

    fn of_bill(&self, samples: &mut Samples) {
        let sent = self.statistics.requests;
        let kinds = [
            ("put", sent.puts),
            ("multipart", sent.multipart),
            ("get", sent.gets),
            ("head", sent.heads),
            ("list", sent.lists),
            ("delete", sent.deletes),
        ];
        samples.counts(&c::REQUESTS, kinds);
        let month = self.statistics.projected_month;
        if let Some(ProjectedMonth { put_class, get_class, dollars }) = month {
            samples.counts(&c::MONTH_REQUESTS, [("put", put_class), ("get", get_class)]);
            samples.real(&c::MONTH_COST, dollars);
        }
        if let Some((requests, wait)) = self.budget {
            samples.count(&c::BUDGET_REQUESTS, requests);
            samples.real(&c::BUDGET_WAIT, wait.as_secs_f64());
        }
    }

    fn of_fleet(&self, samples: &mut Samples) {
        let ShardCounts { starting, owned, releasing } = self.statistics.shards;
        let phases = [("starting", starting), ("owned", owned), ("releasing", releasing)];
        samples.counts(&c::SHARDS, phases);
        if let Some(FleetFigures { lease, lease_ttl, unowned_shards }) = &self.fleet {
            samples.count(&c::SHARDS_UNOWNED, *unowned_shards);
            samples.count(&c::NODE_UNWELL, u64::from(self.statistics.is_unwell));
            samples.real(&c::LEASE_REMAINING, lease.remaining().as_secs_f64());
            samples.real(&c::LEASE_TTL, lease_ttl.as_secs_f64());
        }
        samples.count(&c::FENCES, self.statistics.fences);
    }
}

/// Since 1970.
#[expect(clippy::cast_precision_loss, reason = "2^53 milliseconds are out of reach")]
fn seconds(at: Timestamp) -> f64 {
    at.as_millisecond() as f64 / 1_000.0
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
