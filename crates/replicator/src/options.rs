//! What a [`crate::Replicator`] is made of.

use std::path::PathBuf;
use std::time::Duration;

use ultrasimple_core::config::KeepSettings;
use ultrasimple_core::pattern::PatternSet;
use ultrasimple_core::template::PathTemplate;
use ultrasimple_core::{CheckLevel, NodeName, Volumes};

/// All settings of a replicator, checked.
#[derive(Debug, Clone)]
pub struct ReplicatorOptions {
    /// The volumes that the databases are on, each divided into the same number of shards, which is fixed for
    /// the life of the bucket.
    pub volumes: Volumes,
    /// This node.
    pub node: NodeName,
    /// Which files are databases.
    pub patterns: PatternSet,
    /// Where in the bucket their backups go.
    pub template: PathTemplate,
    /// Uploads at once, at least 1.
    pub concurrent: usize,
    /// Bytes that captures and uploads may hold in memory, all together.
    pub memory_budget: u64,
    /// How captures are checked before the upload.
    pub check: CheckLevel,
    /// The least time between two uploads of one database.
    pub min_upload_interval: Duration,
    /// Requests in 30 days that cost what a PUT costs, whatever they are for; `None`: no limit.
    pub put_budget: Option<u64>,
    /// How long backups are kept, and how they are proved.
    pub keep: KeepSettings,
    /// Where images go that do not fit into memory.
    pub scratch: PathBuf,
    /// Bytes that may be there at once.
    pub spool_limit: u64,
    /// How long uploads in flight may take to end when the replicator is stopped.
    pub drain_timeout: Duration,
}
