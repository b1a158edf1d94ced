//! A store that has nothing and takes nothing: for a dry run without a bucket.

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use ultrasimple_core::key::MAX_KEY_BYTES;
use ultrasimple_core::{Clock, ObjectKey, SystemClock, Timestamp};
use ultrasimple_store::{
    Body, ByteRange, Capabilities, Condition, ListedObject, Object, ObjectInfo, Store, StoreError,
    Stored,
};

/// Empty for ever.
#[derive(Debug)]
pub(crate) struct Nowhere;

fn refused() -> StoreError {
    StoreError::Denied("there is no bucket to write to (a dry run)".to_owned())
}

#[async_trait]
impl Store for Nowhere {
    fn location(&self) -> &'static str {
        "nowhere"
    }

    fn max_key_bytes(&self) -> usize {
        MAX_KEY_BYTES
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { put_if_absent: true, put_if_matches: true }
    }

    async fn put(&self, _: &ObjectKey, _: Body, _: Condition) -> Result<Stored, StoreError> {
        Err(refused())
    }

    async fn get(&self, _: &ObjectKey, _: ByteRange) -> Result<Option<Object>, StoreError> {
        Ok(None)
    }

    async fn head(&self, _: &ObjectKey) -> Result<Option<ObjectInfo>, StoreError> {
        Ok(None)
    }

    fn list(&self, _: &str, _: Option<&str>) -> BoxStream<'_, Result<ListedObject, StoreError>> {
        stream::empty().boxed()
    }

    async fn delete(&self, _: &[ObjectKey]) -> Result<Vec<(ObjectKey, StoreError)>, StoreError> {
        Err(refused())
    }

    async fn time(&self) -> Result<Timestamp, StoreError> {
        Ok(SystemClock.now())
    }
}
