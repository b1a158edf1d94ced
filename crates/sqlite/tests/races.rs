//! Something happens at the worst moment: between the look at the files and the read.
//!
//! The clock is injected, and is asked right before an image is read: a clock that does mischief when it is
//! asked makes races that are the same in every run.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod common;

use std::fmt;
use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Place, commits};
use ultrasimple_core::{Clock, SystemClock, Timestamp};
use ultrasimple_sqlite::{Method, fingerprint};
use ultrasimple_testkit::bank::{BankOptions, JournalMode, LockingMode, WriterProcess};

ultrasimple_testkit::bank_writer!();

type Mischief = Box<dyn FnMut() + Send>;

/// Does its mischief when it is asked for the time for the `at`th time.
struct Imp(Mutex<(u32, Option<Mischief>)>);

impl fmt::Debug for Imp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Imp")
    }
}

impl Clock for Imp {
    fn now(&self) -> Timestamp {
        let mut state = self.0.lock().unwrap();
        state.0 = state.0.saturating_sub(1);
        if state.0 == 0
            && let Some(mut mischief) = state.1.take()
        {
            mischief();
        }
        SystemClock.now()
    }

    fn monotonic(&self) -> Duration {
        SystemClock.monotonic()
    }
}

impl Imp {
    fn place() -> (Place, Arc<Self>) {
        let imp = Arc::new(Self(Mutex::new((0, None))));
        let clock = Arc::clone(&imp);
        let place = Place::with(|options| {
            options.clock = clock;
            // More patience than a test machine is slow.
            options.busy_timeout = Duration::from_secs(20);
        });
        (place, imp)
    }

    fn arm(&self, at: u32, mischief: impl FnMut() + Send + 'static) {
        *self.0.lock().unwrap() = (at, Some(Box::new(mischief)));
    }
}

/// Through SQLite, the time is asked for once: when the file is open.
const BEFORE_THE_READ: u32 = 1;
/// On the other ways once more: to see whether the file has settled.
const AFTER_SETTLING: u32 = 2;

/// Broken on purpose (the stamps not compared after the read): the image lacks what is in the `-wal`.
#[test]
fn a_closed_wal_database_is_opened_and_written_to() {
    let (place, imp) = Imp::place();
    // No checkpoint: the main file stays as it is.
    let options = BankOptions { checkpoint_frames: 1_000_000, ..BankOptions::default() };
    place.writer(&options).close().unwrap();
    let path = place.path();
    let (sender, receiver) = std::sync::mpsc::channel();
    imp.arm(AFTER_SETTLING, move || {
        let mut writer = WriterProcess::spawn(&path, &options).unwrap();
        let last = writer.commit(20).unwrap();
        sender.send((writer, last)).unwrap();
    });
    let capture = place.capture().unwrap();
    let (_writer, last) = receiver.try_recv().expect("the mischief was done");
    assert_eq!(capture.method, Method::Live);
    assert_eq!(commits(&capture), last);
    assert_eq!(capture.fingerprint, fingerprint(&place.path()).unwrap());
}

/// Opened, written to and closed again: only the main file's times tell. Broken on purpose (the stamps not
/// compared after the read): the fingerprint is not that of the image.
#[test]
fn a_closed_wal_database_is_changed_and_closed_again() {
    let (place, imp) = Imp::place();
    let mut writer = place.writer(&BankOptions::default());
    // The journal's table has been cut: there is room for more in the file.
    let last = writer.commit(65).unwrap();
    writer.close().unwrap();
    let size = fingerprint(&place.path()).unwrap().main.size;
    let path = place.path();
    imp.arm(AFTER_SETTLING, move || {
        let mut writer = WriterProcess::spawn(&path, &BankOptions::default()).unwrap();
        writer.commit(1).unwrap();
        writer.close().unwrap();
        assert_eq!(fingerprint(&path).unwrap().main.size, size);
    });
    let capture = place.capture().unwrap();
    assert_eq!(capture.method, Method::Plain);
    assert_eq!(commits(&capture), last + 1);
    assert_eq!(capture.fingerprint, fingerprint(&place.path()).unwrap());
}

/// Broken on purpose (the inode not compared after the read): the image is that of the file that is gone.
#[test]
fn a_live_database_is_replaced_by_another() {
    for journal_mode in [JournalMode::Wal, JournalMode::Delete] {
        let (place, imp) = Imp::place();
        let options = BankOptions { journal_mode, ..BankOptions::default() };
        let mut writer = place.writer(&options);
        writer.commit(1).unwrap();
        let other = Place::new();
        let mut other_writer = other.writer(&options);
        let last = other_writer.commit(20).unwrap();
        other_writer.close().unwrap();
        let (new, path) = (place.source.path().join("new"), place.path());
        fs::copy(other.path(), &new).unwrap();
        imp.arm(BEFORE_THE_READ, move || {
            for suffix in ["-wal", "-shm", "-journal"] {
                let _ = fs::remove_file(format!("{}{suffix}", path.display()));
            }
            fs::rename(&new, &path).unwrap();
        });
        let capture = place.capture().unwrap();
        assert_eq!(commits(&capture), last, "{journal_mode:?}");
        assert_eq!(capture.fingerprint, fingerprint(&place.path()).unwrap());
    }
}

/// A writer that no lock of ours can hold back starts its WAL anew.
#[test]
fn the_wal_of_an_exclusive_writer_is_reset() {
    let (place, imp) = Imp::place();
    let options = BankOptions {
        locking_mode: LockingMode::Exclusive,
        checkpoint_frames: 1_000_000,
        ..BankOptions::default()
    };
    let mut writer = place.writer(&options);
    writer.commit(20).unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    let mut writer = Some(writer);
    // Once through SQLite, which finds it locked or without a `-shm`; then the copy.
    imp.arm(AFTER_SETTLING, move || {
        let mut writer = writer.take().unwrap();
        writer.sql("PRAGMA wal_checkpoint(RESTART)").unwrap();
        let last = writer.commit(1).unwrap();
        sender.send((writer, last)).unwrap();
    });
    let capture = place.capture().unwrap();
    let (_writer, last) = receiver.try_recv().expect("the mischief was done");
    assert_eq!(capture.method, Method::RecoveredWal);
    assert_eq!(commits(&capture), last);
    assert_eq!(capture.fingerprint, fingerprint(&place.path()).unwrap());
}

/// The program comes back and rolls its hot journal back itself.
#[test]
fn a_hot_journal_is_rolled_back_by_its_owner() {
    let (place, imp) = Imp::place();
    let options =
        BankOptions { journal_mode: JournalMode::Delete, cache_pages: 5, ..BankOptions::default() };
    let mut writer = place.writer(&options);
    let last = writer.commit(20).unwrap();
    writer.begin_long().unwrap();
    writer.crash().unwrap();
    let path = place.path();
    imp.arm(AFTER_SETTLING, move || {
        let writer = WriterProcess::spawn(&path, &options).unwrap();
        writer.close().unwrap();
    });
    let capture = place.capture().unwrap();
    assert_eq!(capture.method, Method::Live);
    assert_eq!(commits(&capture), last);
    assert_eq!(capture.fingerprint, fingerprint(&place.path()).unwrap());
}
