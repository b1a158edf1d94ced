//! The epoch of a node that runs without etcd: raised in the bucket at each start, so that an older
//! daemon on the same bucket is found out by its first conflicting write.

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use ultrasimple_core::cluster_file::ClusterFile;
use ultrasimple_core::{Catalog, Epoch, NodeName};
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

/// The epoch of this start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Raised {
    pub(crate) epoch: Epoch,
    /// Nothing was stored in the bucket before.
    pub(crate) is_new: bool,
}

/// Raises the bucket's epoch. Costs one GET and one PUT; where there is no cluster file yet, a few more to see
/// whether the bucket is new.
///
/// # Errors
/// When the bucket belongs to a cluster with another number of shards, or cannot be read or written.
pub(crate) async fn raise(
    store: &Arc<dyn Store>,
    shards: u32,
    node: &NodeName,
) -> Result<Raised, StartError> {
    let key = ClusterFile::key();
    let unusable = |reason: String| StartError::ClusterFile { key: key.to_string(), reason };
    for _ in 0..ATTEMPTS {
        let there = store.get(&key, ByteRange::Full).await?;
        let (file, is_new, condition) = match there {
            None => {
                let last = latest_in(&**store).await?;
                let file = ClusterFile::first(shards, node.clone(), last);
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
                (file.raised(node.clone()), false, Condition::Matches(etag))
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
            Ok(_) => return Ok(Raised { epoch: file.epoch, is_new }),
            Err(StoreError::ConditionFailed) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(unusable(format!("{ATTEMPTS} other starts came in between: do several daemons run?")))
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
