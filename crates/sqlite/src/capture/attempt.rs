//! One try at capturing: look, read in the way the state asks for, look again.

use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::CWD;
use ultrasimple_core::{Clock, FileStamp, Fingerprint, Timestamp};

use crate::error::CaptureError;
use crate::image::{Image, ImageWriter};
use crate::plain::{self, Piece};
use crate::plan::{self, HEADER_BYTES, Next, Way};
use crate::scratch::Scratch;
use crate::source::{self, ReadError};
use crate::stat::{FileKind, FilesystemKind, Follow, Observed, stat_at, timestamp_tick};
use crate::turn::Turn;

use super::Method;

/// SQLite's limit (512) less the 8 bytes of `-journal`. The application's SQLite has it too.
const LONGEST_PATH: usize = 504;

/// What an attempt works with.
pub(super) struct Attempt<'a> {
    /// Resolved.
    pub(super) path: &'a Path,
    pub(super) filesystem: FilesystemKind,
    pub(super) memory_limit: u64,
    pub(super) clock: &'a dyn Clock,
    pub(super) scratch: &'a Arc<Scratch>,
    /// What is left of it.
    pub(super) busy_timeout: Duration,
}

/// A consistent image, not yet checked.
pub(super) struct Taken {
    /// As it was before reading.
    pub(super) observed: Observed,
    pub(super) captured_at: Timestamp,
    pub(super) image: Image,
    pub(super) method: Method,
    /// Why SQLite could not read it, if so.
    pub(super) damage: Option<String>,
}

/// Why an attempt has no image.
#[derive(Debug)]
pub(super) enum Halt {
    /// Something moved: look again. Says what.
    Again(String),
    Error(CaptureError),
}

impl From<CaptureError> for Halt {
    fn from(error: CaptureError) -> Self {
        Self::Error(error)
    }
}

fn moved(what: impl Display) -> Halt {
    Halt::Again(format!("{what} while the database was being read"))
}

impl Attempt<'_> {
    /// `patience`: for how long the attempt may sleep. What it uses is taken off.
    pub(super) fn run(&self, patience: &mut Duration) -> Result<Taken, Halt> {
        let observed = self.observe()?.ok_or(CaptureError::Vanished)?;
        if observed.main.kind != FileKind::Regular {
            let source = std::io::Error::other("it is not a regular file");
            return Err(CaptureError::Io { action: "read the database", source }.into());
        }
        let turn = Turn::take(&observed.main.stamp, self.busy_timeout);
        let Some(_turn) = turn else {
            let reason = "it is being captured by another worker of this process".to_owned();
            return Err(CaptureError::Busy { reason }.into());
        };
        let header = plain::head(self.path, HEADER_BYTES);
        let header =
            header.map_err(|error| CaptureError::reading(self.path, "read the database", error))?;
        match plan::plan(&observed, &header) {
            Way::Empty => Err(CaptureError::Empty.into()),
            Way::NotADatabase => Err(CaptureError::NotADatabase.into()),
            Way::Sqlite => self.through_sqlite(observed, patience),
            Way::Copy => self.copied(observed, patience),
            Way::Plain => self.plain(observed, patience),
        }
    }

    pub(super) fn observe(&self) -> Result<Option<Observed>, CaptureError> {
        Observed::of(self.path, self.filesystem.freshness())
            .map_err(|error| CaptureError::reading(self.path, "look at the database", error))
    }

    fn through_sqlite(&self, observed: Observed, patience: &mut Duration) -> Result<Taken, Halt> {
        let mut writer = self.writer(&observed);
        let read = source::copy_pages(self.path, self.busy_timeout, self.clock, &mut writer);
        // Here the handle is closed: from now on raw descriptors are harmless again.
        let now = stat_at(CWD, self.path, Follow::Yes, self.filesystem.freshness());
        let now = now
            .map_err(|error| CaptureError::reading(self.path, "look at the database", error))?
            .ok_or(CaptureError::Vanished)?;
        let identity = |stamp: &FileStamp| (stamp.device, stamp.inode);
        if identity(&now.stamp) != identity(&observed.main.stamp) {
            return Err(moved("the file was replaced by another"));
        }
        let (code, message) = match read {
            Ok(captured_at) => {
                let (image, method) = (writer.finish()?, Method::Live);
                return Ok(Taken { observed, captured_at, image, method, damage: None });
            }
            Err(ReadError::Other(error)) => return Err(error.into()),
            Err(ReadError::Sqlite(code, message)) => (code, message),
        };
        match plan::after_error(code, &observed) {
            Next::Again if self.path.as_os_str().len() > LONGEST_PATH => {
                let (action, message) = ("open paths of more than 504 bytes", message);
                Err(CaptureError::Sqlite { action, code, message }.into())
            }
            Next::Copy => self.copied(observed, patience),
            Next::Salvage => self.salvaged(observed, &message, patience),
            Next::Again => Err(moved(format_args!("its state changed ({message})"))),
            Next::Busy => {
                let reason = "another process has an exclusive lock: it is committing, or it uses \
                              locking_mode=EXCLUSIVE, which keeps every other reader out too";
                Err(CaptureError::Busy { reason: reason.to_owned() }.into())
            }
            Next::Fail => {
                let action = "read the database";
                Err(CaptureError::Sqlite { action, code, message }.into())
            }
        }
    }

    /// The main file as it is. Nobody had it open: there was no `-wal` and no `-journal`.
    ///
    /// `observed` looked at main first, and then found no `-wal` (or an empty one) and no `-journal`: at
    /// that moment the main file alone was a committed state. If its stamp has not moved since, that is
    /// what was read. The directory's mtime is asked for on network file systems only, where attributes
    /// of files may be stale: in a directory of 100,000 databases it never holds still.
    fn plain(&self, observed: Observed, patience: &mut Duration) -> Result<Taken, Halt> {
        self.settle(&observed.fingerprint(), patience)?;
        let directory = self.directory_stamp()?;
        let (captured_at, image) = self.read_main(&observed)?;
        let mut head = [0; HEADER_BYTES];
        let count = image.read_at(&mut head, 0);
        let count = count.map_err(|source| self.scratch_failed(source))?;
        if !plan::is_wal(head.get(..count).unwrap_or_default()) {
            return Err(moved("the journal mode changed"));
        }
        if self.observe()?.map(|now| now.fingerprint()) != Some(observed.fingerprint()) {
            return Err(moved("the file changed"));
        }
        if self.directory_stamp()? != directory {
            return Err(moved("files came or went in its directory"));
        }
        Ok(Taken { observed, captured_at, image, method: Method::Plain, damage: None })
    }

    /// The main file as it is, because SQLite finds `reason` wrong with it.
    pub(super) fn salvaged(
        &self,
        observed: Observed,
        reason: &str,
        patience: &mut Duration,
    ) -> Result<Taken, Halt> {
        self.settle(&observed.fingerprint(), patience)?;
        let (captured_at, image) = self.read_main(&observed)?;
        if self.observe()?.map(|now| now.fingerprint()) != Some(observed.fingerprint()) {
            return Err(moved("the file changed"));
        }
        let left_out =
            if observed.wal.is_some_and(|wal| wal.size > 0) { "without its -wal" } else { "" };
        let damage =
            format!("SQLite can't read it ({reason}): the file was taken as it is {left_out}");
        let damage = Some(damage.trim_end().to_owned());
        Ok(Taken { observed, captured_at, image, method: Method::Salvaged, damage })
    }

    fn read_main(&self, observed: &Observed) -> Result<(Timestamp, Image), Halt> {
        let mut writer = self.writer(observed);
        let captured_at = self.clock.now();
        let length = plain::copy(self.path, "read the database", |piece| match piece {
            Piece::Bytes(bytes) => writer.push(bytes),
            Piece::Zeros(count) => writer.push_zeros(count),
        })?;
        if length != observed.main.stamp.size {
            return Err(moved("the file changed its length"));
        }
        Ok((captured_at, writer.finish()?))
    }

    fn writer(&self, observed: &Observed) -> ImageWriter {
        ImageWriter::new(self.scratch, self.memory_limit, observed.main.stamp.size)
    }

    fn directory_stamp(&self) -> Result<Option<FileStamp>, CaptureError> {
        let (FilesystemKind::Network, Some(directory)) = (self.filesystem, self.path.parent())
        else {
            return Ok(None);
        };
        let stat = stat_at(CWD, directory, Follow::Yes, self.filesystem.freshness());
        let stat =
            stat.map_err(|e| CaptureError::reading(directory, "look at the directory", e))?;
        Ok(stat.map(|stat| stat.stamp))
    }

    /// Waits until a further change of the files would show in their times.
    #[expect(clippy::disallowed_methods, reason = "waits for the file system's clock to tick")]
    pub(super) fn settle(
        &self,
        files: &Fingerprint,
        patience: &mut Duration,
    ) -> Result<(), CaptureError> {
        let tick = timestamp_tick(self.filesystem, &files.main);
        let tick_ns = i64::try_from(tick.as_nanos()).unwrap_or(i64::MAX);
        let now_ns = i64::try_from(self.clock.now().as_nanosecond()).unwrap_or(i64::MAX);
        if !files.is_racy(now_ns, tick_ns) {
            return Ok(());
        }
        // A change at the latest `tick` in the future: after two ticks it is one tick in the past.
        let stamps = [Some(files.main), files.wal];
        let newest = stamps.into_iter().flatten().map(|s| s.mtime_ns.max(s.ctime_ns)).max();
        let age = now_ns.saturating_sub(newest.unwrap_or(now_ns)).clamp(-tick_ns, tick_ns);
        let wait = Duration::from_nanos((tick_ns - age).unsigned_abs() + 1);
        let Some(left) = patience.checked_sub(wait) else {
            let reason = "it changed so recently that a further change would not show".to_owned();
            return Err(CaptureError::Busy { reason });
        };
        *patience = left;
        std::thread::sleep(wait);
        Ok(())
    }

    pub(super) fn scratch_failed(&self, source: std::io::Error) -> CaptureError {
        CaptureError::Scratch { scratch: self.scratch.root().to_path_buf(), source }
    }

    /// The files copied to scratch, and recovered there.
    fn copied(&self, observed: Observed, patience: &mut Duration) -> Result<Taken, Halt> {
        match super::recover::copied(self, observed, patience)? {
            Ok(taken) => Ok(taken),
            Err(damage) => self.salvaged(observed, &damage, patience),
        }
    }
}

pub(super) fn changed(what: &str) -> Halt {
    moved(what)
}
