//! Who has which shards in the picture, and what is said of nodes that say nothing.

use ultrasimple_cluster::ownership::{Claim, LeaseId, RegisteredNode, Revision};
use ultrasimple_cluster::records::{MountRecord, NodeRecord};
use ultrasimple_core::Timestamp;
use ultrasimple_peers::{NodeSays, ShardSays};

use super::*;

const LIMIT: f64 = 300.0;

fn name(text: &str) -> NodeName {
    text.parse().unwrap()
}

fn key(shard: u32) -> ShardKey {
    ShardKey { volume: "v".parse().unwrap(), shard: ShardId(shard) }
}

fn node(address: &str) -> RegisteredNode {
    let record = NodeRecord {
        address: address.to_owned(),
        volumes: BTreeMap::from([("v".parse().unwrap(), MountRecord::default())]),
        capacity: 1.0,
        version: "1".to_owned(),
        since: Timestamp::UNIX_EPOCH,
        leaving: false,
        unwell: false,
    };
    RegisteredNode { record, lease: LeaseId(1) }
}

fn claim(node: &str, created: i64) -> Claim {
    Claim {
        node: name(node),
        generation: 1,
        lease: LeaseId(1),
        created: Revision(created.try_into().unwrap()),
    }
}

fn own(shard: u32, phase: &'static str, exposure_seconds: f64) -> ShardStatus {
    ShardStatus {
        key: ShardName { volume: "v".parse().unwrap(), shard: ShardId(shard) },
        epoch: Epoch::new(1, 7),
        phase,
        since: Timestamp::UNIX_EPOCH,
        databases: 10,
        pending: 1,
        failing: 0,
        exposure_seconds,
        waiting_seconds: 0.0,
    }
}

/// Nodes a (this one), b and c; six shards, the last of which nobody has.
fn seen() -> Sighting {
    let mut seen = Sighting { is_current: true, shards: 6, ..Sighting::default() };
    for (node_name, address) in [("a", ""), ("b", "http://b:9810"), ("c", "javascript:alert(1)")] {
        seen.view.nodes.insert(name(node_name), node(address));
    }
    for (shard, owner) in [(0, "a"), (1, "a"), (2, "b"), (3, "b"), (4, "c")] {
        seen.view.claims.insert(key(shard), claim(owner, 7));
    }
    seen
}

fn answers() -> BTreeMap<NodeName, Result<Answer, String>> {
    let says = |epoch| {
        let json = serde_json::json!({"volume": "v", "shard": 2, "epoch": epoch, "phase": "owned",
            "since": "2026-01-01T00:00:00Z", "databases": 5, "pending": 1, "failing": 0,
            "exposure_seconds": 400.0});
        serde_json::from_value::<ShardSays>(json).unwrap()
    };
    let node = NodeSays {
        node: "b".to_owned(),
        trusted: true,
        databases: 5,
        pending: 1,
        exposure_seconds: 400.0,
        month_dollars: Some(1.5),
        ..NodeSays::default()
    };
    let shards = BTreeMap::from([
        (key(2), says(Epoch::new(1, 7).0)),
        // Of a claim before this one.
        (key(3), says(Epoch::new(1, 3).0)),
    ]);
    BTreeMap::from([
        (name("b"), Ok(Answer { node, shards })),
        (name("c"), Err("no answer within 1.5 s".to_owned())),
    ])
}

fn view(seen: &Sighting, is_trusted: bool) -> FleetView {
    let (me, shards) = (name("a"), [own(0, "owned", 0.0), own(1, "starting", 4.0)]);
    let me = Myself {
        name: &me,
        shards: &shards,
        is_trusted,
        month_dollars: Some(0.5),
        stored_bytes: 9,
    };
    FleetView::of(&me, seen, &answers(), LIMIT)
}

#[test]
fn each_shard_is_a_square_of_its_owner() {
    let view = view(&seen(), true);
    let squares: Vec<_> =
        view.nodes.iter().map(|node| (node.name.as_str(), &node.squares[..])).collect();
    assert_eq!(
        squares,
        [
            ("a", &[Level::Calm, Level::Moving][..]),
            ("b", &[Level::Late, Level::Unknown][..]),
            ("c", &[Level::Unknown][..]),
        ]
    );
    assert_eq!((view.shards, view.unowned), (6, 1));
    assert_eq!(view.unowned_names, ["5 of v"]);
    let (sums, count) = view.sums();
    assert_eq!((sums.databases, sums.pending, count), (25, 3, 2));
    assert_eq!(sums.month_dollars, Some(2.0));
}

#[test]
fn what_a_node_does_not_say_is_not_guessed() {
    let view = view(&seen(), true);
    let troubled: Vec<_> = view.troubled().map(|node| (&*node.name, node.health)).collect();
    assert_eq!(troubled, [("c", Health::Silent)]);
    assert_eq!(view.nodes[2].sums, None);
    assert_eq!(view.nodes[2].why.as_deref(), Some("no answer within 1.5 s"));
}

#[test]
fn only_addresses_of_the_web_become_links() {
    let view = view(&seen(), true);
    let links: Vec<_> = view.nodes.iter().map(|node| node.link.as_deref()).collect();
    assert_eq!(links, [None, Some("http://b:9810/"), None]);
    assert_eq!(view.owner(&key(2)), Some(("b", Some("http://b:9810/"))));
    assert_eq!(view.owner(&key(4)), Some(("c", None)));
    assert_eq!(view.owner(&key(5)), None);
}

#[test]
fn a_node_that_is_gone_still_has_the_shards_of_its_claims() {
    let mut seen = seen();
    seen.view.nodes.remove(&name("c"));
    seen.is_current = false;
    let view = view(&seen, false);
    assert!(view.is_old);
    assert_eq!(view.nodes[0].health, Health::Suspended);
    assert_eq!((view.nodes[2].health, view.nodes[2].squares.len()), (Health::Silent, 1));
}
