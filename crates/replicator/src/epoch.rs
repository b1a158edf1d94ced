//! Taking a bucket: its generation is raised in the bucket whenever somebody else begins to write to it, so that who
//! wrote before is found out by the first conflicting write.
//!
//! A node without etcd raises it at each start; a fleet when it finds that it was not the last holder.

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use ultrasimple_core::cluster_file::{ClusterFile, Holder};
use ultrasimple_core::{Catalog, Epoch};
use ultrasimple_keeper::catalogs;
use ultrasimple_store::{
    Body, ByteRange, Condition, FetchError, Store, StoreError, footer, inventory,
};

use crate::StartError;

/// Starts that may collide before this one gives up.
const ATTEMPTS: u32 = 5;
/// Far more than the file ever has.
const MOST_BYTES: u64 = 64 * 1_024;

/// Of a bucket that has lost its cluster file and its catalogs, so many of the newest backups listed first are
/// asked for their epoch.
const FOOTERS: usize = 32;

/// A bucket that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// Of all epochs under which its holder writes from now on.
    pub generation: u64,
    /// The bucket's random name.
    pub bucket: String,
    /// Nothing was stored in it before.
    pub is_new: bool,
}

/// Takes the bucket for `holder`. Costs one GET, and one PUT unless a fleet has it already; where there is no
/// cluster file yet, a few more to see whether the bucket is new. `known_as`: the name by which others that have the
/// bucket know it; if it has lost its cluster file, it gets that name again.
///
/// # Errors
/// When the bucket belongs to a cluster with another number of shards, or cannot be read or written.
pub async fn take(
    store: &Arc<dyn Store>,
    shards: u32,
    holder: &Holder,
    known_as: Option<&str>,
) -> Result<Taken, StartError> {
    let key = ClusterFile::key();
    let unusable = |reason: String| StartError::ClusterFile { key: key.to_string(), reason };
    for _ in 0..ATTEMPTS {
        let there = store.get(&key, ByteRange::Full).await?;
        let (file, is_new, condition) = match there {
            None => {
                let last = latest_in(&**store).await?;
                let bucket = match known_as {
                    None => random_name().map_err(|error| unusable(error.to_string()))?,
                    Some(_) if last == Epoch::default() => {
                        return Err(StartError::OtherBucket);
                    }
                    Some(name) => name.to_owned(),
                };
                let file = ClusterFile::first(bucket, shards, holder.clone(), last.generation());
                (file, last == Epoch::default(), Condition::Absent)
            }
            Some(object) => {
                let etag = object.info.etag.clone();
                let bytes = object.bytes(MOST_BYTES).await?;
                let file =
                    ClusterFile::parse(&bytes).map_err(|error| unusable(error.to_string()))?;
                if file.shards != shards {
                    return Err(StartError::OtherShards { theirs: file.shards, ours: shards });
                }
                if matches!(holder, Holder::Fleet(_)) && file.holder == *holder {
                    let ClusterFile { generation, bucket, .. } = file;
                    return Ok(Taken { generation, bucket, is_new: false });
                }
                (file.raised(holder.clone()), false, Condition::Matches(etag))
            }
        };
        let able = store.capabilities();
        let condition = match condition {
            Condition::Absent if !able.put_if_absent => Condition::Always,
            Condition::Matches(_) if !able.put_if_matches => Condition::Always,
            condition => condition,
        };
        let bytes = file.to_bytes().map_err(|error| unusable(error.to_string()))?;
        match store.put(&key, Body::Bytes(Bytes::from(bytes)), condition).await {
            Ok(_) => {
                let ClusterFile { generation, bucket, .. } = file;
                return Ok(Taken { generation, bucket, is_new });
            }
            Err(StoreError::ConditionFailed) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(unusable(format!("{ATTEMPTS} other starts came in between: do several daemons run?")))
}

/// The random name of a bucket. `None` where nobody has taken it yet, or its cluster file is lost.
///
/// # Errors
/// When it cannot be read.
pub async fn bucket_name(store: &dyn Store) -> Result<Option<String>, StartError> {
    let key = ClusterFile::key();
    let Some(object) = store.get(&key, ByteRange::Full).await? else { return Ok(None) };
    let bytes = object.bytes(MOST_BYTES).await?;
    let file = ClusterFile::parse(&bytes).map_err(|error| StartError::ClusterFile {
        key: key.to_string(),
        reason: error.to_string(),
    })?;
    Ok(Some(file.bucket))
}

/// Why a fleet cannot take its bucket again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotOurs {
    /// Somebody else has taken it since.
    #[error("the bucket was taken over by {0}: only one may write to it")]
    Taken(Holder),
    /// It cannot be read or written, or was set up anew in another way.
    #[error("{0}")]
    Unusable(#[from] StartError),
}

/// Finds out for a fleet, which had `generation`, with which one to go on after something of the epoch `fenced_by` was
/// found in its bucket: one that another of its nodes has raised meanwhile, or else a greater one, which is stored
/// (etcd's revisions count from an earlier one again, as after it was restored).
///
/// # Errors
/// When the bucket is another's, or cannot be asked now.
pub async fn take_again(
    store: &Arc<dyn Store>,
    shards: u32,
    fleet: &Holder,
    known_as: Option<&str>,
    generation: u64,
    fenced_by: Epoch,
) -> Result<u64, NotOurs> {
    let key = ClusterFile::key();
    let unusable = |reason: String| StartError::ClusterFile { key: key.to_string(), reason };
    for _ in 0..ATTEMPTS {
        let there = store.get(&key, ByteRange::Full).await.map_err(StartError::from)?;
        let Some(object) = there else {
            // Lost: made anew, later than all that the bucket has.
            take(store, shards, fleet, known_as).await?;
            continue;
        };
        let etag = object.info.etag.clone();
        let bytes = object.bytes(MOST_BYTES).await.map_err(StartError::from)?;
        let file = ClusterFile::parse(&bytes).map_err(|error| unusable(error.to_string()))?;
        if file.holder != *fleet {
            return Err(NotOurs::Taken(file.holder));
        }
        if file.generation > generation && file.generation >= fenced_by.generation() {
            return Ok(file.generation);
        }
        let mut raised = file.raised(fleet.clone());
        raised.generation = raised.generation.max(generation + 1).max(fenced_by.generation() + 1);
        let is_able = store.capabilities().put_if_matches;
        let condition = if is_able { Condition::Matches(etag) } else { Condition::Always };
        let bytes = raised.to_bytes().map_err(|error| unusable(error.to_string()))?;
        match store.put(&key, Body::Bytes(Bytes::from(bytes)), condition).await {
            Ok(_) => return Ok(raised.generation),
            Err(StoreError::ConditionFailed) => {}
            Err(error) => return Err(StartError::from(error).into()),
        }
    }
    Err(unusable(format!("{ATTEMPTS} others came in between")).into())
}

/// 128 random bits, as hexadecimal digits.
///
/// # Errors
/// When the operating system gives none.
pub fn random_name() -> std::io::Result<String> {
    let mut bits = [0; 16];
    rustix::rand::getrandom(&mut bits, rustix::rand::GetRandomFlags::empty())?;
    Ok(format!("{:032x}", u128::from_be_bytes(bits)))
}
/// The latest epoch that catalogs and backups tell of, where the cluster file is missing: a start with an earlier
/// one would be put out by what it finds.
async fn latest_in(store: &dyn Store) -> Result<Epoch, StoreError> {
    let mut latest = Epoch::default();
    let take = |catalog: Catalog| latest = latest.max(catalog.epoch);
    catalogs::each(store, None, take).await?;
    let listing = inventory::backups(store, "").take(1_000);
    let mut backups: Vec<_> = listing.map_ok(|backup| backup.key).try_collect().await?;
    backups.sort_by_key(|key| std::cmp::Reverse(key.hour));
    for key in backups.iter().take(FOOTERS) {
        match footer(store, &key.object_key()).await {
            Ok((footer, _)) => latest = latest.max(footer.epoch),
            Err(FetchError::Store(error)) => return Err(error),
            Err(_) => {}
        }
    }
    Ok(latest)
}

#[cfg(test)]
#[path = "epoch_tests.rs"]
mod tests;
