//! A large body goes through in little memory. Alone in its process, whose peak it measures.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
#![allow(unreachable_pub, reason = "the modules of a test are its own")]

mod support;

use std::sync::Arc;

use futures::TryStreamExt;
use tokio::sync::mpsc;
use ultrasimple_store::{Body, ByteRange, Chunk, Condition, DirectoryStore, Store};

use support::{key, noise, seaweed};

const MIB: u64 = 1024 * 1024;
const BODY: u64 = 96 * MIB;
/// For the runtime, the SDK's client, and what the allocator keeps.
const SLACK: u64 = 24 * MIB;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_body_goes_through_in_little_memory() {
    let store = seaweed("").await;
    let limit = store.memory_per_stream() + SLACK;
    assert!(limit < BODY / 2);
    let before = peak();
    through(store).await;
    let grown = peak() - before;
    assert!(grown < limit, "{} MiB for a body of {} MiB", grown / MIB, BODY / MIB);

    let folder = tempfile::tempdir().unwrap();
    through(Arc::new(DirectoryStore::open(folder.path(), true).await.unwrap())).await;
    let grown = peak() - before;
    assert!(grown < limit, "{} MiB for a body of {} MiB", grown / MIB, BODY / MIB);
}

/// Writes and reads it, chunk by chunk.
async fn through(store: Arc<dyn Store>) {
    let (send, chunks) = mpsc::channel(1);
    let producer = tokio::spawn(async move {
        for number in 0..BODY / MIB {
            send.send(Chunk::Data(noise(number, 1024 * 1024))).await.unwrap();
        }
        send.send(Chunk::End).await.unwrap();
    });
    let stored = store.put(&key("large"), Body::Chunks(chunks), Condition::Absent).await.unwrap();
    producer.await.unwrap();
    assert_eq!(stored.size, BODY);
    let object = store.get(&key("large"), ByteRange::Full).await.unwrap().unwrap();
    let sum = |sum: u64, bytes: bytes::Bytes| async move { Ok(sum + bytes.len() as u64) };
    assert_eq!(object.body.try_fold(0, sum).await.unwrap(), BODY);
}

/// The most memory that this process has had, in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}
