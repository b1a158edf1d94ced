//! The stored form of a catalog (format version 1): an LZ4 frame of JSON lines, a header and then a line for
//! each database, in the order of the stems. `lz4 -d` and `jq` read it.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Read, Write};

use jiff::Timestamp;
use lz4_flex::frame::{BlockSize, FrameDecoder, FrameEncoder, FrameInfo};
use serde::{Deserialize, Serialize};

use super::{Catalog, HeldHour, Newest, Record, ShardKey};
use crate::{Epoch, FingerprintDigest, KeyStem, NodeName, ShardId, SourcePath, VolumeName};

const FORMAT: u32 = 1;
/// So few databases fit into a small block or a few, as a rule.
const SMALL: usize = 128;
/// A line has one database: every hour of a century has less.
const MOST_LINE_BYTES: u64 = 256 << 20;

/// Why bytes are not the catalog that was looked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogError {
    /// Written by a newer version.
    #[error("it has format {0}; this program knows format {FORMAT}: use a newer program")]
    Newer(u32),
    /// Not a catalog, or cut, or damaged.
    #[error("it cannot be read: {0}")]
    Damaged(String),
    /// The catalog of another shard.
    #[error("it is the catalog of shard {shard} of volume {volume}")]
    Foreign {
        /// What it says.
        volume: VolumeName,
        /// What it says.
        shard: ShardId,
    },
}

impl From<serde_json::Error> for CatalogError {
    fn from(error: serde_json::Error) -> Self {
        Self::Damaged(error.to_string())
    }
}

impl From<io::Error> for CatalogError {
    fn from(error: io::Error) -> Self {
        Self::Damaged(error.to_string())
    }
}

#[derive(Serialize, Deserialize)]
struct Header {
    format: u32,
    volume: VolumeName,
    shard: ShardId,
    shards: u32,
    epoch: Epoch,
    node: NodeName,
    written_at: Timestamp,
    #[serde(rename = "final")]
    is_final: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    verified_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reconciled_at: Option<Timestamp>,
    databases: u64,
}

#[derive(Serialize)]
struct LineOut<'a> {
    stem: &'a KeyStem,
    #[serde(flatten)]
    record: &'a Record,
}

/// What [`LineOut`] writes, field by field: flattened ones would be kept in a tree first.
#[derive(Deserialize)]
struct LineIn {
    stem: KeyStem,
    path: SourcePath,
    fingerprint: Option<FingerprintDigest>,
    newest: Option<Newest>,
    failed_check: Option<Box<str>>,
    gone_since: Option<Timestamp>,
    hours: Vec<HeldHour>,
}

impl Catalog {
    /// The stored form.
    ///
    /// # Errors
    /// Never in practice: writing to memory does not fail.
    pub fn to_bytes(&self) -> Result<Vec<u8>, CatalogError> {
        // Whoever writes or reads it allocates by block size.
        let is_small = self.databases.len() <= SMALL;
        let block_size = if is_small { BlockSize::Max64KB } else { BlockSize::Max256KB };
        let frame = FrameInfo::new().content_checksum(true).block_size(block_size);
        let mut output = FrameEncoder::with_frame_info(frame, Vec::new());
        let header = Header {
            format: FORMAT,
            volume: self.key.volume.clone(),
            shard: self.key.shard,
            shards: self.shards,
            epoch: self.epoch,
            node: self.node.clone(),
            written_at: self.written_at,
            is_final: self.is_final,
            verified_at: self.verified_at,
            reconciled_at: self.reconciled_at,
            databases: self.databases.len() as u64,
        };
        let mut line = serde_json::to_vec(&header)?;
        line.push(b'\n');
        output.write_all(&line)?;
        for (stem, record) in &self.databases {
            line.clear();
            serde_json::to_writer(&mut line, &LineOut { stem, record })?;
            line.push(b'\n');
            output.write_all(&line)?;
        }
        output.finish().map_err(|error| CatalogError::Damaged(error.to_string()))
    }

    /// Reads the catalog of `key`.
    ///
    /// # Errors
    /// When it is newer than this program, damaged, cut, or the catalog of another shard.
    pub fn parse(bytes: &[u8], key: &ShardKey) -> Result<Self, CatalogError> {
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        // The decoder takes a frame that is cut before its end mark, and so before its checksum, for whole.
        let end_mark = bytes.len().checked_sub(8).and_then(|at| bytes.get(at..at + 4));
        if end_mark != Some(&[0; 4]) {
            return Err(CatalogError::Damaged("it is cut off".to_owned()));
        }
        let mut lines = Lines(FrameDecoder::new(bytes));
        let mut line = String::new();
        lines.read(&mut line)?;
        let Version { format } = serde_json::from_str(&line)?;
        if format > FORMAT {
            return Err(CatalogError::Newer(format));
        }
        let header: Header = serde_json::from_str(&line)?;
        let Header { volume, shard, shards, epoch, node, written_at, is_final, .. } = header;
        if (&volume, shard) != (&key.volume, key.shard) {
            return Err(CatalogError::Foreign { volume, shard });
        }
        let mut databases = BTreeMap::new();
        while lines.read(&mut line)? {
            let LineIn { stem, path, fingerprint, newest, failed_check, gone_since, mut hours } =
                serde_json::from_str(&line)?;
            // Whoever wrote it: what searches them relies on their order.
            hours.sort_by_key(|held| held.hour);
            hours.dedup_by_key(|held| held.hour);
            let record = Record { path, fingerprint, newest, failed_check, gone_since, hours };
            databases.insert(stem, record);
        }
        if databases.len() as u64 != header.databases {
            let (found, announced) = (databases.len(), header.databases);
            let what = format!("it has {found} databases and says that it has {announced}");
            return Err(CatalogError::Damaged(what));
        }
        Ok(Self {
            key: key.clone(),
            shards,
            epoch,
            node,
            written_at,
            is_final,
            verified_at: header.verified_at,
            reconciled_at: header.reconciled_at,
            databases,
        })
    }
}

struct Lines<R>(R);

impl<R: BufRead> Lines<R> {
    /// Reads the next line, without its end, into `line`. False when there is none.
    fn read(&mut self, line: &mut String) -> Result<bool, CatalogError> {
        line.clear();
        let mut limited = (&mut self.0).take(MOST_LINE_BYTES);
        limited.read_line(line)?;
        match line.pop() {
            None => Ok(false),
            Some('\n') => Ok(true),
            Some(_) => Err(CatalogError::Damaged("a line has no end".to_owned())),
        }
    }
}
