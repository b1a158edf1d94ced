//! A store that writes only while this node may: the last door before the bucket.
//!
//! Whatever a node was about to do when it was paused, or cut off from etcd, it asks here once more; and a write
//! that is under way when the lease runs out is given up. What the store does with what is on its way already, the
//! conditions of the writes decide.

use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;
use ultrasimple_cluster::Lease;
use ultrasimple_core::{ObjectKey, Timestamp};
use ultrasimple_store::{
    Body, ByteRange, Capabilities, Condition, ListedObject, Object, ObjectInfo, RequestCounts,
    Store, StoreError, Stored,
};

/// See the module.
#[derive(Debug)]
pub(crate) struct LeashedStore {
    inner: Arc<dyn Store>,
    lease: Lease,
}

impl LeashedStore {
    pub(crate) fn new(inner: Arc<dyn Store>, lease: Lease) -> Self {
        Self { inner, lease }
    }

    fn check(&self) -> Result<(), StoreError> {
        if self.lease.is_trusted() {
            return Ok(());
        }
        Err(StoreError::Unavailable(
            "this node's lease is not confirmed: nothing is written".into(),
        ))
    }
}

fn lost() -> StoreError {
    StoreError::UnknownOutcome("this node's lease ran out during the request".into())
}

#[async_trait]
impl Store for LeashedStore {
    fn location(&self) -> &str {
        self.inner.location()
    }

    fn max_key_bytes(&self) -> usize {
        self.inner.max_key_bytes()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn learn(&self, found: Capabilities) {
        self.inner.learn(found);
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
        self.check()?;
        tokio::select! {
            biased;
            () = self.lease.lost() => Err(lost()),
            stored = self.inner.put(key, body, condition) => stored,
        }
    }

    async fn get(&self, key: &ObjectKey, range: ByteRange) -> Result<Option<Object>, StoreError> {
        self.inner.get(key, range).await
    }

    async fn head(&self, key: &ObjectKey) -> Result<Option<ObjectInfo>, StoreError> {
        self.inner.head(key).await
    }

    fn list(
        &self,
        prefix: &str,
        start_after: Option<&str>,
    ) -> BoxStream<'_, Result<ListedObject, StoreError>> {
        self.inner.list(prefix, start_after)
    }

    async fn delete(&self, keys: &[ObjectKey]) -> Result<Vec<(ObjectKey, StoreError)>, StoreError> {
        self.check()?;
        tokio::select! {
            biased;
            () = self.lease.lost() => Err(lost()),
            deleted = self.inner.delete(keys) => deleted,
        }
    }

    async fn time(&self) -> Result<Timestamp, StoreError> {
        self.inner.time().await
    }
}
