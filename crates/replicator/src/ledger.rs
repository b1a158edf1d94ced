//! What an owner has yet to tell its shard's catalog: a value without I/O.
//!
//! Only what changed since the catalog was written is kept here; the history is in the catalog, not in memory.
//! While a write is under way its part is set aside: it comes back when the write fails.

use std::collections::HashMap;

use ultrasimple_core::catalog::StoredBackup;
use ultrasimple_core::{FingerprintDigest, ShortHash, SourcePath};

use crate::scan::DatabaseId;

/// A database that went while something of it was yet to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Departed {
    pub(crate) path: SourcePath,
    pub(crate) fingerprint: Option<(FingerprintDigest, ShortHash)>,
    pub(crate) stored: Vec<StoredBackup>,
}

/// What one write tells.
#[derive(Debug, Default)]
struct Page {
    changed: HashMap<DatabaseId, Vec<StoredBackup>>,
    departed: Vec<Departed>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    page: Page,
    writing: Option<Page>,
}

impl Ledger {
    /// Something of a database other than its backups changed.
    pub(crate) fn note(&mut self, id: DatabaseId) {
        self.page.changed.entry(id).or_default();
    }

    /// A backup was stored. Of an hour only the last one counts.
    pub(crate) fn stored(&mut self, id: DatabaseId, backup: StoredBackup) {
        let stored = self.page.changed.entry(id).or_default();
        let hour = backup.newest.hour();
        stored.retain(|earlier| earlier.newest.hour() != hour);
        // Nearly always it is one: room for more would be most of what a first backup takes.
        stored.reserve_exact(1);
        stored.push(backup);
    }

    /// A database is gone. What was stored of it is still to be told.
    pub(crate) fn gone(
        &mut self,
        id: DatabaseId,
        path: SourcePath,
        fingerprint: Option<(FingerprintDigest, ShortHash)>,
    ) {
        if let Some(stored) = self.page.changed.remove(&id).filter(|stored| !stored.is_empty()) {
            self.page.departed.push(Departed { path: path.clone(), fingerprint, stored });
        }
        if let Some(writing) = &mut self.writing
            && let Some(stored) = writing.changed.remove(&id).filter(|stored| !stored.is_empty())
        {
            writing.departed.push(Departed { path, fingerprint, stored });
        }
    }

    /// How many databases there is something to tell of. What is being written is among them until that has
    /// ended well: a write may be given up without a word.
    pub(crate) fn len(&self) -> usize {
        let len = |page: &Page| page.changed.len() + page.departed.len();
        len(&self.page) + self.writing.as_ref().map_or(0, len)
    }

    /// Begins a write: what it is to tell.
    pub(crate) fn begin(
        &mut self,
    ) -> (impl Iterator<Item = (DatabaseId, &Vec<StoredBackup>)>, &[Departed]) {
        // A write that was begun and of whose end nothing was heard is made again.
        self.failed();
        let writing = self.writing.insert(std::mem::take(&mut self.page));
        (writing.changed.iter().map(|(&id, stored)| (id, stored)), &writing.departed)
    }

    /// Of these databases it could not be told now: it is not part of the write.
    pub(crate) fn put_back(&mut self, ids: &[DatabaseId]) {
        let Some(writing) = &mut self.writing else { return };
        for id in ids {
            if let Some(stored) = writing.changed.remove(id) {
                self.page.changed.insert(*id, stored);
            }
        }
    }

    /// Whether there is something to tell of a database.
    pub(crate) fn has(&self, id: DatabaseId) -> bool {
        self.page.changed.contains_key(&id)
    }

    /// The write is done.
    pub(crate) fn written(&mut self) {
        self.writing = None;
    }

    /// The write failed: all of it is still to be told.
    pub(crate) fn failed(&mut self) {
        let Some(Page { changed, mut departed }) = self.writing.take() else { return };
        for (id, mut earlier) in changed {
            let later = self.page.changed.entry(id).or_default();
            earlier.retain(|backup| {
                let hour = backup.newest.hour();
                !later.iter().any(|later| later.newest.hour() == hour)
            });
            later.splice(0..0, earlier);
        }
        departed.append(&mut self.page.departed);
        self.page.departed = departed;
    }
}

#[cfg(test)]
mod tests {
    use ultrasimple_core::catalog::Newest;
    use ultrasimple_core::{ContentHash, ETag};

    use super::*;
    use crate::scan::test_id;

    fn backup(captured_at: &str, tag: &str) -> StoredBackup {
        let (captured_at, blake3) = (captured_at.parse().unwrap(), ContentHash::of(b"x"));
        let newest = Newest { captured_at, blake3, size: 1, marked: None };
        StoredBackup { bytes: 1, etag: ETag(tag.into()), newest }
    }

    fn tags(ledger: &mut Ledger, id: DatabaseId) -> Vec<String> {
        let (changed, _) = ledger.begin();
        let mine = changed.filter(|(other, _)| *other == id).flat_map(|(_, stored)| stored);
        mine.map(|backup| backup.etag.0.to_string()).collect()
    }

    #[test]
    fn only_the_last_backup_of_an_hour_is_told_and_none_is_lost_when_a_write_fails() {
        let (mut ledger, id) = (Ledger::default(), test_id(1));
        for (time, tag) in [
            ("2024-01-15T12:10:00Z", "a"),
            ("2024-01-15T12:20:00Z", "b"),
            ("2024-01-15T13:10:00Z", "c"),
        ] {
            ledger.stored(id, backup(time, tag));
        }
        assert_eq!(tags(&mut ledger, id), ["b", "c"]);
        // Stored while the write is under way.
        ledger.stored(id, backup("2024-01-15T13:20:00Z", "d"));
        ledger.stored(id, backup("2024-01-15T14:20:00Z", "e"));
        ledger.failed();
        assert_eq!(tags(&mut ledger, id), ["b", "d", "e"]);
        ledger.written();
        assert_eq!(ledger.len(), 0);
        assert!(tags(&mut ledger, id).is_empty());
    }

    #[test]
    fn what_was_stored_of_a_database_that_is_gone_is_told() {
        let (mut ledger, id) = (Ledger::default(), test_id(1));
        let path = SourcePath::from_bytes(b"/data/t.db");
        ledger.stored(id, backup("2024-01-15T12:10:00Z", "a"));
        drop(ledger.begin());
        ledger.stored(id, backup("2024-01-15T13:10:00Z", "b"));
        ledger.gone(id, path, None);
        ledger.failed();
        let (changed, departed) = ledger.begin();
        assert_eq!(changed.count(), 0);
        let stored = departed.iter().flat_map(|departed| &departed.stored);
        assert_eq!(stored.map(|backup| &*backup.etag.0).collect::<Vec<_>>(), ["a", "b"]);
    }
}
