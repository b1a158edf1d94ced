//! Listings: complete, each object once, in order within a folder.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::stream::{self, StreamExt};
use ultrasimple_store::{Condition, Store};

use crate::support::{names, noise, put};

async fn fill(store: &Arc<dyn Store>, keys: &[String]) {
    stream::iter(keys)
        .for_each_concurrent(32, |name| async move {
            put(&**store, name, &noise(1, 3), Condition::Always).await.unwrap();
        })
        .await;
}

/// Complete, without repetition, and sorted within each folder.
fn assert_listing(found: &[String], expected: &[String]) {
    let mut sorted = found.to_vec();
    sorted.sort_unstable();
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    assert_eq!(sorted, expected);
    let mut folders: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for key in found {
        let (folder, name) = key.rsplit_once('/').unwrap_or(("", key));
        folders.entry(folder).or_default().push(name);
    }
    for (folder, names) in folders {
        assert!(names.is_sorted(), "{folder}: {names:?}");
    }
}

pub async fn many_folders_are_listed(store: Arc<dyn Store>) {
    let keys: Vec<String> = [
        "a-b",
        "a.b",
        "a/b",
        "a/b-x",
        "a!b",
        "ab",
        "a0/x",
        "a/c/d",
        "a/c-d",
        "a/c.d",
        "A/z",
        "z",
        "é/x",
        "a-b2/x",
        ".ultrasimple/v1/cluster.json",
        ".ultrasimple/v1/catalog/v/0.jsonl.lz4",
    ]
    .map(str::to_owned)
    .into();
    fill(&store, &keys).await;
    assert_listing(&names(&*store, "", None).await, &keys);
    for prefix in ["a", "a/", "a/c", "a/c/", "a-", ".ultra", ".ultrasimple/v1/ca", "none", "é"] {
        let expected: Vec<String> =
            keys.iter().filter(|key| key.starts_with(prefix)).cloned().collect();
        assert_listing(&names(&*store, prefix, None).await, &expected);
    }
}

pub async fn a_listing_goes_on_behind_a_key(store: Arc<dyn Store>) {
    let keys: Vec<String> = (0..30)
        .map(|number| format!("tenants/t{}/t{}-{number:02}.db.lz4", number % 4, number % 4))
        .collect();
    fill(&store, &keys).await;
    let all = names(&*store, "", None).await;
    assert_listing(&all, &keys);
    for (position, key) in all.iter().enumerate() {
        let rest = names(&*store, "tenants/", Some(key)).await;
        assert_eq!(rest, all[position + 1..], "behind {key}");
    }
    // Within one folder a key need not be there.
    let found = names(&*store, "tenants/t1/", Some("tenants/t1/t1-06")).await;
    let expected: Vec<&String> =
        all.iter().filter(|key| key.starts_with("tenants/t1/") && key[11..] > *"t1-06").collect();
    assert_eq!(found.iter().collect::<Vec<_>>(), expected);
    assert_eq!(names(&*store, "tenants/t1/", Some("tenants/t1/~")).await, [""; 0]);
}

pub async fn long_listings(store: Arc<dyn Store>) {
    // More than a page of 1,000, in one folder and across folders.
    let mut keys: Vec<String> = (0..1_100).map(|number| format!("one/{number:05}")).collect();
    keys.extend((0..200).map(|number| format!("many/{}/{number:05}", number % 7)));
    fill(&store, &keys).await;
    assert_listing(&names(&*store, "", None).await, &keys);
    let one: Vec<String> = names(&*store, "one/", None).await;
    assert_eq!(one, keys[..1_100]);
    assert_eq!(names(&*store, "one/", Some("one/00049")).await, keys[50..1_100]);
    // A listing that is not read to its end does no harm.
    let first: Vec<_> = store.list("one/", None).take(3).collect().await;
    assert_eq!(first.len(), 3);
}
