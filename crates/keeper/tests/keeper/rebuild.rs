//! Catalogs from nothing but the objects.

use std::collections::BTreeMap;

use ultrasimple_core::catalog::{Edit, HeldHour, Record};
use ultrasimple_core::{Epoch, KeyStem};
use ultrasimple_keeper::rebuild::{Rebuilt, rebuild};
use ultrasimple_keeper::{catalogs, prune};
use ultrasimple_store::StoreError;

use crate::world::{
    Backup, World, a_day, at, backup, catalog_key, etag, hour, key, newer, numbers, owner, path,
    stem, tool,
};

async fn all(world: &World) -> Rebuilt {
    rebuild(&world.store, &owner(99), |_| true).await.unwrap()
}

fn without_fingerprints(records: BTreeMap<KeyStem, Record>) -> BTreeMap<KeyStem, Record> {
    let forget = |record| Record { fingerprint: None, ..record };
    records.into_iter().map(|(stem, record)| (stem, forget(record))).collect()
}

fn many() -> Vec<Backup> {
    let mut backups = Vec::new();
    for name in 1..=12 {
        let name = format!("t{name}");
        backups.extend((1..=3).map(|number| backup(&name, number)));
    }
    backups.push(backup("t1", 4).marked());
    // On another volume, and with keys between those of another one.
    backups.push(backup("u1", 2).on("v2"));
    backups.push(Backup { stem: stem("t1-20240115-020000"), ..backup("x", 7) });
    backups.push(Backup { stem: stem("deep/in/it"), ..backup("it", 7) });
    backups
}

async fn lose_catalogs(world: &World) {
    std::fs::remove_dir_all(world.dir.path().join(".ultrasimple/v1/catalog")).unwrap();
    assert!(world.catalogs().await.is_empty());
}

#[tokio::test]
async fn footers_tell_fingerprints() {
    let world = World::new().await;
    let told = [1, 2].map(|number| backup("t1", number).telling_its_fingerprint());
    let silent = [backup("t2", 1).telling_its_fingerprint(), backup("t2", 2)];
    world.store_and_write(&[told, silent].concat()).await;
    let expected = world.records().await;
    lose_catalogs(&world).await;
    all(&world).await;
    let records = world.records().await;
    assert!(records[&stem("t1")].fingerprint.is_some());
    assert_eq!(records[&stem("t1")], expected[&stem("t1")]);
    assert_eq!(records[&stem("t2")].fingerprint, None, "that of an older one says nothing");
}

#[tokio::test]
async fn the_objects_alone_give_what_the_owners_wrote() {
    let world = World::new().await;
    world.store_and_write(&many()).await;
    let expected = world.catalogs().await;
    let records = without_fingerprints(world.records().await);
    lose_catalogs(&world).await;
    let rebuilt = all(&world).await;
    assert_eq!((rebuilt.backups, rebuilt.databases), (many().len() as u64, records.len() as u64));
    assert_eq!(rebuilt.written, expected.len() as u64);
    assert!(rebuilt.unreadable.is_empty() && rebuilt.failed.is_empty());
    assert_eq!(world.records().await, records);
    let found = world.catalogs().await;
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    // It is nobody's epoch: the owners go on.
    assert!(found.values().all(|catalog| catalog.epoch == Epoch(0) && !catalog.is_final));
}

#[tokio::test]
async fn what_only_the_catalogs_know_is_kept() {
    let world = World::new().await;
    world.store_and_write(&many()).await;
    let t2 = catalog_key(&crate::world::volume(), &path("/data/t2.db"));
    let verified = |number: i64, tag| Edit::Verified {
        stem: stem("t2"),
        hour: hour(number),
        etag: tag,
        at: at(50),
        fault: None,
    };
    let tag = async |number| {
        let key = key("t2", number);
        world.records().await[&key.stem].hour(key.hour).unwrap().etag.clone()
    };
    let edits = [verified(1, tag(1).await), verified(3, tag(3).await)];
    world.update(&t2, &owner(7), &edits).await;
    let expected = world.catalogs().await;
    all(&world).await;
    assert_eq!(world.catalogs().await, expected, "nothing has changed");

    // Another object under the key: what was known of the first one is not known of it.
    world.put(&backup("t2", 3).containing(b"another")).await;
    all(&world).await;
    let record = &world.records().await[&stem("t2")];
    assert!(record.hour(hour(1)).unwrap().verified_at.is_some());
    assert!(record.hour(hour(3)).unwrap().verified_at.is_none() && record.fingerprint.is_none());
    assert_eq!(record.newest.as_ref().unwrap().size, 7);
    assert_eq!(world.catalogs().await[&t2].epoch, Epoch(7));
}

#[tokio::test]
async fn entries_without_objects_disappear() {
    let world = World::new().await;
    world.store_and_write(&many()).await;
    for gone in [key("t1", 4), key("t1", 2), key("t2", 1), key("t2", 2), key("t2", 3)] {
        world.remove(&gone).await;
    }
    all(&world).await;
    let records = world.records().await;
    assert_eq!(numbers(&records[&stem("t1")]), [1, 3]);
    let newest = records[&stem("t1")].newest.as_ref().unwrap();
    assert_eq!((newest.hour(), &newest.marked), (hour(3), &None));
    assert_eq!(records[&stem("t1")].fingerprint, None);
    assert!(!records.contains_key(&stem("t2")));
}

#[tokio::test]
async fn only_what_is_wanted_is_touched() {
    let world = World::new().await;
    world.store_and_write(&many()).await;
    for name in ["t1", "t2"] {
        world.remove(&key(name, 2)).await;
    }
    let rebuilt = rebuild(&world.store, &tool(), |stem| stem.as_str() == "t1").await.unwrap();
    assert_eq!((rebuilt.backups, rebuilt.databases, rebuilt.written), (3, 1, 1));
    let records = world.records().await;
    assert_eq!(numbers(&records[&stem("t1")]), [1, 3, 4]);
    assert_eq!(numbers(&records[&stem("t2")]), [1, 2, 3]);
}

#[tokio::test]
async fn a_stem_that_passed_to_another_path_passes_to_its_shard() {
    let world = World::new().await;
    world.store_and_write(&[backup("t1", 1), backup("t1", 2)]).await;
    let moved = (0..).map(|n| format!("/moved{n}/t1.db"));
    let shard = |text: &str| catalog_key(&crate::world::volume(), &path(text));
    let elsewhere = { moved }.find(|text| shard(text) != shard("/data/t1.db")).unwrap();
    world.put(&backup("t1", 3).of(&elsewhere)).await;
    all(&world).await;
    let record = &world.records().await[&stem("t1")];
    assert_eq!((&record.path, numbers(record)), (&path(&elsewhere), vec![1, 2, 3]));
    // Retention does not take the old path's for the new one's.
    let catalog = world.catalogs().await.remove(&shard(&elsewhere)).unwrap();
    let holds = world.holds().await;
    let plan = prune::plan_shard(&catalog, &a_day(), at(9_999), &holds);
    let report = prune::act(&world.store, &catalog, &plan, &holds).await;
    assert_eq!((report.deleted.len(), report.unproven.len()), (0, 2));
}

#[tokio::test]
async fn an_unreadable_newest_is_a_backup_that_nothing_is_known_of() {
    let world = World::new().await;
    world.store_and_write(&[backup("t1", 1), backup("t1", 2)]).await;
    world.put_bytes(&key("t1", 3).object_key(), b"cut".to_vec()).await;
    world.put_bytes(&key("t1", 4).object_key(), newer(&backup("t1", 4).object().0)).await;
    // An old state under a new key is nothing to go by either.
    world.put_bytes(&key("t2", 9).object_key(), backup("t2", 1).object().0).await;
    let rebuilt = all(&world).await;
    assert!(rebuilt.unreadable.is_empty());
    let records = world.records().await;
    let record = &records[&stem("t1")];
    assert_eq!(numbers(record), [1, 2, 3, 4]);
    assert_eq!((&record.newest, record.fingerprint), (&None, None));
    assert_eq!(records[&stem("t2")].newest, None);
}

#[tokio::test]
async fn foreign_objects_with_our_kind_of_name_are_told_and_belong_to_nobody() {
    let world = World::new().await;
    world.store_and_write(&[backup("t1", 1)]).await;
    let before = world.catalogs().await;
    world.put_bytes(&key("strange", 1).object_key(), b"text".to_vec()).await;
    world.put_bytes(&"readme.txt".to_owned().try_into().unwrap(), b"text".to_vec()).await;
    let rebuilt = all(&world).await;
    assert_eq!((rebuilt.backups, rebuilt.databases), (2, 1));
    assert!(matches!(&rebuilt.unreadable[..], [(name, _)] if *name == stem("strange")));
    assert_eq!(world.catalogs().await, before);
    // Not even when a catalog knows them: it is all there is.
    let (of, held) = (path("/data/strange.db"), HeldHour::new(hour(1), 1, etag("x")));
    let (path, newest, fingerprint) = (of.clone(), None, None);
    let found = Edit::Found { stem: stem("strange"), path, held, newest, fingerprint };
    world.update(&catalog_key(&crate::world::volume(), &of), &owner(1), &[found]).await;
    all(&world).await;
    assert!(world.records().await.contains_key(&stem("strange")));
}

#[tokio::test]
async fn what_is_stored_while_the_listing_runs_is_not_forgotten() {
    let world = World::new().await;
    world.store_and_write(&[backup("t1", 1), backup("t2", 1)]).await;
    // Its owner stores an hour, and writes it down, behind the listing's back.
    let late = backup("t1", 2);
    let (object, footer) = late.object();
    let held = HeldHour::new(hour(2), object.len() as u64, etag("whatever"));
    let newest = Some(ultrasimple_core::catalog::Newest::of(&footer));
    let (path, fingerprint) = (late.path.clone(), None);
    let found = Edit::Found { stem: stem("t1"), path, held, newest, fingerprint };
    let shard = catalog_key(&late.volume, &late.path);
    world.update(&shard, &owner(1), &[found]).await;
    world.faults().after_listing = vec![(late.key().object_key(), object)];
    all(&world).await;
    let record = &world.records().await[&stem("t1")];
    assert_eq!(numbers(record), [1, 2]);
    assert_eq!(record.newest.as_ref().unwrap().hour(), hour(2));
}

#[tokio::test]
async fn a_request_that_fails_costs_one_database_and_not_the_rebuild() {
    let world = World::new().await;
    world.store_and_write(&many()).await;
    let expected = world.records().await;
    world.faults().gets.insert(key("t3", 3).to_string(), 1);
    let rebuilt = all(&world).await;
    assert!(matches!(&rebuilt.unreadable[..], [(name, _)] if *name == stem("t3")));
    assert_eq!(world.records().await, expected);

    let t4 = catalog_key(&crate::world::volume(), &path("/data/t4.db"));
    world.faults().gets.insert(t4.object_key().to_string(), 1);
    let rebuilt = all(&world).await;
    assert!(matches!(&rebuilt.failed[..], [(key, _)] if *key == t4), "{:?}", rebuilt.failed);

    let lots: Vec<_> = (0..120).map(|number| backup(&format!("lots{number}"), 1)).collect();
    for backup in &lots {
        world.put(backup).await;
        world.faults().gets.insert(backup.key().to_string(), 1);
    }
    let failed = rebuild(&world.store, &tool(), |_| true).await;
    assert!(matches!(failed, Err(StoreError::Unavailable(_))), "it does not go on for ever");
}

#[tokio::test]
async fn a_damaged_catalog_is_made_anew_and_a_newer_one_is_left() {
    let world = World::new().await;
    world.store_and_write(&[backup("t1", 1)]).await;
    let expected = without_fingerprints(world.records().await);
    let shard = catalog_key(&crate::world::volume(), &path("/data/t1.db"));
    world.put_bytes(&shard.object_key(), b"junk".to_vec()).await;
    all(&world).await;
    assert_eq!(world.records().await, expected);

    let newer = newer_catalog();
    world.put_bytes(&shard.object_key(), newer).await;
    let rebuilt = all(&world).await;
    assert!(matches!(&rebuilt.failed[..], [(key, why)] if *key == shard && why.contains("newer")));
    assert!(catalogs::read(&world.store, &shard).await.is_err());
}

pub(crate) fn newer_catalog() -> Vec<u8> {
    use std::io::Write;
    let frame = lz4_flex::frame::FrameInfo::new().content_checksum(true);
    let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(frame, Vec::new());
    encoder.write_all(b"{\"format\":2}\nwho knows\n").unwrap();
    encoder.finish().unwrap()
}
