//! What a process has done beside its decisions: each a task that goes through the network, ends with something to
//! tell, and may be dropped at any time.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{Either, select};
use futures::pin_mut;
use ultrasimple_cluster::Lease;
use ultrasimple_core::cluster_file::{ClusterFile, Holder};
use ultrasimple_core::footer::FooterFields;
use ultrasimple_core::key::KeyStem;
use ultrasimple_core::{CheckResult, Clock, Epoch, Hour, NodeName, ShardKey};
use ultrasimple_keeper::Author;
use ultrasimple_keeper::reconcile::{Budget, Pass, ReconcileReport};
use ultrasimple_replicator::simulation::{
    Asked, Captured, Chair, Counts, Done, Keeper, Offered, Outcome, Recalled, Sent, Trusted,
    Undone, send,
};
use ultrasimple_replicator::take;
use ultrasimple_store::{Body, ByteRange, Condition, Store, StoreError};

use crate::Sabotage;
use crate::clock::HostClock;
use crate::kernel::{Kernel, Process};
use crate::tasks;
use crate::truth::{DatabaseNumber, Truth};

/// A task of a process.
pub(crate) type Work = tasks::Work<End>;

/// What a task has to tell.
#[derive(Debug)]
pub(crate) enum End {
    /// The bucket was taken, under this generation.
    Booted(Result<u64, String>),
    /// The generation to go on with.
    Generation(Result<u64, Refused>),
    Recalled {
        chair: Chair,
        outcome: Result<Option<Recalled>, Undone>,
    },
    Rebuilt {
        scan: u64,
        outcome: Result<Vec<(Chair, Option<Recalled>)>, Undone>,
    },
    Uploaded {
        upload: u64,
        sent: Sent,
    },
    Tended {
        chair: Chair,
        asked: Asked,
        outcome: Option<Result<Done, Undone>>,
    },
    /// The bucket was compared with the catalogs.
    Compared(Result<ReconcileReport, StoreError>),
}

/// Why there is no generation to go on with.
#[derive(Debug)]
pub(crate) enum Refused {
    /// Somebody else has the bucket: for good.
    Halt(String),
    /// To be asked again.
    Failed(String),
}

/// What tasks need.
#[derive(Clone)]
pub(crate) struct Bench {
    pub(crate) kernel: Arc<Kernel>,
    pub(crate) process: Process,
    pub(crate) clock: Arc<HostClock>,
    pub(crate) node: NodeName,
    /// Writes whatever the lease says.
    pub(crate) store: Arc<dyn Store>,
    /// Writes only while the lease is trusted.
    pub(crate) leashed: Arc<dyn Store>,
    pub(crate) lease: Lease,
    pub(crate) keeper: Keeper,
    pub(crate) shards: u32,
    pub(crate) counts: Arc<Counts>,
    pub(crate) sabotage: Option<Sabotage>,
}

/// The name by which the fleet is known in the bucket.
pub(crate) fn holder() -> Holder {
    Holder::Fleet("fleet".to_owned())
}

/// Takes the bucket, at the start of a process.
pub(crate) fn boot(bench: Bench) -> Work {
    Box::pin(async move {
        let taken = take(&bench.store, bench.shards, &holder(), None).await;
        End::Booted(taken.map(|taken| taken.generation).map_err(|error| error.to_string()))
    })
}

/// Asks the bucket which generation to go on with: `not` will not do any more.
pub(crate) fn ask_generation(bench: Bench, not: u64) -> Work {
    Box::pin(async move { End::Generation(generation(&*bench.store, not).await) })
}

async fn generation(store: &dyn Store, not: u64) -> Result<u64, Refused> {
    let failed = |error: &dyn std::fmt::Display| Refused::Failed(error.to_string());
    let key = ClusterFile::key();
    let there = store.get(&key, ByteRange::Full).await.map_err(|error| failed(&error))?;
    let there = there.ok_or_else(|| Refused::Halt("the cluster file is gone".to_owned()))?;
    let etag = there.info.etag.clone();
    let bytes = there.bytes(1 << 20).await.map_err(|error| failed(&error))?;
    let file = ClusterFile::parse(&bytes).map_err(|error| failed(&error))?;
    if file.holder != holder() {
        return Err(Refused::Halt(format!("the bucket is that of {}", file.holder)));
    }
    if file.generation > not {
        return Ok(file.generation);
    }
    let raised = file.raised(holder());
    let bytes = raised.to_bytes().map_err(|error| failed(&error))?;
    let stored = store.put(&key, Body::Bytes(bytes.into()), Condition::Matches(etag)).await;
    stored.map_err(|error| failed(&error))?;
    Ok(raised.generation)
}

/// Reads the catalog of a shard.
pub(crate) fn recall(bench: Bench, chair: Chair, trusted: Trusted) -> Work {
    Box::pin(async move {
        let outcome = bench.keeper.recall(&chair, trusted).await;
        End::Recalled { chair, outcome }
    })
}

/// Makes the catalogs of shards from the objects of their databases, and reads them.
pub(crate) fn rebuild(bench: Bench, scan: u64, lacking: Vec<Chair>, stems: Vec<KeyStem>) -> Work {
    Box::pin(async move {
        let outcome = async {
            let rebuilt = bench.keeper.rebuild(lacking.len(), &stems).await;
            rebuilt.map_err(|error| Undone::Failed(error.to_string()))?;
            let mut recalled = Vec::new();
            for chair in lacking {
                let found = bench.keeper.recall(&chair, Trusted::None).await?;
                recalled.push((chair, found));
            }
            Ok(recalled)
        };
        End::Rebuilt { scan, outcome: outcome.await }
    })
}

/// Which database is backed up.
pub(crate) struct Job {
    pub(crate) upload: u64,
    pub(crate) chair: Chair,
    pub(crate) offered: Offered,
    pub(crate) database: DatabaseNumber,
    /// How long it takes to look at it, and then to read it.
    pub(crate) delays: [Duration; 2],
    /// A later change may not show in the fingerprint.
    pub(crate) settled: bool,
}

/// Backs one database up.
pub(crate) fn upload(bench: Bench, job: Job) -> Work {
    Box::pin(async move {
        let (upload, chair) = (job.upload, job.chair.clone());
        let this_hour = || Hour::of(bench.clock.now());
        let begun = this_hour();
        // Whether a request that is given up was made, nobody knows.
        let given_up = || Sent::Ended(Outcome::given_up(begun.max(this_hour())), true);
        let sent = {
            let (aborted, lost) = (chair.aborted(), bench.lease.lost());
            let attempt = back_up(&bench, job);
            pin_mut!(aborted, lost, attempt);
            match select(select(aborted, lost), attempt).await {
                Either::Left(_) => given_up(),
                Either::Right((sent, _)) => sent,
            }
        };
        End::Uploaded { upload, sent }
    })
}

async fn back_up(bench: &Bench, job: Job) -> Sent {
    let Bench { kernel, process, clock, node, .. } = bench;
    let Job { chair, offered, database, delays: [first, second], settled, .. } = job;
    kernel.sleep(*process, first).await;
    let digest = kernel.lock().truth.read(database).map(|(state, _)| state.digest);
    let captured_at = clock.now();
    kernel.sleep(*process, second).await;
    // The state at that time, or shortly after.
    let found = {
        let inner = kernel.lock();
        let place = inner.truth.database(database).cloned();
        inner.truth.read(database).zip(place)
    };
    let (Some(digest), Some(((state, image), place))) = (digest, found) else {
        return Sent::Ended(Outcome::vanished(), false);
    };
    if offered.last_content() == Some(state.content.short()) {
        return Sent::Ended(Outcome::unchanged(digest, settled), false);
    }
    let fingerprint = match bench.sabotage {
        // As if one content were one state.
        Some(Sabotage::AdoptContent) => Some(Truth::digest(0, i64::from(state.text))),
        _ => settled.then_some(digest),
    };
    let fields = FooterFields {
        volume: place.shard.volume.clone(),
        path: place.path,
        shard: place.shard.shard,
        // What the checker knows it by.
        mode: state.commit,
        captured_at,
        node: node.clone(),
        epoch: chair.epoch(),
        check: CheckResult::Passed,
        fingerprint,
    };
    let captured = Captured { digest, settled, image, fields };
    send(&*bench.leashed, &**clock, &bench.counts, &place.stem, offered, captured).await
}

/// Does what is to be done for a catalog.
pub(crate) fn tend(
    bench: Bench,
    chair: Chair,
    asked: Asked,
    work: ultrasimple_replicator::simulation::Work,
) -> Work {
    Box::pin(async move {
        let is_final = matches!(asked, Asked::Final | Asked::Once);
        let outcome = {
            let end = async {
                let retired = async {
                    chair.retired().await;
                    if asked == Asked::Final {
                        std::future::pending::<()>().await;
                    }
                };
                let aborted = chair.aborted();
                pin_mut!(retired, aborted);
                select(aborted, retired).await;
            };
            let tending = bench.keeper.tend(work, is_final);
            pin_mut!(end, tending);
            match select(end, tending).await {
                Either::Left(_) => None,
                Either::Right((outcome, _)) => Some(outcome),
            }
        };
        End::Tended { chair, asked, outcome }
    })
}

/// Compares the whole bucket with all catalogs, and mends these.
pub(crate) fn compare(bench: Bench) -> Work {
    Box::pin(async move {
        let author = Author {
            node: bench.node.clone(),
            epoch: None,
            shards: bench.shards,
            now: bench.clock.now(),
            is_final: false,
        };
        let (store, mut budget) = (&*bench.leashed, Budget(1_000_000));
        let outcome = async {
            let mut pass = Pass::begin(store, author.now, &mut budget).await?;
            Ok(pass.go_on(store, &author, &mut budget).await?.unwrap_or_default())
        };
        End::Compared(outcome.await)
    })
}

/// What a fence says.
pub(crate) fn fenced_by(end: &End) -> Option<(ShardKey, Epoch, Epoch)> {
    match end {
        End::Recalled { chair, outcome: Err(Undone::Fenced(by)) }
        | End::Tended { chair, outcome: Some(Err(Undone::Fenced(by))), .. } => {
            Some((chair.shard().clone(), chair.epoch(), *by))
        }
        _ => None,
    }
}
