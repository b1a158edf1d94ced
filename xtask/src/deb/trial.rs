//! Installs the package in a container, uses what is in it, and purges it.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::images::{self, docker};
use crate::process::output;
use crate::workspace::Workspace;

/// What is done in the container; the first thing that is not as it should be ends it.
const TRIAL: &str = include_str!("trial.sh");

/// Tries this package.
pub(super) fn run(workspace: &Workspace, package: &Path) -> Result<()> {
    let image = images::of_debian(workspace)?;
    println!("trying it in a container");
    let folder = package.parent().context("the package is in no folder")?;
    let name = package.file_name().context("the package has no name")?;
    let alone = workspace.target.join("deb/package");
    std::fs::create_dir_all(&alone)
        .and_then(|()| std::fs::copy(folder.join(name), alone.join(name)))
        .and_then(|_| std::fs::write(alone.join("trial.sh"), TRIAL))
        .with_context(|| format!("copy {}", package.display()))?;
    // Removed with all that happened in it, whatever the end.
    let mut command: Command = docker(["run", "--rm", "--network", "none", "--volume"]);
    command.arg(format!("{}:/package:ro", alone.display()));
    print!("{}", output(command.args([image, "sh", "/package/trial.sh"]))?);
    println!("the package is well");
    Ok(())
}
