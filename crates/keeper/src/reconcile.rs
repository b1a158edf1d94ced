//! Comparing the bucket with the catalogs: backups that no catalog knows, entries whose object is gone, and
//! objects that somebody replaced.
//!
//! One listing of everything, compared by sums: for each database, a number that adds up its closed hours with
//! their sizes and tags. Where the sum of the listing is that of the catalog, nothing has to be looked at; where
//! it is not, that one database is listed again and repaired. So a pass costs a request for every thousand
//! objects, two for each catalog, and a few for each difference; memory is some 50 bytes for each database. A pass
//! keeps to a budget of requests, and goes on where it stopped when there is budget again.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hasher;
use std::time::Duration;

use futures::TryStreamExt;
use twox_hash::XxHash3_64;
use ultrasimple_core::catalog::{Edit, HeldHour, Newest, Record};
use ultrasimple_core::{
    BackupKey, Catalog, CatalogKey, Hour, KeyStem, Timestamp, VolumeName, placement,
};
use ultrasimple_store::{FetchError, Store, StoreError, footer, inventory};

use crate::catalogs::{self, Author, UpdateError};

/// Objects in a page of a listing.
const PAGE: u64 = 1_000;
/// How far catalogs may lag behind the objects: they are written hourly.
const CATALOG_LAG: Duration = Duration::from_hours(2);
/// Databases unknown to all catalogs that one pass takes up; the next one takes the rest.
const MOST_UNKNOWN: usize = 10_000;

/// How a listing of one database differs from its record.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Differences {
    /// Listed, and not in the record, or there as another object.
    pub found: Vec<HeldHour>,
    /// In the record, and not listed.
    pub missing: Vec<Hour>,
}

/// Compares a record with what a listing shows (in any order).
pub fn differences(record: Option<&Record>, listed: &[HeldHour]) -> Differences {
    let known = record.map(|record| record.hours.as_slice()).unwrap_or_default();
    let known: BTreeMap<_, _> = known.iter().map(|held| (held.hour, held)).collect();
    let listed: BTreeMap<_, _> = listed.iter().map(|held| (held.hour, held)).collect();
    let is_same = |a: &HeldHour, b: &HeldHour| (a.bytes, &a.etag) == (b.bytes, &b.etag);
    let found =
        listed.values().filter(|held| !known.get(&held.hour).is_some_and(|k| is_same(k, held)));
    let missing = known.keys().filter(|hour| !listed.contains_key(hour));
    Differences {
        found: found.map(|&held| held.clone()).collect(),
        missing: missing.copied().collect(),
    }
}

/// Requests that may still be made.
#[derive(Debug, Clone, Copy)]
pub struct Budget(pub u64);

impl Budget {
    /// Takes so many, or says that there are not so many left.
    fn take(&mut self, requests: u64) -> bool {
        match self.0.checked_sub(requests) {
            Some(left) => self.0 = left,
            None => return false,
        }
        true
    }
}

/// What a pass found and mended.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct ReconcileReport {
    /// Backups that no catalog knew.
    pub found: Vec<BackupKey>,
    /// Backups that the catalogs knew and that are gone.
    pub missing: Vec<BackupKey>,
    /// Objects under our keys that are not readable backups of the database, and why.
    pub foreign: Vec<(BackupKey, String)>,
    /// The shards whose catalogs were changed.
    pub changed: Vec<CatalogKey>,
    /// Catalogs that could not be read or written, and why.
    pub failed: Vec<(CatalogKey, String)>,
}

/// What a database's hours add up to.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Sum(u64);

impl Sum {
    fn add(&mut self, hour: Hour, bytes: u64, etag: &str) {
        let mut hasher = XxHash3_64::with_seed(u64::from(hour.index()));
        hasher.write(&bytes.to_le_bytes());
        hasher.write(etag.as_bytes());
        self.0 = self.0.wrapping_add(hasher.finish());
    }
}

/// One pass over the bucket, which may take several days of budget.
#[derive(Debug)]
pub struct Pass {
    volume: VolumeName,
    /// Only hours long over when the pass began: what was stored since the catalogs were written differs for
    /// good reasons.
    before: Hour,
    known: HashMap<u64, Sum>,
    listed: HashMap<u64, Sum>,
    unknown: BTreeMap<KeyStem, Vec<HeldHour>>,
    last_key: Option<String>,
    unlisted: bool,
}

impl Pass {
    /// Begins a pass: reads the catalogs of a volume.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn begin(
        store: &dyn Store,
        volume: VolumeName,
        now: Timestamp,
        budget: &mut Budget,
    ) -> Result<Self, StoreError> {
        let loaded = catalogs::read_all(store, Some(&volume)).await?;
        let read = loaded.catalogs.len() + loaded.unusable.len();
        budget.0 = budget.0.saturating_sub(read as u64 + 1);
        let before = Hour::of(now.saturating_sub(CATALOG_LAG).unwrap_or(now));
        let mut known = HashMap::new();
        for (stem, record) in loaded.catalogs.values().flat_map(|catalog| &catalog.databases) {
            known.insert(placement::key_hash(stem), sum_of(record, before));
        }
        Ok(Self {
            volume,
            before,
            known,
            listed: HashMap::new(),
            unknown: BTreeMap::new(),
            last_key: None,
            unlisted: true,
        })
    }

    /// Goes on, as far as the budget allows. `None`: not done yet, go on with more of it.
    ///
    /// # Errors
    /// When the store cannot be read; the pass can go on later.
    pub async fn go_on(
        &mut self,
        store: &dyn Store,
        author: &Author,
        budget: &mut Budget,
    ) -> Result<Option<ReconcileReport>, StoreError> {
        if self.unlisted && !self.list(store, budget).await? {
            return Ok(None);
        }
        self.repair(store, author, budget).await.map(Some)
    }

    /// Lists on. False when the budget is spent.
    async fn list(&mut self, store: &dyn Store, budget: &mut Budget) -> Result<bool, StoreError> {
        if !budget.take(1) {
            return Ok(false);
        }
        let after = self.last_key.clone();
        let mut listing = store.list("", after.as_deref());
        let mut in_page = 0;
        while let Some(object) = listing.try_next().await? {
            in_page += 1;
            if in_page > PAGE {
                if !budget.take(1) {
                    return Ok(false);
                }
                in_page = 1;
            }
            if let Some(key) = BackupKey::parse(&object.key)
                && key.hour < self.before
            {
                let hash = placement::key_hash(&key.stem);
                self.listed.entry(hash).or_default().add(key.hour, object.size, &object.etag.0);
                let may_take = self.unknown.len() < MOST_UNKNOWN;
                if !self.known.contains_key(&hash)
                    && (may_take || self.unknown.contains_key(&key.stem))
                {
                    let held = HeldHour::new(key.hour, object.size, object.etag);
                    self.unknown.entry(key.stem).or_default().push(held);
                }
            }
            self.last_key = Some(object.key);
        }
        self.unlisted = false;
        Ok(true)
    }

    /// Looks at all that differs, once more and exactly, and mends the catalogs.
    async fn repair(
        &mut self,
        store: &dyn Store,
        author: &Author,
        budget: &mut Budget,
    ) -> Result<ReconcileReport, StoreError> {
        let mut report = ReconcileReport::default();
        let differs = |stem: &KeyStem| {
            let hash = placement::key_hash(stem);
            let listed = self.listed.get(&hash).copied().unwrap_or_default();
            self.known.get(&hash).is_some_and(|known| *known != listed)
        };
        let anything_differs = self
            .known
            .iter()
            .any(|(hash, known)| self.listed.get(hash).copied().unwrap_or_default() != *known);
        let mut edits: BTreeMap<CatalogKey, Vec<Edit>> = BTreeMap::new();
        if anything_differs {
            let loaded = catalogs::read_all(store, Some(&self.volume)).await?;
            budget.0 = budget.0.saturating_sub(loaded.catalogs.len() as u64 + 1);
            for (key, catalog) in loaded.catalogs {
                let Catalog { databases, .. } = catalog;
                for (stem, record) in databases.into_iter().filter(|(stem, _)| differs(stem)) {
                    if !budget.take(1) {
                        continue;
                    }
                    let mut look = Look {
                        store,
                        volume: &self.volume,
                        stem: &stem,
                        budget,
                        report: &mut report,
                    };
                    let found = look.edits(&record, self.before).await?;
                    edits.entry(key.clone()).or_default().extend(found);
                }
            }
        }
        for (stem, hours) in std::mem::take(&mut self.unknown) {
            self.adopt(store, author, &stem, hours, budget, &mut report, &mut edits).await?;
        }
        for (key, mut edits) in edits {
            if edits.is_empty() {
                continue;
            }
            edits.push(Edit::ReconciledAt(author.now));
            budget.0 = budget.0.saturating_sub(2);
            match catalogs::update(store, &key, author, &edits).await {
                Ok(_) => report.changed.push(key),
                Err(UpdateError::Store(error)) => return Err(error),
                Err(error) => report.failed.push((key, error.to_string())),
            }
        }
        Ok(report)
    }

    /// Takes a database up that no catalog knows, if its newest backup says that it is of this volume.
    #[expect(clippy::too_many_arguments, reason = "what a pass works on")]
    async fn adopt(
        &self,
        store: &dyn Store,
        author: &Author,
        stem: &KeyStem,
        mut hours: Vec<HeldHour>,
        budget: &mut Budget,
        report: &mut ReconcileReport,
        edits: &mut BTreeMap<CatalogKey, Vec<Edit>>,
    ) -> Result<(), StoreError> {
        hours.sort_by_key(|held| held.hour);
        let Some(last) = hours.last().filter(|_| budget.take(1)).map(|held| held.hour) else {
            return Ok(());
        };
        let footer = match footer(store, &stem.at(last).object_key()).await {
            Ok((footer, _)) => footer,
            Err(FetchError::Store(error)) => return Err(error),
            Err(error) => {
                report.foreign.push((stem.at(last), error.to_string()));
                return Ok(());
            }
        };
        if footer.volume != self.volume {
            return Ok(());
        }
        let shard = placement::shard_of(&footer.volume, &footer.path, author.shards);
        let key = CatalogKey { volume: footer.volume.clone(), shard };
        let edits = edits.entry(key).or_default();
        for held in hours {
            report.found.push(stem.at(held.hour));
            let newest = (held.hour == last).then(|| Newest::of(&footer));
            let (stem, path) = (stem.clone(), footer.path.clone());
            edits.push(Edit::Found { stem, path, held, newest });
        }
        Ok(())
    }
}

fn sum_of(record: &Record, before: Hour) -> Sum {
    let mut sum = Sum::default();
    let closed = record.hours.iter().filter(|held| held.hour < before);
    closed.for_each(|held| sum.add(held.hour, held.bytes, &held.etag.0));
    sum
}

/// Looking at one database closely.
struct Look<'a> {
    store: &'a dyn Store,
    volume: &'a VolumeName,
    stem: &'a KeyStem,
    budget: &'a mut Budget,
    report: &'a mut ReconcileReport,
}

impl Look<'_> {
    /// What is to change in the record, so far as the budget allows to find it out.
    async fn edits(&mut self, record: &Record, before: Hour) -> Result<Vec<Edit>, StoreError> {
        let listed = inventory::of_database(self.store, self.stem).await?;
        let listed: Vec<_> = listed
            .into_iter()
            .map(|backup| HeldHour::new(backup.key.hour, backup.size, backup.etag))
            .collect();
        let Differences { found, missing } = differences(Some(record), &listed);
        let mut edits = Vec::new();
        for hour in missing.into_iter().filter(|&hour| hour < before) {
            self.report.missing.push(self.stem.at(hour));
            edits.push(Edit::Gone { stem: self.stem.clone(), hour });
        }
        let last = listed.iter().max_by_key(|held| held.hour);
        let has_lost_newest =
            record.newest_hour().map(|newest| newest.hour) > last.map(|held| held.hour);
        // Of what is the newest now, its footer tells what it is.
        let newest = last.filter(|held| has_lost_newest && !found.contains(held)).cloned();
        for held in found.into_iter().filter(|held| held.hour < before).chain(newest) {
            if !self.budget.take(1) {
                break;
            }
            let key = self.stem.at(held.hour);
            match footer(self.store, &key.object_key()).await {
                Ok((footer, _)) if footer.volume == *self.volume && footer.path == record.path => {
                    let is_last = last.is_some_and(|last| last.hour == held.hour);
                    let newest = is_last.then(|| Newest::of(&footer));
                    let (stem, path) = (self.stem.clone(), footer.path);
                    edits.push(Edit::Found { stem, path, held, newest });
                    self.report.found.push(key);
                }
                Ok((footer, _)) => {
                    let why =
                        format!("it is the backup of {} (volume {})", footer.path, footer.volume);
                    self.foreign(record, key, why, &mut edits);
                }
                Err(FetchError::Store(error)) => return Err(error),
                Err(FetchError::Missing) => {}
                Err(error) => self.foreign(record, key, error.to_string(), &mut edits),
            }
        }
        Ok(edits)
    }

    /// What stands under the key is none of the database's: if the catalog has a backup there, it is lost.
    fn foreign(&mut self, record: &Record, key: BackupKey, why: String, edits: &mut Vec<Edit>) {
        if record.hour(key.hour).is_some() {
            edits.push(Edit::Gone { stem: key.stem.clone(), hour: key.hour });
        }
        self.report.foreign.push((key, why));
    }
}
