//! File names that are legal and unusual: each is stored, and found and restored by its own path.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;

use ultrasimple_testkit::bank::{BankOptions, JournalMode, verify};
use ultrasimple_testkit::seaweed::SeaweedFs;
use ultrasimple_tests::{Bucket, Yard, run};

const ONCE: [&str; 3] = ["-once", "-pattern", "data/**/*.db"];

fn names() -> Vec<Vec<u8>> {
    // The longest that a file system takes, and the longest whose backup's name it takes.
    let long = |letters| [&b"l".repeat(letters)[..], b".db"].concat();
    let mut names: Vec<Vec<u8>> = vec![long(252), long(255 - "-YYYYMMDD-HH0000.db.lz4".len())];
    for name in [
        &b"two words.db"[..],
        b" .db",
        b"'quotes' \"too\" `.db",
        b"{{tenant}}.db",
        b"line\nbreak.db",
        b"tab\tand\x1bescape.db",
        b"not-\xff\xfe-utf8.db",
        b"percent%20%FF.db",
        b"question?#&=+;.db",
        b"back\\slash.db",
        b"-dash.db",
        b"*[star]?.db",
        "ümläut-日本-🦀.db".as_bytes(),
        b"x-wal.db",
        b".hidden.db",
        b".db.db",
        b"a.db.db",
        b"t-20240115-140000.db",
    ] {
        names.push(name.to_vec());
    }
    names
}

/// A tree with a bank for each name; each has seen another number of commits.
fn tree(yard: &Yard) -> Vec<(std::path::PathBuf, i64)> {
    let options =
        BankOptions { accounts: 30, journal_mode: JournalMode::Delete, ..BankOptions::default() };
    let plain = yard.path("plain");
    let mut banks = Vec::new();
    for (number, name) in (1..).zip(names()) {
        // A name of 255 bytes leaves none for `-journal`: such a file comes by renaming.
        yard.bank("plain", &options, 1);
        let folder = yard.path("data/t");
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join(OsStr::from_bytes(&name));
        fs::copy(&plain, &path).unwrap();
        banks.push((path, number + 1));
    }
    banks
}

fn prove(yard: &Yard, bucket: &Bucket, banks: &[(std::path::PathBuf, i64)]) {
    for (path, commits) in banks {
        let words = [
            "restore".as_ref(),
            path.as_os_str(),
            "-o".as_ref(),
            "one.db".as_ref(),
            "--force".as_ref(),
        ];
        run(yard.ctl(bucket, &words)).expect(0, &[]);
        assert_eq!(verify(&yard.path("one.db")), Ok(*commits), "{}", path.display());
    }
    run(yard.ctl(bucket, &["restore", "--all", "--to", "all"])).expect(0, &[]);
    for (path, commits) in banks {
        let restored = yard.path("all").join(path.strip_prefix("/").unwrap());
        assert_eq!(verify(&restored), Ok(*commits), "{}", path.display());
    }
}

/// Backs the tree up. SeaweedFS and file systems take names of 255 bytes, and a backup's is longer than
/// its database's: the longest database is named in the log, the others are stored.
fn back_up(yard: &Yard, bucket: &Bucket, reason: &str) {
    let mut banks = tree(yard);
    let ran = run(yard.daemon(bucket, &ONCE));
    let (longest, _) = banks.remove(0);
    ran.expect(3, &[]);
    let lines: Vec<_> = ran.stderr.lines().filter(|line| line.contains("Not backed up")).collect();
    assert_eq!(lines.len(), 1, "one failure, one line: {ran}");
    let start = format!("Not backed up: {}: ", longest.display());
    assert!(lines[0].contains(&start) && lines[0].contains(reason), "{ran}");
    assert_eq!(bucket.backups().len(), banks.len(), "{ran}");
    prove(yard, bucket, &banks);
}

#[test]
fn unusual_names_in_a_bucket() {
    let bucket = Bucket::new_in(SeaweedFs::shared());
    back_up(&Yard::new(), &bucket, "KeyTooLong");
}

#[test]
fn unusual_names_in_a_directory() {
    let yard = Yard::new();
    back_up(&yard, &yard.bucket(), "255");
}
