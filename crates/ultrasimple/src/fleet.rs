//! Joining a fleet: what this node says of itself, and which stores it may do that with.
//!
//! ```text
//! does the store fence? ──▶ etcd answers ──▶ the fleet's name ──▶ the bucket is taken ──▶ the fleet is joined
//! ```
//!
//! Who owns what is decided in [`ultrasimple_cluster`]; here are the host and the bucket as this node finds them.

mod address;
mod fences;
mod mounts;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Error, bail};
use async_trait::async_trait;
use tracing::{info, warn};
use ultrasimple_cluster::Membership;
use ultrasimple_cluster::etcd::{self, Etcd, GenerationSource, JoinOptions, NoGeneration};
use ultrasimple_cluster::records::{FORMAT, FleetRecord, NodeRecord};
use ultrasimple_core::cluster_file::Holder;
use ultrasimple_core::config::{Bucket, FleetSettings, Settings};
use ultrasimple_core::{Clock, Epoch};
use ultrasimple_replicator::{NotOurs, StartError, bucket_name, random_name, take, take_again};
use ultrasimple_store::Store;

/// How long etcd may take to answer at all.
const CONNECT: Duration = Duration::from_secs(30);
/// How long registering may take, besides a lease's time.
const REGISTER: Duration = Duration::from_secs(30);
/// How long a file system may take to say which it is.
const LOOK: Duration = Duration::from_secs(30);

/// Takes part in the fleet from now on: the result says which shards this node has.
///
/// # Errors
/// When it cannot or must not, and why.
pub(crate) async fn join(
    settings: &Settings,
    fleet: &FleetSettings,
    store: &Arc<dyn Store>,
    served: Option<SocketAddr>,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Membership> {
    check_fences(settings, fleet, store).await?;
    let (volumes, patterns) = (settings.node.volumes.clone(), settings.scan.patterns.clone());
    let mounted = blocking(move || mounts::of(&volumes, &patterns)).await?;
    let how = ultrasimple_command_line::etcd::settings(fleet).map_err(Error::msg)?;
    info!("asking etcd at {} for the fleet {}", fleet.etcd.join(", "), fleet.cluster);
    let etcd = Etcd::connect(&how, CONNECT).await?;
    let candidate = random_name().context("cannot give the fleet a name")?;
    let name = etcd.fleet_name(&candidate).await?;
    let (holder, shards) = (Holder::Fleet(name.clone()), settings.node.volumes.shards());
    let template = settings.upload.template.to_string();
    let known_as = check_agreement(&etcd, store, &name, shards, &template).await?;
    let taken = take(store, shards, &holder, known_as.as_deref()).await;
    let taken = taken.context("cannot take the bucket")?;
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let given = fleet.advertise.as_deref();
    let address = address::announced(given, served, &host);
    if address::is_this_host_alone(given, served) {
        info!(
            "only this host reaches {address}: ultrasimple-ctl cannot ask this node from others; give -http an \
             address that they reach, with -http-token-file"
        );
    }
    let record = NodeRecord {
        address,
        volumes: mounted,
        capacity: fleet.capacity.value(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        since: clock.now(),
        leaving: false,
        unwell: false,
    };
    let bucket = taken.bucket.clone();
    let agreed =
        FleetRecord { format: FORMAT, fleet: name, shards, template, bucket: taken.bucket };
    let options = JoinOptions {
        node: settings.node.node.clone(),
        record,
        fleet: agreed,
        generation: taken.generation,
        lease_ttl: fleet.lease_ttl,
        join_timeout: fleet.lease_ttl + REGISTER,
    };
    let source = BucketSource { store: Arc::clone(store), shards, holder, bucket };
    let source = Arc::new(source);
    let joined = etcd::join(&etcd, options, source, Arc::clone(clock)).await;
    let membership = joined.with_context(|| format!("cannot join the fleet {}", fleet.cluster))?;
    info!("joined the fleet {} as {}", fleet.cluster, settings.node.node);
    Ok(membership)
}

/// Whether what kept this node from joining may pass by itself.
pub(crate) fn may_pass(error: &Error) -> bool {
    use ultrasimple_cluster::etcd::EtcdError;
    error.chain().any(|cause| {
        let etcd = cause.downcast_ref::<EtcdError>();
        etcd.is_some_and(|etcd| matches!(etcd, EtcdError::Unreachable(_) | EtcdError::Failed(_)))
            || cause.is::<StartError>()
    })
}

/// The name by which the nodes that live know the bucket, if there are any. A node that they will refuse must not take
/// the bucket first: it may be one that somebody else writes to.
async fn check_agreement(
    etcd: &Etcd,
    store: &Arc<dyn Store>,
    fleet: &str,
    shards: u32,
    template: &str,
) -> anyhow::Result<Option<String>> {
    let Some(agreed) = etcd.agreed().await? else { return Ok(None) };
    let bucket = bucket_name(&**store).await.context("cannot read the bucket")?;
    let ours = FleetRecord {
        format: FORMAT,
        fleet: fleet.to_owned(),
        shards,
        template: template.to_owned(),
        // One without a name is new, or has lost it: taking it tells.
        bucket: bucket.unwrap_or_else(|| agreed.bucket.clone()),
    };
    match etcd::differences(&agreed, &ours) {
        None => Ok(Some(agreed.bucket)),
        Some(differs) => {
            bail!(
                "this node cannot join the fleet, whose nodes have agreed on something else: {differs}"
            )
        }
    }
}

/// R8: the store must keep late writers out, unless the operator does without.
async fn check_fences(
    settings: &Settings,
    fleet: &FleetSettings,
    store: &Arc<dyn Store>,
) -> anyhow::Result<()> {
    let able = store.capabilities();
    let directory =
        settings.store.bucket.as_ref().and_then(|Bucket { directory, .. }| directory.clone());
    let missing = blocking(move || Ok(fences::missing(able, directory.as_deref()))).await?;
    let location = store.location();
    match missing {
        None => Ok(()),
        Some(why) if fleet.allow_unfenced => {
            warn!(
                "{location}: {why}; by -allow-unfenced the fleet is joined all the same: a node that was paused \
                 for longer than its lease may replace a newer backup with an older one"
            );
            Ok(())
        }
        Some(why) => bail!(
            "a fleet cannot use -bucket {location}: {why}. A node that was paused for longer than its lease could \
             replace a newer backup with an older one. Use a store that can, or say -allow-unfenced"
        ),
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    match tokio::time::timeout(LOOK, tokio::task::spawn_blocking(work)).await {
        Ok(done) => done.context("cannot look at the file systems")?,
        Err(_) => {
            bail!("a file system does not answer: look at those of the volumes, and of the bucket")
        }
    }
}

/// Where the generation comes from after a fence.
struct BucketSource {
    store: Arc<dyn Store>,
    shards: u32,
    holder: Holder,
    bucket: String,
}

#[async_trait]
impl GenerationSource for BucketSource {
    async fn next(&self, generation: u64, fenced_by: Epoch) -> Result<u64, NoGeneration> {
        let taken = take_again(
            &self.store,
            self.shards,
            &self.holder,
            Some(&self.bucket),
            generation,
            fenced_by,
        );
        let taken = taken.await;
        taken.map_err(|error| match error {
            NotOurs::Taken(_) => NoGeneration::Halt(error.to_string()),
            error => NoGeneration::Later(error.to_string()),
        })
    }
}
