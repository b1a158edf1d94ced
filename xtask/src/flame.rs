//! `cargo xtask flame`: where the processor's time goes on the hot paths, drawn while a bench runs.
//!
//! `perf` samples all that the bench starts; of that, the daemon or `ultrasimple-ctl` is drawn. The programs are built with
//! frame pointers, which cost a little, so the figures of these runs are thrown away.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::bench::Bench;
use crate::process;
use crate::tools::need_commands;
use crate::workspace::Workspace;

/// What is drawn.
struct Graph {
    name: &'static str,
    title: &'static str,
    /// The bench that makes it happen.
    bench: &'static [&'static str],
    /// Only what happens below a function of which this is part of the name.
    below: &'static str,
}

const GRAPHS: [Graph; 3] = [
    Graph {
        name: "scan",
        title: "Scans: a first one, and those in which nothing changed",
        bench: &[
            "rest",
            "--databases",
            "50000",
            "--rounds",
            "3",
            "--watch",
            "20",
            "--litestream",
            "50",
        ],
        below: "ultrasimple_replicator::scan::workers::worker",
    },
    Graph {
        name: "backup",
        title: "Databases that changed: capture, compression, PUT, catalogs",
        bench: &["steady", "--databases", "5000", "--cycles", "6", "--interval", "5"],
        below: RUNTIME,
    },
    Graph {
        name: "restore",
        title: "ultrasimple-ctl restore --all",
        bench: &["restore", "--rounds", "1", "--litestream", "2"],
        below: "ultrasimple_ctl::restore",
    },
];

/// The name of all threads of a runtime, of which the bench itself has some that do little.
const RUNTIME: &str = "tokio-rt-worker";
/// Samples a second of each processor that is busy.
const FREQUENCY: &str = "499";
/// Our programs' threads, as the kernel calls them.
const THREADS: &str = "tokio-rt-worker,ultrasimple,ultrasimple-ctl";

/// Draws the graph that is named, or else all.
pub(crate) fn run(workspace: &Workspace, args: &[String]) -> Result<()> {
    let known: Vec<_> = GRAPHS.iter().map(|graph| graph.name).collect();
    if let Some(unknown) = args.iter().find(|arg| !known.contains(&arg.as_str())) {
        bail!("there is no graph {unknown:?}, only {}", known.join(", "));
    }
    need_commands(&["perf"])?;
    let folder = workspace.target.join("flame");
    let bench = Bench::build(workspace, &folder, Some("-C force-frame-pointers=yes"))?;
    let wanted = |graph: &&Graph| args.is_empty() || args.iter().any(|arg| arg == graph.name);
    for graph in GRAPHS.iter().filter(wanted) {
        let picture = workspace.root.join(format!("docs/performance/flame-{}.svg", graph.name));
        draw(&bench, graph, &folder, &picture)?;
        println!("{} is written", workspace.show(&picture));
    }
    Ok(())
}

fn draw(bench: &Bench, graph: &Graph, folder: &Path, picture: &Path) -> Result<()> {
    let samples = folder.join(format!("{}.perf", graph.name));
    let args: Vec<_> = graph.bench.iter().map(|&arg| arg.to_owned()).collect();
    let measured = bench.command(&args, &folder.join("docs"))?;
    let mut record = Command::new("perf");
    record.args([
        "record",
        "--quiet",
        "-g",
        "--event",
        "cpu-clock",
        "--freq",
        FREQUENCY,
        "--output",
    ]);
    record.arg(&samples).arg("--").arg(measured.get_program()).args(measured.get_args());
    for (name, value) in measured.get_envs() {
        match value {
            Some(value) => record.env(name, value),
            None => record.env_remove(name),
        };
    }
    process::run(&mut record)?;
    let stacks = folder.join(format!("{}.stacks", graph.name));
    let kept = fold(bench, &samples, graph.below, &stacks)?;
    ensure!(kept > 0, "perf saw nothing below {}: {}", graph.below, samples.display());
    let mut paint = Command::new(bench.tools().inferno_flamegraph()?);
    paint.args([
        "--title",
        graph.title,
        "--minwidth",
        "0.4",
        "--countname",
        "ns",
        "--hash",
        "--colors",
        "rust",
    ]);
    let painted =
        paint.arg(&stacks).stdin(Stdio::null()).stdout(File::create(picture)?).status()?;
    ensure!(painted.success(), "{} could not be drawn: {painted}", picture.display());
    Ok(())
}

/// Writes a line for each stack. Gives how many there are.
fn fold(bench: &Bench, samples: &Path, below: &str, stacks: &Path) -> Result<usize> {
    let mut script = Command::new("perf")
        .args(["script", "--no-inline", "--comms", THREADS, "--input"])
        .arg(samples)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("start perf script")?;
    let told = script.stdout.take().context("perf script has no output")?;
    let mut collapse = Command::new(bench.tools().inferno_collapse_perf()?)
        .stdin(told)
        .stdout(Stdio::piped())
        .spawn()
        .context("start inferno-collapse-perf")?;
    let folded = collapse.stdout.take().context("inferno-collapse-perf has no output")?;
    let mut out = File::create(stacks).with_context(|| format!("create {}", stacks.display()))?;
    let mut kept = 0;
    for line in BufReader::new(folded).lines() {
        let line = line?;
        let frames: Vec<_> = line.split(';').collect();
        if let Some(at) = frames.iter().position(|frame| frame.contains(below)) {
            kept += 1;
            writeln!(out, "{}", frames.get(at..).unwrap_or_default().join(";"))?;
        }
    }
    for (name, mut child) in [("perf script", script), ("inferno-collapse-perf", collapse)] {
        let status = child.wait()?;
        ensure!(status.success(), "{name} ended with {status}");
    }
    Ok(kept)
}
