//! Retention, verification and comparison over whole cycles: what goes, and what is made again.

use ultrasimple_core::catalog::Edit;
use ultrasimple_core::hold::Hold;
use ultrasimple_core::{Hour, ShardId, ShardKey, Timestamp};
use ultrasimple_keeper::{Author, catalogs, holds};

use super::keeping::{DAY, HOUR, settle, stem};
use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn retention_deletes_what_was_replaced_long_ago_and_never_the_newest() {
    let world = World::new().await;
    let mut hot = world.bank("hot.db");
    drop(world.bank("idle.db"));
    drop(world.bank("gone.db"));
    let mut held = world.bank("held.db");
    let hold = Hold::new(stem("held"), Timestamp::UNIX_EPOCH, None);
    holds::place(&*world.store, &hold).await.unwrap();
    let mut session = world.session().await;
    session.cycle().await;
    for name in ["gone.db", "gone.db-wal", "gone.db-shm"] {
        let _ = std::fs::remove_file(world.data(name));
    }
    // Two backups a day, for 40 days.
    for _ in 0..80 {
        world.clock.advance(DAY / 2);
        hot.commit().unwrap();
        held.commit().unwrap();
        session.cycle_and_keep().await;
    }
    let backups = world.backups();
    let count = |name: &str| backups.iter().filter(|key| key.starts_with(name)).count();
    assert_eq!((count("idle"), count("gone"), count("held")), (1, 1, 81));
    // 60 in 30 days, the one in force when they began, and perhaps one more by the hour.
    assert!((60..=62).contains(&count("hot")), "{}", count("hot"));
    assert_eq!(world.restored("hot"), hot.commits());
    assert_eq!(session.replicator.statistics().keeping.deleted, 81 - count("hot") as u64);
    session.stop().await;
    assert_eq!(world.catalog().await[&stem("hot")].hours.len(), count("hot"));
    let mut session = world.session().await;
    assert!(world.catalog().await[&stem("gone")].gone_since.is_some());
    // Released, the held ones go as well.
    holds::release(&*world.store, &stem("held")).await.unwrap();
    for _ in 0..3 {
        world.clock.advance(DAY / 2);
        session.cycle_and_keep().await;
    }
    let held = world.backups().iter().filter(|key| key.starts_with("held")).count();
    assert!(held < 65, "{held}");
    session.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_ahead_of_the_store_deletes_nothing() {
    let world = World::new().await;
    let mut bank = world.bank("a.db");
    let mut session = world.session().await;
    *world.store.time.lock().unwrap() = Some(world.clock.now());
    session.cycle().await;
    world.clock.advance(DAY);
    *world.store.time.lock().unwrap() = Some(world.clock.now());
    bank.commit().unwrap();
    session.cycle_and_keep().await;
    world.clock.advance(400 * DAY);
    for _ in 0..3 {
        world.clock.advance(HOUR);
        session.cycle_and_keep().await;
    }
    assert_eq!(world.backups().len(), 2);
    assert_eq!(session.replicator.statistics().keeping.deleted, 0);
    // The store agrees at last.
    for _ in 0..3 {
        world.clock.advance(HOUR);
        *world.store.time.lock().unwrap() = Some(world.clock.now());
        session.cycle_and_keep().await;
    }
    assert_eq!(world.backups().len(), 1);
    session.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_mount_deletes_nothing() {
    let world = World::new().await;
    let mut banks: Vec<_> = (0..4).map(|n| world.bank(&format!("t{n}.db"))).collect();
    let mut session = world.session().await;
    session.cycle().await;
    world.clock.advance(DAY);
    for bank in &mut banks {
        bank.commit().unwrap();
    }
    session.cycle_and_keep().await;
    assert_eq!(world.backups().len(), 8);
    let away = world.folder.path().join("away");
    std::fs::rename(world.data(""), &away).unwrap();
    for _ in 0..50 {
        world.clock.advance(DAY);
        session.cycle_and_keep().await;
    }
    assert_eq!(world.backups().len(), 4, "the newest of each");
    session.stop().await;
    // Nor does a start at which nothing is there.
    let mut session = world.session().await;
    world.clock.advance(DAY);
    session.cycle_and_keep().await;
    assert_eq!(world.backups().len(), 4);
    std::fs::rename(&away, world.data("")).unwrap();
    world.clock.advance(HOUR);
    let report = session.cycle().await;
    assert_eq!((report.stored, report.failed), (0, 0), "all is as it was");
    session.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_is_deleted_behind_our_back_is_noticed_and_made_again() {
    let world = World::new().await;
    drop(world.bank("a.db"));
    drop(world.bank("b.db"));
    let mut session = world.session().await;
    session.cycle().await;
    settle(&world, &mut session).await;
    let backups = world.backups();
    std::fs::remove_file(world.object(&backups[0])).unwrap();
    // Unknown, and none of ours.
    std::fs::write(world.object("x-20240101-000000.db.lz4"), b"a stranger's").unwrap();
    for _ in 0..2 {
        world.clock.advance(13 * HOUR);
        session.cycle_and_keep().await;
    }
    let report = session.cycle().await;
    assert_eq!(report.stored, 1, "{:?}", session.replicator.statistics());
    let keeping = session.replicator.statistics().keeping;
    assert_eq!((keeping.missing, keeping.foreign), (1, 1));
    assert_eq!(world.backups().len(), 3);
    assert!(world.object("x-20240101-000000.db.lz4").exists());
    session.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_another_state_replaced_behind_our_back_is_made_again() {
    for is_later in [false, true] {
        let world = World::new().await;
        let mut bank = world.bank("a.db");
        let mut session = world.session().await;
        session.cycle().await;
        let old = std::fs::read(world.key("a")).unwrap();
        world.clock.advance(HOUR);
        bank.commit().unwrap();
        session.cycle().await;
        settle(&world, &mut session).await;
        let newest = world.key("a");
        if is_later {
            // What only a daemon before this one can have stored, of a state that is no more.
            world.clock.advance(HOUR);
            let stray = format!("a-{}.db.lz4", Hour::of(world.clock.now()));
            std::fs::write(world.object(&stray), another(&old, &world)).unwrap();
        } else {
            let captured_at = world.clock.now() - 2 * Duration::from_mins(1);
            std::fs::write(&newest, at(&old, captured_at)).unwrap();
        }
        for _ in 0..2 {
            world.clock.advance(13 * HOUR);
            session.cycle_and_keep().await;
        }
        session.cycle().await;
        let last = world.backups().pop().unwrap();
        assert_eq!(world.restored_from(&last), bank.commits(), "{is_later}");
        let backups = world.backups();
        for _ in 0..3 {
            world.clock.advance(13 * HOUR);
            session.cycle_and_keep().await;
        }
        assert_eq!(world.backups(), backups, "once only");
        session.stop().await;
    }
}

/// A backup of the same database and content, captured now.
fn another(object: &[u8], world: &World) -> Vec<u8> {
    at(object, world.clock.now())
}

/// A backup of the same database and content, captured at another time.
fn at(object: &[u8], captured_at: Timestamp) -> Vec<u8> {
    let mut image = Vec::new();
    let footer = object::decode(object, &mut image).unwrap();
    let fields = ultrasimple_core::footer::FooterFields {
        volume: footer.volume,
        path: footer.path,
        shard: footer.shard,
        mode: footer.mode,
        captured_at,
        node: footer.node,
        epoch: footer.epoch,
        check: footer.check,
        fingerprint: None,
    };
    object::encode_hashed(&image, footer.blake3, fields).unwrap().0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_may_not_be_read_does_not_stop_the_verification_of_the_others() {
    let world = World::new().await;
    for n in 0..5 {
        drop(world.bank(&format!("t{n}.db")));
    }
    let builder = world.builder().verify_percent_per_day(100.0).shards(1);
    let mut session = Session::start(builder.build().unwrap()).await;
    session.cycle().await;
    settle(&world, &mut session).await;
    world.clock.advance(Duration::from_mins(2));
    session.cycle_and_keep().await;
    *world.store.denied.lock().unwrap() = Some("t0-".to_owned());
    for _ in 0..3 {
        world.clock.advance(13 * HOUR);
        session.cycle_and_keep().await;
    }
    let unverified = world.catalog().await.into_iter().filter(|(_, record)| {
        record.newest_hour().is_some_and(|newest| newest.verified_at.is_none())
    });
    assert_eq!(unverified.map(|(stem, _)| stem).collect::<Vec<_>>(), [stem("t0")]);
    session.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_retention_may_not_read_does_not_keep_the_catalog_from_being_written() {
    let world = World::new().await;
    let mut bank = world.bank("a.db");
    let mut session = Session::start(world.builder().shards(1).build().unwrap()).await;
    for _ in 0..3 {
        session.cycle_and_keep().await;
        world.clock.advance(20 * DAY);
        bank.commit().unwrap();
    }
    *world.store.denied.lock().unwrap() = Some(".ultrasimple/v1/hold".to_owned());
    drop(world.bank("b.db"));
    session.cycle_and_keep().await;
    for _ in 0..2 {
        world.clock.advance(HOUR);
        session.cycle_and_keep().await;
    }
    assert!(world.catalog().await.contains_key(&stem("b")));
    assert_eq!(session.replicator.statistics().keeping.deleted, 0);
    session.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_corrupt_newest_backup_is_found_and_made_again_in_the_next_hour() {
    let world = World::new().await;
    let bank = world.bank("a.db");
    let builder = world.builder().verify_percent_per_day(100.0);
    let mut session = Session::start(builder.build().unwrap()).await;
    session.cycle().await;
    settle(&world, &mut session).await;
    world.clock.advance(Duration::from_mins(2));
    session.cycle_and_keep().await;
    let key = world.key("a");
    let mut bytes = std::fs::read(&key).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&key, &bytes).unwrap();
    for _ in 0..3 {
        world.clock.advance(13 * HOUR);
        session.cycle_and_keep().await;
    }
    let statistics = session.replicator.statistics();
    assert_eq!(statistics.keeping.verify_failures, 1, "{statistics:?}");
    session.cycle().await;
    let backups = world.backups();
    assert_eq!(backups.len(), 2);
    assert_eq!(world.restored_from(&backups[1]), bank.commits());
    session.stop().await;
}

/// A capture of the same content would take what stands there, footer and all, for the proof that it is stored.
#[tokio::test(flavor = "multi_thread")]
async fn a_corrupt_backup_is_made_again_by_a_restart_even_in_its_hour() {
    let world = World::new().await;
    let bank = world.bank("a.db");
    let start = async || Session::start(world.builder().shards(1).build().unwrap()).await;
    let mut session = start().await;
    session.cycle().await;
    session.stop().await;
    let mut bytes = std::fs::read(world.key("a")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(world.key("a"), &bytes).unwrap();
    // As `ultrasimple-ctl verify` records it.
    let newest = world.catalog().await[&stem("a")].newest_hour().unwrap().clone();
    let now = world.clock.now();
    let fault = Edit::Verified {
        stem: stem("a"),
        hour: newest.hour,
        etag: newest.etag,
        at: now,
        fault: Some("it is corrupt".into()),
    };
    let key = ShardKey { volume: "default".parse().unwrap(), shard: ShardId(0) };
    let (node, epoch) = ("operator".parse().unwrap(), None);
    let author = Author { node, epoch, shards: 1, now, is_final: false };
    catalogs::update(&*world.store, &key, &author, &[fault]).await.unwrap();
    let has_fault = async || world.catalog().await[&stem("a")].newest_is_bad().is_some();
    assert!(has_fault().await);

    let mut session = start().await;
    assert_eq!(session.cycle().await.stored, 1);
    session.stop().await;
    assert_eq!(world.backups().len(), 1, "in its place");
    assert_eq!(world.restored_from(&world.backups()[0]), bank.commits());
    assert!(!has_fault().await);
}
