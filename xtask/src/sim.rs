//! `cargo xtask sim`: builds the simulation and runs seeds of it.

use std::process::Command;

use anyhow::Result;

use crate::process;
use crate::tools::need_build_tools;
use crate::workspace::Workspace;

/// Runs it with these arguments of its own. Optimised, but for what it never runs.
pub(crate) fn run(workspace: &Workspace, args: &[String]) -> Result<()> {
    need_build_tools()?;
    let mut build = workspace.cargo("build");
    process::run(build.args(["--profile", "simulation", "--package", "ultrasimple-simulation"]))?;
    process::run(Command::new(workspace.binary("simulation", "simulation")).args(args))
}
