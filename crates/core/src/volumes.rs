//! The volumes of a node, and which of them a database is on.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use crate::{InvalidName, ShardId, ShardKey, SourcePath, VolumeName, placement};

/// A storage that this node mounts: `NAME`, or `NAME=/directory` for what is below that directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Its name: the same on each node that mounts it.
    pub name: VolumeName,
    /// Absolute, without a trailing slash. `None`: all that is below no other volume's directory.
    pub root: Option<SourcePath>,
}

/// Why a volume cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidVolume {
    /// Its name will not do.
    #[error("{0}")]
    Name(#[from] InvalidName),
    /// Its directory will not do.
    #[error("the directory {0:?} must be absolute, without '.', '..' or empty parts")]
    Directory(String),
    /// There are no volumes.
    #[error("there must be a volume")]
    None,
    /// Far too many.
    #[error("there are more than {MOST_VOLUMES} volumes")]
    TooMany,
    /// Two of the same name, or two that stand for the same.
    #[error("{0} and {1} stand for the same")]
    Twice(Box<str>, Box<str>),
}

/// Volumes of one node, at most.
pub const MOST_VOLUMES: usize = 1_000;

impl FromStr for Volume {
    type Err = InvalidVolume;

    fn from_str(text: &str) -> Result<Self, InvalidVolume> {
        let Some((name, directory)) = text.split_once('=') else {
            return Ok(Self { name: text.parse()?, root: None });
        };
        let invalid = || InvalidVolume::Directory(directory.to_owned());
        let inner = directory.strip_prefix('/').ok_or_else(invalid)?;
        let inner = inner.strip_suffix('/').unwrap_or(inner);
        let is_plain = |part: &str| !matches!(part, "" | "." | "..") && !part.contains('\0');
        if !inner.is_empty() && !inner.split('/').all(is_plain) {
            return Err(invalid());
        }
        let root = SourcePath::from_bytes(format!("/{inner}").as_bytes());
        Ok(Self { name: name.parse()?, root: Some(root) })
    }
}

impl fmt::Display for Volume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.root {
            None => write!(f, "{}", self.name),
            Some(root) => write!(f, "{}={root}", self.name),
        }
    }
}

/// Which shard of which of a node's volumes, as a small number: it means something only together with the
/// [`Volumes`] that gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(NonZeroU32);

impl Place {
    fn new(volume: usize, shards: u32, shard: ShardId) -> Option<Self> {
        let index = u32::try_from(volume).ok()?.checked_mul(shards)?.checked_add(shard.0)?;
        NonZeroU32::MIN.checked_add(index).map(Self)
    }

    /// From 0 to [`Volumes::places`], exclusive.
    pub fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

/// All volumes of a node, each divided into the same number of shards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volumes {
    all: Box<[Volume]>,
    shards: u32,
}

impl Volumes {
    /// Puts volumes together. `shards`: 1 to 65,536.
    ///
    /// # Errors
    /// When there is none, or two have the same name or stand for the same directory.
    pub fn new(volumes: Vec<Volume>, shards: u32) -> Result<Self, InvalidVolume> {
        if volumes.is_empty() {
            return Err(InvalidVolume::None);
        }
        if volumes.len() > MOST_VOLUMES {
            return Err(InvalidVolume::TooMany);
        }
        for (at, volume) in volumes.iter().enumerate() {
            let twin = volumes
                .iter()
                .take(at)
                .find(|other| other.name == volume.name || other.root == volume.root);
            if let Some(twin) = twin {
                let (twin, volume) = (twin.to_string().into(), volume.to_string().into());
                return Err(InvalidVolume::Twice(twin, volume));
            }
        }
        Ok(Self { all: volumes.into(), shards: shards.clamp(1, 65_536) })
    }

    /// One volume for all there is.
    pub fn one(name: VolumeName, shards: u32) -> Self {
        Self { all: [Volume { name, root: None }].into(), shards: shards.clamp(1, 65_536) }
    }

    /// The volumes, in the order in which they were given.
    pub fn iter(&self) -> impl Iterator<Item = &Volume> {
        self.all.iter()
    }

    /// Into how many shards each volume is divided.
    pub fn shards(&self) -> u32 {
        self.shards
    }

    /// How many [`Place`]s there are.
    pub fn places(&self) -> usize {
        self.all.len() * self.shards as usize
    }

    /// The volume that a path is on: of those whose directory it is below, the one with the longest.
    pub fn of(&self, path: &SourcePath) -> Option<&Volume> {
        self.all.get(self.index_of(path)?)
    }

    /// The volume and shard of a database. `None` where it is on none of the volumes.
    pub fn place(&self, path: &SourcePath) -> Option<Place> {
        let index = self.index_of(path)?;
        let shard = placement::shard_of(&self.all.get(index)?.name, path, self.shards);
        Place::new(index, self.shards, shard)
    }

    /// The shard that a place is.
    pub fn key(&self, place: Place) -> Option<ShardKey> {
        let shards = self.shards as usize;
        let volume = self.all.get(place.index() / shards)?.name.clone();
        let shard = ShardId(u32::try_from(place.index() % shards).ok()?);
        Some(ShardKey { volume, shard })
    }

    /// The place of a shard. `None` where its volume is none of these.
    pub fn place_of(&self, key: &ShardKey) -> Option<Place> {
        let index = self.all.iter().position(|volume| volume.name == key.volume)?;
        let is_shard = key.shard.0 < self.shards;
        is_shard.then(|| Place::new(index, self.shards, key.shard))?
    }

    /// All shards of all volumes.
    pub fn keys(&self) -> impl Iterator<Item = ShardKey> + '_ {
        self.all.iter().flat_map(|volume| {
            (0..self.shards)
                .map(|shard| ShardKey { volume: volume.name.clone(), shard: ShardId(shard) })
        })
    }

    fn index_of(&self, path: &SourcePath) -> Option<usize> {
        let path = path.as_bytes();
        let depth = |volume: &Volume| match &volume.root {
            None => Some(0),
            Some(root) => {
                let root = root.as_bytes().strip_suffix(b"/").unwrap_or(root.as_bytes());
                let rest = path.strip_prefix(root)?;
                rest.starts_with(b"/").then_some(root.len() + 1)
            }
        };
        let depths = self.all.iter().enumerate().filter_map(|(at, v)| Some((depth(v)?, at)));
        depths.max_by_key(|&(depth, _)| depth).map(|(_, at)| at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volumes(texts: &[&str]) -> Result<Volumes, InvalidVolume> {
        Volumes::new(texts.iter().map(|text| text.parse().unwrap()).collect(), 16)
    }

    #[test]
    fn the_deepest_directory_wins() {
        let all = volumes(&["rest", "a=/mnt/a", "b=/mnt/a/b/", "root=/"]).unwrap();
        let of = |path: &str| {
            let volume = all.of(&SourcePath::from_bytes(path.as_bytes()));
            volume.map(|volume| volume.name.as_str())
        };
        assert_eq!(of("/mnt/a/x.db"), Some("a"));
        assert_eq!(of("/mnt/a/b/x.db"), Some("b"));
        assert_eq!(of("/mnt/ab/x.db"), Some("root"), "a name that begins alike is another");
        let without = volumes(&["a=/mnt/a"]).unwrap();
        assert_eq!(without.of(&SourcePath::from_bytes(b"/mnt/b/x.db")), None);
        let rest = volumes(&["rest", "a=/mnt/a"]).unwrap();
        assert_eq!(rest.of(&SourcePath::from_bytes(b"/x.db")).unwrap().name.as_str(), "rest");
    }

    #[test]
    fn places_and_shards_are_the_same_thing() {
        let all = volumes(&["a", "b=/b"]).unwrap();
        assert_eq!(all.places(), 32);
        let keys: Vec<_> = all.keys().collect();
        assert_eq!(keys.len(), 32);
        for (at, key) in keys.iter().enumerate() {
            let place = all.place_of(key).unwrap();
            assert_eq!((place.index(), all.key(place).as_ref()), (at, Some(key)));
        }
        let path = SourcePath::from_bytes(b"/b/t.db");
        let key = all.key(all.place(&path).unwrap()).unwrap();
        let name = "b".parse().unwrap();
        assert_eq!(key, ShardKey { shard: placement::shard_of(&name, &path, 16), volume: name });
        let other = |volume: &str, shard| ShardKey { volume: volume.parse().unwrap(), shard };
        assert_eq!(all.place_of(&other("c", ShardId(0))), None);
        assert_eq!(all.place_of(&other("a", ShardId(16))), None);
    }

    #[test]
    fn bad_volumes_are_refused() {
        for bad in ["", "=/a", "a=", "a=b", "a=/b/../c", "a=//b", "a=/./b", "ü", "a=/b\0"] {
            assert!(bad.parse::<Volume>().is_err(), "{bad:?}");
        }
        assert_eq!(volumes(&[]), Err(InvalidVolume::None));
        for twice in [["a", "a=/x"], ["a", "b"], ["a=/x", "b=/x/"]] {
            assert!(matches!(volumes(&twice), Err(InvalidVolume::Twice(..))), "{twice:?}");
        }
        assert_eq!("a=/x/".parse::<Volume>().unwrap().to_string(), "a=/x");
    }
}
