//! The footer of a backup (format version 1): what an object says of itself.
//!
//! It is the last thing in the object, an LZ4 *skippable* frame, so that `lz4 -d` ignores it:
//!
//! ```text
//! 5D 2A 4D 18   length (u32 LE) │ JSON … │ XXH3-64 of the JSON (LE) │ length of the JSON (u32 LE)  "USR1"
//! magic of a skippable frame    │        │                          └ the object's last 8 bytes
//! ```
//!
//! A suffix range request of [`SUFFIX_BYTES`] gets the whole of it for all but absurdly long paths;
//! [`Footer::from_suffix`] tells how many bytes are needed where that was too few.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_64;

use crate::{Epoch, FingerprintDigest, NodeName, ShardId, SourcePath, VolumeName};

/// How many bytes to ask for from the end of an object: enough for a path of some 3,000 bytes.
pub const SUFFIX_BYTES: u64 = 4_096;
const FRAME_MAGIC: [u8; 4] = [0x5D, 0x2A, 0x4D, 0x18];
const MAGIC: [u8; 4] = *b"USR1";
const VERSION: u32 = 1;
/// A footer has one path (at most 4,096 bytes, each of at most 3 characters) and little else.
const MAX_JSON_BYTES: usize = 64 * 1_024;
const HEAD_BYTES: usize = 8;
const TAIL_BYTES: usize = 16;

/// The one truth about a backup, in every store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Footer {
    /// Version of the format: 1.
    version: u32,
    /// The volume of the database.
    pub volume: VolumeName,
    /// Where the database was.
    pub path: SourcePath,
    /// The shard it belonged to.
    pub shard: ShardId,
    /// Permission bits of the main file.
    pub mode: u32,
    /// BLAKE3 of the image (of what `lz4 -d` gives).
    pub blake3: ContentHash,
    /// Bytes of the image.
    pub size: u64,
    /// When the image was read. The state is one that the database had at this time or shortly after.
    pub captured_at: Timestamp,
    /// Who took it.
    pub node: NodeName,
    /// Under which epoch.
    pub epoch: Epoch,
    /// What the check before the upload found.
    pub check: CheckResult,
    /// The fingerprint that the database had before the image was read. Only where any later change was certain to
    /// change it: a database that has it still has this content, and has had no other since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<FingerprintDigest>,
}

/// What the check of a capture found. Anything but `Passed` and `Skipped` marks the backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", content = "reason", rename_all = "lowercase")]
pub enum CheckResult {
    /// The check was switched off.
    Skipped,
    /// The check found nothing.
    Passed,
    /// The image is damaged, as its source is. The reason is SQLite's first finding.
    Failed(String),
}

impl CheckResult {
    /// Whether the backup is marked: known to be damaged.
    pub fn is_marked(&self) -> bool {
        matches!(self, Self::Failed(_))
    }
}

/// BLAKE3 of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ContentHash(pub [u8; 32]);

impl ContentHash {
    /// Hashes `image`.
    pub fn of(image: &[u8]) -> Self {
        Self(*blake3::hash(image).as_bytes())
    }

    /// As much of it as tells contents apart.
    pub fn short(self) -> ShortHash {
        let mut short = [0; 16];
        short.copy_from_slice(self.0.split_at(16).0);
        ShortHash(short)
    }
}

/// The first 16 bytes of a [`ContentHash`], for comparisons in memory: two contents that differ have the same one but
/// for one chance in 2^128.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ShortHash([u8; 16]);

/// Hashes an image piece by piece.
#[derive(Debug, Clone, Default)]
pub struct ContentHasher(blake3::Hasher);

impl ContentHasher {
    /// Takes in the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash of all bytes taken in.
    pub fn finish(&self) -> ContentHash {
        ContentHash(*self.0.finalize().as_bytes())
    }
}

impl std::io::Write for ContentHasher {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl std::fmt::Display for ContentHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl Serialize for ContentHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ContentHash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let hash = blake3::Hash::from_hex(&text).map_err(serde::de::Error::custom)?;
        Ok(Self(*hash.as_bytes()))
    }
}

/// Why bytes are not a footer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FooterError {
    /// The object does not end as a backup does: it is not ours, or it was cut.
    #[error("it does not end with a footer: it is not a backup of ours, or it is cut off")]
    Absent,
    /// The footer is longer than the suffix at hand.
    #[error("the footer needs the object's last {needed} bytes")]
    NeedsMore {
        /// How many bytes from the end are needed.
        needed: u64,
    },
    /// Written by a newer version.
    #[error("it has footer version {0}; this program knows version {VERSION}: use a newer program")]
    Newer(u32),
    /// The footer is damaged.
    #[error("its footer is damaged: {0}")]
    Damaged(String),
}

/// What a footer is made of; see the fields of [`Footer`].
#[derive(Debug, Clone)]
pub struct FooterFields {
    /// The volume of the database.
    pub volume: VolumeName,
    /// Where the database was.
    pub path: SourcePath,
    /// The shard it belonged to.
    pub shard: ShardId,
    /// Permission bits of the main file.
    pub mode: u32,
    /// When the image was read.
    pub captured_at: Timestamp,
    /// Who took it.
    pub node: NodeName,
    /// Under which epoch.
    pub epoch: Epoch,
    /// What the check found.
    pub check: CheckResult,
    /// Its fingerprint, where any later change is certain to change it.
    pub fingerprint: Option<FingerprintDigest>,
}

impl Footer {
    /// A footer of the current version for an image with this hash and size.
    pub fn new(fields: FooterFields, blake3: ContentHash, size: u64) -> Self {
        Self {
            version: VERSION,
            volume: fields.volume,
            path: fields.path,
            shard: fields.shard,
            mode: fields.mode,
            blake3,
            size,
            captured_at: fields.captured_at,
            node: fields.node,
            epoch: fields.epoch,
            check: fields.check,
            fingerprint: fields.fingerprint,
        }
    }

    /// The skippable frame that ends the object.
    ///
    /// # Errors
    /// When the path is so long that no footer can hold it (which no file system allows).
    pub fn to_frame(&self) -> Result<Vec<u8>, FooterError> {
        let json = serde_json::to_vec(self).map_err(|e| FooterError::Damaged(e.to_string()))?;
        let too_long = || FooterError::Damaged("longer than 64 KiB".into());
        let length = |bytes: usize| u32::try_from(bytes).map_err(|_| too_long());
        if json.len() > MAX_JSON_BYTES {
            return Err(too_long());
        }
        let mut frame = Vec::with_capacity(HEAD_BYTES + json.len() + TAIL_BYTES);
        frame.extend_from_slice(&FRAME_MAGIC);
        frame.extend_from_slice(&length(json.len() + TAIL_BYTES)?.to_le_bytes());
        frame.extend_from_slice(&json);
        frame.extend_from_slice(&XxHash3_64::oneshot(&json).to_le_bytes());
        frame.extend_from_slice(&length(json.len())?.to_le_bytes());
        frame.extend_from_slice(&MAGIC);
        Ok(frame)
    }

    /// Reads the footer from the last bytes of an object. Also returns how many bytes, from the end,
    /// the footer's frame takes.
    ///
    /// # Errors
    /// When the bytes do not end with a footer this program can read.
    pub fn from_suffix(suffix: &[u8]) -> Result<(Self, u64), FooterError> {
        let (rest, magic) = suffix.split_last_chunk::<4>().ok_or(FooterError::Absent)?;
        let (_, length) = rest.split_last_chunk::<4>().ok_or(FooterError::Absent)?;
        let json_bytes = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
        if *magic != MAGIC || json_bytes > MAX_JSON_BYTES {
            return Err(FooterError::Absent);
        }
        let frame_bytes = HEAD_BYTES + json_bytes + TAIL_BYTES;
        let too_short = FooterError::NeedsMore { needed: frame_bytes as u64 };
        let start = suffix.len().checked_sub(frame_bytes).ok_or(too_short)?;
        let damaged = |what: &str| FooterError::Damaged(what.to_owned());
        let frame = suffix.get(start..).unwrap_or_default();
        let (head, body) = frame.split_first_chunk::<HEAD_BYTES>().ok_or(FooterError::Absent)?;
        let (json, tail) =
            body.split_last_chunk::<TAIL_BYTES>().ok_or_else(|| damaged("it is too short"))?;
        let frame_length = u32::try_from(json_bytes + TAIL_BYTES).unwrap_or(u32::MAX);
        if head[..4] != FRAME_MAGIC || head[4..] != frame_length.to_le_bytes() {
            return Err(damaged("its frame has another length"));
        }
        if tail[..8] != XxHash3_64::oneshot(json).to_le_bytes() {
            return Err(damaged("its checksum does not match"));
        }
        Ok((Self::from_json(json)?, frame_bytes as u64))
    }

    pub(crate) fn from_json(json: &[u8]) -> Result<Self, FooterError> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let damaged = |e: serde_json::Error| FooterError::Damaged(e.to_string());
        match serde_json::from_slice::<Self>(json) {
            Ok(footer) if footer.version <= VERSION => Ok(footer),
            // A newer one may be anything but for its version.
            other => match serde_json::from_slice(json).map_err(damaged)? {
                Version { version } if version > VERSION => Err(FooterError::Newer(version)),
                Version { .. } => other.map_err(damaged),
            },
        }
    }
}
