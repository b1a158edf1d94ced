//! Chaos: a fleet of real daemons, a real etcd of three members and a real S3 server, on bad days.
//!
//! `cargo xtask chaos` builds what it needs and starts it. A seed makes a schedule of faults (processes,
//! networks, etcd, the store, disks and clocks), while writers commit to databases whose money never grows
//! or shrinks, and every version of every object is recorded. After all is healed the checks say whether
//! any rule was broken. The schedule is repeated exactly by its seed; what the operating system makes of it
//! is not.
//!
//! ```text
//! main ── run ── stage ──── node (daemon, links, proxies)      schedule (pure)   faults (carry it out)
//!             │            └─ place (this host, or containers)
//!             ├─ tenants   (writers, ledger)
//!             ├─ versions  (what the recorder saw)             check   (pure)
//!             ├─ watcher   (who owns what)                     report
//!             └─ operator  (what our tool says of it)
//! ```

mod bucket;
mod check;
mod faults;
mod node;
mod operator;
mod place;
mod random;
mod report;
mod restore;
mod run;
mod schedule;
mod stage;
mod tenants;
mod timeline;
mod versions;
mod watcher;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use ultrasimple_core::{Clock as _, SystemClock};

/// Runs a fleet on bad days and checks that nothing was lost.
#[derive(Debug, Parser)]
struct Args {
    /// How long things are broken.
    #[arg(long, default_value_t = 2.0)]
    minutes: f64,
    /// Repeats a schedule of faults. Default: a new one.
    #[arg(long)]
    seed: Option<u64>,
    /// How many nodes.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=7))]
    nodes: u8,
    /// Runs each daemon in a container of this image, as on a host of its own.
    #[arg(long)]
    image: Option<String>,
    /// Takes the fence of conditional writes down: what is broken then has to be found.
    #[arg(long)]
    unfenced: bool,
    /// Where the built programs are.
    #[arg(long)]
    programs: PathBuf,
    /// Where the run leaves its logs and its report. Emptied first.
    #[arg(long)]
    folder: PathBuf,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match chaos(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("chaos: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether no rule was broken.
fn chaos(args: &Args) -> Result<bool> {
    let random = || SystemClock.now().as_nanosecond().unsigned_abs() % 1_000_000_007;
    let seed = args.seed.unwrap_or_else(|| u64::try_from(random()).unwrap_or_default());
    println!("chaos: seed {seed}");
    let folder = args.folder.join(format!("seed-{seed}"));
    if folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("empty {}", folder.display()))?;
    }
    std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let folder = folder.canonicalize()?;
    let order = run::Order {
        seed,
        nodes: usize::from(args.nodes),
        lasts: Duration::try_from_secs_f64(args.minutes * 60.0).context("--minutes")?,
        daemon: args.programs.join("ultrasimple"),
        ctl: args.programs.join("ultrasimple-ctl"),
        image: args.image.clone(),
        unfenced: args.unfenced,
        folder: folder.clone(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(run::run(order));
    let containers = if args.image.is_some() { " --containers" } else { "" };
    let again = format!("the same faults again: cargo xtask chaos{containers} --seed {seed}");
    let report = outcome.inspect_err(|_| {
        eprintln!("chaos: logs are in {}; {again}", folder.display());
    })?;
    let path = folder.join("report.json");
    std::fs::write(&path, format!("{:#}\n", report.json())).context("write the report")?;
    report.print();
    println!("report: {}", path.display());
    if !report.violations.is_empty() {
        println!("logs: {}\n{again}", folder.display());
    }
    Ok(report.violations.is_empty())
}
