//! `.ultrasimple/v1/cluster.json` (format version 1): what all who write to a bucket must agree on, and who
//! of them is the last to have taken it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{NodeName, ObjectKey};

const FORMAT: u32 = 1;
const KEY: &str = ".ultrasimple/v1/cluster.json";

/// The content of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterFile {
    format: u32,
    /// A random name that the bucket was given by its first start: the same under whatever address it is reached.
    pub bucket: String,
    /// Into how many shards each volume is divided. Fixed for the life of the bucket.
    pub shards: u32,
    /// Raised by each start of a node without etcd, and whenever a fleet takes the bucket over from somebody else:
    /// of two who write, the one with the greater generation is the later.
    pub generation: u64,
    /// Who raised it last.
    pub holder: Holder,
}

/// Who may write to a bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Holder {
    /// One node, without etcd.
    Node(NodeName),
    /// A fleet, by the random name that it has in its etcd: an etcd that was set up anew is another fleet.
    Fleet(String),
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(node) => write!(f, "the node {node}, which runs without etcd"),
            Self::Fleet(fleet) => write!(f, "the fleet {fleet}"),
        }
    }
}

/// Why bytes are not a cluster file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterFileError {
    /// Written by a newer version.
    #[error("it has format {0}; this program knows format {FORMAT}: use a newer program")]
    Newer(u32),
    /// Not such a file.
    #[error("it cannot be read: {0}")]
    Damaged(String),
}

impl ClusterFile {
    /// The file of a bucket's first start, or of one where the file was lost: its generation is later than `last`,
    /// the latest that is known. `bucket` is random.
    pub fn first(bucket: String, shards: u32, holder: Holder, last: u64) -> Self {
        Self { format: FORMAT, bucket, shards, generation: last + 1, holder }
    }

    /// The file after somebody else took the bucket.
    #[must_use]
    pub fn raised(&self, holder: Holder) -> Self {
        Self { generation: self.generation + 1, holder, ..self.clone() }
    }

    /// Where it is.
    ///
    /// # Panics
    /// Never: the key is a constant, and a test reads it.
    #[expect(clippy::expect_used, reason = "a constant, covered by a test")]
    pub fn key() -> ObjectKey {
        ObjectKey::new(KEY).expect("the constant is a key")
    }

    /// Reads the file.
    ///
    /// # Errors
    /// When it is damaged or newer than this program.
    pub fn parse(bytes: &[u8]) -> Result<Self, ClusterFileError> {
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let damaged = |error: serde_json::Error| ClusterFileError::Damaged(error.to_string());
        let Version { format } = serde_json::from_slice(bytes).map_err(damaged)?;
        if format > FORMAT {
            return Err(ClusterFileError::Newer(format));
        }
        serde_json::from_slice(bytes).map_err(damaged)
    }

    /// Writes the file.
    ///
    /// # Errors
    /// Never in practice.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ClusterFileError> {
        let bytes = serde_json::to_vec_pretty(self);
        bytes.map_err(|error| ClusterFileError::Damaged(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN: &str = "{\n  \"format\": 1,\n  \"bucket\": \"b7\",\n  \"shards\": 256,\n  \
                          \"generation\": 2,\n  \"holder\": {\n    \"node\": \"n1\"\n  }\n}";

    #[test]
    fn the_stored_form_never_changes() {
        let holder = |name: &str| Holder::Node(name.parse().unwrap());
        let file = ClusterFile::first("b7".into(), 256, holder("n0"), 0).raised(holder("n1"));
        assert_eq!(String::from_utf8(file.to_bytes().unwrap()).unwrap(), GOLDEN);
        assert_eq!(ClusterFile::parse(GOLDEN.as_bytes()).unwrap(), file);
        assert_eq!(ClusterFile::key().as_str(), KEY);
        let fleet = file.raised(Holder::Fleet("f1".into()));
        let text = String::from_utf8(fleet.to_bytes().unwrap()).unwrap();
        assert!(text.contains("\"fleet\": \"f1\"") && text.contains("\"generation\": 3"), "{text}");
    }

    #[test]
    fn damaged_and_newer_files_are_told_apart() {
        let newer = GOLDEN.replace("\"format\": 1", "\"format\": 2, \"more\": true");
        assert_eq!(ClusterFile::parse(newer.as_bytes()), Err(ClusterFileError::Newer(2)));
        for bad in ["", "{}", "[1]", "{\"format\":1}", "\u{0}"] {
            assert!(matches!(
                ClusterFile::parse(bad.as_bytes()),
                Err(ClusterFileError::Damaged(_))
            ));
        }
    }
}
