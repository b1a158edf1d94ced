//! Deleting what retention gives up, and nothing else.

use std::time::Duration;

use ultrasimple_core::catalog::{Edit, HeldHour};
use ultrasimple_core::hold::Hold;
use ultrasimple_core::{Catalog, ObjectKey, ShardId, ShardKey};
use ultrasimple_keeper::prune::{self, PruneReport, ShardPlan};
use ultrasimple_keeper::{Holds, holds};
use ultrasimple_store::{Store, StoreError};

use crate::world::{
    Backup, World, a_day, at, backup, empty_catalog, etag, hour, key, newer, numbers, stem,
};

/// Long after all the backups of these tests.
const LATER: i64 = 10_000;

/// A bucket with the backups of some hours of `t1`, and the catalog that says so.
async fn of_hours(numbers: impl IntoIterator<Item = i64>) -> (World, Catalog) {
    let world = World::new().await;
    let mut catalog = empty_catalog();
    for number in numbers {
        catalog.edit(world.store(&backup("t1", number)).await);
    }
    (world, catalog)
}

fn plan(catalog: &Catalog) -> ShardPlan {
    prune::plan_shard(catalog, &a_day(), at(LATER), &Holds::default())
}

/// Plans and acts, and writes the catalog.
async fn prune(world: &World, catalog: &mut Catalog) -> PruneReport {
    act(world, catalog, &plan(&catalog.clone())).await
}

async fn act(world: &World, catalog: &mut Catalog, plan: &ShardPlan) -> PruneReport {
    let report = prune::act(&world.store, catalog, plan, &world.holds().await).await;
    report.edits.iter().for_each(|edit| catalog.edit(edit.clone()));
    report
}

fn keys(numbers: impl IntoIterator<Item = i64>) -> Vec<String> {
    numbers.into_iter().map(|number| key("t1", number).to_string()).collect()
}

async fn left(world: &World) -> Vec<String> {
    world.keys().await.into_iter().collect()
}

fn deleted(report: &PruneReport) -> Vec<String> {
    report.deleted.iter().map(ToString::to_string).collect()
}

fn object(number: i64) -> ObjectKey {
    key("t1", number).object_key()
}

#[tokio::test]
async fn a_copy_under_an_older_key_is_as_old_as_its_key() {
    let (world, mut catalog) = of_hours([1, 3, 9]).await;
    for (number, captured) in [(1, 9), (3, 10)] {
        // Of the newest; and of a state later than the newest, which must not be lost.
        let bytes = backup("t1", captured).object().0;
        world.put_bytes(&object(number), bytes).await;
    }
    let report = prune(&world, &mut catalog).await;
    assert_eq!(deleted(&report), Vec::<String>::new(), "what took its place is none of that hour");
    assert_eq!(report.unproven.len(), 1);
    let (world, mut catalog) = of_hours([1, 3, 9]).await;
    world.put_bytes(&object(1), backup("t1", 9).object().0).await;
    let report = prune(&world, &mut catalog).await;
    assert_eq!(deleted(&report), keys([1, 3]));
}

#[tokio::test]
async fn what_is_expired_goes_and_the_newest_stays() {
    let (world, mut catalog) = of_hours(1..=5).await;
    let report = prune(&world, &mut catalog).await;
    assert_eq!(deleted(&report), keys(1..=4));
    assert_eq!(left(&world).await, keys([5]));
    assert_eq!(numbers(&catalog.databases[&stem("t1")]), [5]);
    assert!(catalog.databases[&stem("t1")].fingerprint.is_some());
    assert!(report.failed.is_empty() && report.unproven.is_empty() && report.refused.is_empty());
    let plan = plan(&catalog);
    assert_eq!((plan.deletions(), plan.next), (0, None));
}

#[tokio::test]
async fn the_requests_are_those_that_are_stated() {
    let (world, catalog) = of_hours(1..=5).await;
    let plan = plan(&catalog);
    let holds = world.holds().await;
    let before = world.requests();
    prune::act(&world.store, &catalog, &plan, &holds).await;
    assert_eq!(world.requests() - before, 5 + 1, "a footer for each, and a deletion");
    let before = world.requests();
    prune::act(&world.store, &catalog, &ShardPlan::default(), &holds).await;
    assert_eq!(world.requests(), before);
}

#[tokio::test]
async fn without_a_newest_that_is_there_and_whole_and_its_own_nothing_goes() {
    let cut = |backup: &Backup| backup.object().0[..100].to_vec();
    let other_hour = backup("t1", 2).object().0;
    for (what, bytes) in [
        ("gone", None),
        ("text", Some(b"text".to_vec())),
        ("cut", Some(cut(&backup("t1", 5)))),
        ("another path", Some(backup("t1", 5).of("/data/t2.db").object().0)),
        ("another volume", Some(backup("t1", 5).on("v2").object().0)),
        ("a copy of an older one", Some(other_hour)),
        ("newer than this program", Some(newer(&backup("t1", 5).object().0))),
        ("marked", Some(backup("t1", 5).marked().object().0)),
    ] {
        let (world, mut catalog) = of_hours(1..=5).await;
        world.remove(&key("t1", 5)).await;
        let is_gone = bytes.is_none();
        if let Some(bytes) = bytes {
            world.put_bytes(&object(5), bytes).await;
        }
        let report = prune(&world, &mut catalog).await;
        assert_eq!(deleted(&report), [""; 0], "{what}");
        assert_eq!(report.refused.len(), 1, "{what}");
        assert!(left(&world).await.len() >= 4, "{what}");
        assert_eq!(numbers(&catalog.databases[&stem("t1")]).len(), if is_gone { 4 } else { 5 });
        if is_gone {
            let record = &catalog.databases[&stem("t1")];
            assert_eq!((&record.fingerprint, &record.newest), (&None, &None));
        }
    }
}

#[tokio::test]
async fn a_newest_that_cannot_be_read_now_is_tried_again() {
    let (world, mut catalog) = of_hours(1..=5).await;
    world.faults().gets.insert(object(5).to_string(), 1);
    let report = prune(&world, &mut catalog).await;
    assert!(report.deleted.is_empty() && report.refused.is_empty() && report.edits.is_empty());
    assert_eq!(report.failed.len(), 1);
    assert_eq!(deleted(&prune(&world, &mut catalog).await), keys(1..=4));
}

#[tokio::test]
async fn what_a_catalog_knows_of_its_newest_counts_when_it_acts_too() {
    let cases: [fn(&mut Catalog); 3] = [
        |catalog| {
            let record = catalog.databases.get_mut(&stem("t1")).unwrap();
            record.hours.last_mut().unwrap().fault = Some("cut off".into());
        },
        |catalog| {
            let record = catalog.databases.get_mut(&stem("t1")).unwrap();
            record.newest.as_mut().unwrap().marked = Some("page 2".into());
        },
        |catalog| {
            let record = catalog.databases.get_mut(&stem("t1")).unwrap();
            record.failed_check = Some("page 3".into());
        },
    ];
    for learn in cases {
        let (world, mut catalog) = of_hours(1..=5).await;
        let earlier = plan(&catalog);
        learn(&mut catalog);
        assert_eq!(plan(&catalog).deletions(), 0);
        let report = act(&world, &mut catalog, &earlier).await;
        assert!(report.deleted.is_empty() && report.refused.len() == 1);
    }
}

#[tokio::test]
async fn what_is_not_provably_its_backup_is_left_alone_and_asked_for_once() {
    let (world, mut catalog) = of_hours(1..=9).await;
    world.put_bytes(&object(1), b"a stranger's text".to_vec()).await;
    world.put_bytes(&object(2), backup("t1", 2).of("/data/t2.db").object().0).await;
    world.put_bytes(&object(3), backup("t1", 3).on("v2").object().0).await;
    let mut damaged = backup("t1", 4).object().0;
    let at = damaged.len() - 30;
    damaged[at] ^= 1;
    world.put_bytes(&object(4), damaged).await;
    world.put_bytes(&object(5), backup("t1", 2).object().0).await;
    world.remove(&key("t1", 7)).await;
    let report = prune(&world, &mut catalog).await;
    let unproven: Vec<_> = report.unproven.iter().map(|(key, _)| key.to_string()).collect();
    assert_eq!(unproven, keys(1..=5));
    // What the missing one took the place of waits for a plan without it.
    assert_eq!(deleted(&report), keys([8]));
    assert_eq!(numbers(&catalog.databases[&stem("t1")]), [1, 2, 3, 4, 5, 6, 9]);

    world.faults().reads.clear();
    let report = prune(&world, &mut catalog).await;
    assert_eq!(deleted(&report), keys([6]));
    assert!(report.unproven.is_empty());
    let reads: Vec<_> = std::mem::take(&mut world.faults().reads);
    assert_eq!(reads, keys([9, 6]));
    prune(&world, &mut catalog).await;
    assert_eq!(world.faults().reads.len(), 0, "there is nothing to do any more");
    assert_eq!(left(&world).await, keys([1, 2, 3, 4, 5, 9]));
}

#[tokio::test]
async fn a_backup_of_a_newer_program_is_neither_deleted_nor_called_foreign() {
    let (world, mut catalog) = of_hours(1..=4).await;
    world.put_bytes(&object(2), newer(&backup("t1", 2).object().0)).await;
    let report = prune(&world, &mut catalog).await;
    // Nor does it count as what took another's place.
    assert_eq!(deleted(&report), keys([3]));
    assert_eq!(report.unproven.len(), 1);
    assert!(catalog.databases[&stem("t1")].hours.iter().all(|held| held.foreign.is_none()));
}

#[tokio::test]
async fn nothing_goes_for_one_that_is_not_there() {
    // By the catalog, 1 has been replaced by 2 long ago. There is no 2: only 3 replaced it, and just now.
    let (world, mut catalog) = of_hours([1, 2, LATER]).await;
    world.remove(&key("t1", 2)).await;
    let stale = plan(&catalog);
    assert_eq!(stale.deletions(), 1);
    let report = act(&world, &mut catalog, &stale).await;
    assert_eq!(deleted(&report), [""; 0]);
    assert_eq!(plan(&catalog).deletions(), 0, "and the catalog knows now");
    assert_eq!(left(&world).await, keys([1, LATER]));
}

#[tokio::test]
async fn a_good_one_does_not_go_for_a_bad_one() {
    let (world, mut catalog) = of_hours([1, 4]).await;
    for number in [2, 3] {
        catalog.edit(world.store(&backup("t1", number).marked()).await);
    }
    let report = prune(&world, &mut catalog).await;
    // 2 went for 3, which is as bad, and 3 for 4.
    assert_eq!(deleted(&report), keys([2, 3]));
    assert_eq!(report.deferred.len(), 1);
    assert_eq!(deleted(&prune(&world, &mut catalog).await), keys([1]));

    let (world, mut catalog) = of_hours([1, 2, 3]).await;
    let record = catalog.databases.get_mut(&stem("t1")).unwrap();
    record.hours[1].fault = Some("cut off".into());
    assert_eq!(deleted(&prune(&world, &mut catalog).await), keys([2]));
}

#[tokio::test]
async fn a_plan_of_another_state_of_the_catalog_deletes_no_newest() {
    let (world, mut catalog) = of_hours(1..=5).await;
    let earlier = plan(&catalog);
    world.remove(&key("t1", 5)).await;
    catalog.edit(Edit::Gone { stem: stem("t1"), hour: hour(5) });
    let report = act(&world, &mut catalog, &earlier).await;
    assert_eq!(deleted(&report), keys(1..=3), "4 is the newest now");
    assert_eq!(left(&world).await, keys([4]));
}

#[tokio::test]
async fn a_failed_deletion_is_told_and_stays_in_the_catalog() {
    let (world, mut catalog) = of_hours(1..=5).await;
    let denied = StoreError::Denied("locked".to_owned());
    world.faults().deletes.insert(object(2).to_string(), denied);
    world.faults().gets.insert(object(3).to_string(), 1);
    let report = prune(&world, &mut catalog).await;
    // 3 could not be read: it stays, and so does 2, whose place it took.
    assert_eq!(deleted(&report), keys([1, 4]));
    assert!(matches!(&report.failed[..], [(key, _)] if *key == object(3)));
    assert_eq!(numbers(&catalog.databases[&stem("t1")]), [2, 3, 5]);
    let report = prune(&world, &mut catalog).await;
    assert_eq!(deleted(&report), keys([3]));
    assert!(matches!(&report.failed[..], [(key, StoreError::Denied(_))] if *key == object(2)));
    assert_eq!(numbers(&catalog.databases[&stem("t1")]), [2, 5]);

    world.faults().deletes.clear();
    world.faults().all_deletes = true;
    let report = prune(&world, &mut catalog).await;
    assert!(report.deleted.is_empty() && report.edits.is_empty() && report.failed.len() == 1);
    world.faults().all_deletes = false;
    assert_eq!(deleted(&prune(&world, &mut catalog).await), keys([2]));
}

#[tokio::test]
async fn what_was_deleted_but_not_written_down_just_leaves_the_catalog() {
    let (world, catalog) = of_hours(1..=5).await;
    let mut crashed = catalog.clone();
    prune(&world, &mut catalog.clone()).await;
    let report = prune(&world, &mut crashed).await;
    assert!(report.deleted.is_empty() && report.failed.is_empty() && report.unproven.is_empty());
    assert_eq!(numbers(&crashed.databases[&stem("t1")]), [5]);
}

#[tokio::test]
async fn many_are_deleted_by_the_thousand() {
    let world = World::new().await;
    let mut catalog = empty_catalog();
    for (name, count) in [("t1", 1_400), ("t2", 901)] {
        for number in 1..=count {
            catalog.edit(world.store(&backup(name, number)).await);
        }
    }
    let report = prune(&world, &mut catalog).await;
    assert_eq!(report.deleted.len(), 2_299);
    let mut sizes = world.faults().deletions.clone();
    sizes.sort_unstable();
    assert_eq!(sizes, [299, 1_000, 1_000]);
    let last = [key("t1", 1_400).to_string(), key("t2", 901).to_string()];
    assert_eq!(left(&world).await, last);
    assert_eq!(catalog.backups(), 2);
}

#[tokio::test]
async fn a_hold_that_was_placed_after_the_plan_counts() {
    let world = World::new().await;
    let mut catalog = empty_catalog();
    for name in ["t1", "t2"] {
        for number in 1..=2 {
            catalog.edit(world.store(&backup(name, number)).await);
        }
    }
    let earlier = plan(&catalog);
    holds::place(&world.store, &Hold::new(stem("t1"), at(1), None)).await.unwrap();
    let held = prune::plan_shard(&catalog, &a_day(), at(LATER), &world.holds().await);
    assert_eq!((held.deletions(), earlier.deletions()), (1, 2));
    let report = act(&world, &mut catalog, &earlier).await;
    assert_eq!(deleted(&report), [key("t2", 1).to_string()]);
    assert!(report.refused.is_empty() && report.failed.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_hold_that_is_placed_during_a_long_run_counts_from_the_next_request_on() {
    let (world, catalog) = of_hours(1..=5).await;
    let (plan, holds_before) = (plan(&catalog), world.holds().await);
    holds::place(&world.store, &Hold::new(stem("t1"), at(1), None)).await.unwrap();
    // The footers take longer than holds may be old.
    world.faults().read_takes = Duration::from_secs(20);
    let report = prune::act(&world.store, &catalog, &plan, &holds_before).await;
    assert!(report.deleted.is_empty() && report.failed.is_empty() && report.edits.is_empty());
    assert_eq!(world.store.list("t1", None).count_all().await, 5);
}

/// To count without naming stream extensions everywhere.
trait CountAll {
    async fn count_all(self) -> usize;
}

impl<S: futures::Stream> CountAll for S {
    async fn count_all(self) -> usize {
        futures::StreamExt::count(self).await
    }
}

#[tokio::test]
async fn a_backup_that_the_catalog_does_not_know_stays() {
    let (world, mut catalog) = of_hours(2..=4).await;
    world.put(&backup("t1", 1)).await;
    world.put(&backup("t1", 9)).await;
    prune(&world, &mut catalog).await;
    assert_eq!(left(&world).await, keys([1, 4, 9]));
}

#[tokio::test]
async fn a_database_of_which_the_catalog_has_only_claims_harms_nobody() {
    let (world, mut catalog) = of_hours(1..=3).await;
    catalog.key = ShardKey { volume: "v2".parse().unwrap(), shard: ShardId(0) };
    let report = prune(&world, &mut catalog).await;
    assert!(report.deleted.is_empty() && report.refused.len() == 1, "they are of another volume");
    let record = catalog.databases.get_mut(&stem("t1")).unwrap();
    for number in 4..=8 {
        record.put_hour(HeldHour::new(hour(number), 7, etag("no")));
    }
    prune(&world, &mut catalog).await;
    assert_eq!(left(&world).await, keys(1..=3));
}
