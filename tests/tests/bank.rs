//! Banks in every journal mode, at full speed, while cycles run: whatever is stored, at whatever moment,
//! is a state between two commits (R2), and in the end the newest backup is the final state.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ultrasimple_testkit::bank::JournalMode::{Delete, Memory, Persist, Truncate, Wal};
use ultrasimple_testkit::bank::{
    AutoVacuum, BankOptions, Encoding, JournalMode, LockingMode, WriterProcess, verify,
};
use ultrasimple_testkit::seaweed::SeaweedFs;
use ultrasimple_tests::{Bucket, Daemon, Yard, dump, eventually, run, unpack};

ultrasimple_testkit::bank_writer!();

const PATTERN: [&str; 4] = ["-pattern", "data/*.db", "-interval", "200ms"];
/// Held with an EXCLUSIVE lock: cannot be read until it is let go.
const HELD: &str = "delete-exclusive";
/// Times that every bank is seen stored anew, and proved, while all write.
const ROUNDS: usize = 3;

fn mode(journal_mode: JournalMode, page_size: u32) -> BankOptions {
    BankOptions { journal_mode, page_size, accounts: 200, ..BankOptions::default() }
}

fn banks() -> Vec<(&'static str, BankOptions)> {
    let exclusive = LockingMode::Exclusive;
    vec![
        ("wal", mode(Wal, 4_096)),
        ("wal-small-pages", BankOptions { checkpoint_frames: 40, ..mode(Wal, 512) }),
        ("delete", mode(Delete, 1_024)),
        ("delete-spills", BankOptions { cache_pages: 5, ..mode(Delete, 4_096) }),
        ("truncate", BankOptions { auto_vacuum: AutoVacuum::Full, ..mode(Truncate, 8_192) }),
        ("persist", BankOptions { encoding: Encoding::Utf16le, ..mode(Persist, 2_048) }),
        ("memory", mode(Memory, 65_536)),
        ("wal-exclusive", BankOptions { locking_mode: exclusive, ..mode(Wal, 16_384) }),
        (HELD, BankOptions { locking_mode: exclusive, ..mode(Delete, 4_096) }),
    ]
}

/// What `ultrasimple-ctl` knows of each database: when its newest backup was captured.
fn captured(yard: &Yard, bucket: &Bucket) -> BTreeMap<String, String> {
    let ran = run(yard.ctl(bucket, &["databases", "--paths", "--json"]));
    let json = ran.expect(0, &[]).json();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    json["databases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| (text(&line["stem"]), text(&line["captured_at"])))
        .collect()
}

/// Copies the bucket, unpacks every object with `lz4 -d` and proves it. Gives the commits that the newest
/// backup of each database has seen, and its file.
fn prove_all(yard: &Yard, bucket: &Bucket, copy: &str) -> BTreeMap<String, (i64, PathBuf)> {
    let folder = yard.path(copy);
    bucket.copy_to(&folder);
    let mut newest = BTreeMap::new();
    for (stem, keys) in Bucket::directory(&folder).backups() {
        for key in keys {
            let image = folder.join(format!("{key}.image"));
            unpack(&folder.join(&key), &image).unwrap();
            let commits = verify(&image).unwrap_or_else(|error| panic!("R2: {key}: {error}"));
            newest.insert(stem.clone(), (commits, image));
        }
    }
    newest
}

#[test]
fn every_journal_mode_at_full_speed() {
    let yard = Yard::new();
    let server = SeaweedFs::shared();
    let bucket = Bucket::new_in(server);
    let path = |name: &str| yard.path(format!("data/{name}.db"));
    let mut writers: Vec<_> = banks()
        .into_iter()
        .map(|(name, options)| {
            let mut writer = WriterProcess::spawn(&path(name), &options).unwrap();
            writer.commit(5).unwrap();
            writer.run().unwrap();
            (name, writer)
        })
        .collect();
    let daemon = Daemon::start(yard.daemon(&bucket, &PATTERN));
    let free = banks().len() - 1;

    let mut last_captured = BTreeMap::new();
    let mut last_commits: BTreeMap<String, (i64, PathBuf)> = BTreeMap::new();
    for round in 0..ROUNDS {
        last_captured = eventually("every bank is stored anew", || {
            let now = captured(&yard, &bucket);
            let fresh = now.iter().filter(|(stem, at)| last_captured.get(*stem) != Some(*at));
            (fresh.count() >= free).then_some(now)
        });
        let proved = prove_all(&yard, &bucket, &format!("round-{round}"));
        assert_eq!(proved.len(), free, "{proved:?}");
        for (stem, (commits, _)) in &proved {
            let before = last_commits.get(stem).map_or(0, |(commits, _)| *commits);
            assert!(*commits >= before, "R5: {stem} went from {before} back to {commits}");
        }
        last_commits = proved;
    }
    let busy = daemon.says(&format!("Not backed up: {}: busy", path(HELD).display()));
    assert!(busy.contains("busy"), "{busy}");
    assert!(!last_commits.contains_key(HELD), "R2: {HELD} cannot have been read");

    let mut finals = BTreeMap::new();
    for (name, mut writer) in writers.drain(..) {
        finals.insert(name.to_owned(), writer.pause().unwrap());
        writer.close().unwrap();
    }
    daemon.settled(0);
    daemon.says(&format!("Backed up again: {}", path(HELD).display()));
    assert_eq!(daemon.count("failing"), 0, "{}", daemon.log());
    daemon.stop_well();

    let proved = prove_all(&yard, &bucket, "final");
    let commits: BTreeMap<_, _> = proved.iter().map(|(s, (commits, _))| (s, *commits)).collect();
    assert_eq!(commits, finals.iter().map(|(s, commits)| (s, *commits)).collect());
    run(yard.ctl(&bucket, &["restore", "--all", "--to", "restored"])).expect(0, &[]);
    for (name, last) in &finals {
        let source = path(name);
        let restored = yard.path("restored").join(source.strip_prefix("/").unwrap());
        assert_eq!(verify(&restored), Ok(*last), "{name}");
        let content = dump(&source);
        assert!(content == dump(&restored), "{name}: ultrasimple-ctl gives another content");
        assert!(content == dump(&proved[name].1), "{name}: lz4 gives another content");
    }
    println!("commits: {finals:?}");
}

#[test]
fn writers_that_crash_in_a_transaction_leave_the_state_before_it() {
    let yard = Yard::new();
    let bucket = yard.bucket();
    // With few pages in memory, half of the transaction is in the main file when the writer dies.
    let spills = |journal_mode| BankOptions { cache_pages: 5, ..mode(journal_mode, 1_024) };
    let banks = [("wal", Wal), ("delete", Delete), ("truncate", Truncate), ("persist", Persist)];
    let path = |name: &str| yard.path(format!("data/{name}.db"));
    let mut writers: Vec<_> = banks
        .iter()
        .map(|(name, mode)| WriterProcess::spawn(&path(name), &spills(*mode)).unwrap())
        .collect();
    for writer in &mut writers {
        writer.commit(10).unwrap();
    }
    let daemon = Daemon::start(yard.daemon(&bucket, &PATTERN));
    daemon.settled(0);

    let mut expected = Vec::new();
    for mut writer in writers {
        expected.push(writer.commit(7).unwrap());
        writer.begin_long().unwrap();
        writer.crash().unwrap();
    }
    daemon.settled(0);
    daemon.stop_well();
    let proved = prove_all(&yard, &bucket, "copy");
    for ((name, _), expected) in banks.iter().zip(expected) {
        assert_eq!(proved[*name].0, expected, "{name}");
    }
    // The journals are still hot: the daemon rolled back its copies, not the sources.
    for name in ["delete", "truncate", "persist"] {
        let torn = std::fs::read(path(name)).unwrap();
        assert!(ultrasimple_testkit::bank::verify_image(&torn).is_err(), "{name} was rolled back");
    }
}

/// Text encodings, page sizes and vacuum modes side by side, one after the other: none is taken for damaged.
#[test]
fn databases_of_all_forms_are_found_whole() {
    let yard = Yard::new();
    let bucket = yard.bucket();
    let mut banks = 0;
    for encoding in [Encoding::Utf8, Encoding::Utf16le, Encoding::Utf16be] {
        for (page_size, journal_mode) in [(512, Wal), (4_096, Delete), (65_536, Wal)] {
            for auto_vacuum in [AutoVacuum::None, AutoVacuum::Full, AutoVacuum::Incremental] {
                let options =
                    BankOptions { encoding, auto_vacuum, ..mode(journal_mode, page_size) };
                yard.bank(format!("data/{banks}.db"), &options, 3);
                banks += 1;
            }
        }
    }
    for words in [&["-once", "-concurrent", "1"][..], &["-once"], &["-once", "-check", "full"]] {
        let ran = run(yard.daemon(&bucket, &[&["-pattern", "data/*.db"], words].concat()));
        ran.expect(0, &[&format!("{banks} databases")]);
    }
    let proved = prove_all(&yard, &bucket, "copy");
    assert!(proved.values().all(|(commits, _)| *commits == 4), "{proved:?}");
    run(yard.ctl(&bucket, &["restore", "--all", "--to", "restored"])).expect(0, &[]);
}

/// The proofs above are worth something: they notice what they should.
#[test]
fn the_proofs_notice_damage() {
    let yard = Yard::new();
    let bucket = yard.bucket();
    let path = yard.bank("data/t.db", &mode(Wal, 4_096), 20);
    run(yard.daemon(&bucket, &["-once", "-pattern", "data/*.db"])).expect(0, &[]);
    assert_eq!(prove_all(&yard, &bucket, "copy")["t"].0, 21);

    // One bit of an object.
    let key = bucket.keys().into_iter().find(|key| key.ends_with(".db.lz4")).unwrap();
    let object = yard.path("bucket").join(&key);
    let mut bytes = std::fs::read(&object).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&object, bytes).unwrap();
    assert!(unpack(&object, &yard.path("image")).is_err());
    let restore = ["restore", path.to_str().unwrap(), "-o", "restored.db"];
    run(yard.ctl(&bucket, &restore)).expect(1, &[&key]);
    assert!(!yard.path("restored.db").exists());

    // A plain copy of the main file in the middle of a transaction.
    let spills = BankOptions { cache_pages: 5, ..mode(Delete, 1_024) };
    let path = yard.path("data/torn.db");
    let mut writer = WriterProcess::spawn(&path, &spills).unwrap();
    writer.commit(5).unwrap();
    writer.begin_long().unwrap();
    std::fs::copy(&path, yard.path("torn.db")).unwrap();
    let torn: Result<i64, String> = verify(Path::new(&yard.path("torn.db")));
    assert!(torn.is_err(), "{torn:?}");
}
