//! `databases` and `backups`, the settings, and what is foreign in a bucket.

mod common;

use common::{Bucket, Ran, backup};
use ultrasimple_core::CheckResult;

fn two_databases() -> Bucket {
    let mut marked = backup("acme/t1/t1", "/data/acme/t1.db", "2024-01-15T14:10:00Z");
    marked.check = CheckResult::Failed("Tree 3 page 4: broken".to_owned());
    Bucket::with(&[
        backup("acme/t1/t1", "/data/acme/t1.db", "2024-01-15T12:05:00Z"),
        backup("acme/t1/t1", "/data/acme/t1.db", "2024-01-15T13:05:00Z"),
        marked,
        backup("beta/t2/t2", "/data/beta/t2.db", "2024-01-15T13:05:00Z"),
        // A stem that begins with the other's, and lies between its keys.
        backup("beta/t2/t2-20240115-130000", "/data/odd.db", "2024-01-15T13:05:00Z"),
    ])
}

fn add_foreign_objects(bucket: &Bucket) {
    bucket.put_bytes("readme.txt", b"hello");
    bucket.put_bytes("acme/t1/t1-20240115-140000.db", b"no suffix");
    bucket.put_bytes("acme/t1/t1-20240115-143000.db.lz4", b"no full hour");
    bucket.put_bytes(".ultrasimple/v1/cluster.json", b"{}");
    bucket.put_bytes(".ultrasimple/x-20240115-140000.db.lz4", b"ours, but no backup");
}

#[test]
fn databases_are_listed_and_foreign_objects_are_not() {
    let bucket = two_databases();
    let before = bucket.run(&["databases"]);
    add_foreign_objects(&bucket);
    let after = bucket.run(&["databases"]);
    assert_eq!(before.well().stdout, after.well().stdout);
    let lines: Vec<_> = after.stdout.lines().collect();
    assert!(lines[0].starts_with("DATABASE") && lines[0].ends_with("BACKUPS"), "{lines:?}");
    assert!(lines[1].starts_with("acme/t1/t1 ") && lines[1].ends_with(" 3"), "{lines:?}");
    assert!(lines[1].contains("20240115-150000"), "{lines:?}");
    assert!(lines[4].starts_with("3 databases, "), "{lines:?}");
}

#[test]
fn the_json_of_databases() {
    let bucket = two_databases();
    let (status, json) = bucket.json(&["databases", "--paths", "acme/*"]);
    assert_eq!(status, 0);
    let line = &json["databases"][0];
    assert_eq!(json["location"], bucket.url());
    assert_eq!(json["databases"].as_array().unwrap().len(), 1);
    assert_eq!(line["stem"], "acme/t1/t1");
    assert_eq!(line["newest_key"], "acme/t1/t1-20240115-150000.db.lz4");
    assert_eq!(line["newest_before"], "2024-01-15T15:00:00Z");
    assert_eq!(line["oldest_key"], "acme/t1/t1-20240115-130000.db.lz4");
    assert_eq!(line["backups"], 3);
    assert!(line["object_bytes"].as_u64() > line["newest_object_bytes"].as_u64());
    assert_eq!(line["path"], "/data/acme/t1.db");
    assert_eq!(line["volume"], "default");
    assert_eq!(line["captured_at"], "2024-01-15T14:10:00Z");
}

#[test]
fn a_glob_matches_stems_or_paths() {
    let bucket = two_databases();
    for (glob, expected) in [
        ("acme/*", &["acme/t1/t1"][..]),
        ("/data/beta/*", &["beta/t2/t2"]),
        ("*/odd.db", &["beta/t2/t2-20240115-130000"]),
        ("*t2*", &["beta/t2/t2", "beta/t2/t2-20240115-130000"]),
        ("nothing*", &[]),
    ] {
        let (status, json) = bucket.json(&["databases", glob]);
        assert_eq!(status, 0);
        let stems = json["databases"].as_array().unwrap().iter().map(|line| line["stem"].as_str());
        assert_eq!(stems.map(Option::unwrap).collect::<Vec<_>>(), expected, "{glob}");
    }
}

#[test]
fn backups_of_one_database() {
    let bucket = two_databases();
    bucket.put_bytes("acme/t1/t1-20240115-120000.db.lz4", b"damaged");
    for name in ["acme/t1/t1", "/data/acme/t1.db", "acme/t1/t1-20240115-130000.db.lz4"] {
        let ran = bucket.run(&["backups", name]);
        let lines: Vec<_> = ran.well().stdout.lines().collect();
        assert_eq!(lines.len(), 6, "{lines:?}");
        assert!(lines[0].contains("acme/t1/t1: /data/acme/t1.db on volume default"), "{lines:?}");
        assert!(lines[2].contains("2024-01-15 14:10:00Z") && lines[2].contains("FAILED: Tree 3"));
        assert!(lines[3].contains("passed") && lines[3].contains("node-1"), "{lines:?}");
        assert!(lines[5].contains("UNREADABLE"), "{lines:?}");
    }
    let (_, json) = bucket.json(&["backups", "acme/t1/t1"]);
    let lines = json["backups"].as_array().unwrap();
    assert_eq!(lines[0]["check"]["result"], "failed");
    assert_eq!(lines[0]["check"]["reason"], "Tree 3 page 4: broken");
    assert_eq!(lines[1]["key"], "acme/t1/t1-20240115-140000.db.lz4");
    assert_eq!(lines[1]["hour_start"], "2024-01-15T13:00:00Z");
    assert_eq!(lines[1]["hour_end"], "2024-01-15T14:00:00Z");
    assert_eq!(lines[1]["captured_at"], "2024-01-15T13:05:00Z");
    assert_eq!(lines[1]["check"]["result"], "passed");
    assert_eq!((&lines[1]["node"], &lines[1]["epoch"]), (&"node-1".into(), &7.into()));
    assert_eq!(lines[1]["blake3"].as_str().unwrap().len(), 64);
    assert!(lines[3]["error"].as_str().unwrap().contains("footer"), "{json}");
    assert!(lines[3].get("captured_at").is_none());
}

#[test]
fn what_is_not_there_is_said() {
    let bucket = two_databases();
    bucket.run(&["backups", "acme/t9"]).failed(1, &["acme/t9", "databases", "begins with '/'"]);
    bucket.run(&["backups", "/data/t9.db"]).failed(1, &["no backup of /data/t9.db", "--paths"]);
    let (status, json) = bucket.json(&["backups", "acme/t9"]);
    assert_eq!(status, 1);
    assert!(json["error"].as_str().unwrap().contains("acme/t9"));
    let empty = Bucket::new();
    let ran = empty.run(&["databases"]);
    assert!(ran.well().stderr.contains("no backups in file://"), "{ran:?}");
    assert_eq!(empty.json(&["databases"]).1["databases"].as_array().unwrap().len(), 0);
}

#[test]
fn the_bucket_comes_from_flag_variable_or_file() {
    let bucket = two_databases();
    let file = bucket.out("daemon.toml");
    std::fs::write(&file, format!("bucket = \"{}\"\ninterval = \"15s\"\n", bucket.url())).unwrap();
    let file = file.to_str().unwrap();
    for args in [
        vec!["--bucket", &bucket.url(), "databases"],
        vec!["databases", "-bucket", &bucket.url()],
        vec!["-config", file, "databases"],
    ] {
        assert!(Ran::of(bucket.command().args(args)).well().stdout.contains("acme/t1/t1"));
    }
    let by_variable =
        Ran::of(bucket.command().env("ULTRASIMPLE_BUCKET", bucket.url()).arg("databases"));
    assert!(by_variable.well().stdout.contains("acme/t1/t1"));
    let flag_wins =
        Ran::of(bucket.command().env("ULTRASIMPLE_BUCKET", "file:///nowhere/at/all").args([
            "-bucket",
            &bucket.url(),
            "databases",
        ]));
    flag_wins.well();
}

#[test]
fn what_is_wrong_with_the_settings_is_said() {
    let bucket = two_databases();
    let run = |args: &[&str]| Ran::of(bucket.command().args(args));
    run(&["databases"]).failed(2, &["-bucket is missing"]);
    run(&["-bucket", "/srv", "databases"]).failed(2, &["file:///dir"]);
    run(&["-bucket", "file:///nowhere/at/all", "databases"]).failed(1, &["/nowhere/at/all"]);
    run(&["-bucket", &bucket.url(), "databases", "-nope"]).failed(2, &["-nope"]);
    run(&["-config", "nofile.toml", "databases"]).failed(2, &["nofile.toml"]);
    run(&["-bucket", &bucket.url(), "databases", "a["]).failed(2, &["not a glob"]);
    let misspelt = Ran::of(bucket.command().env("ULTRASIMPLE_BUKET", "x").arg("databases"));
    misspelt.failed(2, &["ULTRASIMPLE_BUKET", "ULTRASIMPLE_BUCKET"]);
    assert!(!std::path::Path::new("/nowhere").exists(), "nothing is created");
}

#[test]
fn help_has_examples() {
    let bucket = Bucket::new();
    for args in [&["--help"][..], &["-help"], &["restore", "-h"], &["help", "restore"]] {
        let ran = Ran::of(bucket.command().args(args));
        assert!(ran.well().stdout.contains("Examples:"), "{ran:?}");
    }
    let version = Ran::of(bucket.command().arg("-version"));
    assert!(version.well().stdout.starts_with("ultrasimple-ctl 0."), "{version:?}");
}
