//! What the catalogs say at the start, before the first scan: so that what has not changed is not captured.
//!
//! A request for each catalog, and one for every thousand. What they say is never more than a hint: a
//! fingerprint that differs, or a database they do not have, is captured, and the bucket's own conditions decide.

use std::collections::HashSet;
use std::sync::Arc;

use futures::{StreamExt, stream};
use tokio::sync::Mutex;
use ultrasimple_core::{
    Catalog, FingerprintDigest, Hour, KeyStem, ShardId, ShardKey, Timestamp, VolumeName, placement,
};
use ultrasimple_keeper::catalogs::{self, ReadError};
use ultrasimple_keeper::rebuild::rebuild;
use ultrasimple_store::StoreError;

use crate::agenda::Facts;
use crate::held::Held;
use crate::keeping::Kept;
use crate::scan::Identity;
use crate::scanner::News;
use crate::shard::{LastBackup, Recalled};
use crate::shard_owner::ShardOwner;
use crate::tending::Tender;

/// Catalogs read at once.
const IN_FLIGHT: usize = 32;

/// What one catalog says to its owner.
#[derive(Debug)]
pub(crate) struct Recollection {
    pub(crate) databases: Vec<Recalled>,
    /// Since which hour the bucket may have more.
    pub(crate) unsure_since: Option<Hour>,
    pub(crate) facts: Facts,
    pub(crate) kept: Kept,
}

/// What is known after all catalogs were read.
#[derive(Debug, Default)]
pub(crate) struct Recalls {
    /// Shards whose catalog was read.
    pub(crate) shards: HashSet<ShardId>,
    /// Hashes of the stems in them.
    pub(crate) stems: HashSet<u64>,
    /// When the bucket was last compared with the catalogs.
    pub(crate) reconciled_at: Option<Timestamp>,
}

impl Recalls {
    /// Whether a catalog has this stem.
    pub(crate) fn knows(&self, stem: &KeyStem) -> bool {
        self.stems.contains(&placement::key_hash(stem))
    }
}

/// The reading of the catalogs, once in the life of the actors.
#[derive(Debug)]
pub(crate) struct Recall {
    tender: Arc<Tender>,
    volume: VolumeName,
    /// Nothing was in the bucket before this start.
    is_new: bool,
    progress: Mutex<Progress>,
}

#[derive(Debug, Default)]
enum Progress {
    #[default]
    NotBegun,
    /// The catalogs are read; no scan has been seen.
    Read(Recalls),
    Done {
        reconciled_at: Option<Timestamp>,
    },
}

impl Recall {
    pub(crate) fn new(tender: Arc<Tender>, volume: VolumeName, is_new: bool) -> Self {
        Self { tender, volume, is_new, progress: Mutex::new(Progress::NotBegun) }
    }

    /// Reads the catalogs and tells their owners, unless that is done.
    ///
    /// # Errors
    /// When the store cannot be read; to be tried again before the first scan.
    pub(crate) async fn before_scan(&self, owners: &[ShardOwner]) -> Result<(), StoreError> {
        let mut progress = self.progress.lock().await;
        if let Progress::NotBegun = *progress {
            *progress = Progress::Read(read(&self.tender, &self.volume, owners, None).await?);
        }
        Ok(())
    }

    /// Where databases are in a shard that has no usable catalog, on a bucket that is not new, makes one from
    /// the objects. Returns when the bucket was last compared with the catalogs.
    pub(crate) async fn after_scan(
        &self,
        owners: &[ShardOwner],
        by_shard: &[News],
    ) -> Option<Timestamp> {
        let mut progress = self.progress.lock().await;
        let recalls = match std::mem::take(&mut *progress) {
            Progress::Done { reconciled_at } => {
                *progress = Progress::Done { reconciled_at };
                return reconciled_at;
            }
            Progress::Read(recalls) => recalls,
            Progress::NotBegun => Recalls::default(),
        };
        let reconciled_at = recalls.reconciled_at;
        *progress = Progress::Done { reconciled_at };
        let with_databases = (0u32..).map(ShardId).zip(by_shard);
        let missing: HashSet<_> = with_databases
            .filter(|(shard, news)| !news.changed.is_empty() && !recalls.shards.contains(shard))
            .map(|(shard, _)| shard)
            .collect();
        if !missing.is_empty()
            && !self.is_new
            && let Err(error) = self.rebuild(owners, &recalls, &missing).await
        {
            tracing::warn!(
                %error,
                "The missing catalogs could not be made from the objects: {error}; what is in the \
                 bucket already may be sent once more"
            );
        }
        reconciled_at
    }

    async fn rebuild(
        &self,
        owners: &[ShardOwner],
        recalls: &Recalls,
        missing: &HashSet<ShardId>,
    ) -> Result<(), StoreError> {
        let tender = &self.tender;
        let author = tender.author(false);
        let rebuilt = rebuild(&*tender.store, &author, |stem| !recalls.knows(stem)).await?;
        if rebuilt.backups == 0 {
            return Ok(());
        }
        let (shards, databases) = (missing.len(), rebuilt.databases);
        tracing::warn!(
            shards,
            databases,
            "{shards} shards have databases and no usable catalog; {databases} databases were found in the \
             bucket, and their catalogs made from the objects"
        );
        for (stem, why) in &rebuilt.unreadable {
            tracing::warn!(%stem, "No backup of {stem} can be read: {why}");
        }
        for (key, why) in &rebuilt.failed {
            let key = key.object_key();
            tracing::warn!(%key, "{key} could not be written: {why}");
        }
        read(tender, &self.volume, owners, Some(missing)).await.map(drop)
    }
}

/// Reads the catalogs of a volume and tells their owners; of all shards, or only of some for which they have just
/// been made.
async fn read(
    tender: &Tender,
    volume: &VolumeName,
    owners: &[ShardOwner],
    only: Option<&HashSet<ShardId>>,
) -> Result<Recalls, StoreError> {
    let store = &*tender.store;
    let mut recalls = Recalls::default();
    let keys = catalogs::list(store, Some(volume)).await?;
    let keys = keys.into_iter().filter(|key| only.is_none_or(|only| only.contains(&key.shard)));
    let reads = keys.map(|key| async move {
        let found = catalogs::read(store, &key).await;
        (key, found)
    });
    let mut reads = stream::iter(reads).buffer_unordered(IN_FLIGHT);
    while let Some((key, found)) = reads.next().await {
        let ShardKey { shard, .. } = key;
        let catalog = match found {
            Ok(Some((catalog, _))) => catalog,
            Ok(None) => continue,
            // What nobody may read now will not be readable in the next cycle: backups do not wait for that.
            Err(ReadError::Store(error)) if !matches!(error, StoreError::Denied(_)) => {
                return Err(error);
            }
            Err(error) => {
                let key = key.object_key();
                tracing::warn!(%key, %error, "The catalog {key} cannot be used: {error}");
                continue;
            }
        };
        let Some(owner) = owners.get(shard.0 as usize) else { continue };
        let hashes = catalog.databases.keys().map(placement::key_hash);
        recalls.stems.extend(hashes);
        recalls.reconciled_at = recalls.reconciled_at.max(catalog.reconciled_at);
        recalls.shards.insert(shard);
        let is_fresh = only.is_some();
        owner.recall(recollect(tender, &catalog, is_fresh).await);
    }
    Ok(recalls)
}

pub(crate) async fn recollect(tender: &Tender, catalog: &Catalog, is_fresh: bool) -> Recollection {
    let (now, time) = (tender.clock.monotonic(), tender.clock.now());
    let databases = catalog.databases.iter().filter_map(|(stem, record)| {
        let newest = record.newest.as_ref()?;
        let held = record.newest_hour().filter(|held| held.hour == newest.hour())?;
        // What cannot be restored is as good as not there.
        if held.fault.is_some() || held.foreign.is_some() {
            return None;
        }
        let age = time.duration_since(newest.captured_at);
        let stored_at = now.saturating_sub(age.try_into().unwrap_or_default());
        let backup = LastBackup {
            content: newest.blake3,
            hour: held.hour,
            etag: held.etag.clone(),
            damage: newest.marked.clone(),
            stored_at,
        };
        let digest = record.fingerprint.unwrap_or(FingerprintDigest::NONE);
        Some(Recalled {
            identity: Identity::new(&record.path, stem),
            held: Held { digest, backup },
            gone_since: record.gone_since,
        })
    });
    // Its owner let go of the shard, and nobody had it since.
    let is_last_word =
        catalog.is_final && catalog.epoch.generation() + 1 == tender.epoch.generation();
    let may_be_stale = !is_fresh && !is_last_word;
    Recollection {
        databases: databases.collect(),
        unsure_since: may_be_stale.then(|| Hour::of(catalog.written_at)),
        facts: tender.facts(catalog).await,
        kept: Kept::of(catalog),
    }
}
