//! `cargo xtask compose`: the fleet of `deploy/compose` in containers. A node is killed and another one cut off; the shards
//! have to move and to come back, every database has to be backed up, and each to be restored as it is.
//!
//! What is asked, is asked as an operator would: by `ultrasimple-ctl` in a node's container.

mod fleet;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::images::{self, Images, docker};
use crate::interrupt::Interrupt;
use crate::process::output;
use crate::tools::{Tools, need_commands};
use crate::workspace::Workspace;
use fleet::Fleet;

const NODES: [&str; 3] = ["node1", "node2", "node3"];
const SERVICES: [&str; 6] = ["etcd1", "etcd2", "etcd3", "s3", "application", "prometheus"];
const TENANTS: usize = 50;
/// Of each volume, by default.
const SHARDS: usize = 256;
const FOLDER: &str = "/data/acme/databases/shop/branches/main/tenants";
/// What is promised is the lease and a cycle; this is for machines that have other things to do.
const MOVED_WITHIN: Duration = Duration::from_mins(3);
const STARTS_WITHIN: Duration = Duration::from_mins(10);

/// Runs it, or says why it cannot be run here.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    if let Err(why) = images::engine() {
        println!("skipped: `cargo xtask compose` needs a Docker engine ({why})");
        return Ok(());
    }
    let tools = Tools::open(workspace)?;
    if fleet::program().is_none() {
        need_commands(&["docker-compose"])?;
    }
    let images = Images::get(workspace, &tools)?;
    let fleet = Fleet::new(workspace, images, Interrupt::watch()?, TENANTS)?;
    let outcome = try_out(&fleet, workspace);
    if outcome.is_err() {
        fleet.show_logs();
    }
    outcome
}

fn try_out(fleet: &Fleet, workspace: &Workspace) -> Result<()> {
    let start = Instant::now();
    fleet.up()?;
    let all: Vec<&str> = SERVICES.into_iter().chain(NODES).collect();
    fleet.wait("all containers are healthy", STARTS_WITHIN, || fleet.are_healthy(&all))?;
    fleet.wait("the shards are with all three nodes", MOVED_WITHIN, || settled(fleet, &NODES))?;

    output(docker(["kill"]).arg(fleet.container("node1")?))?;
    fleet.wait("a node was killed: its shards are with the others", MOVED_WITHIN, || {
        settled(fleet, &["node2", "node3"])
    })?;
    output(docker(["start"]).arg(fleet.container("node1")?))?;
    fleet.wait("it is back: its shards are, too", MOVED_WITHIN, || settled(fleet, &NODES))?;

    let (network, cut) = (fleet.network(), fleet.container("node2")?);
    output(&mut docker(["network", "disconnect", &network, &cut]))?;
    fleet.wait("another one was cut off: its shards are with the others", MOVED_WITHIN, || {
        settled(fleet, &["node1", "node3"])
    })?;
    fleet.wait("it says itself that it is not well", MOVED_WITHIN, || {
        Ok(!fleet.are_healthy(&["node2"])?)
    })?;
    output(&mut docker(["network", "connect", "--alias", "node2", &network, &cut]))?;
    fleet.wait("it is back: its shards are, too", MOVED_WITHIN, || settled(fleet, &NODES))?;
    fleet.wait("all containers are healthy", MOVED_WITHIN, || fleet.are_healthy(&all))?;
    fleet.wait("Prometheus reaches all nodes", MOVED_WITHIN, || prometheus(fleet))?;

    fleet.compose(&["stop", "application"])?;
    fleet
        .wait("the application has ended: all is stored", MOVED_WITHIN, || all_is_stored(fleet))?;
    // A scan may have to notice the last commits first.
    let folder = workspace.target.join("compose");
    let what = "every database is restored with all of its commits";
    fleet.wait(what, MOVED_WITHIN, || restore(fleet, &folder))?;
    println!("all is well after {:.0} s", start.elapsed().as_secs_f64());
    Ok(())
}

/// A row of `ultrasimple-ctl shards --json`.
fn rows(fleet: &Fleet, asked: &str) -> Result<Vec<Value>> {
    let text = fleet.exec(asked, &["ultrasimple-ctl", "shards", "--json"])?;
    serde_json::from_str(&text).with_context(|| format!("understand {text}"))
}

fn text<'a>(row: &'a Value, key: &str) -> &'a str {
    row.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Whether every shard has the owner that it should have, and these nodes, all of them, are the owners.
fn settled(fleet: &Fleet, nodes: &[&str]) -> Result<bool> {
    let asked = nodes.last().context("a node to ask")?;
    let Ok(rows) = rows(fleet, asked) else { return Ok(false) };
    Ok(is_settled(&rows, nodes))
}

fn is_settled(rows: &[Value], nodes: &[&str]) -> bool {
    let owners: BTreeSet<&str> = rows.iter().map(|row| text(row, "owner")).collect();
    let numbers: BTreeSet<_> = rows.iter().filter_map(|row| row.get("shard")?.as_u64()).collect();
    numbers.len() == SHARDS
        && rows.iter().all(|row| text(row, "owner") == text(row, "desired"))
        && owners == nodes.iter().copied().collect()
}

/// Whether every database is known to its owner, and none waits.
fn all_is_stored(fleet: &Fleet) -> Result<bool> {
    let Ok(rows) = rows(fleet, "node1") else { return Ok(false) };
    let sum = |key: &str| {
        rows.iter().map(|row| row.get(key).and_then(Value::as_u64)).sum::<Option<u64>>()
    };
    if sum("databases") != Some(TENANTS as u64) || sum("pending") != Some(0) {
        return Ok(false);
    }
    let listed = fleet.exec("node1", &["ultrasimple-ctl", "databases", "--json"])?;
    let listed: Value =
        serde_json::from_str(&listed).context("understand the list of databases")?;
    let listed = listed.get("databases").and_then(Value::as_array);
    Ok(listed.is_some_and(|listed| listed.len() == TENANTS))
}

fn prometheus(fleet: &Fleet) -> Result<bool> {
    let query = ["promtool", "query", "instant", "http://127.0.0.1:9090", "sum(up)"];
    Ok(fleet.exec("prometheus", &query)?.starts_with("{} => 3 "))
}

/// Restores all databases into this folder; whether they are what the application left.
fn restore(fleet: &Fleet, folder: &Path) -> Result<bool> {
    if folder.exists() {
        std::fs::remove_dir_all(folder).with_context(|| format!("empty {}", folder.display()))?;
    }
    std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    // The tool runs as nobody in particular.
    let mode = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(folder, mode).context("let the tool write")?;
    let volume = format!("{}:/restored", folder.display());
    let words = ["restore", "--all", "--to", "/restored"];
    fleet.run_once("node1", "ultrasimple-ctl", &volume, &words)?;
    let prove = |folder: &str| {
        let names = (0..TENANTS).map(|tenant| format!("{folder}{FOLDER}/t{tenant}.db"));
        let words: Vec<_> =
            ["/application.py", "prove"].into_iter().map(str::to_owned).chain(names).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        fleet.run_once("application", "python3", &volume, &words).map(|said| commits(&said))
    };
    let (left, restored) = (prove("")?, prove("/restored")?);
    ensure!(left.len() == TENANTS, "the application left {} databases, not {TENANTS}", left.len());
    let differ = left.iter().filter(|(name, commits)| restored.get(*name) != Some(commits)).count();
    if differ > 0 {
        println!("{differ} databases are not restored with their last commits yet");
    }
    Ok(differ == 0)
}

/// How many commits each database has seen, by its name.
fn commits(said: &str) -> BTreeMap<String, u64> {
    let line = |line: &str| {
        let (commits, file) = line.split_once(' ')?;
        let name = file.rsplit('/').next()?;
        Some((name.trim().to_owned(), commits.parse().ok()?))
    };
    said.lines().filter_map(line).collect()
}

#[cfg(test)]
#[path = "compose/tests.rs"]
mod tests;
