//! What each further database takes of the daemon's memory, and whether many of them are any trouble.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use ultrasimple_testkit::seaweed::SeaweedFs;

use crate::daemon::{Daemon, Place};
use crate::databases::{Databases, Kind, Shape};
use crate::figures::{Bound, Figures, count};
use crate::machine;

#[derive(Debug, Args)]
pub(crate) struct Order {
    #[arg(long, default_value_t = 1_000_000)]
    databases: u32,
    #[arg(long, value_enum, default_value_t = Shape::Thousands)]
    shape: Shape,
}

/// No step takes longer, or the bench gives up.
const STEP_WITHIN: Duration = Duration::from_hours(1);
/// The least that SQLite makes of a schema and a row: memory does not depend on it.
const BYTES: usize = 8_192;
/// Cycles at rest, after which the catalogs are written, and the daemon has given back what it does not need.
const REST: f64 = 7.0;

/// A daemon at rest.
struct AtRest {
    resident: u64,
    /// Since the start.
    peak: u64,
    open_files: usize,
    cycle: f64,
}

pub(crate) fn run(order: &Order, programs: &Path, folder: &Path) -> Result<Figures> {
    let mut figures = Figures::default();
    let half = order.databases / 2;
    let kind = Kind { count: half, shape: order.shape, bytes: BYTES };
    let mut databases = Databases::create(&folder.join("data"), kind)?;
    let store = SeaweedFs::start()?;
    store.create_bucket_named("bench")?;
    let place = Place::single(programs, folder, databases.pattern(), &store.endpoint());

    let start = Instant::now();
    let mut daemon = place.start(0)?;
    let first = stored(&mut daemon, half)?;
    first.tell(&mut figures, &format!("{half} databases, first backup"));
    figures.add("  that took", start.elapsed().as_secs_f64(), "s");
    daemon.leave()?;

    let mut daemon = place.start(0)?;
    let started = at_rest(&mut daemon)?;
    started.tell(&mut figures, &format!("{half} databases, after a start"));
    databases.extend(order.databases)?;
    let all = stored(&mut daemon, order.databases - half)?;
    all.tell(&mut figures, &format!("{} databases, half of them new", order.databases));
    daemon.leave()?;

    let mut daemon = place.start(0)?;
    let all_started = at_rest(&mut daemon)?;
    all_started.tell(&mut figures, &format!("{} databases, after a start", order.databases));
    daemon.leave()?;

    let further = count(order.databases - half);
    let files = count(all_started.open_files) - count(started.open_files);
    // Like with like: both have just started, or both have just backed up as many.
    let each = |all: &AtRest, half: &AtRest| (count(all.resident) - count(half.resident)) / further;
    let (backed_up, started) = (each(&all, &first), each(&all_started, &started));
    let bars = [("after a first backup", backed_up), ("after a start", started)];
    figures.compare("memory of each further database", "B", bars);
    let most = backed_up.max(started);
    figures.goal("memory for each database, path included", most, "B", Bound::AtMost(128.0));
    let name = format!("{} databases: idle cycle", order.databases);
    figures.goal(name, all_started.cycle, "s", Bound::AtMost(1.0));
    let name =
        format!("{} databases: the most memory ever, with a budget of 256 MiB", order.databases);
    let peak = [&first, &all, &all_started].map(|one| one.peak).into_iter().max();
    figures.goal(
        name,
        count(peak.unwrap_or_default()) / f64::from(1 << 20),
        "MiB",
        Bound::AtMost(256.0),
    );
    figures.goal("open files more for twice the databases", files, "", Bound::AtMost(0.0));
    Ok(figures)
}

/// When so many backups have been stored, and the daemon is at rest again.
fn stored(daemon: &mut Daemon, databases: u32) -> Result<AtRest> {
    daemon.wait_until_stored(databases.into(), STEP_WITHIN)?;
    at_rest(daemon)
}

/// After some cycles in which nothing happened.
fn at_rest(daemon: &mut Daemon) -> Result<AtRest> {
    daemon.wait("a cycle", STEP_WITHIN, |daemon| Ok(daemon.cycles()?.count >= 1.0))?;
    let before = daemon.cycles()?;
    daemon.wait("rest", STEP_WITHIN, |daemon| Ok(daemon.cycles()?.count >= before.count + REST))?;
    let after = daemon.cycles()?;
    let process = daemon.process().id();
    Ok(AtRest {
        resident: daemon.resident()?,
        peak: machine::peak(process)?,
        open_files: machine::open_files(process)?,
        cycle: (after.took - before.took) / (after.count - before.count),
    })
}

impl AtRest {
    fn tell(&self, figures: &mut Figures, what: &str) {
        figures.add(format!("{what}: memory"), count(self.resident) / 1e6, "MB");
        figures.add("  the most that it took", count(self.peak) / 1e6, "MB");
        figures.add("  open files, connections left out", count(self.open_files), "");
        figures.add("  a cycle", self.cycle, "s");
    }
}
