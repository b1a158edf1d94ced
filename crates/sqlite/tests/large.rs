//! A database of more than 4 GiB, nearly all of it holes: spooled with little memory and little disk.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use common::Place;
use ultrasimple_core::CheckResult;
use ultrasimple_sqlite::{Capture, CheckLevel, Method};

const PAGE: u64 = 65_536;
/// 4.3 GiB.
const PAGES: u32 = 70_000;
/// SQLite's locks are on the bytes of this page; it is never used.
const LOCK_PAGE: u32 = 0x4000_0000 / 65_536 + 1;
const LEAVES_PER_TRUNK: usize = 65_536 / 4 - 8;

/// Grows a small database to `PAGES` pages that are all on its list of free pages: holes, but for the pages
/// of that list. To `integrity_check` it is as good as any.
fn grow(path: &Path, journal_mode: &str) {
    let connection = rusqlite::Connection::open(path).unwrap();
    let sql = format!(
        "PRAGMA page_size={PAGE}; PRAGMA journal_mode={journal_mode};
         CREATE TABLE t(x); INSERT INTO t VALUES (zeroblob(200000));"
    );
    connection.execute_batch(&sql).unwrap();
    drop(connection);
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let used = u32::try_from(file.metadata().unwrap().len() / PAGE).unwrap();
    let free: Vec<u32> = (used + 1..=PAGES).filter(|&page| page != LOCK_PAGE).collect();
    let mut next = 0;
    for group in free.chunks(LEAVES_PER_TRUNK + 1).rev() {
        let (trunk, leaves) = group.split_first().unwrap();
        let words = [next, u32::try_from(leaves.len()).unwrap()];
        let bytes: Vec<u8> =
            words.iter().chain(leaves).flat_map(|word| word.to_be_bytes()).collect();
        file.write_all_at(&bytes, u64::from(trunk - 1) * PAGE).unwrap();
        next = *trunk;
    }
    for (offset, word) in [(28, PAGES), (32, next), (36, u32::try_from(free.len()).unwrap())] {
        file.write_all_at(&word.to_be_bytes(), offset).unwrap();
    }
    file.set_len(u64::from(PAGES) * PAGE).unwrap();
}

fn assert_same(capture: &Capture, source: &Path) {
    assert_eq!(capture.image.len(), u64::from(PAGES) * PAGE);
    assert_eq!(capture.check, CheckResult::Passed);
    let file = File::open(source).unwrap();
    let mut ours = vec![0; usize::try_from(PAGE).unwrap()];
    let mut theirs = ours.clone();
    // All that has data, and the ends of the file, of 4 GiB and of the page that is never used.
    let pages = (0..8).chain([16_384, 16_385, 65_535, 65_536]).chain((8..PAGES).step_by(999));
    let trunks = (0..5).map(|n| 6 + n * 16_377);
    for page in pages.chain(trunks).chain([PAGES - 1]) {
        let offset = u64::from(page) * PAGE;
        file.read_exact_at(&mut theirs, offset).unwrap();
        assert_eq!(capture.image.read_at(&mut ours, offset).unwrap(), ours.len());
        assert!(ours == theirs, "page {page}");
    }
    assert_eq!(capture.image.read_at(&mut ours, capture.image.len()).unwrap(), 0);
}

fn spool(journal_mode: &str, method: Method) {
    // A full copy would break both limits.
    let place = Place::with(|options| options.spool_limit = 4 << 20);
    grow(&place.path(), journal_mode);
    let capture = place.capturer.capture(&place.path(), 1 << 20, CheckLevel::Quick).unwrap();
    assert_eq!(capture.method, method);
    assert_same(&capture, &place.path());
    assert!(place.capturer.spooled_bytes() < 2 << 20, "{}", place.capturer.spooled_bytes());
    assert_eq!(place.scratch_files(), Vec::<std::path::PathBuf>::new(), "nameless by now");
}

#[test]
fn rollback_mode() {
    spool("DELETE", Method::Live);
}

#[test]
fn wal_mode_closed() {
    spool("WAL", Method::Plain);
}

/// With a `-wal` left by a crash: copied, recovered and spooled, holes and all.
#[test]
fn wal_left_behind() {
    let place = Place::with(|options| options.spool_limit = 8 << 20);
    grow(&place.path(), "WAL");
    let copy = place.source.path().join("copy");
    let connection = rusqlite::Connection::open(place.path()).unwrap();
    connection.execute_batch("INSERT INTO t VALUES ('in the WAL')").unwrap();
    // The `-wal` as a crash leaves it, taken aside: closing takes it away.
    let wal = place.source.path().join("bank.db-wal");
    std::fs::copy(&wal, &copy).unwrap();
    connection
        .set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        .unwrap();
    drop(connection);
    let _ = std::fs::remove_file(place.source.path().join("bank.db-shm"));
    std::fs::rename(&copy, &wal).unwrap();
    let capture = place.capturer.capture(&place.path(), 1 << 20, CheckLevel::Quick).unwrap();
    assert_eq!(capture.method, Method::RecoveredWal);
    assert_eq!(capture.check, CheckResult::Passed);
    assert_eq!(capture.image.len(), u64::from(PAGES) * PAGE);
    assert!(place.capturer.spooled_bytes() < 4 << 20, "{}", place.capturer.spooled_bytes());
}
