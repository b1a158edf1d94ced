//! `prune`: what goes, what never goes, and what the objects have to say about it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod common;

use common::{Backup, Bucket, backup, hours_ago};
use serde_json::Value;
use ultrasimple_core::SourcePath;

const DAY: i64 = 24;

/// Of t1 captures of 50, 40, 39 and 2 days ago: the first two go by the default rules. Of t2 one of 90 days ago.
fn backups() -> Vec<Backup> {
    let t1 = |days| backup("acme/t1", "/data/t1.db", &hours_ago(days * DAY));
    vec![t1(50), t1(40), t1(39), t1(2), backup("acme/t2", "/data/t2.db", &hours_ago(90 * DAY))]
}

fn bucket() -> (Bucket, Vec<String>) {
    let backups = backups();
    let keys = backups.iter().map(Backup::key).collect();
    (Bucket::with(&backups).with_catalogs(), keys)
}

#[track_caller]
fn has(bucket: &Bucket, keys: &[String], expected: [bool; 5]) {
    assert_eq!(keys.iter().map(|key| bucket.has(key)).collect::<Vec<_>>(), expected);
}

#[test]
fn a_dry_run_deletes_nothing_and_says_why() {
    let (bucket, keys) = bucket();
    let ran = bucket.run(&["prune", "-dry-run"]);
    let lines: Vec<_> = ran.well().stdout.lines().collect();
    assert_eq!(lines.len(), 4, "{ran:?}");
    assert!(lines[1].starts_with("acme/t1 ") && lines[1].contains("would go"), "{lines:?}");
    assert!(
        lines[1].contains("replaced by ") && lines[1].contains("in no rule since"),
        "{lines:?}"
    );
    assert!(
        lines[3].starts_with("would delete 2 backups (") && lines[3].contains("keep 3"),
        "{ran:?}"
    );
    assert!(lines[3].contains("the rules are 30 days"), "{ran:?}");
    assert_eq!(ran.stderr, "");
    let ran = bucket.run(&["prune", "--dry-run", "--verbose"]);
    assert_eq!(ran.well().stdout.lines().count(), 7, "{ran:?}");
    assert!(ran.stdout.contains("stays") && ran.stdout.contains("the newest"), "{ran:?}");
    has(&bucket, &keys, [true; 5]);
}

#[test]
fn what_no_rule_wants_is_deleted_and_the_catalogs_know() {
    let (bucket, keys) = bucket();
    let ran = bucket.run(&["prune"]);
    assert!(ran.well().stdout.contains("deleted 2 backups ("), "{ran:?}");
    has(&bucket, &keys, [false, false, true, true, true]);
    assert_eq!(bucket.record("acme/t1").unwrap().hours.len(), 2);
    let ran = bucket.run(&["prune"]);
    assert!(ran.well().stdout.starts_with("deleted 0 backups"), "{ran:?}");
}

#[test]
fn the_json_of_prune() {
    let (bucket, keys) = bucket();
    let (status, json) = bucket.json(&["prune", "--dry-run"]);
    assert_eq!(status, 0);
    assert_eq!(json["location"], bucket.url());
    assert_eq!(json["rules"], "30 days");
    assert_eq!(
        (&json["dry_run"], &json["delete"], &json["keep"]),
        (&true.into(), &2.into(), &3.into())
    );
    assert_eq!((&json["deleted"], &json["not_deleted"]), (&0.into(), &0.into()));
    assert!(
        json["now"].as_str().unwrap().ends_with('Z') && json["delete_bytes"].as_u64() > Some(0)
    );
    assert_eq!(json["unknown"].as_array().unwrap().len(), 0);
    assert_eq!(json["catalogs_failed"].as_array().unwrap().len(), 0);
    let t1 = &json["databases"][0];
    assert_eq!((&t1["stem"], &t1["path"]), (&"acme/t1".into(), &"/data/t1.db".into()));
    assert_eq!(t1["volume"], "default");
    let line = &t1["delete"][0];
    assert_eq!((&line["key"], &line["result"]), (&keys[0].as_str().into(), &"would_go".into()));
    assert_eq!(line["replaced_by"], keys[1].as_str());
    assert!(line["unwanted_since"].is_string() && line["hour_end"].is_string());
    assert!(line["object_bytes"].as_u64() > Some(0) && line.get("reason").is_none());
    let keep = t1["keep"].as_array().unwrap();
    assert_eq!((keep.len(), &keep[1]["reason"]), (2, &"the newest".into()), "{json}");
    assert_eq!(json["databases"][1]["keep"][0]["reason"], "the newest");
    let (_, json) = bucket.json(&["prune", "--from-catalogs"]);
    assert_eq!(json["databases"][0]["delete"][0]["result"], "deleted");
    assert_eq!((&json["deleted"], &json["unknown"]), (&2.into(), &Value::Null));
    assert_eq!(json["databases"].as_array().unwrap().len(), 1);
}

#[test]
fn the_rules_are_the_daemons() {
    let (bucket, _) = bucket();
    let delete =
        |args: &[&str]| bucket.json(&[&["prune", "--dry-run"], args].concat()).1["delete"].clone();
    assert_eq!(delete(&["-retention-days", "45"]), 0);
    assert_eq!(delete(&["-retention-days=1"]), 3);
    assert_eq!(delete(&["-keep", "daily=60"]), 0);
    std::fs::write(bucket.out("daemon.toml"), "retention-days = 1\n").unwrap();
    assert_eq!(delete(&["-config", "daemon.toml"]), 3);
    assert_eq!(delete(&["-config", "daemon.toml", "--retention-days", "45"]), 0);
    bucket.run(&["prune", "-retention-days", "0"]).failed(2, &["-retention-days"]);
    bucket.run(&["prune", "-keep", "often=3"]).failed(2, &["-keep", "hourly, daily"]);
    bucket.run(&["prune", "-verbose"]).failed(2, &["--dry-run"]);
    bucket.run(&["verify", "-keep", "daily=3"]).failed(2, &["-keep"]);
}

#[test]
fn nothing_goes_of_what_is_held_or_not_good() {
    let (bucket, keys) = bucket();
    bucket.edit_record("acme/t1", |record| record.failed_check = Some("page 3".into()));
    let ran = bucket.run(&["prune"]);
    assert!(ran.well().stdout.contains("blocked") && ran.stdout.contains("page 3"), "{ran:?}");
    has(&bucket, &keys, [true; 5]);
    let (_, json) = bucket.json(&["prune"]);
    assert!(json["databases"][0]["blocked"].as_str().unwrap().contains("page 3"), "{json}");
    bucket.edit_record("acme/t1", |record| {
        record.failed_check = None;
        record.hours.last_mut().unwrap().fault = Some("it is missing".into());
    });
    bucket.run(&["prune"]).well();
    has(&bucket, &keys, [true; 5]);
}

#[test]
fn the_objects_have_the_last_word() {
    // The newest is lost: nothing of the database goes.
    let (bucket, keys) = bucket();
    bucket.lose(&keys[3]);
    let ran = bucket.run(&["prune"]);
    ran.failed(3, &[]);
    assert!(ran.stdout.contains("KEPT") && ran.stdout.contains("NOT DELETED"), "{ran:?}");
    has(&bucket, &keys, [true, true, true, false, true]);
    // What stands under the key is another database's.
    let (bucket, keys) = self::bucket();
    let mut stranger = backups().swap_remove(0);
    stranger.path = b"/data/stranger.db".to_vec();
    bucket.put_bytes(&keys[0], &stranger.object().0);
    bucket.put_bytes(&keys[1], b"damaged");
    let (status, json) = bucket.json(&["prune"]);
    assert_eq!((status, &json["not_deleted"]), (3, &2.into()), "{json}");
    let line = &json["databases"][0]["delete"][0];
    assert_eq!(line["result"], "kept");
    assert!(line["reason"].as_str().unwrap().contains("/data/stranger.db"), "{json}");
    has(&bucket, &keys, [true; 5]);
}

#[test]
fn what_the_catalog_makes_up_is_not_deleted() {
    // The catalog says that t1 has another path: no object proves it.
    let (bucket, keys) = bucket();
    bucket.edit_record("acme/t1", |record| record.path = SourcePath::from_bytes(b"/else.db"));
    bucket.run(&["prune"]).failed(3, &[]);
    has(&bucket, &keys, [true; 5]);
}

#[test]
fn databases_that_no_catalog_knows_are_named_and_left_alone() {
    let (bucket, keys) = bucket();
    for days in [60, 50, 1] {
        bucket.put(&backup("new/t9", "/data/t9.db", &hours_ago(days * DAY)));
    }
    let ran = bucket.run(&["prune"]);
    assert!(
        ran.well().stderr.contains("new/t9") && ran.stderr.contains("catalog rebuild"),
        "{ran:?}"
    );
    assert_eq!(bucket.run(&["prune", "--from-catalogs"]).well().stderr, "");
    has(&bucket, &keys, [false, false, true, true, true]);
    assert_eq!(bucket.json(&["prune"]).1["unknown"][0], "new/t9");
    let (_, json) = bucket.json(&["backups", "new/t9"]);
    assert_eq!(json["backups"].as_array().unwrap().len(), 3);
}

#[test]
fn a_catalog_that_cannot_be_used_is_told() {
    let (bucket, keys) = bucket();
    for catalog in bucket.catalogs() {
        bucket.put_bytes(catalog.key.object_key().as_str(), b"damaged");
    }
    bucket.run(&["prune"]).failed(3, &["catalog/default/", "catalog rebuild", "no catalog knows"]);
    has(&bucket, &keys, [true; 5]);
    let empty = Bucket::new();
    assert!(empty.run(&["prune"]).well().stdout.starts_with("deleted 0 backups"));
}
