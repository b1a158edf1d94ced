use ultrasimple_store::DirectoryStore;

use super::*;

async fn bucket() -> (tempfile::TempDir, Arc<dyn Store>) {
    let folder = tempfile::tempdir().unwrap();
    let store = DirectoryStore::open(&folder.path().join("bucket"), true).await.unwrap();
    (folder, Arc::new(store))
}

fn node(name: &str) -> Holder {
    Holder::Node(name.parse().unwrap())
}

fn fleet(name: &str) -> Holder {
    Holder::Fleet(name.to_owned())
}

async fn generation(store: &Arc<dyn Store>, holder: &Holder) -> u64 {
    take(store, 4, holder, None).await.unwrap().generation
}

#[tokio::test]
async fn whoever_takes_a_bucket_from_somebody_else_raises_its_generation() {
    let (_folder, store) = bucket().await;
    let first = take(&store, 4, &node("n1"), None).await.unwrap();
    assert!(first.is_new && first.generation == 1);
    let mut last = 1;
    for (holder, raises) in [
        (node("n1"), true),
        (node("n2"), true),
        (fleet("f1"), true),
        // All nodes of a fleet are one.
        (fleet("f1"), false),
        (fleet("f2"), true),
        (node("n1"), true),
        (fleet("f2"), true),
    ] {
        let taken = take(&store, 4, &holder, None).await.unwrap();
        assert_eq!(taken.generation, last + u64::from(raises), "{holder}");
        assert_eq!((&taken.bucket, taken.is_new), (&first.bucket, false));
        last = taken.generation;
    }
    let other = take(&store, 8, &fleet("f2"), None).await.unwrap_err();
    assert!(matches!(other, StartError::OtherShards { theirs: 4, ours: 8 }));
}

#[tokio::test]
async fn a_fleet_goes_on_with_a_greater_generation_unless_another_has_the_bucket() {
    let (_folder, store) = bucket().await;
    let ours = fleet("f1");
    let first = generation(&store, &ours).await;
    let again = |had, by| {
        let (store, ours) = (Arc::clone(&store), ours.clone());
        async move { take_again(&store, 4, &ours, None, had, by).await }
    };
    // etcd counts from an earlier revision again.
    let raised = again(first, Epoch::new(first, 900)).await.unwrap();
    assert_eq!(raised, first + 1);
    // Another node of ours has found that out already.
    assert_eq!(again(first, Epoch::new(first, 901)).await.unwrap(), raised);
    // The bucket has something of a generation that its cluster file does not know.
    assert_eq!(again(raised, Epoch::new(raised + 5, 0)).await.unwrap(), raised + 6);
    let later = generation(&store, &node("n1")).await;
    let lost = again(raised + 6, Epoch::new(later, 0)).await.unwrap_err();
    assert!(matches!(&lost, NotOurs::Taken(holder) if *holder == node("n1")), "{lost}");
}

#[tokio::test]
async fn a_bucket_that_lost_its_name_gets_it_again_and_an_empty_one_is_another() {
    let (folder, store) = bucket().await;
    let empty = take(&store, 4, &fleet("f1"), Some("b7")).await.unwrap_err();
    assert!(matches!(empty, StartError::OtherBucket), "{empty}");
    assert_eq!(bucket_name(&*store).await.unwrap(), None);
    // A catalog shows that it is in use.
    let key = ultrasimple_core::ShardKey {
        volume: "default".parse().unwrap(),
        shard: ultrasimple_core::ShardId(1),
    };
    let author = ultrasimple_keeper::Author {
        node: "n1".parse().unwrap(),
        epoch: Some(Epoch::new(7, 3)),
        shards: 4,
        now: ultrasimple_core::Timestamp::UNIX_EPOCH,
        is_final: false,
    };
    catalogs::update(&*store, &key, &author, &[]).await.unwrap();
    let taken = take(&store, 4, &fleet("f1"), Some("b7")).await.unwrap();
    assert_eq!((taken.bucket.as_str(), taken.generation, taken.is_new), ("b7", 8, false));
    assert_eq!(bucket_name(&*store).await.unwrap().as_deref(), Some("b7"));
    drop(folder);
}

#[tokio::test]
async fn a_cluster_file_that_is_lost_is_made_anew_above_the_fence() {
    let (_folder, store) = bucket().await;
    let ours = fleet("f");
    generation(&store, &ours).await;
    store.delete(&[ClusterFile::key()]).await.unwrap();
    let next = take_again(&store, 4, &ours, None, 1, Epoch::new(1, 5)).await.unwrap();
    assert_eq!(next, 2);
}
