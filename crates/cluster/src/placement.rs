//! Which node should own a shard: weighted rendezvous hashing.
//!
//! Each node draws a number for each shard, and the greatest wins; a node of twice the capacity wins twice as often.
//! When a node comes or goes, only the shards that it wins or had won move.
//!
//! Each node of each build must come to the same answer, so everything here is exact: XXH3, whose output is fixed by
//! its specification; integers for capacities; and a logarithm in software, since the C library's differ in the
//! last bit. Additions, multiplications and divisions of IEEE 754 do not.

use twox_hash::XxHash3_64;
use ultrasimple_core::{NodeName, ShardId, VolumeName};

/// A shard of a volume, as the nodes draw for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardHash(u64);

impl ShardHash {
    /// For one shard. For many of one volume, see [`VolumeHash`].
    pub fn of(volume: &VolumeName, shard: ShardId) -> Self {
        VolumeHash::of(volume).shard(shard)
    }
}

/// What the hashes of all shards of a volume have in common.
#[derive(Debug, Clone, Copy)]
pub struct VolumeHash(u64);

impl VolumeHash {
    /// For a volume.
    pub fn of(volume: &VolumeName) -> Self {
        Self(XxHash3_64::oneshot(volume.as_str().as_bytes()))
    }

    /// For one of its shards.
    pub fn shard(self, shard: ShardId) -> ShardHash {
        ShardHash(XxHash3_64::oneshot_with_seed(self.0, &shard.0.to_le_bytes()))
    }
}

/// A capacity as a whole number: what nodes say in JSON may differ in the last bit after it was read.
fn weight(capacity: f64) -> u32 {
    /// Capacities are told apart to a thousandth.
    const STEPS: f64 = 1_000.0;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "both saturate")]
    let steps = (capacity * STEPS).round() as u32;
    steps.max(1)
}

/// One of those that could own a shard.
#[derive(Debug)]
struct Candidate<'a> {
    hash: u64,
    node: &'a NodeName,
}

/// Those of one capacity: among them the greatest draw wins, and no logarithm is needed.
#[derive(Debug)]
struct Peers<'a> {
    weight: f64,
    candidates: Vec<Candidate<'a>>,
}

/// All that could own the shards of a volume. The order in which they are given does not matter.
#[derive(Debug)]
pub struct Candidates<'a> {
    groups: Vec<Peers<'a>>,
}

impl<'a> Candidates<'a> {
    /// Names are unique. Capacities are relative to each other; from 0.001 to 4,000,000.
    pub fn new(nodes: impl IntoIterator<Item = (&'a NodeName, f64)>) -> Self {
        let mut all: Vec<(u32, &NodeName)> =
            nodes.into_iter().map(|(node, capacity)| (weight(capacity), node)).collect();
        // By name, so that of two equal draws the same one wins everywhere.
        all.sort_unstable();
        let mut groups: Vec<Peers<'a>> = Vec::new();
        for (weight, node) in all {
            let hash = XxHash3_64::oneshot(node.as_str().as_bytes());
            let weight = f64::from(weight);
            let candidate = Candidate { hash, node };
            match groups.last_mut() {
                #[expect(clippy::float_cmp, reason = "whole numbers")]
                Some(group) if group.weight == weight => group.candidates.push(candidate),
                _ => groups.push(Peers { weight, candidates: vec![candidate] }),
            }
        }
        // The many first: the best of them is so good that most of the few need no logarithm.
        groups.sort_by(|a, b| {
            b.candidates.len().cmp(&a.candidates.len()).then(b.weight.total_cmp(&a.weight))
        });
        Self { groups }
    }

    /// Who should own a shard. `None` where there is no candidate.
    pub fn owner(&self, shard: ShardHash) -> Option<&'a NodeName> {
        if let [only] = self.groups.as_slice() {
            return only.best(shard).map(|(_, winner)| winner.node);
        }
        let mut best: Option<(f64, &Candidate<'a>)> = None;
        for group in &self.groups {
            let Some((draw, winner)) = group.best(shard) else { continue };
            let at_most = best.map(|(least, _)| least);
            let Some(cost) = cost(draw, group.weight, at_most) else { continue };
            let is_better = best.is_none_or(|(least, before)| {
                cost < least || (cost <= least && winner.node < before.node)
            });
            if is_better {
                best = Some((cost, winner));
            }
        }
        best.map(|(_, winner)| winner.node)
    }
}

impl<'a> Peers<'a> {
    fn best(&self, shard: ShardHash) -> Option<(u64, &Candidate<'a>)> {
        let mut candidates = self.candidates.iter();
        let first = candidates.next()?;
        let mut best = (mix(first.hash ^ shard.0), first);
        for candidate in candidates {
            let draw = mix(candidate.hash ^ shard.0);
            if draw > best.0 {
                best = (draw, candidate);
            }
        }
        Some(best)
    }
}

/// `SplitMix64`'s finalizer: each bit of the result depends on each bit given.
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// `-ln(u) / weight` of the number 0 < u <= 1 that a draw stands for: exponentially distributed, and the least of
/// several is each one's with a chance proportional to its weight. `None` if it is certainly above `at_most`.
fn cost(draw: u64, weight: f64, at_most: Option<f64>) -> Option<f64> {
    /// 2 to the power of -53: what an `f64` holds exactly.
    const UNIT: f64 = 1.0 / 9_007_199_254_740_992.0;
    /// More than all that rounding could amount to.
    const CAUTION: f64 = 1.0 - 1e-9;
    #[expect(clippy::cast_precision_loss, reason = "53 bits at most")]
    let u = ((draw >> 11) + 1) as f64 * UNIT;
    // 1 - u <= -ln u: nearly all are ruled out without a logarithm.
    if at_most.is_some_and(|most| (1.0 - u) * CAUTION > most * weight) {
        return None;
    }
    // Not minus zero, for a draw of exactly 1.
    Some((0.0 - libm::log(u)).max(0.0) / weight)
}

#[cfg(test)]
#[path = "placement_tests.rs"]
mod tests;
