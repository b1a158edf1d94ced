//! Joining a fleet.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use ultrasimple_core::{Clock, NodeName};

use super::connection::Etcd;
use super::driver::{Driver, GenerationSource, Joined};
use super::error::EtcdError;
use crate::Membership;
use crate::membership::membership;
use crate::ownership::OwnershipOptions;
use crate::records::{FleetRecord, NodeRecord};

/// Before joining goes on after a failure.
const PAUSE: Duration = Duration::from_millis(250);

/// Who joins what.
#[derive(Debug, Clone)]
pub struct JoinOptions {
    /// This node's name: no other has it.
    pub node: NodeName,
    /// What it says of itself.
    pub record: NodeRecord,
    /// What all nodes must agree on, as this one sees it.
    pub fleet: FleetRecord,
    /// The generation that the bucket has given to the fleet.
    pub generation: u64,
    /// How long a lease is asked for: 2 s to 5 min.
    pub lease_ttl: Duration,
    /// How long registering may take, after the former self of this node is gone.
    pub join_timeout: Duration,
}

impl JoinOptions {
    pub(super) fn ownership(&self) -> OwnershipOptions {
        OwnershipOptions {
            node: self.node.clone(),
            record: self.record.clone(),
            shards: self.fleet.shards,
            generation: self.generation,
            lease_ttl: self.lease_ttl,
        }
    }
}

/// Waits for this node's former self, and looks whether it can be one of those that are there.
async fn look_around(etcd: &Etcd, options: &JoinOptions) -> Result<(), EtcdError> {
    etcd.wait_for_former_self(&options.node).await?;
    let conflict = etcd.conflict(&options.node, &options.record).await;
    match conflict.map_err(|failure| etcd.error(&failure))? {
        Some(conflict) => Err(EtcdError::Refused(conflict)),
        None => Ok(()),
    }
}

/// Joins the fleet, and stays in it until the node leaves, must stop, or the last clone of the membership is dropped.
///
/// # Errors
/// When the fleet has agreed on something else, a node of that name lives, one of the volumes is another node's, or
/// the node is not registered in time.
pub async fn join(
    etcd: &Etcd,
    options: JoinOptions,
    source: Arc<dyn GenerationSource>,
    clock: Arc<dyn Clock>,
) -> Result<Membership, EtcdError> {
    let limit = options.join_timeout;
    let end = Instant::now() + limit;
    // A leader may be chosen just now: that takes as long as it takes, and what was waited for is not lost.
    while let Err(error) = look_around(etcd, &options).await {
        if !matches!(error, EtcdError::Failed(_)) || Instant::now() >= end {
            return Err(error);
        }
        tracing::info!("joining goes on: {error}");
        tokio::time::sleep(PAUSE).await;
    }
    let (membership, controls) = membership(Arc::clone(&clock));
    let (membership, looks) = membership.with_looks();
    let (joining, mut joined) = watch::channel(Joined::NotYet);
    let driver =
        Driver::new(etcd.clone(), Arc::new(options), source, clock, (controls, looks), joining);
    // Ends by itself when the membership is dropped.
    tokio::spawn(driver.run());
    let outcome = tokio::time::timeout(limit, joined.wait_for(|joined| *joined != Joined::NotYet));
    match outcome.await {
        Ok(Ok(outcome)) => match &*outcome {
            Joined::Refused(why) => Err(EtcdError::Refused(why.clone())),
            Joined::Yes | Joined::NotYet => Ok(membership),
        },
        Ok(Err(_)) => Err(EtcdError::Failed("the driver of the cluster has ended".to_owned())),
        Err(_) => Err(EtcdError::Failed(format!("this node was not registered within {limit:?}"))),
    }
}
