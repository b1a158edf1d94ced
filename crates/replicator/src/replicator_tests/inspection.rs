//! What people are shown of a node that runs.

use ultrasimple_core::{Hour, SourcePath};

use super::keeping::settle;
use super::*;

fn contains(text: &'static str) -> impl Fn(&SourcePath) -> bool + Send + 'static {
    move |path| path.to_string().contains(text)
}

/// No file of that name is a database; each has content of its own.
fn junk(world: &World, name: &str) {
    std::fs::write(world.data(name), format!("{name} is not a database. ").repeat(100)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn failing_databases_are_named_with_the_reason_and_since_when() {
    let world = World::new().await;
    drop(world.bank("good.db"));
    junk(&world, "first.db");
    let mut session = world.session().await;
    assert_eq!(session.cycle().await.failed, 1);
    world.clock.advance(Duration::from_secs(90));
    for n in 0..5 {
        junk(&world, &format!("later{n}.db"));
    }
    assert_eq!(session.cycle().await.failed, 6);
    world.clock.advance(Duration::from_secs(10));

    let portrait = session.replicator.portrait(3).await.unwrap().unwrap();
    let first = &portrait.failing[0];
    assert_eq!(first.path, SourcePath::new(&world.data("first.db")));
    assert_eq!((first.trouble.lasts, first.trouble.attempts), (Duration::from_secs(100), 2));
    assert!(!first.trouble.reason.is_empty());
    assert_eq!(portrait.failing.len(), 3, "no more than asked for");
    let count = |up_to| {
        let ages = portrait.ages.iter().find(|ages| ages.up_to == up_to).unwrap();
        (ages.waiting, ages.failing)
    };
    assert_eq!(count(Some(Duration::from_secs(15))), (0, 5));
    assert_eq!(count(Some(Duration::from_mins(5))), (0, 1));
    assert_eq!(count(None), (0, 0));
    let shards = session.replicator.shards().await.unwrap();
    let most = |of: fn(&ShardStatus) -> f64| shards.iter().map(of).fold(0.0, f64::max);
    assert!(most(|shard| shard.exposure_seconds) >= 100.0);
    assert!(most(|shard| shard.waiting_seconds) <= 0.0, "damage is the database's own");

    world.fault(Fault::Unavailable);
    drop(world.bank("new.db"));
    session.cycle().await;
    world.clock.advance(Duration::from_secs(40));
    let shards = session.replicator.shards().await.unwrap();
    let waiting = shards.iter().map(|shard| shard.waiting_seconds).fold(0.0, f64::max);
    assert!(waiting >= 40.0, "a store that is down keeps all out: {waiting}");
    session.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_finds_all_and_names_the_first() {
    let world = World::new().await;
    for n in 0..7 {
        drop(world.bank(&format!("t{n}.db")));
    }
    junk(&world, "t9.db");
    let mut session = world.session().await;
    session.cycle().await;
    let minute = Duration::from_mins(1);
    let find = |text, most| session.replicator.find(contains(text), most, minute);
    let found = find("/t", 3).await.unwrap();
    assert_eq!((found.count, found.of, found.is_partial), (8, 8, false));
    let paths: Vec<_> = found.databases.iter().map(|it| it.path.clone()).collect();
    assert_eq!(paths, ["t0.db", "t1.db", "t2.db"].map(|name| SourcePath::new(&world.data(name))));
    let status = found.databases[0].status.as_ref().unwrap();
    assert_eq!(status.newest, Some(Hour::of(world.clock.now())));
    assert_eq!((status.waits, &status.trouble), (None, &None));
    // With its slash and its end: a folder of the test may be called anything.
    let found = find("/t9.db", 3).await.unwrap();
    let status = found.databases[0].status.as_ref().unwrap();
    assert!(status.trouble.is_some() && status.waits.is_some() && status.newest.is_none());
    assert_eq!(find("no such", 3).await.unwrap().databases, []);
    session.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hours_of_a_database_are_those_of_its_catalog() {
    let world = World::new().await;
    let mut bank = world.bank("a.db");
    drop(world.bank("b.db"));
    let mut session = world.session().await;
    session.cycle().await;
    settle(&world, &mut session).await;
    world.clock.advance(Duration::from_hours(1));
    bank.commit().unwrap();
    session.cycle_and_keep().await;
    world.clock.advance(Duration::from_hours(2));
    session.cycle_and_keep().await;
    let path = SourcePath::new(&world.data("a.db"));
    let history = session.replicator.history(&path).await.unwrap().unwrap();
    let starts: Vec<_> = history.hours.iter().map(|held| held.hour.to_string()).collect();
    assert_eq!(starts, ["20240115-140000", "20240115-150000"]);
    assert!(history.newest.is_some() && history.gone_since.is_none());
    let nobody = SourcePath::new(&world.data("nobody.db"));
    assert_eq!(session.replicator.history(&nobody).await.unwrap(), None);
    session.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_cycles_are_remembered_and_no_more() {
    let world = World::new().await;
    drop(world.bank("a.db"));
    let mut session = world.session().await;
    assert_eq!(session.replicator.recent_cycles(), []);
    session.cycle().await;
    let recent = session.replicator.recent_cycles();
    assert_eq!((recent.len(), recent[0].report.stored), (1, 1));
    assert_eq!(recent[0].at, world.clock.now());
    for _ in 0..crate::RECENT_CYCLES {
        session.replicator.counters.reported(world.clock.now(), CycleReport::default());
    }
    let recent = session.replicator.recent_cycles();
    assert_eq!((recent.len(), recent[0].report.stored), (crate::RECENT_CYCLES, 0));
    session.stop().await;
    let idle = world.builder().build().unwrap();
    assert_eq!(idle.portrait(1).await.unwrap(), None);
}
