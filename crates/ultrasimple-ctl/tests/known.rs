//! What the catalogs add to `databases` and `backups`, and how a path is found through them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod common;

use std::fs;

use common::{Bucket, backup, content};
use serde_json::Value;
use ultrasimple_core::CheckResult;

const NEWEST: &str = "acme/t1-20240115-140000.db.lz4";

fn plain() -> Bucket {
    Bucket::with(&[
        backup("acme/t1", "/data/t1.db", "2024-01-15T12:05:00Z"),
        backup("acme/t1", "/data/t1.db", "2024-01-15T13:05:00Z"),
        backup("acme/t2", "/data/t2.db", "2024-01-15T13:05:00Z"),
    ])
}

fn bucket() -> Bucket {
    plain().with_catalogs()
}

/// Makes every backup unreadable, so that whatever is told is from the catalogs.
fn damage_all(bucket: &Bucket) {
    for key in common::files(&bucket.object_path("")) {
        if key.ends_with(".db.lz4") {
            let length = fs::metadata(bucket.object_path(&key)).unwrap().len();
            bucket.put_bytes(&key, &vec![0; usize::try_from(length).unwrap()]);
        }
    }
}

#[test]
fn paths_and_more_come_from_the_catalogs() {
    let bucket = bucket();
    bucket.run(&["verify", "acme/t1"]).well();
    bucket.run(&["hold", "acme/t1"]).well();
    bucket.edit_record("acme/t1", |record| {
        record.gone_since = "2024-01-15T14:00:00Z".parse().ok();
        record.failed_check = Some("page 3".into());
    });
    damage_all(&bucket);
    let (status, json) = bucket.json(&["databases", "/data/*"]);
    assert_eq!(status, 0);
    assert!(json.get("as_of").is_none() && json["lost"].as_array().unwrap().is_empty());
    let line = &json["databases"][0];
    assert_eq!((&line["path"], &line["volume"]), (&"/data/t1.db".into(), &"default".into()));
    assert_eq!(line["captured_at"], "2024-01-15T13:05:00Z");
    assert_eq!(
        (&line["held"], &line["gone_since"]),
        (&true.into(), &"2024-01-15T14:00:00Z".into())
    );
    assert_eq!(line["failed_check"], "page 3");
    assert!(line["verified_at"].is_string() && line.get("fault").is_none());
    let other = &json["databases"][1];
    assert_eq!((&other["stem"], &other["held"]), (&"acme/t2".into(), &false.into()));
    for absent in
        ["gone_since", "failed_check", "verified_at", "marked", "fault", "lost_newest_key"]
    {
        assert!(other.get(absent).is_none(), "{absent}");
    }
    let ran = bucket.run(&["databases"]);
    let lines: Vec<_> = ran.well().stdout.lines().collect();
    assert!(lines[0].ends_with("STATE") && lines[0].contains("VERIFIED"), "{lines:?}");
    assert!(lines[1].ends_with("CHECK FAILED, gone, held"), "{lines:?}");
    assert!(
        lines[3].starts_with("2 databases, 1 in need of attention, 1 gone, 1 held, "),
        "{lines:?}"
    );
    let ran = bucket.run(&["databases", "--paths"]);
    assert!(ran.well().stdout.contains("/data/t2.db"), "{ran:?}");
}

#[test]
fn what_is_lost_is_said() {
    let bucket = bucket();
    bucket.lose(NEWEST);
    bucket.lose("acme/t2-20240115-140000.db.lz4");
    let ran = bucket.run(&["databases"]);
    assert!(ran.well().stderr.contains("LOST") && ran.stderr.contains("acme/t2"), "{ran:?}");
    assert!(ran.stdout.contains("NEWEST LOST"), "{ran:?}");
    let (_, json) = bucket.json(&["databases"]);
    assert_eq!(json["lost"][0], "acme/t2");
    assert_eq!(json["databases"][0]["lost_newest_key"], NEWEST);
    assert!(json["databases"][0].get("captured_at").is_none());
    let ran = bucket.run(&["backups", "acme/t1"]);
    assert!(ran.well().stderr.contains(NEWEST), "{ran:?}");
    assert_eq!(bucket.json(&["backups", "acme/t1"]).1["lost"][0], NEWEST);
}

#[test]
fn the_catalogs_alone_can_be_asked() {
    let bucket = bucket();
    bucket.put(&backup("new/t9", "/data/t9.db", "2024-01-15T13:05:00Z"));
    let (status, json) = bucket.json(&["databases", "-from-catalogs"]);
    assert_eq!((status, &json["as_of"]), (0, &"2024-01-15T15:00:00Z".into()));
    let mut lines = json["databases"].clone();
    let (_, listed) = bucket.json(&["databases", "acme/*"]);
    assert_eq!(lines.as_array_mut().unwrap(), listed["databases"].as_array().unwrap());
    let ran = bucket.run(&["databases", "--from-catalogs", "*t2*"]);
    assert!(
        ran.well().stdout.contains("1 database, ")
            && ran.stdout.contains("the oldest of 2024-01-15")
    );
    let ran = plain().run(&["databases", "--from-catalogs"]);
    assert!(ran.well().stderr.contains("no backups"), "{ran:?}");
}

#[test]
fn damaged_catalogs_cost_information_only() {
    let bucket = bucket();
    for catalog in bucket.catalogs() {
        bucket.put_bytes(catalog.key.object_key().as_str(), b"damaged");
    }
    for args in [&["databases"][..], &["backups", "/data/t1.db"], &["databases", "/data/*"]] {
        let (ran, plain) = (bucket.run(args), plain().run(args));
        assert_eq!(ran.well().stdout, plain.well().stdout);
        assert!(
            ran.stderr.contains("cannot be used") && ran.stderr.contains("catalog rebuild"),
            "{ran:?}"
        );
    }
    bucket.run(&["restore", "/data/t1.db", "-o", "t1.db"]).well();
    assert_eq!(content(&bucket.out("t1.db")), "acme/t1 2024-01-15T13:05:00Z");
}

#[test]
fn backups_show_what_the_catalog_knows() {
    let bucket = bucket();
    bucket.run(&["verify", "acme/t1"]).well();
    let (_, json) = bucket.json(&["backups", "acme/t1"]);
    assert_eq!((&json["held"], &json["lost"]), (&false.into(), &Value::Array(vec![])));
    let lines = json["backups"].as_array().unwrap();
    assert_eq!((&lines[0]["newest"], &lines[1]["newest"]), (&true.into(), &false.into()));
    assert!(lines[0]["verified_at"].is_string() && lines[1].get("verified_at").is_none());
    let ran = bucket.run(&["backups", "acme/t1"]);
    assert!(ran.well().stdout.contains("passed, verified 20"), "{ran:?}");
    bucket.edit_record("acme/t1", |record| {
        record.hours[1].fault = Some("a bit flipped".into());
    });
    bucket.run(&["hold", "acme/t1"]).well();
    let ran = bucket.run(&["backups", "acme/t1"]);
    assert!(
        ran.well().stdout.contains("FAULTY on 20") && ran.stdout.contains(", held\n"),
        "{ran:?}"
    );
    assert_eq!(bucket.json(&["backups", "acme/t1"]).1["backups"][0]["fault"], "a bit flipped");
    // Another object by now: what was verified says nothing of it.
    let mut other = backup("acme/t1", "/data/t1.db", "2024-01-15T13:06:00Z");
    other.check = CheckResult::Skipped;
    bucket.put(&other);
    let (_, json) = bucket.json(&["backups", "acme/t1"]);
    assert!(json["backups"][0].get("verified_at").is_none(), "{json}");
}

#[test]
fn a_path_is_found_through_the_catalogs_but_the_objects_decide() {
    let bucket = bucket();
    // A name that no key tells.
    bucket.put(&backup("copied/elsewhere", "/data/odd.db", "2024-01-15T13:05:00Z"));
    let bucket = bucket.with_catalogs();
    let restore = |path: &str, out: &str| bucket.run(&["restore", path, "-o", out]);
    restore("/data/odd.db", "odd.db").well();
    assert_eq!(content(&bucket.out("odd.db")), "copied/elsewhere 2024-01-15T13:05:00Z");
    // The catalog lies about a path: the objects are asked. (Without the cluster file all catalogs are read,
    // also those that the path does not belong to.)
    bucket.lose(".ultrasimple/v1/cluster.json");
    bucket.edit_record("acme/t2", |record| record.path = record_path("/data/t1.db"));
    restore("/data/t1.db", "t1.db").well();
    assert_eq!(content(&bucket.out("t1.db")), "acme/t1 2024-01-15T13:05:00Z");
    restore("/data/t2.db", "t2.db").well();
    assert_eq!(content(&bucket.out("t2.db")), "acme/t2 2024-01-15T13:05:00Z");
    // The catalog knows nothing any more of a database that is there.
    for catalog in bucket.catalogs() {
        bucket.lose(catalog.key.object_key().as_str());
    }
    restore("/data/odd.db", "again.db").well();
}

fn record_path(path: &str) -> ultrasimple_core::SourcePath {
    ultrasimple_core::SourcePath::from_bytes(path.as_bytes())
}

#[test]
fn tables_fit_the_terminal() {
    let long = format!("acme/{}t1/t1", "branch-of-a-long-name/".repeat(6));
    let bucket = Bucket::with(&[
        backup(
            &long,
            "/data/acme/databases/users/branches/main/tenants/t1.db",
            "2024-01-15T12:05:00Z",
        ),
        backup(
            &long,
            "/data/acme/databases/users/branches/main/tenants/t1.db",
            "2024-01-15T13:05:00Z",
        ),
    ]);
    let bucket = bucket.with_catalogs();
    bucket.run(&["hold", &long, "--reason", &"because ".repeat(10)]).well();
    bucket.run(&["verify"]).well();
    let key = format!("{long}-20240115-130000.db.lz4");
    bucket.put_bytes(&key, b"damaged");
    for args in [
        &["databases"][..],
        &["databases", "--paths"],
        &["backups", &long],
        &["verify", "--all-hours", "--verbose"],
        &["prune", "--dry-run", "--verbose", "-retention-days", "1"],
        &["holds"],
    ] {
        let ran = bucket.on_terminal(args, "");
        let rows = ran.stdout.lines().filter(|line| line.contains('…')).count();
        assert!(rows > 0, "{ran:?}");
        for line in ran.stdout.lines().filter(|line| line.contains('…') || line.contains("HOUR"))
        {
            assert!(line.chars().count() <= 80, "{args:?}: {line}");
        }
        let piped = bucket.run(args);
        assert!(piped.stdout.contains(&long) && !piped.stdout.contains('…'), "{piped:?}");
    }
}
