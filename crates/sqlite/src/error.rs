//! Why a capture was not taken. Few kinds: what the caller (and the operator) must do differs.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;

/// Why there is no capture. No message names the database: the caller adds its path.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaptureError {
    /// The file is gone. The next scan will notice.
    #[error("the file is no longer there")]
    Vanished,
    /// The file does not begin as a SQLite database does.
    #[error(
        "not a SQLite database (or an encrypted one, which can't be read): exclude it from the pattern"
    )]
    NotADatabase,
    /// The file has no bytes: a database that was never written to. There is nothing to back up.
    #[error("the file is empty: nothing was ever committed to it")]
    Empty,
    /// The file or its directory may not be read.
    #[error("permission denied reading {}: give the daemon's user read access", path.display())]
    Permission {
        /// What could not be read.
        path: PathBuf,
    },
    /// No consistent state could be read in time. The next cycle tries again.
    #[error("busy: {reason}")]
    Busy {
        /// What stood in the way.
        reason: String,
    },
    /// The copy or the check took longer than any honest database of its size does.
    #[error("the check did not end within {} s: the schema may be hostile, or the disk too slow", limit.as_secs())]
    CheckTimeout {
        /// How long it was allowed to take.
        limit: Duration,
    },
    /// The spool limit or the scratch disk is used up. Passes when other captures end, or never, if the
    /// limit is below the database's size.
    #[error("no room to spool {needed} bytes in {}: {reason}", scratch.display())]
    ScratchFull {
        /// The scratch directory.
        scratch: PathBuf,
        /// How many bytes were to be written.
        needed: u64,
        /// Whether the limit or the disk was the cause, and what to do.
        reason: String,
    },
    /// The scratch directory can't be used.
    #[error("the scratch directory {} can't be used", scratch.display())]
    Scratch {
        /// The scratch directory.
        scratch: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Reading the source failed.
    #[error("cannot {action}")]
    Io {
        /// What was being done: "read the database", …
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// SQLite failed in a way that has no kind of its own.
    #[error("SQLite cannot {action}: {message} (code {code})")]
    Sqlite {
        /// What was being done.
        action: &'static str,
        /// SQLite's extended result code.
        code: i32,
        /// SQLite's message.
        message: String,
    },
}

impl CaptureError {
    /// A short name of the kind: bounded, for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Vanished => "vanished",
            Self::NotADatabase => "not_a_database",
            Self::Empty => "empty",
            Self::Permission { .. } => "permission",
            Self::Busy { .. } => "busy",
            Self::CheckTimeout { .. } => "check_timeout",
            Self::ScratchFull { .. } => "scratch_full",
            Self::Scratch { .. } => "scratch",
            Self::Io { .. } => "io",
            Self::Sqlite { .. } => "sqlite",
        }
    }

    /// Sorts an error met while reading `path` of the source.
    pub(crate) fn reading(path: &Path, action: &'static str, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::NotFound => Self::Vanished,
            io::ErrorKind::PermissionDenied => Self::Permission { path: path.to_path_buf() },
            _ => Self::Io { action, source },
        }
    }

    /// Sorts an error met while writing `needed` bytes to scratch.
    pub(crate) fn spooling(scratch: &Path, needed: u64, source: io::Error) -> Self {
        let full = [Errno::NOSPC, Errno::DQUOT, Errno::FBIG].map(Errno::raw_os_error);
        if source.raw_os_error().is_some_and(|code| full.contains(&code)) {
            let reason = format!("{source}; free some space or choose another scratch directory");
            return Self::ScratchFull { scratch: scratch.to_path_buf(), needed, reason };
        }
        Self::Scratch { scratch: scratch.to_path_buf(), source }
    }
}

/// SQLite's extended result code and message; code 1 (`SQLITE_ERROR`) for what the binding found itself.
pub(crate) fn code_and_message(error: &rusqlite::Error) -> (i32, String) {
    match error {
        rusqlite::Error::SqliteFailure(failure, message) => {
            let message = message.clone().unwrap_or_else(|| failure.to_string());
            (failure.extended_code, message)
        }
        rusqlite::Error::SqlInputError { error, msg, .. } => (error.extended_code, msg.clone()),
        other => (rusqlite::ffi::SQLITE_ERROR, other.to_string()),
    }
}
