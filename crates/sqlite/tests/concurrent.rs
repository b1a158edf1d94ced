//! Captures while another process writes as fast as it can: each is a state between two commits (R2).

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{MEMORY, Place, commits};
use ultrasimple_sqlite::{CaptureError, CheckLevel};
use ultrasimple_testkit::bank::{BankOptions, JournalMode, LockingMode};

ultrasimple_testkit::bank_writer!();

const ROUNDS: usize = 30;

/// Captures while the writer runs, in memory and spooled in turns; the history only goes forward.
fn capture_under_load(options: &BankOptions) {
    let place = Place::new();
    let mut writer = place.writer(options);
    writer.commit(10).unwrap();
    writer.run().unwrap();
    let mut last = 0;
    for round in 0..ROUNDS {
        let memory = if round % 2 == 0 { MEMORY } else { 0 };
        let seen = commits(&place.capture_patiently(memory));
        assert!(seen >= last, "{seen} after {last}");
        last = seen;
    }
    let last = writer.pause().unwrap();
    assert_eq!(commits(&place.capture_patiently(MEMORY)), last);
    writer.close().unwrap();
    assert_eq!(commits(&place.capture_patiently(MEMORY)), last);
    assert_eq!(place.scratch_files(), Vec::<PathBuf>::new());
}

#[test]
fn wal() {
    capture_under_load(&BankOptions::default());
}

#[test]
fn wal_with_transactions_larger_than_memory() {
    capture_under_load(&BankOptions {
        cache_pages: 3,
        checkpoint_frames: 20,
        ..BankOptions::default()
    });
}

#[test]
fn rollback_journal_deleted() {
    capture_under_load(&BankOptions {
        journal_mode: JournalMode::Delete,
        ..BankOptions::default()
    });
}

#[test]
fn rollback_journal_truncated() {
    capture_under_load(&BankOptions {
        journal_mode: JournalMode::Truncate,
        ..BankOptions::default()
    });
}

#[test]
fn rollback_journal_persistent() {
    let journal_mode = JournalMode::Persist;
    capture_under_load(&BankOptions { journal_mode, cache_pages: 3, ..BankOptions::default() });
}

#[test]
fn rollback_journal_in_memory() {
    capture_under_load(&BankOptions {
        journal_mode: JournalMode::Memory,
        ..BankOptions::default()
    });
}

/// No checkpoints: the WAL grows while it is copied, and every capture succeeds.
#[test]
fn exclusive_wal_that_grows() {
    let locking_mode = LockingMode::Exclusive;
    let options =
        BankOptions { locking_mode, checkpoint_frames: 10_000_000, ..BankOptions::default() };
    let place = Place::new();
    let mut writer = place.writer(&options);
    let first = writer.commit(10).unwrap();
    for _ in 0..ROUNDS {
        // Small again, so that a slow machine's test disk does not fill up; and the main file at rest.
        writer.sql("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
        writer.commit(1).unwrap();
        place.capture().unwrap();
        writer.run().unwrap();
        assert!(commits(&place.capture().unwrap()) >= first);
        writer.pause().unwrap();
    }
}

/// The WAL is reset all the time: a copy that a reset fell into is not taken. Broken on purpose (the
/// headers of the WAL, and main's stamps, not compared): R2 within a few rounds.
#[test]
fn exclusive_wal_that_is_reset_all_the_time() {
    let locking_mode = LockingMode::Exclusive;
    let options = BankOptions { locking_mode, checkpoint_frames: 30, ..BankOptions::default() };
    let place = Place::with(|options| options.busy_timeout = std::time::Duration::from_millis(50));
    let mut writer = place.writer(&options);
    writer.commit(10).unwrap();
    writer.run().unwrap();
    for _ in 0..ROUNDS {
        match place.capture() {
            Ok(capture) => assert!(commits(&capture) > 0),
            Err(error) => assert_eq!(error.kind(), "busy", "{error}"),
        }
    }
    let last = writer.pause().unwrap();
    assert_eq!(commits(&place.capture_patiently(MEMORY)), last);
}

/// A program that opens, commits and closes: all states pass by, and we leave nothing behind when it is gone.
#[test]
fn a_program_that_opens_and_closes_all_the_time() {
    for journal_mode in [JournalMode::Wal, JournalMode::Delete] {
        let place = Place::new();
        let mut writer = place.writer(&BankOptions { journal_mode, ..BankOptions::default() });
        writer.churn().unwrap();
        let mut last = 0;
        for _ in 0..ROUNDS {
            let seen = commits(&place.capture_patiently(MEMORY));
            assert!(seen >= last);
            last = seen;
        }
        let last = writer.pause().unwrap();
        writer.close().unwrap();
        let names: Vec<_> = fs::read_dir(place.source.path()).unwrap().collect();
        assert_eq!(names.len(), 1, "R1: {names:?}");
        assert_eq!(commits(&place.capture_patiently(MEMORY)), last);
    }
}

/// A writer that is killed wherever it happens to be, again and again.
#[test]
fn a_writer_that_crashes_all_the_time() {
    for journal_mode in [JournalMode::Wal, JournalMode::Delete, JournalMode::Persist] {
        let place = Place::new();
        let options = BankOptions { journal_mode, cache_pages: 3, ..BankOptions::default() };
        let mut acknowledged = 0;
        for _ in 0..8 {
            let mut writer = place.writer(&options);
            let committed = writer.commit(3).unwrap();
            assert!(committed > acknowledged);
            acknowledged = committed;
            writer.run().unwrap();
            drop(place.capture_patiently(MEMORY));
            writer.crash().unwrap();
            let seen = commits(&place.capture_patiently(MEMORY));
            assert!(seen >= acknowledged, "{journal_mode:?}: {seen} of {acknowledged}");
        }
    }
}

/// Fact 7: threads that capture the same file do not drop each other's locks. Broken on purpose (no turns):
/// R2 in the rollback modes, as the writer changes what a reader believes to have locked.
#[test]
fn many_threads_and_one_database() {
    for journal_mode in [JournalMode::Wal, JournalMode::Memory] {
        let place = Place::new();
        let mut writer = place.writer(&BankOptions { journal_mode, ..BankOptions::default() });
        writer.run().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    (0..ROUNDS)
                        .for_each(|_| assert!(commits(&place.capture_patiently(MEMORY)) > 0));
                });
            }
        });
    }
}

/// The file is replaced by another one, by rename, all the time.
#[test]
fn a_database_that_is_replaced_all_the_time() {
    let place = Place::new();
    let mut writer =
        place.writer(&BankOptions { journal_mode: JournalMode::Delete, ..BankOptions::default() });
    writer.commit(10).unwrap();
    writer.close().unwrap();
    let (small, fresh) = (place.source.path().join("small"), place.source.path().join("fresh"));
    fs::copy(place.path(), &small).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                fs::copy(&small, &fresh).unwrap();
                fs::rename(&fresh, place.path()).unwrap();
            }
        });
        for _ in 0..ROUNDS * 10 {
            match place.capturer.capture(&place.path(), MEMORY, CheckLevel::Quick) {
                Ok(capture) => assert_eq!(commits(&capture), 11),
                Err(CaptureError::Busy { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        done.store(true, Ordering::Relaxed);
    });
}

/// The file comes and goes, while it is in use.
#[test]
fn a_database_that_vanishes() {
    let place = Place::new();
    let mut writer =
        place.writer(&BankOptions { journal_mode: JournalMode::Delete, ..BankOptions::default() });
    writer.commit(10).unwrap();
    writer.close().unwrap();
    let hidden = place.source.path().join("hidden");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                fs::rename(place.path(), &hidden).unwrap();
                fs::rename(&hidden, place.path()).unwrap();
            }
        });
        for _ in 0..ROUNDS * 10 {
            match place.capturer.capture(&place.path(), MEMORY, CheckLevel::Quick) {
                Ok(capture) => assert_eq!(commits(&capture), 11),
                Err(CaptureError::Busy { .. } | CaptureError::Vanished) => {}
                Err(error) => panic!("{error}"),
            }
        }
        done.store(true, Ordering::Relaxed);
    });
}
