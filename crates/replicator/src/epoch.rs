//! The epoch of a node that runs without etcd: raised in the bucket at each start, so that an older
//! daemon on the same bucket is found out by its first conflicting write.

use std::sync::Arc;

use bytes::Bytes;
use ultrasimple_core::cluster_file::ClusterFile;
use ultrasimple_core::{Epoch, NodeName};
use ultrasimple_store::{Body, ByteRange, Condition, Store, StoreError};

use crate::StartError;

/// Starts that may collide before this one gives up.
const ATTEMPTS: u32 = 5;
/// Far more than the file ever has.
const MOST_BYTES: u64 = 64 * 1_024;

/// Raises the bucket's epoch and returns it. Costs one GET and one PUT.
///
/// # Errors
/// When the bucket belongs to a cluster with another number of shards, or cannot be read or written.
pub(crate) async fn raise(
    store: &Arc<dyn Store>,
    shards: u32,
    node: &NodeName,
) -> Result<Epoch, StartError> {
    let key = ClusterFile::key();
    let unusable = |reason: String| StartError::ClusterFile { key: key.to_string(), reason };
    for _ in 0..ATTEMPTS {
        let there = store.get(&key, ByteRange::Full).await?;
        let (file, condition) = match there {
            None => (ClusterFile::first(shards, node.clone()), Condition::Absent),
            Some(object) => {
                let etag = object.info.etag.clone();
                let bytes = object.bytes(MOST_BYTES).await?;
                let file =
                    ClusterFile::parse(&bytes).map_err(|error| unusable(error.to_string()))?;
                if file.shards != shards {
                    return Err(StartError::OtherShards { theirs: file.shards, ours: shards });
                }
                (file.raised(node.clone()), Condition::Matches(etag))
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
            Ok(_) => return Ok(file.epoch),
            Err(StoreError::ConditionFailed) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(unusable(format!("{ATTEMPTS} other starts came in between: do several daemons run?")))
}
