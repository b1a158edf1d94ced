//! Where catalogs are.

use std::fmt;

use crate::{ObjectKey, ShardId, VolumeName};

/// What the keys of all catalogs begin with.
pub const PREFIX: &str = ".ultrasimple/v1/catalog/";
const SUFFIX: &str = ".jsonl.lz4";

/// One shard of one volume: what is owned, and what has a catalog.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardKey {
    /// The volume.
    pub volume: VolumeName,
    /// The shard of the volume.
    pub shard: ShardId,
}

impl fmt::Display for ShardKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.volume, self.shard)
    }
}

impl ShardKey {
    /// What the keys of all catalogs of a volume begin with.
    pub fn prefix_of(volume: &VolumeName) -> String {
        format!("{PREFIX}{volume}/")
    }

    /// Where the catalog is.
    ///
    /// # Panics
    /// Never: a volume's name and a number make a safe key.
    #[expect(clippy::expect_used, reason = "names are checked when they are made")]
    pub fn object_key(&self) -> ObjectKey {
        let Self { volume, shard } = self;
        ObjectKey::new(format!("{PREFIX}{volume}/{}{SUFFIX}", shard.0)).expect("a safe key")
    }

    /// Reads exactly what [`Self::object_key`] makes.
    pub fn parse(key: &str) -> Option<Self> {
        let (volume, shard) = key.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.split_once('/')?;
        let found = Self { volume: volume.parse().ok()?, shard: ShardId(shard.parse().ok()?) };
        (found.object_key().as_str() == key).then_some(found)
    }
}
