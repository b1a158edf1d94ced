//! The operator's side: what etcd says of the fleet, and drains.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use ultrasimple_core::{NodeName, ShardKey, Timestamp, VolumeName};

use super::connection::{Etcd, get_one};
use super::error::{EtcdError, Failure};
use crate::ownership::{Desired, LeaseId, Revision, View};
use crate::records::{DrainRecord, FleetRecord};

/// Leases that are asked about at once.
const LEASES_AT_ONCE: usize = 16;

/// What is left of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseState {
    /// How long it was granted for.
    pub granted: Duration,
    /// How much is left of that: what was granted less the time since it was last kept alive.
    pub remaining: Duration,
}

/// All that etcd says of a fleet.
#[derive(Debug, Clone)]
pub struct FleetState {
    /// As of which revision.
    pub revision: Revision,
    /// What its nodes agree on. `None` where no node has ever joined.
    pub fleet: Option<FleetRecord>,
    /// Nodes, drains and claims.
    pub view: View,
    /// The nodes' leases. One that is gone is not here.
    pub leases: BTreeMap<LeaseId, LeaseState>,
}

impl FleetState {
    /// Who should own each shard, by the rules by which the nodes decide.
    pub fn desired(&self) -> Desired {
        let shards = self.fleet.as_ref().map_or(0, |fleet| fleet.shards);
        Desired::new(&self.view, &self.volumes(), shards)
    }

    /// The volumes that a node mounts or a claim names.
    pub fn volumes(&self) -> Vec<VolumeName> {
        let mounted = self.view.nodes.values().flat_map(|node| node.record.volumes.keys());
        let claimed = self.view.claims.keys().map(|shard: &ShardKey| &shard.volume);
        let mut all: Vec<VolumeName> = mounted.chain(claimed).cloned().collect();
        all.sort();
        all.dedup();
        all
    }
}

impl Etcd {
    /// Reads all that etcd says of the fleet.
    ///
    /// # Errors
    /// When it does not answer, or refuses.
    pub async fn state(&self) -> Result<FleetState, EtcdError> {
        self.read_state().await.map_err(|failure| self.error(&failure))
    }

    async fn read_state(&self) -> Result<FleetState, Failure> {
        let key = self.keys().fleet();
        let limit = self.request_timeout();
        let fleet =
            self.ask_all(limit, move |mut client| get_one(&mut client, key.clone())).await?;
        let fleet = fleet.map(|kv| serde_json::from_slice::<FleetRecord>(kv.value()));
        let fleet = fleet
            .transpose()
            .map_err(|error| Failure::Other(format!("read what the fleet agrees on: {error}")))?;
        let (revision, view) = self.list().await?;
        let leases: Vec<LeaseId> = view.nodes.values().map(|node| node.lease).collect();
        let states = futures::stream::iter(leases).map(|lease| async move {
            let left = self.time_to_live(lease).await?;
            Ok::<_, Failure>(
                left.map(|(granted, remaining)| (lease, LeaseState { granted, remaining })),
            )
        });
        let states: Vec<_> = states.buffer_unordered(LEASES_AT_ONCE).collect().await;
        let states: Result<Vec<_>, Failure> = states.into_iter().collect();
        Ok(FleetState { revision, fleet, view, leases: states?.into_iter().flatten().collect() })
    }

    /// From now on the node is to own nothing, if others can. It need not live.
    ///
    /// # Errors
    /// When etcd does not answer, or refuses.
    pub async fn drain(&self, node: &NodeName, since: Timestamp) -> Result<(), EtcdError> {
        let key = self.keys().drain(node);
        let value = serde_json::to_vec(&DrainRecord { since })
            .map_err(|error| EtcdError::Failed(format!("write a record: {error}")))?;
        let put = self.ask_all(self.request_timeout(), move |client: etcd_client::Client| {
            let (mut client, key, value) = (client, key.clone(), value.clone());
            Box::pin(async move { client.put(key, value, None).await.map(drop) })
        });
        put.await.map_err(|failure| self.error(&failure))
    }

    /// The node may own shards again. Returns whether it was drained.
    ///
    /// # Errors
    /// When etcd does not answer, or refuses.
    pub async fn undrain(&self, node: &NodeName) -> Result<bool, EtcdError> {
        let key = self.keys().drain(node);
        let delete = self.ask_all(self.request_timeout(), move |client: etcd_client::Client| {
            let (mut client, key) = (client, key.clone());
            Box::pin(async move { Ok(client.delete(key, None).await?.deleted() > 0) })
        });
        delete.await.map_err(|failure| self.error(&failure))
    }
}
