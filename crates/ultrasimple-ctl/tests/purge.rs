//! `purge`, `hold`, `release` and `holds`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod common;

use common::{Bucket, Ran, backup, files, hours_ago};

const T1: [&str; 2] = ["acme/t1-20240115-130000.db.lz4", "acme/t1-20240115-140000.db.lz4"];
const T2: &str = "acme/t2-20240115-140000.db.lz4";

fn bucket() -> Bucket {
    let bucket = Bucket::with(&[
        backup("acme/t1", "/data/t1.db", "2024-01-15T12:05:00Z"),
        backup("acme/t1", "/data/t1.db", "2024-01-15T13:05:00Z"),
        backup("acme/t2", "/data/t2.db", "2024-01-15T13:05:00Z"),
        // A stem that begins with the other's, and lies between its keys.
        backup("acme/t1-20240115-130000", "/data/odd.db", "2024-01-15T13:05:00Z"),
    ]);
    bucket.with_catalogs()
}

fn objects(bucket: &Bucket) -> Vec<String> {
    let keys = files(&bucket.object_path("")).into_iter();
    keys.filter(|key| !key.starts_with(".ultrasimple")).collect()
}

#[test]
fn all_of_one_database_goes_and_nothing_else() {
    for name in ["acme/t1", "/data/t1.db"] {
        let bucket = bucket();
        let ran = bucket.run(&["purge", name, "--yes"]);
        assert!(
            ran.well().stderr.contains("2 backups (") && ran.stderr.contains("20240115-130000")
        );
        assert!(ran.stdout.contains("deleted 2 backups (") && ran.stdout.contains("/data/t1.db"));
        let odd = "acme/t1-20240115-130000-20240115-140000.db.lz4";
        assert_eq!(objects(&bucket), [odd, T2]);
        assert!(bucket.record("acme/t1").is_none() && bucket.record("acme/t2").is_some());
        bucket.run(&["purge", name, "--yes"]).failed(1, &["has no backup"]);
    }
}

#[test]
fn without_a_yes_nothing_goes() {
    let bucket = bucket();
    let ran = bucket.run(&["purge", "acme/t1"]);
    ran.failed(2, &["2 backups (", "--yes"]);
    for (typed, said) in [("no\n", "nothing was deleted"), ("\n", "nothing was deleted")] {
        let ran = bucket.on_terminal(&["purge", "acme/t1"], typed);
        assert_eq!(ran.status, 1, "{ran:?}");
        assert!(ran.stdout.contains("Type the key stem") && ran.stdout.contains(said), "{ran:?}");
    }
    assert_eq!(objects(&bucket).len(), 4);
    let ran = bucket.on_terminal(&["purge", "acme/t1"], "acme/t1\n");
    assert!(ran.well().stdout.contains("deleted 2 backups"), "{ran:?}");
    let ran = bucket.on_terminal(&["purge", "acme/t2"], "yes\n");
    assert!(ran.well().stdout.contains("deleted 1 backup ("), "{ran:?}");
    assert_eq!(objects(&bucket).len(), 1);
}

#[test]
fn what_is_not_provably_its_own_stays() {
    let bucket = bucket();
    let stranger = backup("acme/t1", "/data/stranger.db", "2024-01-15T11:05:00Z");
    bucket.put(&stranger);
    bucket.put_bytes(T1[0], b"damaged");
    let (status, json) = bucket.json(&["purge", "acme/t1", "--yes"]);
    assert_eq!(status, 3);
    assert_eq!((&json["deleted"], json["kept"].as_array().unwrap().len()), (&1.into(), 2));
    assert_eq!(json["kept"][0]["key"], T1[0]);
    assert_eq!(json["kept"][0]["result"], "unproven");
    assert_eq!(json["kept"][1]["result"], "foreign");
    assert!(json["kept"][1]["reason"].as_str().unwrap().contains("/data/stranger.db"), "{json}");
    assert!(!bucket.has(T1[1]) && bucket.has(T1[0]) && bucket.has(&stranger.key()));
    // Now the stranger's is the only one that can be read: this is what the stem is.
    bucket.lose(&stranger.key());
    bucket.run(&["purge", "acme/t1", "--yes"]).failed(1, &["--unproven", "nothing was deleted"]);
    bucket.run(&["purge", "acme/t1", "--yes", "--unproven"]).well();
    assert!(!bucket.has(T1[0]));
}

#[test]
fn a_stranger_never_goes_even_with_unproven() {
    let bucket = bucket();
    let stranger = backup("acme/t1", "/data/stranger.db", "2024-01-15T11:05:00Z");
    bucket.put(&stranger);
    bucket.run(&["purge", "acme/t1", "--yes", "--unproven"]).well();
    assert_eq!(objects(&bucket).iter().filter(|key| **key == stranger.key()).count(), 1);
}

#[test]
fn the_json_of_purge() {
    let bucket = bucket();
    let (status, json) = bucket.json(&["purge", "/data/t1.db", "--yes"]);
    assert_eq!(status, 0);
    assert_eq!((&json["location"], &json["stem"]), (&bucket.url().into(), &"acme/t1".into()));
    assert_eq!((&json["path"], &json["volume"]), (&"/data/t1.db".into(), &"default".into()));
    assert!(json["deleted_bytes"].as_u64() > Some(0));
    for empty in ["failed", "kept", "catalogs_failed"] {
        assert_eq!(json[empty].as_array().unwrap().len(), 0, "{json}");
    }
}

#[test]
fn purge_needs_no_catalog() {
    let bucket = bucket();
    for catalog in bucket.catalogs() {
        bucket.put_bytes(catalog.key.object_key().as_str(), b"damaged");
    }
    let ran = bucket.run(&["purge", "/data/t1.db", "--yes"]);
    ran.failed(3, &["catalog rebuild"]);
    assert!(!bucket.has(T1[0]) && !bucket.has(T1[1]) && bucket.has(T2));
}

#[test]
fn the_key_of_one_backup_is_refused() {
    bucket().run(&["purge", T1[0], "--yes"]).failed(2, &["acme/t1", "all backups"]);
    bucket().run(&["purge", "acme/none", "--yes"]).failed(1, &["acme/none"]);
    bucket().run(&["purge"]).failed(2, &["DB"]);
}

#[test]
fn what_is_held_stays() {
    let bucket = bucket();
    let ran = bucket.run(&["hold", "/data/t1.db", "--reason", "legal"]);
    assert!(ran.well().stdout.contains("acme/t1 is held"), "{ran:?}");
    let ran = bucket.run(&["hold", "acme/t1", "--reason", "other"]);
    assert!(ran.well().stdout.contains("was held already, since 20"), "{ran:?}");
    assert!(ran.stdout.contains("(legal)"), "{ran:?}");
    bucket.run(&["purge", "acme/t1", "--yes"]).failed(1, &["is held", "release acme/t1"]);
    assert_eq!(objects(&bucket).len(), 4);
    assert!(bucket.run(&["release", "acme/t1"]).well().stdout.contains("acme/t1 is released"));
    assert!(bucket.run(&["release", "acme/t1"]).well().stdout.contains("was not held"));
    bucket.run(&["purge", "acme/t1", "--yes"]).well();
}

#[test]
fn retention_leaves_what_is_held() {
    let bucket = Bucket::with(&[
        backup("acme/t1", "/data/t1.db", &hours_ago(50 * 24)),
        backup("acme/t1", "/data/t1.db", &hours_ago(40 * 24)),
    ]);
    let bucket = bucket.with_catalogs();
    bucket.run(&["hold", "acme/t1"]).well();
    let ran = bucket.run(&["prune"]);
    assert!(ran.well().stdout.contains("blocked") && ran.stdout.contains("is held"), "{ran:?}");
    assert_eq!(objects(&bucket).len(), 2);
    bucket.run(&["release", "acme/t1"]).well();
    bucket.run(&["prune"]).well();
    assert_eq!(objects(&bucket).len(), 1);
}

#[test]
fn the_holds_are_listed() {
    let bucket = bucket();
    assert!(bucket.run(&["holds"]).well().stderr.contains("nothing is held"));
    let (_, json) = bucket.json(&["hold", "acme/t1", "--reason", "legal"]);
    assert_eq!((&json["stem"], &json["held"]), (&"acme/t1".into(), &true.into()));
    assert_eq!((&json["changed"], &json["reason"]), (&true.into(), &"legal".into()));
    let since = json["since"].clone();
    let (_, json) = bucket.json(&["hold", "acme/t1"]);
    assert_eq!((&json["changed"], &json["since"]), (&false.into(), &since));
    bucket.run(&["hold", "acme/t2"]).well();
    bucket.put_bytes(".ultrasimple/v1/hold/00000000000000000000000000000000.json", b"?");
    let (_, json) = bucket.json(&["holds"]);
    let holds = json["holds"].as_array().unwrap();
    assert_eq!(holds.len(), 3);
    assert!(holds[0]["error"].is_string() && holds[0]["key"].is_string(), "{json}");
    assert_eq!((&holds[1]["stem"], &holds[1]["reason"]), (&"acme/t1".into(), &"legal".into()));
    assert_eq!(holds[1]["since"], since);
    assert!(holds[2].get("reason").is_none());
    let (_, json) = bucket.json(&["release", "acme/t1"]);
    assert_eq!((&json["held"], &json["changed"]), (&false.into(), &true.into()));
    let ran = bucket.run(&["holds"]);
    assert!(ran.well().stdout.contains("acme/t2") && !ran.stdout.contains("acme/t1 "), "{ran:?}");
    bucket.run(&["hold", "acme/none"]).failed(1, &["acme/none"]);
    let nowhere = Ran::of(bucket.command().args(["-bucket", "file:///nowhere/at", "holds"]));
    nowhere.failed(1, &["/nowhere/at"]);
}
