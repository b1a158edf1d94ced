//! Copying a database and its `-wal` or `-journal` to scratch, and letting SQLite recover there.
//!
//! For databases that SQLite can't read without writing: a hot journal, a `-wal` without its `-shm`
//! (left by a crash, or in use by a `locking_mode=EXCLUSIVE` writer, whose index of the WAL is in its own
//! memory).

use std::path::Path;
use std::time::Duration;

use rusqlite::{OpenFlags, ffi};
use ultrasimple_core::{FileStamp, Fingerprint};

use crate::error::{CaptureError, code_and_message};
use crate::image::{Image, Spool, SpoolWriter};
use crate::plain::{self, Piece};
use crate::scratch::create_private;
use crate::seal::Seal;
use crate::source;
use crate::stat::{Observed, beside};

use super::Method;
use super::attempt::{Attempt, Halt, Taken, changed};

/// A WAL's header: its salts and sequence number change with every reset.
const WAL_HEADER_BYTES: usize = 32;

/// The recovered copy; the inner error is SQLite's verdict that the database is damaged.
///
/// Why that is one state: the main file's stamp is the same before and after, so no checkpoint wrote to
/// it. The WAL's header is the same before and after, so it was not reset: all frames that were not yet in
/// the main file are in the copy of the WAL. Frames appended meanwhile do no harm, as recovery ends
/// with the last complete commit. The journal's stamp is the same too: what it undoes is what was done.
pub(super) fn copied(
    attempt: &Attempt<'_>,
    observed: Observed,
    patience: &mut Duration,
) -> Result<Result<Taken, String>, Halt> {
    let Observed { main, wal, journal, .. } = observed;
    // The WAL may change at any time; what must not is main, and the journal.
    attempt.settle(&Fingerprint { main: main.stamp, wal: journal, journal: false }, patience)?;
    let wal_path = beside(attempt.path, "-wal");
    let wal_header = || -> Result<Option<Vec<u8>>, Halt> {
        if wal.is_none() {
            return Ok(None);
        }
        match plain::head(&wal_path, WAL_HEADER_BYTES) {
            Ok(header) => Ok(Some(header)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(changed("the -wal went")),
            Err(e) => Err(CaptureError::reading(&wal_path, "read the -wal", e).into()),
        }
    };

    let captured_at = attempt.clock.now();
    let header_before = wal_header()?;
    let folder = attempt.scratch.create_folder()?;
    let copy = folder.path().join("db");
    let copied_main = copy_file(attempt, attempt.path, &copy)?;
    let copied_journal = match journal {
        Some(_) => {
            Some(copy_file(attempt, &beside(attempt.path, "-journal"), &beside(&copy, "-journal"))?)
        }
        None => None,
    };
    let copied_wal = match wal {
        Some(_) => Some(copy_file(attempt, &wal_path, &beside(&copy, "-wal"))?),
        None => None,
    };
    let header_after = wal_header()?;
    let now = attempt.observe()?.ok_or(CaptureError::Vanished)?;
    if now.main.stamp != main.stamp || now.journal != journal {
        return Err(changed("the file or its journal changed"));
    }
    let inode = |wal: Option<FileStamp>| wal.map(|stamp| (stamp.device, stamp.inode));
    if header_after != header_before || inode(now.wal) != inode(wal) {
        return Err(changed("the WAL was reset"));
    }

    if let Err(error) = recover(attempt, &copy) {
        let (code, message) = match error {
            RecoverError::Sqlite(error) => code_and_message(&error),
            RecoverError::Other(error) => return Err(error.into()),
        };
        return match code & 0xFF {
            ffi::SQLITE_CORRUPT | ffi::SQLITE_NOTADB => Ok(Err(message)),
            ffi::SQLITE_FULL => {
                let scratch = attempt.scratch.root();
                let full = std::io::Error::from(rustix::io::Errno::NOSPC);
                Err(CaptureError::spooling(scratch, main.stamp.size, full).into())
            }
            _ => {
                let action = "recover a copy";
                Err(CaptureError::Sqlite { action, code, message }.into())
            }
        };
    }
    drop((copied_journal, copied_wal));
    let image = to_image(attempt, copied_main)?;
    let method = if wal.is_some() { Method::RecoveredWal } else { Method::RolledBack };
    Ok(Ok(Taken { observed, captured_at, image, method, damage: None }))
}

fn copy_file(attempt: &Attempt<'_>, from: &Path, to: &Path) -> Result<Spool, Halt> {
    let file = create_private(to);
    let file = file.map_err(|e| CaptureError::spooling(attempt.scratch.root(), 0, e))?;
    let mut writer = SpoolWriter::new(attempt.scratch.account(), to.to_path_buf(), file);
    let copied = plain::copy(from, "copy the database", |piece| match piece {
        Piece::Bytes(bytes) => writer.push(bytes),
        Piece::Zeros(count) => writer.push_zeros(count),
    });
    match copied {
        // A journal or WAL that was there a moment ago; where main is gone, the next attempt says so.
        Err(CaptureError::Vanished) => Err(changed("a file went")),
        Err(error) => Err(error.into()),
        Ok(_) => Ok(writer.finish()?),
    }
}

enum RecoverError {
    Sqlite(rusqlite::Error),
    Other(CaptureError),
}

impl From<rusqlite::Error> for RecoverError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// Rolls a hot journal back, or takes the WAL's content into the main file, as the next program to open the
/// database would. Sealed but for scratch: a journal may name files in the user's directory.
fn recover(attempt: &Attempt<'_>, copy: &Path) -> Result<(), RecoverError> {
    let seal = Seal::new(Some(attempt.scratch.root()));
    let _seal = seal.ok_or_else(|| RecoverError::Other(source::unsealed()))?;
    let connection =
        source::open(&source::uri(copy, "mode=rw"), OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    source::tolerate_damaged_schema(&connection)?;
    // Nobody else is here: no `-shm` needed, and nothing worth an fsync.
    let ignore = |_: &rusqlite::Row<'_>| Ok(());
    connection.query_row("PRAGMA locking_mode=EXCLUSIVE", [], ignore)?;
    connection.execute_batch("PRAGMA synchronous=OFF")?;
    connection.query_row("PRAGMA schema_version", [], ignore)?;
    let checkpoint = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
    let busy = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], checkpoint)?;
    if busy != 0 {
        let reason = "the copy in scratch can't be checkpointed".to_owned();
        return Err(RecoverError::Other(CaptureError::Busy { reason }));
    }
    connection.close().map_err(|(_, error)| RecoverError::Sqlite(error))
}

fn to_image(attempt: &Attempt<'_>, mut copy: Spool) -> Result<Image, CaptureError> {
    let failed = |error| CaptureError::spooling(attempt.scratch.root(), 0, error);
    let size = copy.measure().map_err(failed)?;
    if size > attempt.memory_limit {
        // Out of the folder, which goes now.
        copy.move_to(attempt.scratch.next_path()).map_err(failed)?;
        return Ok(Image::spooled(copy));
    }
    Ok(Image::in_memory(copy.read_all().map_err(failed)?))
}
