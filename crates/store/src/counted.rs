//! How many requests have been sent, by kind: what the bill is made of.
//!
//! [`RequestCounters`] are shared between whoever sends and whoever reports. [`crate::S3Store`] counts
//! each of its HTTP requests (the parts of a multipart upload and the pages of a listing included);
//! [`CountedStore`] counts the calls of a store that does not count for itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use ultrasimple_core::{ObjectKey, Timestamp};

use crate::{
    Body, ByteRange, Capabilities, Condition, ListedObject, Object, ObjectInfo, Store, StoreError,
    Stored,
};

/// Objects in a page of a listing.
pub(crate) const LIST_PAGE: u64 = 1_000;

/// The kinds of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestKind {
    /// A whole object written by one request.
    Put,
    /// A step of a multipart upload: its creation, one of its parts, its completion. Each is billed
    /// as a PUT, so an upload in `n` parts costs `n + 2`.
    Multipart,
    /// An object, or a part of one, read.
    Get,
    /// An object asked about, or the time.
    Head,
    /// A page of a listing (billed as a PUT).
    List,
    /// A deletion of up to 1,000 objects, or the abort of a multipart upload (free of charge on AWS).
    Delete,
}

/// Counts requests from many tasks at once.
#[derive(Debug, Default)]
pub struct RequestCounters {
    puts: AtomicU64,
    multipart: AtomicU64,
    gets: AtomicU64,
    heads: AtomicU64,
    lists: AtomicU64,
    deletes: AtomicU64,
}

impl RequestCounters {
    /// One more of this kind. To be called before the request is sent: one that fails may be billed too.
    pub fn count(&self, kind: RequestKind) {
        let counter = match kind {
            RequestKind::Put => &self.puts,
            RequestKind::Multipart => &self.multipart,
            RequestKind::Get => &self.gets,
            RequestKind::Head => &self.heads,
            RequestKind::List => &self.lists,
            RequestKind::Delete => &self.deletes,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// The numbers so far.
    pub fn snapshot(&self) -> RequestCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        RequestCounts {
            puts: read(&self.puts),
            multipart: read(&self.multipart),
            gets: read(&self.gets),
            heads: read(&self.heads),
            lists: read(&self.lists),
            deletes: read(&self.deletes),
        }
    }
}

/// Numbers of requests since the store was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RequestCounts {
    /// Whole objects written by one request.
    pub puts: u64,
    /// Steps of multipart uploads; see [`RequestKind::Multipart`].
    pub multipart: u64,
    /// Reads.
    pub gets: u64,
    /// Questions about an object.
    pub heads: u64,
    /// Pages of listings.
    pub lists: u64,
    /// Deletions (of up to 1,000 objects each) and aborts.
    pub deletes: u64,
}

impl RequestCounts {
    /// Requests at the price of a PUT ($0.005 per 1,000 on AWS): writes and listings.
    pub fn put_class(&self) -> u64 {
        self.puts + self.multipart + self.lists
    }

    /// Requests at the price of a GET ($0.0004 per 1,000 on AWS).
    pub fn get_class(&self) -> u64 {
        self.gets + self.heads
    }
}

/// A store whose calls are counted: one per call, and one per thousand objects of a listing. What one
/// call costs inside (parts, retries) it cannot see.
#[derive(Debug)]
pub struct CountedStore<S> {
    inner: S,
    counters: Arc<RequestCounters>,
}

impl<S: Store> CountedStore<S> {
    /// Counts the calls of `inner` in `counters`.
    pub fn new(inner: S, counters: Arc<RequestCounters>) -> Self {
        Self { inner, counters }
    }

    /// The numbers so far.
    pub fn counts(&self) -> RequestCounts {
        self.counters.snapshot()
    }

    /// The store inside.
    pub fn inner(&self) -> &S {
        &self.inner
    }
}

#[async_trait]
impl<S: Store> Store for CountedStore<S> {
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

    async fn put(
        &self,
        key: &ObjectKey,
        body: Body,
        condition: Condition,
    ) -> Result<Stored, StoreError> {
        self.counters.count(RequestKind::Put);
        self.inner.put(key, body, condition).await
    }

    async fn get(&self, key: &ObjectKey, range: ByteRange) -> Result<Option<Object>, StoreError> {
        self.counters.count(RequestKind::Get);
        self.inner.get(key, range).await
    }

    async fn head(&self, key: &ObjectKey) -> Result<Option<ObjectInfo>, StoreError> {
        self.counters.count(RequestKind::Head);
        self.inner.head(key).await
    }

    fn list(
        &self,
        prefix: &str,
        start_after: Option<&str>,
    ) -> BoxStream<'_, Result<ListedObject, StoreError>> {
        self.counters.count(RequestKind::List);
        let counters = Arc::clone(&self.counters);
        let mut listed = 0;
        let count_pages = move |_: &Result<ListedObject, StoreError>| {
            if listed > 0 && listed % LIST_PAGE == 0 {
                counters.count(RequestKind::List);
            }
            listed += 1;
        };
        self.inner.list(prefix, start_after).inspect(count_pages).boxed()
    }

    async fn delete(&self, keys: &[ObjectKey]) -> Result<Vec<(ObjectKey, StoreError)>, StoreError> {
        self.counters.count(RequestKind::Delete);
        self.inner.delete(keys).await
    }

    async fn time(&self) -> Result<Timestamp, StoreError> {
        self.counters.count(RequestKind::Head);
        self.inner.time().await
    }
}
