//! The parts that `ultrasimple-bench-micro` runs, as it tells of them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// A part of what a cycle does.
#[derive(Debug, Deserialize)]
pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) title: String,
    /// How many of what a run works on.
    pub(crate) items: u32,
    pub(crate) item: String,
    /// Whether its instructions can be counted.
    pub(crate) is_counted: bool,
}

/// The program that runs them.
pub(crate) fn program(programs: &Path) -> PathBuf {
    programs.join("ultrasimple-bench-micro")
}

/// All parts, in their order.
pub(crate) fn list(programs: &Path) -> Result<Vec<Part>> {
    let program = program(programs);
    let mut list = Command::new(&program);
    let listed = list.arg("list").stderr(Stdio::inherit()).output();
    let listed = listed.with_context(|| format!("start {}", program.display()))?;
    ensure!(listed.status.success(), "{} ended with {}", program.display(), listed.status);
    let lines = std::str::from_utf8(&listed.stdout)?.lines();
    lines.map(|line| serde_json::from_str(line).context("read what the parts are")).collect()
}
