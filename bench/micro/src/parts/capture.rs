//! Captures, with the daemon's check, through whichever way the state of the database asks for.

use std::hint::black_box;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use rusqlite::Connection;
use ultrasimple_core::CheckResult;
use ultrasimple_sqlite::{CaptureOptions, Capturer, CheckLevel, Method};

use crate::part::{Workload, repeated};
use crate::samples::{LARGE, SMALL, need_database};

/// More than any image here has.
const MEMORY: u64 = 64 << 20;

pub(crate) fn closed(folder: &Path) -> Result<Box<dyn Workload>> {
    capture_closed(folder, SMALL)
}

pub(crate) fn large(folder: &Path) -> Result<Box<dyn Workload>> {
    capture_closed(folder, LARGE)
}

/// Its application has it open, and rows in its WAL.
pub(crate) fn live(folder: &Path) -> Result<Box<dyn Workload>> {
    let database = folder.join("live.db");
    need_database(&database, SMALL)?;
    let holder = Holder::start(&database)?;
    let capture = capture(folder, database, Method::Live)?;
    Ok(repeated(move || {
        let captured = capture();
        // Here it is needed no longer.
        black_box(&holder);
        captured
    }))
}

fn capture_closed(folder: &Path, rows: u32) -> Result<Box<dyn Workload>> {
    let database = folder.join(format!("closed-{rows}.db"));
    need_database(&database, rows)?;
    Ok(repeated(capture(folder, database, Method::Plain)?))
}

/// Captures it, and makes sure that it was done in this way and found whole.
fn capture(
    folder: &Path,
    database: PathBuf,
    by: Method,
) -> Result<impl Fn() -> Result<u64> + use<>> {
    let capturer = Capturer::new(CaptureOptions::new(folder.join("scratch")))?;
    Ok(move || {
        let capture = capturer.capture(&database, MEMORY, CheckLevel::Quick)?;
        let (method, check) = (capture.method, &capture.check);
        ensure!(method == by && *check == CheckResult::Passed, "captured by {method:?}: {check:?}");
        Ok(capture.image.len())
    })
}

/// A process that has a database open: in this one it would share SQLite's locks with the captures.
struct Holder(Child);

impl Holder {
    fn start(database: &Path) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("hold").arg(database).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut holder = Self(command.spawn().context("start what holds a database open")?);
        let stdout = holder.0.stdout.take().context("what holds a database open says nothing")?;
        let mut said = String::new();
        BufReader::new(stdout).read_line(&mut said)?;
        if said.trim() != HELD {
            bail!("a database is not held open");
        }
        Ok(holder)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // Its input ends, and so does it.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

const HELD: &str = "held";

/// What the other process does.
pub(crate) fn hold(database: &Path) -> Result<()> {
    let connection = Connection::open(database)?;
    connection.execute_batch("PRAGMA wal_autocheckpoint = 0")?;
    connection.execute("INSERT INTO t (content) VALUES (zeroblob(1000))", [])?;
    println!("{HELD}");
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
