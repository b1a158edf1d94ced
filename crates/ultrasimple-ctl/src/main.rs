//! The operator's tool: looks into the bucket, restores from it, and keeps it in order.
//!
//! Parse, check, connect, do, say. All about backups needs nothing but the bucket (R9): no daemon, no etcd, no local
//! state; [`fleet`] asks etcd and the nodes. A module for each command, with its flags; [`find`] and [`known`] tell what there is. The decisions
//! are pure ([`select`], [`restore`]'s plan, [`filter`], [`at`], and the keeper's); the rest moves bytes.

mod args;
mod at;
mod backups;
mod catalog;
mod connect;
mod cost;
mod databases;
mod filter;
mod find;
mod fleet;
mod generate;
mod health;
mod hold;
mod known;
mod progress;
mod prune;
mod purge;
mod restore;
mod select;
mod show;
mod status;
#[cfg(test)]
mod testing;
mod traced;
mod verify;

use std::fmt::{self, Display};
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use ultrasimple_core::config::{Problems, RawSettings, Settings};
use ultrasimple_core::{Clock, SystemClock};
use ultrasimple_store::Store;

use crate::args::{Cli, Command, Request};

/// Exit status: nothing could be done.
const FAILED: u8 = 1;
/// Exit status: wrong flags or settings.
const USAGE: u8 = 2;
/// Exit status: some databases failed.
const SOME_FAILED: u8 = 3;
/// Exit status: nothing failed, but there are warnings.
const WARNINGS: u8 = 4;
/// What shells report for a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;
/// For threads that still write when all is over; what they leave are temporary files at worst.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);

/// How it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    AllWell,
    SomeFailed,
    SomeWarned,
    /// Nothing was achieved, and the user was told why.
    AllFailed,
    Interrupted,
}

/// What was asked for makes no sense: an error that ends with status 2.
#[derive(Debug)]
pub(crate) struct Usage(pub(crate) String);

impl Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

fn main() -> ExitCode {
    let request = match args::parse(std::env::args_os()) {
        Ok(request) => request,
        Err(error) => {
            // A reader who has seen enough (`| head`) is no error.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let json = request.cli.json;
    match start(request) {
        Ok(Outcome::AllWell) => ExitCode::SUCCESS,
        Ok(Outcome::SomeFailed) => ExitCode::from(SOME_FAILED),
        Ok(Outcome::SomeWarned) => ExitCode::from(WARNINGS),
        Ok(Outcome::AllFailed) => ExitCode::from(FAILED),
        Ok(Outcome::Interrupted) => {
            complain("interrupted: nothing is left half written; run it again to finish");
            ExitCode::from(INTERRUPTED)
        }
        Err(error) => {
            let text = format!("{error:#}");
            complain(&text);
            if json {
                let _ = show::print_json(&serde_json::json!({ "error": text }));
            }
            ExitCode::from(if error.is::<Usage>() { USAGE } else { FAILED })
        }
    }
}

fn start(request: Request) -> anyhow::Result<Outcome> {
    let Request { cli, matches } = request;
    // These need neither settings nor a bucket; cost asks for what it needs.
    match &cli.command {
        Command::Completions(args) => return generate::completions(args),
        Command::Man(args) => return generate::man(args),
        Command::Cost(args) => return cost::run(args, &matches, std::env::vars_os(), cli.json),
        _ => {}
    }
    if let Command::Status(_) | Command::Shards(_) | Command::Nodes(_) | Command::Health(_) =
        &cli.command
    {
        let settings =
            connect::settings_without_bucket(RawSettings::default(), &matches, std::env::vars_os())
                .map_err(usage)?;
        return until_interrupted(find::LOOKS_IN_FLIGHT, about_fleet(&cli, &settings));
    }
    let own = match &cli.command {
        Command::Prune(args) => args.rules.0.clone(),
        _ => RawSettings::default(),
    };
    let settings = connect::settings(own, &matches, std::env::vars_os()).map_err(usage)?;
    let rule = match &cli.command {
        Command::Restore(args) => restore::rule(args, SystemClock.now())?,
        _ => select::Rule::default(),
    };
    let parallel = parallel(&cli);
    until_interrupted(parallel, async {
        let store = connect::open(&settings.store, parallel.max(find::LOOKS_IN_FLIGHT)).await?;
        traced::traced(&cli.command, run(store.as_ref(), &cli, &settings, rule, parallel)).await
    })
}

#[expect(clippy::needless_pass_by_value, reason = "maps an error")]
fn usage(problems: Problems) -> Usage {
    Usage(format!("{problems}\nsee 'ultrasimple-ctl --help'"))
}

/// What asks etcd and the nodes; the bucket only where there is one.
async fn about_fleet(cli: &Cli, settings: &Settings) -> anyhow::Result<Outcome> {
    use fleet::nodes::Change;
    if let Command::Health(args) = &cli.command {
        return health::run(settings, args, cli.json).await;
    }
    let (json, source) = (cli.json, fleet::source::Source::open(settings).await?);
    match &cli.command {
        Command::Shards(args) => fleet::shards::run(&source, &settings.store, args, json).await,
        Command::Nodes(args) => match &args.change {
            None => fleet::nodes::run(&source, args, json).await,
            Some(Change::Drain(args)) => fleet::drain::drain(&source, args, json).await,
            Some(Change::Undrain(args)) => fleet::drain::undrain(&source, args, json).await,
        },
        Command::Status(args) => status::run(&source, &settings.store, args, json).await,
        _ => Ok(Outcome::AllWell),
    }
}

/// Does the work, with threads for so much at once, unless Ctrl-C or SIGTERM comes first.
pub(crate) fn until_interrupted(
    parallel: usize,
    work: impl Future<Output = anyhow::Result<Outcome>>,
) -> anyhow::Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(parallel * 2 + 16)
        .build()
        .context("cannot start")?;
    let outcome = runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for Ctrl-C")?;
        let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
        // Dropping the work ends its downloads and removes its temporary files.
        tokio::select! {
            outcome = work => outcome,
            _ = interrupt.recv() => Ok(Outcome::Interrupted),
            _ = terminate.recv() => Ok(Outcome::Interrupted),
        }
    });
    runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
    outcome
}

/// Does what was asked for.
async fn run(
    store: &dyn Store,
    cli: &Cli,
    settings: &Settings,
    rule: select::Rule,
    parallel: usize,
) -> anyhow::Result<Outcome> {
    let json = cli.json;
    match &cli.command {
        Command::Databases(args) => databases::run(store, args, json).await,
        Command::Backups(args) => backups::run(store, args, json).await,
        Command::Restore(args) => restore::run(store, args, rule, parallel, json).await,
        Command::Verify(args) => verify::run(store, args, json).await,
        Command::Prune(args) => prune::run(store, args, &settings.keep.retention, json).await,
        Command::Purge(args) => purge::run(store, args, json).await,
        Command::Hold(args) => hold::place(store, args, json).await,
        Command::Release(args) => hold::release(store, args, json).await,
        Command::Holds => hold::list(store, json).await,
        Command::Catalog(args) => catalog::run(store, args, json).await,
        // Done already.
        Command::Completions(_)
        | Command::Man(_)
        | Command::Cost(_)
        | Command::Status(_)
        | Command::Shards(_)
        | Command::Nodes(_)
        | Command::Health(_) => Ok(Outcome::AllWell),
    }
}

/// Databases or backups worked on at once.
fn parallel(cli: &Cli) -> usize {
    let given = match &cli.command {
        Command::Restore(args) => args.parallel,
        Command::Verify(args) => return args.parallel(),
        _ => None,
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    given.map_or_else(|| (cores * 8).min(256), usize::from)
}

/// Says something to people, on stderr, which may be closed.
pub(crate) fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "ultrasimple-ctl: {text}");
}
