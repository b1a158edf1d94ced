//! One large database that is written to all the while: how fast it is stored, in how much memory, and whether its
//! writer notices.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use rusqlite::Connection;
use ultrasimple_testkit::seaweed::SeaweedFs;

use crate::daemon::Place;
use crate::figures::{Bound, Figures, count, median};
use crate::load::{Latencies, Load, Pace};
use crate::machine;
use crate::peers::{self, rclone};

#[derive(Debug, Args)]
pub(crate) struct Order {
    /// The size of the database in MiB.
    #[arg(long, default_value_t = 2_048)]
    mib: u32,
    /// How often the programs take turns.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Commits a second of the writer, one row each.
    #[arg(long, default_value_t = 100.0)]
    commits: f64,
}

/// No program takes longer, or the bench gives up.
const STEP_WITHIN: Duration = Duration::from_mins(30);
/// The parts that ours sends by default; rclone gets the same, with as many at once as ours has, and with its default.
const PARTS: [&str; 4] = ["--s3-chunk-size", "16Mi", "--s3-upload-cutoff", "64Mi"];
const AS_OURS: [&str; 2] = ["--s3-upload-concurrency", "2"];
/// Else it refuses a file that is written to.
const WRITTEN_TO: &str = "--local-no-check-updated";
/// Rows that are written at a time while the database is made.
const BATCH: u32 = 4_096;
const MEBIBYTE: f64 = 1_048_576.0;

/// One program's upload, and what the writer had meanwhile.
struct Upload {
    /// MiB of the database a second.
    rate: f64,
    took: f64,
    peak: f64,
    writer: Latencies,
}

/// What is measured of each in each round.
#[derive(Default)]
struct Side {
    rates: Vec<f64>,
    peaks: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
}

pub(crate) fn run(order: &Order, programs: &Path, folder: &Path) -> Result<Figures> {
    let mut figures = Figures::default();
    let data = folder.join("data");
    let path = data.join("large.db");
    std::fs::create_dir_all(&data)?;
    create(&path, order.mib)?;
    let store = SeaweedFs::start()?;
    let mut place = Place::single(programs, folder, path.clone(), &store.endpoint());
    let pace = Pace { each: order.commits, threads: 1 };
    let (mut alone, mut ours) = (Side::default(), Side::default());
    let (mut same, mut defaults) = (Side::default(), Side::default());
    for round in 0..order.rounds {
        place.bucket = format!("ours-{round}");
        store.create_bucket_named(&place.bucket)?;
        let upload = upload(place.once(), &path, pace)?;
        let keys = rclone::keys(&store, &place.bucket)?;
        ensure!(keys.iter().any(|key| key.ends_with(".db.lz4")), "no backup in {keys:?}");
        let writer = only_writer(&path, pace, upload.took)?;
        alone.writes(&writer);
        ours.takes(&upload);
        for (number, side, more) in [(0, &mut same, &AS_OURS[..]), (1, &mut defaults, &[])] {
            let bucket = format!("rclone-{number}-{round}");
            store.create_bucket_named(&bucket)?;
            let more = [&PARTS[..], &[WRITTEN_TO], more].concat();
            let command = rclone::copy(&store, &path, &bucket, &more)?;
            side.takes(&self::upload(command, &path, pace)?);
            ensure!(rclone::keys(&store, &bucket)? == ["large.db"], "{bucket} lacks the database");
        }
    }
    tell(order, &[alone, ours, same, defaults].map(Side::medians), &mut figures);
    Ok(figures)
}

fn tell(order: &Order, sides: &[[f64; 4]; 4], figures: &mut Figures) {
    let [alone, ours, same, defaults] = sides;
    let [[_, _, alone50, alone99], [rate, peak, ours50, ours99]] = [alone, ours];
    let [[same_rate, same_peak, same50, same99], [default_rate, ..]] = [same, defaults];
    let what = format!("a database of {} MiB that is written to", order.mib);
    let bars = [
        ("ultrasimple", 1.0 / rate),
        ("rclone copy, 2 parts at once", 1.0 / same_rate),
        ("rclone copy, 4 parts at once", 1.0 / default_rate),
    ];
    let bars = bars.map(|(who, each)| (who, each * f64::from(order.mib)));
    figures.compare(format!("{what}: until it is stored"), "s", bars);
    let name = format!("{what}: rate of the better rclone copy");
    figures.goal(name, rate / same_rate.max(*default_rate), "×", Bound::AtLeast(0.8));
    let name = format!("{what}: the most memory ever, with a budget of 256 MiB");
    figures.goal(name, *peak, "MiB", Bound::AtMost(256.0));
    let bars = [("no backup", *alone99), ("ultrasimple", *ours99), ("rclone copy", *same99)];
    figures.compare("its writer: 99 of 100 commits are faster", "ms", bars);
    let name = "a large database: p99 of its writer's commits, of that without backup";
    figures.goal(name, ours99 / alone99, "×", Bound::AtMost(1.2));
    figures.add(format!("{what}: stored"), *rate, "MiB/s");
    figures.add("  by rclone copy, 2 parts at once", *same_rate, "MiB/s");
    figures.add("  by rclone copy, 4 parts at once", *default_rate, "MiB/s");
    figures.add("  memory of rclone copy, 2 parts at once", *same_peak, "MiB");
    for (who, p50) in
        [("no backup", alone50), ("ultrasimple", ours50), ("rclone copy, 2 parts at once", same50)]
    {
        figures.add(format!("  median of its writer's commits, {who}"), *p50, "ms");
    }
}

impl Side {
    fn takes(&mut self, upload: &Upload) {
        self.rates.push(upload.rate);
        self.peaks.push(upload.peak);
        self.writes(&upload.writer);
    }

    fn writes(&mut self, writer: &Latencies) {
        self.p50.push(writer.percentile(50));
        self.p99.push(writer.percentile(99));
    }

    fn medians(self) -> [f64; 4] {
        [self.rates, self.peaks, self.p50, self.p99].map(median)
    }
}

/// Runs a program that stores the database, while it is written to.
fn upload(command: Command, path: &Path, pace: Pace) -> Result<Upload> {
    let log = path.with_file_name("upload.log");
    let size = count(path.metadata()?.len()) / MEBIBYTE;
    let load = Load::start(&[path.to_owned()], pace)?;
    let mut peak = 0;
    let took = peers::timed_watched(command, &log, STEP_WITHIN, |process| {
        // Between its end and the look for it there is nothing to read.
        peak = machine::peak(process).unwrap_or(peak);
    })?;
    let writer = load.finish()?;
    ensure!(took.to_its_end, "not within {STEP_WITHIN:?}");
    ensure!(writer.count() > 0, "nothing was written meanwhile");
    let (rate, peak) = (size / took.seconds, count(peak) / MEBIBYTE);
    Ok(Upload { rate, took: took.seconds, peak, writer })
}

/// The writer and nobody else, for as long.
fn only_writer(path: &PathBuf, pace: Pace, seconds: f64) -> Result<Latencies> {
    let load = Load::start(std::slice::from_ref(path), pace)?;
    std::thread::sleep(Duration::from_secs_f64(seconds));
    load.finish()
}

/// A database of this size, of rows of 1 KiB: half of each are random bytes, half the same words again and again.
fn create(path: &Path, mib: u32) -> Result<()> {
    let connection = Connection::open(path)?;
    connection.execute_batch(
        "PRAGMA page_size = 4096; PRAGMA synchronous = off; PRAGMA journal_mode = off;
         CREATE TABLE t (id INTEGER PRIMARY KEY, noise BLOB, words TEXT)",
    )?;
    let words = "tenant ".repeat(72);
    let size = u64::from(mib) << 20;
    let fill = "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < ?1)
                INSERT INTO t (noise, words) SELECT randomblob(504), ?2 FROM n";
    while path.metadata()?.len() < size {
        connection.execute(fill, (BATCH, &words)).context("fill the large database")?;
    }
    connection.execute_batch("PRAGMA journal_mode = wal")?;
    drop(connection);
    std::fs::File::open(path)?.sync_all()?;
    Ok(())
}
