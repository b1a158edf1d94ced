//! The front door of the repository: `cargo xtask demo | test | check | sim | chaos | bench | flame | compose | deb |
//! docs | dashboards | screenshots`.
//!
//! Each command does its own set-up: on a machine with a Rust toolchain and the package
//! registries, one command runs the main job and one passes the tests. One file per command;
//! [`tools`] knows where programs come from, [`process`] runs them.
#![expect(
    clippy::disallowed_methods,
    reason = "a build tool lives in real time: nothing here is simulated"
)]

mod bench;
mod chaos;
mod check;
mod compose;
mod dashboards;
mod deb;
mod demo;
mod docs;
mod flame;
mod images;
mod interrupt;
mod process;
mod screenshots;
mod sim;
mod sources;
mod test;
mod tools;
mod workspace;

use std::process::ExitCode;

use workspace::Workspace;

const HELP: &str = "\
The front door. Each command installs what it needs and reuses it in the next run.

Usage: cargo xtask <COMMAND>

Commands:
  demo            Back up 1,000 SQLite databases with live writers, restore them and compare
  test [ARGS]...  Run every test. ARGS go to the test runner:
                  `cargo xtask test -p ultrasimple-core key` runs part of them
  sim [--seeds N] [--from S] | [--seed S [--without PART]]
                  Simulate fleets in virtual time and check the rules after each step: 20,000 seeds,
                  or one, told in full. PART: a part of what protects the backups that is taken
                  out; each must be noticed before the seeds are run
  chaos [--minutes M] [--seed S] [--nodes N] [--containers]
                  A fleet of real daemons, etcd and an S3 server on bad days: processes are
                  killed and paused, networks cut, servers fail. Was anything lost?
                  With --containers each daemon is in one, as on a host of its own
  bench [NAME [ARGS]...]
                  Measure what docs/PERFORMANCE.md states, with release builds, and write it anew: all, or
                  one. `bench help` lists the names. `bench instructions` fails when a part takes many more
                  of them than are recorded, on however busy a machine; `bench micro` times the parts
  flame [NAME]... Draw the flame graphs that docs/PERFORMANCE.md shows, of a scan, a backup and a restore
  compose         The fleet of deploy/compose in containers: is one killed or cut off, do the shards move,
                  and is all restored? Needs a Docker engine
  deb [--try]     The Debian package; --try installs, uses and purges it
                  in a container
  check           Format, lints, licences, advisories, unused dependencies, docs, spelling,
                  manifests
  docs            Write docs/CONFIG.md and docs/METRICS.md anew from the code
  dashboards      Write the Grafana dashboards in deploy/observability anew
  screenshots     Take the pictures in docs/images anew
  help            Show this text

What is kept: programs in `${XDG_CACHE_HOME:-~/.cache}/ultrasimple-xtask`, linked from
`<target>/tools/bin`; the last demo in `<target>/demo`; logs and reports of chaos in
`<target>/chaos`, figures of benches in `<target>/bench`.";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (command, rest) = match args.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("", args.as_slice()),
    };
    let outcome = match (command, rest) {
        ("help" | "-h" | "--help" | "-help", _) => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        (_, [flag]) if flag == "--help" || flag == "-h" => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        ("test", args) => Workspace::find().and_then(|ws| test::run(&ws, args)),
        ("sim", args) => Workspace::find().and_then(|ws| sim::run(&ws, args)),
        ("chaos", args) => Workspace::find().and_then(|ws| chaos::run(&ws, args)),
        ("bench", args) => Workspace::find().and_then(|ws| bench::run(&ws, args)),
        ("flame", args) => Workspace::find().and_then(|ws| flame::run(&ws, args)),
        ("deb", args) => Workspace::find().and_then(|ws| deb::run(&ws, args)),
        ("check", []) => Workspace::find().and_then(|ws| check::run(&ws)),
        ("compose", []) => Workspace::find().and_then(|ws| compose::run(&ws)),
        ("demo", []) => Workspace::find().and_then(|ws| demo::run(&ws)),
        ("dashboards", []) => Workspace::find().and_then(|ws| dashboards::run(&ws)),
        ("docs", []) => Workspace::find().and_then(|ws| docs::run(&ws)),
        ("screenshots", []) => Workspace::find().and_then(|ws| screenshots::run(&ws)),
        ("check" | "compose" | "dashboards" | "demo" | "docs" | "screenshots", [extra, ..]) => {
            eprintln!("`cargo xtask {command}` takes no arguments, got {extra:?}\n\n{HELP}");
            return ExitCode::from(2);
        }
        ("", _) => {
            eprintln!("{HELP}");
            return ExitCode::from(2);
        }
        (unknown, _) => {
            eprintln!("unknown command {unknown:?}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\n{command} failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}
