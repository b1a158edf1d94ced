//! The drills of `docs/RUNBOOK.md`, command for command as they stand there, on a real fleet.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::path::Path;
use std::process::Command;

use serde_json::json;
use ultrasimple_tests::{Fleet, Ran, clean, dump, eventually, program, run};

const SHARDS: u32 = 8;

/// The blocks of a chapter that are for a shell.
fn blocks(chapter: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/RUNBOOK.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (_, rest) = page.split_once(&format!("\n{chapter}\n")).unwrap();
    let ends = [rest.find("\n### "), rest.find("\n## ")];
    let end = ends.into_iter().flatten().min().unwrap_or(rest.len());
    let blocks = rest[..end].split("```sh\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap().to_owned()).collect()
}

/// A fleet of two nodes with three databases, all stored, and what the drills begin with.
struct Drill {
    fleet: Fleet,
    nodes: Vec<ultrasimple_tests::FleetNode>,
    before: Vec<String>,
}

const NAMES: [&str; 3] = ["t1", "t2", "t3"];

impl Drill {
    fn new() -> Self {
        let fleet = Fleet::new(SHARDS);
        for name in NAMES {
            fleet.bank(name, 3);
        }
        let nodes: Vec<_> = ["node1", "node2"].map(|name| fleet.node(name, &[])).into();
        fleet.until_owned_by(&nodes.iter().collect::<Vec<_>>());
        eventually("all is stored", || (fleet.bucket.backups().len() == NAMES.len()).then_some(()));
        let before = NAMES.map(|name| dump(&fleet.yard.path(format!("data/{name}.db")))).into();
        let etcd = format!("etcd = {:?}\n", fleet.etcd.endpoints());
        let words = fleet.bucket.words();
        let bucket = words.chunks(2).map(|pair| format!("{} = {:?}\n", &pair[0][1..], pair[1]));
        let settings = etcd + &bucket.collect::<String>();
        std::fs::write(fleet.yard.path("ultrasimple.toml"), settings).unwrap();
        Self { fleet, nodes, before }
    }

    /// The setting of the places that the drills begin with names these, and no others.
    fn places(&self) -> Vec<(&'static str, String)> {
        let path = |name: &str| self.fleet.yard.path(name).display().to_string();
        vec![
            ("ULTRASIMPLE_CONFIG", path("ultrasimple.toml")),
            ("DATA", path("data")),
            ("DB", path("data/t1.db")),
            ("DRILL", path("drill")),
            ("NODE", "node1".to_owned()),
        ]
    }

    fn run(&self, block: &str) -> Ran {
        let programs = program("ultrasimple-ctl").parent().unwrap().to_owned();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path =
            std::env::join_paths(std::iter::once(programs).chain(std::env::split_paths(&path)));
        let mut bash: Command = clean("bash");
        bash.args(["-euo", "pipefail", "-c", block]).current_dir(self.fleet.yard.path(""));
        bash.env("PATH", path.unwrap()).env("TMPDIR", self.fleet.yard.path("tmp"));
        bash.envs(self.places());
        run(bash)
    }

    /// Ends the nodes in order, and starts one in their place.
    fn restart(&mut self) {
        for node in self.nodes.drain(..) {
            node.daemon.stop_well();
        }
        let node = self.fleet.node("node1", &[]);
        self.fleet.until_owned_by(&[&node]);
        self.nodes.push(node);
    }

    /// All blocks of a chapter, which must go well. Gives what each said.
    fn chapter(&self, chapter: &str) -> Vec<Ran> {
        let all = blocks(chapter).into_iter().map(|block| {
            let ran = self.run(&block);
            assert_eq!(ran.status, Some(0), "{block}{ran}");
            ran
        });
        all.collect()
    }
}

#[test]
fn the_drills_begin_with_the_places_that_they_use() {
    let first = blocks("## Drills");
    let named: Vec<_> = first[0]
        .lines()
        .map(|line| line.trim_start_matches("export ").split('=').next().unwrap())
        .collect();
    assert_eq!(named, ["ULTRASIMPLE_CONFIG", "DATA", "DB", "DRILL", "NODE"]);
}

#[test]
fn one_tenant_comes_back_and_so_does_one_host() {
    let drill = Drill::new();
    let source = drill.fleet.yard.path("data/t1.db");
    let ran = drill.chapter("### 1. One tenant");
    assert!(ran[0].stdout.contains("ok\n"), "{}", ran[0]);
    assert_eq!(dump(&drill.fleet.yard.path("drill/one.db")), drill.before[0]);
    assert_eq!(dump(&source), drill.before[0]);
    let ran = drill.chapter("### 2. One host");
    assert!(ran[1].stdout.trim_end().ends_with('3'), "{}", ran[1]);
    let restored = format!("drill/host{}", source.display());
    assert_eq!(dump(&drill.fleet.yard.path(restored)), drill.before[0]);
}

#[test]
fn everything_comes_back_from_the_bucket_alone() {
    let mut drill = Drill::new();
    for node in &mut drill.nodes {
        node.daemon.kill();
    }
    drill.fleet.etcd.kill(0).unwrap();
    std::fs::remove_dir_all(drill.fleet.yard.path("data")).unwrap();
    let ran = drill.chapter("### 3. Everything");
    assert!(!ran[0].stdout.contains("DAMAGED"), "{}", ran[0]);
    for (name, before) in NAMES.iter().zip(&drill.before) {
        let source = drill.fleet.yard.path(format!("data/{name}.db"));
        let restored = format!("drill/all{}", source.display());
        assert_eq!(&dump(&drill.fleet.yard.path(restored)), before);
    }
}

#[test]
fn damage_in_the_bucket_is_found_and_mended() {
    let mut drill = Drill::new();
    // The catalogs know what there is.
    drill.restart();
    // An older backup of the database, and damage in the newest one.
    let damaged = drill.fleet.bucket.backups().values().next().unwrap().last().unwrap().clone();
    let mut object = drill.fleet.bucket.get(&damaged);
    let year = damaged.len() - 22;
    let older: i32 = damaged[year..year + 4].parse().unwrap();
    let older = format!("{}{}{}", &damaged[..year], older - 1, &damaged[year + 4..]);
    drill.fleet.bucket.put(&older, object.clone());
    object[40] ^= 0xff;
    drill.fleet.bucket.put(&damaged, object);
    let ran = drill.chapter("### 4. Bucket damage");
    assert!(ran[0].stdout.contains("exit status 3: 3 is a FAILURE"), "{}", ran[0]);
    assert!(ran[0].stdout.contains(&damaged), "{}", ran[0]);
    assert_eq!(dump(&drill.fleet.yard.path("drill/older.db")), drill.before[0]);
    // The catalogs that are made anew know all that is there.
    let status = drill.run("ultrasimple-ctl status --json").json();
    assert_eq!((&status["databases"], &status["backups"]), (&json!(3), &json!(4)), "{status}");
    // A restart backs up anew what they say is lost.
    assert_eq!(drill.run("ultrasimple-ctl verify").status, Some(3));
    drill.restart();
    eventually("all can be restored", || {
        (drill.run("ultrasimple-ctl verify").status == Some(0)).then_some(())
    });
}
