//! What the documents state in figures, measured on this machine.
//!
//! `cargo xtask bench` builds what it needs, gets the programs that ours is compared with, and starts this. Each bench
//! prints its figures and leaves them in `docs/performance/` with facts about the machine; then `docs/PERFORMANCE.md`
//! is written anew from all that is there.
//!
//! ```text
//! main ─┬─ placement   pure: who should own what
//!       ├─ etcd        the real driver many times in this process, on a real etcd: shards without databases
//!       ├─ fleet       real daemons, a real etcd and a real S3 server: databases that change hands
//!       ├─ first       many databases that have no backup yet, and what others need for them
//!       ├─ steady      many databases of which some change in each cycle
//!       ├─ large       one large database with a live writer
//!       ├─ restore     many databases got back, and what others need for them
//!       ├─ writers     databases that are written to: what their applications notice
//!       ├─ rest        many databases of which none changes
//!       ├─ memory      what each further database takes
//!       ├─ endurance   many cycles with changes: does anything grow?
//!       ├─ micro       the parts of a cycle, each alone, in another program: how long they take
//!       ├─ instructions  the same parts, and how many instructions they take
//!       └─ report      nothing is measured: the page is written
//! ```

#![expect(
    clippy::disallowed_methods,
    reason = "benches measure real time: nothing here is simulated"
)]

mod daemon;
mod databases;
mod endurance;
mod etcd;
mod figures;
mod first;
mod fleet;
mod instructions;
mod large;
mod load;
mod machine;
mod memory;
mod micro;
mod parts;
mod peers;
mod placement;
mod report;
mod rest;
mod restore;
mod steady;
mod writers;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

use crate::figures::Figures;
use crate::report::Record;

/// Measures what the documents state.
#[derive(Debug, Parser)]
struct Args {
    /// Where the built programs are.
    #[arg(long)]
    programs: PathBuf,
    /// Where benches put what they need.
    #[arg(long)]
    folder: PathBuf,
    /// Where the figures and the page go.
    #[arg(long)]
    docs: PathBuf,
    /// The state of the source that is measured.
    #[arg(long)]
    source: String,
    /// What compiled the programs.
    #[arg(long)]
    built_by: Option<String>,
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
    /// The first backup of many databases, by ours and by others.
    First(first::Order),
    /// Many databases of which some change in each cycle: the processor's time, and how soon they are stored.
    Steady(steady::Order),
    /// One large database with a live writer: how fast it is stored, and whether the writer notices.
    Large(large::Order),
    /// A restore of many databases, by ours and by others.
    Restore(restore::Order),
    /// Databases that are written to: how long commits take without a backup, with ours and with another.
    Writers(writers::Order),
    /// Many databases of which none changes: a start, a cycle, the processor's time.
    Rest(rest::Order),
    /// What each further database takes.
    Memory(memory::Order),
    /// Many cycles with changes: whether anything grows.
    Endurance(endurance::Order),
    /// The parts that a cycle is made of, each alone: how long they take.
    Micro(micro::Order),
    /// The same parts: how many instructions they take. Many more than are recorded are an error.
    Instructions(instructions::Order),
    /// Measures nothing: writes the page from the figures that are there.
    Report,
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
    machine::allow_open_files()?;
    println!("{machine}");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let programs = args.programs.canonicalize().context("find the programs")?;
    let measure = |name| -> Result<Figures> {
        let folder = empty(&args.folder.join(name))?;
        let figures = match &args.bench {
            Bench::Placement(order) => placement::run(order),
            Bench::Etcd(order) => runtime.block_on(etcd::run(order)),
            Bench::Fleet(order) => fleet::run(order, &programs, &folder),
            Bench::First(order) => first::run(order, &programs, &folder),
            Bench::Steady(order) => steady::run(order, &programs, &folder),
            Bench::Large(order) => large::run(order, &programs, &folder),
            Bench::Restore(order) => restore::run(order, &programs, &folder),
            Bench::Writers(order) => writers::run(order, &programs, &folder),
            Bench::Rest(order) => rest::run(order, &programs, &folder),
            Bench::Memory(order) => memory::run(order, &programs, &folder),
            Bench::Endurance(order) => endurance::run(order, &programs, &folder),
            Bench::Micro(order) => {
                micro::run(order, &programs, &folder, &args.folder.join("criterion"))
            }
            Bench::Instructions(order) => {
                let built_by = args.built_by.as_deref();
                instructions::run(order, &programs, &folder, &args.docs, built_by)
            }
            Bench::Report => Ok(Figures::default()),
        }?;
        // Gigabytes, some of it.
        std::fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))?;
        Ok(figures)
    };
    if let Some(name) = args.bench.name() {
        let figures = measure(name)?;
        let record = Record {
            bench: name.to_owned(),
            order: std::env::args().skip_while(|arg| arg != name).collect::<Vec<_>>().join(" "),
            source: args.source.clone(),
            built_by: args.built_by.clone(),
            machine,
            figures,
        };
        println!("figures: {}", record.write(&args.docs)?.display());
    }
    println!("page: {}", report::write(&args.docs)?.display());
    Ok(())
}

impl Bench {
    /// What its figures are called. Nothing is measured by one without a name.
    fn name(&self) -> Option<&'static str> {
        Some(match self {
            Self::Placement(_) => "placement",
            Self::Etcd(_) => "etcd",
            Self::Fleet(_) => "fleet",
            Self::First(_) => "first",
            Self::Steady(_) => "steady",
            Self::Large(_) => "large",
            Self::Restore(_) => "restore",
            Self::Writers(_) => "writers",
            Self::Rest(_) => "rest",
            Self::Memory(_) => "memory",
            Self::Endurance(_) => "endurance",
            Self::Micro(_) => "micro",
            Self::Instructions(_) => instructions::NAME,
            Self::Report => return None,
        })
    }
}

/// A folder with nothing in it.
fn empty(folder: &Path) -> Result<PathBuf> {
    if folder.exists() {
        std::fs::remove_dir_all(folder).with_context(|| format!("empty {}", folder.display()))?;
    }
    std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    Ok(folder.canonicalize()?)
}
