//! What a node knows of etcd, and how current that is.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ultrasimple_core::{Epoch, NodeName, ShardKey};

use super::attempt::{Attempt, Pace};
use super::messages::{LeaseId, Revision};
use crate::records::NodeRecord;

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

impl Claim {
    /// The fencing token that it stands for.
    pub fn epoch(&self) -> Epoch {
        Epoch::new(self.generation, self.created.0)
    }
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

impl View {
    /// Takes in one change.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Node(node, Some(registered)) => {
                self.nodes.insert(node, registered);
            }
            Change::Node(node, None) => {
                self.nodes.remove(&node);
            }
            Change::Drain(node, true) => {
                self.drains.insert(node);
            }
            Change::Drain(node, false) => {
                self.drains.remove(&node);
            }
            Change::Claim(shard, Some(claim)) => {
                self.claims.insert(shard, claim);
            }
            Change::Claim(shard, None) => {
                self.claims.remove(&shard);
            }
        }
    }
}

/// How a list compares with what is known.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Freshness {
    /// Older than what is known: a late reply.
    Stale,
    /// As new as what is known, or newer.
    Current,
    /// Read after what is known was known, and yet older: etcd was set back, or made anew.
    WentBack,
}

/// The view, and how current it is.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) view: View,
    /// As of when it is.
    pub(super) revision: Revision,
    /// When that was first known (monotonic clock).
    known_at: Duration,
    /// A watch tells what changes.
    pub(super) is_synced: bool,
    /// Lists that were asked for before this are not followed by a watch that still runs.
    lost_at: Duration,
    listed_at: Option<Duration>,
    pub(super) list: Attempt,
}

impl Seen {
    pub(super) fn freshness(&self, sent_at: Duration, revision: Revision) -> Freshness {
        if revision >= self.revision {
            Freshness::Current
        } else if sent_at >= self.known_at {
            Freshness::WentBack
        } else {
            Freshness::Stale
        }
    }

    /// Takes a list for the truth.
    pub(super) fn replace(
        &mut self,
        now: Duration,
        sent_at: Duration,
        revision: Revision,
        view: View,
    ) {
        self.view = view;
        self.known(now, revision);
        self.is_synced |= sent_at >= self.lost_at;
        if self.is_synced {
            self.listed_at = Some(now);
        }
        self.list.done();
    }

    pub(super) fn known(&mut self, now: Duration, revision: Revision) {
        self.revision = revision;
        self.known_at = now;
    }

    pub(super) fn lost(&mut self, now: Duration, pace: Pace) {
        if self.is_synced {
            self.is_synced = false;
            // A watch that ends as soon as it has begun is not to be followed by one list after the other.
            let not_before = self.listed_at.map_or(now, |at| at + pace.between_lists());
            self.list = Attempt::at(not_before);
        }
        self.lost_at = now;
    }
}
