//! Putting a restored database in place (fact 9).

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use common::{Place, bytes, commits};
use ultrasimple_core::CheckResult;
use ultrasimple_sqlite::{
    CheckLevel, InstallOptions, Installation, RestoreError, check_file, sync_directory,
};
use ultrasimple_testkit::bank::{self, BankOptions, JournalMode};
use ultrasimple_testkit::tree::Snapshot;

ultrasimple_testkit::bank_writer!();

/// A bank's image, and the number of its commits.
fn image() -> (Vec<u8>, i64) {
    let place = Place::new();
    let mut writer = place.writer(&BankOptions::default());
    let last = writer.commit(5).unwrap();
    (bytes(&place.capture().unwrap()), last)
}

fn install(target: &Path, image: &[u8], options: InstallOptions) -> Result<(), RestoreError> {
    let mut installation = Installation::begin(target, options)?;
    installation.file().write_all(image).unwrap();
    // A WAL-mode image: the check must not leave a `-wal` or `-shm`.
    let checked = check_file(installation.temporary_path(), CheckLevel::Full).unwrap();
    assert_eq!(checked, CheckResult::Passed);
    installation.commit(0o640)?;
    sync_directory(target.parent().unwrap())
}

fn names(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut names: Vec<_> = entries.collect();
    names.sort();
    names
}

const PLAIN: InstallOptions = InstallOptions { force: false, create_parents: false };
const FORCE: InstallOptions = InstallOptions { force: true, ..PLAIN };

#[test]
fn a_restored_file_is_the_image_with_its_mode_and_nothing_beside_it() {
    let (image, last) = image();
    let directory = tempfile::TempDir::new().unwrap();
    let target = directory.path().join("deep/er/bank.db");
    assert!(matches!(install(&target, &image, PLAIN), Err(RestoreError::Io { .. })));
    let options = InstallOptions { create_parents: true, force: false };
    install(&target, &image, options).unwrap();
    assert_eq!(names(target.parent().unwrap()), [target.as_path()]);
    assert_eq!(fs::read(&target).unwrap(), image);
    assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o7777, 0o640);
    assert_eq!(bank::verify(&target), Ok(last));
}

#[test]
fn what_is_there_is_not_replaced_unless_forced() {
    let (image, last) = image();
    let directory = tempfile::TempDir::new().unwrap();
    let target = directory.path().join("bank.db");
    fs::write(&target, "precious").unwrap();
    let before = Snapshot::take(directory.path()).unwrap();
    assert!(matches!(install(&target, &image, PLAIN), Err(RestoreError::Exists { .. })));
    before.assert_unchanged(directory.path());
    install(&target, &image, FORCE).unwrap();
    assert_eq!(bank::verify(&target), Ok(last));
    assert_eq!(names(directory.path()), [target]);
}

/// It appears between the first look and the rename.
#[test]
fn a_file_that_appears_meanwhile_is_not_replaced() {
    let directory = tempfile::TempDir::new().unwrap();
    let target = directory.path().join("bank.db");
    let installation = Installation::begin(&target, PLAIN).unwrap();
    fs::write(&target, "precious").unwrap();
    assert!(matches!(installation.commit(0o640), Err(RestoreError::Exists { .. })));
    assert_eq!(fs::read(&target).unwrap(), b"precious");
    assert_eq!(names(directory.path()), [target]);
}

/// A stale `-wal` replaces the content of the restored file. Seen without the check for leftovers: the file
/// that was just restored has the old content.
#[test]
fn leftovers_are_refused_or_removed() {
    let (image, last) = image();
    let place = Place::new();
    let mut writer = place.writer(&BankOptions { accounts: 30, ..BankOptions::default() });
    writer.commit(2).unwrap();
    writer.crash().unwrap();
    fs::remove_file(place.path()).unwrap();
    let before = Snapshot::take(place.source.path()).unwrap();
    let error = install(&place.path(), &image, PLAIN).unwrap_err();
    assert!(matches!(error, RestoreError::Leftover { .. }), "{error}");
    before.assert_unchanged(place.source.path());
    install(&place.path(), &image, FORCE).unwrap();
    assert_eq!(names(place.source.path()), [place.path()]);
    assert_eq!(commits(&place.capture().unwrap()), last);
}

#[test]
fn a_database_in_use_is_not_replaced_even_when_forced() {
    let (image, _) = image();
    for journal_mode in [JournalMode::Wal, JournalMode::Delete] {
        let place = Place::new();
        let mut writer = place.writer(&BankOptions { journal_mode, ..BankOptions::default() });
        let first = writer.commit(2).unwrap();
        writer.begin_long().unwrap();
        let error = install(&place.path(), &image, FORCE).unwrap_err();
        assert!(matches!(error, RestoreError::InUse { .. }), "{error}");
        // No lock of the writer was lost, no file taken away under it.
        assert_eq!(writer.end_long().unwrap(), first + 1);
        writer.close().unwrap();
        assert_eq!(bank::verify(&place.path()), Ok(first + 1));
    }
}

/// Idle, but open: in WAL mode every connection holds a lock on the `-shm`.
#[test]
fn an_idle_connection_in_wal_mode_is_noticed() {
    let place = Place::new();
    let mut writer = place.writer(&BankOptions::default());
    writer.commit(2).unwrap();
    let error = Installation::begin(&place.path(), FORCE).unwrap_err();
    assert!(error.to_string().contains(&writer.pid().to_string()), "{error}");
}

#[test]
fn a_dropped_installation_leaves_nothing() {
    let directory = tempfile::TempDir::new().unwrap();
    // The longest name: the temporary one must not be longer.
    let target = directory.path().join("n".repeat(255));
    let mut installation = Installation::begin(&target, PLAIN).unwrap();
    installation.file().write_all(b"half").unwrap();
    let temporary =
        installation.temporary_path().file_name().unwrap().to_string_lossy().into_owned();
    assert!(temporary.starts_with(".nnn") && temporary.contains(".ultrasimple-restore-"));
    drop(installation);
    assert_eq!(names(directory.path()), Vec::<PathBuf>::new());
}

#[test]
fn a_directory_is_never_replaced() {
    let directory = tempfile::TempDir::new().unwrap();
    let error = Installation::begin(directory.path(), FORCE).unwrap_err();
    assert!(matches!(error, RestoreError::Exists { .. }), "{error}");
}
