//! Making catalogs from nothing but the objects (R9).
//!
//! One listing tells which backups there are; the footer of each database's newest one tells which database it
//! is and what it was taken of. Memory is some 150 bytes for each object: a bucket of many millions is done in
//! several parts, by what the caller takes as `wanted`, at the price of a listing for each.

use std::collections::BTreeMap;

use futures::{StreamExt, TryStreamExt, stream};
use ultrasimple_core::catalog::{Edit, HeldHour, Newest};
use ultrasimple_core::{Footer, KeyStem, ShardKey, placement};
use ultrasimple_store::{Store, StoreError, inventory};

use crate::catalogs::{self, Author, ReadError, UpdateError};
use crate::identity::{Owner, identify};
use crate::reconcile::differences;

/// Footers read at once.
const IN_FLIGHT: usize = 64;
/// Catalogs written at once.
const WRITES: usize = 8;
/// Databases that could not be looked at because the store failed, before it is taken for broken.
const MOST_FAILURES: usize = 100;

/// What a rebuild found and did.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Rebuilt {
    /// Objects whose keys are ours.
    pub backups: u64,
    /// Databases that were found, but for those that are unreadable.
    pub databases: u64,
    /// Catalogs written.
    pub written: u64,
    /// Databases of which no backup could be read, so that nobody knows whose they are. What the catalogs say
    /// of them stays.
    pub unreadable: Vec<(KeyStem, String)>,
    /// Catalogs that could not be written, and why.
    pub failed: Vec<(ShardKey, String)>,
}

/// Everything that a listing shows of one database.
struct Found {
    stem: KeyStem,
    /// The oldest first.
    hours: Vec<HeldHour>,
    owner: Owner,
}

/// Makes the catalogs of the databases whose stem `wanted` takes, of all volumes. What catalogs there are keep
/// what is only in them (fingerprints, verifications) where it still fits. The author's epoch does not matter:
/// it is not made by the owners.
///
/// # Errors
/// When the store cannot be listed, or fails again and again.
pub async fn rebuild(
    store: &dyn Store,
    author: &Author,
    wanted: impl Fn(&KeyStem) -> bool,
) -> Result<Rebuilt, StoreError> {
    let author = &Author { epoch: None, ..author.clone() };
    let mut result = Rebuilt::default();
    let mut listed: BTreeMap<KeyStem, Vec<HeldHour>> = BTreeMap::new();
    let mut listing = inventory::backups(store, "");
    while let Some(backup) = listing.try_next().await? {
        if wanted(&backup.key.stem) {
            result.backups += 1;
            let held = HeldHour::new(backup.key.hour, backup.size, backup.etag);
            listed.entry(backup.key.stem).or_default().push(held);
        }
    }
    let mut shards: BTreeMap<ShardKey, Vec<Found>> = BTreeMap::new();
    let mut stems: BTreeMap<KeyStem, Option<ShardKey>> = BTreeMap::new();
    let mut failures = 0;
    let looks = listed.into_iter().map(|(stem, mut hours)| async move {
        hours.sort_unstable_by_key(|held| held.hour);
        let owner = identify(store, &stem, hours.iter().map(|held| held.hour)).await;
        (stem, hours, owner)
    });
    let mut looks = stream::iter(looks).buffer_unordered(IN_FLIGHT);
    while let Some((stem, hours, owner)) = looks.next().await {
        let why = match owner {
            Ok(Ok(owner)) => {
                let Footer { volume, path, .. } = &owner.footer;
                let shard = placement::shard_of(volume, path, author.shards);
                let key = ShardKey { volume: volume.clone(), shard };
                stems.insert(stem.clone(), Some(key.clone()));
                shards.entry(key).or_default().push(Found { stem, hours, owner });
                result.databases += 1;
                continue;
            }
            Ok(Err(why)) => why,
            Err(error) => {
                failures += 1;
                if failures > MOST_FAILURES {
                    return Err(error);
                }
                error.to_string()
            }
        };
        stems.insert(stem.clone(), None);
        result.unreadable.push((stem, why));
    }
    result.unreadable.sort();
    for key in catalogs::list(store, None).await? {
        shards.entry(key).or_default();
    }
    let (stems, wanted) = (&stems, &wanted);
    let writes = shards.into_iter().map(|(key, found)| async move {
        let shard = Shard { store, author, key: &key, found };
        let written = shard.write(stems, wanted).await;
        (key, written)
    });
    let mut writes = stream::iter(writes).buffer_unordered(WRITES);
    while let Some((key, written)) = writes.next().await {
        match written {
            Ok(is_written) => result.written += u64::from(is_written),
            Err(error) => result.failed.push((key, error.to_string())),
        }
    }
    result.failed.sort();
    Ok(result)
}

/// What the objects say of one shard.
struct Shard<'a> {
    store: &'a dyn Store,
    author: &'a Author,
    key: &'a ShardKey,
    found: Vec<Found>,
}

impl Shard<'_> {
    /// Writes the catalog, if there is anything to write. `stems` tells to which shard a listed stem belongs,
    /// if that could be read.
    async fn write(
        &self,
        stems: &BTreeMap<KeyStem, Option<ShardKey>>,
        wanted: &impl Fn(&KeyStem) -> bool,
    ) -> Result<bool, UpdateError> {
        let mut edits = self.gone(stems, wanted).await?;
        for Found { stem, hours, owner } in &self.found {
            let newest = owner.is_newest.then(|| Newest::of(&owner.footer));
            let last = hours.last().map(|held| held.hour);
            let fingerprint = owner.footer.fingerprint.filter(|_| owner.is_newest);
            edits.extend(hours.iter().map(|held| {
                let is_last = Some(held.hour) == last;
                Edit::Found {
                    stem: stem.clone(),
                    path: owner.footer.path.clone(),
                    held: held.clone(),
                    newest: newest.clone().filter(|_| is_last),
                    fingerprint: fingerprint.filter(|_| is_last),
                }
            }));
        }
        if edits.is_empty() {
            return Ok(false);
        }
        catalogs::update(self.store, self.key, self.author, &edits).await?;
        Ok(true)
    }

    /// What the catalog has and the bucket has not, or has for another shard.
    async fn gone(
        &self,
        stems: &BTreeMap<KeyStem, Option<ShardKey>>,
        wanted: &impl Fn(&KeyStem) -> bool,
    ) -> Result<Vec<Edit>, UpdateError> {
        let known = match catalogs::read(self.store, self.key).await {
            Ok(Some((catalog, _))) => catalog.databases,
            // One that cannot be used is begun anew, or refused, when it is written.
            Ok(None) | Err(ReadError::Unusable { .. }) => return Ok(Vec::new()),
            Err(ReadError::Store(error)) => return Err(error.into()),
        };
        let found: BTreeMap<_, _> =
            self.found.iter().map(|found| (&found.stem, found.hours.as_slice())).collect();
        let mut edits = Vec::new();
        for (stem, record) in known.into_iter().filter(|(stem, _)| wanted(stem)) {
            let is_elsewhere = match stems.get(&stem) {
                // Whose backups these are cannot be read any more: the catalog is all there is.
                Some(None) => continue,
                Some(Some(elsewhere)) => elsewhere != self.key,
                None => false,
            };
            let listed = found.get(&stem).copied().unwrap_or_default();
            for hour in differences(Some(&record), listed).missing {
                // What was stored after its place in the listing had gone by is not missing.
                let object = stem.at(hour).object_key();
                if is_elsewhere || self.store.head(&object).await?.is_none() {
                    edits.push(Edit::Gone { stem: stem.clone(), hour });
                }
            }
        }
        Ok(edits)
    }
}
