//! What a fleet costs etcd, and how fast shards change hands in it.
//!
//! The nodes are the real driver, many times in this process, each with connections of its own; their replicators do
//! nothing but let go of what they are told to. So what is measured is etcd and the driver, without databases.

mod node;
mod server;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use tokio::time::timeout;
use ultrasimple_testkit::etcd::Etcd;

use crate::figures::{Figures, count};
use crate::machine;
use node::{Node, settled};
use server::Spent;

#[derive(Debug, Args)]
pub(crate) struct Order {
    /// How many nodes share the shards.
    #[arg(long, default_value_t = 20)]
    nodes: usize,
    #[arg(long, default_value_t = 10_000)]
    shards: u32,
    /// Time to live of the nodes' leases in seconds.
    #[arg(long, default_value_t = 10)]
    lease_ttl: u64,
    /// Members of etcd: one or three.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=3))]
    members: u8,
    /// For how long a fleet at rest is watched, in seconds.
    #[arg(long, default_value_t = 20)]
    rest: u64,
}

/// No step takes longer, or the bench gives up.
const STEP_WITHIN: Duration = Duration::from_mins(10);

pub(crate) async fn run(order: &Order) -> Result<Figures> {
    let mut figures = Figures::default();
    let mut etcd = if order.members == 1 { Etcd::start_one() } else { Etcd::start_three() }?;
    let (nodes, shards) = (order.nodes, order.shards);
    let ttl = Duration::from_secs(order.lease_ttl);
    let what = format!("{nodes} nodes, {shards} shards");
    ensure!(nodes >= 3, "--nodes must be 3 at least");

    let before = machine::resident(std::process::id())?;
    let (start, spent) = (Instant::now(), Spent::now(&mut etcd)?);
    let mut all = Vec::new();
    for number in 0..nodes {
        all.push(Node::join(&etcd, number, shards, ttl).await?);
    }
    within("all shards are claimed", settled(&all, shards)).await?;
    let took = start.elapsed();
    let used = spent.until_now(&mut etcd)?;
    figures.add(
        format!("{what}: all join one after another, and all is claimed"),
        took.as_secs_f64(),
        "s",
    );
    figures.add("  etcd's processor time for that", used.processor, "s");
    let after = machine::resident(std::process::id())?;
    let of_node = count(after.saturating_sub(before)) / count(nodes);
    figures.add("  memory of the driver, for each node", of_node / 1e6, "MB");
    figures.add("  ... and for each shard of the fleet", of_node / f64::from(shards), "B");
    figures.add("  etcd's memory", count(used.resident) / 1e6, "MB");
    figures.add("  etcd's data base", used.stored / 1e6, "MB");

    let spent = Spent::now(&mut etcd)?;
    tokio::time::sleep(Duration::from_secs(order.rest)).await;
    let used = spent.until_now(&mut etcd)?;
    let node_seconds = count(nodes) * count(order.rest);
    figures.add("at rest: requests of each node", used.requests / node_seconds, "/s");
    figures.add("  sent by etcd to each node", used.sent / node_seconds, "B/s");
    figures.add(
        "  etcd's processor time",
        100.0 * used.processor / count(order.rest),
        "% of a core",
    );

    let spent = Spent::now(&mut etcd)?;
    let start = Instant::now();
    all.push(Node::join(&etcd, nodes, shards, ttl).await?);
    within("the new node has its share", settled(&all, shards)).await?;
    let share = all.last().map_or(0, Node::shards);
    let used = spent.until_now(&mut etcd)?;
    figures.add(
        format!("one more joins, and has its {share} shards"),
        start.elapsed().as_secs_f64(),
        "s",
    );
    moved(&mut figures, &used, share);

    let spent = Spent::now(&mut etcd)?;
    let start = Instant::now();
    let leaving = all.pop().context("a node")?;
    let share = leaving.shards();
    within("it leaves", leaving.leave()).await?;
    within("its shards are owned", settled(&all, shards)).await?;
    let used = spent.until_now(&mut etcd)?;
    figures.add(
        format!("it leaves, and its {share} shards are owned"),
        start.elapsed().as_secs_f64(),
        "s",
    );
    moved(&mut figures, &used, share);

    let spent = Spent::now(&mut etcd)?;
    let start = Instant::now();
    let dying = all.pop().context("a node")?;
    let share = dying.shards();
    drop(dying);
    within("its shards are taken over", settled(&all, shards)).await?;
    let took = start.elapsed();
    let used = spent.until_now(&mut etcd)?;
    figures.add(format!("one dies, and its {share} shards are owned"), took.as_secs_f64(), "s");
    figures.add("  ... beyond its lease", took.as_secs_f64() - ttl.as_secs_f64(), "s");
    moved(&mut figures, &used, share);
    Ok(figures)
}

/// What it cost etcd that so many shards moved.
fn moved(figures: &mut Figures, used: &server::Used, shards: usize) {
    let each = count(shards.max(1));
    figures.add(
        "  etcd's processor time for each shard that moved",
        1e3 * used.processor / each,
        "ms",
    );
    figures.add("  sent by etcd for each shard that moved", used.sent / each / 1e3, "kB");
}

async fn within<T>(what: &str, step: impl Future<Output = T>) -> Result<T> {
    timeout(STEP_WITHIN, step).await.with_context(|| format!("not within {STEP_WITHIN:?}: {what}"))
}
