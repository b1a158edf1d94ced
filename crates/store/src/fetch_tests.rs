//! Objects that are whole, damaged, cut and foreign; stores that fail; writers that fail.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::stream;
use ultrasimple_core::footer::FooterFields;
use ultrasimple_core::{CheckResult, Epoch, ShardId, SourcePath, Timestamp, object};

use super::*;
use crate::{Body, Capabilities, Condition, ETag, ListedObject, Object, RequestCounts, Stored};

/// A store with one object, which it sends in small pieces.
#[derive(Debug, Default)]
struct OneObject {
    bytes: Vec<u8>,
    /// The connection breaks after so many pieces.
    cut_after: Option<usize>,
    /// It ignores ranges.
    sends_all: bool,
    ranges: Mutex<Vec<ByteRange>>,
}

#[async_trait]
impl Store for OneObject {
    fn location(&self) -> &'static str {
        "test://"
    }
    fn max_key_bytes(&self) -> usize {
        1_024
    }
    fn capabilities(&self) -> Capabilities {
        Capabilities { put_if_absent: false, put_if_matches: false }
    }
    fn requests(&self) -> RequestCounts {
        RequestCounts::default()
    }
    async fn put(&self, _: &ObjectKey, _: Body, _: Condition) -> Result<Stored, StoreError> {
        Err(StoreError::Denied("no".into()))
    }
    async fn get(&self, key: &ObjectKey, range: ByteRange) -> Result<Option<Object>, StoreError> {
        self.ranges.lock().unwrap().push(range);
        if key.as_str() == "missing" {
            return Ok(None);
        }
        let size = self.bytes.len() as u64;
        let start = match range {
            ByteRange::Last(count) if !self.sends_all => size.saturating_sub(count),
            _ => 0,
        };
        let (etag, modified) = (ETag("e".into()), Timestamp::UNIX_EPOCH);
        let pieces = self.bytes[usize::try_from(start).unwrap()..].chunks(1_000);
        let mut pieces: Vec<_> = pieces.map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        if let Some(count) = self.cut_after {
            pieces.truncate(count);
            pieces.push(Err(StoreError::Unavailable("connection cut".into())));
        }
        let info = ObjectInfo { etag, size, modified };
        Ok(Some(Object { info, body: stream::iter(pieces).boxed() }))
    }
    async fn head(&self, _: &ObjectKey) -> Result<Option<ObjectInfo>, StoreError> {
        Ok(None)
    }
    fn list(&self, _: &str, _: Option<&str>) -> BoxStream<'_, Result<ListedObject, StoreError>> {
        stream::empty().boxed()
    }
    async fn delete(&self, _: &[ObjectKey]) -> Result<Vec<(ObjectKey, StoreError)>, StoreError> {
        Ok(Vec::new())
    }
    async fn time(&self) -> Result<Timestamp, StoreError> {
        Ok(Timestamp::UNIX_EPOCH)
    }
}

fn image() -> Vec<u8> {
    (0..100_000u32).flat_map(u32::to_le_bytes).collect()
}

fn backup(path: &[u8]) -> (OneObject, Footer) {
    let fields = FooterFields {
        volume: "v".parse().unwrap(),
        path: SourcePath::from_bytes(path),
        shard: ShardId(0),
        mode: 0o600,
        captured_at: Timestamp::UNIX_EPOCH,
        node: "n".parse().unwrap(),
        epoch: Epoch(1),
        check: CheckResult::Passed,
        fingerprint: None,
    };
    let (bytes, footer) = object::encode(&image(), fields).unwrap();
    (OneObject { bytes, ..OneObject::default() }, footer)
}

fn key() -> ObjectKey {
    ObjectKey::new("key").unwrap()
}

/// What was written can still be seen after the writer is gone.
#[derive(Debug, Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn an_image_comes_back_as_it_was() {
    let (store, expected) = backup(b"/data/t1.db");
    let (footer, info, written) = fetch(&store, &key(), Vec::new()).await.unwrap();
    assert_eq!((footer, written), (expected, image()));
    assert_eq!(info.size, store.bytes.len() as u64);
}

#[tokio::test]
async fn a_footer_needs_one_request_and_for_a_long_path_two() {
    let (store, expected) = backup(b"/data/t1.db");
    let (found, info) = footer(&store, &key()).await.unwrap();
    assert_eq!((found, info.size), (expected, store.bytes.len() as u64));
    assert_eq!(*store.ranges.lock().unwrap(), [ByteRange::Last(SUFFIX_BYTES)]);
    let (store, expected) = backup(&[b'\xff'; 4_000]);
    assert_eq!(footer(&store, &key()).await.unwrap().0, expected);
    assert_eq!(store.ranges.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn what_is_missing_foreign_or_cut_is_a_loss() {
    let (mut store, _) = backup(b"/data/t1.db");
    let missing = ObjectKey::new("missing").unwrap();
    assert!(matches!(footer(&store, &missing).await, Err(FetchError::Missing)));
    assert!(matches!(fetch(&store, &missing, io::sink()).await, Err(FetchError::Missing)));
    let whole = store.bytes.clone();
    let mut damaged = whole.clone();
    damaged[5_000] ^= 1;
    let foreign = b"hello".to_vec();
    let claims_more = [&u32::to_le_bytes(60_000)[..], b"USR1"].concat();
    for (bytes, has_footer) in [
        (whole[..whole.len() - 1].to_vec(), false),
        (whole[..9_000].to_vec(), false),
        (damaged, true),
        (foreign, false),
        (claims_more, false),
        (Vec::new(), false),
    ] {
        store.bytes = bytes;
        let error = fetch(&store, &key(), io::sink()).await.unwrap_err();
        assert!(error.is_loss() && matches!(error, FetchError::Damaged(_)), "{error:?}");
        match footer(&store, &key()).await {
            Ok(_) => assert!(has_footer),
            Err(error) => assert!(error.is_loss() && !has_footer, "{error:?}"),
        }
    }
}

#[tokio::test]
async fn a_broken_connection_is_the_stores_fault_and_no_loss() {
    let (mut store, _) = backup(b"/data/t1.db");
    store.cut_after = Some(2);
    for error in [
        fetch(&store, &key(), io::sink()).await.map(drop).unwrap_err(),
        footer(&store, &key()).await.map(drop).unwrap_err(),
    ] {
        let is_store = matches!(error, FetchError::Store(StoreError::Unavailable(_)));
        assert!(is_store && !error.is_loss(), "{error:?}");
    }
}

#[tokio::test]
async fn a_store_that_ignores_ranges_does_not_fill_the_memory() {
    let (mut store, _) = backup(b"/data/t1.db");
    store.sends_all = true;
    let error = footer(&store, &key()).await.unwrap_err();
    assert!(matches!(error, FetchError::Store(StoreError::Untrustworthy(_))), "{error:?}");
}

#[tokio::test]
async fn a_writer_that_fails_is_told_apart() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (store, _) = backup(b"/data/t1.db");
    match fetch(&store, &key(), Full).await.map(drop) {
        Err(FetchError::Write(error)) => assert_eq!(error.kind(), io::ErrorKind::StorageFull),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_dropped_fetch_does_not_look_complete() {
    let (sender, receiver) = mpsc::channel(1);
    let writer = Shared::default();
    let decoding = {
        let writer = writer.clone();
        tokio::task::spawn_blocking(move || decode_from(receiver, writer))
    };
    let (store, _) = backup(b"/data/t1.db");
    sender.send(Some(Ok(Bytes::from(store.bytes)))).await.unwrap();
    drop(sender);
    assert!(decoding.await.unwrap().is_err(), "given up, although every byte was there");
}
