//! Conditional writes: what rules R5 and R8 stand on.

use std::sync::Arc;

use futures::future::join_all;
use ultrasimple_store::{Condition, ETag, Store, StoreError};

use crate::support::{content, key, noise, put};

pub async fn a_write_if_absent(store: Arc<dyn Store>) {
    let (first, second) = (noise(1, 500), noise(2, 500));
    let stored = put(&*store, "object", &first, Condition::Absent).await.unwrap();
    let refused = put(&*store, "object", &second, Condition::Absent).await;
    assert!(matches!(refused, Err(StoreError::ConditionFailed)), "{refused:?}");
    assert_eq!(content(&*store, "object").await, first);
    assert_eq!(store.head(&key("object")).await.unwrap().unwrap().etag, stored.etag);
    // Once it is gone, it is absent again.
    store.delete(&[key("object")]).await.unwrap();
    put(&*store, "object", &second, Condition::Absent).await.unwrap();
    assert_eq!(content(&*store, "object").await, second);
}

pub async fn a_write_if_matching(store: Arc<dyn Store>) {
    let bodies: Vec<_> = (0..4).map(|seed| noise(seed, 500)).collect();
    let first = put(&*store, "object", &bodies[0], Condition::Absent).await.unwrap();
    let matching = Condition::Matches(first.etag.clone());
    let second = put(&*store, "object", &bodies[1], matching.clone()).await.unwrap();
    assert_eq!(content(&*store, "object").await, bodies[1]);

    let stale = put(&*store, "object", &bodies[2], matching).await;
    assert!(matches!(stale, Err(StoreError::ConditionFailed)), "{stale:?}");
    let foreign = Condition::Matches(ETag("\"foreign\"".into()));
    let foreign = put(&*store, "object", &bodies[2], foreign).await;
    assert!(matches!(foreign, Err(StoreError::ConditionFailed)), "{foreign:?}");
    assert_eq!(content(&*store, "object").await, bodies[1]);

    let missing = Condition::Matches(second.etag.clone());
    let missing = put(&*store, "missing", &bodies[2], missing).await;
    assert!(matches!(missing, Err(StoreError::ConditionFailed)), "{missing:?}");
    assert_eq!(store.head(&key("missing")).await.unwrap(), None);

    put(&*store, "object", &bodies[3], Condition::Always).await.unwrap();
    assert_eq!(content(&*store, "object").await, bodies[3]);
    put(&*store, "new", &bodies[3], Condition::Always).await.unwrap();
}

const WRITERS: u64 = 12;

/// Lets many write at once; the body of the one that won.
async fn race(store: &Arc<dyn Store>, condition: Condition) -> bytes::Bytes {
    let writers = (0..WRITERS).map(|writer| {
        let (store, condition) = (Arc::clone(store), condition.clone());
        tokio::spawn(async move {
            let body = noise(1_000 + writer, 300);
            put(&*store, "raced", &body, condition).await.map(|stored| (stored, body))
        })
    });
    let mut winner = None;
    for result in join_all(writers).await {
        match result.unwrap() {
            Ok((stored, body)) => {
                assert!(winner.is_none(), "two writers won");
                winner = Some((stored, body));
            }
            // 409 is S3's 'at the same time as another'.
            Err(StoreError::ConditionFailed | StoreError::Unavailable(_)) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    let (stored, body) = winner.expect("one must win");
    let head = store.head(&key("raced")).await.unwrap().unwrap();
    assert_eq!(head.etag, stored.etag);
    body
}

pub async fn one_of_many_writers_wins_an_absent_key(store: Arc<dyn Store>) {
    for _ in 0..3 {
        let body = race(&store, Condition::Absent).await;
        assert_eq!(content(&*store, "raced").await, body);
        store.delete(&[key("raced")]).await.unwrap();
    }
}

pub async fn one_of_many_writers_wins_a_known_object(store: Arc<dyn Store>) {
    let mut etag = put(&*store, "raced", &noise(1, 300), Condition::Absent).await.unwrap().etag;
    for round in 0..3 {
        let body = race(&store, Condition::Matches(etag)).await;
        assert_eq!(content(&*store, "raced").await, body);
        // Another content, so that the next round's winner cannot have this round's tag.
        let next = noise(2_000 + round, 301);
        etag = put(&*store, "raced", &next, Condition::Always).await.unwrap().etag;
    }
}

pub async fn each_version_has_its_tag(store: Arc<dyn Store>) {
    // Of the same size, as fast as it goes, and with deletions in between.
    let mut tags = Vec::new();
    for round in 0..30 {
        let stored = put(&*store, "object", &noise(round, 64), Condition::Always).await.unwrap();
        let head = store.head(&key("object")).await.unwrap().unwrap();
        assert_eq!(head.etag, stored.etag, "round {round}");
        tags.push(stored.etag);
        if round % 3 == 0 {
            store.delete(&[key("object")]).await.unwrap();
        }
    }
    let mut unique: Vec<&str> = tags.iter().map(|tag| &*tag.0).collect();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), tags.len(), "{tags:?}");
}
