//! Who should own what, in a small fleet.

use std::hint::black_box;
use std::path::Path;

use anyhow::Result;
use ultrasimple_cluster::placement::{Candidates, VolumeHash};
use ultrasimple_core::{NodeName, ShardId};

use crate::part::{Workload, repeated};
use crate::samples::volume;

const NODES: u32 = 20;
pub(crate) const SHARDS: u32 = 1_000;

/// No logarithm is needed.
pub(crate) fn equal(_: &Path) -> Result<Box<dyn Workload>> {
    place(|_| 1.0)
}

/// No two have the same capacity.
pub(crate) fn unequal(_: &Path) -> Result<Box<dyn Workload>> {
    place(|node| 1.0 + 0.01 * f64::from(node))
}

fn place(capacity: fn(u32) -> f64) -> Result<Box<dyn Workload>> {
    let names = (0..NODES).map(|node| format!("node-{node}").parse());
    let nodes: Vec<NodeName> = names.collect::<Result<_, _>>()?;
    let volume = volume()?;
    Ok(repeated(move || {
        let with_capacity = nodes.iter().zip(0..).map(|(name, node)| (name, capacity(node)));
        let candidates = Candidates::new(with_capacity);
        let hash = VolumeHash::of(&volume);
        for shard in 0..SHARDS {
            black_box(candidates.owner(hash.shard(ShardId(shard))));
        }
        Ok(())
    }))
}
