//! `shards`, `nodes` and `status` over a real etcd and nodes that say what they are told to say.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may panic")]

mod common;

use common::node::{FakeNode, node, shard};
use common::{Bucket, Ran, backup};
use serde_json::{Value, json};
use ultrasimple_testkit::etcd::{self, Etcd};

/// Of generation 7 at some revision of etcd: what a claim's epoch is.
const GENERATION: u64 = 7;
const SHARDS: u32 = 4;

/// A fleet as etcd has it.
struct Fleet {
    etcd: Etcd,
    bucket: Bucket,
}

impl Fleet {
    fn new() -> Self {
        let fleet = Self { etcd: Etcd::start_one().unwrap(), bucket: Bucket::new() };
        let agreed =
            json!({"format": 1, "fleet": "f", "shards": SHARDS, "template": "t", "bucket": "b"});
        fleet.put("fleet", &agreed);
        fleet
    }

    fn port(&self) -> u16 {
        self.etcd.ports(0).unwrap().client
    }

    fn put(&self, key: &str, value: &Value) {
        etcd::put(self.port(), &format!("/ultrasimple/eu/{key}"), &value.to_string()).unwrap();
    }

    fn node(&self, name: &str, address: &str, volumes: &[&str]) {
        let volumes: serde_json::Map<_, _> =
            volumes.iter().map(|it| ((*it).to_owned(), json!({"patterns": "p"}))).collect();
        let address = if address.is_empty() { String::new() } else { format!("http://{address}") };
        let record = json!({"address": address, "volumes": volumes, "capacity": 1.0, "version": "1.2.3",
                            "since": "2024-01-15T13:00:00Z"});
        self.put(&format!("nodes/{name}"), &record);
    }

    /// Gives the shard to a node; its epoch.
    fn claim(&self, shard: u32, node: &str) -> u64 {
        let key = format!("shards/default/{shard:04}");
        self.put(&key, &json!({"node": node, "generation": GENERATION}));
        let (_, found) = etcd::range(self.port(), &format!("/ultrasimple/eu/{key}")).unwrap();
        GENERATION * 1_000_000_000_000 + found[0].created
    }

    fn command(&self, words: &[&str]) -> std::process::Command {
        let mut command = self.bucket.command();
        command.args(["-etcd", &self.etcd.endpoints()[0], "-cluster", "eu"]).args(words);
        command
    }

    fn run(&self, words: &[&str]) -> Ran {
        Ran::of(&mut self.command(words))
    }

    fn json(&self, words: &[&str]) -> (i32, Value) {
        let ran = self.run(&[words, &["--json"]].concat());
        (ran.status, serde_json::from_str(&ran.stdout).unwrap_or_else(|e| panic!("{e}: {ran:?}")))
    }
}

#[test]
fn shards_are_told_by_etcd_and_by_their_owners() {
    let fleet = Fleet::new();
    let (mine, stale) = (fleet.claim(0, "n1"), fleet.claim(1, "n1") - 1);
    fleet.claim(2, "n2");
    let says = json!([shard(0, mine, 4.5), shard(1, stale, 9.0)]);
    let n1 = FakeNode::saying(node("n1"), says, None);
    let n2 = FakeNode::silent();
    fleet.node("n1", &n1.address, &["default"]);
    fleet.node("n2", &n2.address, &["default"]);
    let (status, rows) = fleet.json(&["shards"]);
    let rows = rows.as_array().unwrap();
    assert_eq!((status, rows.len()), (0, SHARDS as usize));
    let row = &rows[0];
    assert_eq!((&row["volume"], &row["shard"]), (&json!("default"), &json!(0)));
    assert_eq!((&row["owner"], &row["epoch"]), (&json!("n1"), &json!(mine)));
    assert_eq!((&row["databases"], &row["pending"]), (&json!(3), &json!(1)));
    assert_eq!((&row["exposure_seconds"], &row["phase"]), (&json!(4.5), &json!("owned")));
    assert!(row["desired"].is_string() && row["since"].is_string(), "{row}");
    assert_eq!(
        (&rows[1]["owner"], &rows[1]["databases"]),
        (&json!("n1"), &Value::Null),
        "of the past"
    );
    assert_eq!((&rows[2]["owner"], &rows[2]["exposure_seconds"]), (&json!("n2"), &Value::Null));
    assert!(rows[2]["epoch"].is_u64(), "etcd says so");
    assert_eq!((&rows[3]["owner"], &rows[3]["epoch"]), (&Value::Null, &Value::Null));

    let count =
        |words: &[&str]| fleet.json(&[&["shards"], words].concat()).1.as_array().unwrap().len();
    assert_eq!(count(&["--unowned"]), 1);
    assert_eq!(count(&["--volume", "default"]), 4);
    assert_eq!(count(&["--volume", "other"]), 0);
    let moving = rows.iter().filter(|row| row["owner"] != row["desired"]).count();
    assert_eq!(count(&["--moving"]), moving);
    let of_n1 = rows.iter().filter(|row| row["owner"] == "n1" || row["desired"] == "n1").count();
    assert_eq!(count(&["--node", "n1"]), of_n1);

    let ran = fleet.run(&["shards"]);
    assert!(ran.well().stdout.starts_with("VOLUME"), "{ran:?}");
    let end = format!("4 shards, 1 without an owner, {moving} moving\n");
    assert!(ran.stdout.ends_with(&end), "{ran:?}");
    assert!(ran.stderr.contains("n2 does not answer: no answer within 2 s"), "{ran:?}");
}

#[test]
fn who_should_own_a_shard_is_what_the_nodes_reckon() {
    let fleet = Fleet::new();
    for name in ["n1", "n2", "n3"] {
        fleet.node(name, "", &["default"]);
    }
    fleet.put("drains/n2", &json!({"since": "2024-01-15T13:00:00Z"}));
    let (_, rows) = fleet.json(&["shards"]);
    for row in rows.as_array().unwrap() {
        assert!(row["desired"] == "n1" || row["desired"] == "n3", "{row}");
        assert!(row["owner"].is_null(), "{row}");
    }
}

#[test]
fn nodes_and_how_they_are() {
    let fleet = Fleet::new();
    fleet.claim(0, "n1");
    let n1 = FakeNode::saying(node("n1"), json!([]), None);
    let other = FakeNode::saying(node("n9"), json!([]), None);
    fleet.node("n1", &n1.address, &["default", "nas"]);
    fleet.node("n2", &other.address, &["default"]);
    fleet.node("n3", "127.0.0.1:1", &["default"]);
    fleet.node("n4", "", &["default"]);
    fleet.put("drains/n5", &json!({"since": "2024-01-15T13:00:00Z"}));
    let (status, rows) = fleet.json(&["nodes"]);
    assert_eq!(status, 0);
    let states: Vec<_> = rows.as_array().unwrap().iter().map(|row| row["state"].clone()).collect();
    assert_eq!(states, ["well", "does_not_answer", "does_not_answer", "well", "absent"]);
    let row = &rows[0];
    assert_eq!((&row["shards"], &row["databases"]), (&json!(1), &json!(3)), "{row}");
    assert_eq!((&row["volumes"], &row["capacity"]), (&json!(["default", "nas"]), &json!(1.0)));
    assert_eq!((&row["version"], &row["since"]), (&json!("1.2.3"), &json!("2024-01-15T13:00:00Z")));
    assert_eq!(rows[1]["reason"], "n9 answers there");
    assert!(rows[2]["reason"].as_str().unwrap().contains("refused"), "{rows}");
    assert_eq!((&rows[2]["databases"], &rows[2]["reason"].is_null()), (&Value::Null, &false));
    let ran = fleet.run(&["nodes"]);
    assert!(ran.well().stdout.contains("does not answer"), "{ran:?}");
}

#[test]
fn a_token_is_sent_from_its_file_alone() {
    let fleet = Fleet::new();
    let token = "0123456789abcdef";
    let epoch = fleet.claim(0, "n1");
    let n1 = FakeNode::saying(node("n1"), json!([shard(0, epoch, 0.0)]), Some(token));
    fleet.node("n1", &n1.address, &["default"]);
    let (_, rows) = fleet.json(&["nodes"]);
    assert_eq!(rows[0]["reason"], "it wants a token: -http-token-file");
    let path = fleet.bucket.out("token");
    std::fs::write(&path, format!("{token}\n")).unwrap();
    let (_, rows) = fleet.json(&["nodes", "-http-token-file", path.to_str().unwrap()]);
    assert_eq!(rows[0]["state"], "well");
    let absent = fleet.run(&["nodes", "-http-token-file", "absent"]);
    absent.failed(2, &["-http-token-file absent: cannot read this file"]);
}

#[test]
fn drains_are_set_and_taken_back() {
    let fleet = Fleet::new();
    fleet.node("n1", "", &["default"]);
    fleet.node("n2", "", &["default"]);
    fleet.claim(0, "n1");
    fleet.run(&["nodes", "drain", "n7"]).failed(1, &["there is no node n7; there are: n1, n2"]);
    let (status, done) = fleet.json(&["nodes", "drain", "n1"]);
    assert_eq!((status, &done["changed"], &done["shards"]), (0, &json!(true), &json!(1)));
    let (_, rows) = fleet.json(&["nodes"]);
    assert_eq!(rows[0]["state"], "drained");
    let (status, done) = fleet.json(&["nodes", "drain", "n1", "--wait", "1s"]);
    assert_eq!((status, &done["changed"]), (3, &json!(false)), "its shard is still there");
    etcd::delete(fleet.port(), "/ultrasimple/eu/shards/default/0000").unwrap();
    fleet.run(&["nodes", "drain", "n1", "--wait", "1m"]).well();
    let (status, done) = fleet.json(&["nodes", "undrain", "n1"]);
    assert_eq!((status, &done["changed"], &done["drained"]), (0, &json!(true), &json!(false)));
    let ran = fleet.run(&["nodes", "undrain", "n1"]);
    assert_eq!(ran.well().stdout, "n1 was not drained\n");
    assert_eq!(fleet.json(&["nodes"]).1[0]["state"], "well");
}

/// The last node that mounts a volume keeps it: being backed up beats being drained.
#[test]
fn shards_that_nobody_else_can_own_stay() {
    let fleet = Fleet::new();
    fleet.node("n1", "", &["default"]);
    fleet.node("n2", "", &["other"]);
    fleet.claim(0, "n1");
    let ran = fleet.run(&["nodes", "drain", "n1", "--wait", "1m"]);
    ran.failed(3, &["1 shard stay with n1: no other node that may own them mounts their volume"]);
}

#[test]
fn status_is_well_only_when_all_is_owned_and_in_time() {
    let fleet = Fleet::new();
    let (status, json) = fleet.json(&["status"]);
    assert_eq!((status, &json["fleet"]["nodes"]), (3, &json!(0)), "nobody is there");
    let shards: Vec<_> = (0..SHARDS).map(|at| shard(at, fleet.claim(at, "n1"), 4.5)).collect();
    let n1 = FakeNode::saying(node("n1"), json!(shards), None);
    fleet.node("n1", &n1.address, &["default"]);
    let (status, json) = fleet.json(&["status"]);
    let glance = &json["fleet"];
    assert_eq!((status, &glance["attention"]), (0, &json!([])), "{json}");
    assert_eq!(
        (&glance["owned"], &glance["unowned"], &glance["moving"]),
        (&json!(4), &json!(0), &json!(0))
    );
    assert_eq!((&glance["databases"], &glance["max_exposure_seconds"]), (&json!(12), &json!(4.5)));

    let (status, json) = fleet.json(&["status", "--max-exposure", "4s"]);
    assert_eq!(status, 3);
    let said = json["fleet"]["attention"][0].as_str().unwrap();
    assert_eq!(said, "shard 0 of default (n1): a change has been waiting for 4.5 s");

    fleet.node("n2", "127.0.0.1:1", &["default"]);
    let (status, json) = fleet.json(&["status"]);
    assert_eq!(status, 3, "of a node that does not answer nothing is known: {json}");
    etcd::delete(fleet.port(), "/ultrasimple/eu/nodes/n2").unwrap();
    assert_eq!(fleet.json(&["status"]).0, 0);

    etcd::delete(fleet.port(), "/ultrasimple/eu/shards/default/0002").unwrap();
    let ran = fleet.run(&["status"]);
    assert_eq!(ran.status, 3);
    assert!(ran.stdout.contains("ATTENTION: nobody owns shard 2 of default\n"), "{ran:?}");
    assert!(ran.stdout.contains("shards        4, 3 owned, 1 without an owner"), "{ran:?}");
}

/// The volume of a node that is gone has no row any more; the bucket still knows it.
#[test]
fn status_misses_volumes_that_no_node_mounts() {
    let mut fleet = Fleet::new();
    fleet.bucket =
        Bucket::with(&[backup("acme/t1", "/data/t1.db", "2024-01-15T12:05:00Z")]).with_catalogs();
    let shards: Vec<_> = (0..SHARDS).map(|at| shard(at, fleet.claim(at, "n1"), 0.0)).collect();
    let n1 = FakeNode::saying(node("n1"), json!(shards), None);
    fleet.node("n1", &n1.address, &["default"]);
    let url = fleet.bucket.url();
    let (status, json) = fleet.json(&["status", "-bucket", &url]);
    assert_eq!((status, &json["databases"]), (0, &json!(1)), "{json}");
    fleet.claim(0, "n1");
    for at in 0..SHARDS {
        etcd::delete(fleet.port(), &format!("/ultrasimple/eu/shards/default/{at:04}")).unwrap();
    }
    fleet.node("n1", &n1.address, &["other"]);
    let (status, json) = fleet.json(&["status", "-bucket", &url]);
    assert_eq!(status, 3);
    let attention = json["fleet"]["attention"].to_string();
    assert!(
        attention
            .contains("no node mounts the volume default, of which the bucket knows 1 databases")
    );
    let other =
        json!({"format": 1, "fleet": "f", "shards": SHARDS, "template": "t", "bucket": "x"});
    fleet.put("fleet", &other);
    let (_, json) = fleet.json(&["status", "-bucket", &url]);
    assert!(json["fleet"]["attention"].to_string().contains("to another bucket"), "{json}");
}

#[test]
fn an_etcd_that_does_not_answer_is_named() {
    let bucket = Bucket::new();
    let silent = FakeNode::silent();
    for (address, words) in [
        ("127.0.0.1:1", &["shards"][..]),
        (&silent.address, &["nodes"]),
        (&silent.address, &["status"]),
        ("127.0.0.1:1", &["nodes", "drain", "n1"]),
    ] {
        let etcd = format!("http://{address}");
        let ran = Ran::of(bucket.command().args(["-etcd", &etcd]).args(words));
        ran.failed(1, &["etcd does not answer: ", &etcd]);
    }
    let ran = Ran::of(bucket.command().args(["nodes", "drain", "n1"]));
    ran.failed(2, &["-etcd is missing"]);
}

#[test]
fn watched_it_is_a_document_a_line() {
    use std::io::{BufRead, BufReader};
    let fleet = Fleet::new();
    fleet.node("n1", "", &["default"]);
    let mut command = fleet.command(&["shards", "--watch", "1", "--json"]);
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
    assert!(next()[0]["owner"].is_null());
    fleet.claim(0, "n1");
    while next()[0]["owner"] != "n1" {}
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn without_etcd_the_daemon_is_asked_and_then_the_bucket() {
    let bucket = Bucket::with(&[backup("acme/t1", "/data/t1.db", "2024-01-15T12:05:00Z")]);
    let bucket = bucket.with_catalogs();
    let mut says = node("n1");
    says["bucket"] = json!(bucket.url());
    let daemon = FakeNode::saying(says, json!([shard(0, 7, 400.0)]), None);
    let (status, rows) = bucket.json(&["shards", "-http", &daemon.address]);
    assert_eq!((status, &rows[0]["owner"], &rows[0]["desired"]), (0, &json!("n1"), &json!("n1")));
    let (_, rows) = bucket.json(&["nodes", "-http", &daemon.address]);
    assert_eq!((&rows[0]["node"], &rows[0]["state"]), (&json!("n1"), &json!("well")));
    let (status, json) = bucket.json(&["status", "-http", &daemon.address]);
    assert_eq!((status, &json["daemon"]["max_exposure_seconds"]), (3, &json!(400.0)), "{json}");
    let (status, json) =
        bucket.json(&["status", "-http", &daemon.address, "--max-exposure", "10m"]);
    assert_eq!((status, &json["databases"]), (0, &json!(1)), "{json}");

    // Of another bucket.
    let other = FakeNode::saying(node("n1"), json!([shard(0, 7, 400.0)]), None);
    let (status, json) = bucket.json(&["status", "-http", &other.address]);
    assert_eq!((status, &json["daemon"]), (0, &Value::Null), "{json}");

    let nobody = ["-http", "127.0.0.1:1"];
    let (status, json) = bucket.json(&[&["status"], &nobody[..]].concat());
    assert_eq!((status, &json["daemon"]), (0, &Value::Null), "{json}");
    let (status, rows) = bucket.json(&[&["shards"], &nobody[..]].concat());
    let rows = rows.as_array().unwrap();
    assert_eq!((status, rows.len()), (0, bucket.catalogs().len()));
    assert_eq!(rows.iter().map(|row| row["databases"].as_u64().unwrap()).sum::<u64>(), 1);
    assert!(rows.iter().all(|row| row["owner"].is_null() && row["epoch"].is_u64()), "{rows:?}");
    let without = |words: &[&str]| Ran::of(bucket.command().args(nobody).args(words));
    without(&["shards"])
        .failed(2, &["no daemon answers (http://127.0.0.1:1", "no -etcd and no -bucket"]);
    without(&["status"]).failed(2, &["-bucket is missing"]);
}

#[test]
fn health_is_what_the_daemon_of_this_host_says() {
    let bucket = Bucket::new();
    let health = |address: &str, words: &[&str]| {
        let mut command = bucket.command();
        // Nobody else is asked: there is no such etcd and no such bucket.
        command.args(["-etcd", "http://127.0.0.1:1", "-bucket", "file:///nowhere"]);
        Ran::of(command.args(["-http", address, "health"]).args(words))
    };
    let well = FakeNode::telling(&[("/healthz", 200, "ok"), ("/readyz", 200, "ready")]);
    assert_eq!(health(&well.address, &[]).well().stdout, "ok\n");
    assert_eq!(health(&well.address, &["--ready"]).well().stdout, "ready\n");
    let unready =
        FakeNode::telling(&[("/healthz", 200, "ok"), ("/readyz", 503, "the lease\nended")]);
    health(&unready.address, &[]).well();
    let ran = health(&unready.address, &["--ready", "--json"]);
    let said: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((ran.status, said), (1, json!({"well": false, "says": "the leaseended"})));
    let ran = health(&FakeNode::silent().address, &[]);
    assert_eq!(ran.status, 1, "{ran:?}");
    assert!(ran.stdout.contains("no answer within 2 s"), "{ran:?}");
    let ran = health("127.0.0.1:1", &[]);
    assert!(ran.status == 1 && ran.stdout.contains("refused"), "{ran:?}");
    health("off", &[]).failed(2, &["-http is off"]);
}
