//! `cargo xtask check`: what machines can judge. Every step runs, whatever the others say.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::process::{self, Ended, run_within};
use crate::sources;
use crate::tools::{Tools, need_build_tools, need_component};
use crate::workspace::Workspace;

/// How long the advisory database may take to come.
const FETCH_LIMIT: Duration = Duration::from_secs(90);

/// What a step found out.
enum Verdict {
    Passed,
    /// Passed, and there is something that one should know.
    Noted(String),
    /// Could not be judged here, for a reason that is not the code's.
    NotChecked(String),
}

type Step<'a> = (&'static str, Box<dyn Fn() -> Result<Verdict> + 'a>);

/// Runs all checks, prints a table of them, and fails when one of them failed.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let tools = Tools::open(workspace)?;
    need_build_tools()?;
    let steps: [Step; 10] = [
        ("format", Box::new(|| format(workspace))),
        ("clippy", Box::new(|| clippy(workspace))),
        ("docs", Box::new(|| docs(workspace))),
        ("unused dependencies", Box::new(|| unused_dependencies(workspace, &tools))),
        ("licences, bans, sources", Box::new(|| licences(workspace, &tools))),
        ("advisories", Box::new(|| advisories(workspace, &tools))),
        ("spelling", Box::new(|| spelling(workspace, &tools))),
        ("paths of one machine", Box::new(|| machine_paths(workspace))),
        ("manifests", Box::new(|| manifests(workspace, &tools))),
        ("file lengths", Box::new(|| file_lengths(workspace))),
    ];

    let mut rows = Vec::new();
    let mut failed = Vec::new();
    for (name, step) in steps {
        println!("\n== {name}");
        let start = Instant::now();
        let (word, note) = match step() {
            Ok(Verdict::Passed) => ("ok", String::new()),
            Ok(Verdict::Noted(note)) => ("ok", note),
            Ok(Verdict::NotChecked(why)) => ("NOT CHECKED", why),
            Err(error) => {
                eprintln!("{error:#}");
                failed.push(name);
                ("FAILED", String::new())
            }
        };
        let took = start.elapsed().as_secs_f64();
        rows.push(format!("{name:<24} {word:<12} {took:>6.1} s  {note}"));
    }
    println!("\n== summary");
    for row in rows {
        println!("{}", row.trim_end());
    }
    if !failed.is_empty() {
        bail!("{}", failed.join(", "));
    }
    Ok(())
}

fn format(workspace: &Workspace) -> Result<Verdict> {
    need_component("fmt", "rustfmt")?;
    passed(workspace.cargo("fmt").args(["--all", "--check"]))
}

fn clippy(workspace: &Workspace) -> Result<Verdict> {
    need_component("clippy", "clippy")?;
    let mut command = workspace.cargo("clippy");
    passed(command.args([
        "--workspace",
        "--all-targets",
        "--keep-going",
        "--quiet",
        "--",
        "-D",
        "warnings",
    ]))
}

/// Private items too: the docs are for who works on the code, and links in them must hold.
fn docs(workspace: &Workspace) -> Result<Verdict> {
    let mut command = workspace.cargo("doc");
    command.args([
        "--workspace",
        "--no-deps",
        "--document-private-items",
        "--keep-going",
        "--quiet",
    ]);
    passed(command.env("RUSTDOCFLAGS", "-D warnings"))
}

fn unused_dependencies(workspace: &Workspace, tools: &Tools) -> Result<Verdict> {
    passed(Command::new(tools.cargo_machete()?).arg(".").current_dir(&workspace.root))
}

fn licences(workspace: &Workspace, tools: &Tools) -> Result<Verdict> {
    let mut command = Command::new(tools.cargo_deny()?);
    command.current_dir(&workspace.root).args(["--workspace", "--log-level", "error", "check"]);
    passed(command.args(["licenses", "bans", "sources"]))
}

/// The database of advisories is a git repository, which not every network lets one reach.
fn advisories(workspace: &Workspace, tools: &Tools) -> Result<Verdict> {
    let deny = tools.cargo_deny()?;
    let mut fetch = Command::new(&deny);
    fetch.current_dir(&workspace.root).args(["fetch", "db"]).env("GIT_TERMINAL_PROMPT", "0");
    let why = match run_within(&mut fetch, FETCH_LIMIT)? {
        Ended::Exited(status, _) if status.success() => {
            // What was fetched is judged as it is: from here on every failure is a finding.
            let mut command = Command::new(&deny);
            command.current_dir(&workspace.root).args(["--workspace", "--offline"]);
            return passed(command.args(["check", "advisories"]));
        }
        Ended::Exited(_, said) => said,
        Ended::TimedOut => format!("no answer in {} s", FETCH_LIMIT.as_secs()),
    };
    println!("the advisory database could not be fetched, so no advisory was looked for:");
    println!("{}", why.trim());
    Ok(Verdict::NotChecked("the advisory database could not be fetched".to_owned()))
}

fn spelling(workspace: &Workspace, tools: &Tools) -> Result<Verdict> {
    passed(Command::new(tools.typos()?).current_dir(&workspace.root))
}

/// Kubernetes' own schemas; unknown fields, which it would ignore, are mistakes. Kustomize's files have none.
fn manifests(workspace: &Workspace, tools: &Tools) -> Result<Verdict> {
    let is_manifest = |file: &PathBuf| !file.ends_with("kustomization.yaml");
    let files = sources::files_below(workspace, "deploy/kubernetes")?;
    let mut command = tools.kubernetes_validate()?;
    command.current_dir(&workspace.root).args(["--strict", "--quiet"]);
    passed(command.args(files.into_iter().filter(is_manifest)))
}

fn machine_paths(workspace: &Workspace) -> Result<Verdict> {
    let found = sources::machine_paths(workspace)?;
    if !found.is_empty() {
        bail!("paths that exist on one machine only:\n{}", found.join("\n"));
    }
    Ok(Verdict::Passed)
}

fn file_lengths(workspace: &Workspace) -> Result<Verdict> {
    let long = sources::long_files(workspace)?;
    if long.is_empty() {
        return Ok(Verdict::Passed);
    }
    println!("longer than {} lines, better split:\n{}", sources::LONG, long.join("\n"));
    Ok(Verdict::Noted(format!("{} longer than {} lines", long.len(), sources::LONG)))
}

fn passed(command: &mut Command) -> Result<Verdict> {
    process::run(command)?;
    Ok(Verdict::Passed)
}
