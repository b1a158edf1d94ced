//! A source on a read-only mount, or that may not be read; and what `stat` says.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use common::{MEMORY, commits};
use tempfile::TempDir;
use ultrasimple_core::FileStamp;
use ultrasimple_sqlite::{
    CaptureOptions, Capturer, CheckLevel, FileKind, FilesystemKind, Follow, Freshness, Method,
    filesystem_kind, fingerprint, stat_at, timestamp_tick,
};
use ultrasimple_testkit::bank::{BankOptions, JournalMode, WriterProcess};

ultrasimple_testkit::bank_writer!();

const CHILD_DIRECTORY: &str = "ULTRASIMPLE_TEST_CHILD_DIRECTORY";

/// Runs the ignored test `name` of this executable by way of `wrapper`. `None` where that isn't possible.
fn run_child(wrapper: &[&str], name: &str, directory: &Path) -> Option<()> {
    let (program, arguments) = wrapper.split_first().unwrap();
    let available = Command::new(program).args(arguments).arg("true").output();
    if !available.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: `{}` does not work here", wrapper.join(" "));
        return None;
    }
    let status = Command::new(program)
        .args(arguments)
        .arg(std::env::current_exe().unwrap())
        .args([name, "--exact", "--ignored", "--nocapture"])
        .env(CHILD_DIRECTORY, directory)
        .status()
        .unwrap();
    assert!(status.success(), "{name}");
    Some(())
}

/// All states in one directory, seen through a read-only mount (R1).
#[test]
fn a_read_only_mount() {
    let source = TempDir::new().unwrap();
    let bank = |name: &str, journal_mode, cache_pages| {
        let options = BankOptions { journal_mode, cache_pages, ..BankOptions::default() };
        let mut writer = WriterProcess::spawn(&source.path().join(name), &options).unwrap();
        writer.commit(5).unwrap();
        writer
    };
    let _live_wal = bank("live-wal", JournalMode::Wal, 1_000);
    let _live_rollback = bank("live-rollback", JournalMode::Delete, 1_000);
    bank("closed-wal", JournalMode::Wal, 1_000).close().unwrap();
    bank("crashed-wal", JournalMode::Wal, 1_000).crash().unwrap();
    fs::remove_file(source.path().join("crashed-wal-shm")).unwrap();
    let mut hot = bank("hot-journal", JournalMode::Delete, 5);
    hot.begin_long().unwrap();
    hot.crash().unwrap();
    let mount = format!(
        "mount --bind '{0}' '{0}' && mount -o remount,bind,ro '{0}' && ! touch '{0}/x' && exec \"$@\"",
        source.path().display()
    );
    run_child(&["unshare", "-rm", "sh", "-c", &mount, "sh"], "read_only_child", source.path());
}

#[test]
#[ignore = "not a test: runs where the directory is read-only"]
fn read_only_child() {
    let Some(directory) = std::env::var_os(CHILD_DIRECTORY).map(PathBuf::from) else {
        return;
    };
    let scratch = TempDir::new().unwrap();
    let capturer = Capturer::new(CaptureOptions::new(scratch.path())).unwrap();
    for (name, method) in [
        ("live-wal", Method::Live),
        ("live-rollback", Method::Live),
        ("closed-wal", Method::Plain),
        ("crashed-wal", Method::RecoveredWal),
        ("hot-journal", Method::RolledBack),
    ] {
        let path = directory.join(name);
        let capture = capturer.capture(&path, MEMORY, CheckLevel::Full).unwrap();
        assert_eq!(capture.method, method, "{name}");
        assert_eq!(commits(&capture), 6, "{name}");
    }
}

/// Scratch on a disk that is full: the error says so, and names it; nothing is left there.
#[test]
fn a_full_scratch_disk() {
    let source = TempDir::new().unwrap();
    let scratch = source.path().join("scratch");
    fs::create_dir(&scratch).unwrap();
    let path = source.path().join("bank.db");
    let mut writer = WriterProcess::spawn(&path, &BankOptions::default()).unwrap();
    writer.commit(5).unwrap();
    let mount = format!("mount -t tmpfs -o size=64k none '{}' && exec \"$@\"", scratch.display());
    run_child(&["unshare", "-rm", "sh", "-c", &mount, "sh"], "full_scratch_child", source.path());
}

#[test]
#[ignore = "not a test: runs where scratch is small"]
fn full_scratch_child() {
    let Some(directory) = std::env::var_os(CHILD_DIRECTORY).map(PathBuf::from) else {
        return;
    };
    let (path, scratch) = (directory.join("bank.db"), directory.join("scratch"));
    let capturer = Capturer::new(CaptureOptions::new(&scratch)).unwrap();
    let error = capturer.capture(&path, 0, CheckLevel::Off).unwrap_err();
    assert_eq!(error.kind(), "scratch_full", "{error}");
    assert!(error.to_string().contains("/scratch"), "{error}");
    assert_eq!(capturer.spooled_bytes(), 0);
    // What needs no scratch goes on.
    assert_eq!(commits(&capturer.capture(&path, MEMORY, CheckLevel::Full).unwrap()), 6);
}

/// What may not be read says so. A `-shm` alone that may not be read is no obstacle.
#[test]
fn permissions() {
    let source = TempDir::new().unwrap();
    fs::set_permissions(source.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let set = |name: &str, mode| {
        let path = source.path().join(name);
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let bank = |name: &str| {
        let path = source.path().join(name);
        let mut writer = WriterProcess::spawn(&path, &BankOptions::default()).unwrap();
        writer.commit(5).unwrap();
        writer
    };
    let _live = bank("shm.db");
    set("shm.db-shm", 0o600);
    let _other = bank("wal.db");
    set("wal.db-wal", 0o600);
    set("wal.db-shm", 0o600);
    bank("main.db").close().unwrap();
    set("main.db", 0o600);
    fs::create_dir(source.path().join("closed")).unwrap();
    fs::copy(source.path().join("main.db"), source.path().join("closed/in.db")).unwrap();
    set("closed", 0o700);
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    run_child(&nobody, "unprivileged_child", source.path());
}

#[test]
#[ignore = "not a test: runs as a user who may not read everything"]
fn unprivileged_child() {
    let Some(directory) = std::env::var_os(CHILD_DIRECTORY).map(PathBuf::from) else {
        return;
    };
    let scratch = TempDir::new().unwrap();
    let capturer = Capturer::new(CaptureOptions::new(scratch.path())).unwrap();
    let capture = |name: &str| capturer.capture(&directory.join(name), MEMORY, CheckLevel::Full);
    assert_eq!(commits(&capture("shm.db").unwrap()), 6);
    for name in ["wal.db", "main.db", "closed/in.db"] {
        assert_eq!(capture(name).unwrap_err().kind(), "permission", "{name}");
    }
    // Scratch that can't be used, too.
    let error = Capturer::new(CaptureOptions::new(directory.join("closed/scratch"))).unwrap_err();
    assert_eq!(error.kind(), "scratch");
    assert!(error.to_string().contains("closed/scratch"), "{error}");
}

#[test]
fn stat_tells_kinds_stamps_and_absence() {
    let directory = TempDir::new().unwrap();
    let at = |name: &str, follow| {
        let handle = fs::File::open(directory.path()).unwrap();
        stat_at(&handle, name, follow, Freshness::Cached).unwrap()
    };
    fs::write(directory.path().join("file"), b"12345").unwrap();
    fs::set_permissions(directory.path().join("file"), fs::Permissions::from_mode(0o4640)).unwrap();
    fs::hard_link(directory.path().join("file"), directory.path().join("second")).unwrap();
    std::os::unix::fs::symlink("file", directory.path().join("link")).unwrap();
    std::os::unix::fs::symlink("nowhere", directory.path().join("dangling")).unwrap();
    let file = at("file", Follow::No).unwrap();
    assert_eq!((file.kind, file.mode, file.links), (FileKind::Regular, 0o4640, 2));
    assert_eq!(file.stamp.size, 5);
    assert_eq!(at("link", Follow::Yes), Some(file));
    assert_eq!(at("link", Follow::No).unwrap().kind, FileKind::Symlink);
    assert_eq!(at(".", Follow::No).unwrap().kind, FileKind::Directory);
    let too_long = "n".repeat(256);
    for absent in ["none", "file/below", "dangling", too_long.as_str()] {
        assert_eq!(at(absent, Follow::Yes), None, "{absent}");
    }
    let stamps = fingerprint(&directory.path().join("file")).unwrap();
    assert_eq!((stamps.main, stamps.wal, stamps.journal), (file.stamp, None, false));
    fs::write(directory.path().join("file-journal"), b"").unwrap();
    assert!(
        fingerprint(&directory.path().join("link")).unwrap().journal,
        "empty counts as present"
    );
    let error = fingerprint(&directory.path().join("none")).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
}

#[test]
fn file_systems_and_their_ticks() {
    assert_eq!(filesystem_kind(Path::new("/")).unwrap(), FilesystemKind::Local);
    assert!(filesystem_kind(Path::new("/nowhere")).is_err());
    let fine = FileStamp { device: 1, inode: 1, size: 1, mtime_ns: 1_000_000_000, ctime_ns: 5 };
    let coarse = FileStamp { ctime_ns: 2_000_000_000, ..fine };
    let (local, network) = (FilesystemKind::Local, FilesystemKind::Network);
    assert_eq!(timestamp_tick(local, &fine), Duration::from_millis(20));
    assert_eq!(timestamp_tick(local, &coarse), Duration::from_millis(2_500));
    assert_eq!(timestamp_tick(network, &fine), Duration::from_millis(2_500));
}
