//! Many databases of which none changes: what a start costs, what a cycle costs, and what the processor does all day.

mod floor;
mod reference;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Args;
use ultrasimple_testkit::seaweed::SeaweedFs;

use crate::daemon::{Cycles, Daemon, Place};
use crate::databases::{Databases, Kind, Shape};
use crate::figures::{Bound, Figures, count, median};
use crate::machine;
use crate::peers::litestream::Litestream;
use floor::Floor;
use reference::Reference;

#[derive(Debug, Args)]
pub(crate) struct Order {
    #[arg(long, default_value_t = 100_000)]
    databases: u32,
    #[arg(long, value_enum, default_value_t = Shape::Thousands)]
    shape: Shape,
    /// How often the daemon, the reference loop and the bare calls take turns.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// For how long the processor's time is watched, in seconds: a cycle at least.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(INTERVAL.as_secs()..))]
    watch: u64,
    /// How many of them Litestream watches.
    #[arg(long, default_value_t = 1_000)]
    litestream: u32,
}

/// No step takes longer, or the bench gives up.
const STEP_WITHIN: Duration = Duration::from_mins(30);
/// The interval that is the default.
const INTERVAL: Duration = Duration::from_secs(15);
/// Of the daemon whose cycles are timed.
const SHORT_INTERVAL: Duration = Duration::from_secs(1);
const CYCLES_A_ROUND: f64 = 2.0;
const RUNS_A_ROUND: usize = 3;

pub(crate) fn run(order: &Order, programs: &Path, folder: &Path) -> Result<Figures> {
    let mut figures = Figures::default();
    let kind = Kind { count: order.databases, shape: order.shape, bytes: 16_384 };
    let databases = Databases::create(&folder.join("data"), kind)?;
    let store = SeaweedFs::start()?;
    store.create_bucket_named("bench")?;
    let mut place = Place::single(programs, folder, databases.pattern(), &store.endpoint());
    let what = format!("{} databases, {}", order.databases, order.shape);

    let total = u64::from(order.databases);
    let took = store_all(&place, total)?;
    figures.add(format!("{what}: first backup of all"), took.as_secs_f64(), "s");
    let took = start_again(&place)?;
    figures.add(
        "  a start with all known: until the first cycle has ended",
        took.as_secs_f64(),
        "s",
    );
    let name = format!("start with {total} known databases: first cycle done, no upload");
    figures.goal(name, took.as_secs_f64(), "s", Bound::AtMost(2.0));

    place.interval = SHORT_INTERVAL;
    cycles(order, &place, &databases, folder, &mut figures)?;
    place.interval = INTERVAL;
    let ours = processor(order, &place, &mut figures)?;
    let theirs = Litestream::at_rest(folder, &store, order.litestream, watch(order))?;
    let theirs = theirs.as_secs_f64() / count(order.watch);
    let each = |share: f64, databases: u32| 1e6 * share / f64::from(databases);
    let (ours, theirs) = (each(ours, order.databases), each(theirs, order.litestream));
    let name = "the processor's time at rest, for each database and second";
    figures.compare(name, "µs", [("ultrasimple", ours), ("litestream", theirs)]);
    let name = format!(
        "processor for each database at rest: less than Litestream with {}",
        order.litestream
    );
    figures.goal(name, theirs / ours, "×", Bound::AtLeast(100.0));
    Ok(figures)
}

fn watch(order: &Order) -> Duration {
    Duration::from_secs(order.watch)
}

/// Backs all up, and ends in order.
fn store_all(place: &Place, total: u64) -> Result<Duration> {
    let start = Instant::now();
    let mut daemon = place.start(0)?;
    daemon.wait_until_stored(total, STEP_WITHIN)?;
    let took = start.elapsed();
    daemon.leave()?;
    Ok(took)
}

/// How long a start takes until the first cycle has ended. Nothing may be sent.
fn start_again(place: &Place) -> Result<Duration> {
    let start = Instant::now();
    let mut daemon = place.spawn(0)?;
    let has_cycled = |daemon: &Daemon| Ok(daemon.cycles()?.count >= 1.0);
    daemon.wait_closely("the first cycle", STEP_WITHIN, Duration::from_millis(20), has_cycled)?;
    let took = start.elapsed();
    let uploads = daemon.count("uploads_success")?;
    ensure!(uploads == 0, "{uploads} databases were uploaded again after the start");
    daemon.leave()?;
    Ok(took)
}

/// Cycles of the daemon, the reference loop and the bare calls in turns.
fn cycles(
    order: &Order,
    place: &Place,
    databases: &Databases,
    folder: &Path,
    figures: &mut Figures,
) -> Result<()> {
    let floor = Floor::new(databases)?;
    let reference = Reference::build(folder)?;
    let mut daemon = place.start(0)?;
    // What the start leaves is done.
    pause_after(&mut daemon, 3.0)?;
    let (mut ours, mut bare, mut loops) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..order.rounds {
        let before = resume(&mut daemon)?;
        let after = pause_after(&mut daemon, before.count + CYCLES_A_ROUND)?;
        ours.push(1e3 * (after.took - before.took) / (after.count - before.count));
        bare.extend(floor.run(RUNS_A_ROUND)?);
        loops.extend(reference.run(&databases.pattern(), RUNS_A_ROUND, order.databases)?);
    }
    daemon.process().resume()?;
    daemon.leave()?;
    let [ours, bare, loops] = [ours, bare, loops].map(median);
    let title = format!("a cycle at rest over {} databases, {}", order.databases, order.shape);
    let bars = [("bare calls", bare), ("ultrasimple", ours), ("reference loop", loops)];
    figures.compare(title, "ms", bars);
    let name = "idle cycle: faster than the reference loop";
    figures.goal(name, loops / ours, "×", Bound::AtLeast(5.0));
    figures.goal("idle cycle: time of the bare calls", ours / bare, "×", Bound::AtMost(1.3));
    Ok(())
}

/// Lets it go on, and waits for a cycle, beside which it does what it could not do while it was paused. Gives how its
/// cycles went until then.
fn resume(daemon: &mut Daemon) -> Result<Cycles> {
    daemon.process().resume()?;
    let first = daemon.cycles()?.count + 1.0;
    daemon.wait("a cycle", STEP_WITHIN, |daemon| Ok(daemon.cycles()?.count >= first))?;
    daemon.cycles()
}

/// Pauses it when so many cycles have ended: between two.
fn pause_after(daemon: &mut Daemon, cycles: f64) -> Result<Cycles> {
    daemon.wait("cycles", STEP_WITHIN, |daemon| Ok(daemon.cycles()?.count >= cycles))?;
    let now = daemon.cycles()?;
    daemon.process().pause()?;
    Ok(now)
}

/// The share of a core that is used at rest.
fn processor(order: &Order, place: &Place, figures: &mut Figures) -> Result<f64> {
    let mut daemon = place.start(0)?;
    daemon.wait("two cycles", STEP_WITHIN, |daemon| Ok(daemon.cycles()?.count >= 2.0))?;
    let process = daemon.process().id();
    let (before, start) = (machine::processor_time(process)?, Instant::now());
    std::thread::sleep(watch(order));
    let used = machine::processor_time(process)?.saturating_sub(before);
    let share = used.as_secs_f64() / start.elapsed().as_secs_f64();
    let resident = daemon.resident()?;
    daemon.leave()?;
    figures.add("memory at rest", count(resident) / 1e6, "MB");
    let name = format!("idle processor at {} s, {} databases", INTERVAL.as_secs(), order.databases);
    figures.goal(name, 100.0 * share, "% of a core", Bound::AtMost(1.0));
    Ok(share)
}
