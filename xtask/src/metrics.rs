//! `cargo xtask metrics`: writes `docs/METRICS.md` anew.
//!
//! The page is made by the test that else says that it is stale, so that there is one way to make it.

use anyhow::Result;

use crate::process;
use crate::tools::need_build_tools;
use crate::workspace::Workspace;

/// What tells the test to write.
const WRITE: &str = "ULTRASIMPLE_WRITE_DOCS";

/// Writes the page.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    need_build_tools()?;
    let mut command = workspace.cargo("test");
    command.args(["--quiet", "--package", "ultrasimple-telemetry", "--lib", "document"]);
    process::run(command.env(WRITE, "1"))
}
