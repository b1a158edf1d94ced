//! By what databases are told apart: the hash of a key, and an identity that is the same in every run.

use twox_hash::XxHash3_64;
use ultrasimple_core::{KeyStem, Place, SourcePath};

use super::table::DatabaseId;

/// A hash of the key stem of a database, to find two that would overwrite each other. `None` for a
/// database without a key.
pub(crate) type KeyHash = Option<NonZeroKey>;

/// What a database is called in the bucket, and whose it is: by its path alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Naming {
    pub(crate) key: KeyHash,
    /// `None`: it is on none of this node's volumes.
    pub(crate) place: Option<Place>,
}

/// Eight bytes that need no alignment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NonZeroKey([std::num::NonZeroU8; 1], [u8; 7]);

impl NonZeroKey {
    /// Keeps 63 bits of the hash.
    pub(crate) fn new(hash: u64) -> Self {
        let [first, rest @ ..] = hash.to_le_bytes();
        Self([std::num::NonZeroU8::new(first | 1).unwrap_or(std::num::NonZeroU8::MIN)], rest)
    }

    fn get(self) -> u64 {
        let Self([first], rest) = self;
        let rest = rest.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte));
        rest << 8 | u64::from(first.get())
    }
}

/// A hash of a database's path and key stem: the same in every run, so that a database is known again by what
/// a catalog says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Identity(u64);

impl Identity {
    /// Of the database at `path` whose backups have `stem`.
    pub(crate) fn new(path: &SourcePath, stem: &KeyStem) -> Self {
        let key = NonZeroKey::new(ultrasimple_core::placement::key_hash(stem));
        Self::of(path, Some(key))
    }

    pub(super) fn of(path: &SourcePath, key: KeyHash) -> Self {
        Self(XxHash3_64::oneshot_with_seed(key.map_or(0, NonZeroKey::get), path.as_bytes()))
    }
}

/// A database that is known no longer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gone {
    pub(crate) id: DatabaseId,
    pub(crate) path: SourcePath,
    pub(crate) identity: Identity,
    pub(crate) place: Option<Place>,
}

#[cfg(test)]
pub(crate) fn test_identity(number: u32) -> Identity {
    Identity(number.into())
}
