//! Who gets which generation of a bucket.

use tempfile::TempDir;
use ultrasimple_store::DirectoryStore;

use super::*;

const SHARDS: u32 = 4;

async fn store() -> (TempDir, Arc<dyn Store>) {
    let folder = tempfile::tempdir().unwrap();
    let store = DirectoryStore::open(folder.path().join("bucket"), true).await.unwrap();
    (folder, Arc::new(store))
}

fn fleet(name: &str) -> Holder {
    Holder::Fleet(name.to_owned())
}

async fn generation(store: &Arc<dyn Store>, holder: &Holder) -> u64 {
    take(store, SHARDS, holder).await.unwrap().generation
}

#[tokio::test]
async fn a_fleet_keeps_its_generation_and_everybody_else_raises_it() {
    let (_folder, store) = store().await;
    let node = Holder::Node("n".parse().unwrap());
    let first = take(&store, SHARDS, &fleet("f")).await.unwrap();
    assert_eq!((first.generation, first.is_new), (1, true));
    let second = take(&store, SHARDS, &fleet("f")).await.unwrap();
    assert_eq!((second.generation, second.is_new, &second.bucket), (1, false, &first.bucket));
    assert_eq!(generation(&store, &node).await, 2);
    assert_eq!(generation(&store, &node).await, 3, "each start of a node without etcd");
    assert_eq!(generation(&store, &fleet("f")).await, 4);
    assert_eq!(generation(&store, &fleet("g")).await, 5, "an etcd that was set up anew");
    let other = take(&store, SHARDS + 1, &fleet("g")).await.unwrap_err();
    assert!(matches!(other, StartError::OtherShards { theirs: SHARDS, .. }), "{other}");
}

#[tokio::test]
async fn after_a_fence_a_fleet_goes_on_with_a_greater_generation() {
    let (_folder, store) = store().await;
    let ours = fleet("f");
    assert_eq!(generation(&store, &ours).await, 1);
    let again = async |generation, by| take_again(&store, SHARDS, &ours, generation, by).await;
    // etcd counts from an earlier revision again: nobody has raised it yet.
    assert_eq!(again(1, Epoch::new(1, 900)).await.unwrap(), 2);
    // Another node, which asks later, goes on with that; and so it does if it asks twice.
    assert_eq!(again(1, Epoch::new(1, 900)).await.unwrap(), 2);
    assert_eq!(again(1, Epoch::new(2, 7)).await.unwrap(), 2);
    assert_eq!(generation(&store, &ours).await, 2, "it is in the bucket");
    // What is in the bucket is later than its cluster file, which was put back.
    assert_eq!(again(2, Epoch::new(9, 1)).await.unwrap(), 10);
}

#[tokio::test]
async fn after_a_fence_a_bucket_of_somebody_else_is_left_alone() {
    let (_folder, store) = store().await;
    let (ours, node) = (fleet("f"), Holder::Node("n".parse().unwrap()));
    generation(&store, &ours).await;
    let theirs = generation(&store, &node).await;
    let error = take_again(&store, SHARDS, &ours, 1, Epoch::new(theirs, 0)).await.unwrap_err();
    assert!(
        error.to_string().contains("taken over by the node n, which runs without etcd"),
        "{error}"
    );
    assert!(matches!(error, NotOurs::Taken(_)));
    assert_eq!(generation(&store, &node).await, theirs + 1, "nothing was raised");
}

#[tokio::test]
async fn a_cluster_file_that_is_lost_is_made_anew_above_the_fence() {
    let (_folder, store) = store().await;
    let ours = fleet("f");
    generation(&store, &ours).await;
    store.delete(&[ClusterFile::key()]).await.unwrap();
    let next = take_again(&store, SHARDS, &ours, 1, Epoch::new(1, 5)).await.unwrap();
    assert_eq!(next, 2);
}
