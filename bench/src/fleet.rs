//! A fleet of real daemons over many databases: what a join, a leave and a death cost, and how long they last.
//!
//! All on this machine: daemons, etcd and the S3 server share its cores, so that times are those of a bad day.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use ultrasimple_testkit::etcd::Etcd;
use ultrasimple_testkit::seaweed::SeaweedFs;

use crate::daemon::{Daemon, Fleet, Place};
use crate::databases::{Databases, Kind, Shape};
use crate::figures::{Bound, Figures, count};

#[derive(Debug, Args)]
pub(crate) struct Order {
    #[arg(long, default_value_t = 100_000)]
    databases: u32,
    #[arg(long, default_value_t = 3)]
    nodes: usize,
    #[arg(long, default_value_t = 256)]
    shards: u32,
    /// Time to live of the nodes' leases in seconds.
    #[arg(long, default_value_t = 10)]
    lease_ttl: u64,
    /// Seconds between two scans.
    #[arg(long, default_value_t = 15)]
    interval: u64,
}

/// No step takes longer, or the bench gives up.
const STEP_WITHIN: Duration = Duration::from_mins(15);
const LOOK_EVERY: Duration = Duration::from_millis(50);

pub(crate) fn run(order: &Order, programs: &Path, folder: &Path) -> Result<Figures> {
    ensure!(order.nodes >= 2, "--nodes must be 2 at least");
    let mut figures = Figures::default();
    let kind = Kind { count: order.databases, shape: Shape::Thousands, bytes: 16_384 };
    let databases = Databases::create(&folder.join("data"), kind)?;
    let (etcd, store) = (Etcd::start_one()?, SeaweedFs::start()?);
    store.create_bucket_named("bench")?;
    let fleet = Fleet {
        etcd: etcd.endpoints(),
        shards: order.shards,
        lease_ttl: Duration::from_secs(order.lease_ttl),
    };
    let place = Place {
        interval: Duration::from_secs(order.interval),
        fleet: Some(fleet),
        ..Place::single(programs, folder, databases.pattern(), &store.endpoint())
    };
    let total = u64::from(order.databases);
    let lease = count(order.lease_ttl);
    let what = format!("{total} databases, {} shards, {} nodes", order.shards, order.nodes);

    let start = Instant::now();
    let mut nodes: Vec<Daemon> =
        (0..order.nodes).map(|number| place.start(number)).collect::<Result<_>>()?;
    wait("all is stored", || stored(&nodes, order, total))?;
    figures.add(format!("{what}: start, and all is stored"), start.elapsed().as_secs_f64(), "s");
    // Whoever had a shard for a moment may have written.
    let uploads = uploads(&nodes)?;
    figures.add("  uploads", count(uploads), "");
    for node in &nodes {
        let (of_node, memory) = (node.databases()?, node.resident()?);
        figures.add(
            format!("  memory of a node with {of_node} databases"),
            count(memory) / 1e6,
            "MB",
        );
    }

    let before = sum(&nodes, "uploads_success")?;
    let start = Instant::now();
    nodes.push(place.start(order.nodes)?);
    wait("the new node has its share", || looked_after(&nodes, order, total))?;
    let share = nodes.last().context("a node")?.databases()?;
    figures.add(
        format!("one more joins, and its {share} databases are looked after"),
        start.elapsed().as_secs_f64(),
        "s",
    );
    figures.add("  uploads for that", count(sum(&nodes, "uploads_success")? - before), "");

    let leaving = nodes.pop().context("a node")?;
    let (share, gone) = (leaving.databases()?, leaving.count("uploads_success")?);
    let before = sum(&nodes, "uploads_success")?;
    let start = Instant::now();
    leaving.leave()?;
    wait("the others have its share", || looked_after(&nodes, order, total))?;
    figures.add(
        format!("it leaves, and its {share} databases are looked after"),
        start.elapsed().as_secs_f64(),
        "s",
    );
    figures.add("  uploads for that", count(sum(&nodes, "uploads_success")? - before), "");
    ensure!(gone == 0 || share > 0, "the node that left had nothing and yet uploaded {gone}");

    let mut dying = nodes.pop().context("a node")?;
    let share = dying.databases()?;
    let before = sum(&nodes, "uploads_success")?;
    let start = Instant::now();
    dying.kill();
    let owned = wait("its shards are owned", || owned(&nodes, order.shards))?;
    figures.add(
        format!("one dies, and its {share} databases have another owner"),
        (owned - start).as_secs_f64(),
        "s",
    );
    let done = wait("the others have its share", || looked_after(&nodes, order, total))?;
    let took = (done - start).as_secs_f64();
    figures.add("  ... and are looked after: catalogs read, all scanned and compared", took, "s");
    let beyond = took - lease - count(order.interval);
    let name = format!(
        "take-over of {} databases after a death: beyond lease and one cycle",
        order.databases
    );
    figures.goal(name, beyond, "s", Bound::AtMost(1.0));
    figures.add("  uploads for that", count(sum(&nodes, "uploads_success")? - before), "");
    for node in &nodes {
        let (of_node, memory) = (node.databases()?, node.resident()?);
        figures.add(
            format!("  memory of a node with {of_node} databases"),
            count(memory) / 1e6,
            "MB",
        );
    }
    Ok(figures)
}

/// All backed up at least once.
fn stored(nodes: &[Daemon], order: &Order, total: u64) -> Result<bool> {
    Ok(uploads(nodes)? >= total && looked_after(nodes, order, total)?)
}

fn uploads(nodes: &[Daemon]) -> Result<u64> {
    sum(nodes, "uploads_success")
}

fn sum(nodes: &[Daemon], name: &str) -> Result<u64> {
    nodes.iter().map(|node| node.count(name)).sum()
}

/// Each shard has an owner among these.
fn owned(nodes: &[Daemon], shards: u32) -> Result<bool> {
    let mut owned = 0;
    for node in nodes {
        owned += node.shards()?.len();
    }
    Ok(owned == shards as usize)
}

/// Each shard has an owner among these, each of which has some, knows all of their databases, and has nothing to do.
fn looked_after(nodes: &[Daemon], order: &Order, total: u64) -> Result<bool> {
    let (mut owned, mut databases) = (0, 0);
    for node in nodes {
        let shards = node.shards()?;
        if shards.is_empty() || !shards.iter().all(|shard| shard.is_quiet) || !node.is_ready()? {
            return Ok(false);
        }
        owned += shards.len();
        databases += shards.iter().map(|shard| shard.databases).sum::<u64>();
    }
    Ok(owned == order.shards as usize && databases == total)
}

/// When it holds.
fn wait(what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<Instant> {
    let start = Instant::now();
    while start.elapsed() < STEP_WITHIN {
        if holds()? {
            return Ok(Instant::now());
        }
        std::thread::sleep(LOOK_EVERY);
    }
    bail!("not within {STEP_WITHIN:?}: {what}")
}
