//! Nodes whose replicators let go of a shard as soon as they are told to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::select_all;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use ultrasimple_cluster::etcd::{
    Etcd, EtcdError, EtcdSettings, GenerationSource, JoinOptions, NoGeneration, join,
};
use ultrasimple_cluster::records::{FORMAT, FleetRecord, MountRecord, NodeRecord};
use ultrasimple_cluster::{Assignments, Membership, Phase, Report};
use ultrasimple_core::{Clock, Epoch, ShardKey, SystemClock};

pub(crate) const SHARDS: u32 = 32;

/// Short, and yet long enough that a machine with much else to do keeps it.
pub(crate) const TTL: Duration = Duration::from_secs(6);

/// Far longer than anything takes.
pub(crate) const SOON: Duration = Duration::from_mins(1);

/// A bucket's generation that is raised when asked for.
#[derive(Debug, Default)]
pub(crate) struct Bucket(pub(crate) AtomicU64);

#[async_trait::async_trait]
impl GenerationSource for Bucket {
    async fn next(&self, generation: u64, _: Epoch) -> Result<u64, NoGeneration> {
        Ok(self.0.fetch_max(generation + 1, Ordering::Relaxed).max(generation + 1))
    }
}

pub(crate) fn settings(endpoints: Vec<String>) -> EtcdSettings {
    EtcdSettings { request_timeout: Duration::from_secs(2), ..EtcdSettings::new(endpoints, "test") }
}

pub(crate) fn options(name: &str) -> JoinOptions {
    let record = NodeRecord {
        address: format!("http://{name}:9810"),
        volumes: BTreeMap::from([("v".parse().unwrap(), MountRecord::default())]),
        capacity: 1.0,
        version: "1".into(),
        since: SystemClock.now(),
        leaving: false,
        unwell: false,
    };
    let fleet = FleetRecord {
        format: FORMAT,
        fleet: "f1".into(),
        shards: SHARDS,
        template: "{{path}}".into(),
        bucket: "b1".into(),
    };
    JoinOptions {
        node: name.parse().unwrap(),
        record,
        fleet,
        generation: 3,
        lease_ttl: TTL,
        join_timeout: SOON,
    }
}

pub(crate) async fn connect(endpoints: Vec<String>) -> Etcd {
    Etcd::connect(&settings(endpoints), SOON).await.unwrap()
}

pub(crate) async fn try_join(etcd: &Etcd, options: JoinOptions) -> Result<Membership, EtcdError> {
    let joining = join(etcd, options, Arc::new(Bucket::default()), Arc::new(SystemClock));
    timeout(SOON, joining).await.expect("joining ends")
}

/// A node with a replicator that does nothing but let go. Dropping it is a crash: it says nothing to etcd.
pub(crate) struct Node {
    pub(crate) membership: Membership,
    replicator: JoinHandle<()>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.replicator.abort();
    }
}

impl Node {
    pub(crate) async fn join(etcd: &Etcd, name: &str) -> Self {
        Self::join_as(etcd, options(name)).await
    }

    pub(crate) async fn join_as(etcd: &Etcd, options: JoinOptions) -> Self {
        Self::of(try_join(etcd, options).await.unwrap())
    }

    fn of(membership: Membership) -> Self {
        let replicator = tokio::spawn(let_go(membership.clone()));
        Self { membership, replicator }
    }

    pub(crate) fn shards(&self) -> Vec<ShardKey> {
        self.membership.assignments().keys().cloned().collect()
    }

    pub(crate) async fn leave(self) {
        timeout(SOON, self.membership.leave()).await.expect("it leaves");
        assert!(self.membership.assignments().is_empty());
    }

    /// Waits until its assignments are such.
    pub(crate) async fn until(&self, what: &str, is_so: impl Fn(&Assignments) -> bool) {
        let mut watch = self.membership.watch();
        let waiting = watch.wait_for(|assignments| is_so(assignments));
        let waited = timeout(SOON, waiting).await;
        assert!(waited.is_ok_and(|ended| ended.is_ok()), "{what}: {:?}", self.shards().len());
    }
}

async fn let_go(membership: Membership) {
    let mut watch = membership.watch();
    loop {
        let all = Arc::clone(&watch.borrow_and_update());
        for (shard, assignment) in all.iter() {
            if assignment.phase == Phase::Releasing {
                let (shard, epoch) = (shard.clone(), assignment.grant.epoch);
                membership.report(Report::Released { shard, epoch, catalog: Some(epoch) }).await;
            }
        }
        if watch.changed().await.is_err() {
            return;
        }
    }
}

/// How many shards each node has that it will keep, if no shard has two owners.
fn shares(nodes: &[&Node]) -> Option<Vec<usize>> {
    let mut all = Vec::new();
    let mut shares = Vec::new();
    for node in nodes {
        let assignments = node.membership.assignments();
        if assignments.values().any(|assignment| assignment.phase != Phase::Owned) {
            return None;
        }
        shares.push(assignments.len());
        all.extend(assignments.keys().cloned());
    }
    let count = all.len();
    all.sort();
    all.dedup();
    (all.len() == count).then_some(shares)
}

/// Waits until these nodes have all shards between them, each one of them, and in such shares.
pub(crate) async fn settled(nodes: &[&Node], is_so: impl Fn(&[usize]) -> bool) -> Vec<usize> {
    let mut watches: Vec<_> = nodes.iter().map(|node| node.membership.watch()).collect();
    let waiting = async {
        loop {
            for watch in &mut watches {
                watch.mark_unchanged();
            }
            if let Some(shares) = shares(nodes)
                && shares.iter().sum::<usize>() == SHARDS as usize
                && is_so(&shares)
            {
                return shares;
            }
            select_all(watches.iter_mut().map(|watch| watch.changed().boxed())).await.0.unwrap();
        }
    };
    let settled = timeout(SOON, waiting).await;
    settled.unwrap_or_else(|_| {
        let have: Vec<_> = nodes.iter().map(|node| node.shards().len()).collect();
        panic!("not settled: {have:?}")
    })
}

/// All have some.
pub(crate) fn all_have_some(shares: &[usize]) -> bool {
    shares.iter().all(|share| *share > 0)
}
