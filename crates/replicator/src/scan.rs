//! Finding out what changed, by `stat` alone: no database is opened here.
//!
//! Plan and act: [`walk`] looks at every known directory and database, with the [`Table`] of the last
//! scan at hand, on all cores, and finds differences; [`apply`] then writes them into the table, or
//! refuses to when they look like a lost mount. Called by the scanner actor and by the dry run.

mod apply;
mod identity;
mod listing;
#[cfg(feature = "parts")]
pub(crate) mod parts;
pub(crate) mod table;
mod walk;
mod workers;

use std::collections::HashSet;
use std::io;
use std::sync::{PoisonError, RwLock};

use ultrasimple_core::pattern::PatternSet;
use ultrasimple_core::{FingerprintDigest, Place, SourcePath};

pub(crate) use self::identity::{Gone, Identity};
pub(crate) use self::identity::{Naming, NonZeroKey};
pub(crate) use self::table::{DatabaseId, Table};
use self::walk::Walk;

/// Scans that must show the same loss before it is believed to be meant.
const SCANS_TO_BELIEVE_A_LOSS: u32 = 20;

/// What one scan found.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// Databases that are new, or whose fingerprint differs from the last scan's.
    pub(crate) changed: Vec<(DatabaseId, FingerprintDigest)>,
    /// How many of them are new.
    pub(crate) appeared: usize,
    /// Databases that are no longer there.
    pub(crate) gone: Vec<Gone>,
    /// Places that could not be looked at: what was known there is still taken to be there.
    pub(crate) problems: Vec<Problem>,
    /// How many databases are known now.
    pub(crate) databases: usize,
    /// Known directories that had to be listed.
    pub(crate) listed: usize,
    /// Patterns that matched nothing.
    pub(crate) empty_patterns: Vec<String>,
}

/// Something that a scan could not look at, or does not believe.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Problem {
    pub(crate) path: SourcePath,
    pub(crate) reason: String,
}

/// Says of a path what the database there is called, and whose it is.
pub(crate) type NameOf = dyn Fn(&SourcePath) -> Naming + Send + Sync;

/// Which shards' databases are looked at. Of the others only the names are known.
#[derive(Debug, Clone, Default)]
pub(crate) enum Owned {
    /// All that there is, on whatever volume.
    #[default]
    All,
    /// By [`Place::index`].
    Some(Vec<bool>),
}

impl Owned {
    /// Whether databases there are looked at.
    pub(crate) fn has(&self, place: Option<Place>) -> bool {
        match self {
            Self::All => true,
            Self::Some(places) => {
                place.and_then(|place| places.get(place.index())).is_some_and(|&owned| owned)
            }
        }
    }
}

/// Scans one volume again and again.
pub(crate) struct VolumeScanner {
    patterns: PatternSet,
    table: std::sync::Arc<RwLock<Table>>,
    name_of: Box<NameOf>,
    filesystems: walk::Filesystems,
    threads: usize,
    /// How many scans in a row showed a loss that looks like a lost mount.
    suspected_losses: u32,
    /// As of the last scan that found databases new or gone.
    empty_patterns: Option<Vec<String>>,
}

impl VolumeScanner {
    /// A scanner that knows nothing yet and scans with so many threads.
    pub(crate) fn new(patterns: PatternSet, name_of: Box<NameOf>, threads: usize) -> Self {
        let table = Table::new(patterns.root());
        Self {
            patterns,
            table: std::sync::Arc::new(RwLock::new(table)),
            name_of,
            filesystems: walk::Filesystems::default(),
            threads: threads.max(1),
            suspected_losses: 0,
            empty_patterns: None,
        }
    }

    /// The table, to look up paths. It is locked for writing only while findings are applied.
    pub(crate) fn table(&self) -> std::sync::Arc<RwLock<Table>> {
        std::sync::Arc::clone(&self.table)
    }

    /// Looks at everything once. Blocks; `now_ns` is the wall clock's time in nanoseconds. Of the shards in
    /// `fresh`, every database counts as changed: whoever owns them now has not heard of any.
    ///
    /// # Errors
    /// When not even `/` can be opened.
    pub(crate) fn scan(
        &mut self,
        now_ns: i64,
        owned: &Owned,
        fresh: &HashSet<Place>,
    ) -> io::Result<Scan> {
        let findings = {
            let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
            let walk = Walk {
                table: &table,
                patterns: &self.patterns,
                name_of: &*self.name_of,
                owned,
                filesystems: &self.filesystems,
                now_ns,
            };
            walk.run(self.threads)?
        };
        let loss = {
            let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
            apply::suspicious_loss(&findings, &table, &self.patterns)
        };
        // A lost mount that lasts longer than what is believed costs nothing but attention: backups of
        // vanished databases are kept.
        self.suspected_losses = if loss.is_some() { self.suspected_losses + 1 } else { 0 };
        let refused = loss.filter(|_| self.suspected_losses <= SCANS_TO_BELIEVE_A_LOSS);
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let mut scan = Scan::default();
        match refused {
            Some(loss) => {
                apply::without_losses(findings, &mut table, &mut scan);
                scan.problems.push(loss.problem());
            }
            None => apply::all(findings, &mut table, &mut scan),
        }
        drop(table);
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        tell_all_of(fresh, &table, &mut scan);
        scan.databases = table.len();
        drop(table);
        if scan.appeared > 0 || !scan.gone.is_empty() || self.empty_patterns.is_none() {
            let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
            self.empty_patterns = Some(apply::patterns_without_match(&table, &self.patterns));
        }
        scan.empty_patterns = self.empty_patterns.clone().unwrap_or_default();
        Ok(scan)
    }
}

/// Adds all databases of some shards to what changed.
fn tell_all_of(fresh: &HashSet<Place>, table: &Table, scan: &mut Scan) {
    if fresh.is_empty() {
        return;
    }
    let is_fresh = |place: Option<Place>| place.is_some_and(|place| fresh.contains(&place));
    scan.changed.retain(|&(id, _)| !is_fresh(table.place_of(id)));
    let of_them = table.entries().filter(|entry| is_fresh(entry.naming.place));
    scan.changed.extend(of_them.map(|entry| (entry.id, entry.digest)));
}

#[cfg(test)]
#[path = "scan/tests.rs"]
mod tests;

/// An id that no table has given, for tests of what only passes ids on.
#[cfg(any(test, feature = "simulation"))]
pub(crate) fn test_id(number: u32) -> DatabaseId {
    table::test_id(number)
}

/// An identity of its own for each id.
#[cfg(test)]
pub(crate) fn test_identity(id: DatabaseId) -> Identity {
    identity::test_identity(id.test_number())
}
