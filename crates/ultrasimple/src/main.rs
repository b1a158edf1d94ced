//! The daemon: backs up every changed SQLite database to S3.
//!
//! Parse, check, announce, run, drain. What is set is core's ([`ultrasimple_core::config`]), what is done
//! is the replicator's; here the two are wired together.

mod args;
mod fleet;
mod help;
mod http;
mod load;
mod log;
mod metrics;
mod observed;
mod page;
mod readiness;
mod run;
mod scratch;
mod signals;
mod store;

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use ultrasimple_core::config::{Problems, RawSettings, Settings};

use crate::args::Request;
use crate::run::Outcome;

/// Exit status: could not start, or could not go on.
const FAILED: u8 = 1;
/// Exit status: wrong flags or settings.
const USAGE: u8 = 2;
/// Exit status: some databases failed.
const SOME_FAILED: u8 = 3;

/// Threads for what blocks (captures above all), besides one for each upload that may be in flight.
const SPARE_THREADS: usize = 16;
/// No more than this many of them: each costs a stack, and with glibc up to 8 arenas per core are kept
/// (`MALLOC_ARENA_MAX=2` in the environment trades some speed for memory).
const MAX_THREADS: usize = 512;
/// For threads that block when all is done; what they read is not stored any more.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let flags = match args::parse(std::env::args_os()) {
        Ok(Request::Run(flags)) => flags,
        Ok(Request::Print(text)) => {
            // A reader who has seen enough (`| head`) is no error.
            let _ = io::stdout().write_all(text.as_bytes());
            return ExitCode::SUCCESS;
        }
        Err(usage) => return complain(&usage, USAGE),
    };
    let settings = match settings(flags) {
        Ok(settings) => settings,
        Err(problems) => {
            for problem in problems.iter() {
                complain(problem, USAGE);
            }
            return complain(&"see 'ultrasimple -help'", USAGE);
        }
    };
    let filter = std::env::var("RUST_LOG").ok();
    if let Err(error) = log::init(settings.log, filter.as_deref()) {
        return complain(&chain(&error), USAGE);
    }
    match start(settings) {
        Ok(Outcome::AllWell) => ExitCode::SUCCESS,
        Ok(Outcome::SomeFailed) => ExitCode::from(SOME_FAILED),
        Err(error) => complain(&chain(&error), FAILED),
    }
}

fn settings(flags: RawSettings) -> Result<Settings, Problems> {
    load::settings(flags, std::env::vars_os(), &load::context()?)
}

fn start(settings: Settings) -> anyhow::Result<Outcome> {
    let threads = settings.upload.concurrent.saturating_add(SPARE_THREADS).min(MAX_THREADS);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(threads)
        .build()
        .context("cannot start the runtime")?;
    let outcome = runtime.block_on(run::run(settings));
    runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
    outcome
}

/// An error and its causes in one line, without what is said twice.
fn chain(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |line, cause| match line.as_str() {
        "" => cause,
        said if said.ends_with(&cause) => line,
        _ => format!("{line}: {cause}"),
    })
}

/// One line on stderr, which may be closed, and the exit status.
fn complain(text: &dyn Display, status: u8) -> ExitCode {
    let _ = writeln!(io::stderr(), "ultrasimple: {text}");
    ExitCode::from(status)
}
