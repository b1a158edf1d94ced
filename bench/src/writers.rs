//! Databases that are written to all the while: what their applications notice of a backup.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;
use ultrasimple_testkit::seaweed::SeaweedFs;

use crate::daemon::Place;
use crate::databases::{Databases, Kind, Shape};
use crate::figures::{Bound, Figures, count, median};
use crate::load::{Latencies, Load, Pace};
use crate::peers::litestream::Litestream;

#[derive(Debug, Args)]
pub(crate) struct Order {
    #[arg(long, default_value_t = 200)]
    databases: u32,
    /// Commits a second to each.
    #[arg(long, default_value_t = 5.0)]
    commits: f64,
    /// The threads that share them.
    #[arg(long, default_value_t = 4)]
    threads: usize,
    /// How long each is watched at a time, in seconds.
    #[arg(long, default_value_t = 60)]
    watch: u64,
    /// How often they take turns.
    #[arg(long, default_value_t = 4)]
    rounds: usize,
    /// Seconds between two scans of ours.
    #[arg(long, default_value_t = 15)]
    interval: u64,
}

const STEP_WITHIN: Duration = Duration::from_mins(10);

/// What backs the databases up meanwhile.
#[derive(Debug, Clone, Copy)]
enum Side {
    Nothing,
    Ultrasimple,
    Litestream,
}

/// Percentiles of each turn.
#[derive(Default)]
struct Turns {
    p50: Vec<f64>,
    p99: Vec<f64>,
    /// Commits a second.
    rate: Vec<f64>,
}

struct Scene<'a> {
    order: &'a Order,
    folder: &'a Path,
    place: Place,
    store: SeaweedFs,
}

pub(crate) fn run(order: &Order, programs: &Path, folder: &Path) -> Result<Figures> {
    let mut figures = Figures::default();
    ensure!(order.watch >= order.interval, "--watch is shorter than --interval: nothing to see");
    let store = SeaweedFs::start()?;
    let place = Place {
        interval: Duration::from_secs(order.interval),
        ..Place::single(programs, folder, folder.into(), &store.endpoint())
    };
    let mut scene = Scene { order, folder, place, store };
    let [mut nothing, mut ours, mut litestream] = [(); 3].map(|()| Turns::default());
    for round in 0..order.rounds {
        // Forth and back, so that a machine that gets slower or faster favours nobody.
        let mut turns = [
            (Side::Nothing, &mut nothing),
            (Side::Ultrasimple, &mut ours),
            (Side::Litestream, &mut litestream),
        ];
        if round % 2 == 1 {
            turns.reverse();
        }
        for (side, turns) in turns {
            let latencies = scene.turn(side, round)?;
            turns.p50.push(latencies.percentile(50));
            turns.p99.push(latencies.percentile(99));
            turns.rate.push(count(latencies.count()) / count(order.watch));
        }
    }
    let sides = [nothing, ours, litestream].map(|side| [side.p50, side.p99, side.rate].map(median));
    tell(order, &sides, &mut figures);
    Ok(figures)
}

fn tell(order: &Order, sides: &[[f64; 3]; 3], figures: &mut Figures) {
    let [[free50, free99, free], [ours50, ours99, ours], [theirs50, theirs99, theirs]] = *sides;
    let names = ["no backup", "ultrasimple", "litestream"];
    let what = format!("commits to {} databases", order.databases);
    let all = [
        ("median", [free50, ours50, theirs50]),
        ("99 of 100 are faster", [free99, ours99, theirs99]),
    ];
    for (which, values) in all {
        figures.compare(format!("{what}: {which}"), "ms", names.into_iter().zip(values));
    }
    for (which, with, without) in [("p50", ours50, free50), ("p99", ours99, free99)] {
        let name = format!("{what}: {which}, of that without backup");
        figures.goal(name, with / without, "×", Bound::AtMost(1.05));
    }
    for (name, rate) in names.into_iter().zip([free, ours, theirs]) {
        figures.add(format!("{what}, {name}"), rate, "/s");
    }
}

impl Scene<'_> {
    /// New databases, all stored once by what backs them up, and then the load.
    fn turn(&mut self, side: Side, round: usize) -> Result<Latencies> {
        let Order { databases, .. } = *self.order;
        let kind = Kind { count: databases, shape: Shape::Thousands, bytes: 16_384 };
        let databases = Databases::create(&self.folder.join("data"), kind)?;
        let bucket = format!("{side:?}-{round}").to_lowercase();
        self.store.create_bucket_named(&bucket)?;
        match side {
            Side::Nothing => self.load(&databases),
            Side::Ultrasimple => {
                self.place.pattern = databases.pattern();
                self.place.bucket = bucket;
                let mut daemon = self.place.start(round)?;
                let all = u64::from(kind.count);
                daemon.wait_until_stored(all, STEP_WITHIN)?;
                let latencies = self.load(&databases)?;
                let uploads = daemon.count("uploads_success")?;
                ensure!(uploads >= 2 * all, "only {uploads} uploads: the changes were not stored");
                daemon.leave()?;
                Ok(latencies)
            }
            Side::Litestream => {
                let (folder, store) = (self.folder, &self.store);
                let mut process = Litestream::start(folder, store, &databases.root, &bucket)?;
                process.stored(kind.count)?;
                self.load(&databases)
            }
        }
    }

    fn load(&self, databases: &Databases) -> Result<Latencies> {
        let Order { commits, threads, watch, .. } = *self.order;
        let paths: Vec<_> =
            (0..databases.kind.count).map(|number| databases.path(number)).collect();
        let load = Load::start(&paths, Pace { each: commits, threads })?;
        std::thread::sleep(Duration::from_secs(watch));
        load.finish()
    }
}
