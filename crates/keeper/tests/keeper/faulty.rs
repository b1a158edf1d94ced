//! A store that fails as it is told to, and lets others come in between.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use ultrasimple_core::{ObjectKey, Timestamp};
use ultrasimple_store::{
    Body, ByteRange, Capabilities, Condition, DirectoryStore, ListedObject, Object, ObjectInfo,
    RequestCounts, Store, StoreError, Stored,
};

/// What happens to a write.
#[derive(Debug, Clone)]
pub(crate) enum PutFault {
    /// It is refused before anything is done.
    Refused,
    /// It is done, and nobody knows.
    DoneUnknown,
    /// It is not done, and nobody knows.
    LostUnknown,
    /// Somebody else writes this first.
    Preceded(Vec<u8>),
}

#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// For the next writes.
    pub(crate) puts: VecDeque<PutFault>,
    /// Keys that cannot be read: the next so many times.
    pub(crate) gets: BTreeMap<String, u32>,
    /// Keys of which the next read gives other bytes.
    pub(crate) other_bytes: BTreeMap<String, Vec<u8>>,
    /// Keys that cannot be deleted.
    pub(crate) deletes: BTreeMap<String, StoreError>,
    /// No deletion is answered.
    pub(crate) all_deletes: bool,
    /// Stored by others once everything has been listed.
    pub(crate) after_listing: Vec<(ObjectKey, Vec<u8>)>,
    /// Time that each read takes.
    pub(crate) read_takes: std::time::Duration,
    /// It ignores conditions, and says so.
    pub(crate) unconditional: bool,
    /// Keys read, in their order.
    pub(crate) reads: Vec<String>,
    /// Sizes of the deletions asked for.
    pub(crate) deletions: Vec<usize>,
}

#[derive(Debug)]
pub(crate) struct Faulty {
    inner: DirectoryStore,
    faults: Mutex<Faults>,
}

fn away() -> StoreError {
    StoreError::Unavailable("the store is away".to_owned())
}

impl Faulty {
    pub(crate) fn new(inner: DirectoryStore) -> Self {
        Self { inner, faults: Mutex::default() }
    }

    pub(crate) fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap()
    }

    fn fail(&self, key: &ObjectKey) -> Result<(), StoreError> {
        let mut faults = self.faults();
        faults.reads.push(key.to_string());
        match faults.gets.get_mut(key.as_str()) {
            Some(0) | None => Ok(()),
            Some(left) => {
                *left -= 1;
                Err(away())
            }
        }
    }
}

#[async_trait]
impl Store for Faulty {
    fn location(&self) -> &str {
        self.inner.location()
    }

    fn max_key_bytes(&self) -> usize {
        self.inner.max_key_bytes()
    }

    fn capabilities(&self) -> Capabilities {
        let able = !self.faults().unconditional;
        Capabilities { put_if_absent: able, put_if_matches: able }
    }

    fn requests(&self) -> RequestCounts {
        self.inner.requests()
    }

    async fn put(
        &self,
        key: &ObjectKey,
        body: Body,
        condition: Condition,
    ) -> Result<Stored, StoreError> {
        if self.faults().unconditional {
            assert_eq!(condition, Condition::Always, "it was told that conditions are ignored");
        } else {
            assert_ne!(condition, Condition::Always, "it has conditions");
        }
        let fault = self.faults().puts.pop_front();
        match fault {
            Some(PutFault::Refused) => return Err(away()),
            Some(PutFault::LostUnknown) => return Err(StoreError::UnknownOutcome("?".to_owned())),
            Some(PutFault::DoneUnknown) => {
                self.inner.put(key, body, condition).await?;
                return Err(StoreError::UnknownOutcome("?".to_owned()));
            }
            Some(PutFault::Preceded(bytes)) => {
                let bytes = Body::Bytes(Bytes::from(bytes));
                self.inner.put(key, bytes, Condition::Always).await?;
            }
            None => {}
        }
        self.inner.put(key, body, condition).await
    }

    async fn get(&self, key: &ObjectKey, range: ByteRange) -> Result<Option<Object>, StoreError> {
        let takes = self.faults().read_takes;
        if !takes.is_zero() {
            tokio::time::advance(takes).await;
        }
        self.fail(key)?;
        let mut object = self.inner.get(key, range).await?;
        let other = self.faults().other_bytes.remove(key.as_str());
        if let (Some(object), Some(other)) = (&mut object, other) {
            object.body = stream::iter([Ok(Bytes::from(other))]).boxed();
        }
        Ok(object)
    }

    async fn head(&self, key: &ObjectKey) -> Result<Option<ObjectInfo>, StoreError> {
        self.fail(key)?;
        self.inner.head(key).await
    }

    fn list(
        &self,
        prefix: &str,
        start_after: Option<&str>,
    ) -> BoxStream<'_, Result<ListedObject, StoreError>> {
        let others = async move {
            let others = std::mem::take(&mut self.faults().after_listing);
            for (key, bytes) in others {
                let bytes = Body::Bytes(Bytes::from(bytes));
                self.inner.put(&key, bytes, Condition::Always).await.unwrap();
            }
            stream::empty()
        };
        let listing = self.inner.list(prefix, start_after);
        if prefix.is_empty() {
            listing.chain(stream::once(others).flatten()).boxed()
        } else {
            listing
        }
    }

    async fn time(&self) -> Result<Timestamp, StoreError> {
        self.inner.time().await
    }

    async fn delete(&self, keys: &[ObjectKey]) -> Result<Vec<(ObjectKey, StoreError)>, StoreError> {
        let failing = {
            let mut faults = self.faults();
            faults.deletions.push(keys.len());
            if faults.all_deletes {
                return Err(away());
            }
            faults.deletes.clone()
        };
        let (failing, keys): (Vec<_>, Vec<_>) =
            keys.iter().cloned().partition(|key| failing.contains_key(key.as_str()));
        let mut failed = self.inner.delete(&keys).await?;
        let faults = self.faults();
        failed.extend(failing.into_iter().map(|key| {
            let error = faults.deletes[key.as_str()].clone();
            (key, error)
        }));
        Ok(failed)
    }
}
