//! A restore of many databases: by ours, by copying the objects and decompressing them, and by Litestream.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use ultrasimple_testkit::process::clean_command;
use ultrasimple_testkit::seaweed::{ADMIN, SeaweedFs};

use crate::daemon::Place;
use crate::databases::{Databases, Kind, Shape};
use crate::figures::{Bound, Figures, median};
use crate::peers::litestream::Litestream;
use crate::peers::{self, rclone};

#[derive(Debug, Args)]
pub(crate) struct Order {
    #[arg(long, default_value_t = 10_000)]
    databases: u32,
    /// How often the programs take turns.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// How many databases Litestream restores: the time of all is reckoned from theirs.
    #[arg(long, default_value_t = 200)]
    litestream: u32,
}

/// No program takes longer, or the bench gives up.
const STEP_WITHIN: Duration = Duration::from_mins(30);
/// Transfers at once of rclone, besides its default.
const TRANSFERS: [&str; 2] = ["--transfers", "100"];
const BACKUPS_ONLY: [&str; 2] = ["--exclude", "/.ultrasimple/**"];

/// What is restored, from where.
struct Scene<'a> {
    programs: &'a Path,
    folder: &'a Path,
    store: SeaweedFs,
    databases: Databases,
    cores: usize,
}

pub(crate) fn run(order: &Order, programs: &Path, folder: &Path) -> Result<Figures> {
    let mut figures = Figures::default();
    let kind = Kind { count: order.databases, shape: Shape::Thousands, bytes: 16_384 };
    let databases = Databases::create(&folder.join("data"), kind)?;
    let store = SeaweedFs::start()?;
    store.create_bucket_named("bench")?;
    let place = Place::single(programs, folder, databases.pattern(), &store.endpoint());
    let scene = Scene {
        programs,
        folder,
        store,
        databases,
        cores: std::thread::available_parallelism().map_or(1, usize::from),
    };
    scene.time(place.once())?;

    let mut all: [Vec<f64>; 4] = Default::default();
    for _ in 0..order.rounds {
        let [checked, unchecked, defaults, transfers] = &mut all;
        checked.push(scene.ours(&[])?);
        defaults.push(scene.copied(&[])?);
        unchecked.push(scene.ours(&["--no-check"])?);
        transfers.push(scene.copied(&TRANSFERS)?);
    }
    let [ours, unchecked, defaults, transfers] = all.map(median);
    let each = scene.litestream(order.litestream)? / f64::from(order.litestream);
    let litestream = each * f64::from(order.databases);

    let title = format!("restore of {} databases", order.databases);
    let bars = [
        ("ultrasimple-ctl", ours),
        ("ultrasimple-ctl, no check", unchecked),
        ("rclone copy, lz4", defaults),
        ("rclone copy of 100, lz4", transfers),
        ("litestream, reckoned", litestream),
    ];
    figures.compare(&title, "s", bars);
    let name = format!("{title}: faster than the better rclone copy and lz4");
    figures.goal(name, defaults.min(transfers) / ours, "×", Bound::AtLeast(1.0));
    let name = format!("{title}: faster than Litestream, reckoned from {}", order.litestream);
    figures.goal(name, litestream / ours, "×", Bound::AtLeast(10.0));
    Ok(figures)
}

impl Scene<'_> {
    /// By ours; what was restored is compared with the databases afterwards.
    fn ours(&self, more: &[&str]) -> Result<f64> {
        let to = self.target()?;
        let mut command = Command::new(self.programs.join("ultrasimple-ctl"));
        command.env_clear().env("AWS_EC2_METADATA_DISABLED", "true");
        command.args(["-bucket", "bench", "-endpoint-url", &self.store.endpoint()]);
        command.args(["-access-key", ADMIN.access_key, "-secret-key", ADMIN.secret_key]);
        command.args(["restore", "--all", "--to"]).arg(&to).args(more);
        let took = self.time(command)?;
        for number in 0..self.databases.kind.count {
            let path = self.databases.path(number);
            let restored = to.join(path.strip_prefix("/")?);
            let is = std::fs::read(&restored).context("a database was not restored")?;
            ensure!(is == std::fs::read(&path)?, "{} is not what it was", restored.display());
        }
        Ok(took)
    }

    /// By `rclone copy` and then `lz4` on all cores, many files each time that it is started.
    fn copied(&self, more: &[&str]) -> Result<f64> {
        let to = self.target()?;
        let mut copy = rclone::rclone(&self.store)?;
        copy.arg("copy").args(BACKUPS_ONLY).args(more).arg(rclone::remote("bench")).arg(&to);
        let mut took = self.time(copy)?;
        let mut unpack = clean_command("sh");
        let script = "find . -name '*.lz4' -print0 | xargs -0 -n 200 -P \"$0\" lz4 -d -m -q --rm";
        unpack.current_dir(&to).args(["-c", script]).arg(self.cores.to_string());
        took += self.time(unpack)?;
        let restored = peers::run(Command::new("find").arg(&to).args(["-name", "*.db"]))?;
        let (restored, all) = (restored.lines().count(), self.databases.kind.count);
        ensure!(restored == all as usize, "rclone and lz4 gave {restored} of {all} databases");
        Ok(took)
    }

    /// By one `litestream restore` for each of some databases, as many at once as there are cores.
    fn litestream(&self, count: u32) -> Result<f64> {
        let kind = Kind { count, ..self.databases.kind };
        let databases = Databases::create(&self.folder.join("litestream"), kind)?;
        self.store.create_bucket_named("litestream")?;
        let mut process =
            Litestream::start(self.folder, &self.store, &databases.root, "litestream")?;
        process.stored(count)?;
        drop(process);
        let to = self.target()?;
        let (folder, store) = (self.folder, &self.store);
        let restore =
            Litestream::restore(folder, store, &databases, "litestream", &to, self.cores)?;
        let took = self.time(restore)?;
        for number in 0..count {
            let path = databases.path(number);
            let restored = to.join(path.strip_prefix(&databases.root)?);
            ensure!(restored.exists(), "Litestream did not restore {}", restored.display());
        }
        Ok(took)
    }

    /// An empty folder, on the disk that the databases are on.
    fn target(&self) -> Result<PathBuf> {
        let to = self.folder.join("restored");
        if to.exists() {
            std::fs::remove_dir_all(&to)?;
        }
        std::fs::create_dir(&to)?;
        Ok(to)
    }

    fn time(&self, command: Command) -> Result<f64> {
        let took = peers::timed(command, &self.folder.join("programs.log"), STEP_WITHIN)?;
        ensure!(took.to_its_end, "not within {STEP_WITHIN:?}");
        Ok(took.seconds)
    }
}
