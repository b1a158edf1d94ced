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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use ultrasimple_cluster::membership::{Controls, membership};
    use ultrasimple_core::SystemClock;
    use ultrasimple_store::{CountedStore, DirectoryStore};

    use super::*;

    async fn leashed(folder: &tempfile::TempDir) -> (LeashedStore, Arc<dyn Store>, Controls) {
        let inner = DirectoryStore::open(&folder.path().join("bucket"), true).await.unwrap();
        let inner: Arc<dyn Store> = Arc::new(CountedStore::new(inner, Arc::default()));
        let (membership, controls) = membership(Arc::new(SystemClock));
        let store = LeashedStore::new(Arc::clone(&inner), membership.lease().clone());
        (store, inner, controls)
    }

    #[tokio::test]
    async fn without_a_trusted_lease_nothing_is_written_and_all_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let (store, inner, controls) = leashed(&folder).await;
        let key = ObjectKey::new("a").unwrap();
        let put = || store.put(&key, Body::Bytes(Bytes::from("x")), Condition::Absent);
        assert!(matches!(put().await, Err(StoreError::Unavailable(_))));
        assert!(matches!(
            store.delete(std::slice::from_ref(&key)).await,
            Err(StoreError::Unavailable(_))
        ));
        assert_eq!(inner.requests(), RequestCounts::default());
        controls.trust_until(Duration::MAX);
        put().await.unwrap();
        controls.trust_until(Duration::ZERO);
        assert!(store.delete(std::slice::from_ref(&key)).await.is_err());
        assert!(store.get(&key, ByteRange::Full).await.unwrap().is_some());
        controls.trust_until(Duration::MAX);
        store.delete(std::slice::from_ref(&key)).await.unwrap();
    }

    #[tokio::test]
    async fn a_write_under_way_is_given_up_when_the_lease_ends() {
        let folder = tempfile::tempdir().unwrap();
        let (store, _, controls) = leashed(&folder).await;
        controls.trust_until(Duration::MAX);
        let key = ObjectKey::new("a").unwrap();
        // Its body never ends.
        let (_sender, body) = tokio::sync::mpsc::channel(1);
        let put = store.put(&key, Body::Chunks(body), Condition::Absent);
        tokio::pin!(put);
        assert!(futures::poll!(&mut put).is_pending());
        controls.trust_until(Duration::ZERO);
        assert!(matches!(put.await, Err(StoreError::UnknownOutcome(_))));
        assert_eq!(store.head(&key).await.unwrap(), None);
    }
}
