//! Shards move when nodes join, leave, crash, restart, are drained or change their capacity: only those that
//! must, soon, and without a second upload of what is stored.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::time::Duration;

use ultrasimple_core::{Clock as _, SystemClock};
use ultrasimple_tests::{
    Fleet, FleetNode, INTERVAL, LEASE, Owners, eventually, keep_clear_of_the_hour, moved, run,
};

const SHARDS: u32 = 256;
const DATABASES: usize = 24;
/// Far more than etcd needs to notice that a lease has ended, on a busy machine.
const NOTICED: Duration = Duration::from_secs(4);

/// A fleet with these nodes, all databases stored.
fn stage(nodes: &[&str]) -> (Fleet, Vec<FleetNode>) {
    keep_clear_of_the_hour();
    let fleet = Fleet::new(SHARDS);
    for number in 0..DATABASES {
        fleet.bank(&format!("t{number}"), 1);
    }
    let nodes: Vec<_> = nodes.iter().map(|name| fleet.node(name, &[])).collect();
    fleet.until_owned_by(&nodes.iter().collect::<Vec<_>>());
    fleet.until_steady(LEASE * 2);
    eventually("all is stored", || (fleet.bucket.backups().len() == DATABASES).then_some(()));
    (fleet, nodes)
}

fn of<'a>(owners: &'a Owners, node: &'a str) -> impl Iterator<Item = u32> + 'a {
    owners.iter().filter(move |(_, (owner, _))| owner == node).map(|(shard, _)| *shard)
}

/// Within a fifth of what its share would be: the placement is a hash's.
#[track_caller]
fn is_about(found: usize, share: f64) {
    let ideal = f64::from(SHARDS) * share;
    let off = (f64::from(u32::try_from(found).unwrap()) - ideal).abs();
    assert!(off < ideal / 5.0, "{found} of {SHARDS}, ideally {ideal}");
}

/// All that did not move is under the claim that it was under before.
#[track_caller]
fn the_rest_stayed(before: &Owners, after: &Owners, may_move: impl Fn(u32) -> bool) {
    for (shard, claim) in before.iter().filter(|(shard, _)| !may_move(**shard)) {
        assert_eq!(Some(claim), after.get(shard), "shard {shard} moved without need");
    }
}

/// No backup was uploaded since there were so many uploads, although cycles have passed.
#[track_caller]
fn nothing_was_uploaded(fleet: &Fleet, uploads: usize, nodes: &[&FleetNode]) {
    for node in nodes {
        node.daemon.cycles(2);
    }
    let since: Vec<_> = fleet.recorded.backups().into_iter().skip(uploads).collect();
    assert!(since.is_empty(), "unchanged, and uploaded again: {since:#?}");
}

#[test]
fn a_node_that_joins_takes_its_share_and_gives_it_back() {
    let (fleet, mut nodes) = stage(&["a", "b"]);
    let before = fleet.owners();
    is_about(of(&before, "a").count(), 0.5);
    let uploads = fleet.recorded.backups().len();

    let joining = fleet.node("c", &[]);
    fleet.until_owned_by(&[&nodes[0], &nodes[1], &joining]);
    let after = fleet.until_steady(LEASE * 2);
    let shares: Vec<u32> = of(&after, "c").collect();
    is_about(shares.len(), 1.0 / 3.0);
    assert_eq!(moved(&before, &after), shares.len());
    the_rest_stayed(&before, &after, |shard| shares.contains(&shard));
    nothing_was_uploaded(&fleet, uploads, &[&nodes[0], &nodes[1], &joining]);

    // In order: the others take over at once.
    joining.daemon.stop_well();
    let (back, took) = fleet.until_owned_by(&[&nodes[0], &nodes[1]]);
    println!("taken over {took:?} after a node has left, with cycles of {INTERVAL:?}");
    assert!(took < LEASE, "{took:?}");
    assert_eq!(moved(&before, &back), 0);
    the_rest_stayed(&after, &back, |shard| shares.contains(&shard));
    nothing_was_uploaded(&fleet, uploads, &[&nodes[0], &nodes[1]]);
    fleet.bank("t0", 2);
    fleet.until_stored("t0", 4);
    nodes.drain(..).for_each(|node| node.daemon.stop_well());
    fleet.recorded.never_went_back();
}

#[test]
fn what_a_node_leaves_that_is_killed_is_taken_when_its_lease_ends() {
    let (fleet, mut nodes) = stage(&["a", "b", "c"]);
    let before = fleet.owners();
    let lost: Vec<u32> = of(&before, "b").collect();
    let uploads = fleet.recorded.backups().len();
    let start = SystemClock.monotonic();
    nodes[1].daemon.kill();
    let (after, _) = fleet.until_owned_by(&[&nodes[0], &nodes[2]]);
    let took = SystemClock.monotonic().saturating_sub(start);
    println!("{} shards taken over {took:?} after a kill, with a lease of {LEASE:?}", lost.len());
    assert!(took < LEASE + INTERVAL + NOTICED, "{took:?}");
    the_rest_stayed(&before, &after, |shard| lost.contains(&shard));
    // The catalogs of a node that was killed may be stale; content that is there is not sent again.
    nodes[0].daemon.cycles(3);
    nodes[2].daemon.cycles(3);
    let again = fleet.recorded.stored().len().saturating_sub(uploads);
    println!("{again} of {DATABASES} databases uploaded again");
    assert_eq!(again, 0);
    fleet.recorded.never_went_back();
}

#[test]
fn a_rolling_restart_hands_over_and_moves_back() {
    let (fleet, mut nodes) = stage(&["a", "b", "c"]);
    let before = fleet.owners();
    let uploads = fleet.recorded.backups().len();
    for number in 0..nodes.len() {
        let FleetNode { name, daemon, .. } = nodes.remove(number);
        daemon.stop_well();
        nodes.insert(number, fleet.node(&name, &[]));
        fleet.until_owned_by(&nodes.iter().collect::<Vec<_>>());
        fleet.until_steady(LEASE * 2);
    }
    let after = fleet.owners();
    assert_eq!(moved(&before, &after), 0, "not all moved back");
    nothing_was_uploaded(&fleet, uploads, &nodes.iter().collect::<Vec<_>>());
}

#[test]
fn a_node_with_more_capacity_takes_more() {
    let (fleet, mut nodes) = stage(&["a", "b"]);
    let uploads = fleet.recorded.backups().len();
    nodes.remove(1).daemon.stop_well();
    nodes.push(fleet.node("b", &["-capacity", "3"]));
    fleet.until_owned_by(&[&nodes[0], &nodes[1]]);
    let after = fleet.until_steady(LEASE * 2);
    is_about(of(&after, "b").count(), 0.75);
    nothing_was_uploaded(&fleet, uploads, &[&nodes[0], &nodes[1]]);
}

#[test]
fn a_drained_node_lives_on_without_shards() {
    let (fleet, nodes) = stage(&["a", "b"]);
    let before = fleet.owners();
    let uploads = fleet.recorded.backups().len();
    let ctl = |words: &[&str]| {
        let etcd = fleet.etcd.endpoints();
        let words = [words, &["-etcd", &etcd[0]]].concat();
        run(fleet.yard.ctl(&fleet.bucket, &words))
    };
    ctl(&["nodes", "drain", "b"]).expect(0, &[]);
    let (drained, _) = fleet.until_owned_by(&[&nodes[0]]);
    the_rest_stayed(&before, &drained, |shard| before[&shard].0 == "b");
    nothing_was_uploaded(&fleet, uploads, &[&nodes[0], &nodes[1]]);
    // Being backed up beats being drained.
    drop(nodes);
    let again = fleet.node("b", &[]);
    fleet.until_owned_by(&[&again]);
}
