//! Who may join a fleet, and who may not.

use ultrasimple_cluster::etcd::{Etcd, EtcdError, EtcdSettings, JoinOptions};
use ultrasimple_cluster::records::MountRecord;
use ultrasimple_testkit::etcd;

use crate::fleet::{Node, SHARDS, SOON, TTL, connect, options, settled, try_join};

async fn refusal(etcd: &Etcd, name: &str, change: impl FnOnce(&mut JoinOptions)) -> String {
    let mut options = options(name);
    change(&mut options);
    match try_join(etcd, options).await {
        Err(EtcdError::Refused(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_node_that_disagrees_is_refused_and_told_why() {
    let server = etcd::Etcd::start_one().unwrap();
    let etcd = connect(server.endpoints()).await;
    let a = Node::join(&etcd, "a").await;
    let why = refusal(&etcd, "b", |options| options.fleet.shards = 64).await;
    assert!(why.contains("-shards") && why.contains("\"32\"") && why.contains("\"64\""), "{why}");
    let why = refusal(&etcd, "b", |options| options.fleet.template = "{{tenant}}".into()).await;
    assert!(why.contains("{{path}}") && why.contains("{{tenant}}"), "{why}");
    let why = refusal(&etcd, "b", |options| options.fleet.bucket = "b2".into()).await;
    assert!(why.contains("bucket") && why.contains("b1") && why.contains("b2"), "{why}");
    let why = refusal(&etcd, "b", |options| options.fleet.format = 9).await;
    assert!(why.contains("format"), "{why}");
    settled(&[&a], |_| true).await;

    // When the last node has gone, the next one decides.
    a.leave().await;
    let mut other = options("b");
    other.fleet.template = "{{tenant}}".into();
    let b = Node::join_as(&etcd, other).await;
    settled(&[&b], |_| true).await;
    let why = refusal(&etcd, "a", |_| {}).await;
    assert!(why.contains("{{tenant}}"), "{why}");
}

#[tokio::test]
async fn of_two_nodes_of_one_name_the_second_is_refused() {
    let server = etcd::Etcd::start_one().unwrap();
    let etcd = connect(server.endpoints()).await;
    let a = Node::join(&etcd, "a").await;
    let why = refusal(&etcd, "a", |_| {}).await;
    assert!(why.contains("called a, too, at http://a:9810"), "{why}");
    settled(&[&a], |_| true).await;
    assert!(a.membership.lease().remaining() <= TTL);
}

#[tokio::test]
async fn host_local_volumes_of_one_name_are_refused() {
    let server = etcd::Etcd::start_one().unwrap();
    let etcd = connect(server.endpoints()).await;
    let local = |filesystem: Option<&str>| MountRecord {
        filesystem: filesystem.map(str::to_owned),
        patterns: "p".into(),
    };
    let on = |name: &str, filesystem| {
        let mut options = options(name);
        options.record.volumes = [("v".parse().unwrap(), local(filesystem))].into();
        options
    };
    let _a = Node::join_as(&etcd, on("a", Some("x"))).await;
    let why = refusal(&etcd, "b", |options| *options = on("b", Some("y"))).await;
    assert!(why.contains("the node a has a volume v, too"), "{why}");
    let _same = Node::join_as(&etcd, on("b", Some("x"))).await;
    let _network = Node::join_as(&etcd, on("c", None)).await;
}

#[tokio::test]
async fn the_fleet_has_one_random_name() {
    let server = etcd::Etcd::start_one().unwrap();
    let etcd = connect(server.endpoints()).await;
    let names = futures::future::join_all(["x", "y", "z"].map(|name| etcd.fleet_name(name))).await;
    let first = names[0].clone().unwrap();
    assert!(["x", "y", "z"].contains(&first.as_str()));
    assert!(names.into_iter().all(|name| name.unwrap() == first));
    let other = EtcdSettings::new(server.endpoints(), "other");
    let other = Etcd::connect(&other, SOON).await.unwrap();
    assert_eq!(other.fleet_name("w").await.unwrap(), "w", "clusters of one etcd are apart");
}

#[tokio::test]
async fn a_fleet_whose_record_is_replaced_under_it_halts() {
    let server = etcd::Etcd::start_one().unwrap();
    let etcd = connect(server.endpoints()).await;
    let a = Node::join(&etcd, "a").await;
    settled(&[&a], |all| all[0] == SHARDS as usize).await;
    let port = server.ports(0).unwrap().client;
    etcd::put(port, "/ultrasimple/test/fleet", "{}").unwrap();
    let why = tokio::time::timeout(SOON, a.membership.halted()).await.unwrap();
    assert!(why.may_rejoin && why.reason.contains("replaced"), "{why:?}");
    assert!(a.membership.assignments().is_empty() && !a.membership.lease().is_trusted());
}
