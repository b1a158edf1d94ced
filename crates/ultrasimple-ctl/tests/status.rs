//! `status` and `catalog`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod common;

use std::fs;

use common::{Bucket, SHARDS, backup};
use serde_json::Value;
use ultrasimple_core::CheckResult;

fn plain() -> Bucket {
    let mut other = backup("beta/t3", "/srv/t3.db", "2024-01-15T12:05:00Z");
    "nas".clone_into(&mut other.volume);
    Bucket::with(&[
        backup("acme/t1", "/data/t1.db", "2024-01-15T12:05:00Z"),
        backup("acme/t1", "/data/t1.db", "2024-01-15T13:05:00Z"),
        backup("acme/t2", "/data/t2.db", "2024-01-15T13:05:00Z"),
        other,
    ])
}

#[test]
fn a_bucket_that_is_well() {
    let bucket = plain().with_catalogs();
    bucket.edit_record("acme/t2", |record| record.gone_since = "2024-01-15T14:00:00Z".parse().ok());
    bucket.run(&["hold", "acme/t2"]).well();
    let (status, json) = bucket.json(&["status"]);
    assert_eq!(status, 0, "{json}");
    assert_eq!(json["location"], bucket.url());
    assert_eq!(json["cluster"]["shards"], SHARDS);
    assert_eq!(
        (&json["cluster"]["generation"], &json["cluster"]["holder"]["node"]),
        (&1.into(), &"node-1".into())
    );
    for (field, number) in [
        ("databases", 3),
        ("gone", 1),
        ("held", 1),
        ("backups", 4),
        ("failed_checks", 0),
        ("marked_newest", 0),
        ("faulty_newest", 0),
        ("faults", 0),
        ("never_verified", 3),
    ] {
        assert_eq!(json[field], number, "{field}");
    }
    assert!(json["object_bytes"].as_u64() > Some(0));
    assert_eq!(json["volumes"]["default"]["databases"], 2);
    assert_eq!(json["volumes"]["default"]["backups"], 3);
    assert_eq!(
        (&json["volumes"]["nas"]["databases"], &json["volumes"]["nas"]["catalogs"]),
        (&1.into(), &1.into())
    );
    assert_eq!(json["catalogs"]["number"], bucket.catalogs().len());
    assert_eq!(json["catalogs"]["oldest_written_at"], "2024-01-15T15:00:00Z");
    assert_eq!(json["catalogs"]["newest_written_at"], "2024-01-15T15:00:00Z");
    assert_eq!(json["catalogs"]["unusable"].as_array().unwrap().len(), 0);
    assert_eq!(json["oldest_never_verified"], "2024-01-15T12:05:00Z");
    assert_eq!((&json["reconciled_at"], &json["attention"]), (&Value::Null, &Value::Array(vec![])));
    let ran = bucket.run(&["status"]);
    assert!(ran.well().stdout.contains("databases     3, 1 gone, 1 held\n"), "{ran:?}");
    bucket.run(&["verify"]).well();
    let ran = bucket.run(&["status"]);
    assert!(ran.well().stdout.contains("verified      all newest backups\n"), "{ran:?}");
}

#[test]
fn what_needs_attention_is_named() {
    let bucket = plain();
    let mut marked = backup("acme/t4", "/data/t4.db", "2024-01-15T13:05:00Z");
    marked.check = CheckResult::Failed("page 3".to_owned());
    bucket.put(&marked);
    let bucket = bucket.with_catalogs();
    let (status, json) = bucket.json(&["status"]);
    assert_eq!((status, &json["marked_newest"]), (3, &1.into()));
    let attention = &json["attention"][0];
    assert_eq!(
        (&attention["stem"], &attention["path"]),
        (&"acme/t4".into(), &"/data/t4.db".into())
    );
    assert!(attention["reason"].as_str().unwrap().contains("marked: page 3"), "{json}");

    let bucket = plain().with_catalogs();
    bucket.lose("acme/t1-20240115-140000.db.lz4");
    bucket.run(&["verify"]).failed(3, &[]);
    let ran = bucket.run(&["status"]);
    ran.failed(3, &[]);
    assert!(ran.stdout.contains("ATTENTION: acme/t1: its newest backup is faulty: it is missing"));

    let bucket = plain().with_catalogs();
    bucket.edit_record("acme/t1", |record| record.failed_check = Some("page 5".into()));
    let ran = bucket.run(&["status"]);
    ran.failed(3, &[]);
    assert!(ran.stdout.contains("ATTENTION: acme/t1: its last check failed: page 5"), "{ran:?}");

    let bucket = plain().with_catalogs();
    let key = bucket.catalogs()[0].key.object_key();
    bucket.put_bytes(key.as_str(), b"damaged");
    let (status, json) = bucket.json(&["status"]);
    assert_eq!((status, &json["catalogs"]["unusable"][0]["key"]), (3, &key.as_str().into()));
}

#[test]
fn a_bucket_without_anything() {
    for bucket in [Bucket::new(), plain()] {
        let ran = bucket.run(&["status"]);
        assert!(ran.well().stdout.contains("cluster file  none\n"), "{ran:?}");
        assert!(ran.stdout.contains("catalog rebuild"), "{ran:?}");
        assert_eq!(bucket.json(&["status"]).1["cluster"], Value::Null);
    }
    let bucket = plain();
    bucket.put_bytes(".ultrasimple/v1/cluster.json", b"{\"format\": 9}");
    bucket.run(&["status"]).failed(1, &["cluster.json", "newer program"]);
}

#[test]
fn catalogs_are_made_anew() {
    let bucket = plain();
    bucket.run(&["catalog", "rebuild"]).failed(1, &["no cluster file", "--shards"]);
    let (status, json) = bucket.json(&["catalog", "rebuild", "-shards", "4"]);
    assert_eq!(status, 0, "{json}");
    assert_eq!((&json["location"], &json["shards"]), (&bucket.url().into(), &4.into()));
    assert_eq!((&json["backups"], &json["databases"]), (&4.into(), &3.into()));
    assert_eq!(json["catalogs_written"], bucket.catalogs().len());
    assert_eq!(bucket.record("acme/t1").unwrap().hours.len(), 2);
    bucket.put_cluster_file();
    bucket.run(&["catalog", "rebuild", "--shards", "8"]).failed(2, &["divided into 4"]);
    // Whatever the catalogs have become.
    for catalog in bucket.catalogs() {
        bucket.put_bytes(catalog.key.object_key().as_str(), b"damaged");
    }
    let ran = bucket.run(&["catalog", "rebuild"]);
    assert!(ran.well().stdout.contains("4 backups of 3 databases found"), "{ran:?}");
    assert_eq!(bucket.record("beta/t3").unwrap().hours.len(), 1);
    bucket.put_bytes("acme/t9-20240115-140000.db.lz4", b"damaged");
    bucket.run(&["catalog", "rebuild"]).failed(3, &["acme/t9", "can be read"]);
    let (_, json) = bucket.json(&["catalog", "rebuild"]);
    assert_eq!(json["unreadable"][0]["stem"], "acme/t9");
    assert!(json["unreadable"][0]["reason"].is_string());
    assert_eq!(json["catalogs_failed"].as_array().unwrap().len(), 0);
}

#[test]
fn catalogs_are_shown_as_they_are() {
    let bucket = plain().with_catalogs();
    let ran = bucket.run(&["catalog", "show"]);
    let lines: Vec<Value> =
        ran.well().stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), bucket.catalogs().len() + 3);
    assert_eq!(bucket.json(&["catalog", "show"]).1["lines"], Value::Array(lines));
    let ran = bucket.run(&["catalog", "show", "--volume", "nas"]);
    assert_eq!(ran.well().stdout.lines().count(), 2);
    assert!(ran.stdout.contains("/srv/t3.db"), "{ran:?}");
    let shard = bucket.catalogs().last().unwrap().key.clone();
    let (volume, number) = (shard.volume.to_string(), shard.shard.0.to_string());
    bucket.run(&["catalog", "show", "-volume", &volume, "-shard", &number]).well();
    bucket.run(&["catalog", "show", "--shard", "77"]).failed(1, &["no such catalog"]);
    fs::write(bucket.object_path(shard.object_key().as_str()), b"damaged").unwrap();
    bucket.run(&["catalog", "show"]).failed(1, &[shard.object_key().as_str()]);
    bucket.run(&["catalog"]).failed(2, &["rebuild", "show"]);
}
