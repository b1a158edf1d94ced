//! The same against a real S3 server, by someone who may only read.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::process::Command;

use common::{Backup, Bucket, Ran, backup, content, files};
use ultrasimple_core::ObjectKey;
use ultrasimple_store::{Body, Condition, S3Options, S3Store, Store};
use ultrasimple_testkit::seaweed::{ADMIN, READER, STRANGER, SeaweedFs};

fn put_all(server: &SeaweedFs, bucket: &str, backups: &[Backup]) {
    let options = S3Options {
        bucket: bucket.to_owned(),
        prefix: "team/a".to_owned(),
        endpoint_url: Some(server.endpoint()),
        access_key: Some(ADMIN.access_key.to_owned()),
        secret_key: Some(ADMIN.secret_key.to_owned()),
        ..S3Options::default()
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = S3Store::connect(options).await.unwrap();
        for backup in backups {
            let key = ObjectKey::new(backup.key()).unwrap();
            let body = Body::Bytes(backup.object().0.into());
            store.put(&key, body, Condition::Always).await.unwrap();
        }
    });
}

#[test]
fn only_the_right_to_read_is_needed() {
    let (server, folder) = (SeaweedFs::shared(), Bucket::new());
    let bucket = server.create_bucket();
    // Folders and names between which SeaweedFS and AWS list in different orders.
    let stems =
        ["a", "a-20240115-130000", "a/b", "a-b/c", "a.b", "a/b-20240115-130000/d", "ä ö/%25"];
    let mut backups = Vec::new();
    for (n, stem) in stems.iter().enumerate() {
        for time in ["2024-01-15T12:05:00Z", "2024-01-15T13:05:00Z", "2024-01-15T14:05:00Z"] {
            backups.push(backup(stem, &format!("/data/{n}/t.db"), time));
        }
    }
    let mut large = backup("large", "/data/large.db", "2024-01-15T14:05:00Z");
    large.image = common::image(&"incompressible? no: long".repeat(4_000));
    backups.push(large);
    put_all(server, &bucket, &backups);

    let run = |login: &ultrasimple_testkit::seaweed::Login, args: &[&str]| {
        let mut command: Command = folder.command();
        command
            .env("ULTRASIMPLE_ENDPOINT_URL", server.endpoint())
            .env("ULTRASIMPLE_ACCESS_KEY", login.access_key)
            .env("ULTRASIMPLE_SECRET_KEY", login.secret_key)
            .args(["-bucket", &format!("s3://{bucket}/team/a")])
            .args(args);
        Ran::of(&mut command)
    };
    let listed = run(&READER, &["databases", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&listed.well().stdout).unwrap();
    let lines = json["databases"].as_array().unwrap();
    let counted = |stem| lines.iter().find(|line| line["stem"] == stem).map(|l| &l["backups"]);
    assert_eq!(lines.len(), stems.len() + 1, "{json}");
    assert!(stems.iter().all(|&stem| counted(stem) == Some(&3.into())), "{json}");

    run(&READER, &["backups", "/data/2/t.db"]).well();
    let restore = ["restore", "--all", "--to", "out", "--at", "2024-01-15T13:30:00Z"];
    run(&READER, &restore).well();
    let out = folder.out("out");
    assert_eq!(files(&out).len(), stems.len());
    for (n, stem) in stems.iter().enumerate() {
        let file = out.join(format!("data/{n}/t.db"));
        assert_eq!(content(&file), format!("{stem} 2024-01-15T13:05:00Z"));
    }
    run(&READER, &["restore", "/data/large.db", "-o", "large.db"]).well();
    run(&STRANGER, &["databases"]).failed(1, &[&bucket, "cannot list"]);
}

/// The tool for somebody, on a bucket of the server.
fn run_as(
    folder: &Bucket,
    server: &SeaweedFs,
    bucket: &str,
    login: &ultrasimple_testkit::seaweed::Login,
    args: &[&str],
) -> Ran {
    let mut command = folder.command();
    command
        .env("ULTRASIMPLE_ENDPOINT_URL", server.endpoint())
        .env("ULTRASIMPLE_ACCESS_KEY", login.access_key)
        .env("ULTRASIMPLE_SECRET_KEY", login.secret_key)
        .args(["-bucket", &format!("s3://{bucket}/team/a")])
        .args(args);
    Ran::of(&mut command)
}

#[test]
fn a_bucket_is_kept_in_order() {
    let (server, folder) = (SeaweedFs::shared(), Bucket::new());
    let bucket = server.create_bucket();
    let mut backups = Vec::new();
    for days in [50, 40, 39, 2] {
        backups.push(backup("acme/t1", "/data/t1.db", &common::hours_ago(days * 24)));
    }
    backups.push(backup("acme/t2", "/data/t2.db", &common::hours_ago(48)));
    put_all(server, &bucket, &backups);
    let run = |login, args: &[&str]| run_as(&folder, server, &bucket, login, args);
    run(&READER, &["status"]).well();
    run(&READER, &["catalog", "rebuild", "--shards", "4"]).failed(1, &["could not be written"]);
    run(&ADMIN, &["catalog", "rebuild", "--shards", "4"]).well();
    let status = run(&READER, &["status"]);
    assert!(status.well().stdout.contains("backups       5, "), "{status:?}");
    assert!(
        run(&READER, &["databases", "--from-catalogs"]).well().stdout.contains("2 databases, ")
    );
    // Who may only read can verify, and is told that nothing was recorded.
    let verified = run(&READER, &["verify", "--all-hours"]);
    assert!(verified.well().stdout.contains(": 5 OK"), "{verified:?}");
    assert!(verified.stderr.contains("--no-record"), "{verified:?}");
    assert_eq!(run(&READER, &["verify", "--no-record"]).well().stderr, "");
    assert_eq!(run(&ADMIN, &["verify", "--all-hours"]).well().stderr, "");
    run(&READER, &["hold", "acme/t1"]).failed(1, &["cannot hold acme/t1"]);
    run(&ADMIN, &["hold", "/data/t1.db", "--reason", "legal"]).well();
    assert!(run(&ADMIN, &["prune"]).well().stdout.starts_with("DATABASE"));
    assert!(run(&READER, &["holds"]).well().stdout.contains("legal"));
    run(&ADMIN, &["release", "acme/t1"]).well();
    let pruned = run(&READER, &["prune"]);
    pruned.failed(3, &[]);
    assert!(
        pruned.stdout.contains("FAILED") && pruned.stdout.contains("NOT DELETED"),
        "{pruned:?}"
    );
    let pruned = run(&ADMIN, &["prune"]);
    assert!(pruned.well().stdout.contains("deleted 2 backups ("), "{pruned:?}");
    run(&READER, &["purge", "acme/t2", "--yes"]).failed(1, &["could not be deleted"]);
    let purged = run(&ADMIN, &["purge", "acme/t2", "--yes"]);
    assert!(purged.well().stdout.contains("deleted 1 backup ("), "{purged:?}");
    let left = run(&READER, &["databases"]);
    assert!(left.well().stdout.contains("1 database, ") && left.stderr.is_empty(), "{left:?}");
    run(&STRANGER, &["status"]).failed(1, &[&bucket]);
    run(&STRANGER, &["prune"]).failed(1, &[&bucket]);
}

#[test]
fn a_bucket_or_server_that_is_not_there_is_named() {
    let (server, folder) = (SeaweedFs::shared(), Bucket::new());
    let endpoint = server.endpoint();
    let run = |bucket: &str, endpoint: &str| {
        let keys = ["-access-key", ADMIN.access_key, "-secret-key", ADMIN.secret_key];
        let place = ["-bucket", bucket, "-endpoint-url", endpoint];
        Ran::of(folder.command().args(keys).args(place).arg("databases"))
    };
    run("no-such-bucket", &endpoint).failed(1, &["no-such-bucket"]);
    run("some-bucket", "http://127.0.0.1:9").failed(1, &["some-bucket"]);
}
