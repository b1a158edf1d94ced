//! walrust: it watches the databases that it is told. It takes them one after the other, and keeps some files of each
//! open, so that several processes share many databases.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use ultrasimple_testkit::process::{ServerProcess, clean_command};
use ultrasimple_testkit::seaweed::SeaweedFs;

use crate::databases::Databases;
use crate::peers::{self, Took};

const LOOK_EVERY: Duration = Duration::from_millis(5);

/// One process and its databases, in the order in which it takes them.
#[derive(Debug)]
struct Share {
    process: ServerProcess,
    databases: Vec<PathBuf>,
    /// So many of them have been stored.
    stored: usize,
}

/// Starts so many processes over all databases, which they write to, and waits until each has stored the first
/// snapshot of each of its databases.
pub(crate) fn first(
    folder: &Path,
    store: &SeaweedFs,
    databases: &Databases,
    bucket: &str,
    processes: usize,
    within: Duration,
) -> Result<Took> {
    let paths: Vec<_> = (0..databases.kind.count).map(|number| databases.path(number)).collect();
    let share = paths.len().div_ceil(processes).max(1);
    let mut commands = Vec::new();
    for (number, paths) in paths.chunks(share).enumerate() {
        commands.push((command(folder, store, paths, bucket, number)?, paths.to_vec()));
    }
    let start = Instant::now();
    let mut shares = Vec::new();
    for (number, (command, databases)) in commands.into_iter().enumerate() {
        let log = folder.join(format!("walrust-{number}.log"));
        shares.push(Share { process: ServerProcess::spawn(command, &log)?, databases, stored: 0 });
    }
    let mut all_stored = false;
    while !all_stored && start.elapsed() < within {
        std::thread::sleep(LOOK_EVERY);
        all_stored = true;
        for share in &mut shares {
            all_stored &= share.has_stored_all()?;
        }
    }
    Ok(Took { seconds: start.elapsed().as_secs_f64(), to_its_end: all_stored })
}

impl Share {
    /// After each first snapshot it writes down how far it is, beside the database.
    fn has_stored_all(&mut self) -> Result<bool> {
        while let Some(path) = self.databases.get(self.stored) {
            if !progress(path).exists() {
                break;
            }
            self.stored += 1;
        }
        if let Some(status) = self.process.ended()? {
            bail!("walrust ended ({status}):\n{}", self.process.log_tail());
        }
        Ok(self.stored == self.databases.len())
    }
}

fn progress(database: &Path) -> PathBuf {
    let stem = database.file_stem().unwrap_or_default().to_string_lossy();
    database.with_file_name(format!(".walrust-{stem}")).join(PROGRESS)
}

const PROGRESS: &str = "progress.json";

fn command(
    folder: &Path,
    store: &SeaweedFs,
    databases: &[PathBuf],
    bucket: &str,
    number: usize,
) -> Result<Command> {
    let path = folder.join(format!("walrust-{number}.toml"));
    let mut text = format!(
        "[s3]\nbucket = \"s3://{bucket}\"\nendpoint = \"{}\"\n[sync]\non_startup = true\n",
        store.endpoint()
    );
    for database in databases {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "[[databases]]\npath = \"{}\"", database.display());
    }
    std::fs::write(&path, text)?;
    let mut command = peers::of_aws(clean_command(peers::program("walrust")?));
    command.arg("watch").arg("--config").arg(&path).arg("--no-metrics");
    // A line for each database would cost it time.
    command.env("RUST_LOG", "warn").current_dir(folder);
    Ok(command)
}
