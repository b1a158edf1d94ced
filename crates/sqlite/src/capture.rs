//! Capturing a database: choosing the way, taking it, and proving that nothing moved meanwhile.
//!
//! A capture is tried a few times within the busy timeout; what can't be read by then is `Busy`, and the
//! caller's next cycle tries again.

mod attempt;
mod recover;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ultrasimple_core::{CheckResult, Clock, Fingerprint, SystemClock, Timestamp};

use crate::check::{CheckError, CheckLevel, Checker};
use crate::image::Image;
use crate::scratch::Scratch;
use crate::stat::{FilesystemKind, resolve};
use crate::{CaptureError, filesystem_kind};

use attempt::{Attempt, Halt, Taken};

/// More often than this a database is not looked at anew within one capture.
const ATTEMPTS: u32 = 4;

/// How captures are taken.
#[derive(Debug, Clone)]
pub struct CaptureOptions {
    /// Where images that don't fit in memory go, and copies in which SQLite recovers. Created if missing.
    pub scratch: PathBuf,
    /// How many bytes all captures of this capturer may have in scratch at once.
    pub spool_limit: u64,
    /// How long a capture waits for locks, and for a file that has just changed to settle.
    pub busy_timeout: Duration,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
}

impl CaptureOptions {
    /// The defaults: 250 ms of patience, 10 GiB of spool, the system's clock.
    pub fn new(scratch: impl Into<PathBuf>) -> Self {
        Self {
            scratch: scratch.into(),
            spool_limit: 10 << 30,
            busy_timeout: Duration::from_millis(250),
            clock: Arc::new(SystemClock),
        }
    }
}

/// Takes captures. Shared between threads; one per daemon.
#[derive(Debug)]
pub struct Capturer {
    options: CaptureOptions,
    scratch: Arc<Scratch>,
    checker: Checker,
}

/// A consistent image of a database: the state between two commits.
#[derive(Debug)]
#[non_exhaustive]
pub struct Capture {
    /// The fingerprint, taken *before* the image was read: a commit in between makes the next scan see a
    /// change.
    pub fingerprint: Fingerprint,
    /// Permission bits of the main file.
    pub mode: u32,
    /// When reading began. The image is the state the database had then, or shortly after.
    pub captured_at: Timestamp,
    /// The bytes.
    pub image: Image,
    /// What the check found.
    pub check: CheckResult,
    /// How it was read.
    pub method: Method,
}

/// How an image was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Method {
    /// Through SQLite, in one read transaction.
    Live,
    /// The main file as it is: closed cleanly, nobody had it open.
    Plain,
    /// From a copy of main and `-wal` in scratch.
    RecoveredWal,
    /// From a copy of main and a hot `-journal` in scratch, rolled back there.
    RolledBack,
    /// The main file as it is, because SQLite can't read it. Always marked as failed.
    Salvaged,
}

impl Method {
    /// A short name, for metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Plain => "plain",
            Self::RecoveredWal => "recovered_wal",
            Self::RolledBack => "rolled_back",
            Self::Salvaged => "salvaged",
        }
    }
}

impl Capturer {
    /// Prepares the scratch directory, and removes what dead processes have left there.
    ///
    /// # Errors
    /// When the scratch directory can't be used.
    pub fn new(options: CaptureOptions) -> Result<Self, CaptureError> {
        let scratch = Scratch::open(&options.scratch, options.spool_limit)?;
        Ok(Self { options, scratch, checker: Checker::default() })
    }

    pub(crate) fn scratch(&self) -> &Arc<Scratch> {
        &self.scratch
    }

    pub(crate) fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.options.clock)
    }

    /// Bytes that captures have in scratch at the moment.
    pub fn spooled_bytes(&self) -> u64 {
        self.scratch.used()
    }

    /// Captures the database at `path`, in memory if the image has at most `memory_limit` bytes.
    ///
    /// On a network file system the image is checked whatever `check` says.
    ///
    /// # Errors
    /// See [`CaptureError`]. The source is the same as before in any case.
    pub fn capture(
        &self,
        path: &Path,
        memory_limit: u64,
        check: CheckLevel,
    ) -> Result<Capture, CaptureError> {
        let failed = |error| CaptureError::reading(path, "find the database", error);
        let path = resolve(path).map_err(failed)?;
        let filesystem = filesystem_kind(&path).map_err(failed)?;
        let check = match (filesystem, check) {
            (FilesystemKind::Network, CheckLevel::Off) => CheckLevel::Quick,
            (_, check) => check,
        };
        let taken = self.take(&path, filesystem, memory_limit)?;
        self.finish(taken, check)
    }

    fn take(
        &self,
        path: &Path,
        filesystem: FilesystemKind,
        memory_limit: u64,
    ) -> Result<Taken, CaptureError> {
        let clock = &*self.options.clock;
        let deadline = clock.monotonic().saturating_add(self.options.busy_timeout);
        let mut patience = self.options.busy_timeout;
        let mut reason = String::new();
        for _ in 0..ATTEMPTS {
            let attempt = Attempt {
                path,
                filesystem,
                memory_limit,
                clock,
                scratch: &self.scratch,
                busy_timeout: deadline.saturating_sub(clock.monotonic()),
            };
            match attempt.run(&mut patience) {
                Ok(taken) => return Ok(taken),
                Err(Halt::Error(error)) => return Err(error),
                Err(Halt::Again(moved)) => reason = moved,
            }
            if clock.monotonic() > deadline {
                break;
            }
        }
        Err(CaptureError::Busy { reason })
    }

    fn finish(&self, taken: Taken, level: CheckLevel) -> Result<Capture, CaptureError> {
        let Taken { observed, captured_at, mut image, method, damage } = taken;
        let check = match damage {
            Some(reason) => CheckResult::Failed(reason),
            None => self.check(&mut image, level)?,
        };
        image.unname();
        let (fingerprint, mode) = (observed.fingerprint(), observed.main.mode);
        Ok(Capture { fingerprint, mode, captured_at, image, check, method })
    }

    fn check(&self, image: &mut Image, level: CheckLevel) -> Result<CheckResult, CaptureError> {
        let checked = self.checker.check(image, level, &self.options.clock);
        checked.map_err(|error| match error {
            CheckError::Timeout { limit } => CaptureError::CheckTimeout { limit },
            CheckError::Io(source) => {
                CaptureError::Scratch { scratch: self.scratch.root().to_path_buf(), source }
            }
            CheckError::Sqlite { code, message } => {
                CaptureError::Sqlite { action: "check the image", code, message }
            }
        })
    }
}
