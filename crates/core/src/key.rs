//! Names of objects in the bucket, relative to the bucket's prefix (which only the store knows).

use std::fmt;

use crate::Hour;
use serde::{Deserialize, Serialize};

/// The longest key that S3 takes, in bytes.
pub const MAX_KEY_BYTES: usize = 1_024;
/// The folder of the replicator's own objects. No backup's key begins with it.
pub const RESERVED: &str = ".ultrasimple";
const SUFFIX: &str = ".db.lz4";
/// `-YYYYMMDD-HH0000.db.lz4`
const TAIL_BYTES: usize = 1 + 15 + SUFFIX.len();

/// Why a text is not a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidKey {
    /// Longer than the store takes.
    #[error("the key {key:?} would have {bytes} bytes; the store takes at most {limit}")]
    TooLong {
        /// The key.
        key: String,
        /// Its length.
        bytes: usize,
        /// What the store takes.
        limit: usize,
    },
    /// An empty, `.` or `..` component, or a control character.
    #[error("{key:?} is not a safe key: {reason}")]
    Unsafe {
        /// The key.
        key: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

fn check(key: &str, limit: usize) -> Result<(), InvalidKey> {
    let refuse = |reason| Err(InvalidKey::Unsafe { key: key.to_owned(), reason });
    if key.len() > limit {
        return Err(InvalidKey::TooLong { key: key.to_owned(), bytes: key.len(), limit });
    }
    for component in key.split('/') {
        match component {
            "" => return refuse("it has an empty component"),
            "." | ".." => return refuse("it has a component '.' or '..'"),
            _ => {}
        }
    }
    if key.chars().any(char::is_control) {
        return refuse("it has a control character");
    }
    Ok(())
}

/// The name of any object of ours: non-empty components without `.`, `..` and control characters, at
/// most [`MAX_KEY_BYTES`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ObjectKey(Box<str>);

impl ObjectKey {
    /// Checks and takes a key.
    ///
    /// # Errors
    /// When the text is not a safe key.
    pub fn new(key: impl Into<String>) -> Result<Self, InvalidKey> {
        let key = key.into();
        check(&key, MAX_KEY_BYTES)?;
        Ok(Self(key.into()))
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ObjectKey {
    type Error = InvalidKey;
    fn try_from(key: String) -> Result<Self, InvalidKey> {
        Self::new(key)
    }
}

impl From<ObjectKey> for String {
    fn from(key: ObjectKey) -> String {
        key.0.into()
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the keys of all backups of one database share: everything before the hour, as in
/// `acme/users/main/t1/t1`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyStem(Box<str>);

impl KeyStem {
    /// Checks and takes a stem. `max_key_bytes` is what the store leaves for a whole key (at most
    /// [`MAX_KEY_BYTES`]).
    ///
    /// # Errors
    /// When a key with this stem would not be safe, would be too long, or would be among the
    /// replicator's own objects.
    pub fn new(stem: impl Into<String>, max_key_bytes: usize) -> Result<Self, InvalidKey> {
        let stem = stem.into();
        if stem.len() + TAIL_BYTES > max_key_bytes.min(MAX_KEY_BYTES) {
            let bytes = stem.len() + TAIL_BYTES;
            let limit = max_key_bytes.min(MAX_KEY_BYTES);
            return Err(InvalidKey::TooLong { key: stem, bytes, limit });
        }
        check(&stem, MAX_KEY_BYTES)?;
        if stem.split('/').next() == Some(RESERVED) {
            let reason = "'.ultrasimple' is the replicator's own folder";
            return Err(InvalidKey::Unsafe { key: stem, reason });
        }
        Ok(Self(stem.into()))
    }

    /// The stem as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a database at `path` can have this stem, whatever the template.
    pub fn is_of(&self, path: &crate::SourcePath) -> bool {
        self.0.rsplit('/').next() == Some(&path.key_name())
    }

    /// The key of the backup of `hour`.
    pub fn at(&self, hour: Hour) -> BackupKey {
        BackupKey { stem: self.clone(), hour }
    }
}

impl TryFrom<String> for KeyStem {
    type Error = InvalidKey;
    fn try_from(stem: String) -> Result<Self, InvalidKey> {
        Self::new(stem, MAX_KEY_BYTES)
    }
}

impl From<KeyStem> for String {
    fn from(stem: KeyStem) -> String {
        stem.0.into()
    }
}

impl fmt::Display for KeyStem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a backup: the stem of its database and the hour.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackupKey {
    /// What all backups of the database share.
    pub stem: KeyStem,
    /// The hour of this one.
    pub hour: Hour,
}

impl BackupKey {
    /// Reads exactly what [`Self::object_key`] makes; anything else is not ours.
    pub fn parse(key: &str) -> Option<Self> {
        let rest = key.strip_suffix(SUFFIX)?;
        let (stem, hour) = rest.split_at_checked(rest.len().checked_sub(16)?)?;
        let hour = Hour::parse(hour.strip_prefix('-')?)?;
        let stem = KeyStem::new(stem, MAX_KEY_BYTES).ok()?;
        if stem.as_str().ends_with('/') { None } else { Some(Self { stem, hour }) }
    }

    /// The key as the store takes it.
    pub fn object_key(&self) -> ObjectKey {
        ObjectKey(self.to_string().into())
    }
}

impl fmt::Display for BackupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}{SUFFIX}", self.stem, self.hour)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_documented_key() {
        let stem = KeyStem::new("acme/users/main/t1/t1", MAX_KEY_BYTES).unwrap();
        let key = stem.at(Hour::parse("20240115-140000").unwrap());
        assert_eq!(key.to_string(), "acme/users/main/t1/t1-20240115-140000.db.lz4");
        assert_eq!(BackupKey::parse(&key.to_string()), Some(key));
    }

    #[test]
    fn only_our_keys_parse() {
        for foreign in [
            "",
            ".db.lz4",
            "-20240115-140000.db.lz4",
            "a/-20240115-140000.db.lz4",
            "t1-20240115-140000.db",
            "t1-20240115-140001.db.lz4",
            "t1-20240115-140000.db.lz4.bak",
            "t120240115-140000.db.lz4",
            "/t1-20240115-140000.db.lz4",
            "a//t1-20240115-140000.db.lz4",
            "a/../t1-20240115-140000.db.lz4",
            ".ultrasimple/t1-20240115-140000.db.lz4",
            "a\n/t1-20240115-140000.db.lz4",
            "é-140000.db.lz4",
        ] {
            assert_eq!(BackupKey::parse(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn a_key_fits_into_what_the_store_takes() {
        let longest = "s".repeat(MAX_KEY_BYTES - TAIL_BYTES);
        let stem = KeyStem::new(longest.clone(), MAX_KEY_BYTES).unwrap();
        let key = stem.at(Hour::parse("20240115-140000").unwrap()).to_string();
        assert_eq!(key.len(), MAX_KEY_BYTES);
        let error = KeyStem::new(longest + "s", MAX_KEY_BYTES).unwrap_err();
        assert!(error.to_string().contains("1025 bytes"), "{error}");
        assert!(KeyStem::new("t1", 24).is_err() && KeyStem::new("t1", 25).is_ok());
    }

    proptest! {
        #[test]
        fn round_trip(stem in "[a-z.%-]{1,8}(/[ -~&&[^/]]{1,8}){0,3}", hour in 0u32..3_000_000) {
            let time = jiff::Timestamp::from_second(i64::from(hour) * 3_600).unwrap();
            if let Ok(stem) = KeyStem::new(stem, MAX_KEY_BYTES) {
                let key = stem.at(Hour::of(time));
                prop_assert_eq!(BackupKey::parse(key.object_key().as_str()), Some(key));
            }
        }

        #[test]
        fn parsing_never_panics(text in ".{0,60}") {
            let _ = BackupKey::parse(&text);
            let _ = BackupKey::parse(&(text + "-20240115-140000.db.lz4"));
        }
    }
}
