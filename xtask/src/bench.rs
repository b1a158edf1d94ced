//! `cargo xtask bench`: builds release programs and hands over to `ultrasimple-bench`, which measures.

use std::process::Command;

use anyhow::Result;

use crate::process;
use crate::test::Environment;
use crate::tools::{Tools, need_build_tools, need_commands};
use crate::workspace::Workspace;

/// The programs that are measured, and the one that measures.
const PROGRAMS: [&str; 3] = ["ultrasimple", "ultrasimple-ctl", "ultrasimple-bench"];

/// Runs it with these arguments of its own.
pub(crate) fn run(workspace: &Workspace, args: &[String]) -> Result<()> {
    need_commands(&["etcd"])?;
    need_build_tools()?;
    let environment = Environment::new(&Tools::open(workspace)?)?;
    let mut build = workspace.cargo("build");
    build.arg("--release").args(PROGRAMS.iter().flat_map(|program| ["--package", program]));
    process::run(&mut build)?;
    let mut bench = Command::new(workspace.binary("release", "ultrasimple-bench"));
    bench.arg("--programs").arg(workspace.target.join("release"));
    bench.arg("--folder").arg(workspace.target.join("bench")).args(args);
    environment.apply(&mut bench);
    process::run(&mut bench)
}
