//! `cost --from-catalogs`: what is read, what flags say instead, and where nothing can be read.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod common;

use common::{Bucket, Ran};
use serde_json::Value;
use ultrasimple_core::catalog::{HeldHour, Newest, Record};
use ultrasimple_core::{
    Catalog, ContentHash, ETag, Epoch, Hour, ShardId, ShardKey, SourcePath, Timestamp,
};

/// When the newest catalog was written; the last closed hour ended at 14:00.
const WRITTEN: &str = "2024-01-15T14:30:00Z";
const EARLIER: &str = "2024-01-15T13:40:00Z";

/// A database with these hours, counted back from the last closed one, of 1,000 bytes stored of 4,000.
fn record(path: &str, ago: impl IntoIterator<Item = u32>) -> Record {
    let last = "2024-01-15T13:30:00Z".parse::<Timestamp>().unwrap();
    let mut record = Record::new(SourcePath::from_bytes(path.as_bytes()));
    for ago in ago {
        let time = Timestamp::from_second(last.as_second() - i64::from(ago) * 3_600).unwrap();
        record.put_hour(HeldHour::new(Hour::of(time), 1_000, ETag("e".into())));
    }
    let captured_at = record.newest_hour().unwrap().hour.start();
    let blake3 = ContentHash::of(b"");
    record.newest = Some(Newest { captured_at, blake3, size: 4_000, marked: None });
    record
}

fn put(bucket: &Bucket, shard: u32, written_at: &str, records: Vec<(&str, Record)>) {
    let key = ShardKey { volume: "default".parse().unwrap(), shard: ShardId(shard) };
    let node = "node-1".parse().unwrap();
    let mut catalog = Catalog::new(key, 16, Epoch(1), node, written_at.parse().unwrap());
    let stem = |name: &str| name.to_owned().try_into().unwrap();
    catalog.databases = records.into_iter().map(|(name, record)| (stem(name), record)).collect();
    bucket.put_bytes(catalog.key.object_key().as_str(), &catalog.to_bytes().unwrap());
}

/// One that always changes, three with two changes a week each, and one that is gone: 720 + 3 x 3 + 1 backups.
fn bucket() -> Bucket {
    let bucket = Bucket::new();
    let quiet = |path| record(path, [30, 100, 500]);
    let hot = record("/data/hot.db", 0..720);
    put(&bucket, 0, WRITTEN, vec![("acme/hot", hot), ("acme/t1", quiet("/data/t1.db"))]);
    let mut gone = record("/data/gone.db", [200]);
    gone.gone_since = Some(EARLIER.parse().unwrap());
    let others = vec![
        ("acme/t2", quiet("/data/t2.db")),
        ("acme/t3", quiet("/data/t3.db")),
        ("acme/x", gone),
    ];
    put(&bucket, 7, EARLIER, others);
    bucket
}

fn cost(bucket: &Bucket, words: &[&str]) -> Value {
    let (status, json) = bucket.json(&[&["cost", "--from-catalogs"], words].concat());
    assert_eq!(status, 0, "{json}");
    json
}

#[track_caller]
fn assert_near(found: &Value, expected: f64) {
    assert!((found.as_f64().unwrap() - expected).abs() < 1e-6, "{found}, not {expected}");
}

#[test]
fn the_numbers_are_those_of_the_catalogs() {
    let bucket = bucket();
    let json = cost(&bucket, &[]);
    let catalogs = &json["catalogs"];
    assert_eq!(catalogs["location"], bucket.url());
    assert_eq!(catalogs["oldest_written_at"], EARLIER);
    assert_eq!(catalogs["newest_written_at"], WRITTEN);
    for (field, number) in [
        ("number", 2),
        ("shards", 16),
        ("databases", 4),
        ("gone", 1),
        ("hot", 1),
        ("too_young", 0),
        ("image_bytes", 4_000),
        ("backups", 730),
        ("object_bytes", 730_000),
    ] {
        assert_eq!(catalogs[field], number, "{field}");
    }
    assert_eq!(catalogs["unusable"], Value::Array(vec![]));
    assert_near(&catalogs["observed_days"], 7.0);
    let workload = &json["workload"];
    assert_eq!((&workload["databases"], &workload["hot"]), (&4.into(), &1.into()));
    assert_near(&workload["changes_per_day"], 0.285_714);
    assert_near(&workload["compression"], 0.25);
    for number in ["databases", "hot", "changes_per_day", "image_bytes", "compression"] {
        assert_eq!(json["sources"][number], "read", "{number}");
    }
    assert_eq!(json["settings"]["shards"], 16);
    assert_eq!(
        (&json["lines"][0]["requests"], &json["storage"]["objects"]),
        (&172_800.into(), &730.into())
    );
    assert_near(&json["lines"][1]["requests"], 26.0);
    assert_eq!(
        (&json["storage"]["basis"], &json["storage"]["object_bytes"]),
        (&"held".into(), &1_000.into())
    );
    // Two catalogs, and not as many as there are databases.
    let starts = |line: &&Value| line["cause"] == "starts" && line["kind"] == "get";
    assert_eq!(json["lines"].as_array().unwrap().iter().find(starts).unwrap()["requests"], 16);
    let natures = json["halved"].as_array().unwrap();
    let nature = |flag: &str| &natures.iter().find(|h| h["flag"] == flag).unwrap()["nature"];
    assert_eq!((nature("--size"), nature("--hot")), (&"fact".into(), &"assumption".into()));
}

#[test]
fn people_are_told_what_was_read_and_of_when() {
    let bucket = bucket();
    let ran = bucket.run(&["cost", "--from-catalogs", "--size", "8KiB", "-shards", "16"]);
    let words: Vec<_> = ran.well().stdout.split_whitespace().collect();
    let text = words.join(" ");
    for said in [
        "By 2 catalogs of file:///",
        "written 2024-01-15 13:40:00Z to 2024-01-15 14:30:00Z:",
        "--databases 4 read from the catalogs",
        "--hot 1 read from the catalogs",
        "--changes-per-day 0.29 read from the catalogs",
        "--size 8 KiB given",
        "-shards 16 given",
        "22 of the last 24 closed hours",
        "in 7 days on average",
        "Besides, 1 database is gone: only storage.",
        "always changing databases PUT 172,800 $0.86",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
    let location = bucket.url();
    let long = |line: &&str| line.chars().count() > 80 && !line.contains(&location);
    assert_eq!(ran.stdout.lines().find(long), None);
    assert!(ran.stderr.is_empty(), "{}", ran.stderr);
}

#[test]
fn a_flag_stands_instead_of_what_was_read() {
    let bucket = bucket();
    let json = cost(&bucket, &["--hot", "2", "--databases", "1000", "-shards", "8"]);
    let sources = &json["sources"];
    assert_eq!((&sources["hot"], &sources["databases"]), (&"given".into(), &"given".into()));
    assert_eq!(sources["compression"], "read");
    assert_eq!((&json["workload"]["hot"], &json["catalogs"]["hot"]), (&2.into(), &1.into()));
    assert_eq!(json["settings"]["shards"], 8);
    // What would be, and not what is.
    assert_eq!(json["storage"]["basis"], "steady_state");
    assert!(json["storage"]["objects"].as_u64() > Some(1_000), "{json}");
    for words in
        [&["-retention-days", "90"][..], &["-keep", "hourly=48"], &["--compression", "0.3"]]
    {
        assert_eq!(cost(&bucket, words)["storage"]["basis"], "steady_state", "{words:?}");
    }
    for words in [&["-interval", "1m"][..], &["--restarts-per-month", "9"], &["-put-budget", "9"]] {
        assert_eq!(cost(&bucket, words)["storage"]["basis"], "held", "{words:?}");
    }
}

#[test]
fn what_is_held_and_what_would_be_are_both_told_where_they_differ() {
    // A day old.
    let young = Bucket::new();
    let records = vec![("a", record("/a.db", 0..24)), ("b", record("/b.db", [3, 20]))];
    put(&young, 0, WRITTEN, records);
    let json = cost(&young, &[]);
    assert_eq!(
        (&json["storage"]["objects"], &json["storage"]["basis"]),
        (&26.into(), &"held".into())
    );
    assert!(json["storage"]["steady_state"]["objects"].as_u64() > Some(721), "{json}");
    let ran = young.run(&["cost", "--from-catalogs"]);
    assert!(ran.well().stdout.contains("26 backups held = 25.39 KiB, by the catalogs"), "{ran:?}");
    assert!(ran.stdout.contains("In the steady state of these numbers and settings"), "{ran:?}");
    let ran = young.run(&["cost", "--from-catalogs", "-retention-days", "7"]);
    assert!(ran.well().stdout.contains("Held now are 26 backups"), "{ran:?}");
    // A month old, and as large as the model has it.
    let ran = bucket().run(&["cost", "--from-catalogs"]);
    assert!(!ran.well().stdout.contains("In the steady state"), "{ran:?}");
}

#[test]
fn what_cannot_be_used_is_passed_over_and_said() {
    let bucket = bucket();
    let damaged = ".ultrasimple/v1/catalog/default/9.jsonl.lz4";
    bucket.put_bytes(damaged, b"damaged");
    let ran = bucket.run(&["cost", "--from-catalogs", "--json"]);
    assert!(
        ran.well().stderr.contains(damaged) && ran.stderr.contains("catalog rebuild"),
        "{ran:?}"
    );
    let json: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(
        (&json["catalogs"]["number"], &json["catalogs"]["databases"]),
        (&3.into(), &4.into())
    );
    assert_eq!(json["catalogs"]["unusable"][0]["key"], damaged);
    assert!(json["catalogs"]["unusable"][0]["reason"].is_string());
    let ran = bucket.run(&["cost", "--from-catalogs"]);
    assert!(ran.well().stdout.contains("1 of 3 catalogs cannot be used"), "{ran:?}");
    for key in ["0", "7"] {
        bucket.put_bytes(&format!(".ultrasimple/v1/catalog/default/{key}.jsonl.lz4"), b"damaged");
    }
    bucket
        .run(&["cost", "--from-catalogs"])
        .failed(1, &["no catalog", "catalog rebuild", "--databases"]);
}

#[test]
fn without_catalogs_there_is_no_answer() {
    let bucket = Bucket::new();
    let ran = bucket.run(&["cost", "--from-catalogs"]);
    ran.failed(1, &["no catalog", "catalog rebuild", "--databases"]);
    assert_eq!(ran.stdout, "");
    put(&bucket, 0, WRITTEN, vec![]);
    bucket.run(&["cost", "--from-catalogs"]).failed(1, &["know of no backup", "catalog rebuild"]);
    // Nothing but what is gone is something.
    let mut gone = record("/data/gone.db", [200]);
    gone.gone_since = Some(EARLIER.parse().unwrap());
    put(&bucket, 0, WRITTEN, vec![("a", gone)]);
    let json = cost(&bucket, &[]);
    assert_eq!(
        (&json["workload"]["databases"], &json["storage"]["objects"]),
        (&0.into(), &1.into())
    );
    assert_eq!(json["sources"]["changes_per_day"], "default");
}

#[test]
fn the_bucket_is_read_only_where_it_is_asked_for() {
    let bucket = bucket();
    let cost = |words: &[&str]| Ran::of(bucket.command().arg("cost").args(words));
    cost(&["--from-catalogs"]).failed(2, &["bucket"]);
    cost(&["-bucket", &bucket.url()]).failed(2, &["-bucket", "--from-catalogs"]);
    cost(&["-bucket", "file:///does/not/exist", "--from-catalogs"]).failed(1, &["/does/not/exist"]);
    let variable = |words: &[&str]| {
        let mut command = bucket.command();
        command.env("ULTRASIMPLE_BUCKET", bucket.url()).args(["cost", "--json"]).args(words);
        let ran = Ran::of(&mut command);
        serde_json::from_str::<Value>(&ran.well().stdout).unwrap()
    };
    let without = variable(&["--hot", "3"]);
    assert_eq!(
        (&without["catalogs"], &without["workload"]["databases"]),
        (&Value::Null, &100_000.into())
    );
    assert_eq!(
        (&without["sources"]["hot"], &without["sources"]["size"]),
        (&"given".into(), &Value::Null)
    );
    assert_eq!(without["sources"]["image_bytes"], "default");
    assert_eq!(without["storage"]["basis"], "steady_state");
    assert_eq!(variable(&["--from-catalogs"])["workload"]["databases"], 4);
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let bucket = bucket();
    for (words, named) in [
        (&["--hot", "5"][..], "--hot 5: it is a part of --databases 4 (by the catalogs)"),
        (&["--databases", "0"], "--databases 0"),
        (&["--size", "0"], "--size"),
        (&["-interval", "0s"], "-interval"),
        (&["--list-providers"], "--list-providers"),
    ] {
        let ran = bucket.run(&[&["cost", "--from-catalogs"], words].concat());
        ran.failed(2, &[named]);
    }
}
