//! Joins, leaves, crashes, drains, capacities.

use ultrasimple_cluster::Report;
use ultrasimple_core::{Clock, SystemClock};
use ultrasimple_testkit::etcd;

use crate::fleet::{Node, SHARDS, all_have_some, connect, options, settled};

#[tokio::test]
async fn nodes_join_leave_crash_and_come_back() {
    let server = etcd::Etcd::start_one().unwrap();
    let etcd = connect(server.endpoints()).await;
    let a = Node::join(&etcd, "a").await;
    settled(&[&a], |_| true).await;
    let first = a.membership.assignments();
    assert!(first.values().all(|mine| mine.grant.epoch.generation() == 3));
    assert!(a.membership.lease().is_trusted());

    let b = Node::join(&etcd, "b").await;
    let c = Node::join(&etcd, "c").await;
    settled(&[&a, &b, &c], all_have_some).await;
    for (shard, mine) in b.membership.assignments().iter() {
        // It has come from the first node, perhaps by way of the third.
        assert!(mine.grant.handed_over_by >= Some(first[shard].grant.epoch), "{shard}: {mine:?}");
        assert!(mine.grant.epoch > first[shard].grant.epoch);
    }

    let of_b = b.membership.assignments();
    b.leave().await;
    settled(&[&a, &c], all_have_some).await;
    for (shard, before) in of_b.iter() {
        let now = [&a, &c].map(|node| node.membership.assignments().get(shard).copied());
        let now = now.into_iter().flatten().next().unwrap();
        assert_eq!(now.grant.handed_over_by, Some(before.grant.epoch), "{shard}");
    }

    let of_c = c.membership.assignments();
    drop(c);
    settled(&[&a], |_| true).await;
    for (shard, before) in of_c.iter() {
        let now = a.membership.assignments()[shard].grant;
        assert!(now.handed_over_by.is_none() && now.epoch > before.grant.epoch);
    }

    // Its former self is gone by now; but the one of a restart at once is not.
    let c = Node::join(&etcd, "c").await;
    settled(&[&a, &c], all_have_some).await;
    drop(c);
    let c = Node::join(&etcd, "c").await;
    settled(&[&a, &c], all_have_some).await;
    let left = etcd.state().await.unwrap();
    assert_eq!(left.view.nodes.len(), 2);
    assert_eq!(left.view.claims.len(), SHARDS as usize);
    let prefix = "/ultrasimple/test/handovers/";
    let port = server.ports(0).unwrap().client;
    assert_eq!(etcd::range(port, prefix).unwrap().1, [], "handovers are used up");
}

#[tokio::test]
async fn a_drained_node_gives_all_away_and_gets_them_back() {
    let server = etcd::Etcd::start_one().unwrap();
    let etcd = connect(server.endpoints()).await;
    let (a, b) = (Node::join(&etcd, "a").await, Node::join(&etcd, "b").await);
    let before = settled(&[&a, &b], all_have_some).await;
    let node = "a".parse().unwrap();
    etcd.drain(&node, SystemClock.now()).await.unwrap();
    settled(&[&a, &b], |shares| shares[0] == 0).await;
    assert!(etcd.undrain(&node).await.unwrap());
    assert!(!etcd.undrain(&node).await.unwrap());
    assert_eq!(settled(&[&a, &b], all_have_some).await, before);
}

#[tokio::test]
async fn an_unfit_node_gives_all_away() {
    let server = etcd::Etcd::start_one().unwrap();
    let etcd = connect(server.endpoints()).await;
    let (a, b) = (Node::join(&etcd, "a").await, Node::join(&etcd, "b").await);
    settled(&[&a, &b], all_have_some).await;
    a.membership.report(Report::Fit { is_fit: false }).await;
    settled(&[&a, &b], |shares| shares[0] == 0).await;
    a.membership.report(Report::Fit { is_fit: true }).await;
    settled(&[&a, &b], all_have_some).await;
}

#[tokio::test]
async fn a_node_of_another_capacity_comes_back_to_another_share() {
    let server = etcd::Etcd::start_one().unwrap();
    let etcd = connect(server.endpoints()).await;
    let (a, b) = (Node::join(&etcd, "a").await, Node::join(&etcd, "b").await);
    let before = settled(&[&a, &b], all_have_some).await;
    b.leave().await;
    let mut bigger = options("b");
    bigger.record.capacity = 20.0;
    let b = Node::join_as(&etcd, bigger).await;
    let after = settled(&[&a, &b], |shares| shares[1] > SHARDS as usize * 3 / 4).await;
    assert!(after[1] > before[1]);
}

#[tokio::test]
async fn a_fence_of_a_later_generation_is_answered_with_a_claim_anew() {
    let server = etcd::Etcd::start_one().unwrap();
    let etcd = connect(server.endpoints()).await;
    let a = Node::join(&etcd, "a").await;
    settled(&[&a], |_| true).await;
    let (shard, epoch) = {
        let all = a.membership.assignments();
        let (shard, mine) = all.first_key_value().unwrap();
        (shard.clone(), mine.grant.epoch)
    };
    let by = ultrasimple_core::Epoch::new(4, 1);
    let what = "found".to_owned();
    a.membership.report(Report::Fenced { shard: shard.clone(), epoch, by, what }).await;
    a.until("claimed anew", |all| {
        all.get(&shard).is_some_and(|mine| mine.grant.epoch.generation() == 4)
    })
    .await;
}
