//! Many databases of which some change in each cycle: what a change costs, and how soon it is stored.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use clap::Args;
use ultrasimple_testkit::seaweed::SeaweedFs;

use crate::daemon::{Cycles, Daemon, Place};
use crate::databases::{Databases, Kind, Shape};
use crate::figures::{Bound, Figures, count, median};
use crate::machine;

#[derive(Debug, Args)]
pub(crate) struct Order {
    #[arg(long, default_value_t = 100_000)]
    databases: u32,
    /// How many of them change in a cycle.
    #[arg(long, default_value_t = 1_000)]
    changed: u32,
    #[arg(long, default_value_t = 8)]
    cycles: u32,
    /// Seconds between two scans.
    #[arg(long, default_value_t = 15)]
    interval: u64,
}

/// No step takes longer, or the bench gives up.
const STEP_WITHIN: Duration = Duration::from_mins(30);
/// Each question costs the daemon some of the time that is measured.
const LOOK_EVERY: Duration = Duration::from_millis(500);

pub(crate) fn run(order: &Order, programs: &Path, folder: &Path) -> Result<Figures> {
    let Order { databases: total, changed, cycles, interval } = *order;
    ensure!(changed <= total && cycles > 0, "--changed is more than --databases, or no --cycles");
    let mut figures = Figures::default();
    let kind = Kind { count: total, shape: Shape::Thousands, bytes: 16_384 };
    let databases = Databases::create(&folder.join("data"), kind)?;
    let store = SeaweedFs::start()?;
    store.create_bucket_named("bench")?;
    let place = Place {
        interval: Duration::from_secs(interval),
        ..Place::single(programs, folder, databases.pattern(), &store.endpoint())
    };
    let mut daemon = place.start(0)?;
    daemon.wait_until_stored(total.into(), STEP_WITHIN)?;
    // What the start leaves is done.
    cycle(&mut daemon)?;
    cycle(&mut daemon)?;

    let process = daemon.process().id();
    let before = machine::processor_time(process)?;
    for _ in 0..cycles {
        cycle(&mut daemon)?;
    }
    let idle = machine::processor_time(process)?.saturating_sub(before);

    let before = machine::processor_time(process)?;
    let (mut took, mut next) = (Vec::new(), 0);
    for _ in 0..cycles {
        took.push(change(&mut daemon, &databases, changed, &mut next)?);
    }
    let used = machine::processor_time(process)?.saturating_sub(before);
    daemon.leave()?;

    let what = format!("{changed} of {total} databases change in each cycle of {interval} s");
    let each = 1e3 * used.as_secs_f64() / f64::from(cycles) / f64::from(changed);
    let name = format!("{what}: processor for each change, scans included");
    figures.goal(name, each, "ms", Bound::AtMost(0.6));
    figures.add(
        format!("a cycle in which none of {total} changes: processor"),
        1e3 * idle.as_secs_f64() / f64::from(cycles),
        "ms",
    );
    let slowest = took.iter().copied().fold(0.0, f64::max);
    let name = format!("{what}: from the beginning of the scan until all of them are stored");
    figures.goal(&name, median(took), "s", Bound::AtMost(2.0));
    figures.add("  the slowest cycle", slowest, "s");
    figures.add("  cycles", count(cycles), "");
    Ok(figures)
}

/// Changes so many databases soon after a cycle, and waits for the next. Gives the time from the next scan until all were stored.
fn change(daemon: &mut Daemon, databases: &Databases, changed: u32, next: &mut u32) -> Result<f64> {
    let (before, uploads) = (daemon.cycles()?, daemon.count("uploads_success")?);
    for _ in 0..changed {
        databases.change(*next)?;
        *next = (*next + 1) % databases.kind.count;
    }
    let now = daemon.cycles()?;
    ensure!(now.count <= before.count, "the changes took longer than the interval between scans");
    let after = cycle(daemon)?;
    let uploads = daemon.count("uploads_success")? - uploads;
    ensure!(uploads == u64::from(changed), "{uploads} of {changed} changes were stored in a cycle");
    Ok(after.took - before.took)
}

/// Waits for the end of the cycle that is to come.
fn cycle(daemon: &mut Daemon) -> Result<Cycles> {
    let start = Instant::now();
    let before = daemon.cycles()?;
    while start.elapsed() < STEP_WITHIN {
        std::thread::sleep(LOOK_EVERY);
        let now = daemon.cycles()?;
        if now.count > before.count {
            return Ok(now);
        }
    }
    bail!("no cycle within {STEP_WITHIN:?}")
}
