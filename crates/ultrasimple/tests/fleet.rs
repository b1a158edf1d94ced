//! The daemon joins a fleet, or says why it does not; over a real etcd and a directory.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use ultrasimple_core::{Clock, SystemClock};
use ultrasimple_testkit::etcd::{self, Etcd};
use ultrasimple_testkit::http;

/// Far more than any of this takes.
const DEADLINE: Duration = Duration::from_mins(2);
const TOKEN: &str = "0123456789abcdef";

/// An etcd, a bucket, and databases.
struct Fleet {
    etcd: Etcd,
    folder: TempDir,
}

/// A daemon, ended with the test.
struct Node {
    child: Child,
    lines: Receiver<String>,
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Fleet {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("data")).unwrap();
        for name in 0..20 {
            let path = folder.path().join(format!("data/{name}.db"));
            let database = rusqlite::Connection::open(path).unwrap();
            database.execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (1)").unwrap();
        }
        Self { etcd: Etcd::start_one().unwrap(), folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn start(&self, words: &[&str]) -> Node {
        let bucket = format!("file://{}", self.path("bucket").display());
        let etcd = self.etcd.endpoints().remove(0);
        let mut words: Vec<_> = words.iter().map(ToString::to_string).collect();
        for (flag, value) in [
            ("-etcd", etcd.as_str()),
            ("-bucket", &bucket),
            ("-pattern", "data/*.db"),
            ("-interval", "1s"),
            ("-lease-ttl", "2s"),
            ("-shards", "8"),
            ("-http", "127.0.0.1:0"),
        ] {
            if !words.iter().any(|word| word == flag) {
                words.extend([flag, value].map(str::to_owned));
            }
        }
        Node::start(self.folder.path(), &words)
    }
}

impl Node {
    fn start(directory: &Path, words: &[String]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ultrasimple"))
            .args(words)
            .current_dir(directory)
            .env_clear()
            .env("TMPDIR", directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap()).lines();
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            stderr.map_while(Result::ok).for_each(|line| drop(sender.send(line)));
        });
        Self { child, lines }
    }

    /// Waits for a line.
    #[track_caller]
    fn says(&self, said: &str) -> String {
        let mut all = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(DEADLINE) {
            if line.contains(said) {
                return line;
            }
            all.push(line);
        }
        panic!("it never says {said:?}, but:\n{}", all.join("\n"));
    }

    /// Waits until it tells of itself; the port of its HTTP.
    #[track_caller]
    fn port(&self) -> u16 {
        let line = self.says("serving http://");
        line.split("127.0.0.1:").nth(1).unwrap().split('/').next().unwrap().parse().unwrap()
    }

    /// Waits until it has ended by itself with status 1, having said so.
    #[track_caller]
    fn refuses(mut self, said: &str) {
        self.says(said);
        assert_eq!(self.child.wait().unwrap().code(), Some(1));
    }
}

fn api(port: u16, what: &str) -> Value {
    let within = Duration::from_secs(10);
    let answer = http::request(port, "GET", &format!("/api/v1/{what}"), "", within).unwrap();
    serde_json::from_str(&answer.body).unwrap_or(Value::Null)
}

/// Asks until it is so.
#[track_caller]
#[expect(clippy::disallowed_methods, reason = "between two questions, within a deadline")]
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = SystemClock.monotonic() + DEADLINE;
    while !is_so() {
        assert!(SystemClock.monotonic() < until, "never: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn two_share_the_work_and_one_that_leaves_gives_it_back() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.start(&["-node", "a"]), fleet.start(&["-node", "b"]));
    let (port_a, port_b) = (a.port(), b.port());
    let shards = |port| api(port, "shards").as_array().map_or(0, Vec::len);
    eventually("both have some", || {
        let (a, b) = (shards(port_a), shards(port_b));
        a > 0 && b > 0 && a + b == 8
    });
    let node = api(port_a, "node");
    assert_eq!((&node["node"], &node["trusted"]), (&"a".into(), &true.into()), "{node}");
    assert!(node["lease_seconds"].as_f64().is_some_and(|left| left <= 2.0), "{node}");
    let ready = |port| {
        http::request(port, "GET", "/readyz", "", Duration::from_secs(10)).unwrap().status == 200
    };
    eventually("both are ready", || ready(port_a) && ready(port_b));
    let (_, nodes) =
        etcd::range(fleet.etcd.ports(0).unwrap().client, "/ultrasimple/default/nodes/").unwrap();
    let record: Value = serde_json::from_str(&nodes[0].value).unwrap();
    assert_eq!(record["address"], format!("http://127.0.0.1:{port_a}"));
    assert!(record["volumes"]["default"]["filesystem"].is_string(), "{record}");

    kill_process(Pid::from_child(&b.child), Signal::TERM).unwrap();
    b.says("stopped");
    eventually("the other has all", || shards(port_a) == 8);
}

#[test]
fn what_the_fleet_has_not_agreed_on_is_refused_by_name() {
    let fleet = Fleet::new();
    let first = fleet.start(&["-node", "a"]);
    first.port();
    fleet.start(&["-node", "b", "-shards", "16"]).refuses("(-shards) is \"8\" there");
    fleet.start(&["-node", "b", "-path", "x/{{name}}"]).refuses("-path");
    let other = format!("file://{}", fleet.path("other").display());
    fleet.start(&["-node", "b", "-bucket", &other]).refuses("-bucket");
    fleet.start(&["-node", "a"]).refuses("another node that lives is called a, too");
    let absent = format!("v={}", fleet.path("absent").display());
    let pattern = format!("{}/*.db", fleet.path("absent").display());
    fleet
        .start(&["-node", "b", "-volume", &absent, "-pattern", &pattern])
        .refuses("there is no such directory: mount or create it first");
}

#[test]
fn a_volume_that_is_another_one_is_refused() {
    let fleet = Fleet::new();
    std::fs::create_dir(fleet.path("data/a")).unwrap();
    std::fs::create_dir(fleet.path("data/b")).unwrap();
    let pattern = format!("{}/*/*.db", fleet.path("data").display());
    let start = |node, name| {
        let volume = format!("v={}", fleet.path(name).display());
        fleet.start(&["-pattern", &pattern, "-node", node, "-volume", &volume])
    };
    let first = start("a", "data/a");
    first.port();
    start("b", "data/b").refuses("on another local file system");
    start("b", "data/a").port();
}

#[test]
fn an_etcd_that_is_not_there_is_named() {
    let fleet = Fleet::new();
    let node = fleet.start(&["-node", "a", "-etcd", "http://127.0.0.1:1"]);
    node.says("asking etcd at http://127.0.0.1:1");
    node.refuses("etcd does not answer: ");
}

#[test]
fn the_token_is_asked_for() {
    let fleet = Fleet::new();
    std::fs::write(fleet.path("token"), format!("{TOKEN}\n")).unwrap();
    let node = fleet.start(&["-node", "a", "-http-token-file", "token"]);
    let port = node.port();
    assert_eq!(api(port, "node"), Value::Null);
    let status =
        |path| http::request(port, "GET", path, "", Duration::from_secs(10)).unwrap().status;
    assert_eq!((status("/healthz"), status("/stats"), status("/api/v1/shards")), (200, 401, 401));
}

/// The epochs of the shards that a daemon says it owns.
fn epochs(port: u16) -> Vec<u64> {
    let shards = api(port, "shards");
    let shards = shards.as_array().cloned().unwrap_or_default();
    let owned = shards.iter().filter(|shard| shard["phase"] == "owned");
    owned.filter_map(|shard| shard["epoch"].as_u64()).collect()
}

#[test]
fn a_fleet_goes_on_by_itself_when_its_etcd_was_made_anew() {
    let mut fleet = Fleet::new();
    let nodes = ["a", "b"].map(|name| fleet.start(&["-node", name]));
    let ports = nodes.each_ref().map(Node::port);
    let all_are_after = |generation: u64| {
        let epochs: Vec<_> = ports.iter().flat_map(|&port| epochs(port)).collect();
        epochs.len() == 8 && epochs.iter().all(|epoch| epoch / 1_000_000_000_000 > generation)
    };
    eventually("all shards are owned", || all_are_after(0));
    let at = fleet.etcd.ports(0).unwrap();
    fleet.etcd.kill(0).unwrap();
    fleet.etcd = Etcd::start(&[at]).unwrap();
    // Its revisions begin anew: the epochs must not.
    eventually("all are owned again, under later epochs", || all_are_after(1));
}
