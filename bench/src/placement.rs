//! How long it takes a node to compute who should own what: after each change of the membership, it does so once.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use ultrasimple_cluster::placement::{Candidates, VolumeHash};
use ultrasimple_core::{NodeName, ShardId, VolumeName};

use crate::figures::Figures;

#[derive(Debug, Args)]
pub(crate) struct Order {
    #[arg(long, default_value_t = 1_000)]
    nodes: u32,
    #[arg(long, default_value_t = 100_000)]
    shards: u32,
}

const RUNS: usize = 5;

/// On one core, with equal capacities and with all different ones.
pub(crate) fn run(order: &Order) -> Result<Figures> {
    let mut figures = Figures::default();
    let names = (0..order.nodes).map(|node| format!("node-{node}").parse());
    let nodes: Vec<NodeName> = names.collect::<Result<_, _>>()?;
    let volume: VolumeName = "default".parse()?;
    for (what, step) in [("equal capacities", 0.0), ("all capacities different", 0.001)] {
        let capacity = |node: u32| 1.0 + step * f64::from(node);
        let took = (0..RUNS).map(|_| {
            let start = Instant::now();
            let candidates =
                Candidates::new(nodes.iter().zip(0..).map(|(name, node)| (name, capacity(node))));
            let hash = VolumeHash::of(&volume);
            for shard in 0..order.shards {
                black_box(candidates.owner(hash.shard(ShardId(shard))));
            }
            start.elapsed()
        });
        let best: Duration = took.min().unwrap_or_default();
        let name = format!("{} shards, {} nodes, {what}", order.shards, order.nodes);
        figures.add(name, best.as_secs_f64(), "s");
    }
    Ok(figures)
}
