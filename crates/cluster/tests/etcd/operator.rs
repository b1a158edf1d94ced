//! What an operator sees.

use ultrasimple_core::{Clock, SystemClock};
use ultrasimple_testkit::etcd;

use crate::fleet::{Node, SHARDS, TTL, all_have_some, connect, settled};

#[tokio::test]
async fn the_state_of_a_fleet_is_read_as_its_nodes_see_it() {
    let server = etcd::Etcd::start_one().unwrap();
    let etcd = connect(server.endpoints()).await;
    let empty = etcd.state().await.unwrap();
    assert!(empty.fleet.is_none() && empty.view.nodes.is_empty());
    assert_eq!(empty.volumes(), []);

    let (a, b) = (Node::join(&etcd, "a").await, Node::join(&etcd, "b").await);
    settled(&[&a, &b], all_have_some).await;
    let drained = "gone".parse().unwrap();
    etcd.drain(&drained, SystemClock.now()).await.unwrap();
    let state = etcd.state().await.unwrap();
    assert_eq!(state.fleet.as_ref().unwrap().shards, SHARDS);
    assert_eq!(state.view.claims.len(), SHARDS as usize);
    assert!(state.view.drains.contains(&drained));
    let desired = state.desired();
    for (shard, claim) in &state.view.claims {
        assert_eq!(desired.owner(shard), Some(&claim.node), "{shard}");
        let node = if claim.node.as_str() == "a" { &a } else { &b };
        assert_eq!(node.membership.assignments()[shard].grant.epoch, claim.epoch());
    }
    for node in state.view.nodes.values() {
        let lease = state.leases[&node.lease];
        assert!(lease.granted >= TTL && lease.remaining <= lease.granted, "{lease:?}");
    }
}
