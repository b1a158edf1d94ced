//! What the page shows, as plain values: gathered in `gather`, drawn by the other modules.

use std::time::Duration;

use ultrasimple_core::{SourcePath, Timestamp};
use ultrasimple_replicator::{DatabaseStatus, Findings, History, PastCycle, Portrait, Statistics};
use ultrasimple_telemetry::Reading;

use super::fleet::FleetView;

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct View {
    pub(super) now: Timestamp,
    pub(super) node: String,
    pub(super) version: &'static str,
    pub(super) uptime: Duration,
    /// Where the backups go; a directory of this host is not named.
    pub(super) bucket: String,
    /// Between two scans.
    pub(super) interval: Duration,
    /// How much longer the lease in etcd may be acted upon.
    pub(super) lease: Option<Duration>,
    /// How long a change may wait. `None`: for ever.
    pub(super) limit: Option<Duration>,
    /// Why the node does not back up all that it is to back up.
    pub(super) unready: Option<String>,
    pub(super) statistics: Statistics,
    /// Of this node's shards: databases that fail, and how long the oldest change waits. Why that is not known.
    pub(super) shards: Result<OfShards, String>,
    pub(super) portrait: Result<Portrait, String>,
    pub(super) cycles: Vec<PastCycle>,
    /// How long changes had been waiting when the bucket had them, since the start.
    pub(super) protected: Reading,
    pub(super) fleet: FleetView,
    pub(super) search: Option<SearchView>,
    pub(super) database: Option<DatabaseView>,
}

/// This node's shards together.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct OfShards {
    pub(super) databases: u64,
    pub(super) pending: u64,
    pub(super) failing: u64,
    pub(super) exposure: f64,
}

/// What was searched for, and what was found.
#[derive(Debug, Clone)]
pub(super) struct SearchView {
    pub(super) words: String,
    pub(super) found: Result<Findings, String>,
}

/// One database.
#[derive(Debug, Clone)]
pub(super) struct DatabaseView {
    pub(super) path: SourcePath,
    /// Its shard, in words; `None` where no scan shows it.
    pub(super) shard: Option<String>,
    /// Its owner and that one's page, if it is another node's.
    pub(super) elsewhere: Option<(String, Option<String>)>,
    pub(super) status: Option<DatabaseStatus>,
    pub(super) history: Result<Option<History>, String>,
}
