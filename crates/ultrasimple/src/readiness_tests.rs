//! Whether a node is ready.

use std::collections::BTreeMap;

use ultrasimple_cluster::ownership::{Claim, LeaseId, RegisteredNode, Revision, View};
use ultrasimple_cluster::records::{MountRecord, NodeRecord};
use ultrasimple_core::{Epoch, Timestamp};
use ultrasimple_replicator::ShardName;

use super::*;

fn shard(phase: &'static str, waiting_seconds: f64) -> ShardStatus {
    ShardStatus {
        key: ShardName { volume: "v".parse().unwrap(), shard: ShardId(0) },
        epoch: Epoch(1),
        phase,
        since: Timestamp::UNIX_EPOCH,
        databases: 1,
        pending: 1,
        failing: 0,
        exposure_seconds: waiting_seconds + 1_000.0,
        waiting_seconds,
    }
}

#[test]
fn a_change_that_waits_too_long_is_said() {
    let limit = Some(Duration::from_mins(5));
    assert_eq!(exposed(&[shard("owned", 300.0)], limit), None);
    let why = exposed(&[shard("owned", 4.0), shard("owned", 301.0)], limit).unwrap();
    assert!(why.contains("301 s") && why.contains("-exposure-limit"), "{why}");
    assert_eq!(exposed(&[shard("owned", 1e9)], None), None);
}

#[test]
fn shards_whose_catalog_is_being_read_are_counted() {
    assert_eq!(starting(&[shard("owned", 0.0)]), None);
    let why = starting(&[shard("owned", 0.0), shard("starting", 0.0)]).unwrap();
    assert!(why.contains("1 of 2"), "{why}");
}

fn node() -> RegisteredNode {
    let record = NodeRecord {
        address: String::new(),
        volumes: BTreeMap::from([("v".parse().unwrap(), MountRecord::default())]),
        capacity: 1.0,
        version: "1".to_owned(),
        since: Timestamp::UNIX_EPOCH,
        leaving: false,
        unwell: false,
    };
    RegisteredNode { record, lease: LeaseId(1) }
}

#[test]
fn a_node_that_does_not_own_what_it_should_is_not_ready() {
    let me: NodeName = "a".parse().unwrap();
    let mut seen = Sighting { view: View::default(), is_current: true, shards: 16 };
    assert_eq!(lacking(&seen, &me), None, "it is in no fleet");
    seen.view.nodes.insert(me.clone(), node());
    assert!(lacking(&seen, &me).unwrap().starts_with("16 of the 16"));
    let claim = |node: &str| Claim {
        node: node.parse().unwrap(),
        generation: 1,
        lease: LeaseId(1),
        created: Revision(1),
    };
    for number in 0..16 {
        let key = ShardKey { volume: "v".parse().unwrap(), shard: ShardId(number) };
        seen.view.claims.insert(key, claim("a"));
    }
    assert_eq!(lacking(&seen, &me), None);
    // One that others should have does not count; one that it should have, and others have, does.
    let key = ShardKey { volume: "v".parse().unwrap(), shard: ShardId(3) };
    seen.view.claims.insert(key, claim("b"));
    assert!(lacking(&seen, &me).unwrap().starts_with("1 of the 16"));
    seen.view.nodes.insert("b".parse().unwrap(), node());
    seen.view.claims.retain(|_, claim| claim.node == me);
    let why = lacking(&seen, &me);
    seen.view.drains.insert(me.clone());
    assert_eq!(lacking(&seen, &me), None, "drained, and b can: {why:?}");
    seen.is_current = false;
    seen.view.drains.clear();
    seen.view.claims.clear();
    assert_eq!(lacking(&seen, &me), None, "etcd may say something else by now");
}
