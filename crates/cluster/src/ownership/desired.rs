//! Who should own what, given who lives; and whether that has settled.

use std::collections::BTreeMap;
use std::time::Duration;

use ultrasimple_core::{NodeName, ShardId, ShardKey, VolumeName};

use super::attempt::Pace;
use super::view::View;
use crate::placement::{Candidates, VolumeHash};

/// Who should own the shards of some volumes, by the rules by which all nodes decide.
#[derive(Debug, Default)]
pub struct Desired {
    nodes: Vec<NodeName>,
    /// Per volume and shard an index into the nodes.
    owners: BTreeMap<VolumeName, Vec<usize>>,
}

impl Desired {
    /// For all shards of these volumes.
    pub fn new<'a>(
        view: &View,
        volumes: impl IntoIterator<Item = &'a VolumeName>,
        shards: u32,
    ) -> Self {
        let nodes: Vec<NodeName> = view.nodes.keys().cloned().collect();
        let of_volume = |volume: &VolumeName| {
            let hash = VolumeHash::of(volume);
            let candidates = candidates(view, volume);
            let owner = |shard| candidates.owner(hash.shard(ShardId(shard)));
            let index = |node: Option<&NodeName>| {
                node.and_then(|node| nodes.binary_search(node).ok()).unwrap_or(usize::MAX)
            };
            (0..shards).map(|shard| index(owner(shard))).collect()
        };
        let owners = volumes.into_iter().map(|volume| (volume.clone(), of_volume(volume)));
        Self { owners: owners.collect(), nodes }
    }

    /// Who should own a shard. `None` where no node can.
    pub fn owner(&self, shard: &ShardKey) -> Option<&NodeName> {
        let index = self.owners.get(&shard.volume)?.get(shard.shard.0 as usize)?;
        self.nodes.get(*index)
    }
}

/// Those among whom the shards of a volume are divided: nodes that mount it and are neither drained nor unwell. If
/// there is none of these, drained ones: being backed up beats being drained. Then unwell ones: they may be wrong.
/// Never ones that leave.
pub(super) fn candidates<'a>(view: &'a View, volume: &VolumeName) -> Candidates<'a> {
    let mounting = || {
        let nodes = view.nodes.iter().filter(|(_, node)| node.record.volumes.contains_key(volume));
        nodes.filter_map(|(name, _)| Some((name, Standing::of(view, name)?)))
    };
    let best = mounting().map(|(_, standing)| standing.rank()).min();
    let those = mounting().filter(|(_, standing)| Some(standing.rank()) == best);
    Candidates::new(those.map(|(name, standing)| (name, standing.capacity)))
}

/// All of a node that decides what it should own.
#[derive(Debug, Clone, PartialEq)]
struct Standing {
    capacity: f64,
    is_unwell: bool,
    is_drained: bool,
}

impl Standing {
    fn of(view: &View, node: &NodeName) -> Option<Self> {
        let record = &view.nodes.get(node)?.record;
        let is_drained = view.drains.contains(node);
        let standing = Self { capacity: record.capacity, is_unwell: record.unwell, is_drained };
        (!record.leaving).then_some(standing)
    }

    fn rank(&self) -> (bool, bool) {
        (self.is_unwell, self.is_drained)
    }
}

/// Whether the membership has settled: so that a fleet which starts at once does not give all to its first node.
#[derive(Debug, Default)]
pub(super) struct Settling {
    /// By node, and by which of this node's volumes it mounts.
    standings: BTreeMap<NodeName, (Standing, Vec<VolumeName>)>,
    changed_at: Duration,
    /// The first change since the last quiet time that was long enough for each.
    unsettled_for_claims: Duration,
    unsettled_for_moves: Duration,
}

impl Settling {
    /// Looks whether anything that matters has changed. Returns whether it did.
    pub(super) fn observe(
        &mut self,
        now: Duration,
        pace: Pace,
        view: &View,
        mine: &[VolumeName],
    ) -> bool {
        let standing = |(name, node): (&NodeName, &super::view::RegisteredNode)| {
            let mounts = |volume: &&VolumeName| node.record.volumes.contains_key(*volume);
            let shared: Vec<_> = mine.iter().filter(mounts).cloned().collect();
            let standing = Standing::of(view, name)?;
            (!shared.is_empty()).then(|| (name.clone(), (standing, shared)))
        };
        let standings: BTreeMap<_, _> = view.nodes.iter().filter_map(standing).collect();
        if standings == self.standings {
            return false;
        }
        if now >= self.claims_at(pace) {
            self.unsettled_for_claims = now;
        }
        if now >= self.moves_at(pace) {
            self.unsettled_for_moves = now;
        }
        self.standings = standings;
        self.changed_at = now;
        true
    }

    /// From when on unowned shards are claimed.
    pub(super) fn claims_at(&self, pace: Pace) -> Duration {
        let quiet = self.changed_at + pace.before_claims();
        quiet.min(self.unsettled_for_claims + pace.claims_put_off())
    }

    /// From when on shards are given to others.
    pub(super) fn moves_at(&self, pace: Pace) -> Duration {
        let quiet = self.changed_at + pace.before_moves();
        quiet.min(self.unsettled_for_moves + pace.moves_put_off())
    }
}
