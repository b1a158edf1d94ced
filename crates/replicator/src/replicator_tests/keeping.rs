//! Catalogs over whole cycles, restarts and crashes.

use ultrasimple_core::KeyStem;

use super::*;

pub(super) const HOUR: Duration = Duration::from_hours(1);
pub(super) const DAY: Duration = Duration::from_hours(24);

pub(super) fn stem(text: &str) -> KeyStem {
    KeyStem::try_from(text.to_owned()).unwrap()
}

/// Lets the files' times be past for certain, by the real clock, so that fingerprints settle.
pub(super) async fn settle(world: &World, session: &mut Session) {
    for _ in 0..3 {
        world.clock.advance(Duration::from_secs(15));
        session.cycle().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_over_unchanged_databases_sends_nothing() {
    let world = World::new().await;
    for n in 0..10 {
        drop(world.bank(&format!("t{n}.db")));
    }
    let before = world.requests().gets;
    let mut session = world.session().await;
    assert_eq!(session.cycle().await.stored, 10);
    settle(&world, &mut session).await;
    session.stop().await;
    let gets = world.requests().gets - before;
    assert_eq!(gets, 1 + 4, "the epoch, and that no shard has a catalog, which is asked once");
    assert_eq!(world.catalog().await.len(), 10);
    for hours in [0, 1, 30] {
        world.clock.advance(HOUR * hours);
        let before = world.requests();
        let mut session = world.session().await;
        let report = session.cycle_and_keep().await;
        assert_eq!((report.databases, report.stored, report.unchanged), (10, 0, 0));
        session.stop().await;
        let after = world.requests();
        if hours < 24 {
            assert_eq!(after.puts - before.puts, 1, "the epoch");
            assert_eq!(after.gets - before.gets, 1 + 4, "the epoch, and each shard's catalog");
            assert_eq!(after.lists - before.lists, 0);
        }
    }
    assert_eq!(world.backups().len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_only_what_changed_since_the_catalog_is_captured_and_what_is_there_is_not_sent()
 {
    let world = World::new().await;
    let mut bank = world.bank("a.db");
    for n in 0..5 {
        drop(world.bank(&format!("t{n}.db")));
    }
    let mut session = world.session().await;
    session.cycle().await;
    settle(&world, &mut session).await;
    world.clock.advance(Duration::from_mins(2));
    session.cycle_and_keep().await;
    assert_eq!(world.catalog().await.len(), 6, "soon after a first backup");
    bank.commit().unwrap();
    world.clock.advance(Duration::from_mins(1));
    assert_eq!(session.cycle().await.stored, 1);
    session.kill().await;
    // The next start is in another hour: the backup is there under the hour before.
    world.clock.advance(HOUR);
    let backups = world.backups();
    let mut session = world.session().await;
    let report = session.cycle().await;
    assert_eq!((report.stored, report.unchanged, report.failed), (0, 1, 0));
    assert_eq!(world.backups(), backups);
    settle(&world, &mut session).await;
    session.stop().await;
    let mut session = world.session().await;
    let report = session.cycle().await;
    assert_eq!((report.stored, report.unchanged), (0, 0), "the catalogs know it now");
    session.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_state_restored_after_a_kill_is_the_newest_backup_again() {
    for hours in [0, 1] {
        let world = World::new().await;
        drop(world.bank("a.db"));
        let old = std::fs::read(world.data("a.db")).unwrap();
        let mut session = world.session().await;
        session.cycle().await;
        settle(&world, &mut session).await;
        world.clock.advance(Duration::from_mins(2));
        session.cycle_and_keep().await;
        assert_eq!(world.catalog().await.len(), 1);
        // Of what comes now no catalog tells: the host crashes, and an older state is restored.
        world.clock.advance(HOUR);
        drop(world.bank("a.db"));
        assert_eq!(session.cycle().await.stored, 1);
        session.kill().await;
        std::fs::write(world.data("a.db"), &old).unwrap();
        world.clock.advance(HOUR * hours + Duration::from_mins(5));
        let mut session = world.session().await;
        let report = session.cycle().await;
        assert_eq!((report.stored, report.failed), (1, 0), "{hours}");
        assert_eq!(world.restored_from(world.backups().last().unwrap()), 2, "{hours}");
        session.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_was_only_touched_while_nobody_looked_is_sent_again_only_after_a_kill() {
    let world = World::new().await;
    drop(world.bank("a.db"));
    let mut session = world.session().await;
    session.cycle().await;
    settle(&world, &mut session).await;
    session.stop().await;
    for (is_kill, wait) in [(false, Duration::from_mins(1)), (false, 5 * HOUR), (true, 5 * HOUR)] {
        let file = std::fs::File::open(world.data("a.db")).unwrap();
        file.set_modified(std::time::UNIX_EPOCH + wait).unwrap();
        world.clock.advance(wait);
        let mut session = world.session().await;
        let report = session.cycle().await;
        assert_eq!((report.stored, report.unchanged, report.failed), (0, 1, 0));
        settle(&world, &mut session).await;
        if is_kill {
            session.kill().await;
        } else {
            session.stop().await;
        }
    }
    assert_eq!(world.backups().len(), 1);
    // It may have had another content in between, and the one that was killed a write of that on its way.
    let file = std::fs::File::open(world.data("a.db")).unwrap();
    file.set_modified(std::time::UNIX_EPOCH).unwrap();
    let mut session = world.session().await;
    assert_eq!(counts(&session.cycle().await), (1, 1, 0, 0));
    session.stop().await;
    assert_eq!(world.backups().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_was_set_back_before_a_kill_puts_no_newest_state_under_an_earlier_key() {
    let world = World::new().await;
    drop(world.bank("a.db"));
    let mut session = world.session().await;
    session.cycle().await;
    settle(&world, &mut session).await;
    world.clock.advance(Duration::from_mins(2));
    session.cycle_and_keep().await;
    // No catalog knows this one yet; it belongs to the same shard or to another.
    for name in ["b.db", "c.db", "d.db", "e.db"] {
        drop(world.bank(name));
    }
    assert_eq!(session.cycle().await.stored, 4);
    session.kill().await;
    let known = world.catalog().await.len();
    assert_eq!(known, 1);
    for name in ["b.db", "c.db", "d.db", "e.db"] {
        drop(world.bank(name));
    }
    let backups = world.backups();
    world.clock.set_back(HOUR);
    let mut session = world.session().await;
    let report = session.cycle().await;
    assert_eq!((report.stored, report.failed), (0, 4));
    assert_eq!(world.backups(), backups);
    world.clock.advance(HOUR + Duration::from_mins(1));
    assert_eq!(session.cycle().await.stored, 4);
    session.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn catalogs_that_are_missing_or_damaged_are_made_again_and_nothing_is_sent_again() {
    let world = World::new().await;
    for n in 0..10 {
        drop(world.bank(&format!("t{n}.db")));
    }
    let mut session = world.session().await;
    session.cycle().await;
    settle(&world, &mut session).await;
    session.stop().await;
    let whole = world.catalog().await;
    let folder = world.object(".ultrasimple/v1/catalog/default");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<_> = files.collect();
    let another = std::fs::read(&files[0]).unwrap();
    for (n, path) in files.iter().enumerate() {
        let bytes = std::fs::read(path).unwrap();
        match n {
            0 => std::fs::remove_file(path).unwrap(),
            1 => std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap(),
            2 => std::fs::write(path, b"something else").unwrap(),
            _ => std::fs::write(path, &another).unwrap(),
        }
    }
    world.clock.advance(2 * HOUR);
    let backups = world.backups();
    let mut session = world.session().await;
    let report = session.cycle().await;
    assert_eq!((report.stored, report.unchanged, report.failed), (0, 0, 0));
    settle(&world, &mut session).await;
    session.stop().await;
    assert_eq!(world.backups(), backups);
    let again = world.catalog().await;
    let hours =
        |catalog: &std::collections::BTreeMap<KeyStem, ultrasimple_core::catalog::Record>| {
            let all = catalog.iter().map(|(stem, record)| (stem.clone(), record.hours.clone()));
            all.collect::<Vec<_>>()
        };
    assert_eq!(hours(&again), hours(&whole));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_of_a_newer_version_is_not_written_over() {
    let world = World::new().await;
    let mut bank = world.bank("a.db");
    let mut session = world.session().await;
    session.cycle().await;
    session.stop().await;
    let folder = world.object(".ultrasimple/v1/catalog/default");
    let path = std::fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    let mut newer = lz4_flex::frame::FrameEncoder::with_frame_info(
        lz4_flex::frame::FrameInfo::new().content_checksum(true),
        Vec::new(),
    );
    std::io::Write::write_all(&mut newer, b"{\"format\":2}\n").unwrap();
    let newer = newer.finish().unwrap();
    std::fs::write(&path, &newer).unwrap();
    bank.commit().unwrap();
    let mut session = world.session().await;
    assert_eq!(session.cycle().await.stored, 1, "backups go on");
    session.stop().await;
    assert_eq!(std::fs::read(&path).unwrap(), newer);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_that_may_not_be_read_does_not_stop_the_backups() {
    let world = World::new().await;
    for n in 0..10 {
        drop(world.bank(&format!("t{n}.db")));
    }
    let mut session = world.session().await;
    session.cycle().await;
    session.stop().await;
    let folder = ".ultrasimple/v1/catalog/default";
    let first = std::fs::read_dir(world.object(folder)).unwrap().next().unwrap().unwrap();
    let key = format!("{folder}/{}", first.file_name().to_str().unwrap());
    *world.store.denied.lock().unwrap() = Some(key);
    for n in 0..10 {
        drop(world.bank(&format!("t{n}.db")));
    }
    let mut session = world.session().await;
    let report = session.cycle().await;
    assert_eq!((report.stored, report.failed), (10, 0));
    session.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_has_lost_all_but_the_backups_goes_on() {
    let world = World::new().await;
    for n in 0..5 {
        drop(world.bank(&format!("t{n}.db")));
    }
    for _ in 0..3 {
        let mut session = world.session().await;
        session.cycle().await;
        settle(&world, &mut session).await;
        session.stop().await;
    }
    std::fs::remove_dir_all(world.object(".ultrasimple/v1")).unwrap();
    let backups = world.backups();
    world.clock.advance(HOUR);
    let mut session = world.session().await;
    let report = session.cycle().await;
    assert_eq!((report.stored, report.unchanged, report.failed), (0, 0, 0), "the footers tell all");
    session.stop().await;
    assert_eq!(world.backups(), backups);
    assert_eq!(world.catalog().await.len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_least_interval_counts_from_the_last_backup_also_over_a_restart() {
    let world = World::new().await;
    world.clock.advance(2 * DAY);
    let mut bank = world.bank("a.db");
    let start = async || {
        let builder = world.builder().min_upload_interval(Duration::from_mins(5));
        Session::start(builder.build().unwrap()).await
    };
    let mut session = start().await;
    assert_eq!(session.cycle().await.stored, 1);
    session.stop().await;
    bank.commit().unwrap();
    for (minutes, stored) in [(2, 0), (4, 1)] {
        world.clock.advance(Duration::from_mins(minutes));
        let mut session = start().await;
        assert_eq!(session.cycle().await.stored, stored, "{minutes}");
        session.stop().await;
    }
}
