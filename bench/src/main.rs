//! What the documents state in figures, measured on this machine.
//!
//! `cargo xtask bench` builds what it needs and starts it. Each bench prints its figures and leaves them as JSON,
//! with facts about the machine, so that what was published can be compared with what is found elsewhere.
//!
//! ```text
//! main ─┬─ placement   pure: who should own what
//!       ├─ etcd        the real driver many times in this process, on a real etcd: shards without databases
//!       └─ fleet       real daemons, a real etcd and a real S3 server: databases that change hands
//! ```

#![expect(
    clippy::disallowed_methods,
    reason = "benches measure real time: nothing here is simulated"
)]

mod etcd;
mod figures;
mod fleet;
mod machine;
mod placement;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use serde_json::json;

/// Measures what the documents state.
#[derive(Debug, Parser)]
struct Args {
    /// Where the built programs are.
    #[arg(long)]
    programs: PathBuf,
    /// Where the figures go, as JSON.
    #[arg(long)]
    folder: PathBuf,
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// How long it takes to compute who should own what.
    Placement(placement::Order),
    /// What a fleet costs etcd, and how fast shards change hands in it.
    Etcd(etcd::Order),
    /// A node joins, leaves and dies in a fleet of real daemons: until its databases are looked after again.
    Fleet(fleet::Order),
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    let machine = machine::facts();
    println!("{machine}");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (name, figures) = match &args.bench {
        Bench::Placement(order) => ("placement", placement::run(order)?),
        Bench::Etcd(order) => ("etcd", runtime.block_on(etcd::run(order))?),
        Bench::Fleet(order) => ("fleet", fleet::run(order, &args.programs, &args.folder)?),
    };
    std::fs::create_dir_all(&args.folder)
        .with_context(|| format!("create {}", args.folder.display()))?;
    let path = args.folder.join(format!("{name}.json"));
    let all = json!({ "bench": name, "machine": machine, "figures": figures.json() });
    std::fs::write(&path, format!("{all:#}\n"))
        .with_context(|| format!("write {}", path.display()))?;
    println!("figures: {}", path.display());
    Ok(())
}
