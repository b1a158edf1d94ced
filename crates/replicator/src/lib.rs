//! Backs up every changed SQLite database of a volume, cycle after cycle.
//!
//! ```text
//! Scanner ──changed, gone──▶ ShardOwner ──job──▶ Uploader ──stored──▶ ShardOwner
//!    ▲ one tick                (one per shard)      capture → check → compress → put
//! ```
//!
//! [`Replicator`] is the front door, [`ReplicatorBuilder`] the short way in. The actors are in `node.rs`
//! (who supervises whom), `tree.rs` (the cycle) and `steward.rs` (shards come and go); decisions without I/O are in `shard.rs`,
//! `dispatch.rs`, `flow.rs`, `budget.rs`, `conflict.rs` and `bill.rs`; the way of one backup is in `backup.rs`.

mod absent;
mod agenda;
mod backup;
mod bill;
mod budget;
mod builder;
mod conflict;
mod dispatch;
mod dry_run;
mod epoch;
mod extent;
mod flow;
mod health;
mod heap;
mod held;
mod inspection;
mod keeper;
mod keeping;
mod leash;
mod ledger;
mod node;
mod options;
#[cfg(feature = "parts")]
#[doc(hidden)]
pub mod parts;
mod recall;
mod replicator;
mod roster;
mod scan;
mod scanner;
mod shard;
mod shard_owner;
#[cfg(feature = "simulation")]
#[doc(hidden)]
pub mod simulation;
mod statistics;
mod steward;
mod tending;
mod tree;
mod uploader;
mod witness;

use ultrasimple_sqlite::CaptureError;
use ultrasimple_store::StoreError;

pub use backup::memory_per_stream;
pub use bill::{ProjectedMonth, storage_dollars};
pub use builder::{BuildError, ReplicatorBuilder};
pub use dry_run::{DryRunAction, DryRunLine};
pub use epoch::{NotOurs, Taken, bucket_name, random_name, take, take_again};
pub use inspection::{
    Ages, Database, DatabaseStatus, FailingDatabase, Findings, History, HistoryError, Portrait,
    Trouble,
};
pub use keeping::{Keeping, Kept};
pub use options::ReplicatorOptions;
pub use replicator::{Replicator, ShardName, ShardStatus};
pub use roster::ShardCounts;
pub use statistics::{CycleReport, PastCycle, RECENT_CYCLES, Statistics};
pub use witness::{UploadOutcome, Witness};

/// Why a replicator cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The scratch directory cannot be used.
    #[error("{0}")]
    Scratch(CaptureError),
    /// The bucket cannot be read or written.
    #[error("the bucket cannot be used: {0}")]
    Store(#[from] StoreError),
    /// The bucket was set up with another number of shards.
    #[error("the bucket was set up with -shards {theirs}; this start says {ours}: use the same")]
    OtherShards {
        /// What the bucket says.
        theirs: u32,
        /// What this start says.
        ours: u32,
    },
    /// Others of the same fleet have one that is not new.
    #[error(
        "this bucket has nothing in it, but the nodes of the fleet have one with backups: give all the same -bucket"
    )]
    OtherBucket,
    /// The bucket's cluster file is unusable.
    #[error("{key} in the bucket: {reason}")]
    ClusterFile {
        /// The file's key.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// The actors could not be started.
    #[error("the actors could not be started: {0}")]
    Actors(String),
}

/// Why a replicator stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// It could not start.
    #[error("{0}")]
    Start(#[from] StartError),
    /// It must not go on.
    #[error("stopped: {0}")]
    Halted(String),
    /// Its fleet is not there any more: it may join the one that is.
    #[error("stopped: {0}")]
    Rejoin(String),
    /// The only cycle failed.
    #[error("{0}")]
    Cycle(#[from] CycleError),
    /// It was cancelled before the cycle had ended.
    #[error("cancelled before the cycle had ended")]
    Cancelled,
}

/// Why a cycle was broken off. The next one begins anew.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CycleError {
    /// An actor did not answer.
    #[error("{who} does not answer {why}")]
    NoAnswer {
        /// Which.
        who: &'static str,
        /// "in time" or "any more".
        why: &'static str,
    },
    /// The catalogs could not be read.
    #[error("the catalogs cannot be read: {0}")]
    Catalogs(String),
    /// The scan failed as a whole.
    #[error("the scan failed: {0}")]
    Scan(String),
}

impl CycleError {
    /// A word for it.
    fn word(&self) -> &'static str {
        match self {
            Self::NoAnswer { .. } => "no_answer",
            Self::Catalogs(_) => "catalogs",
            Self::Scan(_) => "scan",
        }
    }
}
