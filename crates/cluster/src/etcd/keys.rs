//! The keys, and what they and their values mean. See [`crate::records`].

use etcd_client::KeyValue;
use ultrasimple_core::{NodeName, ShardId, ShardKey};

use crate::ownership::{Change, Claim, LeaseId, RegisteredNode, Revision};
use crate::records::{ClaimRecord, NodeRecord};

/// All keys of one fleet.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    prefix: String,
}

/// What a key is of.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Key {
    Fleet,
    Node(NodeName),
    Drain(NodeName),
    Claim(ShardKey),
    /// Of no interest, or not ours.
    Other,
}

impl Keys {
    pub(super) fn new(cluster: &str) -> Self {
        Self { prefix: format!("/ultrasimple/{cluster}/") }
    }

    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(super) fn name(&self) -> String {
        format!("{}name", self.prefix)
    }

    pub(super) fn fleet(&self) -> String {
        format!("{}fleet", self.prefix)
    }

    pub(super) fn nodes(&self) -> String {
        format!("{}nodes/", self.prefix)
    }

    pub(super) fn node(&self, node: &NodeName) -> String {
        format!("{}nodes/{node}", self.prefix)
    }

    pub(super) fn drains(&self) -> String {
        format!("{}drains/", self.prefix)
    }

    pub(super) fn drain(&self, node: &NodeName) -> String {
        format!("{}drains/{node}", self.prefix)
    }

    pub(super) fn claims(&self) -> String {
        format!("{}shards/", self.prefix)
    }

    pub(super) fn claim(&self, shard: &ShardKey) -> String {
        format!("{}shards/{shard}", self.prefix)
    }

    pub(super) fn handover(&self, shard: &ShardKey) -> String {
        format!("{}handovers/{shard}", self.prefix)
    }

    pub(super) fn parse(&self, key: &[u8]) -> Key {
        self.parse_text(key).unwrap_or(Key::Other)
    }

    fn parse_text(&self, key: &[u8]) -> Option<Key> {
        let key = std::str::from_utf8(key).ok()?.strip_prefix(&self.prefix)?;
        if key == "fleet" {
            return Some(Key::Fleet);
        }
        let (folder, rest) = key.split_once('/')?;
        Some(match folder {
            "nodes" => Key::Node(rest.parse().ok()?),
            "drains" => Key::Drain(rest.parse().ok()?),
            "shards" => {
                let (volume, shard) = rest.split_once('/')?;
                let shard = ShardId(shard.parse().ok()?);
                let found = ShardKey { volume: volume.parse().ok()?, shard };
                // As it is written, and in no other way.
                return (self.claim(&found) == format!("{}{key}", self.prefix))
                    .then_some(Key::Claim(found));
            }
            _ => Key::Other,
        })
    }

    /// What it means that a key has this value now.
    pub(super) fn put(&self, kv: &KeyValue) -> Option<Change> {
        let lease = LeaseId(kv.lease());
        match self.parse(kv.key()) {
            Key::Node(node) => match serde_json::from_slice::<NodeRecord>(kv.value()) {
                Ok(record) => Some(Change::Node(node, Some(RegisteredNode { record, lease }))),
                Err(error) => {
                    tracing::warn!(%node, "what a node says of itself cannot be read: {error}");
                    None
                }
            },
            Key::Drain(node) => Some(Change::Drain(node, true)),
            Key::Claim(shard) => {
                let record = serde_json::from_slice::<ClaimRecord>(kv.value()).ok();
                // One that cannot be read is somebody's all the same.
                let record = record.or_else(|| {
                    let node = "unknown".parse().ok()?;
                    Some(ClaimRecord { node, generation: 0 })
                })?;
                let created = Revision(u64::try_from(kv.create_revision()).unwrap_or(0));
                let ClaimRecord { node, generation } = record;
                Some(Change::Claim(shard, Some(Claim { node, generation, lease, created })))
            }
            Key::Fleet | Key::Other => None,
        }
    }

    /// What it means that a key was deleted.
    pub(super) fn deleted(&self, key: &[u8]) -> Option<Change> {
        match self.parse(key) {
            Key::Node(node) => Some(Change::Node(node, None)),
            Key::Drain(node) => Some(Change::Drain(node, false)),
            Key::Claim(shard) => Some(Change::Claim(shard, None)),
            Key::Fleet | Key::Other => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_they_are_written() {
        let keys = Keys::new("c");
        let shard = ShardKey { volume: "v.1".parse().unwrap(), shard: ShardId(7) };
        let node: NodeName = "n".parse().unwrap();
        assert_eq!(keys.claim(&shard), "/ultrasimple/c/shards/v.1/0007");
        for (text, key) in [
            (keys.claim(&shard), Key::Claim(shard.clone())),
            (keys.node(&node), Key::Node(node.clone())),
            (keys.drain(&node), Key::Drain(node)),
            (keys.fleet(), Key::Fleet),
            (keys.name(), Key::Other),
            (keys.handover(&shard), Key::Other),
            ("/ultrasimple/c/shards/v.1/7".into(), Key::Other),
            ("/ultrasimple/c/shards/v.1".into(), Key::Other),
            ("/ultrasimple/c/nodes/a/b".into(), Key::Other),
            ("/ultrasimple/cc/fleet".into(), Key::Other),
        ] {
            assert_eq!(keys.parse(text.as_bytes()), key, "{text}");
        }
    }
}
