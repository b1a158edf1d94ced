//! The first backup of many small databases: by ours, by what replicates SQLite, and by what copies files.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;
use ultrasimple_testkit::seaweed::SeaweedFs;

use crate::daemon::Place;
use crate::databases::{Databases, Kind, Shape};
use crate::figures::{Bound, Figures, median};
use crate::peers::{self, Took, litestream, rclone, walrust};

#[derive(Debug, Args)]
pub(crate) struct Order {
    /// How many databases; one comparison for each number.
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 10_000])]
    databases: Vec<u32>,
    /// How often the programs that end by themselves take turns.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// The processes of Litestream and of walrust that share the databases, as both keep several files of each open.
    #[arg(long, default_value_t = 4)]
    processes: usize,
    /// After so many seconds a program is stopped.
    #[arg(long, default_value_t = 600)]
    limit: u64,
}

/// Transfers at once of rclone, besides its default: as many as ours has.
const TRANSFERS: &[&str] = &["--transfers", "100"];

/// What programs back up, and where to.
struct Scene<'a> {
    order: &'a Order,
    folder: &'a Path,
    place: Place,
    store: SeaweedFs,
    kind: Kind,
}

pub(crate) fn run(order: &Order, programs: &Path, folder: &Path) -> Result<Figures> {
    let mut figures = Figures::default();
    let store = SeaweedFs::start()?;
    let place = Place::single(programs, folder, folder.into(), &store.endpoint());
    let kind = Kind { count: 0, shape: Shape::Thousands, bytes: 16_384 };
    let mut scene = Scene { order, folder, place, store, kind };
    for databases in &order.databases {
        scene.kind.count = *databases;
        scene.compare(&mut figures)?;
    }
    Ok(figures)
}

impl Scene<'_> {
    fn compare(&mut self, figures: &mut Figures) -> Result<()> {
        let [ours, defaults, transfers, s5cmd] = self.in_turns()?;
        let litestream = self.litestream()?;
        let walrust = self.walrust()?;
        let databases = self.kind.count;
        let ours = ours.seconds;
        let rclone = if defaults.seconds < transfers.seconds { defaults } else { transfers };
        let all = [
            ("rclone copy", defaults),
            ("rclone copy, 100 transfers", transfers),
            ("s5cmd cp", s5cmd),
            ("walrust", walrust),
            ("litestream", litestream),
        ];
        let told = all.map(|(who, took)| (named(who, took), took.seconds));
        let bars = told.iter().map(|(who, seconds)| (who.as_str(), *seconds));
        let title = format!("first backup of {databases} databases");
        figures.compare(&title, "s", [("ultrasimple", ours)].into_iter().chain(bars));
        for (who, theirs, least) in [
            ("Litestream", litestream, 20.0),
            ("walrust", walrust, 5.0),
            ("the better rclone copy", rclone, 1.0),
        ] {
            let name = format!("{title}: faster than {}", named(who, theirs));
            figures.goal(name, theirs.seconds / ours, "×", Bound::AtLeast(least));
        }
        Ok(())
    }

    /// Those that end by themselves and leave the databases as they are: the medians.
    fn in_turns(&mut self) -> Result<[Took; 4]> {
        let databases = Databases::create(&self.folder.join("data"), self.kind)?;
        self.place.pattern = databases.pattern();
        let mut all: [Vec<Took>; 4] = Default::default();
        for round in 0..self.order.rounds {
            for (side, took) in all.iter_mut().enumerate() {
                let bucket = self.bucket(&format!("side-{side}-{round}"))?;
                let command = self.command(side, &databases, &bucket)?;
                let log = self.folder.join(format!("side-{side}.log"));
                let one = peers::timed(command, &log, self.limit())?;
                self.check(&bucket, one)?;
                took.push(one);
            }
        }
        Ok(all.map(|took| Took {
            seconds: median(took.iter().map(|one| one.seconds).collect()),
            to_its_end: took.iter().all(|one| one.to_its_end),
        }))
    }

    fn command(&mut self, side: usize, databases: &Databases, bucket: &str) -> Result<Command> {
        let data = databases.root.as_path();
        match side {
            0 => {
                bucket.clone_into(&mut self.place.bucket);
                Ok(self.place.once())
            }
            1 => rclone::copy(&self.store, data, bucket, &[]),
            2 => rclone::copy(&self.store, data, bucket, TRANSFERS),
            _ => rclone::s5cmd(&self.store, data, bucket),
        }
    }

    fn litestream(&self) -> Result<Took> {
        let databases = Databases::create(&self.folder.join("litestream"), self.kind)?;
        let bucket = self.bucket("litestream")?;
        let processes = self.order.processes;
        let (folder, store) = (self.folder, &self.store);
        let took = litestream::first(folder, store, &databases, &bucket, processes, self.limit())?;
        self.check(&bucket, took)?;
        Ok(took)
    }

    fn walrust(&self) -> Result<Took> {
        let databases = Databases::create(&self.folder.join("walrust"), self.kind)?;
        let bucket = self.bucket("walrust")?;
        let processes = self.order.processes;
        let (folder, store) = (self.folder, &self.store);
        let took = walrust::first(folder, store, &databases, &bucket, processes, self.limit())?;
        self.check(&bucket, took)?;
        Ok(took)
    }

    /// A new one, in which the first object takes as long as the others.
    fn bucket(&self, name: &str) -> Result<String> {
        let bucket = format!("{name}-{}", self.kind.count);
        self.store.create_bucket_named(&bucket)?;
        self.store.warm_up(&bucket)?;
        Ok(bucket)
    }

    /// A time counts only when all is there.
    fn check(&self, bucket: &str, took: Took) -> Result<()> {
        let stored = rclone::databases(&self.store, bucket)?;
        let all = self.kind.count as usize;
        ensure!(!took.to_its_end || stored == all, "{bucket} has {stored} of {all} databases");
        Ok(())
    }

    fn limit(&self) -> Duration {
        Duration::from_secs(self.order.limit)
    }
}

/// One that was stopped took longer than it says.
fn named(who: &str, took: Took) -> String {
    if took.to_its_end { who.to_owned() } else { format!("{who}, stopped") }
}
