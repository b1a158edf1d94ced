//! What takes time, told while it happens: how long, and how it ended.
//!
//! Numbers that only grow are kept in `statistics.rs` and read when somebody asks. What is needed one by one (for a
//! histogram) is told here, to whoever the daemon says.

use std::fmt::Debug;
use std::time::Duration;

use crate::shard::Outcome;

/// Is told how long things took. It must return at once: uploads wait for it.
pub trait Witness: Debug + Send + Sync {
    /// A scan was finished.
    fn scanned(&self, took: Duration);
    /// All that a cycle found is stored, or the next cycle is due.
    fn cycled(&self, took: Duration);
    /// An upload that was begun has ended.
    fn uploaded(&self, outcome: UploadOutcome, took: Duration);
    /// A change is in the bucket that had been waiting for so long since a scan found it.
    fn protected(&self, exposure: Duration);
}

/// How an upload ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadOutcome {
    /// The store has confirmed the content.
    Stored,
    /// The content is that of the last backup; nothing was sent.
    Unchanged,
    /// It failed, and is tried again in the next cycle.
    Failed,
    /// The file went away meanwhile.
    Vanished,
    /// The daemon stops, its lease is lost, or the shard goes elsewhere.
    GivenUp,
}

impl UploadOutcome {
    /// All there are.
    pub const ALL: [Self; 5] =
        [Self::Stored, Self::Unchanged, Self::Failed, Self::Vanished, Self::GivenUp];

    /// A word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Unchanged => "unchanged",
            Self::Failed => "failed",
            Self::Vanished => "vanished",
            Self::GivenUp => "given_up",
        }
    }

    pub(crate) fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Stored { .. } => Self::Stored,
            Outcome::Unchanged { .. } => Self::Unchanged,
            Outcome::Failed(_) | Outcome::Doubtful(..) => Self::Failed,
            Outcome::Vanished => Self::Vanished,
            Outcome::GivenUp(_) | Outcome::Deferred => Self::GivenUp,
        }
    }
}
