//! What the replicator has of the cluster: which shards are this node's, until when it may act on that, and a way
//! to tell what became of them.
//!
//! Assignments are a state, not a stream of orders: whoever looks later, or starts anew, sees all there is to know.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use ultrasimple_core::{Clock, Epoch, ShardKey};

use crate::ownership::View;

/// Reports that may wait for the driver.
const REPORTS: usize = 1_024;
/// Those who want to see the fleet and may wait for the driver; more are turned away.
const LOOKS: usize = 16;

/// The right to back up a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// Goes into the footer of each backup and into the catalog. Greater than that of any owner before.
    pub epoch: Epoch,
    /// The owner before this one let go of the shard in order, nobody had it in between, and it said: a catalog of
    /// this epoch says all there is. (Of a node without etcd that holds only where it is marked as final, too.)
    pub handed_over_by: Option<Epoch>,
}

/// How far along a shard is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It is this node's.
    Owned,
    /// It is to go to another node: end what is in flight, write the catalog, and report [`Report::Released`].
    Releasing,
}

/// A shard of this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Assignment {
    /// The right to it.
    pub grant: Grant,
    /// How far along it is.
    pub phase: Phase,
}

/// All shards of this node. A shard that is not (or no longer) here is to be forgotten at once.
pub type Assignments = BTreeMap<ShardKey, Assignment>;

/// What became of a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// Nothing of it is in flight any more, and nothing will be.
    Released {
        /// Which.
        shard: ShardKey,
        /// Under which grant.
        epoch: Epoch,
        /// The epoch of the catalog that says all there is, if one does: the one that this owner wrote last, or
        /// found when it came and has added nothing to.
        catalog: Option<Epoch>,
    },
    /// The bucket has something of a later owner.
    Fenced {
        /// Which.
        shard: ShardKey,
        /// Under which grant this node wrote.
        epoch: Epoch,
        /// The later one.
        by: Epoch,
        /// What was found, for people.
        what: String,
    },
    /// Whether this node can do its work.
    Fit {
        /// Else the store has not worked for it for a while, or its file system hangs: others should take over, if
        /// these work for them.
        is_fit: bool,
    },
    /// This node ends: it gives all shards back.
    Leave,
}

/// Why a node must stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Halted {
    /// For people.
    pub reason: String,
    /// Nothing is wrong with the node: the fleet is not the one that it joined. It may join the new one.
    pub may_rejoin: bool,
}

/// Until when this node may act as the owner of its shards.
///
/// The lease in etcd keeps others away; this is how long this node believes in it, by its own monotonic clock.
#[derive(Debug, Clone)]
pub struct Lease {
    until: watch::Receiver<Duration>,
    clock: Arc<dyn Clock>,
}

impl Lease {
    /// Whether it may be acted upon now.
    pub fn is_trusted(&self) -> bool {
        self.clock.monotonic() < *self.until.borrow()
    }

    /// How much is left of it; zero when it is not trusted. [`Duration::MAX`] without etcd.
    pub fn remaining(&self) -> Duration {
        let until = *self.until.borrow();
        if until == Duration::MAX { until } else { until.saturating_sub(self.clock.monotonic()) }
    }

    /// Waits until it may not be acted upon any more.
    pub async fn lost(&self) {
        let mut until = self.until.clone();
        loop {
            let end = *until.borrow_and_update();
            let now = self.clock.monotonic();
            if now >= end {
                return;
            }
            if end == Duration::MAX {
                if until.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
                continue;
            }
            tokio::select! {
                () = tokio::time::sleep(end.saturating_sub(now)) => {}
                changed = until.changed() => {
                    if changed.is_err() {
                        // Nobody renews it any more.
                        tokio::time::sleep(end.saturating_sub(now)).await;
                    }
                }
            }
        }
    }
}

/// The fleet, as this node knows it from etcd.
#[derive(Debug, Clone, Default)]
pub struct Sighting {
    /// Nodes, drains and claims.
    pub view: View,
    /// Etcd tells of every change. Else this is what it told last.
    pub is_current: bool,
    /// Into how many shards each volume is divided.
    pub shards: u32,
}

/// Where a driver is told of those who want to see the fleet.
pub(crate) type Looks = mpsc::Receiver<oneshot::Sender<Sighting>>;

/// A node's place in the cluster. Clones share it.
#[derive(Debug, Clone)]
pub struct Membership {
    assignments: watch::Receiver<Arc<Assignments>>,
    lease: Lease,
    unowned: Arc<AtomicU64>,
    halted: watch::Receiver<Option<Halted>>,
    left: watch::Receiver<bool>,
    reports: mpsc::Sender<Report>,
    /// `None`: there is no fleet to be seen.
    looks: Option<mpsc::Sender<oneshot::Sender<Sighting>>>,
}

impl Membership {
    /// The same, of a node whose driver shows the fleet to whoever asks.
    pub(crate) fn with_looks(self) -> (Self, Looks) {
        let (looks, asked) = mpsc::channel(LOOKS);
        (Self { looks: Some(looks), ..self }, asked)
    }

    /// The fleet as it is now. `None` where there is none, its driver has ended, or too many ask at once. To be
    /// given a deadline by the caller.
    pub async fn look(&self) -> Option<Sighting> {
        let (reply, sighting) = oneshot::channel();
        self.looks.as_ref()?.try_send(reply).ok()?;
        sighting.await.ok()
    }

    /// The shards of this node now.
    pub fn assignments(&self) -> Arc<Assignments> {
        Arc::clone(&self.assignments.borrow())
    }

    /// To wait for other assignments.
    pub fn watch(&self) -> watch::Receiver<Arc<Assignments>> {
        self.assignments.clone()
    }

    /// Until when they hold.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// How many shards of this node's volumes nobody had, this node included, when etcd last told.
    pub fn unowned(&self) -> u64 {
        self.unowned.load(Ordering::Relaxed)
    }

    /// Tells what became of a shard. Waits while a thousand reports wait.
    pub async fn report(&self, report: Report) {
        // A driver that is gone has halted.
        let _ = self.reports.send(report).await;
    }

    /// Waits until this node must stop, and gives the reason.
    pub async fn halted(&self) -> Halted {
        let mut halted = self.halted.clone();
        let halted = halted.wait_for(Option::is_some).await.ok().and_then(|it| it.clone());
        halted.unwrap_or_else(|| Halted {
            reason: "the driver of the cluster has ended".to_owned(),
            may_rejoin: false,
        })
    }

    /// Gives all shards back, and waits until the cluster knows. To be given a deadline by the caller.
    pub async fn leave(&self) {
        self.report(Report::Leave).await;
        let mut left = self.left.clone();
        let _ = left.wait_for(|left| *left).await;
    }
}

/// The driver's side of a [`Membership`].
#[derive(Debug)]
pub struct Controls {
    assignments: watch::Sender<Arc<Assignments>>,
    until: watch::Sender<Duration>,
    unowned: Arc<AtomicU64>,
    halted: watch::Sender<Option<Halted>>,
    left: watch::Sender<bool>,
    reports: mpsc::Receiver<Report>,
}

impl Controls {
    /// Publishes the assignments, if they differ.
    pub fn assign(&self, assignments: Assignments) {
        self.assignments.send_if_modified(|now| {
            let differs = **now != assignments;
            if differs {
                *now = Arc::new(assignments);
            }
            differs
        });
    }

    /// Publishes until when the lease may be acted upon (monotonic clock).
    pub fn trust_until(&self, until: Duration) {
        self.until.send_if_modified(|now| std::mem::replace(now, until) != until);
    }

    /// Publishes how many shards of this node's volumes nobody has.
    pub fn unowned(&self, shards: u64) {
        self.unowned.store(shards, Ordering::Relaxed);
    }

    /// This node must stop.
    pub fn halt(&self, reason: String) {
        self.halted.send_replace(Some(Halted { reason, may_rejoin: false }));
    }

    /// This node must stop, and may join anew.
    pub fn halt_to_rejoin(&self, reason: String) {
        self.halted.send_replace(Some(Halted { reason, may_rejoin: true }));
    }

    /// All shards are given back.
    pub fn left(&self) {
        self.left.send_replace(true);
    }

    /// Whether another report is there already.
    pub fn has_report(&self) -> bool {
        !self.reports.is_empty()
    }

    /// The next report. `None` when the membership was dropped.
    pub async fn next_report(&mut self) -> Option<Report> {
        self.reports.recv().await
    }
}

/// A membership without shards, and what drives it.
pub fn membership(clock: Arc<dyn Clock>) -> (Membership, Controls) {
    let (assign, assignments) = watch::channel(Arc::default());
    let (trust, until) = watch::channel(Duration::ZERO);
    let (halt, halted) = watch::channel(None);
    let (leave, left) = watch::channel(false);
    let (sender, reports) = mpsc::channel(REPORTS);
    let lease = Lease { until, clock };
    let unowned = Arc::new(AtomicU64::new(0));
    let told = Arc::clone(&unowned);
    (
        Membership {
            assignments,
            lease,
            unowned: told,
            halted,
            left,
            reports: sender,
            looks: None,
        },
        Controls { assignments: assign, until: trust, unowned, halted: halt, left: leave, reports },
    )
}
