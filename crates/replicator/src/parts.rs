//! What micro-benchmarks drive of this crate: the scan, its table, and what is held of databases.
//!
//! Nothing is decided here: each call is one that the actors make.

use std::time::Duration;

use ultrasimple_core::FingerprintDigest;
use ultrasimple_core::catalog::StoredBackup;

use crate::held::{self, Holdings};
use crate::shard::LastBackup;

pub use crate::scan::parts::{Found, Known, Scanner, Seen};

/// What the bucket holds of the databases of a shard. They are known by a number, as wide as an id.
#[derive(Debug, Default)]
pub struct Held(Holdings<u64>);

impl Held {
    /// Remembers the newest backup of a database, and of which fingerprint it is.
    pub fn insert(&mut self, id: u64, digest: FingerprintDigest, newest: &StoredBackup) {
        let backup = LastBackup::of(newest, Duration::ZERO);
        self.0.insert(id, held::Held { digest, backup });
    }

    /// The fingerprint of what the bucket holds of a database, once all that is known of it is looked up.
    pub fn get(&self, id: u64) -> Option<FingerprintDigest> {
        self.0.get(id).map(|held| held.digest)
    }

    /// Puts all in order.
    pub fn merge(&mut self) {
        self.0.merge();
    }

    /// Of how many databases something is held.
    pub fn databases(&self) -> usize {
        self.0.len()
    }
}
