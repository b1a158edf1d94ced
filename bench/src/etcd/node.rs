//! A node whose replicator lets go of a shard as soon as it is told to, and does nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use futures::FutureExt as _;
use futures::future::select_all;
use tokio::task::JoinHandle;
use ultrasimple_cluster::etcd::{
    Etcd, EtcdSettings, GenerationSource, JoinOptions, NoGeneration, join,
};
use ultrasimple_cluster::records::{FORMAT, FleetRecord, MountRecord, NodeRecord};
use ultrasimple_cluster::{Membership, Phase, Report};
use ultrasimple_core::{Clock as _, Epoch, SystemClock};
use ultrasimple_testkit::etcd;

const CONNECT_WITHIN: Duration = Duration::from_mins(1);

/// Dropping it is a crash: it says nothing to etcd.
pub(super) struct Node {
    membership: Membership,
    replicator: JoinHandle<()>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.replicator.abort();
    }
}

/// A bucket's generation.
struct Bucket(AtomicU64);

#[async_trait::async_trait]
impl GenerationSource for Bucket {
    async fn next(&self, generation: u64, _: Epoch) -> Result<u64, NoGeneration> {
        Ok(self.0.fetch_max(generation + 1, Ordering::Relaxed).max(generation + 1))
    }
}

impl Node {
    pub(super) async fn join(
        server: &etcd::Etcd,
        number: usize,
        shards: u32,
        lease_ttl: Duration,
    ) -> Result<Self> {
        let settings = EtcdSettings::new(server.endpoints(), "bench");
        let etcd = Etcd::connect(&settings, CONNECT_WITHIN).await?;
        let record = NodeRecord {
            address: format!("http://10.0.{}.{}:9810", number / 256, number % 256),
            volumes: BTreeMap::from([("default".parse()?, MountRecord::default())]),
            capacity: 1.0,
            version: env!("CARGO_PKG_VERSION").into(),
            since: SystemClock.now(),
            leaving: false,
            unwell: false,
        };
        let fleet = FleetRecord {
            format: FORMAT,
            fleet: "bench".into(),
            shards,
            template: "{{path}}".into(),
            bucket: "bench".into(),
        };
        let options = JoinOptions {
            node: format!("node-{number}").parse()?,
            record,
            fleet,
            generation: 1,
            lease_ttl,
            join_timeout: CONNECT_WITHIN,
        };
        let source = Arc::new(Bucket(AtomicU64::new(1)));
        let membership = join(&etcd, options, source, Arc::new(SystemClock)).await?;
        let replicator = tokio::spawn(let_go(membership.clone()));
        Ok(Self { membership, replicator })
    }

    /// How many shards it has.
    pub(super) fn shards(&self) -> usize {
        self.membership.assignments().len()
    }

    /// Gives all back.
    pub(super) async fn leave(&self) {
        self.membership.leave().await;
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

/// Waits until these nodes have all shards between them, to keep, and each of them has some.
pub(super) async fn settled(nodes: &[Node], shards: u32) {
    let mut watches: Vec<_> = nodes.iter().map(|node| node.membership.watch()).collect();
    loop {
        let mut owned = 0;
        let mut all_have_some = true;
        for watch in &mut watches {
            let assignments = Arc::clone(&watch.borrow_and_update());
            let keeps = assignments.values().filter(|it| it.phase == Phase::Owned).count();
            all_have_some &= keeps > 0 && keeps == assignments.len();
            owned += keeps;
        }
        if all_have_some && u32::try_from(owned).is_ok_and(|owned| owned == shards) {
            return;
        }
        // Whoever has gone is not waited for.
        let _ = select_all(watches.iter_mut().map(|watch| watch.changed().boxed())).await;
    }
}
