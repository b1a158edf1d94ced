//! `cargo xtask bench`: builds release programs, gets those that ours are compared with, and hands over to
//! `ultrasimple-bench`, which measures.

use std::process::Command;

use anyhow::Result;

use crate::process;
use crate::test::Environment;
use crate::tools::{Tools, need_build_tools, need_commands};
use crate::workspace::Workspace;

/// The programs that are measured, and the one that measures.
const PROGRAMS: [&str; 3] = ["ultrasimple", "ultrasimple-ctl", "ultrasimple-bench"];

/// Each bench, in the order of the page, and the programs of others that it needs.
const BENCHES: [(&str, &[&str]); 10] = [
    ("first", &["litestream", "walrust", "rclone", "s5cmd"]),
    ("steady", &[]),
    ("large", &["rclone"]),
    ("restore", &["rclone", "litestream"]),
    ("writers", &["litestream"]),
    ("rest", &["go", "litestream"]),
    ("memory", &[]),
    ("fleet", &[]),
    ("etcd", &[]),
    ("placement", &[]),
];

/// Runs the one that is named, with arguments of its own, or else all.
pub(crate) fn run(workspace: &Workspace, args: &[String]) -> Result<()> {
    need_commands(&["etcd", "lz4"])?;
    need_build_tools()?;
    let tools = Tools::open(workspace)?;
    let environment = Environment::new(&tools)?;
    let mut build = workspace.cargo("build");
    build.arg("--release").args(PROGRAMS.iter().flat_map(|program| ["--package", program]));
    process::run(&mut build)?;
    let mut describe = Command::new("git");
    describe.args(["describe", "--always", "--dirty"]).current_dir(&workspace.root);
    let source = process::output(&mut describe)?;
    let bench = |args: &[String]| -> Result<()> {
        let mut bench = Command::new(workspace.binary("release", "ultrasimple-bench"));
        environment.apply(&mut bench);
        let needs = BENCHES.iter().find(|(name, _)| args.first().is_some_and(|arg| arg == name));
        for peer in needs.map_or(&[][..], |(_, needs)| needs) {
            bench.env(format!("ULTRASIMPLE_{}", peer.to_uppercase()), tools.peer(peer)?);
        }
        bench.arg("--programs").arg(workspace.target.join("release"));
        bench.arg("--folder").arg(workspace.target.join("bench"));
        bench.arg("--docs").arg(workspace.root.join("docs"));
        process::run(bench.args(["--source", source.trim()]).args(args))
    };
    if !args.is_empty() {
        return bench(args);
    }
    BENCHES.iter().try_for_each(|(name, _)| bench(&[(*name).to_owned()]))
}
