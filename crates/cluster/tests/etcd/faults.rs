//! etcd that is away, hangs, forgets, or starts anew.

use std::time::Duration;

use tokio::time::timeout;
use ultrasimple_cluster::Assignments;
use ultrasimple_cluster::etcd::{Etcd, EtcdError};
use ultrasimple_testkit::etcd::{self, call};
use ultrasimple_testkit::link::{Link, Mode};
use ultrasimple_testkit::process::free_ports;

use crate::fleet::{Node, SHARDS, SOON, TTL, all_have_some, connect, settings, settled};

#[tokio::test]
async fn a_node_that_is_cut_off_stops_and_comes_back() {
    let server = etcd::Etcd::start_one().unwrap();
    let etcd = connect(server.endpoints()).await;
    let link = Link::start(server.ports(0).unwrap().client).await.unwrap();
    let far = connect(vec![link.endpoint()]).await;
    let (a, b) = (Node::join(&etcd, "a").await, Node::join(&far, "b").await);
    settled(&[&a, &b], all_have_some).await;
    let lease = b.membership.lease().clone();
    let seen = timeout(SOON, b.membership.look()).await.unwrap().unwrap();
    assert_eq!((seen.view.nodes.len(), seen.is_current, seen.shards), (2, true, SHARDS));
    link.set(Mode::Cut);
    timeout(SOON, lease.lost()).await.unwrap();
    // What etcd told last can still be seen.
    let seen = timeout(SOON, b.membership.look()).await.unwrap().unwrap();
    assert_eq!((seen.view.nodes.len(), seen.shards), (2, SHARDS));
    assert!(!lease.is_trusted());
    assert!(!b.shards().is_empty() || a.shards().len() == SHARDS as usize, "etcd waits longer");
    a.until("all taken over", |all| all.len() == SHARDS as usize).await;
    b.until("nothing left", Assignments::is_empty).await;
    link.set(Mode::Pass);
    settled(&[&a, &b], all_have_some).await;
    assert!(lease.is_trusted());
}

#[tokio::test]
async fn a_node_that_only_does_not_hear_stops_in_time() {
    let server = etcd::Etcd::start_one().unwrap();
    let etcd = connect(server.endpoints()).await;
    let link = Link::start(server.ports(0).unwrap().client).await.unwrap();
    let far = connect(vec![link.endpoint()]).await;
    let (a, b) = (Node::join(&etcd, "a").await, Node::join(&far, "b").await);
    settled(&[&a, &b], all_have_some).await;
    link.set(Mode::CutToClient);
    timeout(SOON, b.membership.lease().lost()).await.unwrap();
    b.until("nothing left", Assignments::is_empty).await;
    link.set(Mode::Pass);
    settled(&[&a, &b], all_have_some).await;
}

#[tokio::test]
async fn a_member_that_hangs_does_not_cost_the_lease() {
    let mut server = etcd::Etcd::start_three().unwrap();
    // All begin with the first member.
    let mut endpoints = server.endpoints();
    let leader = server.leader().unwrap();
    let hangs = (leader + 1) % 3;
    endpoints.swap(0, hangs);
    let etcd = connect(endpoints).await;
    let (a, b) = (Node::join(&etcd, "a").await, Node::join(&etcd, "b").await);
    settled(&[&a, &b], all_have_some).await;
    let before = [&a, &b].map(|node| node.membership.assignments());
    server.pause(hangs).unwrap();
    // Whether it is trusted for all of the time, by its own clock.
    for lease in [&a, &b].map(|node| node.membership.lease().clone()) {
        let lost = timeout(TTL * 3, lease.lost()).await;
        assert!(lost.is_err(), "the lease was lost");
    }
    assert_eq!([&a, &b].map(|node| node.membership.assignments()), before);
    // And the view still follows.
    let c = Node::join(&etcd, "c").await;
    settled(&[&a, &b, &c], all_have_some).await;
    server.resume(hangs).unwrap();
}

#[tokio::test]
async fn the_leader_of_etcd_may_die() {
    let mut server = etcd::Etcd::start_three().unwrap();
    let etcd = connect(server.endpoints()).await;
    let (a, b) = (Node::join(&etcd, "a").await, Node::join(&etcd, "b").await);
    settled(&[&a, &b], all_have_some).await;
    let leader = server.leader().unwrap();
    server.kill(leader).unwrap();
    let c = Node::join(&etcd, "c").await;
    settled(&[&a, &b, &c], all_have_some).await;
}

#[tokio::test]
async fn a_compaction_while_the_watch_is_cut_is_survived() {
    let server = etcd::Etcd::start_one().unwrap();
    let port = server.ports(0).unwrap().client;
    let etcd = connect(server.endpoints()).await;
    let link = Link::start(port).await.unwrap();
    let far = connect(vec![link.endpoint()]).await;
    let a = Node::join(&far, "a").await;
    settled(&[&a], |_| true).await;
    link.set(Mode::Refuse);
    let (revision, _) = etcd::range(port, "/").unwrap();
    for n in 0..5 {
        etcd::put(port, "/elsewhere", &n.to_string()).unwrap();
    }
    let request = serde_json::json!({ "revision": revision + 5 });
    call(port, "/v3/kv/compaction", &request).unwrap();
    let b = Node::join(&etcd, "b").await;
    link.set(Mode::Pass);
    settled(&[&a, &b], all_have_some).await;
}

#[tokio::test]
async fn an_etcd_that_is_restarted_is_gone_on_with() {
    let mut server = etcd::Etcd::start_one().unwrap();
    let etcd = connect(server.endpoints()).await;
    let (a, b) = (Node::join(&etcd, "a").await, Node::join(&etcd, "b").await);
    let before = settled(&[&a, &b], all_have_some).await;
    server.kill(0).unwrap();
    for node in [&a, &b] {
        node.until("all dropped", Assignments::is_empty).await;
    }
    server.restart(0).unwrap();
    assert_eq!(settled(&[&a, &b], all_have_some).await, before);
    drop(a);
    settled(&[&b], |_| true).await;
}

#[tokio::test]
async fn an_etcd_that_was_made_anew_stops_the_nodes() {
    let mut server = etcd::Etcd::start_one().unwrap();
    let ports = server.ports(0).unwrap();
    let etcd = connect(server.endpoints()).await;
    let a = Node::join(&etcd, "a").await;
    settled(&[&a], |_| true).await;
    server.kill(0).unwrap();
    std::fs::remove_dir_all(server.folder().join("0")).unwrap();
    server.restart(0).unwrap();
    server.wait_ready(0).unwrap();
    assert_eq!(server.ports(0).unwrap(), ports);
    let why = timeout(SOON, a.membership.halted()).await.unwrap();
    assert!(why.may_rejoin && why.reason.contains("made anew"), "{why:?}");
    assert!(a.membership.assignments().is_empty());
}

#[tokio::test]
async fn where_no_etcd_is_the_error_says_what_to_do() {
    let [port] = free_ports();
    let url = format!("http://127.0.0.1:{port}");
    let error = Etcd::connect(&settings(vec![url.clone()]), Duration::from_millis(300)).await;
    let error = error.unwrap_err();
    assert!(matches!(error, EtcdError::Unreachable(_)), "{error}");
    let text = error.to_string();
    assert!(text.contains(&url) && text.contains("check that"), "{text}");
    for (endpoints, word) in [(vec![], "no endpoint"), (vec!["etcd:2379".to_owned()], "http://")] {
        let error = Etcd::connect(&settings(endpoints), SOON).await.unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
}
