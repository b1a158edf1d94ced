//! `restore --all --to DIR`.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use common::{Bucket, backup, content, files, image};
use ultrasimple_core::CheckResult;

/// Twenty databases of two projects, each with captures at 12:05 and 13:05.
fn twenty() -> Bucket {
    let bucket = Bucket::new();
    for n in 0..20 {
        let project = if n % 2 == 0 { "acme" } else { "beta" };
        let (stem, path) = (format!("{project}/t{n}"), format!("/data/{project}/tenants/t{n}.db"));
        for time in ["2024-01-15T12:05:00Z", "2024-01-15T13:05:00Z"] {
            bucket.put(&backup(&stem, &path, time));
        }
    }
    bucket
}

#[test]
fn all_come_back_where_they_were() {
    let bucket = twenty();
    let ran = bucket.run(&["restore", "--all", "--to", "out", "--parallel", "3"]);
    assert!(ran.well().stdout.starts_with("restored 20 databases"), "{ran:?}");
    assert_eq!(ran.stderr, "", "no progress bar where there is no terminal");
    let found = files(&bucket.out("out"));
    assert_eq!(found.len(), 20);
    for path in found {
        let stem = path.strip_prefix("data/").unwrap().replace("/tenants", "").replace(".db", "");
        let file = bucket.out("out").join(&path);
        assert_eq!(content(&file), format!("{stem} 2024-01-15T13:05:00Z"));
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o7777, 0o640);
    }
}

#[test]
fn a_time_and_a_glob_choose() {
    let bucket = twenty();
    for (glob, count) in [("acme/*", 10), ("/data/beta/*", 10), ("*/t1?", 10), ("*t7*", 1)] {
        let (status, json) = bucket.json(&[
            "restore",
            "--all",
            "--to",
            "out",
            "--match",
            glob,
            "--at",
            "2024-01-15T13:04:59Z",
        ]);
        assert_eq!((status, &json["restored"]), (0, &count.into()), "{glob}: {json}");
        let first = &json["databases"][0];
        assert_eq!(first["captured_at"], "2024-01-15T12:05:00Z");
        fs::remove_dir_all(bucket.out("out")).unwrap();
    }
    let ran = bucket.run(&["restore", "--all", "--to", "out", "--match", "nothing"]);
    ran.failed(1, &["no database that matches", "databases"]);
    assert!(!bucket.out("out").exists());
}

#[test]
fn a_second_run_skips_what_is_right_and_refuses_what_is_not() {
    let bucket = twenty();
    let run = |more: &[&str]| bucket.json(&[&["restore", "--all", "--to", "out"], more].concat());
    assert_eq!(run(&["--match", "acme/*"]).1["restored"], 10);
    let (status, json) = run(&[]);
    assert_eq!((status, &json["restored"], &json["skipped"]), (0, &10.into(), &10.into()));

    // One was used meanwhile, one is gone, one has a WAL beside it.
    let changed = bucket.out("out/data/acme/tenants/t0.db");
    fs::write(&changed, image("in use")).unwrap();
    fs::remove_file(bucket.out("out/data/acme/tenants/t2.db")).unwrap();
    fs::write(bucket.out("out/data/acme/tenants/t4.db-wal"), b"stale").unwrap();
    let (status, json) = run(&[]);
    assert_eq!(status, 3, "{json}");
    assert_eq!((&json["restored"], &json["skipped"]), (&1.into(), &17.into()));
    assert_eq!(json["failed"], 2);
    let failed: Vec<_> = json["databases"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|line| line["result"] == "failed")
        .map(|line| (line["stem"].as_str().unwrap(), line["reason"].as_str().unwrap()))
        .collect();
    assert!(failed[0].0 == "acme/t0" && failed[0].1.contains("--force"), "{failed:?}");
    assert!(failed[1].0 == "acme/t4" && failed[1].1.contains("t4.db"), "{failed:?}");
    assert_eq!(content(&changed), "in use");
    // The same size, and other content.
    let flipped = bucket.out("out/data/acme/tenants/t6.db");
    let mut bytes = fs::read(&flipped).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&flipped, &bytes).unwrap();
    assert_eq!(run(&[]).1["failed"], 3);
    assert_eq!(fs::read(&flipped).unwrap(), bytes);

    let (status, json) = run(&["--force"]);
    assert_eq!((status, &json["restored"], &json["skipped"]), (0, &3.into(), &17.into()), "{json}");
    assert_eq!(content(&changed), "acme/t0 2024-01-15T13:05:00Z");
    assert!(!bucket.out("out/data/acme/tenants/t4.db-wal").exists());
}

#[test]
fn one_bad_database_does_not_stop_the_others() {
    let bucket = twenty();
    bucket.put_bytes("acme/t0-20240115-140000.db.lz4", b"damaged");
    let mut marked = backup("acme/t2", "/data/acme/tenants/t2.db", "2024-01-15T13:30:00Z");
    marked.check = CheckResult::Failed("bad page".to_owned());
    bucket.put(&marked);
    let whole = backup("beta/t1", "/data/beta/tenants/t1.db", "2024-01-15T13:50:00Z").object().0;
    let mut flipped = whole.clone();
    flipped[300] ^= 1;
    bucket.put_bytes("beta/t1-20240115-140000.db.lz4", &flipped);

    let ran = bucket.run(&["restore", "--all", "--to", "out"]);
    ran.failed(
        3,
        &[
            "acme/t0: acme/t0-20240115-140000.db.lz4: it does not end with a footer",
            "acme/t2",
            "bad page",
            "/data/beta/tenants/t1.db (beta/t1): beta/t1-20240115-140000.db.lz4",
            "with --or-older the one captured at 2024-01-15T12:05:00Z",
        ],
    );
    assert!(ran.stdout.contains("restored 17 databases") && ran.stdout.contains("3 FAILED"));
    assert_eq!(files(&bucket.out("out")).len(), 17);

    let (status, json) = bucket.json(&["restore", "--all", "--to", "out", "--or-older"]);
    assert_eq!((status, &json["restored"], &json["skipped"]), (0, &3.into(), &17.into()), "{json}");
    let lines = json["databases"].as_array().unwrap();
    let passed = lines.iter().filter(|line| !line["passed_over"].as_array().unwrap().is_empty());
    assert_eq!(passed.count(), 3);
    let old = "2024-01-15T12:05:00Z";
    for (file, stem) in [("acme/tenants/t0", "acme/t0"), ("beta/tenants/t1", "beta/t1")] {
        let file = bucket.out(&format!("out/data/{file}.db"));
        assert_eq!(content(&file), format!("{stem} {old}"));
    }
}

#[test]
fn hostile_footers_write_nothing_outside() {
    let time = "2024-01-15T13:05:00Z";
    let bucket = Bucket::with(&[
        backup("good", "/data/good.db", time),
        backup("up", "/../../up.db", time),
        backup("relative", "relative.db", time),
        backup("dot", "/data/./dot.db", time),
        backup("zero", "/data/zero\0.db", time),
        backup("side", "/data/good.db-wal", time),
        backup("through-link", "/link/through.db", time),
        backup("at-link", "/at-link.db", time),
    ]);
    let outside = bucket.out("outside");
    fs::create_dir_all(&outside).unwrap();
    fs::write(outside.join("victim.db"), b"victim").unwrap();
    fs::create_dir(bucket.out("out")).unwrap();
    std::os::unix::fs::symlink(&outside, bucket.out("out/link")).unwrap();
    let victim = outside.join("victim.db");
    std::os::unix::fs::symlink(victim, bucket.out("out/at-link.db")).unwrap();
    let before = files(&bucket.out(""));

    for more in [&[][..], &["--force"]] {
        let (status, json) = bucket.json(&[&["restore", "--all", "--to", "out"], more].concat());
        assert_eq!((status, &json["failed"]), (3, &7.into()), "{json}");
        let mut after = files(&bucket.out(""));
        after.retain(|file| !before.contains(file));
        assert_eq!(after, ["out/data/good.db"]);
        assert_eq!(fs::read(outside.join("victim.db")).unwrap(), b"victim");
        let is_link = fs::symlink_metadata(bucket.out("out/at-link.db")).unwrap().is_symlink();
        assert!(is_link, "{more:?}");
    }
}

#[test]
fn an_object_that_unpacks_to_more_than_it_says_does_not_fill_the_disk() {
    let time = "2024-01-15T13:05:00Z";
    let mut large = backup("t1", "/data/t1.db", time);
    large.image = vec![0; 64 << 20];
    let small = backup("t1", "/data/t1.db", time);
    let (large, (small, _)) = (large.object().0, small.object());
    let magic = [0x5D, 0x2A, 0x4D, 0x18];
    let frame = |object: &[u8]| object.windows(4).rposition(|bytes| bytes == magic).unwrap();
    let bomb = [&large[..frame(&large)], &small[frame(&small)..]].concat();
    let bucket = Bucket::new();
    bucket.put_bytes("t1-20240115-140000.db.lz4", &bomb);
    let ran = bucket.run(&["restore", "--all", "--to", "out"]);
    ran.failed(1, &["more content than its footer says"]);
}

#[test]
fn volumes_are_kept_apart_and_conflicts_are_refused() {
    let time = "2024-01-15T13:05:00Z";
    let mut other = backup("b/t1", "/data/t1.db", time);
    other.volume = "nas-2".to_owned();
    let bucket = Bucket::with(&[backup("a/t1", "/data/t1.db", time), other]);
    let (status, json) = bucket.json(&["restore", "--all", "--to", "out"]);
    assert_eq!((status, &json["by_volume"]), (0, &true.into()));
    assert_eq!(files(&bucket.out("out")), ["default/data/t1.db", "nas-2/data/t1.db"]);

    bucket.put(&backup("c/t1", "/data/t1.db", time));
    let ran = bucket.run(&["restore", "--all", "--to", "out2"]);
    ran.failed(3, &["c/t1 has the same source path", "a/t1 has the same source path", "--match"]);
    assert_eq!(files(&bucket.out("out2")), ["nas-2/data/t1.db"]);
}

#[test]
fn databases_that_came_later_are_no_failure() {
    let bucket = Bucket::with(&[
        backup("a", "/data/a.db", "2024-01-15T12:05:00Z"),
        backup("b", "/data/b.db", "2024-01-15T15:05:00Z"),
    ]);
    let at = ["--at", "2024-01-15T13:00:00Z"];
    let ran = bucket.run(&[&["restore", "--all", "--to", "out"], &at[..]].concat());
    assert!(ran.well().stderr.contains("oldest backup there is was captured at 2024-01-15T15:05"));
    assert!(ran.stdout.contains("1 have no backup that is early enough"), "{ran:?}");
    let at = ["--at", "2024-01-01"];
    let ran = bucket.run(&[&["restore", "--all", "--to", "out2"], &at[..]].concat());
    ran.failed(1, &["2024-01-15T12:05:00Z"]);
}

#[test]
fn the_json_of_all() {
    let bucket = twenty();
    let (_, json) = bucket.json(&["restore", "--all", "--to", "out", "--at", "2024-01-16"]);
    assert_eq!(json["location"], bucket.url());
    assert_eq!(json["to"], bucket.out("out").canonicalize().unwrap().to_str().unwrap());
    assert_eq!(json["at"], "2024-01-16T00:00:00Z");
    assert_eq!(json["by_volume"], false);
    for (name, value) in [("restored", 20), ("skipped", 0), ("nothing_early_enough", 0)] {
        assert_eq!(json[name], value, "{name}");
    }
    assert_eq!(json["failed"], 0);
    let lines = json["databases"].as_array().unwrap();
    let bytes: u64 = lines.iter().map(|line| line["image_bytes"].as_u64().unwrap()).sum();
    assert_eq!(json["restored_bytes"], bytes);
    assert_eq!(lines[0]["stem"], "acme/t0");
    assert_eq!(lines[0]["result"], "restored");
    assert!(lines[0]["target"].as_str().unwrap().ends_with("out/data/acme/tenants/t0.db"));
}

#[test]
fn a_target_that_cannot_be_used_is_named() {
    let bucket = twenty();
    fs::write(bucket.out("file"), b"").unwrap();
    bucket.run(&["restore", "--all", "--to", "file"]).failed(1, &["--to", "file"]);
    fs::create_dir(bucket.out("out")).unwrap();
    fs::write(bucket.out("out/data"), b"a file where a directory should be").unwrap();
    let ran = bucket.run(&["restore", "--all", "--to", "out"]);
    ran.failed(1, &["out/data is not a directory"]);
}
