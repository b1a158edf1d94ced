//! Many cycles with changes: whether anything grows.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Args;
use ultrasimple_testkit::seaweed::SeaweedFs;

use crate::daemon::{Daemon, Place};
use crate::databases::{Databases, Kind, Shape};
use crate::figures::{Bound, Figures, count, median};
use crate::machine;

#[derive(Debug, Args)]
pub(crate) struct Order {
    #[arg(long, default_value_t = 5_000)]
    databases: u32,
    /// How many of them change between two looks at the daemon: some two for each cycle.
    #[arg(long, default_value_t = 10)]
    changed: u32,
    /// The cycles between the memory that is compared.
    #[arg(long, default_value_t = 1_000)]
    cycles: u32,
    /// Milliseconds between two scans.
    #[arg(long, default_value_t = 200)]
    interval: u64,
}

/// No step takes longer, or the bench gives up.
const STEP_WITHIN: Duration = Duration::from_hours(1);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Cycles over which the middle of what was seen is taken.
const WINDOW: f64 = 100.0;

/// What a daemon uses.
struct Used {
    resident: f64,
    open_files: usize,
    threads: u64,
}

pub(crate) fn run(order: &Order, programs: &Path, folder: &Path) -> Result<Figures> {
    let Order { databases: total, changed, cycles, interval } = *order;
    let more = f64::from(cycles) - WINDOW;
    ensure!(
        changed > 0 && total > 0 && more >= 0.0,
        "nothing changes, or less than {WINDOW} --cycles"
    );
    let mut figures = Figures::default();
    let kind = Kind { count: total, shape: Shape::Thousands, bytes: 16_384 };
    let databases = Databases::create(&folder.join("data"), kind)?;
    let store = SeaweedFs::start()?;
    store.create_bucket_named("bench")?;
    let place = Place {
        interval: Duration::from_millis(interval),
        ..Place::single(programs, folder, databases.pattern(), &store.endpoint())
    };
    let mut daemon = place.start(0)?;
    daemon.wait_until_stored(total.into(), STEP_WITHIN)?;
    let mut next = 0;
    let mut live = |daemon: &Daemon, more: f64| {
        let until = daemon.cycles()?.count + more;
        let (mut seen, start) = (Vec::new(), Instant::now());
        while daemon.cycles()?.count < until {
            ensure!(
                start.elapsed() < STEP_WITHIN,
                "{more} cycles took longer than {STEP_WITHIN:?}"
            );
            for _ in 0..changed {
                databases.change(next)?;
                next = (next + 1) % total;
            }
            seen.push(count(daemon.resident()?));
            std::thread::sleep(LOOK_EVERY);
        }
        Ok::<_, anyhow::Error>(seen)
    };
    // Every database has changed once, at least, and the catalogs have been written.
    live(&daemon, f64::from(total.div_ceil(changed)).max(WINDOW))?;
    let resident = live(&daemon, WINDOW)?;
    let begin = used(&daemon, resident)?;
    let uploads = daemon.count("uploads_success")?;
    live(&daemon, more)?;
    let resident = live(&daemon, WINDOW)?;
    let end = used(&daemon, resident)?;
    let uploads = daemon.count("uploads_success")? - uploads;
    daemon.leave()?;

    let what = format!("{cycles} cycles of {interval} ms, {total} databases");
    figures.add(format!("{what}: backups meanwhile"), count(uploads), "");
    figures.add("  memory before", begin.resident / 1e6, "MB");
    figures.add("  memory afterwards", end.resident / 1e6, "MB");
    let ratio = end.resident / begin.resident;
    figures.goal(format!("{what}: memory, of that before"), ratio, "×", Bound::AtMost(1.05));
    let files = count(end.open_files) - count(begin.open_files);
    figures.goal(format!("{what}: more open files"), files, "", Bound::AtMost(0.0));
    let threads = count(end.threads) - count(begin.threads);
    figures.add("  threads more", threads, "");
    Ok(figures)
}

fn used(daemon: &Daemon, resident: Vec<f64>) -> Result<Used> {
    let process = daemon.process().id();
    Ok(Used {
        resident: median(resident),
        open_files: machine::open_files(process)?,
        threads: machine::threads(process)?,
    })
}
