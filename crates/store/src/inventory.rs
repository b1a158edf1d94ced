//! What backups there are, found with nothing but the bucket (R9).
//!
//! Owns: turning a listing into databases and their hours. Does not own: what is in the objects (see
//! [`mod@crate::fetch`]). Called by the operator's tool; retention and the catalog's rebuild will be next.
//!
//! The keys of one database need not be neighbours in a listing: the stems `t1` and
//! `t1-20240115-130000` share everything up to the hour, so that all of the second's keys stand between
//! two of the first's; and some servers list folder by folder. So nothing here relies on any order.
//! An [`Inventory`] needs memory for each *database* (about 200 bytes and its name), however many hours
//! it has: it counts the objects, and remembers only the few newest hours that may be wanted.

use std::collections::BTreeMap;

use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use ultrasimple_core::{BackupKey, Hour, KeyStem, Timestamp};

use crate::{ETag, ListedObject, Store, StoreError};

/// How many hours of each database an [`Inventory`] remembers. Where they do not do, list that one
/// database: [`of_database`].
pub const REMEMBERED_HOURS: usize = 4;

/// An object whose key is one of ours. Only its footer proves that it is a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedBackup {
    /// Its key, read.
    pub key: BackupKey,
    /// Bytes of the object.
    pub size: u64,
    /// Its tag.
    pub etag: ETag,
    /// When it was written, by the store's clock.
    pub modified: Timestamp,
}

/// The objects below `prefix` (`""` for all) whose keys are ours, in the order of the listing. What is
/// foreign, and the replicator's own folder, is left out.
pub fn backups<'a>(
    store: &'a dyn Store,
    prefix: &str,
) -> BoxStream<'a, Result<ListedBackup, StoreError>> {
    let ours = |object: ListedObject| async move { Ok(ours(object)) };
    store.list(prefix, None).try_filter_map(ours).boxed()
}

fn ours(object: ListedObject) -> Option<ListedBackup> {
    let key = BackupKey::parse(&object.key)?;
    let ListedObject { size, etag, modified, .. } = object;
    Some(ListedBackup { key, size, etag, modified })
}

/// All backups of one database, the newest hour first. Lists only what begins with `<stem>-`.
///
/// # Errors
/// When the listing fails.
pub async fn of_database(
    store: &dyn Store,
    stem: &KeyStem,
) -> Result<Vec<ListedBackup>, StoreError> {
    let of_this = |backup: &ListedBackup| {
        let same = backup.key.stem == *stem;
        async move { same }
    };
    let listing = backups(store, &format!("{stem}-"));
    let mut found: Vec<_> = listing.try_filter(of_this).try_collect().await?;
    found.sort_by_key(|backup| std::cmp::Reverse(backup.key.hour));
    Ok(found)
}

/// What a listing says of one database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Number of backups.
    pub backups: u64,
    /// Bytes of all their objects.
    pub bytes: u64,
    /// The first hour held.
    pub oldest: Hour,
    /// The last hour held.
    pub newest: Hour,
    /// Bytes of the newest backup's object.
    pub newest_bytes: u64,
    /// The newest hours that may be wanted, the newest first, at most [`REMEMBERED_HOURS`].
    candidates: Vec<Hour>,
    /// How many hours may be wanted in all.
    wanted: u64,
}

impl Held {
    fn new(hour: Hour, size: u64) -> Self {
        let candidates = Vec::new();
        let (oldest, newest, newest_bytes) = (hour, hour, size);
        Self { backups: 0, bytes: 0, oldest, newest, newest_bytes, candidates, wanted: 0 }
    }

    /// The newest hours that may hold a capture taken at or before the inventory's time, the newest
    /// first. See [`Self::has_more`].
    pub fn candidates(&self) -> &[Hour] {
        &self.candidates
    }

    /// Whether there are more candidates than are remembered.
    pub fn has_more(&self) -> bool {
        self.wanted > self.candidates.len() as u64
    }

    fn add(&mut self, hour: Hour, size: u64, is_wanted: bool) {
        self.backups += 1;
        self.bytes = self.bytes.saturating_add(size);
        self.oldest = self.oldest.min(hour);
        if hour >= self.newest {
            (self.newest, self.newest_bytes) = (hour, size);
        }
        if is_wanted {
            self.wanted += 1;
            let place = self.candidates.partition_point(|&other| other > hour);
            if place < REMEMBERED_HOURS {
                self.candidates.truncate(REMEMBERED_HOURS - 1);
                self.candidates.insert(place, hour);
            }
        }
    }
}

/// The databases that a listing shows, by stem.
#[derive(Debug, Clone, Default)]
pub struct Inventory {
    at: Option<Timestamp>,
    databases: BTreeMap<KeyStem, Held>,
}

impl Inventory {
    /// An empty one, in which the hours are candidates that may hold a capture taken at or before `at`
    /// (any hour when `None`).
    pub fn new(at: Option<Timestamp>) -> Self {
        Self { at, databases: BTreeMap::new() }
    }

    /// Lists everything below `prefix` (`""` for all).
    ///
    /// # Errors
    /// When the listing fails.
    pub async fn list(
        store: &dyn Store,
        prefix: &str,
        at: Option<Timestamp>,
    ) -> Result<Self, StoreError> {
        let mut inventory = Self::new(at);
        let mut listing = backups(store, prefix);
        while let Some(backup) = listing.try_next().await? {
            inventory.add(&backup.key, backup.size);
        }
        Ok(inventory)
    }

    /// Takes in one backup. Each is to be added once, in any order.
    pub fn add(&mut self, key: &BackupKey, size: u64) {
        let is_wanted = self.at.is_none_or(|at| key.hour.start() <= at);
        if let Some(held) = self.databases.get_mut(&key.stem) {
            held.add(key.hour, size, is_wanted);
        } else {
            let mut held = Held::new(key.hour, size);
            held.add(key.hour, size, is_wanted);
            self.databases.insert(key.stem.clone(), held);
        }
    }

    /// The databases, in the order of their stems.
    pub fn databases(&self) -> &BTreeMap<KeyStem, Held> {
        &self.databases
    }

    /// Forgets the databases that are not to be kept.
    pub fn retain(&mut self, mut keep: impl FnMut(&KeyStem) -> bool) {
        self.databases.retain(|stem, _| keep(stem));
    }

    /// The databases, in the order of their stems.
    pub fn into_databases(self) -> BTreeMap<KeyStem, Held> {
        self.databases
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hour(index: u32) -> Hour {
        Hour::of(Timestamp::from_second(i64::from(index) * 3_600).unwrap())
    }

    fn listed(key: &str) -> ListedObject {
        let (size, etag) = (1, ETag("x".into()));
        ListedObject { key: key.to_owned(), size, etag, modified: Timestamp::UNIX_EPOCH }
    }

    #[test]
    fn what_is_not_ours_is_left_out() {
        for foreign in [
            "readme.txt",
            "t1-20240115-140000.db",
            ".ultrasimple/v1/cluster.json",
            ".ultrasimple/t1-20240115-140000.db.lz4",
            "a/../t1-20240115-140000.db.lz4",
        ] {
            assert_eq!(ours(listed(foreign)), None, "{foreign}");
        }
        let key = "a/t1-20240115-140000.db.lz4";
        assert_eq!(ours(listed(key)).unwrap().key.to_string(), key);
    }

    #[test]
    fn stems_whose_keys_interleave_are_kept_apart() {
        let mut keys = vec![
            "t1-20240115-120000.db.lz4",
            "t1-20240115-130000-20240101-000000.db.lz4",
            "t1-20240115-130000.db.lz4",
            "t1-20240115-140000/x-20240101-000000.db.lz4",
            "t1-20240115-140000.db.lz4",
        ];
        keys.sort_unstable();
        let mut inventory = Inventory::new(None);
        for key in &keys {
            inventory.add(&BackupKey::parse(key).unwrap(), 10);
        }
        let counts = inventory.databases().iter().map(|(stem, held)| (stem.as_str(), held.backups));
        let expected = [("t1", 3), ("t1-20240115-130000", 1), ("t1-20240115-140000/x", 1)];
        assert_eq!(counts.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn an_entry_is_small_whatever_the_history() {
        let stem = KeyStem::try_from("t1".to_owned()).unwrap();
        let mut inventory = Inventory::new(None);
        for index in 0..10_000 {
            inventory.add(&stem.at(hour(index)), 1);
        }
        let held = &inventory.databases()[&stem];
        assert_eq!((held.backups, held.candidates.len(), held.has_more()), (10_000, 4, true));
        assert!(held.candidates.capacity() <= 8 && size_of::<Held>() <= 96);
    }

    proptest! {
        /// Any order of any keys gives the same as sorting each database's hours.
        #[test]
        fn an_inventory_is_what_sorting_would_give(
            keys in proptest::collection::hash_set((0u8..4, 0u32..12), 0..40),
            at in proptest::option::of((0u32..12, 0i64..3_600)),
        ) {
            let at = at.map(|(index, second)| {
                Timestamp::from_second(i64::from(index) * 3_600 + second).unwrap()
            });
            let stem = |n: u8| KeyStem::try_from(format!("t{n}")).unwrap();
            let mut inventory = Inventory::new(at);
            for &(n, index) in &keys {
                inventory.add(&stem(n).at(hour(index)), u64::from(index));
            }
            for n in 0u8..4 {
                let mut hours: Vec<_> =
                    keys.iter().filter(|(m, _)| *m == n).map(|&(_, i)| (hour(i), i)).collect();
                hours.sort_unstable_by(|a, b| b.cmp(a));
                let Some(held) = inventory.databases().get(&stem(n)) else {
                    prop_assert!(hours.is_empty());
                    continue;
                };
                prop_assert_eq!(held.backups, hours.len() as u64);
                prop_assert_eq!((held.newest, held.newest_bytes), (hours[0].0, u64::from(hours[0].1)));
                prop_assert_eq!(held.oldest, hours[hours.len() - 1].0);
                let wanted: Vec<_> = hours.iter().map(|h| h.0)
                    .filter(|h| at.is_none_or(|at| h.start() <= at)).collect();
                prop_assert_eq!(held.has_more(), wanted.len() > REMEMBERED_HOURS);
                prop_assert_eq!(held.candidates(), &wanted[..wanted.len().min(REMEMBERED_HOURS)]);
            }
        }
    }
}
