//! `cargo xtask chaos`: builds a fleet's programs and hands over to `ultrasimple-chaos`, which runs them
//! on bad days and checks that nothing was lost.

use std::process::Command;

use anyhow::Result;

use crate::process;
use crate::test::Environment;
use crate::tools::{Tools, need_build_tools, need_commands};
use crate::workspace::Workspace;

/// The programs that a run starts. In a debug build: it checks more of itself.
const PROGRAMS: [&str; 3] = ["ultrasimple", "ultrasimple-ctl", "ultrasimple-chaos"];

/// Runs it with these arguments of its own.
pub(crate) fn run(workspace: &Workspace, args: &[String]) -> Result<()> {
    need_commands(&["etcd"])?;
    need_build_tools()?;
    let environment = Environment::new(&Tools::open(workspace)?)?;
    let mut build = workspace.cargo("build");
    process::run(build.args(PROGRAMS.iter().flat_map(|program| ["--package", program])))?;
    let mut chaos = Command::new(workspace.binary("debug", "ultrasimple-chaos"));
    chaos.arg("--programs").arg(workspace.target.join("debug"));
    chaos.arg("--folder").arg(workspace.target.join("chaos")).args(args);
    environment.apply(&mut chaos);
    process::run(&mut chaos)
}
