//! `cargo xtask test`: every test, with the real servers and programs that they use.

use std::process::Command;

use anyhow::{Result, bail};

use crate::process::{self, line};
use crate::tools::{Tools, need_build_tools, need_commands};
use crate::workspace::Workspace;

/// Where black-box tests live; they run the built programs.
const BLACK_BOX: &str = "ultrasimple-tests";
/// Helper programs of tests live here.
const TESTKIT: &str = "ultrasimple-testkit";

/// Runs all tests, or with `args` what they select of them (without doctests).
pub(crate) fn run(workspace: &Workspace, args: &[String]) -> Result<()> {
    need_commands(&[
        "chromedriver",
        "chromium",
        "etcd",
        "lz4",
        "prometheus",
        "promtool",
        "sqlite3",
    ])?;
    need_build_tools()?;
    let tools = Tools::open(workspace)?;
    let environment = Environment::new(&tools)?;
    let nextest = tools.nextest();

    process::run(&mut build(workspace, args))?;

    let mut failed = Vec::new();
    let mut step = |mut command: Command| {
        environment.apply(&mut command);
        if let Err(error) = process::run(&mut command) {
            eprintln!("{error:#}");
            failed.push(line(&command));
        }
    };
    // Doctests first: the summary of the tests proper then stands at the end.
    if args.is_empty() {
        let mut doctests = workspace.cargo("test");
        doctests.args(["--workspace", "--doc", "--quiet"]);
        step(doctests);
    }
    match nextest {
        Ok(nextest) => {
            let mut command = workspace.builder(&nextest);
            command.args(["nextest", "run"]);
            step(select(command, args));
        }
        Err(error) => {
            eprintln!("cargo-nextest is not to be had ({error:#}): running plain `cargo test`");
            let mut command = workspace.cargo("test");
            command.args(["--no-fail-fast", "--all-targets"]);
            step(select(command, args));
        }
    }
    if !failed.is_empty() {
        bail!("{}", failed.join(", "));
    }
    Ok(())
}

/// The programs that the selected tests start. With all else in one go: alone, their dependencies would be built once
/// more, for the features that they lack.
fn build(workspace: &Workspace, args: &[String]) -> Command {
    let mut command = workspace.cargo("build");
    if !names_packages(args) || args.iter().any(|arg| arg.contains(BLACK_BOX)) {
        command.args(["--workspace", "--all-targets"]);
    } else {
        command.args(["--package", TESTKIT, "--bins"]);
    }
    command
}

fn select(mut command: Command, args: &[String]) -> Command {
    if !names_packages(args) {
        command.arg("--workspace");
    }
    command.args(args);
    command
}

fn names_packages(args: &[String]) -> bool {
    args.iter().any(|arg| {
        arg == "-p" || arg == "--package" || arg.starts_with("--package=") || arg == "--workspace"
    })
}

/// What tests find in their environment.
pub(crate) struct Environment {
    weed: std::ffi::OsString,
    rotel: std::ffi::OsString,
    path: std::ffi::OsString,
}

impl Environment {
    pub(crate) fn new(tools: &Tools) -> Result<Self> {
        let (weed, rotel) = (tools.weed()?.into_os_string(), tools.rotel()?.into_os_string());
        Ok(Self { weed, rotel, path: tools.path()? })
    }

    pub(crate) fn apply(&self, command: &mut Command) {
        without_settings(command)
            .env("PATH", &self.path)
            .env("ULTRASIMPLE_WEED", &self.weed)
            .env("ULTRASIMPLE_ROTEL", &self.rotel);
    }
}

/// Takes away what the caller's environment would tell our programs: flags, and the account,
/// endpoint or certificates of a real S3, or a collector.
pub(crate) fn without_settings(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let is_ours = ["AWS_", "OTEL_", "ULTRASIMPLE_"].iter().any(|ours| text.starts_with(ours));
        if is_ours || text == "RUST_LOG" {
            command.env_remove(&name);
        }
    }
    // No waiting for the metadata service of a cloud that we are not in.
    command.env("AWS_EC2_METADATA_DISABLED", "true")
}
