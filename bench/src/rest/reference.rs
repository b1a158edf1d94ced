//! The reference loop, in Go: see `reference.go`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::peers;

const SOURCE: &str = include_str!("reference.go");

/// The built program.
#[derive(Debug)]
pub(super) struct Reference(PathBuf);

impl Reference {
    pub(super) fn build(folder: &Path) -> Result<Self> {
        let (source, program) = (folder.join("reference.go"), folder.join("reference"));
        std::fs::write(&source, SOURCE)?;
        let mut go = Command::new(peers::program("go")?);
        go.arg("build").arg("-o").arg(&program).arg(&source);
        go.env("GOCACHE", folder.join("go-cache"))
            .env("GOTELEMETRY", "off")
            .env("GOFLAGS", "-mod=mod");
        peers::run(&mut go)?;
        Ok(Self(program))
    }

    /// So many times after one that does not count, in milliseconds each.
    pub(super) fn run(&self, pattern: &Path, runs: usize, databases: u32) -> Result<Vec<f64>> {
        let told = peers::run(Command::new(&self.0).arg(pattern).arg(runs.to_string()))?;
        let mut lines = told.lines();
        let found: u32 = lines.next().unwrap_or_default().parse().context("how many were found")?;
        ensure!(found == databases, "the reference loop found {found} of {databases} databases");
        lines.map(|line| Ok(line.parse::<f64>()? / 1e6)).collect()
    }
}
