//! A directory as a bucket: for a NAS, a mounted disk, tests, and the first five minutes.
//!
//! A key's components are its path. An object is written under `.ultrasimple/tmp` of the same file
//! system, synced, renamed into place, and its directory is synced: it is there whole or not at all, also
//! after a power cut. Conditional writes hold between processes by a lock file per slice of the keys
//! (`flock` under `.ultrasimple/locks`). Symbolic links are never followed.
//!
//! The `ETag` is size and modification time: each write gives its file a time in nanoseconds that is
//! later than that of the file it replaces, so no two versions of a key share one, and asking for it costs
//! one `stat`. Copies that keep times (`cp -a`, `rsync -a`) keep the tags.
//!
//! How files are opened, written and removed is in `tree` and `write`; listing is in `list`.

mod errors;
mod list;
mod tree;
mod write;

use std::fs::File;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use ultrasimple_core::key::MAX_KEY_BYTES;
use ultrasimple_core::{Clock, ObjectKey, SystemClock, Timestamp};

use crate::{
    Body, ByteRange, Capabilities, Condition, ListedObject, Location, Object, ObjectInfo, Store,
    StoreError, Stored,
};
use errors::{failed, missing_root};
use tree::Tree;

/// How long one step on the file system may take, apart from its bytes.
const STEP: Duration = Duration::from_mins(1);
/// A slower file system than this, in bytes a second, is taken for one that hangs.
const MIN_RATE: u64 = 1024 * 1024;
/// Bytes read at once.
const READ_CHUNK: usize = 256 * 1024;

/// A directory that holds objects as files.
#[derive(Debug, Clone)]
pub struct DirectoryStore {
    tree: Arc<Tree>,
    location: Arc<str>,
}

impl DirectoryStore {
    /// Opens the store in `dir`, which is created when `create` says so. What an interrupted write left
    /// behind more than a day ago is removed.
    ///
    /// # Errors
    /// [`StoreError::Denied`] when the directory is missing or may not be used.
    pub async fn open(dir: impl Into<PathBuf>, create: bool) -> Result<Self, StoreError> {
        Self::open_with_clock(dir, create, Arc::new(SystemClock)).await
    }

    /// Like [`Self::open`], with the time from `clock`.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn open_with_clock(
        dir: impl Into<PathBuf>,
        create: bool,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StoreError> {
        let dir = dir.into();
        let location = Location::Directory(dir.clone()).to_string().into();
        let tree = blocking("open", 0, move || {
            if create {
                create_root(&dir)?;
            }
            let tree = Tree::open(&dir, clock).map_err(|error| missing_root(&dir, &error))?;
            tree.remove_leftovers();
            Ok(tree)
        })
        .await?;
        Ok(Self { tree: Arc::new(tree), location })
    }
}

/// Creates the directory and those above it, and makes them last.
fn create_root(dir: &Path) -> Result<(), StoreError> {
    let missing: Vec<&Path> = dir.ancestors().take_while(|path| !path.exists()).collect();
    let created = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    created.map_err(|error| failed("create", dir, &error))?;
    for parent in missing.iter().filter_map(|path| path.parent()) {
        let synced = File::open(parent).and_then(|parent| parent.sync_all());
        synced.map_err(|error| failed("sync", parent, &error))?;
    }
    Ok(())
}

/// Runs blocking work of a call that changes nothing, or nothing yet, within a deadline.
async fn blocking<T: Send + 'static>(
    what: &str,
    bytes: u64,
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let limit = STEP + Duration::from_secs(bytes / MIN_RATE);
    match tokio::time::timeout(limit, tokio::task::spawn_blocking(work)).await {
        Ok(Ok(result)) => result,
        Ok(Err(error)) => Err(StoreError::Unavailable(format!("{what}: {error}"))),
        Err(_) => Err(StoreError::Unavailable(format!(
            "{what}: the file system did not answer within {limit:?}"
        ))),
    }
}

/// The end of a file, or all of it.
fn read_chunks(file: File, path: PathBuf, from: u64, to: u64) -> BoxStream<'static, ReadResult> {
    let state = (Arc::new(file), Arc::new(path), from);
    stream::try_unfold(state, move |(file, path, from)| async move {
        if from >= to {
            return Ok(None);
        }
        let length = usize::try_from(to - from).unwrap_or(usize::MAX).min(READ_CHUNK);
        let (reading, named) = (Arc::clone(&file), Arc::clone(&path));
        let chunk = blocking("read", 0, move || {
            let mut buffer = vec![0; length];
            reading
                .read_exact_at(&mut buffer, from)
                .map_err(|error| errors::broken_read(&named, &error))?;
            Ok(Bytes::from(buffer))
        })
        .await?;
        let next = from + chunk.len() as u64;
        Ok(Some((chunk, (file, path, next))))
    })
    .boxed()
}

type ReadResult = Result<Bytes, StoreError>;

#[async_trait]
impl Store for DirectoryStore {
    fn location(&self) -> &str {
        &self.location
    }

    /// A component of a key may have 255 bytes, too; a longer one is refused when it is written.
    fn max_key_bytes(&self) -> usize {
        MAX_KEY_BYTES
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { put_if_absent: true, put_if_matches: true }
    }

    async fn put(
        &self,
        key: &ObjectKey,
        body: Body,
        condition: Condition,
    ) -> Result<Stored, StoreError> {
        write::put(&self.tree, key, body, condition).await
    }

    async fn get(&self, key: &ObjectKey, range: ByteRange) -> Result<Option<Object>, StoreError> {
        let (tree, key) = (Arc::clone(&self.tree), key.clone());
        let path = self.tree.path_of(&key);
        let opened = blocking("get", 0, move || tree.open_object(&key)).await?;
        let Some((file, info)) = opened else {
            return Ok(None);
        };
        let from = match range {
            ByteRange::Full => 0,
            ByteRange::Last(bytes) => info.size.saturating_sub(bytes),
        };
        let body = read_chunks(file, path, from, info.size);
        Ok(Some(Object { info, body }))
    }

    async fn head(&self, key: &ObjectKey) -> Result<Option<ObjectInfo>, StoreError> {
        let (tree, key) = (Arc::clone(&self.tree), key.clone());
        blocking("head", 0, move || tree.info(&key)).await
    }

    fn list(
        &self,
        prefix: &str,
        start_after: Option<&str>,
    ) -> BoxStream<'_, Result<ListedObject, StoreError>> {
        list::list(Arc::clone(&self.tree), prefix, start_after)
    }

    async fn delete(&self, keys: &[ObjectKey]) -> Result<Vec<(ObjectKey, StoreError)>, StoreError> {
        write::delete(&self.tree, keys.to_vec()).await
    }

    /// The file system's clock: of a network file system, the server's. Needs to write, if only a name.
    async fn time(&self) -> Result<Timestamp, StoreError> {
        let tree = Arc::clone(&self.tree);
        blocking("ask for the time", 0, move || write::time(&tree)).await
    }
}
