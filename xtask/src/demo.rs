//! `cargo xtask demo`: the main job for real, told step by step, and proved.
//!
//! 1,000 databases, some of them written to all the while; the release daemon with a directory as
//! its bucket; restores of all of them, under load and at rest, by our tool and by plain `lz4`.
//! Ends with an error where anything is not as promised. What it made stays in `<target>/demo`.

mod child;
mod cycle;
mod snapshot;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::interrupt::Interrupt;
use crate::process::{self, output};
use crate::test::without_settings;
use crate::tools::{need_build_tools, need_commands, on_path};
use crate::workspace::Workspace;
use child::Running;
use cycle::Cycle;
use snapshot::Snapshot;

const DATABASES: u64 = 1_000;
const PATTERN: &str = "data/*/databases/*/branches/*/tenants/*.db";
const INTERVAL: &str = "2s";
/// Cycles to watch once all databases have a first backup.
const CYCLES: usize = 3;

/// For what takes a moment.
const SOON: Duration = Duration::from_secs(20);
/// For what takes a while on a slow machine.
const EVENTUALLY: Duration = Duration::from_secs(90);

/// Runs the demo.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    need_commands(&["lz4", "sqlite3"])?;
    need_build_tools()?;
    title("Building the release programs");
    build(workspace)?;

    let start = Instant::now();
    let demo = Demo::prepare(workspace)?;
    let (live, before) = demo.make_databases()?;
    let daemon = demo.back_up(&live)?;
    demo.stop_daemon(daemon)?;
    demo.prove_sources_untouched(&live, &before)?;
    demo.restore_one(&live)?;
    demo.restore_all()?;
    demo.say_where_to_look(start.elapsed())
}

fn build(workspace: &Workspace) -> Result<()> {
    // As they are shipped: what the testkit needs must not change how they are built.
    let mut programs = workspace.cargo("build");
    process::run(programs.args([
        "--release",
        "--package",
        "ultrasimple",
        "--package",
        "ultrasimple-ctl",
    ]))?;
    let mut fleet = workspace.cargo("build");
    process::run(fleet.args(["--package", "ultrasimple-testkit", "--bin", "demo-fleet"]))
}

/// One demo: its directories and programs.
struct Demo<'a> {
    workspace: &'a Workspace,
    dir: PathBuf,
    bucket: String,
    interrupt: Interrupt,
}

impl<'a> Demo<'a> {
    /// Makes an empty directory for it.
    fn prepare(workspace: &'a Workspace) -> Result<Self> {
        let dir = workspace.target.join("demo");
        if dir.exists() {
            fs::remove_dir_all(&dir).with_context(|| format!("remove {}", dir.display()))?;
        }
        fs::create_dir_all(dir.join("bucket"))
            .with_context(|| format!("create {}", dir.display()))?;
        // As the daemon will see it, and say it in its footers.
        let dir = dir.canonicalize().context("resolve the demo's directory")?;
        let bucket = format!("file://{}", dir.join("bucket").display());
        Ok(Self { workspace, dir, bucket, interrupt: Interrupt::watch()? })
    }

    /// Makes the databases; returns the live ones, and how all others look.
    fn make_databases(&self) -> Result<(Vec<PathBuf>, Snapshot)> {
        title("Making databases");
        let said = self.fleet(&["make", &self.text("")])?;
        let live = said.lines().filter_map(|line| line.strip_prefix("live ")).map(PathBuf::from);
        let live: Vec<PathBuf> = live.collect();
        say(&format!("{} in {PATTERN}", said.lines().last().unwrap_or_default()));
        let snapshot = Snapshot::take(&self.dir.join("data"), &live)?;
        say(&format!(
            "{} of them will be written to; noted inode, size, mode and times of the other {} \
             files and directories",
            live.len(),
            snapshot.len()
        ));
        Ok((live, snapshot))
    }

    /// Runs writers and the daemon side by side, proves a restore under load, then lets the
    /// writers end and the daemon catch up.
    fn back_up(&self, live: &[PathBuf]) -> Result<Running> {
        title("Backing up while applications write");
        let writers = self.start_writers()?;
        let mut daemon = self.start_daemon()?;

        let first = Instant::now();
        let mut stored = 0;
        daemon.wait_for("first backup of every database", EVENTUALLY, |line| {
            stored += Cycle::read(line)?.stored;
            (stored >= DATABASES).then_some(())
        })?;
        say(&format!("every database has a backup after {:.1} s", first.elapsed().as_secs_f64()));
        for _ in 0..CYCLES {
            daemon.wait_for("cycle", SOON, Cycle::read)?;
        }

        title("Restoring all of them while the writers go on");
        let restored = self.restore_everything("restored-under-load")?;
        say(self.fleet(&["check", &restored])?.trim());

        title("Letting the writers end");
        self.interrupt.check()?;
        // It ends well only when no commit was refused in all this time.
        writers.close_stdin_and_wait(SOON)?;
        let crashed = live.iter().filter(|database| beside(database, "-wal").exists()).count();
        say(&format!("{crashed} of them were left as by a crash, commits in -wal only"));
        // The cycle that is under way may have looked before the last commit.
        daemon.forget_lines();
        daemon.wait_for("cycle", SOON, Cycle::read)?;
        let mut last = None;
        let caught_up = daemon.wait_for("cycle with nothing left to do", EVENTUALLY, |line| {
            let cycle = Cycle::read(line)?;
            last = Some(cycle);
            cycle.is_at_rest().then_some(())
        });
        caught_up.with_context(|| format!("the last cycle said {last:?}"))?;
        say("the bucket has everything");
        Ok(daemon)
    }

    fn start_writers(&self) -> Result<Running> {
        let mut command = Command::new(self.workspace.binary("debug", "demo-fleet"));
        command.args(["write", &self.text("")]);
        let mut writers = Running::start("writers", &mut command, &self.interrupt)?;
        writers.wait_for("sign of life", SOON, |line| line.starts_with("writing").then_some(()))?;
        Ok(writers)
    }

    fn start_daemon(&self) -> Result<Running> {
        let mut daemon = Command::new(self.workspace.binary("release", "ultrasimple"));
        daemon.args(["-bucket", &self.bucket, "-pattern", &self.text(PATTERN)]);
        daemon.args(["-interval", INTERVAL, "-http", "127.0.0.1:0"]);
        say(&process::line(&daemon));
        let mut command = if on_path("setpriv") {
            // Ends with us even when we are killed and can end nothing any more.
            let mut command = Command::new("setpriv");
            command.args(["--pdeathsig", "TERM"]).arg(daemon.get_program()).args(daemon.get_args());
            command
        } else {
            daemon
        };
        without_settings(&mut command).current_dir(&self.dir);
        Running::start("ultrasimple", &mut command, &self.interrupt)
    }

    fn stop_daemon(&self, daemon: Running) -> Result<()> {
        title("Stopping the daemon with SIGTERM");
        self.interrupt.check()?;
        daemon.terminate_and_wait(SOON)?;
        say("it ended with 0");
        Ok(())
    }

    fn prove_sources_untouched(&self, live: &[PathBuf], before: &Snapshot) -> Result<()> {
        title("Looking for traces in the source tree");
        let after = Snapshot::take(&self.dir.join("data"), live)?;
        let differences = before.differences(&after);
        ensure!(
            differences.is_empty(),
            "the source tree was written to:\n{}",
            differences.join("\n")
        );
        say(&format!(
            "none: inode, size, mode and times of all {} idle files and directories are what they \
             were, and nothing was created beside them",
            after.len()
        ));
        Ok(())
    }

    /// Restores a database whose last commits are in its `-wal`, by our tool and without it.
    fn restore_one(&self, live: &[PathBuf]) -> Result<()> {
        title("Restoring one database");
        let crashed = live.iter().find(|database| beside(database, "-wal").exists());
        let source = crashed.or(live.first()).context("there are no live databases")?;
        let (source, restored) = (source.display().to_string(), self.text("one.db"));
        self.ctl(&["restore", &source, "-o", &restored])?;
        say(self.fleet(&["same", &source, &restored])?.trim());

        let object = self.newest_object(Path::new(&source))?;
        let (object, plain) = (object.display().to_string(), self.text("one-by-lz4.db"));
        let mut lz4 = Command::new("lz4");
        lz4.args(["-d", "-q", "-f", &object, &plain]);
        say(&process::line(&lz4));
        output(&mut lz4)?;
        say(self.fleet(&["same", &source, &plain])?.trim());
        Ok(())
    }

    fn restore_all(&self) -> Result<()> {
        title("Restoring all of them");
        let restored = self.restore_everything("restored")?;
        say(self.fleet(&["compare", &self.text(""), &restored])?.trim());
        Ok(())
    }

    fn restore_everything(&self, to: &str) -> Result<String> {
        let start = Instant::now();
        let to = self.text(to);
        self.ctl(&["restore", "--all", "--to", &to])?;
        say(&format!("restored in {:.1} s", start.elapsed().as_secs_f64()));
        Ok(to)
    }

    fn say_where_to_look(&self, took: Duration) -> Result<()> {
        title("Done");
        let (mut objects, mut bytes) = (0, 0);
        for file in files_below(&self.dir.join("bucket"))? {
            if file.to_string_lossy().ends_with(".db.lz4") {
                objects += 1;
                bytes += file.metadata().with_context(|| file.display().to_string())?.len();
            }
        }
        let mebibytes = bytes / (1 << 20);
        say(&format!(
            "all as promised, in {:.0} s; {objects} backups, {mebibytes} MiB",
            took.as_secs_f64()
        ));
        let show = |path: &str| self.workspace.show(&self.dir.join(path)).to_string();
        let ctl = self.workspace.binary("release", "ultrasimple-ctl");
        let ctl = self.workspace.show(&ctl);
        let database = self.text("data/acme/databases/users/branches/main/tenants/t00.db");
        println!(
            "\nWhere to look:\n  {}  the sources\n  {}  the backups\n  {}  all restored",
            show("data"),
            show("bucket"),
            show("restored")
        );
        println!(
            "\nWhat to try:\n  {ctl} -bucket {bucket} databases\n  {ctl} -bucket {bucket} backups \
             {database}\n  sqlite3 {} 'SELECT count(*), sum(balance) FROM account'",
            show("one.db"),
            bucket = self.bucket
        );
        Ok(())
    }

    /// Runs the operator's tool, its output shown.
    fn ctl(&self, args: &[&str]) -> Result<()> {
        self.interrupt.check()?;
        let mut command = Command::new(self.workspace.binary("release", "ultrasimple-ctl"));
        without_settings(&mut command).current_dir(&self.dir);
        process::run(command.args(["-bucket", &self.bucket]).args(args))
    }

    /// Asks the program that knows the databases.
    fn fleet(&self, args: &[&str]) -> Result<String> {
        self.interrupt.check()?;
        output(Command::new(self.workspace.binary("debug", "demo-fleet")).args(args))
    }

    /// The newest backup of a database, found as a person would: by its name.
    fn newest_object(&self, database: &Path) -> Result<PathBuf> {
        // data/P/databases/D/branches/B/tenants/T.db is stored as P/D/B/T/T-<hour>.db.lz4
        let path = database.with_extension("");
        let path = path.strip_prefix(self.dir.join("data")).context("a database of the demo")?;
        let directory: PathBuf = path.iter().step_by(2).collect();
        let directory = self.dir.join("bucket").join(directory);
        let newest = files_below(&directory)?.into_iter().max();
        newest.with_context(|| format!("there is no backup in {}", directory.display()))
    }

    /// A path in the demo's directory, as text.
    fn text(&self, path: &str) -> String {
        self.dir.join(path).display().to_string()
    }
}

fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn files_below(directory: &Path) -> Result<Vec<PathBuf>> {
    let (mut files, mut directories) = (Vec::new(), vec![directory.to_owned()]);
    while let Some(directory) = directories.pop() {
        let entries =
            fs::read_dir(&directory).with_context(|| format!("list {}", directory.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() { &mut directories } else { &mut files }.push(path);
        }
    }
    Ok(files)
}

fn title(text: &str) {
    println!("\n== {text}");
}

fn say(text: &str) {
    for line in text.lines() {
        println!("  {line}");
    }
}
