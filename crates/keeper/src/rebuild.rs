//! Making catalogs from nothing but the objects (R9).
//!
//! One listing tells which backups there are; the footer of each database's newest one tells which database it
//! is and what it was taken of. Memory is some 60 bytes for each object.

use std::collections::BTreeMap;

use futures::{StreamExt, TryStreamExt, stream};
use ultrasimple_core::catalog::{Edit, HeldHour, Newest, Record};
use ultrasimple_core::{CatalogKey, Footer, KeyStem, placement};
use ultrasimple_store::{FetchError, Store, StoreError, footer, inventory};

use crate::catalogs::{self, Author, UpdateError};
use crate::reconcile::differences;

/// Footers read at once.
const IN_FLIGHT: usize = 64;
/// Of a database whose newest backup cannot be read, so many are tried.
const TRIES: usize = 4;
/// Catalogs written at once.
const WRITES: usize = 8;

/// What a rebuild found and did.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Rebuilt {
    /// Objects whose keys are ours.
    pub backups: u64,
    /// Databases in the catalogs now.
    pub databases: u64,
    /// Catalogs written.
    pub written: u64,
    /// Databases of which no backup could be read, so that nobody knows whose they are.
    pub unreadable: Vec<(KeyStem, String)>,
    /// Catalogs that could not be written, and why.
    pub failed: Vec<(CatalogKey, String)>,
}

/// Everything that a listing shows of one database.
struct Found {
    stem: KeyStem,
    hours: Vec<HeldHour>,
    /// The newest footer that could be read.
    footer: Footer,
    /// Whether that is the newest backup's.
    is_newest: bool,
}

/// Makes the catalogs of the databases whose stem `wanted` takes, of all volumes. What catalogs there are keep
/// what is only in them (fingerprints, verifications) where it still fits.
///
/// # Errors
/// When the store cannot be listed or read.
pub async fn rebuild(
    store: &dyn Store,
    author: &Author,
    wanted: impl Fn(&KeyStem) -> bool,
) -> Result<Rebuilt, StoreError> {
    let mut there = catalogs::read_all(store, None).await?.catalogs;
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
    let mut shards: BTreeMap<CatalogKey, Shard> = BTreeMap::new();
    let mut stems: BTreeMap<KeyStem, Option<CatalogKey>> = BTreeMap::new();
    let looks = listed.into_iter().map(|(stem, hours)| identify(store, stem, hours));
    let mut looks = stream::iter(looks).buffer_unordered(IN_FLIGHT);
    while let Some(look) = looks.next().await {
        match look? {
            Ok(found) => {
                let Footer { volume, path, .. } = &found.footer;
                let shard = placement::shard_of(volume, path, author.shards);
                let key = CatalogKey { volume: volume.clone(), shard };
                stems.insert(found.stem.clone(), Some(key.clone()));
                shards.entry(key).or_default().found.push(found);
                result.databases += 1;
            }
            Err((stem, why)) => {
                stems.insert(stem.clone(), None);
                result.unreadable.push((stem, why));
            }
        }
    }
    result.unreadable.sort();
    for (key, catalog) in &mut there {
        let shard = shards.entry(key.clone()).or_default();
        for (stem, record) in std::mem::take(&mut catalog.databases) {
            if wanted(&stem) {
                shard.known.push((stem, record));
            }
        }
    }
    let stems = &stems;
    let writes = shards.into_iter().map(|(key, shard)| async move {
        let written = shard.write(store, author, &key, stems).await;
        (key, written)
    });
    let mut writes = stream::iter(writes).buffer_unordered(WRITES);
    while let Some((key, written)) = writes.next().await {
        match written {
            Ok(is_written) => result.written += u64::from(is_written),
            Err(UpdateError::Store(error)) => return Err(error),
            Err(error) => result.failed.push((key, error.to_string())),
        }
    }
    result.failed.sort();
    Ok(result)
}

/// Reads the footer of the newest backup that has one.
async fn identify(
    store: &dyn Store,
    stem: KeyStem,
    mut hours: Vec<HeldHour>,
) -> Result<Result<Found, (KeyStem, String)>, StoreError> {
    hours.sort_by_key(|held| held.hour);
    let mut first_error = None;
    for (tried, held) in hours.iter().rev().take(TRIES).enumerate() {
        match footer(store, &stem.at(held.hour).object_key()).await {
            Ok((footer, _)) => {
                return Ok(Ok(Found { stem, hours, footer, is_newest: tried == 0 }));
            }
            Err(FetchError::Store(error)) => return Err(error),
            Err(error) => drop(first_error.get_or_insert(error.to_string())),
        }
    }
    Ok(Err((stem, first_error.unwrap_or_default())))
}

/// What is known of one shard: by its objects, and by its catalog.
#[derive(Default)]
struct Shard {
    found: Vec<Found>,
    known: Vec<(KeyStem, Record)>,
}

impl Shard {
    /// Writes the catalog, if there is anything to write. `stems` tells to which shard a listed stem belongs,
    /// if that could be read.
    async fn write(
        self,
        store: &dyn Store,
        author: &Author,
        key: &CatalogKey,
        stems: &BTreeMap<KeyStem, Option<CatalogKey>>,
    ) -> Result<bool, UpdateError> {
        let mut edits = Vec::new();
        for Found { stem, hours, footer, is_newest } in &self.found {
            let newest = is_newest.then(|| Newest::of(footer));
            let last = hours.last().map(|held| held.hour);
            edits.extend(hours.iter().map(|held| Edit::Found {
                stem: stem.clone(),
                path: footer.path.clone(),
                held: held.clone(),
                newest: newest.clone().filter(|_| Some(held.hour) == last),
            }));
        }
        let found: BTreeMap<_, _> = self.found.iter().map(|found| (&found.stem, found)).collect();
        for (stem, record) in self.known {
            let is_elsewhere = match stems.get(&stem) {
                // Whose backups these are cannot be read any more: the catalog is all there is.
                Some(None) => continue,
                Some(Some(elsewhere)) => elsewhere != key,
                None => false,
            };
            let listed = found.get(&stem).map(|found| found.hours.as_slice()).unwrap_or_default();
            for hour in differences(Some(&record), listed).missing {
                // What was stored after its place in the listing had gone by is not missing.
                let object = stem.at(hour).object_key();
                if is_elsewhere || store.head(&object).await?.is_none() {
                    edits.push(Edit::Gone { stem: stem.clone(), hour });
                }
            }
        }
        if edits.is_empty() {
            return Ok(false);
        }
        catalogs::update(store, key, author, &edits).await?;
        Ok(true)
    }
}
