//! Reading catalogs from the bucket, and writing them so that nobody's change is lost.
//!
//! A catalog is changed by [`Edit`]s that can be done again: whoever finds that somebody else wrote in between
//! (the owner, an operator's tool) reads what is there and does them once more.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use ultrasimple_core::catalog::format::CatalogError;
use ultrasimple_core::catalog::{Edit, PREFIX};
use ultrasimple_core::{Catalog, ETag, Epoch, NodeName, ShardKey, Timestamp, VolumeName};
use ultrasimple_store::{Body, ByteRange, Condition, Store, StoreError};

/// Catalogs read at once: each may be large.
const IN_FLIGHT: usize = 8;
/// Compressed; more than a shard of any sense has.
const MOST_BYTES: u64 = 1 << 30;
/// Writers that may come in between before this one leaves it to the next time.
const ATTEMPTS: u32 = 5;

/// Why a catalog was not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The store could not be read.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// What is there is not the catalog of this shard.
    #[error("{error}")]
    Unusable {
        /// The tag of what is there.
        etag: ETag,
        /// What is wrong with it.
        error: CatalogError,
    },
}

/// Why a catalog was not written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpdateError {
    /// The store could not be read or written, or others kept coming in between.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// A newer version wrote it: this program must not write over it.
    #[error("{0}")]
    Newer(CatalogError),
    /// A later owner has written it.
    #[error("a later owner has written it: node {node} with epoch {epoch}")]
    Fenced {
        /// Who.
        node: NodeName,
        /// Under which epoch.
        epoch: Epoch,
    },
}

/// Who writes a catalog.
#[derive(Debug, Clone)]
pub struct Author {
    /// The name of who writes.
    pub node: NodeName,
    /// The epoch of the owner of *this* shard. `None`: not its owner, but an operator's tool or another
    /// shard's owner, who leaves all that the owner says of itself as it is (epoch, node, time, final).
    pub epoch: Option<Epoch>,
    /// Into how many shards the volume is divided.
    pub shards: u32,
    /// Now, by the writer's clock.
    pub now: Timestamp,
    /// The owner lets go of the shard. Means nothing of those who are not the owner.
    pub is_final: bool,
}

/// Reads a catalog. `None` when there is none.
///
/// # Errors
/// When the store cannot be read, or what is there cannot be used.
pub async fn read(store: &dyn Store, key: &ShardKey) -> Result<Option<(Catalog, ETag)>, ReadError> {
    let Some(object) = store.get(&key.object_key(), ByteRange::Full).await? else {
        return Ok(None);
    };
    let etag = object.info.etag.clone();
    if object.info.size > MOST_BYTES {
        let error = CatalogError::Damaged(format!("it has {} bytes", object.info.size));
        return Err(ReadError::Unusable { etag, error });
    }
    let bytes = object.bytes(MOST_BYTES).await?;
    // Megabytes at most in all but the oddest buckets, and those are better read here than not at all.
    match Catalog::parse(&bytes, key) {
        Ok(catalog) => Ok(Some((catalog, etag))),
        Err(error) => Err(ReadError::Unusable { etag, error }),
    }
}

/// Which catalogs there are, of one volume or of all.
///
/// # Errors
/// When the store cannot be listed.
pub async fn list(
    store: &dyn Store,
    volume: Option<&VolumeName>,
) -> Result<Vec<ShardKey>, StoreError> {
    let prefix = volume.map_or_else(|| PREFIX.to_owned(), ShardKey::prefix_of);
    let keys = store.list(&prefix, None);
    let mut keys: Vec<_> = keys
        .try_filter_map(|object| async move { Ok(ShardKey::parse(&object.key)) })
        .try_collect()
        .await?;
    keys.sort_unstable();
    Ok(keys)
}

/// Reads all catalogs, of one volume or of all, and gives each to `take`: a request for each, and one for every
/// thousand. Memory is that of a few catalogs. Gives those that could not be used, and why.
///
/// # Errors
/// When the store cannot be read.
pub async fn each(
    store: &dyn Store,
    volume: Option<&VolumeName>,
    mut take: impl FnMut(Catalog),
) -> Result<BTreeMap<ShardKey, CatalogError>, StoreError> {
    let mut unusable = BTreeMap::new();
    let reads = list(store, volume).await?.into_iter().map(|key| async move {
        let found = read(store, &key).await;
        (key, found)
    });
    let mut reads = stream::iter(reads).buffer_unordered(IN_FLIGHT);
    while let Some((key, found)) = reads.next().await {
        match found {
            Ok(Some((catalog, _))) => take(catalog),
            Ok(None) => {}
            Err(ReadError::Store(error)) => return Err(error),
            Err(ReadError::Unusable { error, .. }) => drop(unusable.insert(key, error)),
        }
    }
    Ok(unusable)
}

/// What [`read_all`] found.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The catalogs that could be read.
    pub catalogs: BTreeMap<ShardKey, Catalog>,
    /// Those that could not be used, and why.
    pub unusable: BTreeMap<ShardKey, CatalogError>,
}

/// [`each`] catalog, all held in memory: some 150 bytes for each backup.
///
/// # Errors
/// When the store cannot be read.
pub async fn read_all(
    store: &dyn Store,
    volume: Option<&VolumeName>,
) -> Result<Loaded, StoreError> {
    let mut loaded = Loaded::default();
    let catalogs = &mut loaded.catalogs;
    let take = |catalog: Catalog| drop(catalogs.insert(catalog.key.clone(), catalog));
    loaded.unusable = each(store, volume, take).await?;
    Ok(loaded)
}

/// A catalog as it was read, to be written back.
#[derive(Debug)]
pub struct Opened {
    /// The catalog, empty where there was none or none that can be used.
    pub catalog: Catalog,
    condition: Condition,
}

/// A catalog that is taken to be missing, in order to write it. If it is there after all, [`Opened::write`] fails.
/// `None` where the store does not honour that condition.
pub fn begin(store: &dyn Store, key: &ShardKey, author: &Author) -> Option<Opened> {
    let able = store.capabilities();
    able.put_if_absent.then(|| Opened { catalog: new(key, author), condition: Condition::Absent })
}

fn new(key: &ShardKey, author: &Author) -> Catalog {
    let epoch = author.epoch.unwrap_or_default();
    Catalog::new(key.clone(), author.shards, epoch, author.node.clone(), author.now)
}

/// Reads a catalog in order to write it. One that is damaged or foreign is begun anew, with a warning.
///
/// # Errors
/// When the store cannot be read, a newer version wrote it, or a later owner.
pub async fn open(
    store: &dyn Store,
    key: &ShardKey,
    author: &Author,
) -> Result<Opened, UpdateError> {
    let (catalog, condition) = match read(store, key).await {
        Ok(Some((catalog, etag))) => (catalog, Condition::Matches(etag)),
        Ok(None) => (new(key, author), Condition::Absent),
        Err(ReadError::Store(error)) => return Err(error.into()),
        Err(ReadError::Unusable { error: error @ CatalogError::Newer(_), .. }) => {
            return Err(UpdateError::Newer(error));
        }
        Err(ReadError::Unusable { error, etag }) => {
            let name = key.object_key();
            tracing::warn!(key = %name, %error, "The catalog {name} cannot be used and is begun anew: {error}");
            (new(key, author), Condition::Matches(etag))
        }
    };
    if let Some(epoch) = author.epoch
        && catalog.epoch > epoch
    {
        return Err(UpdateError::Fenced { node: catalog.node, epoch: catalog.epoch });
    }
    Ok(Opened { catalog, condition })
}

impl Opened {
    /// Writes the catalog as it is now, if nobody wrote since it was read.
    ///
    /// # Errors
    /// [`StoreError::ConditionFailed`] when somebody did.
    pub async fn write(
        mut self,
        store: &dyn Store,
        author: &Author,
    ) -> Result<Catalog, StoreError> {
        let able = store.capabilities();
        let condition = match self.condition {
            Condition::Absent if !able.put_if_absent => Condition::Always,
            Condition::Matches(_) if !able.put_if_matches => Condition::Always,
            condition => condition,
        };
        let catalog = &mut self.catalog;
        // What a tool writes says nothing about the owner.
        if let Some(epoch) = author.epoch {
            catalog.epoch = epoch;
            catalog.node.clone_from(&author.node);
            catalog.shards = author.shards;
            catalog.written_at = author.now;
            catalog.is_final = author.is_final;
        }
        let bytes = catalog.to_bytes().map_err(|error| StoreError::Invalid(error.to_string()))?;
        store.put(&catalog.key.object_key(), Body::Bytes(Bytes::from(bytes)), condition).await?;
        Ok(self.catalog)
    }
}

/// Reads a catalog, does the edits, and writes it, as often as somebody else comes in between. Gives what the
/// catalog says now, others' edits included: a daemon that finds there that the newest backup of a database is
/// no longer the one it remembers (it was lost, or replaced) has to take that database for changed.
///
/// # Errors
/// As [`open`], and when the store cannot be written.
pub async fn update(
    store: &dyn Store,
    key: &ShardKey,
    author: &Author,
    edits: &[Edit],
) -> Result<Catalog, UpdateError> {
    let mut last = StoreError::ConditionFailed;
    for _ in 0..ATTEMPTS {
        let mut opened = open(store, key, author).await?;
        for edit in edits {
            opened.catalog.edit(edit.clone());
        }
        match opened.write(store, author).await {
            Ok(catalog) => return Ok(catalog),
            // Whether an unknown write was done shows when it is read again; the edits can be repeated.
            Err(error @ (StoreError::ConditionFailed | StoreError::UnknownOutcome(_))) => {
                last = error;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(last.into())
}
