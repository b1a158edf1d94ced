//! Each state a database can be in: the capture is the last committed state (R2), and leaves no trace (R1).
//!
//! Seen to fail when broken on purpose; see the comments at each test.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::fs;
use std::io::Write as _;

use common::{MEMORY, Place, assert_method, bytes, commits};
use ultrasimple_core::CheckResult;
use ultrasimple_sqlite::{CaptureError, CheckLevel, Method, fingerprint};
use ultrasimple_testkit::bank::{self, BankOptions, JournalMode, LockingMode};
use ultrasimple_testkit::tree::Snapshot;

ultrasimple_testkit::bank_writer!();

const WAL: BankOptions = BankOptions {
    accounts: 300,
    journal_mode: JournalMode::Wal,
    locking_mode: LockingMode::Normal,
    page_size: 4_096,
    encoding: bank::Encoding::Utf8,
    auto_vacuum: bank::AutoVacuum::None,
    cache_pages: 10_000,
    checkpoint_frames: 100_000,
};

fn with(journal_mode: JournalMode) -> BankOptions {
    BankOptions { journal_mode, ..WAL }
}

/// Facts 1, 2, 3: all commits are in the WAL, none in the main file.
#[test]
fn live_wal() {
    let place = Place::new();
    let mut writer = place.writer(&WAL);
    let last = writer.commit(20).unwrap();
    let capture = place.capture_untraced();
    assert_method(&capture, Method::Live);
    assert_eq!(commits(&capture), last);
    assert_eq!(capture.fingerprint, fingerprint(&place.path()).unwrap());
    // The header still says WAL: what is restored behaves as the source did.
    assert_eq!(bytes(&capture)[18..20], [2, 2]);
}

/// Fact 1: a commit moves nothing but the WAL's mtime once the WAL is being overwritten in place.
#[test]
fn a_commit_after_a_wal_reset_changes_the_fingerprint() {
    let place = Place::new();
    let mut writer = place.writer(&WAL);
    writer.commit(50).unwrap();
    writer.sql("PRAGMA wal_checkpoint(RESTART)").unwrap();
    writer.commit(1).unwrap();
    let before = fingerprint(&place.path()).unwrap();
    let last = writer.commit(1).unwrap();
    let after = fingerprint(&place.path()).unwrap();
    assert_eq!(before.main, after.main, "what makes the WAL's stamp necessary");
    assert_eq!(before.wal.unwrap().size, after.wal.unwrap().size, "overwritten in place");
    assert_ne!(before.digest(), after.digest());
    assert_eq!(commits(&place.capture_untraced()), last);
}

/// A crashed writer that left `-wal` and `-shm`.
#[test]
fn crashed_wal_with_shm() {
    let place = Place::new();
    let mut writer = place.writer(&WAL);
    let last = writer.commit(20).unwrap();
    writer.begin_long().unwrap();
    writer.crash().unwrap();
    assert!(place.source.path().join("bank.db-shm").exists());
    let capture = place.capture_untraced();
    assert_eq!(commits(&capture), last);
}

/// Fact 2: `-wal` without `-shm`. Broken on purpose (the copy without its `-wal`): the commits of the WAL
/// are missing from the image.
#[test]
fn crashed_wal_without_shm() {
    let place = Place::new();
    let mut writer = place.writer(&WAL);
    let last = writer.commit(20).unwrap();
    writer.crash().unwrap();
    fs::remove_file(place.source.path().join("bank.db-shm")).unwrap();
    let capture = place.capture_untraced();
    assert_method(&capture, Method::RecoveredWal);
    assert_eq!(commits(&capture), last);
    assert_eq!(place.scratch_files(), Vec::<std::path::PathBuf>::new());
    // The same, spooled.
    let spooled = place.capturer.capture(&place.path(), 0, CheckLevel::Full).unwrap();
    assert_eq!(bytes(&spooled), bytes(&capture));
    assert!(spooled.image.as_bytes().is_none());
    assert_eq!(place.scratch_files(), Vec::<std::path::PathBuf>::new());
    drop(spooled);
    assert_eq!(place.capturer.spooled_bytes(), 0);
}

/// A live writer whose index of the WAL is in its own memory: no `-shm`, and a lock that keeps readers out.
#[test]
fn live_wal_in_exclusive_mode() {
    let place = Place::new();
    let options = BankOptions { locking_mode: LockingMode::Exclusive, ..WAL };
    let mut writer = place.writer(&options);
    let last = writer.commit(20).unwrap();
    assert!(!place.source.path().join("bank.db-shm").exists());
    let capture = place.capture_untraced();
    assert_method(&capture, Method::RecoveredWal);
    assert_eq!(commits(&capture), last);
    // After a checkpoint and a reset of the WAL, too.
    writer.sql("PRAGMA wal_checkpoint(RESTART)").unwrap();
    let last = writer.commit(3).unwrap();
    assert_eq!(commits(&place.capture_untraced()), last);
    // And with the `-shm` of another time beside it.
    fs::write(place.source.path().join("bank.db-shm"), vec![0; 32_768]).unwrap();
    assert_eq!(commits(&place.capture_untraced()), last);
}

/// Fact 2, last part: closed cleanly. Broken on purpose (opened through SQLite, seal off): a `-wal` appears.
#[test]
fn cleanly_closed_wal() {
    let place = Place::new();
    let mut writer = place.writer(&WAL);
    let last = writer.commit(20).unwrap();
    writer.close().unwrap();
    assert!(!place.source.path().join("bank.db-wal").exists());
    let capture = place.capture_untraced();
    assert_method(&capture, Method::Plain);
    assert_eq!(commits(&capture), last);
    // An empty `-wal` that a reader left behind changes nothing.
    fs::write(place.source.path().join("bank.db-wal"), b"").unwrap();
    let capture = place.capture_untraced();
    assert_method(&capture, Method::Plain);
    assert_eq!(commits(&capture), last);
}

#[test]
fn rollback_modes_at_rest() {
    for mode in
        [JournalMode::Delete, JournalMode::Truncate, JournalMode::Persist, JournalMode::Memory]
    {
        let place = Place::new();
        let mut writer = place.writer(&with(mode));
        let last = writer.commit(20).unwrap();
        let capture = place.capture_untraced();
        assert_method(&capture, Method::Live);
        assert_eq!(commits(&capture), last, "{mode:?}");
    }
}

/// A journal of a transaction that is under way is not hot: its writer has the RESERVED lock.
#[test]
fn a_long_transaction_in_rollback_mode_is_not_seen() {
    let place = Place::new();
    let mut writer = place.writer(&with(JournalMode::Delete));
    let last = writer.commit(20).unwrap();
    writer.begin_long().unwrap();
    assert!(place.source.path().join("bank.db-journal").exists());
    let capture = place.capture_untraced();
    assert_method(&capture, Method::Live);
    assert!(capture.fingerprint.journal);
    assert_eq!(commits(&capture), last);
    assert_eq!(commits(&place.capture_untraced()), last);
    let last = writer.end_long().unwrap();
    assert_eq!(commits(&place.capture_untraced()), last);
}

#[test]
fn a_long_transaction_in_wal_mode_is_not_seen() {
    let place = Place::new();
    // Few pages of memory: half of the transaction is in the WAL already.
    let mut writer = place.writer(&BankOptions { cache_pages: 5, ..WAL });
    let last = writer.commit(20).unwrap();
    writer.begin_long().unwrap();
    assert_eq!(commits(&place.capture_untraced()), last);
    let last = writer.end_long().unwrap();
    assert_eq!(commits(&place.capture_untraced()), last);
}

/// Fact 6: money is missing in the main file, `integrity_check` is content with it, and the `-journal`
/// has what was there before. Broken on purpose (the copy without its `-journal`): R2.
#[test]
fn hot_journal() {
    for mode in [JournalMode::Delete, JournalMode::Truncate, JournalMode::Persist] {
        let place = Place::new();
        let mut writer = place.writer(&BankOptions { cache_pages: 5, ..with(mode) });
        let last = writer.commit(20).unwrap();
        writer.begin_long().unwrap();
        writer.crash().unwrap();
        let torn = bank::verify(&place.path()).unwrap_err();
        assert!(!torn.contains("integrity"), "the trap is set: {torn}");
        let capture = place.capture_untraced();
        assert_method(&capture, Method::RolledBack);
        assert_eq!(commits(&capture), last, "{mode:?}");
        assert_eq!(place.scratch_files(), Vec::<std::path::PathBuf>::new());
    }
}

/// A writer that holds an EXCLUSIVE lock in rollback mode: busy, soon, and with a reason that says so.
#[test]
fn rollback_in_exclusive_mode_is_busy() {
    for (journal_mode, long) in [(JournalMode::Delete, false), (JournalMode::Memory, true)] {
        let place = Place::with(|options| options.busy_timeout = std::time::Duration::ZERO);
        let options = BankOptions {
            locking_mode: LockingMode::Exclusive,
            cache_pages: 5,
            ..with(journal_mode)
        };
        let mut writer = place.writer(&options);
        writer.commit(3).unwrap();
        if long {
            // Half of it is in the main file, and nothing on disk tells: only the lock does.
            writer.begin_long().unwrap();
            assert!(!place.source.path().join("bank.db-journal").exists());
        }
        let before = Snapshot::take(place.source.path()).unwrap();
        let error = place.capture().unwrap_err();
        before.assert_unchanged(place.source.path());
        assert_eq!(error.kind(), "busy");
        assert!(error.to_string().contains("locking_mode=EXCLUSIVE"), "{error}");
        let last = if long { writer.end_long().unwrap() } else { writer.commit(1).unwrap() };
        writer.close().unwrap();
        assert_eq!(commits(&place.capture_untraced()), last);
    }
}

/// A database changes its journal mode while it is watched.
#[test]
fn switches_between_wal_and_rollback() {
    let place = Place::new();
    let mut writer = place.writer(&WAL);
    for (mode, method) in [("DELETE", Method::Live), ("WAL", Method::Live)] {
        writer.sql(&format!("PRAGMA journal_mode={mode}")).unwrap();
        let last = writer.commit(2).unwrap();
        let capture = place.capture_untraced();
        assert_method(&capture, method);
        assert_eq!(commits(&capture), last);
    }
}

#[test]
fn page_sizes_encodings_and_vacuums() {
    use bank::{AutoVacuum, Encoding};
    for (page_size, encoding, auto_vacuum) in [
        (512, Encoding::Utf8, AutoVacuum::Full),
        (1_024, Encoding::Utf16le, AutoVacuum::None),
        (2_048, Encoding::Utf16be, AutoVacuum::Incremental),
        (8_192, Encoding::Utf8, AutoVacuum::None),
        (16_384, Encoding::Utf16le, AutoVacuum::Full),
        (32_768, Encoding::Utf8, AutoVacuum::Incremental),
        (65_536, Encoding::Utf16be, AutoVacuum::None),
    ] {
        for journal_mode in [JournalMode::Wal, JournalMode::Delete] {
            let place = Place::new();
            let options = BankOptions { page_size, encoding, auto_vacuum, journal_mode, ..WAL };
            let mut writer = place.writer(&options);
            let last = writer.commit(130).unwrap();
            let capture = place.capture_untraced();
            assert_eq!(commits(&capture), last, "{options:?}");
            let spooled = place.capturer.capture(&place.path(), 10_000, CheckLevel::Full).unwrap();
            assert_eq!(bytes(&spooled), bytes(&capture), "{options:?}");
        }
    }
}

#[test]
fn what_is_no_database_says_so() {
    let place = Place::new();
    assert_eq!(place.capture().unwrap_err().kind(), "vanished");
    let before = |content: &[u8]| {
        fs::write(place.path(), content).unwrap();
        let snapshot = Snapshot::take(place.source.path()).unwrap();
        let error = place.capture().unwrap_err();
        snapshot.assert_unchanged(place.source.path());
        error.kind()
    };
    assert_eq!(before(b""), "empty");
    assert_eq!(before(b"SQLite"), "not_a_database");
    assert_eq!(before(&[0x5A; 8_192]), "not_a_database");
    // SQLite itself deletes both of these when it opens an empty file, read-only or not.
    fs::write(place.source.path().join("bank.db-wal"), [1; 64]).unwrap();
    fs::write(place.source.path().join("bank.db-journal"), [1; 64]).unwrap();
    assert_eq!(before(b""), "empty");
    fs::remove_file(place.path()).unwrap();
    fs::create_dir(place.path()).unwrap();
    assert_eq!(place.capture().unwrap_err().kind(), "io");
}

/// Damaged sources are captured, and marked.
#[test]
fn damaged_databases_are_marked() {
    let place = Place::new();
    let mut writer = place.writer(&with(JournalMode::Delete));
    writer.commit(20).unwrap();
    writer.close().unwrap();
    let whole = fs::read(place.path()).unwrap();
    for (what, from, to, method) in [
        ("a page in the middle", 5 * 4_096, 6 * 4_096, Method::Live),
        ("the schema", 100, 4_096, Method::Live),
        ("the page size", 16, 18, Method::Salvaged),
    ] {
        let mut damaged = whole.clone();
        damaged[from..to].fill(0xA5);
        fs::write(place.path(), &damaged).unwrap();
        let capture = place.capture_untraced();
        let CheckResult::Failed(reason) = &capture.check else { panic!("{what} is not noticed") };
        assert!(!reason.is_empty());
        assert_method(&capture, method);
        assert!(bytes(&capture) == damaged, "{what}: the bytes are the source's");
    }
}

/// Collations that only the application has: no verdict, and no false alarm.
#[test]
fn unknown_collations_are_no_damage() {
    let place = Place::new();
    let connection = rusqlite::Connection::open(place.path()).unwrap();
    let sql = "CREATE TABLE t(x TEXT COLLATE NOCASE PRIMARY KEY) WITHOUT ROWID;
               PRAGMA writable_schema=ON;
               UPDATE sqlite_schema SET sql = replace(sql, 'NOCASE', 'TURKIC');";
    connection.execute_batch(sql).unwrap();
    drop(connection);
    let capture = place.capture_untraced();
    assert!(matches!(capture.check, CheckResult::Skipped), "{:?}", capture.check);
}

/// One connection checks many databases, of all encodings.
#[test]
fn encodings_may_be_mixed() {
    let place = Place::new();
    for encoding in ["UTF-8", "UTF-16le", "UTF-16be", "UTF-16le", "UTF-8"] {
        let _ = fs::remove_file(place.path());
        let connection = rusqlite::Connection::open(place.path()).unwrap();
        let sql =
            format!("PRAGMA encoding='{encoding}'; CREATE TABLE t(x); INSERT INTO t VALUES ('ä')");
        connection.execute_batch(&sql).unwrap();
        drop(connection);
        assert_eq!(place.capture_patiently(MEMORY).check, CheckResult::Passed, "{encoding}");
    }
}

/// CHECK constraints are the application's affair: functions that only it has, and rows that break them.
#[test]
fn check_constraints_are_no_damage() {
    for constraint in ["x REGEXP ''a''", "length(x) = 0"] {
        let place = Place::new();
        let connection = rusqlite::Connection::open(place.path()).unwrap();
        let sql = format!(
            "CREATE TABLE t(x TEXT CHECK(length(x) > 0));
             INSERT INTO t VALUES ('abc');
             PRAGMA writable_schema=ON;
             UPDATE sqlite_schema SET sql = replace(sql, 'length(x) > 0', '{constraint}');"
        );
        connection.execute_batch(&sql).unwrap();
        drop(connection);
        let capture = place.capture_untraced();
        assert_eq!(capture.check, CheckResult::Passed, "{constraint}");
    }
}

#[test]
fn a_spool_limit_is_kept() {
    let place = Place::with(|options| options.spool_limit = 100_000);
    let mut writer = place.writer(&WAL);
    writer.commit(20).unwrap();
    let error = place.capturer.capture(&place.path(), 0, CheckLevel::Off).unwrap_err();
    assert_eq!(error.kind(), "scratch_full");
    assert!(error.to_string().contains("spool limit"), "{error}");
    assert_eq!(place.capturer.spooled_bytes(), 0);
    assert_eq!(place.scratch_files(), Vec::<std::path::PathBuf>::new());
    assert!(place.capturer.capture(&place.path(), MEMORY, CheckLevel::Off).is_ok());
}

#[test]
fn what_a_crash_left_in_scratch_is_swept_and_what_is_in_use_is_not() {
    let place = Place::new();
    let dead = place.scratch.path().join("ultrasimple-scratch-dead");
    fs::create_dir(&dead).unwrap();
    fs::File::create(dead.join("spool-0")).unwrap().write_all(b"left").unwrap();
    let others = place.scratch.path().join("somebody-elses");
    fs::create_dir(&others).unwrap();
    let alive = fs::read_dir(place.scratch.path()).unwrap().count();
    let options = ultrasimple_sqlite::CaptureOptions::new(place.scratch.path());
    let _second = ultrasimple_sqlite::Capturer::new(options).unwrap();
    assert!(!dead.exists());
    assert!(others.exists());
    // One went, one came; the first capturer's is still there, and works.
    assert_eq!(fs::read_dir(place.scratch.path()).unwrap().count(), alive);
    let mut writer = place.writer(&WAL);
    writer.commit(1).unwrap();
    assert!(place.capturer.capture(&place.path(), 0, CheckLevel::Quick).is_ok());
}

#[test]
fn a_symbolic_link_leads_to_the_wal_of_its_target() {
    let place = Place::new();
    let mut writer = place.writer(&WAL);
    let last = writer.commit(20).unwrap();
    let elsewhere = tempfile::TempDir::new().unwrap();
    let link = elsewhere.path().join("link.db");
    std::os::unix::fs::symlink(place.path(), &link).unwrap();
    let capture = place.capturer.capture(&link, MEMORY, CheckLevel::Full).unwrap();
    assert_eq!(commits(&capture), last);
    assert_eq!(fingerprint(&link).unwrap(), fingerprint(&place.path()).unwrap());
    assert!(matches!(
        place.capturer.capture(&elsewhere.path().join("none.db"), MEMORY, CheckLevel::Off),
        Err(CaptureError::Vanished)
    ));
}
