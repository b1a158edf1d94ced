//! `verify`: what is deleted, damaged, swapped or added behind the tool's back is found and named.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod common;

use std::fs;
use std::process::Stdio;

use common::{Bucket, Ran, backup};
use serde_json::Value;
use ultrasimple_core::CheckResult;

const T1: &str = "acme/t1-20240115-140000.db.lz4";
const T1_OLD: &str = "acme/t1-20240115-130000.db.lz4";
const T2: &str = "acme/t2-20240115-140000.db.lz4";

fn bucket() -> Bucket {
    Bucket::with(&[
        backup("acme/t1", "/data/acme/t1.db", "2024-01-15T12:05:00Z"),
        backup("acme/t1", "/data/acme/t1.db", "2024-01-15T13:05:00Z"),
        backup("acme/t2", "/data/acme/t2.db", "2024-01-15T13:05:00Z"),
        backup("beta/t3", "/srv/t3.db", "2024-01-15T13:05:00Z"),
    ])
}

/// Result and reason of each backup.
fn results(json: &Value) -> Vec<(&str, &str, &str)> {
    let lines = json["backups"].as_array().unwrap().iter();
    lines
        .map(|line| {
            let reason = line["reason"].as_str().unwrap_or_default();
            (line["key"].as_str().unwrap(), line["result"].as_str().unwrap(), reason)
        })
        .collect()
}

#[test]
fn what_is_well_is_said_to_be() {
    for bucket in [bucket(), bucket().with_catalogs()] {
        let ran = bucket.run(&["verify"]);
        assert_eq!(ran.well().stdout.lines().count(), 1, "{ran:?}");
        assert!(ran.stdout.starts_with("verified 3 backups (") && ran.stdout.contains(": 3 OK"));
        let ran = bucket.run(&["verify", "-verbose", "-all-hours"]);
        assert_eq!(ran.well().stdout.lines().count(), 6, "{ran:?}");
        assert!(ran.stdout.contains(T1_OLD) && ran.stdout.contains(": 4 OK"), "{ran:?}");
    }
}

#[test]
fn the_json_of_verify() {
    let bucket = bucket().with_catalogs();
    let (status, json) = bucket.json(&["verify", "acme/t1", "--all-hours"]);
    assert_eq!(status, 0);
    assert_eq!(json["location"], bucket.url());
    assert_eq!(json["all_hours"], true);
    assert_eq!((&json["sample_percent"], &json["seed"]), (&Value::Null, &Value::Null));
    for (field, number) in [
        ("checked", 2),
        ("ok", 2),
        ("warnings", 0),
        ("failures", 0),
        ("errors", 0),
        ("recorded", 2),
    ] {
        assert_eq!(json[field], number, "{field}");
    }
    let line = &json["backups"][1];
    assert_eq!(line["key"], T1);
    assert_eq!(line["result"], "ok");
    assert_eq!(line["path"], "/data/acme/t1.db");
    assert_eq!(line["volume"], "default");
    assert_eq!(line["captured_at"], "2024-01-15T13:05:00Z");
    assert!(line["image_bytes"].as_u64().unwrap() > 0 && line.get("reason").is_none());
    assert_eq!(
        json["image_bytes"].as_u64().unwrap(),
        2 * line["image_bytes"].as_u64().unwrap(),
        "both have the same size"
    );
}

#[test]
fn damage_loss_and_strangers_are_failures() {
    for bucket in [bucket(), bucket().with_catalogs()] {
        let knows = !bucket.catalogs().is_empty();
        bucket.damage(T2);
        let ran = bucket.run(&["verify"]);
        ran.failed(3, &[]);
        assert!(ran.stdout.contains(&format!("FAILURE  {T2}")), "{ran:?}");
        // Another database's backup under this key.
        fs::copy(bucket.object_path("beta/t3-20240115-140000.db.lz4"), bucket.object_path(T2))
            .unwrap();
        let (status, json) = bucket.json(&["verify", "acme/t2"]);
        let results = results(&json);
        assert_eq!((status, results[0].1), (3, "failure"), "{json}");
        assert!(results[0].2.contains("/srv/t3.db"), "{json}");
        // The newest is gone: only the catalogs can know.
        bucket.lose(T1);
        let (status, json) = bucket.json(&["verify", "acme/t1"]);
        assert_eq!(status, if knows { 3 } else { 0 }, "{json}");
        if knows {
            assert_eq!(self::results(&json)[0], (T1, "failure", "it is missing"));
        }
    }
}

#[test]
fn all_objects_of_a_database_may_be_lost() {
    let bucket = bucket().with_catalogs();
    bucket.lose(T2);
    let (status, json) = bucket.json(&["verify"]);
    assert_eq!(status, 3);
    assert_eq!(results(&json)[0], (T2, "failure", "it is missing"));
    assert_eq!(json["checked"], 3);
    let (status, json) = bucket.json(&["verify", "--all-hours", "--match", "/data/acme/*"]);
    assert_eq!(status, 3);
    assert_eq!((&json["checked"], &json["failures"]), (&3.into(), &1.into()));
}

#[test]
fn an_older_backup_may_be_lost() {
    let bucket = bucket().with_catalogs();
    bucket.lose(T1_OLD);
    bucket.run(&["verify"]).well();
    for args in [&["verify", "--all-hours"][..], &["verify", "acme/t1", "--all-hours"]] {
        let (status, json) = bucket.json(args);
        assert_eq!((status, results(&json)[0]), (3, (T1_OLD, "failure", "it is missing")));
        assert_eq!(json["failures"], 1);
    }
    bucket.run(&["verify", T1_OLD]).failed(3, &[]);
    bucket.run(&["verify", T1]).well();
}

#[test]
fn ctrl_c_leaves_scratch_empty() {
    let mut large = backup("large", "/data/large.db", "2024-01-15T14:50:00Z");
    large.image = vec![0; 256 << 20];
    let bucket = Bucket::with(&[large]);
    let scratch = bucket.out("scratch");
    fs::create_dir(&scratch).unwrap();
    let mut command = bucket.command();
    command.args(["-bucket", &bucket.url(), "verify", "--scratch", "scratch"]);
    let child = command.stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let has_spool = |folder: &std::path::Path| {
        fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some())
    };
    let folders = || fs::read_dir(&scratch).unwrap().flatten().map(|entry| entry.path());
    while !folders().any(|folder| has_spool(&folder)) {
        std::thread::yield_now();
    }
    let id = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    assert_eq!(fs::read_dir(&scratch).unwrap().count(), 0);
}

#[test]
fn a_marked_backup_is_a_warning() {
    let mut marked = backup("acme/t4", "/data/acme/t4.db", "2024-01-15T13:05:00Z");
    marked.check = CheckResult::Failed("page 3".to_owned());
    let bucket = bucket();
    bucket.put(&marked);
    let bucket = bucket.with_catalogs();
    let (status, json) = bucket.json(&["verify"]);
    assert_eq!((status, &json["warnings"]), (4, &1.into()), "{json}");
    assert!(results(&json)[0].2.contains("marked"), "the worst comes first: {json}");
    assert!(bucket.record("acme/t4").unwrap().hours[0].verified_at.is_some());
}

#[test]
fn a_database_that_is_damaged_in_a_whole_object_is_a_failure() {
    let mut damaged = backup("acme/t5", "/data/acme/t5.db", "2024-01-15T13:05:00Z");
    damaged.image[4_096..8_192].fill(0xee);
    let bucket = Bucket::with(&[damaged]);
    let (status, json) = bucket.json(&["verify"]);
    assert_eq!(status, 3);
    assert!(results(&json)[0].2.contains("integrity_check finds"), "{json}");
}

#[test]
fn results_are_recorded_unless_they_are_not_to_be() {
    let bucket = bucket().with_catalogs();
    bucket.run(&["verify", "--no-record"]).well();
    assert!(bucket.record("acme/t1").unwrap().hours[1].verified_at.is_none());
    bucket.damage(T2);
    bucket.run(&["verify", "--all-hours"]).failed(3, &[]);
    let hours = bucket.record("acme/t1").unwrap().hours;
    assert!(hours.iter().all(|held| held.verified_at.is_some() && held.fault.is_none()));
    // The catalog knows the object as it was before: what is there now is another one.
    assert!(bucket.record("acme/t2").unwrap().hours[0].fault.is_none());
    let bucket = bucket.with_catalogs();
    bucket.run(&["verify", "--all-hours"]).failed(3, &[]);
    assert!(bucket.record("acme/t2").unwrap().hours[0].fault.is_some());
    bucket.lose(T1);
    bucket.run(&["verify"]).failed(3, &[]);
    let fault = bucket.record("acme/t1").unwrap().hours[1].fault.clone();
    assert_eq!(fault.as_deref(), Some("it is missing"));
}

#[test]
fn without_catalogs_or_with_damaged_ones_less_is_known() {
    let bucket = bucket().with_catalogs();
    let key = bucket.catalogs()[0].key.object_key();
    bucket.put_bytes(key.as_str(), b"damaged");
    let ran = bucket.run(&["verify"]);
    ran.failed(0, &[key.as_str(), "cannot be used", "catalog rebuild"]);
    assert!(ran.stdout.contains(": 3 OK"));
    assert_eq!(fs::read(bucket.object_path(key.as_str())).unwrap(), b"damaged");
}

#[test]
fn a_sample_can_be_taken_again() {
    let backups: Vec<_> = (0..40)
        .map(|n| backup(&format!("s/{n}"), &format!("/s/{n}.db"), "2024-01-15T13:05:00Z"))
        .collect();
    let bucket = Bucket::with(&backups);
    let (status, json) = bucket.json(&["verify", "-sample", "25%", "-seed", "7"]);
    assert_eq!((status, &json["seed"]), (0, &7.into()));
    assert_eq!(json["sample_percent"], 25.0);
    let checked = json["checked"].as_u64().unwrap();
    assert!((3..20).contains(&checked), "{checked}");
    assert_eq!(bucket.json(&["verify", "-sample", "25%", "-seed", "7"]).1, json);
    let ran = bucket.run(&["verify", "--sample", "0.01%"]);
    assert!(ran.well().stdout.contains("verified 1 backup (") && ran.stdout.contains("--seed "));
}

#[test]
fn what_cannot_be_done_is_said() {
    let bucket = bucket();
    for (args, words) in [
        (&["verify", "--sample", "0"][..], "as in 1%"),
        (&["verify", "--seed", "1"], "--sample"),
        (&["verify", "acme/t1", "--match", "x"], "--match"),
        (&["verify", "--parallel", "0"], "--parallel"),
    ] {
        bucket.run(args).failed(2, &[words]);
    }
    bucket.run(&["verify", "/data/none.db"]).failed(1, &["/data/none.db"]);
    bucket.run(&["verify", "acme/none"]).failed(1, &["acme/none"]);
    let scratch = bucket.out("file");
    fs::write(&scratch, b"").unwrap();
    bucket.run(&["verify", "--scratch", "file"]).failed(1, &["--scratch file"]);
    let nowhere = Ran::of(bucket.command().args(["-bucket", "file:///nowhere/at/all", "verify"]));
    nowhere.failed(1, &["/nowhere/at/all"]);
    let ran = Bucket::new().run(&["verify"]);
    assert!(ran.well().stderr.contains("nothing to verify"), "{ran:?}");
}

#[test]
fn scratch_is_left_empty() {
    let bucket = bucket();
    bucket.run(&["verify", "--all-hours", "--scratch", "scratch"]).well();
    assert_eq!(fs::read_dir(bucket.out("scratch")).unwrap().count(), 0);
}
