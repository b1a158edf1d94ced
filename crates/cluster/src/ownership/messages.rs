//! What goes into the machine and what comes out of it.

use std::time::Duration;

use ultrasimple_core::{Epoch, NodeName, ShardKey};

use super::view::{Change, View};
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
    /// What it says of itself. It owns shards of the volumes that are named here.
    pub record: NodeRecord,
    /// Into how many shards each volume is divided.
    pub shards: u32,
    /// The generation that goes into the epochs of its claims.
    pub generation: u64,
    /// How long a lease is asked for: 2 s to 5 min.
    pub lease_ttl: Duration,
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
    /// There is a claim already.
    Held,
    /// It may or may not have been made: the view will tell.
    Unknown,
}

/// What happened. Times are of the monotonic clock.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Time went on. To be given at [`super::Ownership::next_wakeup`] at the latest.
    Tick,
    /// A lease was granted.
    LeaseGranted {
        /// Which.
        lease: LeaseId,
        /// When the request was sent.
        sent_at: Duration,
        /// For how long.
        ttl: Duration,
    },
    /// A lease was kept alive.
    LeaseKept {
        /// Which.
        lease: LeaseId,
        /// When the request was sent.
        sent_at: Duration,
        /// For how long.
        ttl: Duration,
    },
    /// etcd does not have this lease (any more).
    LeaseGone {
        /// Which.
        lease: LeaseId,
    },
    /// The node's key is there, bound to this lease.
    Registered {
        /// Which.
        lease: LeaseId,
    },
    /// A key of the node's name is there, bound to another lease.
    NameTaken {
        /// That other lease.
        lease: LeaseId,
    },
    /// The whole of etcd, by a read that is linearizable.
    Listed {
        /// When the request was sent.
        sent_at: Duration,
        /// As of when.
        revision: Revision,
        /// All of it.
        view: View,
    },
    /// All that changed after one revision, up to another, in order. Nothing, in a report of progress.
    Changed {
        /// What came before has been told.
        after: Revision,
        /// As of when.
        revision: Revision,
        /// What changed.
        changes: Vec<Change>,
    },
    /// The watch has ended, or missed something: the view is to be listed again.
    WatchLost,
    /// What became of claims. Shards that are not named are taken for unknown after a while.
    Claimed {
        /// The lease they are bound to.
        lease: LeaseId,
        /// The generation that was written.
        generation: u64,
        /// What became of each.
        outcomes: Vec<(ShardKey, Claimed)>,
    },
    /// A request failed, or its outcome is unknown. The machine asks again after a while where that is needed; when
    /// it hears nothing at all it does so after a longer while.
    Failed(Request),
    /// The replicator: nothing of the shard is in flight any more.
    Released {
        /// Which.
        shard: ShardKey,
        /// Under which grant.
        epoch: Epoch,
        /// The epoch of the catalog that says all there is, if one does.
        catalog: Option<Epoch>,
    },
    /// The replicator: the bucket has something of a later owner.
    Fenced {
        /// Which.
        shard: ShardKey,
        /// Under which grant this node wrote.
        epoch: Epoch,
        /// The later one.
        by: Epoch,
    },
    /// The generation to go on with: greater than the one in the question.
    Generation(u64),
    /// The replicator: whether this node can do its work.
    Fit {
        /// Else others should take over, if they can.
        is_fit: bool,
    },
    /// The node is to leave in order.
    Leave,
}

/// Which request an [`Event::Failed`] is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// [`Action::GrantLease`].
    Grant,
    /// [`Action::KeepAlive`].
    KeepAlive,
    /// [`Action::Register`].
    Register,
    /// [`Action::List`].
    List,
    /// [`Action::Unclaim`] of this shard.
    Unclaim(ShardKey),
    /// [`Action::Revoke`].
    Revoke,
    /// [`Action::AskGeneration`].
    Generation,
}

/// What the driver is to do. All of it may be done at once, in any order, and may fail.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Ask for a lease: [`Event::LeaseGranted`].
    GrantLease {
        /// For how long.
        ttl: Duration,
    },
    /// Keep it alive: [`Event::LeaseKept`] or [`Event::LeaseGone`].
    KeepAlive {
        /// Which.
        lease: LeaseId,
    },
    /// Put the node's key, bound to the lease, if there is none or it is bound to this very lease:
    /// [`Event::Registered`] or [`Event::NameTaken`].
    Register {
        /// Bound to this one.
        lease: LeaseId,
        /// The value.
        record: NodeRecord,
    },
    /// Read everything and watch from there on: [`Event::Listed`], then [`Event::Changed`]. Takes the place of the
    /// watch before it, if there is one.
    List,
    /// Create these claims, each only where there is none, bound to the lease, consuming their handovers:
    /// [`Event::Claimed`].
    Claim {
        /// Bound to this one.
        lease: LeaseId,
        /// Goes into each record.
        generation: u64,
        /// [`super::CLAIMS_AT_ONCE`] at most.
        shards: Vec<ShardKey>,
    },
    /// Delete a claim if it is still the one created at this revision. Its end shows in the view.
    Unclaim {
        /// Which.
        shard: ShardKey,
        /// The claim to delete.
        created: Revision,
        /// Leave word of this epoch for the next owner, in the same transaction.
        handover: Option<Epoch>,
    },
    /// Find out from the bucket which generation to go on with, or halt: [`Event::Generation`].
    AskGeneration {
        /// The one that will not do any more. If the bucket has the same, it is to be raised.
        generation: u64,
        /// The epoch that was found in the bucket.
        fenced_by: Epoch,
    },
    /// Revoke a lease, and with it all that is bound to it: [`Event::LeaseGone`].
    Revoke {
        /// Which.
        lease: LeaseId,
    },
    /// This node must stop. Nothing comes after it.
    Halt {
        /// For people.
        reason: String,
    },
}
