//! `.ultrasimple/v1/cluster.json` (format version 1): what all who write to a bucket must agree on, and
//! the epoch of the single node that writes to it.

use serde::{Deserialize, Serialize};

use crate::{Epoch, NodeName, ObjectKey};

const FORMAT: u32 = 1;
const KEY: &str = ".ultrasimple/v1/cluster.json";

/// The content of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterFile {
    format: u32,
    /// Into how many shards each volume is divided. Fixed for the life of the bucket.
    pub shards: u32,
    /// Raised by each start of a node without etcd: of two, the one with the greater epoch is the later.
    pub epoch: Epoch,
    /// The node that raised it last.
    pub node: NodeName,
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
    /// The file of a bucket's first start, or of one where the file was lost: its epoch is later than `last`, the
    /// latest that is known.
    pub fn first(shards: u32, node: NodeName, last: Epoch) -> Self {
        Self { format: FORMAT, shards, epoch: Epoch(last.0 + 1), node }
    }

    /// The file of the next start.
    #[must_use]
    pub fn raised(&self, node: NodeName) -> Self {
        Self { epoch: Epoch(self.epoch.0 + 1), node, ..self.clone() }
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

    const GOLDEN: &str =
        "{\n  \"format\": 1,\n  \"shards\": 256,\n  \"epoch\": 2,\n  \"node\": \"n1\"\n}";

    #[test]
    fn the_stored_form_never_changes() {
        let file =
            ClusterFile::first(256, "n0".parse().unwrap(), Epoch(0)).raised("n1".parse().unwrap());
        assert_eq!(String::from_utf8(file.to_bytes().unwrap()).unwrap(), GOLDEN);
        assert_eq!(ClusterFile::parse(GOLDEN.as_bytes()).unwrap(), file);
        assert_eq!(ClusterFile::key().as_str(), KEY);
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
