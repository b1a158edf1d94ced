//! `cargo xtask screenshots`: takes the pictures in `docs/images` anew, of a fleet of three nodes in a real browser.

use anyhow::Result;

use crate::process;
use crate::test::Environment;
use crate::tools::{Tools, need_build_tools, need_commands};
use crate::workspace::Workspace;

/// What tells the test where the pictures go.
const PICTURES: &str = "ULTRASIMPLE_PICTURES";

/// Takes them.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    need_commands(&["chromedriver", "chromium", "etcd"])?;
    need_build_tools()?;
    let environment = Environment::new(&Tools::open(workspace)?)?;
    let mut build = workspace.cargo("build");
    process::run(build.args(["--workspace", "--bins"]))?;
    let mut command = workspace.cargo("test");
    command.args(["--quiet", "--package", "ultrasimple-tests", "--test", "page"]);
    command.args(["--", "--ignored", "screenshots"]);
    environment.apply(&mut command);
    process::run(command.env(PICTURES, workspace.root.join("docs/images")))
}
