//! A hold (format version 1): a small object in the bucket that says that nothing of a database is to be
//! deleted, until it is released.
//!
//! Holds are objects of their own, not lines of a catalog: they must outlive a catalog that is lost, and the
//! operator who places one must not have to write what a shard's owner writes. One listing of
//! [`PREFIX`] tells which there are: the key is made of a hash of the stem.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_128;

use crate::{KeyStem, ObjectKey};

/// What the keys of all holds begin with.
pub const PREFIX: &str = ".ultrasimple/v1/hold/";
const FORMAT: u32 = 1;

/// Nothing of a database is to be deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    format: u32,
    /// Which database.
    pub stem: KeyStem,
    /// Since when.
    pub since: Timestamp,
    /// Why, as whoever placed it said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Why bytes are not a hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it cannot be read as a hold: {0}")]
pub struct InvalidHold(String);

impl Hold {
    /// A hold on a database.
    pub fn new(stem: KeyStem, since: Timestamp, reason: Option<String>) -> Self {
        Self { format: FORMAT, stem, since, reason }
    }

    /// Where the hold on a database is, if there is one.
    ///
    /// # Panics
    /// Never: a number makes a safe key.
    #[expect(clippy::expect_used, reason = "a constant and a number")]
    pub fn key(stem: &KeyStem) -> ObjectKey {
        let hash = XxHash3_128::oneshot(stem.as_str().as_bytes());
        ObjectKey::new(format!("{PREFIX}{hash:032x}.json")).expect("a safe key")
    }

    /// Reads a hold.
    ///
    /// # Errors
    /// When it is none. Whoever decides about deletions goes by the key alone: a hold that cannot be read
    /// holds all the same.
    pub fn parse(bytes: &[u8]) -> Result<Self, InvalidHold> {
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let invalid = |error: serde_json::Error| InvalidHold(error.to_string());
        let Version { format } = serde_json::from_slice(bytes).map_err(invalid)?;
        if format > FORMAT {
            return Err(InvalidHold(format!(
                "it has format {format}; this program knows format {FORMAT}: use a newer program"
            )));
        }
        serde_json::from_slice(bytes).map_err(invalid)
    }

    /// Writes the hold.
    ///
    /// # Errors
    /// Never in practice.
    pub fn to_bytes(&self) -> Result<Vec<u8>, InvalidHold> {
        serde_json::to_vec_pretty(self).map_err(|error| InvalidHold(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN: &str = r#"{
  "format": 1,
  "stem": "acme/t1/t1",
  "since": "2024-01-15T13:05:00Z",
  "reason": "legal"
}"#;

    #[test]
    fn the_stored_form_never_changes() {
        let stem = KeyStem::try_from("acme/t1/t1".to_owned()).unwrap();
        let since = "2024-01-15T13:05:00Z".parse().unwrap();
        let hold = Hold::new(stem.clone(), since, Some("legal".to_owned()));
        assert_eq!(String::from_utf8(hold.to_bytes().unwrap()).unwrap(), GOLDEN);
        assert_eq!(Hold::parse(GOLDEN.as_bytes()).unwrap(), hold);
        let key = ".ultrasimple/v1/hold/dbffb257b225b3652f36b977ec98c115.json";
        assert_eq!(Hold::key(&stem).as_str(), key);
        assert!(Hold::parse(b"{}").is_err());
        let newer =
            Hold::parse(&GOLDEN.replace("1,", "2, \"until\": 3,").into_bytes()).unwrap_err();
        assert!(newer.to_string().contains("format 2"), "{newer}");
    }

    #[test]
    fn the_longest_stem_can_be_held() {
        let stem = KeyStem::new("s".repeat(1_001), 1_024).unwrap();
        assert!(Hold::key(&stem).as_str().len() < 64);
    }
}
