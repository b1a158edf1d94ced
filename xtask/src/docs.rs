//! `cargo xtask docs`: writes the pages anew that are made from the code.
//!
//! Each is made by the test that else says that it is stale, so that there is one way to make it.

use anyhow::Result;

use crate::process;
use crate::tools::need_build_tools;
use crate::workspace::Workspace;

/// What tells the tests to write.
const WRITE: &str = "ULTRASIMPLE_WRITE_DOCS";

/// Writes the pages.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    need_build_tools()?;
    for package in ["ultrasimple-core", "ultrasimple-telemetry"] {
        let mut command = workspace.cargo("test");
        command.args(["--quiet", "--package", package, "--lib", "document"]);
        process::run(command.env(WRITE, "1"))?;
    }
    Ok(())
}
