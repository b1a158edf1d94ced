//! The daemon runs: once, dry, until told to stop; over the smallest tree there is.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Far more than any of this takes.
const DEADLINE: Duration = Duration::from_mins(1);

/// A directory with `tenants/a.db`, and a bucket beside it.
fn tree() -> TempDir {
    let tree = tempfile::tempdir().unwrap();
    std::fs::create_dir(tree.path().join("tenants")).unwrap();
    let database = rusqlite::Connection::open(tree.path().join("tenants/a.db")).unwrap();
    database.execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (1)").unwrap();
    tree
}

fn start(directory: &Path, words: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_ultrasimple"))
        .args(["-pattern", "tenants/*.db"])
        .args(words)
        .current_dir(directory)
        .env_clear()
        .env("TMPDIR", directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn end(child: Child) -> Output {
    let pid = Pid::from_child(&child);
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    let output = receiver.recv_timeout(DEADLINE).unwrap_or_else(|_| {
        kill_process(pid, Signal::KILL).unwrap();
        panic!("still running after {DEADLINE:?}");
    });
    output.unwrap()
}

/// Status, stdout and stderr of a run that ends by itself.
fn run(directory: &Path, words: &[&str]) -> (Option<i32>, String, String) {
    let output = end(start(directory, words));
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn bucket(directory: &Path) -> String {
    format!("file://{}/bucket", directory.display())
}

#[test]
fn a_dry_run_tells_each_database_and_needs_no_bucket() {
    let tree = tree();
    let (status, stdout, stderr) = run(tree.path(), &["-dry-run"]);
    assert_eq!(status, Some(0), "{stderr}");
    assert_eq!(stdout.lines().count(), 1, "{stdout}");
    assert!(stdout.contains("/tenants/a.db") && stdout.contains(" a-"), "{stdout}");

    // A directory that is not there yet is not made.
    let bucket = bucket(tree.path());
    let (status, stdout, stderr) = run(tree.path(), &["-dry-run", "-bucket", &bucket]);
    assert_eq!((status, stdout.lines().count()), (Some(0), 1), "{stderr}");
    assert!(!tree.path().join("bucket").exists());

    std::fs::write(tree.path().join("tenants/b.db"), "not a database, but long enough").unwrap();
    let (status, stdout, stderr) = run(tree.path(), &["-dry-run"]);
    assert_eq!((status, stdout.lines().count()), (Some(3), 2), "{stderr}");
}

#[test]
fn the_documented_dry_run_works_as_it_stands() {
    let directory = tempfile::tempdir().unwrap();
    let words = ["-dry-run", "-pattern", "/your/databases/*.db"];
    let (status, stdout, stderr) = run(directory.path(), &words);
    assert_eq!((status, stdout.as_str()), (Some(0), ""), "{stderr}");
    assert!(stderr.contains("/your/databases/*.db"), "{stderr}");
}

#[test]
fn once_stores_what_is_there_and_a_bad_database_does_not_stop_it() {
    let tree = tree();
    let bucket = bucket(tree.path());
    let (status, _, stderr) = run(tree.path(), &["-once", "-bucket", &bucket]);
    assert_eq!(status, Some(0), "{stderr}");
    let objects = tree.path().join("bucket").read_dir().unwrap();
    let objects: Vec<_> = objects.map(|entry| entry.unwrap().file_name()).collect();
    let backup = |name: &std::ffi::OsString| {
        name.to_string_lossy().starts_with("a-") && name.to_string_lossy().ends_with(".db.lz4")
    };
    assert_eq!(objects.iter().filter(|name| backup(name)).count(), 1, "{objects:?}");

    std::fs::write(tree.path().join("tenants/b.db"), "not a database, but long enough").unwrap();
    let (status, _, stderr) = run(tree.path(), &["-once", "-bucket", &bucket]);
    assert_eq!(status, Some(3), "{stderr}");
    assert!(stderr.contains("/tenants/b.db"), "{stderr}");
}

#[test]
fn a_start_that_cannot_work_says_why_and_exits_with_1() {
    let tree = tree();
    let good = bucket(tree.path());
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    std::fs::write(tree.path().join("file"), "").unwrap();
    let no_parent = format!("file://{}/not/mounted", tree.path().display());
    let under_a_file = format!("file://{}/file/bucket", tree.path().display());
    for (words, said) in [
        (&["-bucket", &good, "-http", &address][..], format!("-http {address}: cannot listen")),
        (&["-once", "-bucket", &good, "-scratch", "file"], "-scratch ".to_owned()),
        (&["-once", "-bucket", &under_a_file], format!("cannot use -bucket {under_a_file}: ")),
        (
            &["-once", "-bucket", &no_parent],
            format!("cannot use -bucket {no_parent}: there is no directory"),
        ),
    ] {
        let (status, _, stderr) = run(tree.path(), words);
        assert_eq!(status, Some(1), "{words:?}: {stderr}");
        assert!(stderr.contains(&said), "{words:?}: {stderr}");
    }
}

/// Asks for a page and gives the whole answer.
fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn it_runs_is_looked_at_and_stops_when_told() {
    let tree = tree();
    let words = ["-bucket", &bucket(tree.path()), "-http", "127.0.0.1:0", "-interval", "1s"];
    let mut child = start(tree.path(), &words);
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in stderr.lines() {
            let _ = sender.send(line.unwrap());
        }
    });
    let until = |said: &str| {
        std::iter::from_fn(|| lines.recv_timeout(DEADLINE).ok())
            .find(|line| line.contains(said))
            .unwrap_or_else(|| panic!("the log never says {said}"))
    };
    let settings = until("interval=1s");
    assert!(settings.contains("bucket=file://") && settings.contains("shards=256"), "{settings}");
    let line = until("serving http://");
    let address = line.split("http://").nth(1).unwrap().split('/').next().unwrap().to_owned();
    until("1 databases");

    assert!(get(&address, "/healthz").ends_with("ok"));
    let stats = get(&address, "/stats");
    let json = stats.split("\r\n\r\n").nth(1).unwrap();
    let json: serde_json::Value = serde_json::from_str(json).unwrap();
    for name in [
        "databases",
        "changed_last_cycle",
        "uploads_success",
        "uploads_failed",
        "bytes_uploaded",
        "last_scan",
    ] {
        assert!(json.get(name).is_some(), "{name} is not in {json}");
    }
    assert_eq!(json["databases"], 1);
    let requests = &json["requests"];
    for kind in ["puts", "multipart", "gets", "heads", "lists", "deletes"] {
        assert!(requests[kind].is_u64(), "{kind} is not in {json}");
    }
    // The probe's, the start's, the backup's.
    assert!(requests["puts"].as_u64() > Some(2), "{json}");
    assert!(json.get("projected_month").is_some_and(serde_json::Value::is_null), "{json}");

    told_of_node_and_shards(&address);
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    until("SIGTERM");
    assert_eq!(end(child).status.code(), Some(0));
}

fn told_of_node_and_shards(address: &str) {
    let json = |path: &str| {
        let answer = get(address, path);
        serde_json::from_str::<serde_json::Value>(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap()
    };
    assert!(get(address, "/readyz").ends_with("\r\n\r\nready"));
    let node = json("/api/v1/node");
    assert_eq!((&node["shards"], &node["databases"]), (&256.into(), &1.into()), "{node}");
    assert_eq!((&node["trusted"], node["lease_seconds"].is_null()), (&true.into(), true), "{node}");
    assert!(node["uptime_seconds"].is_f64() && node["exposure_seconds"].is_f64(), "{node}");
    let shards = json("/api/v1/shards");
    let shards = shards.as_array().unwrap();
    assert_eq!(shards.len(), 256);
    assert_eq!(shards.iter().filter(|shard| shard["databases"] == 1).count(), 1);
    for shard in shards {
        assert_eq!((&shard["volume"], &shard["phase"]), (&"default".into(), &"owned".into()));
        assert!(shard["shard"].is_u64() && shard["epoch"].is_u64() && shard["since"].is_string());
    }
}
