//! What is stored in etcd (format version 1), under `/ultrasimple/<cluster>/`:
//!
//! ```text
//! name                        (text)         for ever: the fleet's random name; an etcd set up anew is another fleet
//! fleet                       FleetRecord    for ever: what all nodes must agree on
//! nodes/<node>                NodeRecord     bound to the node's lease
//! drains/<node>               DrainRecord    until it is undone: the node is to own nothing
//! shards/<volume>/<shard>     ClaimRecord    a claim, bound to the lease of its node; its create revision makes its epoch
//! handovers/<volume>/<shard>  HandoverRecord the last owner let go in order; consumed by the next claim
//! ```
//!
//! Keys and values are JSON, small enough to be read with `etcdctl get --prefix /ultrasimple/`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use ultrasimple_core::{Epoch, NodeName, VolumeName};

/// The version of all of this. Part of what all nodes must agree on.
pub const FORMAT: u32 = 1;

/// What all nodes of a cluster must agree on. Made by its first node; replaced only while no node is registered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetRecord {
    /// [`FORMAT`].
    pub format: u32,
    /// What the key `name` has.
    pub fleet: String,
    /// Into how many shards each volume is divided.
    pub shards: u32,
    /// The path template, as given or as the default reads.
    pub template: String,
    /// The random name of the bucket, from its cluster file.
    pub bucket: String,
}

/// A node that lives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// Where its HTTP is, as others reach it: `http://10.0.0.7:9810`. Empty where it serves none.
    pub address: String,
    /// What it mounts.
    pub volumes: BTreeMap<VolumeName, MountRecord>,
    /// Its share of the work, relative to others': more than 0.
    pub capacity: f64,
    /// Of the program.
    pub version: String,
    /// When it joined, by its clock.
    pub since: ultrasimple_core::Timestamp,
    /// It is ending: it is to own nothing any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leaving: bool,
    /// The store has not worked for it for a while: others are to take over, if it works for any.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unwell: bool,
}

/// A volume as a node mounts it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MountRecord {
    /// Of a local file system (not of a network one), what tells it from all others: two nodes that say different
    /// things do not share it, although they call it by the same name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filesystem: Option<String>,
    /// A hash of the patterns that say which files are databases there: nodes should agree.
    pub patterns: String,
}

/// A shard's claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimRecord {
    /// Whose.
    pub node: NodeName,
    /// With the create revision it makes the epoch.
    pub generation: u64,
}

/// The last owner of a shard let go of it in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandoverRecord {
    /// Its epoch: that of the final catalog.
    pub epoch: Epoch,
}

/// A node is to own nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainRecord {
    /// Since when.
    pub since: ultrasimple_core::Timestamp,
}
