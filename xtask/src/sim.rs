//! `cargo xtask sim`: builds the simulation and runs seeds of it.

use std::process::Command;

use anyhow::Result;

use crate::process;
use crate::tools::need_build_tools;
use crate::workspace::Workspace;

/// Runs it with these arguments of its own.
pub(crate) fn run(workspace: &Workspace, args: &[String]) -> Result<()> {
    need_build_tools()?;
    let mut build = workspace.cargo("build");
    // Together with the programs, of which nothing is built here, so that it gets the same features of all that it
    // depends on: then what the demo builds serves it, too.
    let packages = ["ultrasimple", "ultrasimple-ctl", "ultrasimple-simulation"];
    build.args(packages.iter().flat_map(|package| ["--package", package]));
    process::run(build.args(["--release", "--bin", "simulation"]))?;
    process::run(Command::new(workspace.binary("release", "simulation")).args(args))
}
