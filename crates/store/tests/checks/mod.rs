//! The checks of the conformance suite. Each gets an empty store.

mod conditions;
mod listing;
mod streams;
mod tags;

pub use conditions::*;
pub use listing::*;
pub use streams::*;
pub use tags::*;

use std::sync::Arc;

use bytes::Bytes;
use ultrasimple_core::ObjectKey;
use ultrasimple_store::{ByteRange, Capabilities, Condition, Store, StoreError, probe};

use crate::support::{content, key, listed, names, noise, put, read};

pub async fn what_is_put_is_got(store: Arc<dyn Store>) {
    let before = jiff_now();
    for (name, length) in [("empty", 0), ("one", 1), ("some", 8_192), ("more", 200_001)] {
        let body = noise(length as u64, length);
        let stored = put(&*store, name, &body, Condition::Absent).await.unwrap();
        assert_eq!(stored.size, length as u64, "{name}");

        let object = store.get(&key(name), ByteRange::Full).await.unwrap().unwrap();
        let info = object.info.clone();
        assert_eq!(info.etag, stored.etag, "{name}");
        assert_eq!(info.size, length as u64, "{name}");
        assert!((info.modified.as_second() - before).abs() < 3_600, "{name}: {}", info.modified);
        assert_eq!(read(object).await.unwrap(), body, "{name}");

        let head = store.head(&key(name)).await.unwrap().unwrap();
        assert_eq!((&head.etag, head.size), (&info.etag, info.size), "{name}");
        assert_eq!(head.modified.as_second(), info.modified.as_second(), "{name}");

        let listed = listed(&*store, name, None).await;
        assert_eq!(listed.len(), 1, "{name}: {listed:?}");
        assert_eq!((listed[0].key.as_str(), listed[0].size), (name, length as u64));
        assert_eq!(listed[0].etag, info.etag, "{name}");
        assert_eq!(listed[0].modified.as_second(), info.modified.as_second(), "{name}");
    }
}

fn jiff_now() -> i64 {
    use ultrasimple_core::{Clock, SystemClock};
    SystemClock.now().as_second()
}

pub async fn the_time_is_told(store: Arc<dyn Store>) {
    // Of a bucket without anything of ours in it, and of one with the file that is asked about.
    for round in 0..2 {
        let told = store.time().await.unwrap();
        assert!((told.as_second() - jiff_now()).abs() < 180, "{round}: {told}");
        // It leaves nothing.
        assert_eq!(names(&*store, "", None).await.len(), round);
        let cluster_file = ".ultrasimple/v1/cluster.json";
        put(&*store, cluster_file, &noise(1, 10), Condition::Always).await.unwrap();
    }
}

pub async fn what_is_not_there(store: Arc<dyn Store>) {
    for missing in ["a", "a/b/c", ".ultrasimple/v1/cluster.json"] {
        assert!(store.get(&key(missing), ByteRange::Full).await.unwrap().is_none());
        assert!(store.get(&key(missing), ByteRange::Last(4)).await.unwrap().is_none());
        assert_eq!(store.head(&key(missing)).await.unwrap(), None);
        assert!(store.delete(&[key(missing)]).await.unwrap().is_empty());
        assert_eq!(names(&*store, missing, None).await, [""; 0]);
    }
    assert!(store.delete(&[]).await.unwrap().is_empty());
    // What is before a slash is no object.
    put(&*store, "a/b/c", &noise(1, 10), Condition::Absent).await.unwrap();
    for folder in ["a", "a/b", "a/b/c/d"] {
        assert_eq!(store.head(&key(folder)).await.unwrap(), None, "{folder}");
        assert!(store.get(&key(folder), ByteRange::Full).await.unwrap().is_none(), "{folder}");
        assert!(store.delete(&[key(folder)]).await.unwrap().is_empty(), "{folder}");
    }
    assert_eq!(names(&*store, "", None).await, ["a/b/c"]);
}

pub async fn odd_keys(store: Arc<dyn Store>) {
    let odd = [
        "with space",
        " leading",
        "plus+plus",
        "per%cent",
        "%41",
        "a%2Fb",
        "quo\"te",
        "apo'strophe",
        "til~de",
        "amp&er",
        "le<ss",
        "gr>eater",
        "que?stion",
        "ha#sh",
        "semi;colon",
        "eq=ual",
        "co:lon",
        "at@at",
        "dol$lar",
        "com,ma",
        "star*",
        "ex!clam",
        "(paren)",
        "[brack]",
        "{brace}",
        "ca^ret",
        "pi|pe",
        "back`tick",
        "é",
        "日本語/データベース",
        "🦀",
        "nfd-e\u{301}",
        "...",
        "..a",
        "a..",
        ".hidden",
        "-dash",
        "CASE",
        "case",
        "dots.in.name/f.db",
    ];
    for (number, name) in odd.iter().enumerate() {
        let body = noise(number as u64, 50);
        put(&*store, name, &body, Condition::Absent)
            .await
            .unwrap_or_else(|e| panic!("{name}: {e}"));
    }
    for (number, name) in odd.iter().enumerate() {
        assert_eq!(content(&*store, name).await, noise(number as u64, 50), "{name}");
        assert!(store.head(&key(name)).await.unwrap().is_some(), "{name}");
        let found = names(&*store, name, None).await;
        assert!(found.iter().any(|found| found == name), "{name}: {found:?}");
    }
    let mut expected: Vec<&str> = odd.to_vec();
    expected.sort_unstable();
    let mut found = names(&*store, "", None).await;
    found.sort_unstable();
    assert_eq!(found, expected);
    let keys: Vec<ObjectKey> = odd.iter().map(|name| key(name)).collect();
    assert!(store.delete(&keys).await.unwrap().is_empty());
    assert_eq!(names(&*store, "", None).await, [""; 0]);
}

pub async fn long_keys(store: Arc<dyn Store>) {
    let component = "k".repeat(200);
    let longest = format!("{component}/").repeat(6);
    let longest = &longest[..store.max_key_bytes()];
    let longest = format!("{}z", &longest[..longest.len() - 1]);
    let body = noise(7, 100);
    put(&*store, &longest, &body, Condition::Absent).await.unwrap();
    assert_eq!(content(&*store, &longest).await, body);
    assert_eq!(names(&*store, "", None).await, [longest.as_str()]);
    assert!(store.delete(&[key(&longest)]).await.unwrap().is_empty());
    assert_eq!(store.head(&key(&longest)).await.unwrap(), None);
    // Longer than the store can: the core refuses beyond 1,024, the store what its prefix takes.
    if let Ok(too_long) = ObjectKey::new(format!("{longest}z")) {
        let refused =
            store.put(&too_long, ultrasimple_store::Body::Bytes(body.clone()), Condition::Absent);
        assert!(matches!(refused.await, Err(StoreError::Invalid(_))));
    }
}

pub async fn ends_of_objects(store: Arc<dyn Store>) {
    let body = noise(3, 10_000);
    let stored = put(&*store, "object", &body, Condition::Absent).await.unwrap();
    for last in [0, 1, 12, 9_999, 10_000, 10_001, u64::from(u32::MAX)] {
        let object = store.get(&key("object"), ByteRange::Last(last)).await.unwrap().unwrap();
        assert_eq!((object.info.size, &object.info.etag), (10_000, &stored.etag), "last {last}");
        let from = 10_000_usize.saturating_sub(usize::try_from(last).unwrap());
        assert_eq!(read(object).await.unwrap(), body.slice(from..), "last {last}");
    }
    put(&*store, "empty", &Bytes::new(), Condition::Absent).await.unwrap();
    for last in [0, 1, 100] {
        let object = store.get(&key("empty"), ByteRange::Last(last)).await.unwrap().unwrap();
        assert_eq!(object.info.size, 0);
        assert_eq!(read(object).await.unwrap(), Bytes::new());
    }
}

pub async fn many_are_deleted(store: Arc<dyn Store>) {
    for number in 0..20 {
        let name = format!("folder-{}/object-{number}", number % 3);
        put(&*store, &name, &noise(number, 10), Condition::Absent).await.unwrap();
    }
    put(&*store, "kept", &noise(99, 10), Condition::Absent).await.unwrap();
    // 980 that are not there, and 20 that are.
    let keys: Vec<ObjectKey> =
        (0..1_000).map(|number| key(&format!("folder-{}/object-{number}", number % 3))).collect();
    assert!(store.delete(&keys).await.unwrap().is_empty());
    assert_eq!(names(&*store, "", None).await, ["kept"]);
    let too_many: Vec<ObjectKey> = (0..1_001).map(|n| key(&format!("object-{n}"))).collect();
    assert!(matches!(store.delete(&too_many).await, Err(StoreError::Invalid(_))));
}

pub async fn probing(store: Arc<dyn Store>) {
    let all = Capabilities { put_if_absent: true, put_if_matches: true };
    assert_eq!(store.capabilities(), all);
    let report = probe(&*store).await.unwrap();
    assert_eq!(report.capabilities, all);
    assert_eq!(store.capabilities(), all);
    // It leaves nothing.
    assert_eq!(names(&*store, "", None).await, [""; 0]);
}
