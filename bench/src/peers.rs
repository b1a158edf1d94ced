//! The programs that ours is compared with. `cargo xtask bench` gets them.

pub(crate) mod litestream;

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use ultrasimple_testkit::process::find_tool;

/// Where a program of this name is.
pub(crate) fn program(name: &str) -> Result<PathBuf> {
    find_tool(name, &format!("ULTRASIMPLE_{}", name.to_uppercase()))
}

/// Runs a command to its end. Gives what it printed.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("start {name}"))?;
    if !output.status.success() {
        bail!("{name} ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?)
}
