//! The programs that ours is compared with. `cargo xtask bench` gets them.

pub(crate) mod litestream;
pub(crate) mod rclone;
pub(crate) mod walrust;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use ultrasimple_testkit::process::{ServerProcess, find_tool};
use ultrasimple_testkit::seaweed::ADMIN;

const LOOK_EVERY: Duration = Duration::from_millis(2);

/// How long a program took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Took {
    pub(crate) seconds: f64,
    /// Else it was stopped, and would have taken longer.
    pub(crate) to_its_end: bool,
}

/// Where a program of this name is.
pub(crate) fn program(name: &str) -> Result<PathBuf> {
    find_tool(name, &format!("ULTRASIMPLE_{}", name.to_uppercase()))
}

/// Runs a command to its end. Gives what it printed.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("start {name}"))?;
    if !output.status.success() {
        bail!("{name} ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Runs a command to its end, or for so long.
pub(crate) fn timed(command: Command, log: &Path, within: Duration) -> Result<Took> {
    timed_watched(command, log, within, |_| {})
}

/// The same, and looks at the process again and again.
pub(crate) fn timed_watched(
    command: Command,
    log: &Path,
    within: Duration,
    mut look: impl FnMut(u32),
) -> Result<Took> {
    let name = command.get_program().to_string_lossy().into_owned();
    let start = Instant::now();
    let mut process = ServerProcess::spawn(command, log)?;
    loop {
        let ended = process.ended()?;
        let took = Took { seconds: start.elapsed().as_secs_f64(), to_its_end: ended.is_some() };
        match ended {
            Some(status) if !status.success() => {
                bail!("{name} ended with {status}:\n{}", process.log_tail());
            }
            None if start.elapsed() < within => {
                look(process.id());
                std::thread::sleep(LOOK_EVERY);
            }
            _ => return Ok(took),
        }
    }
}

/// Tells a program who it is, as programs for AWS want to be told.
pub(crate) fn of_aws(mut command: Command) -> Command {
    command.env("AWS_ACCESS_KEY_ID", ADMIN.access_key);
    command.env("AWS_SECRET_ACCESS_KEY", ADMIN.secret_key);
    command.env("AWS_REGION", "us-east-1").env("AWS_EC2_METADATA_DISABLED", "true");
    command
}
