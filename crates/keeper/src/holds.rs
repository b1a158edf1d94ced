//! Holds in the bucket: which databases nothing may be deleted of.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use ultrasimple_core::hold::{Hold, PREFIX};
use ultrasimple_core::{KeyStem, ObjectKey};
use ultrasimple_store::{Body, ByteRange, Condition, Store, StoreError};

/// Far more than a hold has.
const MOST_BYTES: u64 = 64 * 1_024;
/// Holds read at once.
const IN_FLIGHT: usize = 16;

/// The holds that there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holds(BTreeSet<String>);

impl Holds {
    /// Lists them: one request for every thousand.
    ///
    /// # Errors
    /// When the store cannot be listed.
    pub async fn list(store: &dyn Store) -> Result<Self, StoreError> {
        let keys = store.list(PREFIX, None).map_ok(|object| object.key);
        Ok(Self(keys.try_collect().await?))
    }

    /// Whether nothing of a database may be deleted.
    pub fn holds(&self, stem: &KeyStem) -> bool {
        !self.0.is_empty() && self.0.contains(Hold::key(stem).as_str())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The holds themselves: a request each. Those that cannot be understood are told by their keys; they
    /// hold all the same.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn read(
        &self,
        store: &dyn Store,
    ) -> Result<Vec<Result<Hold, ObjectKey>>, StoreError> {
        let keys = self.0.iter().filter_map(|key| ObjectKey::new(key.clone()).ok());
        let reads = stream::iter(keys).map(|key| read_one(store, key)).buffered(IN_FLIGHT);
        reads.try_filter_map(|found| async move { Ok(found) }).try_collect().await
    }
}

/// `None` when it has been released meanwhile.
async fn read_one(
    store: &dyn Store,
    key: ObjectKey,
) -> Result<Option<Result<Hold, ObjectKey>>, StoreError> {
    let Some(object) = store.get(&key, ByteRange::Full).await? else { return Ok(None) };
    if object.info.size > MOST_BYTES {
        return Ok(Some(Err(key)));
    }
    let bytes = object.bytes(MOST_BYTES).await?;
    let hold = Hold::parse(&bytes).ok().filter(|hold| Hold::key(&hold.stem) == key);
    Ok(Some(hold.ok_or(key)))
}

/// Places a hold. What is there already stays, with its date and reason; then the result is false.
///
/// # Errors
/// When the store cannot be written.
pub async fn place(store: &dyn Store, hold: &Hold) -> Result<bool, StoreError> {
    let key = Hold::key(&hold.stem);
    if store.head(&key).await?.is_some() {
        return Ok(false);
    }
    let bytes = hold.to_bytes().map_err(|error| StoreError::Invalid(error.to_string()))?;
    let able = store.capabilities().put_if_absent;
    let condition = if able { Condition::Absent } else { Condition::Always };
    match store.put(&key, Body::Bytes(Bytes::from(bytes)), condition).await {
        Ok(_) => Ok(true),
        Err(StoreError::ConditionFailed) => Ok(false),
        Err(error @ StoreError::UnknownOutcome(_)) => match store.head(&key).await {
            Ok(Some(_)) => Ok(true),
            _ => Err(error),
        },
        Err(error) => Err(error),
    }
}

/// Releases a hold. False when there was none.
///
/// # Errors
/// When the store cannot be written.
pub async fn release(store: &dyn Store, stem: &KeyStem) -> Result<bool, StoreError> {
    let key = Hold::key(stem);
    if store.head(&key).await?.is_none() {
        return Ok(false);
    }
    match store.delete(std::slice::from_ref(&key)).await?.pop() {
        None => Ok(true),
        Some((_, error)) => Err(error),
    }
}
