//! How many instructions each part of what a cycle does takes, counted by valgrind's callgrind: the same number on an
//! idle machine and on a busy one, so that more of them is found wherever it is looked for.
//!
//! What the kernel does is not in it. Counts depend on the compiled code, and so on the compiler and its options; and
//! a little on chance, where hash tables are seeded with it.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::figures::{Figures, count};
use crate::parts::{self, Part};
use crate::report::Record;

#[derive(Debug, Args)]
pub(crate) struct Order {
    /// How often each part is counted.
    #[arg(long, default_value_t = 1)]
    times: u32,
    /// Record the counts also where they are much more than those that are recorded.
    #[arg(long)]
    accept: bool,
}

/// What its figures are called.
pub(crate) const NAME: &str = "instructions";
/// Of what was recorded. More is an error.
const AT_MOST: f64 = 1.1;
/// The function whose instructions count, with all that it calls.
const COUNTED: &str = "*::count::counted*";

/// `built_by`: what compiled the parts.
pub(crate) fn run(
    order: &Order,
    programs: &Path,
    folder: &Path,
    docs: &Path,
    built_by: Option<&str>,
) -> Result<Figures> {
    ensure!(order.times > 0, "--times must be at least 1");
    let recorded = Record::read(docs, NAME)?;
    let mut figures = Figures::default();
    for part in parts::list(programs)?.into_iter().filter(|part| part.is_counted) {
        let instructions = measure(&part, order.times, programs, folder)
            .with_context(|| format!("count the instructions of {}", part.name))?;
        let each = count(instructions) / f64::from(order.times) / f64::from(part.items);
        figures.add(part.title, each, &format!("per {}", part.item));
    }
    let Some(recorded) = recorded else {
        println!("none are recorded yet");
        return Ok(figures);
    };
    let (now, then) = (built_by.unwrap_or("?"), recorded.built_by.as_deref().unwrap_or("?"));
    println!(
        "compared with those of {}, built by {then}; these are built by {now}",
        recorded.source
    );
    let more = compare(&figures, &recorded.figures);
    if more > 0 && !order.accept {
        bail!(
            "of the parts, {more} take more than {AT_MOST} times the instructions that are recorded; these stay as they \
             are: if more is meant, say --accept"
        );
    }
    Ok(figures)
}

/// The instructions of that many runs of a part.
fn measure(part: &Part, times: u32, programs: &Path, folder: &Path) -> Result<u64> {
    let report = folder.join(format!("{}.callgrind", part.name));
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--quiet", "--tool=callgrind"]).arg(format!("--toggle-collect={COUNTED}"));
    valgrind.arg(format!("--callgrind-out-file={}", report.display()));
    valgrind.arg(parts::program(programs)).args(["count", &part.name]);
    valgrind.args(["--times", &times.to_string(), "--folder"]).arg(folder).stdin(Stdio::null());
    let ended = valgrind.status().context("start valgrind")?;
    ensure!(ended.success(), "valgrind ended with {ended}");
    let text = std::fs::read_to_string(&report);
    let text = text.with_context(|| format!("read {}", report.display()))?;
    total(&text)
}

/// What callgrind's report says was counted.
fn total(report: &str) -> Result<u64> {
    let totals = report.lines().find_map(|line| line.strip_prefix("totals:"));
    let totals = totals.context("callgrind's report has no totals")?;
    let total =
        totals.trim().parse().with_context(|| format!("read callgrind's totals {totals:?}"))?;
    ensure!(total > 0, "callgrind has not seen {COUNTED}: has the program no symbols?");
    Ok(total)
}

/// Tells each figure as a ratio of the one that is recorded. Gives how many are more than they may.
fn compare(figures: &Figures, recorded: &Figures) -> usize {
    let mut more = 0;
    for figure in &figures.figures {
        let before = recorded.figures.iter().find(|recorded| recorded.name == figure.name);
        let Some(before) = before else {
            println!("{:>14}  {}", "new", figure.name);
            continue;
        };
        let ratio = figure.value / before.value;
        let is_more = ratio > AT_MOST;
        let told = if is_more { ": TOO MANY" } else { "" };
        println!("{:>14}  {}{told}", format!("{ratio:.3} ×"), figure.name);
        more += usize::from(is_more);
    }
    more
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_more_is_too_many() {
        let figures = |values: &[(&str, f64)]| {
            let mut figures = Figures::default();
            for (name, value) in values {
                figures.add(*name, *value, "per database");
            }
            figures
        };
        let recorded = figures(&[("a", 100.0), ("b", 100.0), ("c", 100.0), ("gone", 1.0)]);
        let now = figures(&[("a", 109.0), ("b", 111.0), ("c", 50.0), ("new", 1_000.0)]);
        assert_eq!(compare(&now, &recorded), 1);
        assert_eq!(compare(&recorded, &recorded), 0);
    }

    #[test]
    fn the_report_of_callgrind_is_read() {
        let report = "version: 1\nevents: Ir\nsummary: 7\n\nfn=(1) a\n1 7\n\ntotals: 1234567\n";
        assert_eq!(total(report).unwrap(), 1_234_567);
        assert!(total("events: Ir\n").is_err());
        assert!(total("totals: 0\n").unwrap_err().to_string().contains("symbols"));
    }
}
