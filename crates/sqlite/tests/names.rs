//! Databases with names that break naive programs.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use common::{MEMORY, Place, commits};
use ultrasimple_sqlite::{CheckLevel, Method, fingerprint};
use ultrasimple_testkit::bank::{BankOptions, JournalMode, WriterProcess};
use ultrasimple_testkit::tree::Snapshot;

ultrasimple_testkit::bank_writer!();

#[test]
fn odd_names() {
    let names: [&[u8]; 14] = [
        b"with space.db",
        b"quote'd \"twice\".db",
        b"{{tenant}}.db",
        b"new\nline.db",
        b"question?mode=rwc.db",
        b"hash#fragment.db",
        b"percent%41.db",
        b"amper&sand=1.db",
        b"back\\slash.db",
        b"-wal",
        b"\xff\xfe not utf-8.db",
        "zo\u{eb} \u{1f980}.db".as_bytes(),
        b"...",
        b"no-extension",
    ];
    for name in names {
        let place = Place::new();
        let path = place.source.path().join(OsStr::from_bytes(name));
        for journal_mode in [JournalMode::Wal, JournalMode::Delete] {
            let options = BankOptions { journal_mode, accounts: 30, ..BankOptions::default() };
            let mut writer = WriterProcess::spawn(&path, &options).unwrap();
            let last = writer.commit(3).unwrap();
            let before = Snapshot::take(place.source.path()).unwrap();
            let capture = place.capturer.capture(&path, MEMORY, CheckLevel::Full).unwrap();
            before.assert_unchanged(place.source.path());
            assert_eq!(commits(&capture), last, "{}", name.escape_ascii());
            assert_eq!(capture.method, Method::Live);
            writer.close().unwrap();
            let capture = place.capturer.capture(&path, MEMORY, CheckLevel::Full).unwrap();
            assert_eq!(commits(&capture), last, "{}", name.escape_ascii());
        }
    }
}

/// No room for `-wal` or `-journal` in the name: such a file can exist, and be a database.
#[test]
fn a_name_of_255_bytes() {
    let place = Place::new();
    let path = place.source.path().join("n".repeat(255));
    let journal_mode = JournalMode::Memory;
    let options = BankOptions { journal_mode, accounts: 30, ..BankOptions::default() };
    let mut writer = WriterProcess::spawn(&path, &options).unwrap();
    let last = writer.commit(3).unwrap();
    let stamps = fingerprint(&path).unwrap();
    assert!(stamps.wal.is_none() && !stamps.journal);
    let capture = place.capturer.capture(&path, MEMORY, CheckLevel::Full).unwrap();
    assert_eq!(commits(&capture), last);
}

/// SQLite can't open paths beyond 512 bytes, nor can the application; the file may still be there.
#[test]
fn a_path_too_long_for_sqlite_is_an_error_with_a_reason() {
    let place = Place::new();
    let directory = place.source.path().join("d".repeat(250)).join("d".repeat(250));
    std::fs::create_dir_all(&directory).unwrap();
    let mut writer =
        place.writer(&BankOptions { journal_mode: JournalMode::Delete, ..BankOptions::default() });
    writer.commit(1).unwrap();
    writer.close().unwrap();
    let path = directory.join("bank.db");
    std::fs::rename(place.path(), &path).unwrap();
    let error = place.capturer.capture(&path, MEMORY, CheckLevel::Off).unwrap_err();
    assert!(error.to_string().contains("504"), "{error}");
}
