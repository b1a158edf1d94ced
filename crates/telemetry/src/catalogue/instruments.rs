//! The instruments, one by one. What each means is in its `meaning`, which is also in `docs/METRICS.md`.
#![expect(missing_docs, reason = "each says what it means")]

use super::{Instrument, Kind, Label, Values, When};

const fn counter(
    name: &'static str,
    prometheus: &'static str,
    unit: &'static str,
    meaning: &'static str,
) -> Instrument {
    let (kind, label, when) = (Kind::Counter, None, When::Always);
    Instrument { name, prometheus, unit, kind, label, when, meaning }
}

const fn gauge(
    name: &'static str,
    prometheus: &'static str,
    unit: &'static str,
    meaning: &'static str,
) -> Instrument {
    let (kind, label, when) = (Kind::Gauge, None, When::Always);
    Instrument { name, prometheus, unit, kind, label, when, meaning }
}

const fn histogram(
    name: &'static str,
    prometheus: &'static str,
    bounds: &'static [f64],
    meaning: &'static str,
) -> Instrument {
    let (unit, kind, label, when) = ("s", Kind::Histogram(bounds), None, When::Always);
    Instrument { name, prometheus, unit, kind, label, when, meaning }
}

impl Instrument {
    const fn by(self, name: &'static str, values: &'static [&'static str]) -> Self {
        let label = Some(Label { name, values: Values::Words(values) });
        Self { label, ..self }
    }

    const fn when(self, when: When) -> Self {
        Self { when, ..self }
    }
}

/// The words for kinds of failures; the log has them, too. Another is told as `_OTHER`.
pub const FAILURES: &[&str] = &[
    "busy",
    "check_timeout",
    "condition_failed",
    "damaged_kept",
    "denied",
    "empty",
    "foreign_object",
    "invalid",
    "io",
    "key",
    "key_collision",
    "link",
    "newer_backup",
    "not_a_database",
    "panic",
    "permission",
    "scratch",
    "scratch_full",
    "slow_down",
    "sqlite",
    "store",
    "unavailable",
    "unknown_outcome",
    "untrustworthy",
    "vanished",
    "volume",
    OTHER,
];
/// What no word of the catalogue is for.
pub const OTHER: &str = "_OTHER";

// Are the databases protected?

pub static DATABASES: Instrument = gauge(
    "ultrasimple.databases",
    "ultrasimple_databases",
    "{database}",
    "Databases of this node, by how it is about them as of the last cycle. `clean`: the bucket has what they hold. \
     `pending`: a change waits. `failing`: the last attempt failed, or the newest backup is of a damaged database.",
)
.by("state", &["clean", "pending", "failing"]);
pub static EXPOSURE_MAX: Instrument = gauge(
    "ultrasimple.exposure.max",
    "ultrasimple_exposure_max_seconds",
    "s",
    "How long the oldest change that the bucket does not have has been waiting, of databases that are failing and of \
     those that are not; 0 when there is none. Goes on when cycles do not.",
)
.by("state", &["pending", "failing"]);
pub static EXPOSURE: Instrument = histogram(
    "ultrasimple.exposure",
    "ultrasimple_exposure_seconds",
    &[1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3_600.0, 21_600.0, 86_400.0],
    "How long a change had been waiting, since a scan found it, when the bucket had it.",
);
pub static SCAN_TIMESTAMP: Instrument = gauge(
    "ultrasimple.scan.timestamp",
    "ultrasimple_scan_timestamp_seconds",
    "s",
    "When the last scan that was finished began, in seconds since 1970; 0 before the first one.",
);
pub static SCAN_PROBLEMS: Instrument = gauge(
    "ultrasimple.scan.problems",
    "ultrasimple_scan_problems",
    "{place}",
    "Directories that the last scan could not look at, and what looks like a lost mount: what is there is not backed \
     up.",
);
pub static BACKUPS_FAILED: Instrument = counter(
    "ultrasimple.backups.failed",
    "ultrasimple_backups_failed_total",
    "{attempt}",
    "Attempts to back a database up that failed, by reason. Each is repeated in the next cycle.",
)
.by("error.type", FAILURES);
pub static BUCKET_BAD: Instrument = gauge(
    "ultrasimple.bucket.bad",
    "ultrasimple_bucket_bad",
    "{database}",
    "Databases whose newest backup is marked as damaged, or was found to be corrupt.",
);
pub static UNVERIFIED: Instrument = gauge(
    "ultrasimple.unverified",
    "ultrasimple_unverified",
    "{database}",
    "Databases whose newest backup was never read back and verified.",
);
pub static UNVERIFIED_AGE: Instrument = gauge(
    "ultrasimple.unverified.age",
    "ultrasimple_unverified_age_seconds",
    "s",
    "How long ago the oldest of these backups was captured; 0 when there is none.",
);

// Cycles and uploads

pub static CYCLE_DURATION: Instrument = histogram(
    "ultrasimple.cycle.duration",
    "ultrasimple_cycle_duration_seconds",
    &[0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 900.0],
    "How long a cycle took: from its beginning until all that it found was stored, or the next cycle was due.",
);
pub static CYCLE_INTERVAL: Instrument = gauge(
    "ultrasimple.cycle.interval",
    "ultrasimple_cycle_interval_seconds",
    "s",
    "After so long the next cycle is due: `-interval`.",
);
pub static SCAN_DURATION: Instrument = histogram(
    "ultrasimple.scan.duration",
    "ultrasimple_scan_duration_seconds",
    &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0],
    "How long a scan of all databases took.",
);
pub static CHANGES: Instrument = counter(
    "ultrasimple.changes",
    "ultrasimple_changes_total",
    "{database}",
    "Databases that scans found new or changed.",
);
pub static BACKUPS_STORED: Instrument = counter(
    "ultrasimple.backups.stored",
    "ultrasimple_backups_stored_total",
    "{backup}",
    "Backups stored.",
);
pub static BACKUPS_UNCHANGED: Instrument = counter(
    "ultrasimple.backups.unchanged",
    "ultrasimple_backups_unchanged_total",
    "{capture}",
    "Captures that had the content of the last backup: nothing was sent.",
);
pub static BACKUPS_SENT: Instrument = counter(
    "ultrasimple.backups.sent",
    "ultrasimple_backups_sent_bytes_total",
    "By",
    "Bytes of the backups stored, compressed.",
);
pub static UPLOAD_DURATION: Instrument = histogram(
    "ultrasimple.upload.duration",
    "ultrasimple_upload_duration_seconds",
    &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0],
    "How long an upload took, from its turn until it ended: capture, check, compression, request; by how it ended.",
)
.by("outcome", &["stored", "unchanged", "failed", "vanished", "given_up"]);
pub static QUEUE_LENGTH: Instrument = gauge(
    "ultrasimple.queue.length",
    "ultrasimple_queue_length",
    "{database}",
    "Databases that wait for their upload to begin.",
);
pub static UPLOADS_IN_FLIGHT: Instrument = gauge(
    "ultrasimple.uploads.in_flight",
    "ultrasimple_uploads_in_flight",
    "{upload}",
    "Uploads under way; `-concurrent` is the most.",
);

// The bucket

pub static BUCKET_BACKUPS: Instrument = gauge(
    "ultrasimple.bucket.backups",
    "ultrasimple_bucket_backups",
    "{backup}",
    "Backups in the bucket of this node's databases, by the catalogs.",
);
pub static BUCKET_SIZE: Instrument = gauge(
    "ultrasimple.bucket.size",
    "ultrasimple_bucket_size_bytes",
    "By",
    "Bytes of these backups.",
);
pub static CATALOG_AGE: Instrument = gauge(
    "ultrasimple.catalog.age",
    "ultrasimple_catalog_age_seconds",
    "s",
    "How long a catalog has lacked something that the bucket has, at most; 0 when all say all. After a crash that \
     much is captured again.",
);
pub static CATALOG_WRITES: Instrument = counter(
    "ultrasimple.catalog.writes",
    "ultrasimple_catalog_writes_total",
    "{catalog}",
    "Catalogs written, or not: then the shard is tended again later.",
)
.by("outcome", &["ok", "failed"]);
pub static RETENTION: Instrument = counter(
    "ultrasimple.retention.backups",
    "ultrasimple_retention_backups_total",
    "{backup}",
    "Backups that are old enough to be deleted, by what became of them. `failed`: to be tried again. `unproven`: not \
     provably a backup of its database, and left alone.",
)
.by("outcome", &["deleted", "failed", "unproven"]);
pub static VERIFICATIONS: Instrument = counter(
    "ultrasimple.verifications",
    "ultrasimple_verifications_total",
    "{backup}",
    "Backups read back, by what was found. `failure`: it cannot be restored, and is backed up again.",
)
.by("outcome", &["ok", "warning", "failure"]);
pub static COMPARISON: Instrument = counter(
    "ultrasimple.comparison.differences",
    "ultrasimple_comparison_differences_total",
    "{object}",
    "Where the daily comparison found the bucket to differ from the catalogs. `found`: a backup that no catalog knew. \
     `missing`: one that is gone. `foreign`: an object under our keys that is no readable backup.",
)
.by("kind", &["found", "missing", "foreign"]);

// The bill

pub static REQUESTS: Instrument = counter(
    "ultrasimple.store.requests",
    "ultrasimple_store_requests_total",
    "{request}",
    "Requests to the store, whatever for; those that failed count, too.",
)
.by("kind", &["put", "multipart", "get", "head", "list", "delete"]);
pub static MONTH_REQUESTS: Instrument = gauge(
    "ultrasimple.month.requests",
    "ultrasimple_month_requests",
    "{request}",
    "Requests of a month that goes on as the last 24 hours went, by what they cost as much as.",
)
.by("class", &["put", "get"])
.when(When::Later);
pub static MONTH_COST: Instrument = gauge(
    "ultrasimple.month.cost",
    "ultrasimple_month_cost_dollars",
    "{USD}",
    "What these requests cost in US dollars: AWS, S3 Standard, us-east-1. Storage is not in it.",
)
.when(When::Later);
pub static BUDGET_REQUESTS: Instrument = gauge(
    "ultrasimple.budget.requests",
    "ultrasimple_budget_requests",
    "{request}",
    "Requests that cost what a PUT costs and that this node may send in any 30 days: `-put-budget`.",
)
.when(When::WithBudget);
pub static BUDGET_WAIT: Instrument = gauge(
    "ultrasimple.budget.wait",
    "ultrasimple_budget_wait_seconds",
    "s",
    "How long until the budget lets another upload begin; 0 when it does now.",
)
.when(When::WithBudget);

// The fleet

pub static SHARDS: Instrument = gauge(
    "ultrasimple.shards",
    "ultrasimple_shards",
    "{shard}",
    "Shards of this node. `starting`: their catalogs are being read. `releasing`: they are being given back.",
)
.by("phase", &["starting", "owned", "releasing"]);
pub static SHARDS_UNOWNED: Instrument = gauge(
    "ultrasimple.shards.unowned",
    "ultrasimple_shards_unowned",
    "{shard}",
    "Shards of the volumes that this node mounts that no node has, as far as etcd has told this one: what is in them \
     is not backed up. All nodes of a volume tell the same: take the maximum, not the sum.",
)
.when(When::InFleet);
pub static NODE_UNWELL: Instrument = gauge(
    "ultrasimple.node.unwell",
    "ultrasimple_node_unwell",
    "{node}",
    "1 while this node cannot do its work: the store has not worked for it for half a minute, its file system hangs, \
     or a volume looks as if it were not mounted. Others take its shards over.",
)
.when(When::InFleet);
pub static LEASE_REMAINING: Instrument = gauge(
    "ultrasimple.lease.remaining",
    "ultrasimple_lease_remaining_seconds",
    "s",
    "How much longer this node may act on its lease in etcd; 0 when it may not.",
)
.when(When::InFleet);
pub static LEASE_TTL: Instrument = gauge(
    "ultrasimple.lease.ttl",
    "ultrasimple_lease_ttl_seconds",
    "s",
    "How long the lease lasts in etcd: `-lease-ttl`. It is kept alive four times as often, and acted upon for four \
     fifths of that.",
)
.when(When::InFleet);
pub static FENCES: Instrument = counter(
    "ultrasimple.fences",
    "ultrasimple_fences_total",
    "{fence}",
    "Times that the bucket had something of a later owner, so that this node let go of the shard (or stopped).",
);

// The process

pub static BUILD: Instrument = Instrument {
    label: Some(Label { name: "version", values: Values::One("0.1.0") }),
    ..gauge(
        "ultrasimple.build",
        "ultrasimple_build_info",
        "",
        "Always 1; its label tells the version.",
    )
};
pub static UPTIME: Instrument =
    gauge("process.uptime", "process_uptime_seconds", "s", "How long the daemon has been running.");
pub static MEMORY: Instrument = gauge(
    "process.memory.usage",
    "process_resident_memory_bytes",
    "By",
    "Memory that the process holds (RSS).",
);
pub static CPU_TIME: Instrument = counter(
    "process.cpu.time",
    "process_cpu_seconds_total",
    "s",
    "Processor time that the process has used, user and system.",
);
pub static OPEN_FILES: Instrument = gauge(
    "process.unix.file_descriptor.count",
    "process_open_fds",
    "{file_descriptor}",
    "Files and sockets that the process has open.",
);
pub static MOST_FILES: Instrument = gauge(
    "process.unix.file_descriptor.limit",
    "process_max_fds",
    "{file_descriptor}",
    "How many it may have open.",
);
