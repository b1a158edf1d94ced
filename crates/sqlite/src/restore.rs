//! Putting a restored database in place, so that nobody ever sees half of it, and nothing that lay there
//! before changes what it says.
//!
//! A stale `-wal` beside a restored file would silently replace its content. So: a temporary file in the same
//! directory, fsync, the caller's check, refuse or remove leftovers, rename; at the end, fsync of the directories.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::process::{Flock, FlockOffsetType, FlockType, fcntl_getlk};
use tempfile::NamedTempFile;

use crate::stat::{FileKind, Follow, Freshness, beside, stat_at};

/// SQLite's lock bytes in the main file: PENDING, RESERVED and the 510 of SHARED, from 1 GiB on.
const MAIN_LOCKS: (u64, u64) = (0x4000_0000, 512);
/// SQLite's lock bytes in the `-shm`: eight of the WAL, and the one every connection holds (DMS).
const SHM_LOCKS: (u64, u64) = (120, 9);
const NAME_MAX: usize = 255;

/// How to put a restored database in place.
#[derive(Debug, Clone, Copy, Default)]
pub struct InstallOptions {
    /// Replace what is there. Without it, anything there is an error.
    pub force: bool,
    /// Create the directories above it.
    pub create_parents: bool,
}

/// Why a restored database could not be put in place. The directory is as it was before, unless the
/// message says otherwise.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// Something is there.
    #[error("{} exists: move it away, or replace it with --force", path.display())]
    Exists {
        /// What is there.
        path: PathBuf,
    },
    /// A leftover of another database is there, which SQLite would apply to the restored one.
    #[error(
        "{} exists, and SQLite would apply it to the restored database: remove it, or use --force",
        path.display()
    )]
    Leftover {
        /// The leftover.
        path: PathBuf,
    },
    /// A process has the database open.
    #[error("process {process} has {} open: stop it before replacing the database", path.display())]
    InUse {
        /// The locked file.
        path: PathBuf,
        /// Who holds the lock.
        process: String,
    },
    /// The system failed.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

fn failed(action: &'static str, path: &Path) -> impl Fn(io::Error) -> RestoreError {
    move |source| RestoreError::Io { action, path: path.to_path_buf(), source }
}

/// A database on its way into place: fill [`Self::file`], check [`Self::temporary_path`], then
/// [`Self::commit`]. Dropped before that, it leaves nothing.
#[derive(Debug)]
pub struct Installation {
    target: PathBuf,
    temporary: NamedTempFile,
    options: InstallOptions,
}

impl Installation {
    /// Creates the temporary file `.<name>.ultrasimple-restore-<random>` beside `target`.
    ///
    /// # Errors
    /// Where `target` or a leftover of it exists and `force` is not set, where another process has
    /// `target` open, and where the file can't be created.
    pub fn begin(target: &Path, options: InstallOptions) -> Result<Self, RestoreError> {
        let target = std::path::absolute(target).map_err(failed("find", target))?;
        let (Some(directory), Some(name)) = (target.parent(), target.file_name()) else {
            let error = io::Error::from(io::ErrorKind::IsADirectory);
            return Err(failed("restore to", &target)(error));
        };
        if options.create_parents {
            std::fs::create_dir_all(directory).map_err(failed("create", directory))?;
        }
        let mut prefix = OsString::from(".");
        let suffix = ".ultrasimple-restore-";
        // Room for the dot, the suffix and tempfile's six letters.
        let kept = name.as_bytes().len().min(NAME_MAX - 1 - suffix.len() - 6);
        prefix.push(std::ffi::OsStr::from_bytes(name.as_bytes().get(..kept).unwrap_or_default()));
        prefix.push(suffix);
        check_vacant(&target, options.force)?;
        let temporary = tempfile::Builder::new().prefix(&prefix).tempfile_in(directory);
        let temporary = temporary.map_err(failed("create a file in", directory))?;
        Ok(Self { target, temporary, options })
    }

    /// The temporary file, to write the image to.
    pub fn file(&mut self) -> &mut File {
        self.temporary.as_file_mut()
    }

    /// Where the temporary file is, to check it.
    pub fn temporary_path(&self) -> &Path {
        self.temporary.path()
    }

    /// Makes the file durable and gives it its name and these permission bits, in one step for every observer. The
    /// name is durable when the directory is: see [`sync_directory`].
    ///
    /// # Errors
    /// As [`Self::begin`]; what is there is looked at anew.
    pub fn commit(self, mode: u32) -> Result<(), RestoreError> {
        let Self { target, temporary, options } = self;
        let mode = Permissions::from_mode(mode & 0o7777);
        let file = temporary.as_file();
        file.set_permissions(mode).map_err(failed("set the mode of", temporary.path()))?;
        file.sync_all().map_err(failed("write", temporary.path()))?;
        check_vacant(&target, options.force)?;
        if options.force {
            for leftover in leftovers(&target)? {
                std::fs::remove_file(&leftover).map_err(failed("remove", &leftover))?;
            }
        }
        let flags = if options.force { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
        rename(temporary.path(), &target, flags)?;
        // The name is taken away from the guard: there is nothing left to remove.
        let _ = temporary.into_temp_path().keep();
        Ok(())
    }
}

/// Makes the names in a directory durable. Once for each directory, however many were installed there.
///
/// # Errors
/// When the system cannot.
pub fn sync_directory(directory: &Path) -> Result<(), RestoreError> {
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(failed("sync the directory", directory))
}

fn rename(from: &Path, to: &Path, flags: RenameFlags) -> Result<(), RestoreError> {
    use rustix::io::Errno;
    match renameat_with(CWD, from, CWD, to, flags) {
        Ok(()) => Ok(()),
        Err(Errno::EXIST) => Err(RestoreError::Exists { path: to.to_path_buf() }),
        // File systems without RENAME_NOREPLACE: a link fails where the name is taken, too.
        Err(Errno::INVAL | Errno::NOSYS) if flags == RenameFlags::NOREPLACE => {
            std::fs::hard_link(from, to).map_err(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => RestoreError::Exists { path: to.to_path_buf() },
                _ => failed("rename to", to)(error),
            })?;
            std::fs::remove_file(from).map_err(failed("remove", from))
        }
        Err(errno) => Err(failed("rename to", to)(errno.into())),
    }
}

/// The files beside `target` that SQLite would apply to it.
fn leftovers(target: &Path) -> Result<Vec<PathBuf>, RestoreError> {
    let mut found = Vec::new();
    for suffix in ["-wal", "-shm", "-journal"] {
        let path = beside(target, suffix);
        let stat = stat_at(CWD, &path, Follow::No, Freshness::Cached);
        if stat.map_err(failed("look at", &path))?.is_some() {
            found.push(path);
        }
    }
    Ok(found)
}

fn check_vacant(target: &Path, force: bool) -> Result<(), RestoreError> {
    let there = stat_at(CWD, target, Follow::No, Freshness::Cached);
    let there = there.map_err(failed("look at", target))?;
    let leftovers = leftovers(target)?;
    match there {
        Some(stat) if !force || stat.kind != FileKind::Regular => {
            return Err(RestoreError::Exists { path: target.to_path_buf() });
        }
        Some(_) => check_unlocked(target, MAIN_LOCKS)?,
        None => {}
    }
    let Some(leftover) = leftovers.first() else {
        return Ok(());
    };
    if !force {
        return Err(RestoreError::Leftover { path: leftover.clone() });
    }
    let shm = beside(target, "-shm");
    if leftovers.contains(&shm) { check_unlocked(&shm, SHM_LOCKS) } else { Ok(()) }
}

/// Refuses when another process has a lock on these bytes of the file. What can't be seen: a process
/// on another host, or one that has it open without a lock (an idle connection in rollback mode).
fn check_unlocked(path: &Path, (start, length): (u64, u64)) -> Result<(), RestoreError> {
    // Closing it drops this process's own locks, which it has none of while it restores.
    let file = OpenOptions::new().read(true).open(path).map_err(failed("open", path))?;
    let (typ, offset_type) = (FlockType::WriteLock, FlockOffsetType::Set);
    let lock = Flock { start, length, pid: None, typ, offset_type };
    let held = fcntl_getlk(&file, &lock).map_err(|e| failed("ask for locks on", path)(e.into()))?;
    let Some(held) = held else { return Ok(()) };
    let process = held.pid.map_or_else(|| "?".into(), |pid| pid.as_raw_nonzero().to_string());
    Err(RestoreError::InUse { path: path.to_path_buf(), process })
}
