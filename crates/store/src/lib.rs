//! Where backups are kept.
//!
//! [`Store`] is the only door to a bucket: the daemon and the operator's tool see nothing else. There
//! are two kinds, [`s3`] and [`directory`], and one conformance suite that both pass. Wrappers add one
//! thing each. Keys are relative to the bucket's prefix, which only the store knows.

pub mod counted;
pub mod directory;
pub mod fetch;
pub mod inventory;
pub mod location;
pub mod open;
pub mod probe;
pub mod s3;

pub use counted::{CountedStore, RequestCounters, RequestCounts};
pub use directory::DirectoryStore;
pub use fetch::{FetchError, fetch, footer};
pub use inventory::{Held, Inventory, ListedBackup};
pub use location::InvalidLocation;
pub use open::open;
pub use probe::{ProbeReport, probe};
pub use s3::{S3Options, S3Store};

use std::fmt::Debug;
use std::path::PathBuf;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
pub use ultrasimple_core::ETag;
use ultrasimple_core::{ObjectKey, Timestamp};

/// A bucket, or the part of one under a prefix.
///
/// Every call has a deadline of its own and returns by then. Dropping a call's future aborts it.
#[async_trait]
pub trait Store: Debug + Send + Sync {
    /// Where this is, for people: `s3://bucket/prefix`, `file:///dir`.
    fn location(&self) -> &str;

    /// The longest key this store takes, in bytes, after its own prefix.
    fn max_key_bytes(&self) -> usize;

    /// What the store can do. Until a [`probe()`] found something else, what its kind promises.
    fn capabilities(&self) -> Capabilities;

    /// Takes in what a [`probe()`] found, for [`Self::capabilities`] to tell. Wrappers pass it on; a store
    /// whose capabilities cannot differ ignores it.
    fn learn(&self, found: Capabilities) {
        let _ = found;
    }

    /// Stores an object whole or not at all. When it returns `Ok`, the store has confirmed that it holds
    /// exactly these bytes.
    async fn put(
        &self,
        key: &ObjectKey,
        body: Body,
        condition: Condition,
    ) -> Result<Stored, StoreError>;

    /// Reads an object, or part of it. `None` when there is none.
    async fn get(&self, key: &ObjectKey, range: ByteRange) -> Result<Option<Object>, StoreError>;

    /// What the store says of an object, without its content. `None` when there is none.
    async fn head(&self, key: &ObjectKey) -> Result<Option<ObjectInfo>, StoreError>;

    /// All objects whose key begins with `prefix` (`""` for all), each once. Foreign keys are listed
    /// too, as they are.
    ///
    /// The objects of one folder (what is before the key's last slash) come in the order of their keys'
    /// bytes. Across folders the order is the store's: mostly that of the bytes, too, but SeaweedFS
    /// lists its folder tree, in which `a/b` comes before `a-b`. `start_after` is the last key seen of
    /// an earlier listing of the same store, to go on behind it.
    fn list(
        &self,
        prefix: &str,
        start_after: Option<&str>,
    ) -> BoxStream<'_, Result<ListedObject, StoreError>>;

    /// Deletes objects, at most 1,000. Deleting what is not there is a success. The result tells each
    /// key that could not be deleted, with the reason.
    async fn delete(&self, keys: &[ObjectKey]) -> Result<Vec<(ObjectKey, StoreError)>, StoreError>;

    /// What time it is by the store's clock, by which objects have their `modified`, to the second. For
    /// decisions that a host whose own clock jumped must not make. Costs a HEAD.
    ///
    /// # Errors
    /// [`StoreError::Untrustworthy`] when the store answers, but tells no time.
    async fn time(&self) -> Result<Timestamp, StoreError>;
}

/// What to store.
#[derive(Debug)]
pub enum Body {
    /// All of it, in memory.
    Bytes(Bytes),
    /// Chunk by chunk, of an unknown total. The sender marks success by [`Chunk::End`]; a channel that
    /// closes without it means that the producer failed, and nothing is stored.
    Chunks(tokio::sync::mpsc::Receiver<Chunk>),
}

/// A piece of a streamed body.
#[derive(Debug)]
pub enum Chunk {
    /// The next bytes, in pieces of any size.
    Data(Bytes),
    /// The body is complete.
    End,
}

/// On what condition an object may be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// There must be none yet (`If-None-Match: *`).
    Absent,
    /// There must be exactly this one (`If-Match`).
    Matches(ETag),
    /// None: only for stores without conditional writes.
    Always,
}

/// Which part of an object to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteRange {
    /// All of it.
    Full,
    /// Its last so many bytes (all of it when it has fewer).
    Last(u64),
}

/// A confirmed write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The tag of what is stored now.
    pub etag: ETag,
    /// Bytes of the object.
    pub size: u64,
}

/// What the store says of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Its tag.
    pub etag: ETag,
    /// Bytes of the whole object.
    pub size: u64,
    /// When it was written, by the store's clock.
    pub modified: Timestamp,
}

/// An object being read.
pub struct Object {
    /// What the store says of it.
    pub info: ObjectInfo,
    /// The bytes asked for. A connection that is cut gives an error, never a silent end.
    pub body: BoxStream<'static, Result<Bytes, StoreError>>,
}

/// One line of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedObject {
    /// The key as the store gives it, relative to the prefix: not necessarily one of ours.
    pub key: String,
    /// Bytes of the object.
    pub size: u64,
    /// Its tag.
    pub etag: ETag,
    /// When it was written, by the store's clock.
    pub modified: Timestamp,
}

/// What a store can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// It honours `If-None-Match: *` on a write.
    pub put_if_absent: bool,
    /// It honours `If-Match` on a write.
    pub put_if_matches: bool,
}

/// What went wrong, by what the caller is to do.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The condition of a write did not hold (412): look at what is there.
    #[error("another object is there already")]
    ConditionFailed,
    /// The store asks for fewer requests (503 Slow Down, 429): try in the next cycle, with fewer at once.
    #[error("the store asks to slow down: {0}")]
    SlowDown(String),
    /// Certainly not done, and may work later (connection refused, 409, a disk that is full; for reads any
    /// passing failure): try in the next cycle.
    #[error("{0}")]
    Unavailable(String),
    /// Perhaps done, perhaps not (of a write: time-out, connection cut after sending, 500, 502, 504, which
    /// do not promise that nothing was done): look before believing either.
    #[error("the outcome is unknown: {0}")]
    UnknownOutcome(String),
    /// Refused until somebody changes something (403, expired credentials, no such bucket).
    #[error("{0}")]
    Denied(String),
    /// The request can never work (a key or an object the store cannot hold).
    #[error("{0}")]
    Invalid(String),
    /// The store answered something that contradicts itself or the request (a read that is shorter than
    /// announced, a write confirmed with another content's tag).
    #[error("the store's answer cannot be trusted: {0}")]
    Untrustworthy(String),
    /// The body's producer failed; nothing was stored.
    #[error("the upload was given up: {0}")]
    BodyFailed(String),
}

/// Where a bucket is: what `-bucket` takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A bucket of an S3 server, and a prefix in it (no leading or trailing slash; may be empty).
    S3 {
        /// The bucket's name.
        bucket: String,
        /// What all keys begin with.
        prefix: String,
    },
    /// A directory.
    Directory(PathBuf),
}

impl Object {
    /// All bytes asked for, in one piece.
    ///
    /// # Errors
    /// When reading fails, or when there are more than `limit` bytes.
    pub async fn bytes(mut self, limit: u64) -> Result<Bytes, StoreError> {
        use futures::StreamExt;
        let mut all = bytes::BytesMut::new();
        while let Some(chunk) = self.body.next().await {
            all.extend_from_slice(&chunk?);
            if all.len() as u64 > limit {
                let message = format!("more than {limit} bytes came back");
                return Err(StoreError::Untrustworthy(message));
            }
        }
        Ok(all.freeze())
    }
}
