//! The parts that a cycle is made of, each alone: how long it takes, or how many instructions.
//!
//! `cargo xtask bench micro` and `cargo xtask bench instructions` build this and start it. The same workloads
//! ([`parts`]) serve both: [`time`] runs them with criterion, [`count`] a few times in one function, which is the only
//! one whose instructions callgrind counts.
//!
//! ```text
//! list                                  a line of JSON for each part
//! time  --folder F [--seconds S] [PART]...
//! count --folder F [--times N] PART     under `valgrind --tool=callgrind --toggle-collect=…`
//! hold DATABASE                         what writes to a database while it is captured
//! ```
#![expect(
    clippy::disallowed_methods,
    reason = "benches measure real time: nothing here is simulated"
)]

mod count;
mod part;
mod parts;
mod samples;
mod time;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

use crate::part::Part;
use crate::parts::PARTS;

/// Measures the parts that a cycle is made of, each alone.
#[derive(Debug, Parser)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Says which parts there are, each as a line of JSON.
    List,
    /// Measures how long parts take. Criterion keeps what it finds in `CRITERION_HOME`.
    Time {
        /// A folder for what is worked on: empty, or left by other parts.
        #[arg(long)]
        folder: PathBuf,
        /// How long each is measured.
        #[arg(long, default_value_t = 2.0)]
        seconds: f64,
        /// All, if none is named.
        parts: Vec<String>,
    },
    /// Runs a part, for callgrind to count its instructions.
    Count {
        /// A folder for what is worked on: empty, or left by other parts.
        #[arg(long)]
        folder: PathBuf,
        /// How often it is counted.
        #[arg(long, default_value_t = 1)]
        times: u32,
        part: String,
    },
    /// Writes to a database and keeps it open until the standard input ends.
    #[command(hide = true)]
    Hold { database: PathBuf },
}

fn main() -> ExitCode {
    match run(Args::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::List => {
            for part in PARTS {
                println!("{}", serde_json::to_string(part)?);
            }
            Ok(())
        }
        Command::Time { folder, seconds, parts } => {
            let named: Vec<&Part> = parts.iter().map(|name| find(name)).collect::<Result<_>>()?;
            let chosen = if named.is_empty() { PARTS.iter().collect() } else { named };
            time::run(&chosen, &folder, seconds)
        }
        Command::Count { folder, times, part } => count::run(find(&part)?, &folder, times),
        Command::Hold { database } => parts::capture::hold(&database),
    }
}

fn find(name: &str) -> Result<&'static Part> {
    let part = PARTS.iter().find(|part| part.name == name);
    part.with_context(|| format!("there is no part {name:?}: see `list`"))
}
