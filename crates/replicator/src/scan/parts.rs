//! The scan for micro-benchmarks: a whole one, and its halves apart.

use std::collections::HashSet;
use std::io;
use std::sync::PoisonError;

use ultrasimple_core::SourcePath;

use super::walk::{Findings, Walk};
use super::{DatabaseId, Owned, Scan, VolumeScanner, apply};
use crate::ReplicatorOptions;

/// What scans, with its table.
pub struct Scanner(VolumeScanner);

/// What a walk found and no table has taken in.
#[derive(Debug)]
pub struct Found(Findings);

/// A known database.
#[derive(Debug, Clone, Copy)]
pub struct Known(DatabaseId);

/// How many there were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Databases known now.
    pub databases: usize,
    /// Databases that are new, or have another fingerprint.
    pub changed: usize,
    /// Known directories that were listed.
    pub listed: usize,
}

impl Seen {
    fn of(scan: &Scan, databases: usize) -> Self {
        Self { databases, changed: scan.changed.len(), listed: scan.listed }
    }
}

impl Scanner {
    /// One that knows nothing yet, scans with so many threads, and names databases as a node with these options does.
    pub fn new(options: &ReplicatorOptions, max_key_bytes: usize, threads: usize) -> Self {
        Self(crate::tree::volume_scanner(options, max_key_bytes, threads))
    }

    /// Looks at everything once. `now_ns` is the wall clock's time in nanoseconds.
    ///
    /// # Errors
    /// When not even `/` can be opened.
    pub fn scan(&mut self, now_ns: i64) -> io::Result<Seen> {
        let scan = self.0.scan(now_ns, &Owned::All, &HashSet::new())?;
        Ok(Seen::of(&scan, scan.databases))
    }

    /// The first half of a scan: what differs from the table.
    ///
    /// # Errors
    /// As above.
    pub fn walk(&self, now_ns: i64) -> io::Result<Found> {
        let VolumeScanner { patterns, table, filesystems, threads, .. } = &self.0;
        let table = table.read().unwrap_or_else(PoisonError::into_inner);
        let (name_of, owned) = (&*self.0.name_of, &Owned::All);
        let walk = Walk { table: &table, patterns, name_of, owned, filesystems, now_ns };
        walk.run(*threads).map(Found)
    }

    /// The second half: the table takes it in.
    pub fn apply(&mut self, found: Found) -> Seen {
        let mut table = self.0.table.write().unwrap_or_else(PoisonError::into_inner);
        let mut scan = Scan::default();
        apply::all(found.0, &mut table, &mut scan);
        Seen::of(&scan, table.len())
    }

    /// All databases of the table.
    pub fn known(&self) -> Vec<Known> {
        let table = self.0.table.read().unwrap_or_else(PoisonError::into_inner);
        table.ids().map(Known).collect()
    }

    /// The path of a database. `None` when it is gone.
    pub fn path(&self, known: Known) -> Option<SourcePath> {
        self.0.table.read().unwrap_or_else(PoisonError::into_inner).path(known.0)
    }
}
