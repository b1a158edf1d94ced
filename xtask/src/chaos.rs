//! `cargo xtask chaos`: builds a fleet's programs and hands over to `ultrasimple-chaos`, which runs them
//! on bad days and checks that nothing was lost.

use std::process::Command;

use anyhow::Result;

use crate::images;
use crate::process;
use crate::test::Environment;
use crate::tools::{Tools, need_build_tools, need_commands};
use crate::workspace::Workspace;

/// Ours: each daemon runs in a container, as on a host of its own.
const CONTAINERS: &str = "--containers";

/// Runs it with these arguments of its own, and ours.
pub(crate) fn run(workspace: &Workspace, args: &[String]) -> Result<()> {
    let in_containers = args.iter().any(|arg| arg == CONTAINERS);
    if in_containers && let Err(why) = images::engine() {
        println!("skipped: `cargo xtask chaos {CONTAINERS}` needs a Docker engine ({why})");
        return Ok(());
    }
    need_commands(&["etcd"])?;
    need_build_tools()?;
    let environment = Environment::new(&Tools::open(workspace)?)?;
    // A debug build checks more of itself, and is there already where the tests were run.
    process::run(workspace.cargo("build").args(["--workspace", "--all-targets"]))?;
    let mut chaos = Command::new(workspace.binary("debug", "ultrasimple-chaos"));
    chaos.arg("--programs").arg(workspace.target.join("debug"));
    chaos.arg("--folder").arg(workspace.target.join("chaos"));
    chaos.args(args.iter().filter(|arg| *arg != CONTAINERS));
    if in_containers {
        chaos.args(["--image", images::of_programs(workspace)?]);
    }
    environment.apply(&mut chaos);
    process::run(&mut chaos)
}
