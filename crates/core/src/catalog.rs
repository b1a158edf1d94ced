//! A catalog: what the bucket holds of the databases of one shard, and of what it was taken.
//!
//! It answers without looking at the objects which hours there are, what the newest backup's content is, and
//! which fingerprint its database had, so that a start over unchanged databases sends nothing. It is never
//! trusted over the objects: it may be stale, and everything in it but the fingerprints, the verifications
//! and the reconciliation's time can be made again from them.
//!
//! Owns: the values and how they change, without I/O. The stored form is [`mod@format`]'s.

pub mod format;
mod key;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use key::{PREFIX, ShardKey};

use crate::{
    ContentHash, ETag, Epoch, FingerprintDigest, Footer, Hour, KeyStem, NodeName, ShortHash,
    SourcePath,
};

/// What the bucket holds of the databases of one shard.
#[derive(Debug, Clone, PartialEq)]
pub struct Catalog {
    /// Which shard.
    pub key: ShardKey,
    /// Into how many shards the volume was divided when it was written.
    pub shards: u32,
    /// Under which epoch an owner last wrote it.
    pub epoch: Epoch,
    /// That owner; whoever made it, where no owner has written it yet.
    pub node: NodeName,
    /// When that was, by the writer's clock.
    pub written_at: Timestamp,
    /// Whether the owner had let go of the shard: nothing was stored after it was written.
    pub is_final: bool,
    /// When backups of this shard were last verified, by the daemon's steady verification.
    pub verified_at: Option<Timestamp>,
    /// When the bucket was last compared with this catalog.
    pub reconciled_at: Option<Timestamp>,
    /// By key stem.
    pub databases: BTreeMap<KeyStem, Record>,
}

/// What is known of one database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Record {
    /// Where it is, or was.
    pub path: SourcePath,
    /// Its fingerprint when the newest backup's content was captured. Only where a later change was certain
    /// to change it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<FingerprintDigest>,
    /// What the newest backup is. `None` where its footer was not read yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newest: Option<Newest>,
    /// Why the database's last check failed, where that capture was not stored (the hour has a good one).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_check: Option<Box<str>>,
    /// Since when the database is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gone_since: Option<Timestamp>,
    /// The backups, the oldest first.
    pub hours: Vec<HeldHour>,
}

/// What the footer of a database's newest backup says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Newest {
    /// When its image was read.
    pub captured_at: Timestamp,
    /// BLAKE3 of the image.
    pub blake3: ContentHash,
    /// Bytes of the image.
    pub size: u64,
    /// Why it is marked as damaged, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub marked: Option<Box<str>>,
}

impl Newest {
    /// What a footer says.
    pub fn of(footer: &Footer) -> Self {
        let marked = match &footer.check {
            crate::CheckResult::Failed(reason) => Some(reason.as_str().into()),
            _ => None,
        };
        let Footer { captured_at, blake3, size, .. } = *footer;
        Self { captured_at, blake3, size, marked }
    }

    /// The hour it belongs to.
    pub fn hour(&self) -> Hour {
        Hour::of(self.captured_at)
    }
}

/// One backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldHour {
    /// Its hour.
    pub hour: Hour,
    /// Bytes of the object.
    pub bytes: u64,
    /// The object's tag.
    pub etag: ETag,
    /// When this very object was last read back, decompressed and checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_at: Option<Timestamp>,
    /// What was wrong then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Box<str>>,
    /// Why retention leaves it alone: its footer does not say that it is a backup of this database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub foreign: Option<Box<str>>,
}

impl HeldHour {
    /// A backup that was not verified yet.
    pub fn new(hour: Hour, bytes: u64, etag: ETag) -> Self {
        Self { hour, bytes, etag, verified_at: None, fault: None, foreign: None }
    }
}

/// A backup that was stored, and what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBackup {
    /// Bytes of the object.
    pub bytes: u64,
    /// The object's tag.
    pub etag: ETag,
    /// What it is.
    pub newest: Newest,
}

/// What an owner learned of a database since the catalog was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The database's stem.
    pub stem: KeyStem,
    /// Where it is, or was.
    pub path: SourcePath,
    /// What was stored, the oldest first.
    pub stored: Vec<StoredBackup>,
    /// The fingerprint to be remembered, and the BLAKE3 of the image that was captured with it. It is
    /// remembered only while the newest backup has that content: the owner may not know yet that its
    /// newest one was lost or replaced.
    pub fingerprint: Option<(FingerprintDigest, ShortHash)>,
    /// Why the last check failed, where that capture was not stored.
    pub failed_check: Option<Box<str>>,
    /// Since when it is gone.
    pub gone_since: Option<Timestamp>,
}

/// One thing that is to change in a catalog. Doing it again changes nothing more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// What an owner learned of a database.
    Change(Change),
    /// A backup that the bucket has, found there.
    Found {
        /// Of which database.
        stem: KeyStem,
        /// Where that is, or was.
        path: SourcePath,
        /// The backup.
        held: HeldHour,
        /// What it is, where its footer was read.
        newest: Option<Newest>,
        /// Of which fingerprint, where the footer says so.
        fingerprint: Option<FingerprintDigest>,
    },
    /// A backup that is no longer there.
    Gone {
        /// Of which database.
        stem: KeyStem,
        /// Which.
        hour: Hour,
    },
    /// What reading a backup back found.
    Verified {
        /// Of which database.
        stem: KeyStem,
        /// Which.
        hour: Hour,
        /// The object that was read.
        etag: ETag,
        /// When.
        at: Timestamp,
        /// What was wrong.
        fault: Option<Box<str>>,
    },
    /// An object that retention must leave alone.
    Foreign {
        /// Among the backups of which database.
        stem: KeyStem,
        /// Under which hour.
        hour: Hour,
        /// The object that was looked at.
        etag: ETag,
        /// Why.
        why: Box<str>,
    },
    /// A round of steady verification ended.
    VerifiedAt(Timestamp),
    /// The bucket was compared with the catalog.
    ReconciledAt(Timestamp),
}

impl Record {
    /// A database of which nothing is held yet.
    pub fn new(path: SourcePath) -> Self {
        Self {
            path,
            fingerprint: None,
            newest: None,
            failed_check: None,
            gone_since: None,
            hours: Vec::new(),
        }
    }

    /// The backup of an hour.
    pub fn hour(&self, hour: Hour) -> Option<&HeldHour> {
        let at = self.hours.binary_search_by_key(&hour, |held| held.hour).ok()?;
        self.hours.get(at)
    }

    /// The newest backup that is this database's, as far as is known: what retention goes by.
    pub fn newest_own(&self) -> Option<&HeldHour> {
        self.hours.iter().rev().find(|held| held.foreign.is_none())
    }

    /// The newest backup.
    pub fn newest_hour(&self) -> Option<&HeldHour> {
        self.hours.last()
    }

    /// Takes in a backup. What was known of another object under its key is forgotten.
    pub fn put_hour(&mut self, held: HeldHour) {
        match self.hours.binary_search_by_key(&held.hour, |held| held.hour) {
            Err(at) => self.hours.insert(at, held),
            Ok(at) => {
                if let Some(there) = self.hours.get_mut(at)
                    && (there.etag != held.etag || there.bytes != held.bytes)
                {
                    *there = held;
                }
            }
        }
    }

    /// Forgets a backup. Without its newest one, what the newest is, and of which state, is not known.
    pub fn forget_hour(&mut self, hour: Hour) {
        let Ok(at) = self.hours.binary_search_by_key(&hour, |held| held.hour) else { return };
        self.hours.remove(at);
        if at == self.hours.len() {
            (self.newest, self.fingerprint) = (None, None);
        }
    }

    /// The backup of an hour, if it is still that object.
    fn object_mut(&mut self, hour: Hour, etag: &ETag) -> Option<&mut HeldHour> {
        let index = self.hours.binary_search_by_key(&hour, |held| held.hour).ok()?;
        self.hours.get_mut(index).filter(|held| held.etag == *etag)
    }

    fn apply(&mut self, change: Change) {
        let Change { path, stored, fingerprint, failed_check, gone_since, .. } = change;
        if self.path != path {
            // The key has passed to another database: what the old one's fingerprint was says nothing.
            (self.path, self.newest) = (path, None);
        }
        for StoredBackup { bytes, etag, newest } in stored {
            let hour = newest.hour();
            self.put_hour(HeldHour::new(hour, bytes, etag));
            if self.newest_hour().is_some_and(|last| last.hour == hour) {
                self.newest = Some(newest);
            }
        }
        // A fingerprint without the backup it belongs to would make a lost backup look like a stored one.
        let stored = self.newest.as_ref().map(|newest| newest.blake3.short());
        let of_stored = fingerprint.filter(|(_, content)| Some(*content) == stored);
        self.fingerprint = of_stored.map(|(fingerprint, _)| fingerprint);
        (self.failed_check, self.gone_since) = (failed_check, gone_since);
    }

    /// Why nothing of this database may be deleted: its newest backup is not good.
    pub fn newest_is_bad(&self) -> Option<&str> {
        let fault = self.newest_own().and_then(|held| held.fault.as_deref());
        fault.or_else(|| self.newest.as_ref()?.marked.as_deref())
    }
}

impl Catalog {
    /// The catalog of a shard of which nothing is held yet.
    pub fn new(key: ShardKey, shards: u32, epoch: Epoch, node: NodeName, now: Timestamp) -> Self {
        Self {
            key,
            shards,
            epoch,
            node,
            written_at: now,
            is_final: false,
            verified_at: None,
            reconciled_at: None,
            databases: BTreeMap::new(),
        }
    }

    fn apply(&mut self, change: Change) {
        if let Some(record) = self.databases.get_mut(&change.stem) {
            record.apply(change);
        } else if !change.stored.is_empty() {
            let mut record = Record::new(change.path.clone());
            let stem = change.stem.clone();
            record.apply(change);
            self.databases.insert(stem, record);
        }
    }

    /// Does one edit.
    pub fn edit(&mut self, edit: Edit) {
        match edit {
            Edit::Change(change) => self.apply(change),
            Edit::Found { stem, path, held, newest, fingerprint } => {
                let new = || Record::new(path.clone());
                let record = self.databases.entry(stem).or_insert_with(new);
                let hour = held.hour;
                record.put_hour(held);
                let is_newest = record.newest_hour().is_some_and(|last| last.hour == hour);
                if is_newest && (&record.path, &record.newest) != (&path, &newest) {
                    (record.path, record.newest, record.fingerprint) = (path, newest, None);
                }
                if is_newest && record.fingerprint.is_none() {
                    record.fingerprint = fingerprint;
                }
            }
            Edit::Gone { stem, hour } => self.forget_hour(&stem, hour),
            Edit::Verified { stem, hour, etag, at, fault } => {
                let record = self.databases.get_mut(&stem);
                if let Some(held) = record.and_then(|record| record.object_mut(hour, &etag)) {
                    (held.verified_at, held.fault) = (Some(at), fault);
                }
            }
            Edit::Foreign { stem, hour, etag, why } => {
                let record = self.databases.get_mut(&stem);
                if let Some(held) = record.and_then(|record| record.object_mut(hour, &etag)) {
                    held.foreign = Some(why);
                }
            }
            Edit::VerifiedAt(at) => self.verified_at = Some(at),
            Edit::ReconciledAt(at) => self.reconciled_at = Some(at),
        }
    }

    fn forget_hour(&mut self, stem: &KeyStem, hour: Hour) {
        if let Some(record) = self.databases.get_mut(stem) {
            record.forget_hour(hour);
            if record.hours.is_empty() {
                self.databases.remove(stem);
            }
        }
    }

    /// Number of backups.
    pub fn backups(&self) -> u64 {
        self.databases.values().map(|record| record.hours.len() as u64).sum()
    }

    /// Bytes of all objects.
    pub fn bytes(&self) -> u64 {
        self.databases.values().flat_map(|record| &record.hours).map(|held| held.bytes).sum()
    }
}

#[cfg(test)]
#[path = "catalog_tests.rs"]
mod tests;
