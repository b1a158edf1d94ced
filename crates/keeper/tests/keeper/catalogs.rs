//! Catalogs: what is there, and what becomes of it.

use ultrasimple_core::catalog::Edit;
use ultrasimple_core::catalog::format::CatalogError;
use ultrasimple_core::{Catalog, Epoch, ShardId, ShardKey};
use ultrasimple_keeper::{Author, ReadError, UpdateError, catalogs};
use ultrasimple_store::StoreError;

use crate::faulty::PutFault;
use crate::rebuild::newer_catalog;
use crate::world::{World, at, backup, empty_catalog, hour, numbers, owner, stem, tool, volume};

fn shard(number: u32) -> ShardKey {
    ShardKey { volume: volume(), shard: ShardId(number) }
}

/// A catalog with a backup of `name` as somebody else writes it.
async fn written_by_others(world: &World, name: &str) -> Vec<u8> {
    let mut catalog = Catalog { key: shard(0), epoch: Epoch(2), ..empty_catalog() };
    catalog.edit(world.store(&backup(name, 1)).await);
    catalog.to_bytes().unwrap()
}

async fn read(world: &World) -> Catalog {
    catalogs::read(&world.store, &shard(0)).await.unwrap().unwrap().0
}

#[tokio::test]
async fn what_is_not_there_is_none_and_begins_empty() {
    let world = World::new().await;
    assert!(catalogs::read(&world.store, &shard(0)).await.unwrap().is_none());
    assert_eq!(catalogs::list(&world.store, None).await.unwrap(), []);
    let opened = catalogs::open(&world.store, &shard(0), &owner(3)).await.unwrap();
    assert_eq!((opened.catalog.epoch, opened.catalog.databases.len()), (Epoch(3), 0));
    opened.write(&world.store, &owner(3)).await.unwrap();
    assert_eq!(read(&world).await.epoch, Epoch(3));
}

#[tokio::test]
async fn catalogs_are_listed_by_volume_and_others_are_passed_over() {
    let world = World::new().await;
    let other = ShardKey { volume: "v10".parse().unwrap(), shard: ShardId(2) };
    for key in [&shard(11), &shard(2), &other] {
        world.update(key, &owner(1), &[]).await;
    }
    for junk in ["v1/x.jsonl.lz4", "v1/02.jsonl.lz4", "v1/2.jsonl.lz4.bak", "readme.txt"] {
        let key = format!(".ultrasimple/v1/catalog/{junk}");
        world.put_bytes(&key.try_into().unwrap(), b"junk".to_vec()).await;
    }
    let listed = catalogs::list(&world.store, Some(&volume())).await.unwrap();
    assert_eq!(listed, [shard(2), shard(11)]);
    assert_eq!(catalogs::list(&world.store, None).await.unwrap(), [shard(2), shard(11), other]);
    let before = world.requests();
    assert_eq!(catalogs::read_all(&world.store, None).await.unwrap().catalogs.len(), 3);
    assert_eq!(world.requests() - before, 4);
}

#[tokio::test]
async fn what_cannot_be_used_is_told_and_does_not_hide_the_others() {
    let world = World::new().await;
    let whole = Catalog { key: shard(0), ..empty_catalog() }.to_bytes().unwrap();
    let cut = whole[..whole.len() - 5].to_vec();
    let contents = [b"text".to_vec(), cut, newer_catalog(), whole.clone(), whole];
    for (number, bytes) in (1..).zip(contents) {
        let number = if number == 5 { 0 } else { number };
        world.put_bytes(&shard(number).object_key(), bytes).await;
    }
    let loaded = catalogs::read_all(&world.store, None).await.unwrap();
    assert_eq!(loaded.catalogs.keys().collect::<Vec<_>>(), [&shard(0)]);
    let unusable: Vec<_> = loaded.unusable.into_values().collect();
    assert!(matches!(
        unusable[..],
        [
            CatalogError::Damaged(_),
            CatalogError::Damaged(_),
            CatalogError::Newer(2),
            CatalogError::Foreign { .. }
        ]
    ));
    world.faults().gets.insert(shard(1).object_key().to_string(), 1);
    assert!(catalogs::read_all(&world.store, None).await.is_err(), "not read is not unusable");
}

#[tokio::test]
async fn what_is_damaged_is_begun_anew_and_what_is_newer_is_never_overwritten() {
    let world = World::new().await;
    world.put_bytes(&shard(0).object_key(), b"junk".to_vec()).await;
    let edit = world.store(&backup("t1", 1)).await;
    world.update(&shard(0), &owner(3), std::slice::from_ref(&edit)).await;
    assert_eq!(read(&world).await.databases.len(), 1);

    world.put_bytes(&shard(0).object_key(), newer_catalog()).await;
    for author in [owner(9), tool()] {
        let updated =
            catalogs::update(&world.store, &shard(0), &author, std::slice::from_ref(&edit)).await;
        assert!(matches!(updated, Err(UpdateError::Newer(CatalogError::Newer(2)))));
    }
    let found = catalogs::read(&world.store, &shard(0)).await;
    assert!(matches!(found, Err(ReadError::Unusable { error: CatalogError::Newer(2), .. })));
}

#[tokio::test]
async fn a_newer_version_that_comes_in_between_is_not_overwritten_either() {
    let world = World::new().await;
    world.faults().puts.push_back(PutFault::Preceded(newer_catalog()));
    let updated = catalogs::update(&world.store, &shard(0), &owner(9), &[]).await;
    assert!(matches!(updated, Err(UpdateError::Newer(_))), "{updated:?}");
}

#[tokio::test]
async fn nobodys_edits_are_lost_when_others_come_in_between() {
    for had_one in [false, true] {
        let world = World::new().await;
        if had_one {
            world.update(&shard(0), &owner(1), &[]).await;
        }
        for name in ["t1", "t2", "t3", "t4"] {
            let others = Catalog::parse(&written_by_others(&world, name).await, &shard(0)).unwrap();
            // Each writer had read what the one before had written.
            let mut all = catalogs::read(&world.store, &shard(0)).await.unwrap();
            let mut all = all.take().map_or(others.clone(), |(all, _)| all);
            all.databases.extend(others.databases);
            world.faults().puts.push_back(PutFault::Preceded(all.to_bytes().unwrap()));
            let edit = world.store(&backup(&format!("{name}-mine"), 1)).await;
            world.update(&shard(0), &owner(3), &[edit]).await;
        }
        let all: Vec<_> = read(&world).await.databases.into_keys().collect();
        let expected = ["t1", "t1-mine", "t2", "t2-mine", "t3", "t3-mine", "t4", "t4-mine"];
        assert_eq!(all, expected.map(stem));
    }
}

#[tokio::test]
async fn a_writer_who_is_always_preceded_gives_up_and_says_so() {
    let world = World::new().await;
    let others = written_by_others(&world, "t1").await;
    for _ in 0..9 {
        world.faults().puts.push_back(PutFault::Preceded(others.clone()));
    }
    let updated = catalogs::update(&world.store, &shard(0), &owner(3), &[]).await;
    assert!(matches!(updated, Err(UpdateError::Store(StoreError::ConditionFailed))));
    assert!(!world.faults().puts.is_empty(), "it did not try for ever");
}

#[tokio::test]
async fn an_unknown_outcome_neither_loses_an_edit_nor_does_it_twice() {
    for fault in [PutFault::DoneUnknown, PutFault::LostUnknown] {
        let world = World::new().await;
        let first = world.store(&backup("t1", 1)).await;
        world.update(&shard(0), &owner(1), &[first]).await;
        let edits = [
            world.store(&backup("t1", 2)).await,
            Edit::Gone { stem: stem("t1"), hour: backup("t1", 1).key().hour },
            world.store(&backup("t2", 1)).await,
        ];
        world.faults().puts.push_back(fault);
        world.update(&shard(0), &owner(1), &edits).await;
        let catalog = read(&world).await;
        assert_eq!(catalog.backups(), 2);
        assert_eq!(numbers(&catalog.databases[&stem("t1")]), [2]);
        let fingerprint = Some(backup("t1", 2).fingerprint());
        assert_eq!(catalog.databases[&stem("t1")].fingerprint, fingerprint);
    }
}

#[tokio::test]
async fn a_write_that_certainly_failed_is_told_and_left_to_the_next_time() {
    let world = World::new().await;
    world.faults().puts.push_back(PutFault::Refused);
    let updated = catalogs::update(&world.store, &shard(0), &owner(1), &[]).await;
    assert!(matches!(updated, Err(UpdateError::Store(StoreError::Unavailable(_)))));
    world.faults().gets.insert(shard(0).object_key().to_string(), 1);
    let updated = catalogs::update(&world.store, &shard(0), &owner(1), &[]).await;
    assert!(matches!(updated, Err(UpdateError::Store(StoreError::Unavailable(_)))));
    assert!(catalogs::list(&world.store, None).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_earlier_owner_is_fenced_also_when_the_later_one_comes_in_between() {
    let world = World::new().await;
    world.update(&shard(0), &owner(5), &[]).await;
    let fenced = |updated: Result<Catalog, UpdateError>| match updated {
        Err(UpdateError::Fenced { node, epoch }) => (node.to_string(), epoch),
        other => panic!("{other:?}"),
    };
    let updated = catalogs::update(&world.store, &shard(0), &owner(4), &[]).await;
    assert_eq!(fenced(updated), ("n5".to_owned(), Epoch(5)));
    world.update(&shard(0), &owner(5), &[]).await;

    let mut later = read(&world).await;
    later.epoch = Epoch(6);
    world.faults().puts.push_back(PutFault::Preceded(later.to_bytes().unwrap()));
    let updated = catalogs::update(&world.store, &shard(0), &owner(5), &[]).await;
    assert_eq!(fenced(updated).1, Epoch(6));
}

#[tokio::test]
async fn a_tool_leaves_all_that_the_owner_says_of_itself() {
    let world = World::new().await;
    for is_final in [true, false] {
        world.update(&shard(0), &Author { is_final, ..owner(5) }, &[]).await;
        let before = read(&world).await;
        let edit = world.store(&backup("t1", 1)).await;
        let tool = Author { is_final: !is_final, shards: 99, now: at(200), ..tool() };
        world.update(&shard(0), &tool, &[edit]).await;
        let after = read(&world).await;
        assert_eq!(after.databases.len(), 1);
        assert_eq!(Catalog { databases: before.databases.clone(), ..after }, before);
        // Nor is a tool's word taken for that of a later owner.
        let updated = catalogs::update(&world.store, &shard(0), &owner(4), &[]).await;
        let Err(UpdateError::Fenced { node, .. }) = updated else { panic!("{updated:?}") };
        assert_eq!(node.as_str(), "n5");
        world.update(&shard(0), &owner(5), &[Edit::Gone { stem: stem("t1"), hour: hour(1) }]).await;
    }
}

#[tokio::test]
async fn a_store_without_conditions_is_not_given_any() {
    let world = World::new().await;
    world.faults().unconditional = true;
    for name in ["t1", "t2"] {
        let edit = world.store(&backup(name, 1)).await;
        world.update(&shard(0), &owner(1), &[edit]).await;
    }
    assert_eq!(read(&world).await.databases.len(), 2);
}

#[tokio::test]
async fn an_opened_catalog_is_not_written_over_another() {
    let world = World::new().await;
    let opened = catalogs::open(&world.store, &shard(0), &owner(1)).await.unwrap();
    world.update(&shard(0), &owner(1), &[]).await;
    let written = opened.write(&world.store, &owner(1)).await;
    assert!(matches!(written, Err(StoreError::ConditionFailed)));
}

#[tokio::test]
async fn one_that_is_taken_to_be_missing_is_not_written_over_one_that_is_there() {
    let world = World::new().await;
    let begin = || catalogs::begin(&world.store, &shard(0), &owner(1));
    begin().unwrap().write(&world.store, &owner(1)).await.unwrap();
    let written = begin().unwrap().write(&world.store, &owner(1)).await;
    assert!(matches!(written, Err(StoreError::ConditionFailed)));
    // Where that would not be noticed, it is read.
    world.faults().unconditional = true;
    assert!(begin().is_none());
}
