//! How long each part of what a cycle does takes, alone: by criterion, which compares with its last run itself.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::Deserialize;

use crate::figures::Figures;
use crate::parts;

#[derive(Debug, Args)]
pub(crate) struct Order {
    /// How long each part is measured.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
}

/// What criterion keeps of a part, as far as it is told.
#[derive(Debug, Deserialize)]
struct Estimates {
    median: Estimate,
}

#[derive(Debug, Deserialize)]
struct Estimate {
    /// Nanoseconds of one run.
    point_estimate: f64,
}

/// `kept`: where criterion keeps what it finds, from run to run.
pub(crate) fn run(order: &Order, programs: &Path, folder: &Path, kept: &Path) -> Result<Figures> {
    let mut time = Command::new(parts::program(programs));
    time.env("CRITERION_HOME", kept).arg("time").arg("--folder").arg(folder);
    let ended = time.args(["--seconds", &order.seconds.to_string()]).status()?;
    ensure!(ended.success(), "measuring the parts ended with {ended}");
    let mut figures = Figures::default();
    for part in parts::list(programs)? {
        let path = kept.join(&part.name).join("new/estimates.json");
        let text = std::fs::read_to_string(&path);
        let text = text.with_context(|| format!("read {}", path.display()))?;
        let estimates: Estimates = serde_json::from_str(&text)
            .with_context(|| format!("{} is not what criterion wrote", path.display()))?;
        let microseconds = estimates.median.point_estimate / 1_000.0 / f64::from(part.items);
        figures.add(part.title, microseconds, &format!("µs per {}", part.item));
    }
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn criterions_estimates_are_read() {
        let text = r#"{"mean":{"point_estimate":7.0},"median":{"confidence_interval":{},
            "point_estimate":6.5,"standard_error":0.1},"slope":null}"#;
        let estimates: Estimates = serde_json::from_str(text).unwrap();
        assert!((estimates.median.point_estimate - 6.5).abs() < f64::EPSILON);
    }
}
