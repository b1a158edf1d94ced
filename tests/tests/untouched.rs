//! R1: whatever state a database is in, the daemon leaves no trace: same bytes, inodes, times, names.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;

use ultrasimple_testkit::bank::JournalMode::{Delete, Memory, Persist, Truncate, Wal};
use ultrasimple_testkit::bank::{BankOptions, JournalMode, LockingMode, WriterProcess, verify};
use ultrasimple_testkit::tree::Snapshot;
use ultrasimple_tests::{Bucket, Daemon, Mount, Yard, run, sqlite3, unpack};

ultrasimple_testkit::bank_writer!();

const PATTERN: [&str; 2] = ["-pattern", "data/**/*.db"];
/// Cycles that look at everything.
const CYCLES: u64 = 5;

/// A tree with databases in all states there are.
struct Zoo {
    yard: Yard,
    /// They keep their databases open, and do nothing.
    writers: Vec<WriterProcess>,
    /// Key stem, and commits that a backup must have seen.
    expected: Vec<(&'static str, i64)>,
    /// Cannot be backed up now.
    failing: Vec<&'static str>,
}

fn bank(journal_mode: JournalMode) -> BankOptions {
    BankOptions { journal_mode, accounts: 60, ..BankOptions::default() }
}

impl Zoo {
    fn new() -> Self {
        let mut zoo = Self {
            yard: Yard::new(),
            writers: Vec::new(),
            expected: Vec::new(),
            failing: Vec::new(),
        };
        zoo.closed();
        zoo.open();
        zoo.crashed();
        zoo.links();
        zoo.bad();
        zoo
    }

    fn writer(&mut self, name: &'static str, options: BankOptions) -> WriterProcess {
        let path = self.yard.path(format!("data/{name}.db"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut writer = WriterProcess::spawn(&path, &options).unwrap();
        self.expected.push((name, writer.commit(10).unwrap()));
        writer
    }

    fn closed(&mut self) {
        for (name, mode) in [
            ("closed/wal", Wal),
            ("closed/delete", Delete),
            ("closed/truncate", Truncate),
            ("closed/persist", Persist),
            ("closed/memory", Memory),
            ("readonly/wal", Wal),
            ("readonly/delete", Delete),
        ] {
            self.writer(name, bank(mode)).close().unwrap();
        }
        // What these modes leave behind is part of the picture.
        assert!(self.yard.path("data/closed/persist.db-journal").exists());
        assert!(!self.yard.path("data/closed/wal.db-wal").exists());
        let read_only = Permissions::from_mode(0o555);
        fs::set_permissions(self.yard.path("data/readonly"), read_only).unwrap();
    }

    fn open(&mut self) {
        let exclusive = LockingMode::Exclusive;
        for (name, options) in [
            ("open/wal", bank(Wal)),
            ("open/wal-long", bank(Wal)),
            ("open/wal-exclusive", BankOptions { locking_mode: exclusive, ..bank(Wal) }),
            ("open/delete", bank(Delete)),
            ("open/delete-long", bank(Delete)),
            ("open/persist", bank(Persist)),
        ] {
            let mut writer = self.writer(name, options);
            if name.ends_with("-long") {
                writer.begin_long().unwrap();
            }
            self.writers.push(writer);
        }
        let spills = BankOptions { cache_pages: 5, page_size: 1_024, ..bank(Delete) };
        let mut writer = self.writer("open/delete-spilled", spills);
        writer.begin_long().unwrap();
        self.writers.push(writer);
        let held = BankOptions { locking_mode: exclusive, ..bank(Truncate) };
        let writer = self.writer("open/truncate-exclusive", held);
        self.writers.push(writer);
        // The last two are held with an EXCLUSIVE lock.
        for name in ["open/truncate-exclusive", "open/delete-spilled"] {
            self.expected.retain(|(expected, _)| *expected != name);
            self.failing.push(name);
        }
    }

    fn crashed(&mut self) {
        for (name, mode, in_transaction) in [
            ("crashed/wal", Wal, false),
            ("crashed/wal-in-transaction", Wal, true),
            ("crashed/wal-without-shm", Wal, false),
            ("crashed/delete", Delete, true),
            ("crashed/truncate", Truncate, true),
            ("crashed/persist", Persist, true),
        ] {
            let spills = BankOptions { cache_pages: 5, page_size: 1_024, ..bank(mode) };
            let mut writer = self.writer(name, spills);
            if in_transaction {
                writer.begin_long().unwrap();
            }
            writer.crash().unwrap();
        }
        let shm = self.yard.path("data/crashed/wal-without-shm.db-shm");
        fs::remove_file(shm).unwrap();
    }

    fn links(&mut self) {
        let data = self.yard.path("data");
        let elsewhere = self.yard.path("elsewhere");
        for name in ["file", "folder/inner"] {
            let path = elsewhere.join(format!("{name}.db"));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let mut writer = WriterProcess::spawn(&path, &bank(Wal)).unwrap();
            let commits = writer.commit(12).unwrap();
            self.writers.push(writer);
            let stem = if name == "file" { "links/file" } else { "links/inner" };
            self.expected.push((stem, commits));
        }
        fs::create_dir(data.join("links")).unwrap();
        symlink(elsewhere.join("file.db"), data.join("links/file.db")).unwrap();
        symlink(elsewhere.join("folder/inner.db"), data.join("links/inner.db")).unwrap();
        symlink("nowhere.db", data.join("links/dangling.db")).unwrap();
        self.failing.push("links/dangling");
    }

    fn bad(&mut self) {
        let data = self.yard.path("data/bad");
        fs::create_dir(&data).unwrap();
        fs::write(data.join("text.db"), "no database, but long enough to be one".repeat(10))
            .unwrap();
        fs::write(data.join("empty.db"), "").unwrap();
        self.failing.extend(["bad/text", "bad/empty"]);
    }

    /// All that the daemon looks at.
    fn snapshots(&self) -> [(PathBuf, Snapshot); 2] {
        ["data", "elsewhere"].map(|name| {
            let path = self.yard.path(name);
            let snapshot = Snapshot::take(&path).unwrap();
            (path, snapshot)
        })
    }

    /// Every backup holds what was committed, and no more.
    fn prove(&self, bucket: &Bucket) {
        let backups = bucket.backups();
        for (stem, commits) in &self.expected {
            let keys = backups.get(*stem).unwrap_or_else(|| panic!("{stem} is not in {backups:?}"));
            let key = keys.last().unwrap();
            let image = self.yard.path("image");
            unpack(&self.yard.path("bucket").join(key), &image).unwrap();
            assert_eq!(verify(&image), Ok(*commits), "R2: {stem}");
        }
        assert_eq!(backups.len(), self.expected.len(), "{backups:?}");
    }
}

#[test]
fn no_trace_is_left_beside_databases_in_any_state() {
    let zoo = Zoo::new();
    let (yard, bucket) = (&zoo.yard, zoo.yard.bucket());
    let before = zoo.snapshots();
    let untouched = || before.iter().for_each(|(path, picture)| picture.assert_unchanged(path));

    let dry = run(yard.daemon(&bucket, &[&PATTERN[..], &["-dry-run"]].concat()));
    dry.expect(3, &[]);
    assert_eq!(dry.stdout.matches("would upload").count(), zoo.expected.len(), "{dry}");
    assert_eq!(dry.stdout.matches("would fail").count(), zoo.failing.len(), "{dry}");
    assert!(bucket.keys().is_empty());
    untouched();

    let once = run(yard.daemon(&bucket, &[&PATTERN[..], &["-once"]].concat()));
    once.expect(3, &[]);
    for name in &zoo.failing {
        once.expect(3, &[&format!("Not backed up: {}", yard.path("data").join(name).display())]);
    }
    untouched();
    zoo.prove(&bucket);

    let interval = [&PATTERN[..], &["-interval", "200ms"]].concat();
    let mut daemon = Daemon::start(yard.daemon(&bucket, &interval));
    daemon.cycles(CYCLES);
    assert_eq!(daemon.count("failing"), zoo.failing.len() as u64, "{}", daemon.log());
    assert_eq!(daemon.stop().0, Some(0), "{}", daemon.log());
    untouched();
    zoo.prove(&bucket);
}

/// The picture is worth something: it notices what a careless reader does.
#[test]
fn the_picture_notices_a_careless_reader() {
    let zoo = Zoo::new();
    let (path, before) = &zoo.snapshots()[0];
    before.assert_unchanged(path);
    // SQLite's own tool, only reading.
    sqlite3(&zoo.yard.path("data/crashed/delete.db"), "SELECT count(*) FROM journal");
    let changed = before.diff(&Snapshot::take(path).unwrap());
    assert!(changed.iter().any(|line| line.contains("crashed/delete.db")), "{changed:?}");
}

#[test]
fn a_read_only_mount_is_backed_up() {
    let zoo = Zoo::new();
    let (yard, bucket) = (&zoo.yard, zoo.yard.bucket());
    let on = yard.path("mounted");
    let Some(_mount) = Mount::read_only(&yard.path("data"), &on) else { return };
    assert!(fs::write(on.join("new"), "").is_err(), "the mount can be written");
    let before = zoo.snapshots();
    let words = ["-once", "-pattern", "mounted/**/*.db"];
    run(yard.daemon(&bucket, &words)).expect(3, &["mounted/bad/text.db"]);
    for (path, picture) in &before {
        picture.assert_unchanged(path);
    }
    zoo.prove(&bucket);
}
