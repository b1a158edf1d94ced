//! Which shard a database belongs to. Every node, of every build, must come to the same answer, for
//! ever: the hash is XXH3, whose output is fixed by its specification.

use twox_hash::XxHash3_64;

use crate::{KeyStem, ShardId, SourcePath, VolumeName};

/// The shard of a database: a hash of its volume and path, modulo the cluster's number of shards
/// (at least 1).
pub fn shard_of(volume: &VolumeName, path: &SourcePath, shards: u32) -> ShardId {
    let volume_hash = XxHash3_64::oneshot(volume.as_str().as_bytes());
    let hash = XxHash3_64::oneshot_with_seed(volume_hash, path.as_bytes());
    let shard = hash % u64::from(shards.max(1));
    ShardId(u32::try_from(shard).unwrap_or(0))
}

/// A hash of a key stem, to find databases whose keys are the same.
pub fn key_hash(stem: &KeyStem) -> u64 {
    XxHash3_64::oneshot(stem.as_str().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Changing any of these moves every database of every installation to another shard.
    #[test]
    fn placement_never_changes() {
        let volume = "default".parse().unwrap();
        let shard = |path: &[u8]| shard_of(&volume, &SourcePath::from_bytes(path), 256).0;
        assert_eq!(
            [shard(b"/data/a.db"), shard(b"/data/b.db"), shard(b"/data/\xff.db")],
            [225, 119, 146]
        );
    }

    #[test]
    fn shards_are_even() {
        let volume = "default".parse().unwrap();
        let mut counts = [0u32; 16];
        for i in 0..16_000 {
            let path = SourcePath::from_bytes(format!("/data/t{i}.db").as_bytes());
            counts[shard_of(&volume, &path, 16).0 as usize] += 1;
        }
        assert!(counts.iter().all(|&n| (850..1150).contains(&n)), "{counts:?}");
    }
}
