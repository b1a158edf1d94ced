//! Whole cycles, step by step, on real databases and a directory store with faults on demand.

#[path = "replicator_tests/bill.rs"]
mod bill;
#[path = "replicator_tests/fleet.rs"]
mod fleet;
#[path = "replicator_tests/inspection.rs"]
mod inspection;
#[path = "replicator_tests/keeping.rs"]
mod keeping;
#[path = "replicator_tests/mending.rs"]
mod mending;
#[path = "replicator_tests/telling.rs"]
mod telling;
#[path = "replicator_tests/traces.rs"]
mod traces;
#[path = "replicator_tests/world.rs"]
mod world;

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use ultrasimple_core::object;
use ultrasimple_testkit::tree::Snapshot;

use self::world::{Fault, Session, World, counts};
use super::*;
use crate::ReplicatorBuilder;

#[tokio::test(flavor = "multi_thread")]
async fn changed_databases_are_stored_and_unchanged_ones_cost_nothing() {
    let world = World::new().await;
    let (mut a, b) = (world.bank("a.db"), world.bank("b.db"));
    drop(b);
    let mut session = world.session().await;
    assert_eq!(counts(&session.cycle().await), (2, 2, 0, 0));
    assert_eq!(world.restored("a"), a.commits());
    // Files written just now are looked at once more; after that, not at all.
    let before = (world.requests(), Snapshot::take(&world.data("")).unwrap());
    for _ in 0..3 {
        world.clock.advance(Duration::from_secs(15));
        assert_eq!(session.cycle().await.stored, 0);
    }
    assert_eq!(world.requests(), before.0, "R6");
    before.1.assert_unchanged(&world.data(""));
    let commits = a.commit().unwrap();
    assert_eq!(session.cycle().await.stored, 1);
    assert_eq!(world.requests().puts, before.0.puts + 1);
    assert_eq!(world.restored("a"), commits);
    session.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_content_is_not_sent_again() {
    let world = World::new().await;
    drop(world.bank("a.db"));
    let mut session = world.session().await;
    session.cycle().await;
    let file = std::fs::File::open(world.data("a.db")).unwrap();
    file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(1_000)).unwrap();
    let puts = world.requests().puts;
    let report = session.cycle().await;
    assert_eq!((report.stored, report.unchanged), (0, 1));
    assert_eq!(world.requests().puts, puts);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_fails_is_tried_again_by_the_next_cycle() {
    let world = World::new().await;
    let bank = world.bank("a.db");
    let mut session = world.session().await;
    for fault in [Fault::Unavailable, Fault::Panic, Fault::Unavailable] {
        world.fault(fault);
        let report = session.cycle().await;
        assert_eq!((report.stored, report.failed, report.pending), (0, 1, 1), "{fault:?}");
        world.clock.advance(Duration::from_secs(15));
    }
    assert!(!world.key("a").exists());
    world.fault(Fault::None);
    let report = session.cycle().await;
    assert_eq!((report.stored, report.failed, report.pending), (1, 0, 0));
    assert_eq!(world.restored("a"), bank.commits());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_outcome_is_looked_up_not_believed() {
    let world = World::new().await;
    let mut bank = world.bank("a.db");
    let mut session = world.session().await;
    world.fault(Fault::LostReply);
    let report = session.cycle().await;
    assert_eq!((report.stored, report.pending), (0, 1), "R3: not confirmed is not stored");
    let commits = bank.commit().unwrap();
    world.fault(Fault::None);
    world.clock.advance(Duration::from_secs(15));
    let report = session.cycle().await;
    assert_eq!((report.failed, report.pending), (0, 0));
    assert_eq!(world.restored("a"), commits);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_unknown_outcome_the_content_of_before_does_not_pass_for_stored() {
    let world = World::new().await;
    let bank = world.bank("a.db");
    let commits = bank.commits();
    drop(bank);
    let before = std::fs::read(world.data("a.db")).unwrap();
    let mut session = world.session().await;
    assert_eq!(session.cycle().await.stored, 1);
    drop(world.bank("a.db"));
    world.fault(Fault::LostReply);
    world.clock.advance(Duration::from_secs(15));
    assert_eq!(session.cycle().await.pending, 1);
    assert!(world.restored("a") > commits, "it was stored all the same");
    // Somebody restores the database.
    std::fs::write(world.data("a.db"), before).unwrap();
    world.fault(Fault::None);
    world.clock.advance(Duration::from_secs(15));
    let report = session.cycle().await;
    assert_eq!((report.stored, report.failed, report.pending), (1, 0, 0));
    assert_eq!(world.restored("a"), commits);
    session.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_sends_nothing_that_is_there() {
    let world = World::new().await;
    let mut bank = world.bank("a.db");
    let mut session = world.session().await;
    session.cycle().await;
    session.stop().await;
    world.clock.advance(Duration::from_secs(15));
    let bytes = std::fs::metadata(world.key("a")).unwrap().modified().unwrap();
    let mut session = world.session().await;
    let report = session.cycle().await;
    assert_eq!((report.failed, report.pending, report.bytes), (0, 0, 0));
    assert_eq!(std::fs::metadata(world.key("a")).unwrap().modified().unwrap(), bytes);
    let commits = bank.commit().unwrap();
    world.clock.advance(Duration::from_secs(15));
    session.cycle().await;
    assert_eq!(world.restored("a"), commits);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_down_is_not_asked_for_every_database() {
    let world = World::new().await;
    for i in 0..60 {
        drop(world.bank(&format!("t{i}.db")));
    }
    let replicator = world.builder().concurrent(4).build().unwrap();
    let mut session = Session::start(replicator).await;
    world.fault(Fault::Unavailable);
    for _ in 0..2 {
        let before = session.replicator.statistics().uploads_failed;
        let report = session.cycle().await;
        assert_eq!((report.stored, report.pending), (0, 60));
        let attempts = session.replicator.statistics().uploads_failed - before;
        assert!((20..=24).contains(&attempts), "{attempts} attempts, {report:?}");
        world.clock.advance(Duration::from_secs(15));
    }
    world.fault(Fault::None);
    let report = session.cycle().await;
    assert_eq!((report.stored, report.failed, report.pending), (60, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_failing_comes_last_and_costs_no_budget() {
    let world = World::new().await;
    for i in 0..9 {
        std::fs::write(world.data(&format!("bad{i}.db")), "not a database".repeat(99)).unwrap();
    }
    let replicator = world.builder().concurrent(1).put_budget(Some(320)).build().unwrap();
    let mut session = Session::start(replicator).await;
    // A day's worth is ten requests, and the start has made some: the bad ones must not use up the others.
    assert_eq!(session.cycle().await.failed, 9);
    world.clock.advance(Duration::from_secs(15));
    drop(world.bank("good.db"));
    let report = session.cycle().await;
    assert_eq!((report.stored, report.failed), (1, 9));
}

#[tokio::test(flavor = "multi_thread")]
async fn when_an_actor_fails_all_begin_anew() {
    let world = World::new().await;
    let mut bank = world.bank("a.db");
    let mut session = world.session().await;
    session.cycle().await;
    let tree = session.node.tree().await.unwrap();
    tree.kill();
    while Arc::ptr_eq(&tree, &session.node.tree().await.unwrap()) {
        tokio::task::yield_now().await;
    }
    let commits = bank.commit().unwrap();
    world.clock.advance(Duration::from_secs(15));
    let report = session.cycle().await;
    assert_eq!((report.databases, report.stored, report.failed), (1, 1, 0));
    assert_eq!(world.restored("a"), commits);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_daemon_makes_the_first_stop() {
    let world = World::new().await;
    let mut bank = world.bank("a.db");
    let mut first = world.session().await;
    first.cycle().await;
    let mut second = world.session().await;
    bank.commit().unwrap();
    world.clock.advance(Duration::from_secs(15));
    second.cycle().await;
    let commits = bank.commit().unwrap();
    second.cycle().await;
    // The first one wakes up and has something to say: it must not get through.
    world.clock.advance(Duration::from_secs(15));
    first.cycle().await;
    assert!(first.running.halted().await.to_string().contains("a later daemon"));
    assert_eq!(world.restored("a"), commits);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_of_a_database_is_stored_although_the_clock_was_set_back_within_the_hour() {
    let world = World::new().await;
    let mut bank = world.bank("a.db");
    let mut session = world.session().await;
    session.cycle().await;
    session.stop().await;
    // The daemon restarts; what it stored last it knows by its tag, not by the time.
    world.clock.set_back(Duration::from_mins(2));
    bank.commit().unwrap();
    let mut session = world.session().await;
    let report = session.cycle().await;
    assert_eq!((report.stored, report.failed, report.pending), (1, 0, 0));
    assert_eq!(world.restored("a"), bank.commits());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_state_is_under_the_newest_key() {
    let world = World::new().await;
    let mut bank = world.bank("a.db");
    let mut session = world.session().await;
    session.cycle().await;
    bank.commit().unwrap();
    world.clock.set_back(Duration::from_mins(10));
    let report = session.cycle().await;
    assert_eq!((report.stored, report.failed), (0, 1), "13:05 became 12:55");
    world.clock.advance(Duration::from_mins(6));
    assert_eq!(session.cycle().await.stored, 1);
    assert_eq!(world.restored("a"), bank.commits());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_backup_is_not_replaced_by_a_damaged_one() {
    use std::os::unix::fs::FileExt;
    let world = World::new().await;
    drop(world.bank("a.db"));
    let mut session = world.session().await;
    session.cycle().await;
    let good = world.restored("a");
    let file = std::fs::File::options().write(true).open(world.data("a.db")).unwrap();
    file.write_all_at(&[0xAA; 12_288], 4_096).unwrap();
    // So that the damaged file is not taken for one that is being written.
    file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(1_000)).unwrap();
    for _ in 0..2 {
        world.clock.advance(Duration::from_secs(15));
        let report = session.cycle().await;
        assert_eq!((report.stored, report.failed), (0, 1));
        assert_eq!(world.restored("a"), good);
    }
    world.clock.advance(Duration::from_hours(1));
    let report = session.cycle().await;
    assert_eq!((report.stored, report.failed), (1, 1), "stored under the next hour, and reported");
    let object = std::fs::read(world.key("a")).unwrap();
    assert!(object::decode(&object[..], std::io::sink()).unwrap().check.is_marked());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_database_never_stops_another() {
    let world = World::new().await;
    let good = world.bank("good.db");
    std::fs::write(world.data("text.db"), "not a database, but long enough to be one".repeat(99))
        .unwrap();
    std::fs::write(world.data("empty.db"), "").unwrap();
    std::os::unix::fs::symlink("nowhere", world.data("dangling.db")).unwrap();
    drop(world.bank("twin"));
    drop(world.bank("twin.db"));
    let mut session = world.session().await;
    let report = session.cycle().await;
    assert_eq!((report.databases, report.stored, report.failed), (6, 1, 5));
    assert_eq!(world.restored("good"), good.commits());
    // The collision ends with one of the two.
    std::fs::remove_file(world.data("twin")).unwrap();
    let report = session.cycle().await;
    assert_eq!((report.databases, report.stored, report.failed), (5, 1, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_foreign_is_overwritten() {
    let world = World::new().await;
    drop(world.bank("a.db"));
    std::fs::write(world.key("a"), "somebody's").unwrap();
    let mut session = world.session().await;
    let report = session.cycle().await;
    assert_eq!((report.stored, report.failed), (0, 1));
    assert_eq!(std::fs::read(world.key("a")).unwrap(), b"somebody's");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_without_conditions_is_looked_at_first() {
    let world = World::new().await;
    world.store.unconditional.store(true, Ordering::SeqCst);
    let mut bank = world.bank("a.db");
    let mut session = world.session().await;
    assert_eq!(session.cycle().await.stored, 1);
    bank.commit().unwrap();
    world.clock.advance(Duration::from_secs(15));
    assert_eq!(session.cycle().await.stored, 1);
    assert_eq!(world.restored("a"), bank.commits());
    std::fs::write(world.key("a"), "somebody's").unwrap();
    bank.commit().unwrap();
    world.clock.advance(Duration::from_secs(15));
    assert_eq!(session.cycle().await.stored, 0);
    assert_eq!(std::fs::read(world.key("a")).unwrap(), b"somebody's");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_store_does_not_hold_up_the_end() {
    let world = World::new().await;
    drop(world.bank("a.db"));
    world.fault(Fault::Hang);
    let replicator = world.builder().drain_timeout(Duration::from_millis(10)).build().unwrap();
    let cancel = CancellationToken::new();
    let running = replicator.run(Duration::from_millis(100), cancel.clone());
    let stop = async {
        while world.store.hanging.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
    };
    let both = async { tokio::join!(running, stop).0 };
    tokio::time::timeout(Duration::from_mins(1), both).await.expect("it hangs").unwrap();
}

#[tokio::test]
async fn it_stops_at_once_after_a_cycle_that_was_broken_off() {
    let world = World::new().await;
    drop(world.bank("a.db"));
    world.fault(Fault::Hang);
    let replicator = world.builder().drain_timeout(Duration::ZERO).build().unwrap();
    let cancel = CancellationToken::new();
    let running = replicator.run(Duration::from_hours(1), cancel.clone());
    let stop = async {
        while world.store.hanging.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        let node = replicator.running.lock().unwrap().clone().unwrap();
        let tree = node.tree().await.unwrap();
        tree.kill();
        // So nor does the cycle any more: it has heard of that by then, and waits for the next tick.
        tree.when_idle().await.unwrap_err();
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
    };
    let both = async { tokio::join!(running, stop).0 };
    tokio::time::timeout(Duration::from_mins(1), both).await.expect("it waits").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn ticks_are_kept_while_uploads_drag_on() {
    let world = World::new().await;
    drop(world.bank("a.db"));
    world.fault(Fault::Hang);
    let replicator = world.builder().drain_timeout(Duration::ZERO).build().unwrap();
    let cancel = CancellationToken::new();
    let running = replicator.run(Duration::from_millis(20), cancel.clone());
    let stop = async {
        while replicator.statistics().scans < 5 {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
    };
    let both = async { tokio::join!(running, stop).0 };
    tokio::time::timeout(Duration::from_mins(1), both).await.expect("no ticks").unwrap();
    assert_eq!(world.store.hanging.load(Ordering::SeqCst), 1, "one entry per database");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_writes_nothing_and_says_why() {
    let world = World::new().await;
    drop(world.bank("a.db"));
    std::fs::write(world.data("text.db"), "not a database".repeat(99)).unwrap();
    let mut lines = Vec::new();
    let replicator = world.builder().build().unwrap();
    let report = replicator
        .dry_run(CancellationToken::new(), |line| lines.push(line.to_string()))
        .await
        .unwrap();
    assert_eq!((report.stored, report.failed), (1, 1));
    assert_eq!(world.requests().put_class(), 0);
    assert!(
        lines[0].starts_with("would upload: ") && lines[0].contains("a-20240115-140000.db.lz4")
    );
    assert!(lines[1].starts_with("would fail: ") && lines[1].contains("text.db"), "{lines:?}");
    replicator.run_once(CancellationToken::new()).await.unwrap();
    lines.clear();
    replicator
        .dry_run(CancellationToken::new(), |line| lines.push(line.to_string()))
        .await
        .unwrap();
    assert!(lines[0].starts_with("nothing to do: "), "{lines:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_streamed() {
    let world = World::new().await;
    let mut bank = world.bank("a.db");
    bank.connection()
        .execute_batch("CREATE TABLE big(x); INSERT INTO big VALUES (randomblob(6000000));")
        .unwrap();
    let commits = bank.commit().unwrap();
    let replicator = world.builder().memory_budget(16 << 20).build().unwrap();
    let mut session = Session::start(replicator).await;
    assert_eq!(session.cycle().await.stored, 1);
    assert_eq!(world.restored("a"), commits);
    let left: Vec<_> = std::fs::read_dir(world.folder.path().join("scratch"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file() && std::fs::metadata(path).unwrap().len() > 1_000_000)
        .collect();
    assert_eq!(left, Vec::<PathBuf>::new(), "the spool is left behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_shards_are_refused() {
    let world = World::new().await;
    world.session().await.stop().await;
    let other = world.builder().shards(8).build().unwrap();
    let error = other.run_once(CancellationToken::new()).await.unwrap_err().to_string();
    assert!(error.contains("-shards 4"), "{error}");
}

#[test]
fn bad_settings_are_refused_by_name() {
    let build = |builder: ReplicatorBuilder| builder.build().unwrap_err().to_string();
    assert!(build(ReplicatorBuilder::default()).contains("pattern"));
    assert!(build(ReplicatorBuilder::default().pattern("/x/*.db")).contains("store"));
    assert!(build(ReplicatorBuilder::default().pattern("x")).contains("\"x\""));
    let zero = ReplicatorBuilder::default().pattern("/x").concurrent(0);
    assert!(build(zero).contains("concurrent"));
    let any = || ReplicatorBuilder::default().pattern("/x");
    for (bad, said) in [
        (any().retention_days(0), "0 days of retention are outside 1 to 36500"),
        (any().keep("daily"), "\"daily\" is not a rule"),
        (any().verify_percent_per_day(101.0), "verify_percent_per_day: it must be"),
        (any().retention_days(7).keep("daily=30"), "no store"),
        (any().keep("hourly=48"), "no store"),
    ] {
        let error = build(bad);
        assert!(error.contains(said), "{said}: {error}");
    }
}
