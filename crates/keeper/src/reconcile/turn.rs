//! Whose turn it is to compare the bucket, where the nodes of a fleet have no volume in common.
//!
//! A pass is over the whole bucket, and whoever has the first shard of its first volume makes it. Where each host has
//! a volume of its own, that is every node. So each looks whether one of the volumes before its own, by name, has been
//! compared lately, and waits a while longer for it the later its own name comes.

use std::time::Duration;

use ultrasimple_core::{ShardId, ShardKey, Timestamp};
use ultrasimple_store::{Store, StoreError};

use crate::catalogs::{self, ReadError};

/// How often the bucket is compared.
const EVERY: Duration = Duration::from_hours(24);
/// By how much longer each volume waits than the one before it: a pass over a large bucket takes a while.
const STEP: Duration = Duration::from_hours(1);
const MOST_STEPS: u32 = 12;

/// How much longer the node that has `first` is to leave the comparison to the volumes before it. `None`: it is its
/// turn. Costs a listing of the catalogs, and a request for each volume before it until one was compared lately.
///
/// # Errors
/// When the store cannot be read.
pub async fn wait(
    store: &dyn Store,
    first: &ShardKey,
    now: Timestamp,
) -> Result<Option<Duration>, StoreError> {
    let mut volumes: Vec<_> =
        catalogs::list(store, None).await?.into_iter().map(|key| key.volume).collect();
    volumes.retain(|volume| *volume < first.volume);
    volumes.dedup();
    let steps = u32::try_from(volumes.len()).unwrap_or(MOST_STEPS).min(MOST_STEPS);
    for volume in volumes {
        let key = ShardKey { volume, shard: ShardId(0) };
        let noted = match catalogs::read(store, &key).await {
            Ok(found) => found.and_then(|(catalog, _)| catalog.reconciled_at),
            Err(ReadError::Store(error)) => return Err(error),
            // Says nothing of whether that volume still has a node.
            Err(ReadError::Unusable { .. }) => None,
        };
        // A note from the future is that of a clock which is wrong.
        let age = noted.and_then(|at| Duration::try_from(now.duration_since(at)).ok());
        let left = age.map(|age| (EVERY + STEP * steps).saturating_sub(age));
        if let Some(left) = left.filter(|left| !left.is_zero()) {
            return Ok(Some(left));
        }
    }
    Ok(None)
}
