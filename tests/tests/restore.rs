//! Restoring from nothing but a plain copy of the bucket's folder (R9): one, all, some, as of a time; and
//! never over what is there.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use ultrasimple_testkit::bank::{BankOptions, JournalMode, verify};
use ultrasimple_tests::{Bucket, Ran, TurnedClock, Yard, dump, run};

/// Two tenants' databases in the tree of the default pattern, backed up in two hours; then all is gone
/// but a copy of the bucket.
struct Stage {
    yard: Yard,
    copy: Bucket,
    sources: Vec<PathBuf>,
    /// What `sqlite3` printed for each before it was lost.
    dumps: Vec<String>,
}

const NAMES: [&str; 4] = ["acme/t1", "acme/t2", "beta/t1", "beta/t3"];

impl Stage {
    fn new() -> Self {
        let yard = Yard::new();
        let clock = TurnedClock::new(&yard, "2030-01-15T13:10:00Z");
        let bucket = yard.bucket();
        let file = |name: &str| {
            let (project, tenant) = name.split_once('/').unwrap();
            format!("data/{project}/databases/users/branches/main/tenants/{tenant}.db")
        };
        let journal_mode = JournalMode::Wal;
        let options = BankOptions { journal_mode, accounts: 30, ..BankOptions::default() };
        let mut commits = 0;
        for time in ["2030-01-15T13:10:00Z", "2030-01-15T14:10:00Z"] {
            clock.set(time);
            // The last one comes into being in the second hour.
            for name in NAMES.iter().take(if commits == 0 { 3 } else { 4 }) {
                yard.bank(file(name), &options, 5);
            }
            commits += 5;
            let pattern = "data/*/databases/*/branches/*/tenants/*.db";
            let daemon = yard.daemon(&bucket, &["-once", "-pattern", pattern]);
            run(clock.command(daemon)).expect(0, &[]);
        }
        let sources: Vec<_> = NAMES.iter().map(|name| yard.path(file(name))).collect();
        let dumps = sources.iter().map(|source| dump(source)).collect();
        let copy = Bucket::directory(&yard.path("copy"));
        bucket.copy_to(&yard.path("copy"));
        fs::remove_dir_all(yard.path("bucket")).unwrap();
        fs::remove_dir_all(yard.path("data")).unwrap();
        Self { yard, copy, sources, dumps }
    }

    fn ctl(&self, words: &[&str]) -> Ran {
        run(self.yard.ctl(&self.copy, words))
    }

    fn json(&self, status: i32, words: &[&str]) -> Value {
        self.ctl(&[words, &["--json"]].concat()).expect(status, &[]).json()
    }

    /// Where `--all --to` puts the n-th database.
    fn below(&self, to: &str, n: usize) -> PathBuf {
        self.yard.path(to).join(self.sources[n].strip_prefix("/").unwrap())
    }
}

#[test]
fn the_bucket_is_listed() {
    let stage = Stage::new();
    let json = stage.json(0, &["databases", "--paths"]);
    let lines = json["databases"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let stems: Vec<_> = lines.iter().map(|line| text(&line["stem"])).collect();
    assert_eq!(
        stems,
        [
            "acme/users/main/t1/t1",
            "acme/users/main/t2/t2",
            "beta/users/main/t1/t1",
            "beta/users/main/t3/t3"
        ]
    );
    for (line, source) in lines.iter().zip(&stage.sources) {
        assert_eq!(text(&line["path"]), source.display().to_string());
    }
    assert_eq!((&lines[0]["backups"], &lines[3]["backups"]), (&2.into(), &1.into()));

    let some = stage.ctl(&["databases", "acme/*"]);
    assert!(some.expect(0, &[]).stdout.contains("2 databases"), "{some}");
    let json = stage.json(0, &["backups", stage.sources[0].to_str().unwrap()]);
    let keys: Vec<_> =
        json["backups"].as_array().unwrap().iter().map(|b| text(&b["key"])).collect();
    let key = |hour| format!("acme/users/main/t1/t1-20300115-{hour}0000.db.lz4");
    assert_eq!(keys, [key("15"), key("14")], "the newest first");
}

#[test]
fn one_database_by_each_of_its_names_and_as_of_a_time() {
    let stage = Stage::new();
    let out = stage.yard.path("out.db");
    let path = stage.sources[0].to_str().unwrap();
    let old_key = "acme/users/main/t1/t1-20300115-140000.db.lz4";
    for (words, commits) in [
        (&[path][..], 11),
        (&["acme/users/main/t1/t1"], 11),
        (&[old_key], 6),
        (&[path, "--at", "2030-01-15T14:05:00Z"], 6),
        (&["acme/users/main/t1/t1", "--at", "2030-01-15T13:30"], 6),
        (&[path, "--at", "2030-01-16"], 11),
        (&[path, "--at", "2030-01-15T15:30:00+01:00"], 11),
    ] {
        let ran = stage.ctl(&[&["restore"], words, &["-o", "out.db"]].concat());
        ran.expect(0, &[]);
        assert_eq!(verify(&out), Ok(commits), "{words:?}");
        if commits == 11 {
            assert_eq!(dump(&out), stage.dumps[0], "{words:?}");
        }
        // Nothing else is left beside it.
        let beside = |name: &String| name.starts_with("out.db");
        let entries = stage.yard.path("").read_dir().unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
        assert_eq!(names.filter(beside).collect::<Vec<_>>(), ["out.db"], "{words:?}");
        fs::remove_file(&out).unwrap();
    }
}

#[test]
fn nothing_is_written_over() {
    let stage = Stage::new();
    let out = stage.yard.path("out.db");
    let restore = ["restore", "acme/users/main/t1/t1", "-o", "out.db"];
    let forced = [&restore[..], &["--force"]].concat();

    fs::write(&out, "precious").unwrap();
    stage.ctl(&restore).expect(1, &["out.db", "--force"]);
    assert_eq!(fs::read(&out).unwrap(), b"precious");
    stage.ctl(&forced).expect(0, &[]);
    assert_eq!(verify(&out), Ok(11));
    fs::remove_file(&out).unwrap();

    // What SQLite would take for a part of the restored database (SQLite fact 9).
    for suffix in ["-wal", "-shm", "-journal"] {
        let left = stage.yard.path(format!("out.db{suffix}"));
        fs::write(&left, "left over").unwrap();
        stage.ctl(&restore).expect(1, &[&format!("out.db{suffix}"), "--force"]);
        assert!(!out.exists() && left.exists(), "{suffix}");
        stage.ctl(&forced).expect(0, &[]);
        assert!(!left.exists(), "{suffix} is still there");
        assert_eq!(dump(&out), stage.dumps[0], "{suffix}");
        fs::remove_file(&out).unwrap();
    }
    // A directory is never replaced.
    fs::create_dir(&out).unwrap();
    stage.ctl(&forced).expect(1, &["out.db"]);
    assert!(out.is_dir());
}

#[test]
fn all_or_some_of_them() {
    let stage = Stage::new();
    let json = stage.json(0, &["restore", "--all", "--to", "all"]);
    assert_eq!((&json["restored"], &json["failed"]), (&4.into(), &0.into()), "{json}");
    for (n, expected) in stage.dumps.iter().enumerate() {
        assert_eq!(&dump(&stage.below("all", n)), expected, "{}", NAMES[n]);
    }
    // (`sqlite3` has looked into them: what it left is gone with it.)
    let json = stage.json(0, &["restore", "--all", "--to", "all"]);
    assert_eq!((&json["restored"], &json["skipped"]), (&0.into(), &4.into()), "{json}");

    let ran = stage.ctl(&["restore", "--all", "--to", "some", "--match", "acme/*"]);
    assert!(ran.expect(0, &[]).stdout.contains("restored 2 databases"), "{ran}");
    assert!(stage.below("some", 1).exists() && !stage.below("some", 2).exists());
    let by_path = stage.yard.path("data/*/databases/*/tenants/t1.db").display().to_string();
    let json = stage.json(0, &["restore", "--all", "--to", "by-path", "--match", &by_path]);
    assert_eq!(json["restored"], 2, "{json}");

    let early = ["restore", "--all", "--to", "early", "--at", "2030-01-15T13:30:00Z"];
    let json = stage.json(0, &early);
    assert_eq!((&json["restored"], &json["nothing_early_enough"]), (&3.into(), &1.into()));
    assert_eq!(verify(&stage.below("early", 0)), Ok(6));
    assert!(!stage.below("early", 3).exists());
}

#[test]
fn exit_statuses() {
    let stage = Stage::new();
    for (status, words, said) in [
        (2, &["restore"][..], "Usage"),
        (2, &["restore", "x"], "--output"),
        (2, &["restore", "--all"], "--to"),
        (2, &["databases", "-nope"], "-nope"),
        (2, &["restore", "x", "-o", "o", "--at", "yesterday"], "yesterday"),
        (1, &["restore", "no/such/database", "-o", "o"], "no backups with the key stem"),
        (1, &["restore", "/no/such.db", "-o", "o"], "/no/such.db"),
        (1, &["restore", "--all", "--to", "d", "--match", "none/*"], "matches"),
        (1, &["backups", "no/such/database"], "no backups"),
        (1, &["restore", "acme/users/main/t1/t1", "-o", "no/such/folder/o"], "no/such/folder"),
        (1, &["restore", "acme/users/main/t1/t1", "-o", "o", "--at", "2020-01-01"], "at or before"),
    ] {
        stage.ctl(words).expect(status, &[said]);
        assert!(!stage.yard.path("o").exists(), "{words:?}");
    }
    let nowhere = Bucket::directory(&stage.yard.path("nowhere"));
    run(stage.yard.ctl(&nowhere, &["databases"])).expect(1, &["nowhere"]);
    assert!(!stage.yard.path("nowhere").exists(), "looking creates nothing");

    // One object is damaged: the others are restored, and the status tells (R7).
    let key = "beta/users/main/t1/t1-20300115-150000.db.lz4";
    let object = stage.yard.path("copy").join(key);
    let mut bytes = fs::read(&object).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&object, bytes).unwrap();
    let ran = stage.ctl(&["restore", "--all", "--to", "all"]);
    ran.expect(3, &[key, stage.sources[2].to_str().unwrap()]);
    assert!(!stage.below("all", 2).exists() && stage.below("all", 3).exists(), "{ran}");
    let older = ["restore", "--all", "--to", "all", "--or-older"];
    let json = stage.json(0, &older);
    assert_eq!((&json["restored"], &json["skipped"]), (&1.into(), &3.into()), "{json}");
    assert_eq!(verify(&stage.below("all", 2)), Ok(6), "the older hour");
}
