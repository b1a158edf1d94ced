//! Comparing the bucket with the catalogs: backups that no catalog knows, entries whose object is gone, and
//! objects that somebody replaced.
//!
//! One listing of everything, compared by sums: for each database, a number that adds up its closed hours with
//! their sizes and tags. Where the sum of the listing is that of the catalogs, nothing has to be looked at; where
//! it is not, that one database is listed again and repaired. So a pass costs a request for every thousand
//! objects and one for each catalog, and where anything differs, up to three more for each catalog and a few
//! for each difference. Memory is that of a few catalogs and some 50 bytes for each database.
//!
//! A pass is over the whole bucket, all volumes: keys do not tell which volume they are of. One node makes it ([`wait`]),
//! and writes the catalogs as somebody who is not their owner. It keeps to a budget of requests, and goes on
//! where it stopped when there is budget again.

mod compare;
mod look;
mod turn;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use futures::TryStreamExt;
use ultrasimple_core::catalog::Edit;
use ultrasimple_core::catalog::format::CatalogError;
use ultrasimple_core::{BackupKey, Hour, KeyStem, ShardKey, Timestamp, placement};
use ultrasimple_store::{Store, StoreError};

use crate::catalogs::{self, Author, ReadError, UpdateError};
use compare::Sum;
pub use compare::{Differences, differences};
use look::Look;
pub use turn::wait;

/// Objects in a page of a listing.
const PAGE: u64 = 1_000;
/// How far catalogs may lag behind the objects: they are written hourly.
const CATALOG_LAG: Duration = Duration::from_hours(2);
/// Databases unknown to all catalogs that one pass takes up; the next one takes the rest.
const MOST_UNKNOWN: usize = 10_000;
/// Edits gathered before they are written: some 300 bytes each.
const MOST_EDITS: usize = 50_000;

/// Requests that may still be made. What is begun is ended: one catalog read, or one database looked at, may
/// take more than is left; then nothing is.
#[derive(Debug, Clone, Copy)]
pub struct Budget(pub u64);

impl Budget {
    fn spend(&mut self, requests: u64) {
        self.0 = self.0.saturating_sub(requests);
    }

    fn is_spent(self) -> bool {
        self.0 == 0
    }
}

/// What a pass found and mended.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct ReconcileReport {
    /// Backups that no catalog knew, or only as another object.
    pub found: Vec<BackupKey>,
    /// Backups that the catalogs knew and that are gone.
    pub missing: Vec<BackupKey>,
    /// Objects under our keys that are not readable backups of the database, and why.
    pub foreign: Vec<(BackupKey, String)>,
    /// The shards whose catalogs were changed.
    pub changed: BTreeSet<ShardKey>,
    /// Catalogs that could not be read or written, and why.
    pub failed: BTreeMap<ShardKey, String>,
}

impl ReconcileReport {
    fn add(&mut self, other: Self) {
        let Self { found, missing, foreign, changed, failed } = other;
        self.found.extend(found);
        self.missing.extend(missing);
        self.foreign.extend(foreign);
        self.changed.extend(changed);
        self.failed.extend(failed);
    }
}

/// How far a pass is.
#[derive(Debug, Clone)]
enum Progress {
    /// Listed up to this key.
    Listing(Option<String>),
    /// Repaired up to this database of this catalog; the catalog is done when there is none.
    Repairing(Option<(ShardKey, Option<KeyStem>)>),
    Adopting,
}

/// One pass over the bucket, which may take several days of budget.
#[derive(Debug)]
pub struct Pass {
    /// Only hours long over when the pass began: what was stored since the catalogs were written differs for
    /// good reasons.
    before: Hour,
    /// By the hash of the stem. After the listing, only of those that differ.
    known: HashMap<u64, Sum>,
    listed: HashMap<u64, Sum>,
    unknown: BTreeSet<KeyStem>,
    /// Some catalogs are of a newer version: what they know looks unknown.
    has_newer: bool,
    progress: Progress,
    report: ReconcileReport,
}

impl Pass {
    /// Begins a pass: reads the catalogs of all volumes.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn begin(
        store: &dyn Store,
        now: Timestamp,
        budget: &mut Budget,
    ) -> Result<Self, StoreError> {
        let before = Hour::of(now.saturating_sub(CATALOG_LAG).unwrap_or(now));
        let mut known = HashMap::<u64, Sum>::new();
        let mut read = 0;
        let unusable = catalogs::each(store, None, |catalog| {
            read += 1;
            for (stem, record) in &catalog.databases {
                // Two of them where a stem passed from one database to another: each knows its part.
                let sum = known.entry(placement::key_hash(stem)).or_default();
                *sum = sum.plus(Sum::of(record, before));
            }
        })
        .await?;
        read += unusable.len() as u64;
        budget.spend(read + 1 + read / PAGE);
        let has_newer = unusable.values().any(|why| matches!(why, CatalogError::Newer(_)));
        let failed = unusable.into_iter().map(|(key, why)| (key, why.to_string())).collect();
        Ok(Self {
            before,
            known,
            listed: HashMap::new(),
            unknown: BTreeSet::new(),
            has_newer,
            progress: Progress::Listing(None),
            report: ReconcileReport { failed, ..ReconcileReport::default() },
        })
    }

    /// Goes on, as far as the budget allows. `None`: not done yet, go on with more of it. The author's epoch
    /// does not matter. The report is that of the whole pass.
    ///
    /// # Errors
    /// When the store cannot be read or written. The pass can go on later: what was found is found again.
    pub async fn go_on(
        &mut self,
        store: &dyn Store,
        author: &Author,
        budget: &mut Budget,
    ) -> Result<Option<ReconcileReport>, StoreError> {
        // As the owner of one shard, it would put the owners of all others out.
        let author = &Author { epoch: None, ..author.clone() };
        loop {
            let is_whole = match self.progress.clone() {
                Progress::Listing(after) => self.list(store, after, budget).await?,
                Progress::Repairing(after) => self.repair(store, author, after, budget).await?,
                Progress::Adopting => {
                    if self.adopt(store, author, budget).await? {
                        return Ok(Some(std::mem::take(&mut self.report)));
                    }
                    false
                }
            };
            if !is_whole {
                return Ok(None);
            }
        }
    }

    /// Lists on. False when the budget is spent.
    async fn list(
        &mut self,
        store: &dyn Store,
        after: Option<String>,
        budget: &mut Budget,
    ) -> Result<bool, StoreError> {
        if budget.is_spent() {
            return Ok(false);
        }
        budget.spend(1);
        let mut listing = store.list("", after.as_deref());
        let mut in_page = 0;
        loop {
            if in_page == PAGE && budget.is_spent() {
                return Ok(false);
            }
            let Some(object) = listing.try_next().await? else { break };
            if in_page == PAGE {
                budget.spend(1);
                in_page = 0;
            }
            in_page += 1;
            if let Some(key) = BackupKey::parse(&object.key)
                && key.hour < self.before
            {
                let hash = placement::key_hash(&key.stem);
                let sum = self.listed.entry(hash).or_default();
                *sum = sum.and(key.hour, object.size, &object.etag.0);
                if self.unknown.len() < MOST_UNKNOWN && !self.known.contains_key(&hash) {
                    self.unknown.insert(key.stem);
                }
            }
            self.progress = Progress::Listing(Some(object.key));
        }
        let listed = &self.listed;
        self.known.retain(|hash, sum| listed.get(hash).copied().unwrap_or_default() != *sum);
        let differing = &self.known;
        self.listed.retain(|hash, _| differing.contains_key(hash));
        let is_equal = self.known.is_empty();
        self.progress = if is_equal { Progress::Adopting } else { Progress::Repairing(None) };
        Ok(true)
    }

    /// Looks at all known databases that differ, once more and exactly, and mends their catalogs. False when
    /// the budget is spent.
    async fn repair(
        &mut self,
        store: &dyn Store,
        author: &Author,
        mut after: Option<(ShardKey, Option<KeyStem>)>,
        budget: &mut Budget,
    ) -> Result<bool, StoreError> {
        if budget.is_spent() {
            return Ok(false);
        }
        let keys = catalogs::list(store, None).await?;
        budget.spend(1 + keys.len() as u64 / PAGE);
        for key in keys {
            let begin = match &after {
                Some((last, stem)) if *last == key && stem.is_some() => stem.clone(),
                Some((last, _)) if *last >= key => continue,
                _ => None,
            };
            let mut end = begin;
            loop {
                end = self.repair_catalog(store, author, &key, end, budget).await?;
                let is_whole = end.is_none();
                after = Some((key.clone(), end.clone()));
                self.progress = Progress::Repairing(after.clone());
                if budget.is_spent() {
                    return Ok(false);
                }
                if is_whole {
                    break;
                }
            }
        }
        self.progress = Progress::Adopting;
        Ok(true)
    }

    /// Mends one catalog, from the database after `begin` on. Gives the last one looked at, if there may be
    /// more.
    async fn repair_catalog(
        &mut self,
        store: &dyn Store,
        author: &Author,
        key: &ShardKey,
        begin: Option<KeyStem>,
        budget: &mut Budget,
    ) -> Result<Option<KeyStem>, StoreError> {
        budget.spend(1);
        let catalog = match catalogs::read(store, key).await {
            Ok(Some((catalog, _))) => catalog,
            // Told already, or of no interest any more.
            Ok(None) | Err(ReadError::Unusable { .. }) => return Ok(None),
            Err(ReadError::Store(error)) => return Err(error),
        };
        let mut report = ReconcileReport::default();
        let mut edits = Vec::new();
        let mut end = None;
        for (stem, record) in &catalog.databases {
            let hash = placement::key_hash(stem);
            let listed = self.listed.get(&hash).copied().unwrap_or_default();
            let is_done = begin.as_ref().is_some_and(|begin| stem <= begin);
            // It may have been written since the pass began.
            let is_equal =
                !self.known.contains_key(&hash) || Sum::of(record, self.before) == listed;
            if is_done || is_equal {
                continue;
            }
            let look = Look { store, volume: &key.volume, stem, before: self.before };
            edits.extend(look.repair(record, budget, &mut report).await?);
            if budget.is_spent() || edits.len() >= MOST_EDITS {
                end = Some(stem.clone());
                break;
            }
        }
        self.write(store, author, [(key.clone(), edits)], budget, &mut report).await?;
        self.report.add(report);
        Ok(end)
    }

    /// Takes the databases up that no catalog knows. False when the budget is spent.
    async fn adopt(
        &mut self,
        store: &dyn Store,
        author: &Author,
        budget: &mut Budget,
    ) -> Result<bool, StoreError> {
        while !self.unknown.is_empty() && !self.has_newer {
            let mut report = ReconcileReport::default();
            let mut edits = BTreeMap::<ShardKey, Vec<Edit>>::new();
            let (mut gathered, mut looked_at) = (0, Vec::new());
            for stem in &self.unknown {
                if budget.is_spent() || gathered >= MOST_EDITS {
                    break;
                }
                if let Some((volume, path, found)) =
                    look::adopt(store, stem, self.before, budget, &mut report).await?
                {
                    let shard = placement::shard_of(&volume, &path, author.shards);
                    gathered += found.len();
                    edits.entry(ShardKey { volume, shard }).or_default().extend(found);
                }
                looked_at.push(stem.clone());
            }
            if looked_at.is_empty() {
                return Ok(false);
            }
            self.write(store, author, edits, budget, &mut report).await?;
            self.report.add(report);
            for stem in &looked_at {
                self.unknown.remove(stem);
            }
        }
        Ok(true)
    }

    async fn write(
        &self,
        store: &dyn Store,
        author: &Author,
        edits: impl IntoIterator<Item = (ShardKey, Vec<Edit>)>,
        budget: &mut Budget,
        report: &mut ReconcileReport,
    ) -> Result<(), StoreError> {
        for (key, mut edits) in edits {
            if edits.is_empty() {
                continue;
            }
            edits.push(Edit::ReconciledAt(author.now));
            budget.spend(2);
            match catalogs::update(store, &key, author, &edits).await {
                Ok(_) => drop(report.changed.insert(key)),
                Err(UpdateError::Store(error)) => return Err(error),
                Err(error) => drop(report.failed.insert(key, error.to_string())),
            }
        }
        Ok(())
    }
}
