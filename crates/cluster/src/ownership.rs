//! The decision: what a node asks of etcd and which shards it takes for its own, as a pure state machine.
//!
//! Time comes in with each event; I/O goes out as [`Action`]s, whose ends come back as [`Event`]s. The driver may
//! lose, delay or repeat an end: whatever the machine needs to know it can learn from the view of etcd that
//! [`Event::Listed`] and [`Event::Changed`] give.

#![allow(missing_docs)]
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ultrasimple_core::{Epoch, NodeName, ShardKey, VolumeName};

use crate::Assignments;
use crate::records::NodeRecord;

/// A lease of etcd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub i64);

/// A revision of etcd's store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(pub u64);

/// What a machine is made of.
#[derive(Debug, Clone)]
pub struct OwnershipOptions {
    /// This node.
    pub node: NodeName,
    /// What it says of itself.
    pub record: NodeRecord,
    /// Into how many shards each volume is divided.
    pub shards: u32,
    /// The generation that goes into the epochs of its claims.
    pub generation: u64,
    /// How long a lease is asked for.
    pub lease_ttl: Duration,
}

/// A claim, as etcd has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Whose.
    pub node: NodeName,
    /// Under which generation.
    pub generation: u64,
    /// Bound to this lease.
    pub lease: LeaseId,
    /// At which revision it was created.
    pub created: Revision,
}

/// A node, as etcd has it.
#[derive(Debug, Clone, PartialEq)]
pub struct RegisteredNode {
    /// What it says of itself.
    pub record: NodeRecord,
    /// Bound to this lease.
    pub lease: LeaseId,
}

/// All that a node needs to know of etcd.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct View {
    /// Those that live.
    pub nodes: BTreeMap<NodeName, RegisteredNode>,
    /// Those that are to own nothing.
    pub drains: BTreeSet<NodeName>,
    /// Who has what.
    pub claims: BTreeMap<ShardKey, Claim>,
}

/// One key that changed in etcd. `None`: it was deleted.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// A node.
    Node(NodeName, Option<RegisteredNode>),
    /// A drain.
    Drain(NodeName, bool),
    /// A claim.
    Claim(ShardKey, Option<Claim>),
}

/// What became of one claim that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claimed {
    /// It is ours.
    Won {
        /// The revision at which it was created.
        created: Revision,
        /// The handover that was there and is consumed by it.
        handed_over_by: Option<Epoch>,
    },
    /// Somebody has it.
    Held,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Time went on. To be given at [`Ownership::next_wakeup`] at the latest.
    Tick,
    /// A lease was granted on a request sent at that time (monotonic clock).
    LeaseGranted { lease: LeaseId, sent_at: Duration, ttl: Duration },
    /// A lease was kept alive by a request sent at that time.
    LeaseKept { lease: LeaseId, sent_at: Duration, ttl: Duration },
    /// etcd says that it does not have this lease (any more).
    LeaseGone { lease: LeaseId },
    /// The node's key is there, bound to this lease.
    Registered { lease: LeaseId },
    /// A key of that name is there, bound to another lease.
    NameTaken { lease: LeaseId },
    /// The whole of etcd as of a revision.
    Listed { revision: Revision, view: View },
    /// What changed, in order, as of a revision.
    Changed { revision: Revision, changes: Vec<Change> },
    /// The watch has ended, or missed something: the view is to be listed again.
    WatchLost,
    /// What became of claims; those that are not here may or may not have been made.
    Claimed { lease: LeaseId, outcomes: Vec<(ShardKey, Claimed)> },
    /// A request failed, or its end is unknown. The machine asks again after a while where that is needed.
    Failed(Request),
    /// The replicator: nothing of the shard is in flight any more.
    Released { shard: ShardKey, epoch: Epoch, is_final: bool },
    /// The replicator: the bucket has something of a later owner.
    Fenced { shard: ShardKey, epoch: Epoch, by: Epoch },
    /// The generation to go on with after a fence (at least the one before).
    Generation(u64),
    /// The replicator: whether the store works for this node.
    Store { works: bool },
    /// The node is to leave in order.
    Leave,
}

/// Which request an [`Event::Failed`] is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    Grant,
    KeepAlive,
    Register,
    List,
    Claim,
    Unclaim,
    Deregister,
    Generation,
}

/// What the driver is to do. All of it may be done at once, in any order, and may fail.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Ask for a lease: [`Event::LeaseGranted`].
    GrantLease { ttl: Duration },
    /// Keep it alive: [`Event::LeaseKept`] or [`Event::LeaseGone`].
    KeepAlive { lease: LeaseId },
    /// Put the node's key, bound to the lease, if there is none or it is bound to this very lease:
    /// [`Event::Registered`] or [`Event::NameTaken`].
    Register { lease: LeaseId, record: NodeRecord },
    /// Read everything and watch from there on: [`Event::Listed`], then [`Event::Changed`].
    List,
    /// Create these claims, each only where there is none, bound to the lease, consuming their handovers:
    /// [`Event::Claimed`].
    Claim { lease: LeaseId, generation: u64, shards: Vec<ShardKey> },
    /// Delete a claim if it is still the one created at this revision; `handover`: leave word for the next owner in
    /// the same transaction. Its end shows in the view.
    Unclaim { shard: ShardKey, created: Revision, handover: Option<Epoch> },
    /// Find out from the bucket which generation to go on with, or halt: [`Event::Generation`].
    AskGeneration { fenced_by: Epoch },
    /// Revoke the lease, and with it the node's key: the node has left when it is done.
    Revoke { lease: LeaseId },
    /// This node must stop.
    Halt { reason: String },
}

/// See the module.
#[derive(Debug)]
pub struct Ownership {
    options: OwnershipOptions,
}

impl Ownership {
    /// A machine that begins to join at `now` (monotonic clock).
    pub fn new(options: OwnershipOptions, now: Duration) -> Self {
        let _ = now;
        Self { options }
    }

    /// Takes in what happened, and says what to do.
    pub fn handle(&mut self, now: Duration, event: Event) -> Vec<Action> {
        let _ = (now, event, &self.options);
        todo!()
    }

    /// The shards of this node. Ones that may not be acted upon are here as long as the lease may still be kept.
    pub fn assignments(&self) -> &Assignments {
        todo!()
    }

    /// Until when they may be acted upon (monotonic clock).
    pub fn trusted_until(&self) -> Duration {
        todo!()
    }

    /// When [`Event::Tick`] is due at the latest.
    pub fn next_wakeup(&self) -> Option<Duration> {
        todo!()
    }

    /// Whether the node has left: it has no shard and no lease.
    pub fn has_left(&self) -> bool {
        todo!()
    }

    /// What it knows of etcd.
    pub fn view(&self) -> &View {
        todo!()
    }

    /// Who should own a shard, as far as this node knows.
    pub fn desired(&self, shard: &ShardKey) -> Option<&NodeName> {
        let _: (&ShardKey, Option<&VolumeName>) = (shard, None);
        todo!()
    }
}
