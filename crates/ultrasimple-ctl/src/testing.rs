//! For the unit tests: a bucket in memory that counts the objects read from it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use ultrasimple_core::footer::FooterFields;
use ultrasimple_core::{
    CheckResult, Epoch, Hour, KeyStem, ObjectKey, ShardId, SourcePath, Timestamp, object,
};
use ultrasimple_store::{
    Body, ByteRange, Capabilities, Condition, ETag, ListedObject, Object, ObjectInfo,
    RequestCounts, Store, StoreError, Stored,
};

#[derive(Debug, Default)]
pub(crate) struct Memory {
    objects: BTreeMap<String, Vec<u8>>,
    reads: AtomicUsize,
}

pub(crate) fn stem(text: &str) -> KeyStem {
    KeyStem::try_from(text.to_owned()).unwrap()
}

pub(crate) fn hour(index: u32) -> Hour {
    Hour::of(Timestamp::from_second((i64::from(index) - 1) * 3_600).unwrap())
}

pub(crate) fn fields(path: &[u8], captured_at: Timestamp, check: CheckResult) -> FooterFields {
    FooterFields {
        volume: "default".parse().unwrap(),
        path: SourcePath::from_bytes(path),
        shard: ShardId(0),
        mode: 0o640,
        captured_at,
        node: "n".parse().unwrap(),
        epoch: Epoch(1),
        check,
        fingerprint: None,
    }
}

impl Memory {
    pub(crate) fn put_bytes(&mut self, key: &str, bytes: Vec<u8>) {
        self.objects.insert(key.to_owned(), bytes);
    }

    pub(crate) fn put_backup(&mut self, key: &str, fields: FooterFields) {
        self.put_bytes(key, object::encode(b"image", fields).unwrap().0);
    }

    pub(crate) fn reads(&self) -> usize {
        self.reads.load(Ordering::Relaxed)
    }
}

fn info(bytes: &[u8]) -> ObjectInfo {
    let modified = Timestamp::UNIX_EPOCH;
    ObjectInfo { etag: ETag("e".into()), size: bytes.len() as u64, modified }
}

#[async_trait]
impl Store for Memory {
    fn location(&self) -> &'static str {
        "memory://bucket"
    }

    fn max_key_bytes(&self) -> usize {
        1_024
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { put_if_absent: true, put_if_matches: true }
    }

    fn requests(&self) -> RequestCounts {
        RequestCounts::default()
    }

    async fn put(&self, _: &ObjectKey, _: Body, _: Condition) -> Result<Stored, StoreError> {
        Err(StoreError::Denied("this tool never writes".to_owned()))
    }

    async fn get(&self, key: &ObjectKey, range: ByteRange) -> Result<Option<Object>, StoreError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let Some(bytes) = self.objects.get(key.as_str()) else {
            return Ok(None);
        };
        let start = match range {
            ByteRange::Full => 0,
            ByteRange::Last(count) => bytes.len().saturating_sub(usize::try_from(count).unwrap()),
        };
        let body = Bytes::copy_from_slice(&bytes[start..]);
        Ok(Some(Object { info: info(bytes), body: stream::iter([Ok(body)]).boxed() }))
    }

    async fn head(&self, key: &ObjectKey) -> Result<Option<ObjectInfo>, StoreError> {
        Ok(self.objects.get(key.as_str()).map(|bytes| info(bytes)))
    }

    fn list(
        &self,
        prefix: &str,
        _: Option<&str>,
    ) -> BoxStream<'_, Result<ListedObject, StoreError>> {
        let prefix = prefix.to_owned();
        let ours = self.objects.iter().filter(move |(key, _)| key.starts_with(&prefix));
        let objects = ours.map(|(key, bytes)| {
            let ObjectInfo { etag, size, modified } = info(bytes);
            Ok(ListedObject { key: key.clone(), size, etag, modified })
        });
        stream::iter(objects).boxed()
    }

    async fn delete(&self, _: &[ObjectKey]) -> Result<Vec<(ObjectKey, StoreError)>, StoreError> {
        Err(StoreError::Denied("this tool never deletes".to_owned()))
    }

    async fn time(&self) -> Result<Timestamp, StoreError> {
        Ok(Timestamp::UNIX_EPOCH)
    }
}
