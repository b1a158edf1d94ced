//! The bucket and the catalogs compared: what differs is mended, and what does not costs nothing.

use ultrasimple_core::catalog::{Edit, HeldHour};
use ultrasimple_core::{BackupKey, Epoch, ShardId, ShardKey};
use ultrasimple_keeper::catalogs;
use ultrasimple_keeper::reconcile::{self, Budget, Pass, ReconcileReport};
use ultrasimple_store::{Store as _, StoreError};

use crate::rebuild::newer_catalog;
use crate::world::{
    World, at, backup, catalog_key, etag, hour, key, newer, numbers, owner, path, stem, tool,
    volume,
};

/// When passes begin here: hours up to 97 are over for long enough.
const NOW: i64 = 100;

pub(crate) async fn pass(world: &World) -> ReconcileReport {
    let mut budget = Budget(u64::MAX);
    let mut pass = Pass::begin(&world.store, at(NOW), &mut budget).await.unwrap();
    let report = pass.go_on(&world.store, &owner(99), &mut budget).await.unwrap();
    report.expect("the budget is large")
}

fn is_quiet(report: &ReconcileReport) -> bool {
    *report == ReconcileReport::default()
}

async fn of_three() -> World {
    let world = World::new().await;
    let mut backups = Vec::new();
    for name in ["t1", "t2", "t3"] {
        backups.extend((1..=3).map(|number| backup(name, number)));
    }
    world.store_and_write(&backups).await;
    world
}

#[tokio::test]
async fn an_equal_bucket_costs_the_listing_and_the_catalogs_and_no_write() {
    let world = World::new().await;
    let mut backups: Vec<_> = (1..=80).map(|number| backup("t1", number)).collect();
    for name in 2..=14 {
        backups.extend((1..=75).map(|number| backup(&format!("t{name}"), number)));
    }
    backups.push(backup("u1", 5).on("v2"));
    // A key that two databases have had: each is in the catalog of its own shard.
    backups.push(backup("t1", 81).of("/data/else/where/t1.db"));
    world.store_and_write(&backups).await;
    let catalogs = world.catalogs().await;
    let (requests, puts) = (world.requests(), world.store.requests().puts);
    assert!(is_quiet(&pass(&world).await));
    let objects = backups.len() + catalogs.len();
    assert!((1_001..2_000).contains(&objects));
    assert_eq!(world.requests() - requests, 1 + catalogs.len() as u64 + 2);
    assert_eq!(world.store.requests().puts, puts);
    let mut budget = Budget(1_000);
    let mut pass = Pass::begin(&world.store, at(NOW), &mut budget).await.unwrap();
    pass.go_on(&world.store, &owner(1), &mut budget).await.unwrap().unwrap();
    assert_eq!(budget.0, 1_000 - (1 + catalogs.len() as u64 + 2), "and that is what is paid");
}

#[tokio::test]
async fn every_difference_is_found_and_mended_once() {
    let world = of_three().await;
    let quiet = world.records().await[&stem("t3")].clone();
    world.put(&backup("t1", 4)).await;
    world.remove(&key("t1", 1)).await;
    world.put(&backup("t2", 2).containing(b"replaced")).await;
    let requests = world.requests();
    let report = pass(&world).await;
    let spent = world.requests() - requests;
    assert_eq!(report.found, [key("t1", 4), key("t2", 2)]);
    assert_eq!(report.missing, [key("t1", 1)]);
    assert!(report.foreign.is_empty() && report.failed.is_empty());
    // The catalogs listed and read twice, the listing; of each of two databases a listing and a footer; and of
    // each catalog that changed a read and a write.
    let shards = world.catalogs().await.len() as u64;
    assert_eq!(spent, 2 * (1 + shards) + 1 + 2 * 2 + 2 * report.changed.len() as u64);
    let records = world.records().await;
    let record = &records[&stem("t1")];
    assert_eq!(numbers(record), [2, 3, 4]);
    assert_eq!(record.newest.as_ref().unwrap().hour(), hour(4));
    assert_eq!(record.fingerprint, None, "it was of the state before");
    let record = &records[&stem("t2")];
    assert_eq!(numbers(record), [1, 2, 3]);
    assert!(record.fingerprint.is_some(), "the newest is as it was");
    assert_eq!(records[&stem("t3")], quiet);
    let changed = &world.catalogs().await[report.changed.first().unwrap()];
    assert_eq!(changed.reconciled_at, Some(owner(1).now));
    assert!(is_quiet(&pass(&world).await));
}

#[tokio::test]
async fn a_lost_newest_is_not_taken_for_stored() {
    for replacement in [None, Some(b"text".to_vec()), Some(backup("t1", 1).object().0)] {
        let world = of_three().await;
        world.remove(&key("t1", 3)).await;
        let is_missing = replacement.is_none();
        if let Some(bytes) = replacement {
            world.put_bytes(&key("t1", 3).object_key(), bytes).await;
        }
        let report = pass(&world).await;
        assert_eq!(
            (report.missing.len(), report.foreign.len()),
            if is_missing { (1, 0) } else { (0, 1) }
        );
        let record = &world.records().await[&stem("t1")];
        assert_eq!((numbers(record), record.fingerprint), (vec![1, 2], None));
        let newest = record.newest.as_ref().map(ultrasimple_core::catalog::Newest::hour);
        assert!(newest.is_none_or(|newest| newest == hour(2)));
        // Its owner, who has not heard of it, cannot bring it back.
        let heard_nothing = ultrasimple_core::catalog::Change {
            stem: stem("t1"),
            path: path("/data/t1.db"),
            stored: Vec::new(),
            fingerprint: Some((
                backup("t1", 3).fingerprint(),
                ultrasimple_core::ContentHash::of(&backup("t1", 3).content).short(),
            )),
            failed_check: None,
            gone_since: None,
        };
        let shard = catalog_key(&volume(), &path("/data/t1.db"));
        world.update(&shard, &owner(1), &[Edit::Change(heard_nothing)]).await;
        assert_eq!(world.records().await[&stem("t1")].fingerprint, None);
    }
}

#[tokio::test]
async fn a_database_without_any_object_left_is_forgotten() {
    let world = of_three().await;
    for number in 1..=3 {
        world.remove(&key("t2", number)).await;
    }
    assert_eq!(pass(&world).await.missing.len(), 3);
    assert!(!world.records().await.contains_key(&stem("t2")));
}

#[tokio::test]
async fn what_no_catalog_knows_is_taken_up() {
    let world = of_three().await;
    for number in [5, 6] {
        world.put(&backup("new", number)).await;
        world.put(&backup("other", number).on("v2")).await;
    }
    // The newest is not readable, and nobody's.
    world.put(&backup("cut", 5)).await;
    world.put_bytes(&key("cut", 6).object_key(), b"cut".to_vec()).await;
    world.put_bytes(&key("strange", 6).object_key(), b"text".to_vec()).await;
    let report = pass(&world).await;
    assert_eq!((report.found.len(), report.foreign.len()), (6, 1));
    assert_eq!(report.foreign[0].0, key("strange", 6));
    let records = world.records().await;
    assert_eq!(numbers(&records[&stem("new")]), [5, 6]);
    assert_eq!(records[&stem("new")].newest.as_ref().unwrap().hour(), hour(6));
    assert_eq!(
        (numbers(&records[&stem("cut")]), &records[&stem("cut")].newest),
        (vec![5, 6], &None)
    );
    let shard = catalog_key(&"v2".parse().unwrap(), &path("/data/other.db"));
    assert!(world.catalogs().await[&shard].databases.contains_key(&stem("other")));
    let again = pass(&world).await;
    assert_eq!((again.found.len(), again.changed.len()), (0, 0));
}

#[tokio::test]
async fn hours_that_catalogs_may_not_know_yet_are_left_alone() {
    let world = World::new().await;
    let all = [backup("t1", 97), backup("t1", 98), backup("t1", 100)];
    world.store_and_write(&all).await;
    let before = world.catalogs().await;
    // Newer than the catalog in every way.
    world.put(&backup("t1", 98).containing(b"again")).await;
    world.put(&backup("t1", 99)).await;
    world.remove(&key("t1", 100)).await;
    world.put(&backup("t2", 98)).await;
    assert!(is_quiet(&pass(&world).await));
    assert_eq!(world.catalogs().await, before);
    // Not even where something else differs.
    world.remove(&key("t1", 97)).await;
    let report = pass(&world).await;
    assert_eq!((report.missing, report.found), (vec![key("t1", 97)], vec![]));
    assert_eq!(numbers(&world.records().await[&stem("t1")]), [98, 100]);
}

#[tokio::test]
async fn what_is_foreign_leaves_the_catalog_but_what_is_newer_stays() {
    let world = of_three().await;
    world.put_bytes(&key("t1", 1).object_key(), b"text".to_vec()).await;
    world.put(&backup("t1", 2).of("/data/t2.db")).await;
    world.put_bytes(&key("t2", 1).object_key(), newer(&backup("t2", 1).object().0)).await;
    world.put_bytes(&key("t3", 1).object_key(), backup("t3", 2).object().0).await;
    let report = pass(&world).await;
    let foreign: Vec<_> = report.foreign.iter().map(|(key, _)| key.clone()).collect();
    assert_eq!(sorted(foreign), [key("t1", 1), key("t1", 2), key("t2", 1), key("t3", 1)]);
    let records = world.records().await;
    assert_eq!(numbers(&records[&stem("t1")]), [3]);
    assert_eq!(numbers(&records[&stem("t2")]), [1, 2, 3]);
    assert_eq!(numbers(&records[&stem("t3")]), [2, 3]);
}

fn sorted(mut keys: Vec<BackupKey>) -> Vec<BackupKey> {
    keys.sort();
    keys
}

#[tokio::test]
async fn no_shard_is_taken_from_its_owner() {
    let world = of_three().await;
    let shard = catalog_key(&volume(), &path("/data/t1.db"));
    world.update(&shard, &owner(3), &[]).await;
    world.remove(&key("t1", 1)).await;
    assert_eq!(pass(&world).await.changed.len(), 1);
    assert_eq!(world.catalogs().await[&shard].epoch, Epoch(3));
    world.update(&shard, &owner(3), &[]).await;
}

#[tokio::test]
async fn catalogs_that_cannot_be_used() {
    let world = of_three().await;
    let expected = world.records().await.len();
    let shard = catalog_key(&volume(), &path("/data/t1.db"));
    world.put_bytes(&shard.object_key(), b"junk".to_vec()).await;
    let report = pass(&world).await;
    assert!(report.failed.contains_key(&shard) && report.changed.contains(&shard));
    assert_eq!(world.records().await.len(), expected, "it was made anew");

    world.put_bytes(&shard.object_key(), newer_catalog()).await;
    world.put(&backup("new", 1)).await;
    let report = pass(&world).await;
    assert_eq!(report.failed.keys().collect::<Vec<_>>(), [&shard]);
    assert!(report.found.is_empty(), "what it knows cannot be told from what nobody knows");
}

#[tokio::test]
async fn what_was_written_since_the_pass_began_is_not_looked_at() {
    let world = of_three().await;
    let mut budget = Budget(u64::MAX);
    let mut pass = Pass::begin(&world.store, at(NOW), &mut budget).await.unwrap();
    // Retention deletes, and says so in time.
    world.remove(&key("t1", 1)).await;
    let shard = catalog_key(&volume(), &path("/data/t1.db"));
    let gone = Edit::Gone { stem: stem("t1"), hour: hour(1) };
    world.update(&shard, &owner(1), &[gone]).await;
    let lists = world.store.requests().lists;
    let report = pass.go_on(&world.store, &owner(1), &mut budget).await.unwrap().unwrap();
    assert!(is_quiet(&report));
    assert_eq!(world.store.requests().lists - lists, 2, "the bucket, and the catalogs again");
}

#[tokio::test]
async fn a_pass_goes_on_after_a_failure_and_nothing_found_is_lost() {
    let world = of_three().await;
    for name in ["t1", "t2", "t3"] {
        world.put(&backup(name, 4)).await;
        world.put(&backup(&format!("new-{name}"), 4)).await;
    }
    let failing = ["t2", "new-t3"].map(|name| key(name, 4).to_string());
    for key in failing {
        world.faults().gets.insert(key, 1);
    }
    world.faults().puts.push_back(crate::faulty::PutFault::Refused);
    let mut budget = Budget(u64::MAX);
    let mut pass = Pass::begin(&world.store, at(NOW), &mut budget).await.unwrap();
    let mut failures = 0;
    let report = loop {
        match pass.go_on(&world.store, &owner(1), &mut budget).await {
            Ok(report) => break report.unwrap(),
            Err(StoreError::Unavailable(_)) => failures += 1,
            Err(error) => panic!("{error}"),
        }
        assert!(failures <= 3);
    };
    assert_eq!((failures, report.found.len()), (3, 6), "{report:?}");
    assert!(world.records().await.values().all(|record| record.hour(hour(4)).is_some()));
}

#[tokio::test]
async fn a_spent_budget_asks_for_nothing() {
    let world = of_three().await;
    world.put(&backup("t1", 4)).await;
    let mut begun = Budget(1_000);
    let mut pass = Pass::begin(&world.store, at(NOW), &mut begun).await.unwrap();
    for _ in 0..100 {
        let requests = world.requests();
        let report = pass.go_on(&world.store, &owner(1), &mut Budget(0)).await.unwrap();
        assert_eq!((report, world.requests()), (None, requests));
        if pass.go_on(&world.store, &owner(1), &mut Budget(1)).await.unwrap().is_some() {
            assert_eq!(numbers(&world.records().await[&stem("t1")]), [1, 2, 3, 4]);
            return;
        }
        // What is begun is ended: a catalog listed and read, a database looked at, and written.
        assert!(world.requests() - requests <= 6);
    }
    panic!("it does not come to an end");
}

#[tokio::test]
async fn a_catalog_of_lies_is_put_right() {
    let world = of_three().await;
    let of = path("/data/t1.db");
    let lie = |number, tag| Edit::Found {
        stem: stem("t1"),
        path: of.clone(),
        held: HeldHour::new(hour(number), 1, etag(tag)),
        newest: None,
        fingerprint: None,
    };
    let shard = catalog_key(&volume(), &of);
    world.update(&shard, &owner(1), &[lie(2, "no"), lie(3, "no"), lie(50, "no")]).await;
    let report = pass(&world).await;
    assert_eq!((report.found.len(), report.missing.len()), (2, 1));
    let record = &world.records().await[&stem("t1")];
    assert_eq!(numbers(record), [1, 2, 3]);
    assert_eq!(record.newest.as_ref().unwrap().hour(), hour(3));
    assert!(is_quiet(&pass(&world).await));
}

#[tokio::test]
async fn where_volumes_have_no_node_in_common_one_of_them_compares() {
    let world = World::new().await;
    let first = |volume: &str| ShardKey { volume: volume.parse().unwrap(), shard: ShardId(0) };
    let wait = async |volume: &str, now: i64| {
        let left = reconcile::wait(&world.store, &first(volume), at(now)).await.unwrap();
        left.map(|left| left.as_secs() / 3_600)
    };
    let compared = async |volume: &str, number: i64| {
        let edit = [Edit::ReconciledAt(at(number))];
        catalogs::update(&world.store, &first(volume), &tool(), &edit).await.unwrap();
    };
    assert_eq!(wait("h2", 0).await, None, "a bucket without catalogs");
    for volume in ["h1", "h2", "h3"] {
        compared(volume, 0).await;
    }
    // The first of all waits for nobody; each of the others an hour longer than the one before it.
    assert_eq!([wait("h1", 0).await, wait("h1", 30).await], [None, None]);
    assert_eq!([wait("h2", 0).await, wait("h3", 0).await], [Some(25), Some(26)]);
    assert_eq!([wait("h2", 24).await, wait("h2", 25).await], [Some(1), None]);
    // The first one has done it: all wait again.
    compared("h1", 24).await;
    assert_eq!([wait("h2", 25).await, wait("h3", 26).await], [Some(24), Some(24)]);
    // The first one is no more, and the second has done it: for the third that will do.
    compared("h2", 49).await;
    assert_eq!(
        [wait("h2", 75).await, wait("h3", 50).await, wait("h3", 75).await],
        [None, Some(25), None]
    );
    // A clock that was wrong holds nobody up, and neither does a catalog that nobody can read.
    compared("h1", 1_000).await;
    assert_eq!(wait("h2", 75).await, None);
    world.put_bytes(&first("h1").object_key(), b"no catalog".to_vec()).await;
    assert_eq!([wait("h2", 75).await, wait("h3", 50).await], [None, Some(25)]);
    let (requests, puts) = (world.requests(), world.store.requests().puts);
    wait("h3", 50).await;
    assert_eq!((world.requests() - requests, world.store.requests().puts), (3, puts));
}
