//! `restore DB -o FILE`.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use common::{Bucket, backup, content, files};
use ultrasimple_core::CheckResult;

const PATH: &str = "/data/acme/t1.db";

/// Captured at 12:05, 13:05 and 14:50.
fn three() -> Bucket {
    Bucket::with(&[
        backup("acme/t1", PATH, "2024-01-15T12:05:00Z"),
        backup("acme/t1", PATH, "2024-01-15T13:05:00Z"),
        backup("acme/t1", PATH, "2024-01-15T14:50:00Z"),
        backup("acme/t2", "/data/acme/t2.db", "2024-01-15T13:05:00Z"),
    ])
}

#[test]
fn a_database_comes_back_by_path_stem_or_key() {
    let bucket = three();
    for (n, (name, at)) in [
        (PATH, "14:50"),
        ("acme/t1", "14:50"),
        ("acme/t1-20240115-140000.db.lz4", "13:05"),
        (&format!("{}/acme/t1", bucket.url()), "14:50"),
    ]
    .into_iter()
    .enumerate()
    {
        let out = bucket.out(&format!("out{n}.db"));
        let ran = bucket.run(&["restore", name, "-o", out.to_str().unwrap()]);
        let time = format!("2024-01-15 {at}:00Z");
        assert!(ran.well().stdout.contains(&time), "{name}: {ran:?}");
        assert_eq!(content(&out), format!("acme/t1 2024-01-15T{at}:00Z"));
        assert_eq!(fs::metadata(&out).unwrap().permissions().mode() & 0o7777, 0o640);
    }
    let names = fs::read_dir(bucket.out("")).unwrap().count();
    assert_eq!(names, 5, "no temporary file is left");
}

#[test]
fn the_restored_file_is_what_lz4_gives() {
    let bucket = three();
    let out = bucket.out("out.db");
    bucket.run(&["restore", "acme/t1", "-o", out.to_str().unwrap()]).well();
    let object = bucket.object_path("acme/t1-20240115-150000.db.lz4");
    let lz4 = Command::new("lz4").arg("-dc").arg(object).output().expect("the lz4 command");
    assert_eq!(fs::read(out).unwrap(), lz4.stdout);
}

#[test]
fn the_capture_at_or_before_the_time() {
    let bucket = three();
    for (at, expected) in [
        ("2024-01-15T15:00:00Z", Some("14:50")),
        ("2024-01-15T14:50:00Z", Some("14:50")),
        // The hour 14-15 has begun, but its capture came later.
        ("2024-01-15T14:49:59Z", Some("13:05")),
        ("2024-01-15T16:49:59+02:00", Some("13:05")),
        ("2024-01-15T13:05", Some("13:05")),
        ("2024-01-15 12:30", Some("12:05")),
        ("1h ago", Some("14:50")),
        ("2024-01-15", None),
        ("2024-01-15T12:04:59Z", None),
    ] {
        let out = bucket.out("out.db");
        let _ = fs::remove_file(&out);
        let ran = bucket.run(&["restore", PATH, "-o", "out.db", "--at", at]);
        let Some(expected) = expected else {
            ran.failed(1, &["at or before", "captured at 2024-01-15T12:05:00Z"]);
            assert!(!out.exists());
            continue;
        };
        ran.well();
        assert_eq!(content(&out), format!("acme/t1 2024-01-15T{expected}:00Z"), "{at}");
    }
    bucket.run(&["restore", PATH, "-o", "x.db", "--at", "2h"]).failed(2, &["\"2h ago\""]);
    let key = "acme/t1-20240115-140000.db.lz4";
    bucket.run(&["restore", key, "-o", "x.db", "--at", "2h ago"]).failed(2, &["leave out --at"]);
    let gone = "acme/t1-20240115-180000.db.lz4";
    bucket
        .run(&["restore", gone, "-o", "x.db"])
        .failed(1, &["has no acme/t1-2", "backups acme/t1"]);
}

#[test]
fn a_marked_backup_is_an_error_unless_it_is_wanted() {
    let bucket = three();
    let mut marked = backup("acme/t1", PATH, "2024-01-15T15:10:00Z");
    marked.check = CheckResult::Failed("page 7 is never used".to_owned());
    bucket.put(&marked);
    let restore = ["restore", PATH, "-o", "out.db"];
    let words = ["page 7", "--or-older", "2024-01-15T14:50:00Z", "--marked-ok"];
    bucket.run(&restore).failed(1, &words);
    assert!(!bucket.out("out.db").exists());

    let (status, json) = bucket.json(&[&restore[..], &["--or-older"]].concat());
    assert_eq!(status, 0);
    assert_eq!(json["database"]["captured_at"], "2024-01-15T14:50:00Z");
    assert_eq!(json["database"]["passed_over"][0]["key"], marked.key());
    assert_eq!(content(&bucket.out("out.db")), "acme/t1 2024-01-15T14:50:00Z");

    let ran = bucket.run(&["restore", PATH, "-o", "as-it-is.db", "--marked-ok"]);
    assert!(ran.well().stdout.contains("MARKED"), "{ran:?}");
    assert_eq!(content(&bucket.out("as-it-is.db")), "acme/t1 2024-01-15T15:10:00Z");
}

#[test]
fn damage_of_every_kind_is_found_and_passed_over() {
    let good = backup("acme/t1", PATH, "2024-01-15T14:50:00Z");
    let newest = backup("acme/t1", PATH, "2024-01-15T15:10:00Z");
    let whole = newest.object().0;
    let mut flipped = whole.clone();
    flipped[200] ^= 0x10;
    let mut flipped_footer = whole.clone();
    let footer_at = flipped_footer.len() - 40;
    flipped_footer[footer_at] ^= 0x10;
    // A body of one backup with the footer of another: each is whole, together they are a lie.
    let (other, _) = backup("acme/t2", "/data/acme/t2.db", "2024-01-15T15:10:00Z").object();
    let frame = |object: &[u8]| {
        let magic = [0x5D, 0x2A, 0x4D, 0x18];
        object.windows(4).rposition(|bytes| bytes == magic).unwrap()
    };
    let swapped = [&other[..frame(&other)], &whole[frame(&whole)..]].concat();
    for (what, bytes, reason) in [
        ("flipped", flipped, "content"),
        ("flipped footer", flipped_footer, "footer is damaged"),
        ("cut", whole[..whole.len() / 2].to_vec(), "footer"),
        ("cut by one", whole[..whole.len() - 1].to_vec(), "footer"),
        ("swapped body", swapped, "not what its footer says"),
        ("empty", Vec::new(), "footer"),
        ("foreign", b"this is no backup".to_vec(), "footer"),
    ] {
        let bucket = Bucket::with(std::slice::from_ref(&good));
        bucket.put_bytes(&newest.key(), &bytes);
        let restore = ["restore", "acme/t1", "-o", "out.db"];
        let ran = bucket.run(&restore);
        ran.failed(1, &[&newest.key(), reason, "--or-older", "2024-01-15T14:50:00Z"]);
        assert_eq!(
            files(&bucket.out("")),
            [format!("bucket/{}", good.key()), format!("bucket/{}", newest.key())],
            "{what}"
        );
        let ran = bucket.run(&[&restore[..], &["--or-older"]].concat());
        assert!(ran.well().stderr.contains("passed over"), "{what}: {ran:?}");
        assert_eq!(content(&bucket.out("out.db")), "acme/t1 2024-01-15T14:50:00Z", "{what}");
    }
}

#[test]
fn an_object_of_a_newer_version_is_refused_clearly() {
    let newest = backup("acme/t1", PATH, "2024-01-15T15:10:00Z");
    let json = br#"{"version":2}"#;
    let bucket = three();
    let checksum = xxh3(json);
    let length = u32::try_from(json.len()).unwrap();
    let frame = [
        &[0x5D, 0x2A, 0x4D, 0x18][..],
        &(length + 16).to_le_bytes(),
        json,
        &checksum,
        &length.to_le_bytes(),
        b"USR1",
    ]
    .concat();
    bucket.put_bytes(&newest.key(), &frame);
    for more in [&[][..], &["--or-older"]] {
        let ran = bucket.run(&[&["restore", "acme/t1", "-o", "out.db"], more].concat());
        ran.failed(1, &["version 2", "newer program"]);
    }
}

/// XXH3-64 of `{"version":2}`, little-endian.
fn xxh3(json: &[u8]) -> [u8; 8] {
    twox_hash::XxHash3_64::oneshot(json).to_le_bytes()
}

#[test]
fn a_damaged_database_in_a_sound_object_is_found_by_the_check() {
    let mut broken = backup("acme/t1", PATH, "2024-01-15T15:10:00Z");
    // The root page of the table: structure that SQLite notices, in an object that is true to it.
    broken.check = CheckResult::Skipped;
    broken.image[4_096..4_200].fill(0xEE);
    let bucket = three();
    bucket.put(&broken);
    let restore = ["restore", "acme/t1", "-o", "out.db"];
    bucket.run(&restore).failed(1, &["integrity_check", "--no-check", "--or-older"]);
    assert!(!bucket.out("out.db").exists());
    bucket.run(&[&restore[..], &["--or-older"]].concat()).well();
    assert_eq!(content(&bucket.out("out.db")), "acme/t1 2024-01-15T14:50:00Z");
    bucket.run(&["restore", "acme/t1", "-o", "raw.db", "--no-check"]).well();
    assert_eq!(fs::read(bucket.out("raw.db")).unwrap(), broken.image);
}

#[test]
fn what_is_there_stays_unless_it_is_to_be_replaced() {
    let bucket = three();
    let restore = ["restore", "acme/t1", "-o", "out.db"];
    fs::write(bucket.out("out.db"), b"precious").unwrap();
    bucket.run(&restore).failed(1, &["out.db exists", "--force"]);
    assert_eq!(fs::read(bucket.out("out.db")).unwrap(), b"precious");
    bucket.run(&[&restore[..], &["--force"]].concat()).well();
    assert_eq!(content(&bucket.out("out.db")), "acme/t1 2024-01-15T14:50:00Z");
}

#[test]
fn a_stale_side_file_is_refused_or_removed() {
    for suffix in ["-wal", "-shm", "-journal"] {
        let bucket = three();
        let leftover = bucket.out(&format!("out.db{suffix}"));
        fs::write(&leftover, b"stale").unwrap();
        let restore = ["restore", "acme/t1", "-o", "out.db"];
        bucket.run(&restore).failed(1, &[&format!("out.db{suffix} exists"), "--force"]);
        assert!(leftover.exists() && !bucket.out("out.db").exists());
        bucket.run(&[&restore[..], &["--force"]].concat()).well();
        assert!(!leftover.exists());
        assert_eq!(content(&bucket.out("out.db")), "acme/t1 2024-01-15T14:50:00Z");
    }
}

#[test]
fn a_footer_cannot_make_a_file_setuid_and_needs_no_source_path_that_is_safe() {
    let mut odd = backup("acme/odd", "../../etc/passwd", "2024-01-15T15:10:00Z");
    odd.mode = 0o6_755;
    let bucket = Bucket::with(&[odd]);
    bucket.run(&["restore", "acme/odd", "-o", "out.db"]).well();
    let mode = fs::metadata(bucket.out("out.db")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o755);
}

#[test]
fn a_directory_that_is_missing_is_named() {
    let bucket = three();
    let ran = bucket.run(&["restore", "acme/t1", "-o", "no/such/out.db"]);
    ran.failed(1, &["no/such"]);
    assert!(!bucket.out("no").exists());
}

#[test]
fn an_ambiguous_path_names_the_candidates() {
    let bucket = three();
    bucket.put(&backup("old/place/t1", PATH, "2024-01-10T12:05:00Z"));
    let ran = bucket.run(&["restore", PATH, "-o", "out.db"]);
    ran.failed(1, &["several databases", "acme/t1  (volume", "old/place/t1  (volume"]);
}

#[test]
fn the_json_of_one() {
    let bucket = three();
    let (status, json) = bucket.json(&["restore", PATH, "-o", "out.db"]);
    assert_eq!(status, 0);
    let database = &json["database"];
    assert_eq!(json["location"], bucket.url());
    assert_eq!(database["stem"], "acme/t1");
    assert_eq!(database["result"], "restored");
    assert_eq!(database["key"], "acme/t1-20240115-150000.db.lz4");
    assert_eq!(database["path"], PATH);
    assert_eq!(database["volume"], "default");
    assert_eq!(database["captured_at"], "2024-01-15T14:50:00Z");
    assert_eq!(database["image_bytes"], fs::metadata(bucket.out("out.db")).unwrap().len());
    assert_eq!(database["target"], bucket.out("out.db").to_str().unwrap());
    assert_eq!(database["passed_over"].as_array().unwrap().len(), 0);
    let (status, json) = bucket.json(&["restore", PATH, "-o", "out.db"]);
    assert_eq!(status, 1);
    assert!(json["error"].as_str().unwrap().contains("exists"));
}

#[test]
fn ctrl_c_leaves_no_half_file() {
    let mut large = backup("large", "/data/large.db", "2024-01-15T14:50:00Z");
    large.image = vec![0; 256 << 20];
    let bucket = Bucket::with(&[large]);
    fs::create_dir(bucket.out("target")).unwrap();
    let mut command = bucket.command();
    command.args(["-bucket", &bucket.url(), "restore", "large", "-o", "target/out.db"]);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    while files(&bucket.out("target")).is_empty() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it began to write");
        std::thread::yield_now();
    }
    let id = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    assert_eq!(files(&bucket.out("target")), [""; 0], "neither a half file nor a temporary one");
}
