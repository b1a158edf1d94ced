//! The scratch directory: spooled images, and copies in which SQLite may recover.
//!
//! Each capturer has a directory of its own below it, locked (`flock`) while the process lives; what a
//! crash leaves behind is swept by the next start. Bytes are counted against one limit for all captures.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{CWD, FlockOperation, flock};
use tempfile::TempDir;

use crate::CaptureError;
use crate::stat::{Follow, Freshness, stat_at};

const PREFIX: &str = "ultrasimple-scratch-";

/// This capturer's part of the scratch directory, and the account of what is in it.
#[derive(Debug)]
pub(crate) struct Scratch {
    root: PathBuf,
    own: TempDir,
    /// Holds the lock that tells others that this directory is in use.
    _lock: File,
    limit: u64,
    used: AtomicU64,
    next_name: AtomicU64,
}

impl Scratch {
    /// Creates the directory where missing, and removes what dead processes have left in it.
    pub(crate) fn open(root: &Path, limit: u64) -> Result<Arc<Self>, CaptureError> {
        let failed = |source| CaptureError::Scratch { scratch: root.to_path_buf(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(root).map_err(failed)?;
        // Absolute and without links: the seal compares paths as SQLite resolves them.
        let root = root.canonicalize().map_err(failed)?;
        sweep(&root).map_err(failed)?;
        let (own, lock) = create_locked(&root).map_err(failed)?;
        let (used, next_name) = (AtomicU64::new(0), AtomicU64::new(0));
        Ok(Arc::new(Self { root, own, _lock: lock, limit, used, next_name }))
    }

    /// The scratch directory as the operator knows it.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Opens a new file for reading and writing. It has a name (SQLite needs one to check it) until the
    /// image is handed out.
    pub(crate) fn create_file(&self) -> Result<(PathBuf, File), CaptureError> {
        let path = self.next_path();
        let file = create_private(&path);
        let file = file.map_err(|e| CaptureError::spooling(&self.root, 0, e))?;
        Ok((path, file))
    }

    /// A path that is not in use.
    pub(crate) fn next_path(&self) -> PathBuf {
        let number = self.next_name.fetch_add(1, Ordering::Relaxed);
        self.own.path().join(format!("spool-{number}"))
    }

    /// A new directory, removed with what is in it on drop.
    pub(crate) fn create_folder(&self) -> Result<TempDir, CaptureError> {
        let folder = tempfile::Builder::new().prefix("copy-").tempdir_in(self.own.path());
        folder.map_err(|e| CaptureError::spooling(&self.root, 0, e))
    }

    /// An empty account on this scratch directory.
    pub(crate) fn account(self: &Arc<Self>) -> Reservation {
        Reservation { scratch: Arc::clone(self), bytes: 0 }
    }

    /// Bytes that are spooled now.
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }
}

/// Opens a new file that only this user can read.
pub(crate) fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

/// Bytes of the spool limit that one file takes; given back on drop.
#[derive(Debug)]
pub(crate) struct Reservation {
    scratch: Arc<Scratch>,
    bytes: u64,
}

impl Reservation {
    /// Takes `bytes` more, or says that the limit is reached.
    pub(crate) fn grow(&mut self, bytes: u64) -> Result<(), CaptureError> {
        let limit = self.scratch.limit;
        let fits = |used: u64| used.checked_add(bytes).filter(|&total| total <= limit);
        let taken = self.scratch.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits);
        taken.map_err(|used| CaptureError::ScratchFull {
            scratch: self.scratch.root.clone(),
            needed: self.bytes.saturating_add(bytes),
            reason: format!(
                "the spool limit is {limit} bytes, {used} of them are in use; raise the limit"
            ),
        })?;
        self.bytes += bytes;
        Ok(())
    }

    pub(crate) fn scratch(&self) -> &Arc<Scratch> {
        &self.scratch
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.scratch.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

fn lock(directory: &Path) -> io::Result<File> {
    let file = File::open(directory)?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    Ok(file)
}

fn create_locked(root: &Path) -> io::Result<(TempDir, File)> {
    for _ in 0..16 {
        let own = tempfile::Builder::new().prefix(PREFIX).tempdir_in(root)?;
        // Another start may sweep it away between its creation and its locking.
        if let Ok(locked) = lock(own.path()) {
            let there = stat_at(CWD, own.path(), Follow::No, Freshness::Cached)?;
            if there == stat_at(&locked, ".", Follow::No, Freshness::Cached)? && there.is_some() {
                return Ok((own, locked));
            }
        }
    }
    Err(io::Error::other("other processes keep removing this process's directory"))
}

fn sweep(root: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(root)? {
        let entry = entry?;
        let ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        if !ours || !entry.file_type()?.is_dir() {
            continue;
        }
        if let Ok(_locked) = lock(&entry.path()) {
            // Another start may be doing the same: what matters is that it is gone.
            let removed = std::fs::remove_dir_all(entry.path());
            tracing::info!(path = %entry.path().display(), ok = removed.is_ok(), "swept scratch");
        }
    }
    Ok(())
}
