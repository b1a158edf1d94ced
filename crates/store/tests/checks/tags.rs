//! Tags: a catalog compares those of its writes with those of listings, so all must be the same.

use std::sync::Arc;

use futures::StreamExt;
use ultrasimple_store::{Body, ByteRange, Chunk, Condition, Store, Stored};

use crate::support::{PART, THRESHOLD, key, listed, noise, streamed};

/// What get, head and list say of an object is what its write said.
async fn assert_same(store: &dyn Store, name: &str, written: &Stored, what: &str) {
    let head = store.head(&key(name)).await.unwrap().unwrap();
    assert_eq!((&head.etag, head.size), (&written.etag, written.size), "head: {what}");
    for range in [ByteRange::Full, ByteRange::Last(12), ByteRange::Last(0)] {
        let object = store.get(&key(name), range).await.unwrap().unwrap();
        assert_eq!(object.info.etag, written.etag, "get {range:?}: {what}");
        assert_eq!(object.info.size, written.size, "get {range:?}: {what}");
    }
    let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
    for prefix in [name, folder, ""] {
        let listed = listed(store, prefix, None).await;
        let listed = listed.iter().find(|object| object.key == name).unwrap();
        assert_eq!((&listed.etag, listed.size), (&written.etag, written.size), "list: {what}");
    }
}

/// The ways in which an object can be written: by how many bytes, and whether they are streamed.
const WAYS: [(&str, usize, bool); 5] = [
    ("empty", 0, false),
    ("at once", 40_000, false),
    ("streamed", 40_000, true),
    ("in parts", 2 * PART + 1, false),
    ("streamed in parts", THRESHOLD + 1, true),
];

pub async fn a_tag_is_the_same_wherever_it_is_told(store: Arc<dyn Store>) {
    let name = "folder/t1/t1-20240115-140000.db.lz4";
    let mut seed = 0;
    let mut current: Option<Stored> = None;
    // Each way overwrites each other way.
    for first in WAYS {
        for second in WAYS {
            for (way, size, is_streamed) in [first, second] {
                seed += 1;
                let body = match noise(seed, size) {
                    bytes if is_streamed => streamed(bytes, 300_000, Some(Chunk::End)),
                    bytes => Body::Bytes(bytes),
                };
                // Once on condition that it is still what a listing said, once whatever is there.
                let condition = match &current {
                    None => Condition::Absent,
                    Some(_) if seed % 2 == 0 => Condition::Always,
                    Some(_) => {
                        let listed = store.list(name, None).next().await.unwrap().unwrap();
                        Condition::Matches(listed.etag)
                    }
                };
                let what = format!("write {seed} ({way}), {condition:?}");
                let stored = store.put(&key(name), body, condition).await.expect(&what);
                if size > 0 {
                    let old = current.as_ref().map(|stored| &stored.etag);
                    assert_ne!(Some(&stored.etag), old, "{what}");
                }
                assert_same(&*store, name, &stored, &what).await;
                current = Some(stored);
            }
        }
    }
}
