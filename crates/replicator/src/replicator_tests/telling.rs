//! What is told of the cycles: in the statistics, and to a witness.

use std::sync::Mutex;

use super::world::{Fault, Session, World};
use super::*;
use crate::{ShardCounts, UploadOutcome, Witness};

/// Writes down what it is told.
#[derive(Debug, Default)]
struct Notes(Mutex<Vec<(String, Duration)>>);

impl Notes {
    fn note(&self, what: &str, took: Duration) {
        self.0.lock().unwrap().push((what.to_owned(), took));
    }

    /// What it was told since the last time, in the order of the alphabet.
    fn take(&self) -> Vec<(String, Duration)> {
        let mut notes = std::mem::take(&mut *self.0.lock().unwrap());
        notes.sort();
        notes
    }
}

impl Witness for Notes {
    fn scanned(&self, took: Duration) {
        self.note("scanned", took);
    }
    fn cycled(&self, took: Duration) {
        self.note("cycled", took);
    }
    fn uploaded(&self, outcome: UploadOutcome, took: Duration) {
        self.note(outcome.word(), took);
    }
    fn protected(&self, exposure: Duration) {
        self.note("protected", exposure);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_witness_hears_how_each_upload_ended_and_how_long_the_change_had_been_waiting() {
    let world = World::new().await;
    drop(world.bank("a.db"));
    let notes = Arc::new(Notes::default());
    let witness = Arc::clone(&notes) as Arc<dyn Witness>;
    let replicator = world.builder().build().unwrap().watched_by(witness);
    let mut session = Session::start(replicator).await;
    world.fault(Fault::Unavailable);
    session.cycle().await;
    let told = |notes: &[(&str, u64)]| {
        let told = notes.iter();
        told.map(|(what, s)| ((*what).to_owned(), Duration::from_secs(*s))).collect::<Vec<_>>()
    };
    assert_eq!(notes.take(), told(&[("cycled", 0), ("failed", 0), ("scanned", 0)]));
    world.fault(Fault::None);
    world.clock.advance(Duration::from_secs(15));
    session.cycle().await;
    let stored = [("cycled", 0), ("protected", 15), ("scanned", 0), ("stored", 0)];
    assert_eq!(notes.take(), told(&stored));
    session.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn statistics_tell_failures_by_kind_and_states_that_add_up() {
    let world = World::new().await;
    let mut bank = world.bank("a.db");
    std::fs::write(world.data("b.db"), "not a database, but long enough").unwrap();
    let builder = world.builder().min_upload_interval(Duration::from_hours(1));
    let mut session = Session::start(builder.build().unwrap()).await;
    session.cycle().await;
    let now = session.replicator.statistics();
    assert_eq!((now.changed, now.databases, now.failing, now.waiting), (2, 2, 1, 0));
    assert_eq!(now.failed_by_kind.iter().collect::<Vec<_>>(), [(&"not_a_database", &1)]);
    assert_eq!((now.uploads_failed, now.queued, now.in_flight, now.fences), (1, 0, 0, 0));
    let owned = ShardCounts { owned: 4, ..ShardCounts::default() };
    assert_eq!(now.shards, owned);

    // Stored less than an hour ago: its change waits.
    bank.commit().unwrap();
    session.cycle().await;
    let now = session.replicator.statistics();
    assert_eq!((now.pending, now.failing, now.waiting), (2, 1, 1));
    session.stop().await;
}

/// A scan that hangs must not make an alert go silent.
#[tokio::test(flavor = "multi_thread")]
async fn exposure_goes_on_when_cycles_do_not() {
    let world = World::new().await;
    drop(world.bank("a.db"));
    let mut session = world.session().await;
    let exposure = |session: &Session| session.replicator.statistics().max_exposure_seconds;
    world.fault(Fault::Unavailable);
    session.cycle().await;
    world.clock.advance(Duration::from_secs(40));
    assert!((exposure(&session) - 40.0).abs() < 1e-9);
    world.fault(Fault::None);
    session.cycle().await;
    world.clock.advance(Duration::from_secs(40));
    assert!(exposure(&session).abs() < 1e-9);
    session.stop().await;
}

/// What a crash now would have captured again.
#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_ages_from_when_it_lacks_something() {
    let world = World::new().await;
    let mut bank = world.bank("a.db");
    let mut session = world.session().await;
    let age = |session: &Session| session.replicator.statistics().catalog_age_seconds;
    session.cycle_and_keep().await;
    world.clock.advance(Duration::from_mins(2));
    session.cycle_and_keep().await;
    session.cycle_and_keep().await;
    assert!(age(&session).abs() < 1e-9, "{}", age(&session));
    bank.commit().unwrap();
    session.cycle_and_keep().await;
    world.clock.advance(Duration::from_mins(5));
    session.cycle_and_keep().await;
    assert!(age(&session) >= 300.0, "{}", age(&session));
    world.clock.advance(Duration::from_hours(1));
    session.cycle_and_keep().await;
    session.cycle().await;
    assert!(age(&session).abs() < 1e-9, "{}", age(&session));
    session.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queue_and_what_is_under_way_are_told_while_they_last() {
    let world = World::new().await;
    for name in ["a.db", "b.db", "c.db"] {
        drop(world.bank(name));
    }
    world.fault(Fault::Hang);
    let session = Session::start(world.builder().concurrent(1).build().unwrap()).await;
    let tree = session.node.tree().await.unwrap();
    tree.scan_and_offer().await.unwrap();
    let told = || {
        let now = session.replicator.statistics();
        (now.queued, now.in_flight)
    };
    let hangs = async {
        while told() != (2, 1) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), hangs).await.expect("never told");
    session.kill().await;
}
