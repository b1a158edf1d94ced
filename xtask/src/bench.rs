//! `cargo xtask bench`: builds release programs, gets those that ours are compared with, and hands over to
//! `ultrasimple-bench`, which measures.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::process;
use crate::test::Environment;
use crate::tools::{Tools, need_build_tools, need_commands};
use crate::workspace::Workspace;

/// The programs that are measured, and those that measure.
const PROGRAMS: [&str; 4] =
    ["ultrasimple", "ultrasimple-ctl", "ultrasimple-bench", "ultrasimple-bench-micro"];

/// Each bench, in the order of the page, and the programs of others that it needs.
const BENCHES: [(&str, &[&str]); 13] = [
    ("first", &["litestream", "walrust", "rclone", "s5cmd"]),
    ("steady", &[]),
    ("large", &["rclone"]),
    ("restore", &["rclone", "litestream"]),
    ("writers", &["litestream"]),
    ("rest", &["go", "litestream"]),
    ("memory", &[]),
    ("endurance", &[]),
    ("fleet", &[]),
    ("etcd", &[]),
    ("placement", &[]),
    ("micro", &[]),
    (COUNTING, &[]),
];

/// The bench that needs valgrind.
const COUNTING: &str = "instructions";

/// Runs the one that is named, with arguments of its own, or else all.
pub(crate) fn run(workspace: &Workspace, args: &[String]) -> Result<()> {
    if args.first().is_none_or(|name| name == COUNTING) {
        need_commands(&["valgrind"])?;
    }
    let bench = Bench::build(workspace, &workspace.target, None)?;
    let docs = workspace.root.join("docs");
    if !args.is_empty() {
        return process::run(&mut bench.command(args, &docs)?);
    }
    BENCHES
        .iter()
        .try_for_each(|(name, _)| process::run(&mut bench.command(&[(*name).to_owned()], &docs)?))
}

/// What measures, built, with all that it needs.
pub(crate) struct Bench {
    tools: Tools,
    environment: Environment,
    target: PathBuf,
    source: String,
    built_by: String,
}

impl Bench {
    /// Builds it into `target`, with `flags` for the compiler.
    pub(crate) fn build(workspace: &Workspace, target: &Path, flags: Option<&str>) -> Result<Self> {
        need_commands(&["etcd", "lz4"])?;
        need_build_tools()?;
        let tools = Tools::open(workspace)?;
        let environment = Environment::new(&tools)?;
        let mut build = workspace.cargo("build");
        build.arg("--release").args(PROGRAMS.iter().flat_map(|program| ["--package", program]));
        build.arg("--target-dir").arg(target);
        if let Some(flags) = flags {
            build.env("RUSTFLAGS", flags);
        }
        process::run(&mut build)?;
        let mut describe = Command::new("git");
        describe.args(["describe", "--always", "--dirty"]).current_dir(&workspace.root);
        let source = process::output(&mut describe)?.trim().to_owned();
        let built_by = built_by(workspace)?;
        Ok(Self { tools, environment, target: target.to_owned(), source, built_by })
    }

    /// The command that runs a bench and puts its figures below `docs`.
    pub(crate) fn command(&self, args: &[String], docs: &Path) -> Result<Command> {
        let programs = self.target.join("release");
        let mut bench = Command::new(programs.join("ultrasimple-bench"));
        self.environment.apply(&mut bench);
        let needs = BENCHES.iter().find(|(name, _)| args.first().is_some_and(|arg| arg == name));
        for peer in needs.map_or(&[][..], |(_, needs)| needs) {
            bench.env(format!("ULTRASIMPLE_{}", peer.to_uppercase()), self.tools.peer(peer)?);
        }
        bench.arg("--programs").arg(programs);
        bench.arg("--folder").arg(self.target.join("bench"));
        bench.arg("--docs").arg(docs);
        bench.args(["--source", &self.source, "--built-by", &self.built_by]).args(args);
        Ok(bench)
    }

    /// The programs that others made.
    pub(crate) fn tools(&self) -> &Tools {
        &self.tools
    }
}

/// The compiler, and what it was told that makes the programs others than those that are shipped.
fn built_by(workspace: &Workspace) -> Result<String> {
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut version = Command::new(compiler);
    let version = process::output(version.arg("--version").current_dir(&workspace.root))?;
    let version = version.trim();
    let optimisation = std::env::var("CARGO_PROFILE_RELEASE_LTO");
    Ok(match optimisation.as_deref() {
        Err(_) | Ok("thin") => version.to_owned(),
        Ok("off" | "false") => format!("{version}, without link-time optimisation"),
        Ok(other) => format!("{version}, with lto = {other}"),
    })
}
