//! A look at a whole fleet in etcd, and the drains: for people, not for nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use etcd_client::{Client, Compare, CompareOp, GetOptions, KeyValue, Txn, TxnOp};
use serde::de::DeserializeOwned;
use ultrasimple_core::{ClusterName, NodeName, ShardId, ShardKey, Timestamp};

use crate::connect::{EtcdError, EtcdSettings, within};
use crate::ownership::{Claim, LeaseId, RegisteredNode, Revision, View};
use crate::records::{ClaimRecord, DrainRecord, FleetRecord, NodeRecord};

/// Keys in one answer: some 200 bytes each, and gRPC takes 4 MiB.
const PAGE: i64 = 5_000;
/// How long a request may take.
const REQUEST: Duration = Duration::from_secs(5);

/// All of a fleet at one moment.
#[derive(Debug, Clone, Default)]
pub struct Picture {
    /// What its nodes agree on. `None`: no node has ever joined.
    pub fleet: Option<FleetRecord>,
    /// Nodes, drains and claims.
    pub view: View,
    /// Since when nodes are to own nothing.
    pub drained_since: BTreeMap<NodeName, Timestamp>,
    /// Shards that were let go in order and that nobody has taken.
    pub let_go: BTreeSet<ShardKey>,
    /// How much is left of the leases of the nodes.
    pub leases: BTreeMap<NodeName, LeaseLeft>,
    /// Keys that cannot be read, and why.
    pub unreadable: Vec<(String, String)>,
}

/// How much is left of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseLeft {
    /// What it was granted for.
    pub granted: Duration,
    /// When it ends, unless it is kept alive.
    pub remaining: Duration,
}

/// Somebody who looks at a fleet.
pub struct Operator {
    client: Client,
    settings: EtcdSettings,
    prefix: String,
}

impl Operator {
    /// Gets ready to ask etcd.
    ///
    /// # Errors
    /// When what was set does not do, or etcd does not know the user.
    pub async fn connect(settings: EtcdSettings, cluster: &ClusterName) -> Result<Self, EtcdError> {
        let client = settings.connect().await?;
        Ok(Self { client, settings, prefix: format!("/ultrasimple/{cluster}/") })
    }

    /// Reads everything, as of one revision; then how long the nodes' leases last.
    ///
    /// # Errors
    /// When etcd does not answer.
    pub async fn look(&mut self) -> Result<Picture, EtcdError> {
        let mut picture = Picture::default();
        let (mut from, mut revision) = (self.prefix.clone().into_bytes(), 0);
        loop {
            let options = GetOptions::new().with_range(end_of(&self.prefix)).with_limit(PAGE);
            let options = options.with_revision(revision);
            let got = within(REQUEST, self.client.get(from, Some(options))).await;
            let got = got.map_err(|reason| self.settings.error(reason))?;
            revision = got.header().map_or(revision, |header| match revision {
                0 => header.revision(),
                revision => revision,
            });
            for pair in got.kvs() {
                picture.add(&self.prefix, pair);
            }
            match got.kvs().last().filter(|_| got.more()) {
                Some(last) => from = [last.key(), b"\0"].concat(),
                None => break,
            }
        }
        self.look_at_leases(&mut picture).await?;
        Ok(picture)
    }

    async fn look_at_leases(&mut self, picture: &mut Picture) -> Result<(), EtcdError> {
        let asked = picture.view.nodes.iter().map(|(node, it)| {
            let (node, lease, mut client) = (node.clone(), it.lease, self.client.clone());
            async move { (node, within(REQUEST, client.lease_time_to_live(lease.0, None)).await) }
        });
        for (node, answer) in futures::future::join_all(asked).await {
            let answer = answer.map_err(|reason| self.settings.error(reason))?;
            let seconds = |number: i64| Duration::from_secs(u64::try_from(number).unwrap_or(0));
            // It has ended meanwhile: -1.
            let (granted, remaining) = (seconds(answer.granted_ttl()), seconds(answer.ttl()));
            picture.leases.insert(node, LeaseLeft { granted, remaining });
        }
        Ok(())
    }

    /// From now on the node is to own nothing. Whether that was not so before.
    ///
    /// # Errors
    /// When etcd does not answer: perhaps it was done.
    pub async fn drain(&mut self, node: &NodeName, since: Timestamp) -> Result<bool, EtcdError> {
        let value = serde_json::to_vec(&DrainRecord { since });
        let value = value.map_err(|error| self.settings.error(error.to_string()))?;
        let key = format!("{}drains/{node}", self.prefix);
        let is_new = Compare::create_revision(key.clone(), CompareOp::Equal, 0);
        let txn = Txn::new().when([is_new]).and_then([TxnOp::put(key, value, None)]);
        let done = within(REQUEST, self.client.txn(txn)).await;
        done.map(|done| done.succeeded()).map_err(|reason| self.settings.error(reason))
    }

    /// The node may own shards again. Whether it might not before.
    ///
    /// # Errors
    /// As [`Self::drain`].
    pub async fn undrain(&mut self, node: &NodeName) -> Result<bool, EtcdError> {
        let key = format!("{}drains/{node}", self.prefix);
        let done = within(REQUEST, self.client.delete(key, None)).await;
        done.map(|done| done.deleted() > 0).map_err(|reason| self.settings.error(reason))
    }
}

impl Picture {
    fn add(&mut self, prefix: &str, pair: &KeyValue) {
        let key = String::from_utf8_lossy(pair.key()).into_owned();
        if let Err(why) = self.read(key.strip_prefix(prefix).unwrap_or_default(), pair) {
            self.unreadable.push((key, why));
        }
    }

    fn read(&mut self, key: &str, pair: &KeyValue) -> Result<(), String> {
        fn said(error: impl std::fmt::Display) -> String {
            error.to_string()
        }
        if key == "fleet" {
            self.fleet = Some(json(pair)?);
            return Ok(());
        }
        let lease = LeaseId(pair.lease());
        match key.split_once('/').unwrap_or_default() {
            ("nodes", node) => {
                let record: NodeRecord = json(pair)?;
                let node = node.parse().map_err(said)?;
                self.view.nodes.insert(node, RegisteredNode { record, lease });
            }
            ("drains", node) => {
                let node: NodeName = node.parse().map_err(said)?;
                let record: DrainRecord = json(pair)?;
                self.drained_since.insert(node.clone(), record.since);
                self.view.drains.insert(node);
            }
            ("shards", name) => {
                let ClaimRecord { node, generation } = json(pair)?;
                let created = Revision(u64::try_from(pair.create_revision()).unwrap_or(0));
                self.view.claims.insert(shard(name)?, Claim { node, generation, lease, created });
            }
            ("handovers", name) => {
                self.let_go.insert(shard(name)?);
            }
            // Of a newer version.
            _ => {}
        }
        Ok(())
    }
}

fn json<T: DeserializeOwned>(pair: &KeyValue) -> Result<T, String> {
    serde_json::from_slice(pair.value()).map_err(|error| error.to_string())
}

fn shard(name: &str) -> Result<ShardKey, String> {
    let (volume, number) = name.split_once('/').ok_or("it names no shard")?;
    let volume =
        volume.parse().map_err(|error: ultrasimple_core::InvalidName| error.to_string())?;
    let number = number.parse().map_err(|_| format!("{number:?} is not a shard's number"))?;
    Ok(ShardKey { volume, shard: ShardId(number) })
}

/// The first key after all that begin with `prefix`, which ends with a slash.
fn end_of(prefix: &str) -> Vec<u8> {
    [prefix.trim_end_matches('/').as_bytes(), b"0"].concat()
}
