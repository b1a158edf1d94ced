//! Bodies that come piece by piece, around the sizes at which they are stored in another way.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use ultrasimple_store::{Body, Chunk, Condition, Store, StoreError};

use crate::support::{PART, THRESHOLD, content, key, names, noise, put, streamed};

pub async fn streamed_bodies_of_any_size(store: Arc<dyn Store>) {
    let sizes =
        [0, 1, PART, THRESHOLD - 1, THRESHOLD, THRESHOLD + 1, 2 * PART, 3 * PART - 1, 3 * PART + 1];
    for (number, size) in sizes.into_iter().enumerate() {
        for piece in [65_521, THRESHOLD] {
            let name = format!("streamed/{size}-{piece}");
            let body = noise(number as u64, size);
            let sent = streamed(body.clone(), piece, Some(Chunk::End));
            let stored = store.put(&key(&name), sent, Condition::Absent).await.unwrap();
            assert_eq!(stored.size, size as u64, "{name}");
            let head = store.head(&key(&name)).await.unwrap().unwrap();
            assert_eq!((head.size, head.etag), (size as u64, stored.etag), "{name}");
            assert!(content(&*store, &name).await == body, "{name} differs");
        }
        // The same in one piece.
        let (name, body) = (format!("whole/{size}"), noise(number as u64, size));
        let stored = put(&*store, &name, &body, Condition::Absent).await.unwrap();
        assert_eq!(stored.size, size as u64, "{name}");
        assert!(content(&*store, &name).await == body, "{name} differs");
    }
}

pub async fn conditions_hold_for_streamed_bodies(store: Arc<dyn Store>) {
    for size in [1_000, 2 * PART] {
        let name = format!("object-{size}");
        let send = |seed, condition| {
            let body = streamed(noise(seed, size), 500_000, Some(Chunk::End));
            let (store, key) = (Arc::clone(&store), key(&name));
            async move { store.put(&key, body, condition).await }
        };
        let first = send(1, Condition::Absent).await.unwrap();
        let refused = send(2, Condition::Absent).await;
        assert!(matches!(refused, Err(StoreError::ConditionFailed)), "{size}: {refused:?}");
        let second = send(3, Condition::Matches(first.etag.clone())).await.unwrap();
        assert_ne!(first.etag, second.etag);
        let refused = send(4, Condition::Matches(first.etag)).await;
        assert!(matches!(refused, Err(StoreError::ConditionFailed)), "{size}: {refused:?}");
        assert!(content(&*store, &name).await == noise(3, size));
        send(5, Condition::Always).await.unwrap();
        assert!(content(&*store, &name).await == noise(5, size));
    }
}

pub async fn a_producer_that_fails_stores_nothing(store: Arc<dyn Store>) {
    let old = noise(1, 100);
    put(&*store, "old", &old, Condition::Absent).await.unwrap();
    for size in [0, 1_000, THRESHOLD, 3 * PART] {
        for name in ["old", "new"] {
            let body = streamed(noise(2, size), 100_000, None);
            let failed = store.put(&key(name), body, Condition::Always).await;
            assert!(matches!(failed, Err(StoreError::BodyFailed(_))), "{size}: {failed:?}");
        }
    }
    assert_eq!(content(&*store, "old").await, old);
    assert_eq!(names(&*store, "", None).await, ["old"]);
}

pub async fn a_write_that_is_not_waited_for(store: Arc<dyn Store>) {
    for size in [0, 1_000, 3 * PART] {
        let (send, chunks) = mpsc::channel(1);
        let writing = {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                store.put(&key("given-up"), Body::Chunks(chunks), Condition::Absent).await
            })
        };
        for piece in noise(3, size).chunks(100_000) {
            send.send(Chunk::Data(Bytes::copy_from_slice(piece))).await.unwrap();
        }
        writing.abort();
        assert!(writing.await.unwrap_err().is_cancelled());
        // Nobody takes the end any more.
        tokio::time::timeout(Duration::from_secs(20), send.closed()).await.unwrap();
        assert_eq!(store.head(&key("given-up")).await.unwrap(), None, "{size}");
    }
    assert_eq!(names(&*store, "", None).await, [""; 0]);
}

pub async fn slow_producers_do_not_disturb_others(store: Arc<dyn Store>) {
    // More than there are threads, none of them with an end yet.
    let mut waiting = Vec::new();
    for number in 0..40 {
        let (send, chunks) = mpsc::channel(1);
        let store = Arc::clone(&store);
        let name = format!("slow/{number}");
        let writing = tokio::spawn(async move {
            store.put(&key(&name), Body::Chunks(chunks), Condition::Absent).await
        });
        send.send(Chunk::Data(noise(number, 10))).await.unwrap();
        waiting.push((send, writing));
    }
    let body = noise(9, 10);
    let quick = put(&*store, "quick", &body, Condition::Absent);
    tokio::time::timeout(Duration::from_secs(20), quick).await.unwrap().unwrap();
    for (send, writing) in waiting {
        send.send(Chunk::End).await.unwrap();
        writing.await.unwrap().unwrap();
    }
    assert_eq!(names(&*store, "slow/", None).await.len(), 40);
}
