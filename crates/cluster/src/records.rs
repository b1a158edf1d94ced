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

#[cfg(test)]
mod tests {
    use super::*;

    /// What is stored in somebody's etcd stays readable, by older and newer programs.
    #[test]
    fn the_stored_forms_never_change() {
        fn check<T: Serialize + for<'a> Deserialize<'a> + PartialEq + std::fmt::Debug>(
            value: &T,
            golden: &str,
        ) {
            assert_eq!(serde_json::to_string(value).unwrap(), golden);
            assert_eq!(serde_json::from_str::<T>(golden).unwrap(), *value);
            let newer = golden.replacen('{', "{\"later\":[1],", 1);
            assert_eq!(serde_json::from_str::<T>(&newer).unwrap(), *value, "unknown fields");
        }
        let fleet = FleetRecord {
            format: FORMAT,
            fleet: "f1".into(),
            shards: 256,
            template: "{{path}}".into(),
            bucket: "b1".into(),
        };
        check(
            &fleet,
            r#"{"format":1,"fleet":"f1","shards":256,"template":"{{path}}","bucket":"b1"}"#,
        );
        let since = ultrasimple_core::Timestamp::UNIX_EPOCH;
        let mounts = |filesystem: Option<&str>| MountRecord {
            filesystem: filesystem.map(str::to_owned),
            patterns: "p".into(),
        };
        let volumes = [("a", mounts(None)), ("b", mounts(Some("x")))];
        let mut node = NodeRecord {
            address: "http://n1:9810".into(),
            volumes: volumes.map(|(name, mount)| (name.parse().unwrap(), mount)).into(),
            capacity: 1.5,
            version: "0.1.0".into(),
            since,
            leaving: false,
            unwell: false,
        };
        let golden = r#"{"address":"http://n1:9810","volumes":{"a":{"patterns":"p"},"b":{"filesystem":"x","patterns":"p"}},"capacity":1.5,"version":"0.1.0","since":"1970-01-01T00:00:00Z"}"#;
        check(&node, golden);
        (node.leaving, node.unwell) = (true, true);
        check(&node, &golden.replace("00Z\"}", "00Z\",\"leaving\":true,\"unwell\":true}"));
        let claim = ClaimRecord { node: "n1".parse().unwrap(), generation: 7 };
        check(&claim, r#"{"node":"n1","generation":7}"#);
        check(&HandoverRecord { epoch: Epoch::new(7, 42) }, r#"{"epoch":7000000000042}"#);
        check(&DrainRecord { since }, r#"{"since":"1970-01-01T00:00:00Z"}"#);
    }
}
