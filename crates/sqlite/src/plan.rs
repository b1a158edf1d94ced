//! How to read a database, by the state it is in: a pure decision.
//!
//! | `-wal`  | `-shm` | header says   | `-journal` | way                                                  |
//! | ------- | ------ | ------------- | ---------- | ---------------------------------------------------- |
//! | yes     | yes    |               |            | through SQLite, `readonly_shm`: leaves no trace      |
//! | content | no     |               |            | copy to scratch: crashed, or `locking_mode=EXCLUSIVE`|
//! | empty   | no     | WAL           | no         | the plain file                                       |
//! | no      |        | WAL           | no         | the plain file: closed cleanly, nobody has it open   |
//! | no      |        | WAL           | yes        | copy to scratch: a switch of the mode was cut short  |
//! | no      |        | rollback      |            | through SQLite; when the journal is hot: copy        |

use rusqlite::ffi;

use crate::stat::Observed;

/// The first bytes of the file, as far as the plan needs them.
pub(crate) const HEADER_BYTES: usize = 100;
const MAGIC: &[u8] = b"SQLite format 3\0";

/// How to read a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Through SQLite, under a SHARED lock.
    Sqlite,
    /// Copy its files to scratch, let SQLite recover there.
    Copy,
    /// Read the main file as it is.
    Plain,
    /// There is nothing in it.
    Empty,
    /// It is none.
    NotADatabase,
}

/// Whether the header says that the database is in WAL mode (bytes 18 and 19: write and read version).
pub(crate) fn is_wal(header: &[u8]) -> bool {
    header.get(18..20).is_some_and(|versions| versions.contains(&2))
}

/// How to read a database that was `observed` so, and begins with `header`.
pub(crate) fn plan(observed: &Observed, header: &[u8]) -> Way {
    if observed.main.stamp.size == 0 {
        // Also with a `-wal`: SQLite deletes a WAL that it finds beside an empty file.
        return Way::Empty;
    }
    if !header.starts_with(MAGIC) {
        return Way::NotADatabase;
    }
    let settled = is_wal(header) && observed.journal.is_none();
    match observed.wal {
        Some(_) if observed.shm => Way::Sqlite,
        Some(wal) if wal.size == 0 && settled => Way::Plain,
        Some(_) => Way::Copy,
        None if settled => Way::Plain,
        None if is_wal(header) => Way::Copy,
        None => Way::Sqlite,
    }
}

/// What to do when SQLite refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Copy the files to scratch, let SQLite recover there.
    Copy,
    /// Give up until the next cycle.
    Busy,
    /// Take the main file as it is, marked as damaged.
    Salvage,
    /// The state has changed: look again.
    Again,
    /// Report what SQLite says.
    Fail,
}

/// What to do when SQLite refused a database in this state with this extended result code.
pub(crate) fn after_error(code: i32, observed: &Observed) -> Next {
    let wal = observed.wal.is_some();
    match code & 0xFF {
        _ if code == ffi::SQLITE_READONLY_DBMOVED => Next::Again,
        // A hot journal can't be rolled back in place (R1).
        ffi::SQLITE_READONLY if wal || observed.journal.is_some() => Next::Copy,
        // A `-shm` that is missing, unreadable or being rebuilt, or a lock of a `locking_mode=EXCLUSIVE`
        // writer. Copying is right with or without a writer, as long as the WAL is not reset meanwhile.
        ffi::SQLITE_CANTOPEN | ffi::SQLITE_BUSY | ffi::SQLITE_PROTOCOL if wal => Next::Copy,
        // A rollback-mode writer with an EXCLUSIVE lock. Its files are not copied: under
        // `journal_mode=MEMORY` or `OFF` nothing on disk tells a half-written commit from a finished one,
        // however long the file holds still. R2 beats coverage.
        ffi::SQLITE_BUSY => Next::Busy,
        // Without a `-wal` or `-journal` in sight none of these can be: they came or went just now.
        ffi::SQLITE_READONLY | ffi::SQLITE_CANTOPEN | ffi::SQLITE_PROTOCOL => Next::Again,
        ffi::SQLITE_CORRUPT | ffi::SQLITE_NOTADB => Next::Salvage,
        _ => Next::Fail,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stat::{FileKind, Stat};
    use ultrasimple_core::FileStamp;

    const STAMP: FileStamp =
        FileStamp { device: 1, inode: 1, size: 4096, mtime_ns: 0, ctime_ns: 0 };
    const EMPTY: FileStamp = FileStamp { size: 0, ..STAMP };

    fn observed(wal: Option<FileStamp>, shm: bool, journal: bool) -> Observed {
        let main = Stat { stamp: STAMP, kind: FileKind::Regular, mode: 0o644, links: 1 };
        Observed { main, wal, shm, journal: journal.then_some(EMPTY) }
    }

    fn header(version: u8) -> Vec<u8> {
        [MAGIC, &[0x10, 0, version, version]].concat()
    }

    #[test]
    fn the_table_of_this_module() {
        for (wal, shm, version, journal, way) in [
            (Some(STAMP), true, 2, false, Way::Sqlite),
            (Some(EMPTY), true, 2, false, Way::Sqlite),
            (Some(STAMP), false, 2, false, Way::Copy),
            (Some(STAMP), false, 1, false, Way::Copy),
            (Some(EMPTY), false, 2, false, Way::Plain),
            (Some(EMPTY), false, 2, true, Way::Copy),
            (Some(EMPTY), false, 1, false, Way::Copy),
            (None, false, 2, false, Way::Plain),
            (None, false, 2, true, Way::Copy),
            (None, false, 1, false, Way::Sqlite),
            (None, false, 1, true, Way::Sqlite),
        ] {
            let state = observed(wal, shm, journal);
            assert_eq!(plan(&state, &header(version)), way, "{state:?} version {version}");
            assert_eq!(plan(&state, b"SQLCipher or so"), Way::NotADatabase);
            let main = Stat { stamp: EMPTY, ..state.main };
            assert_eq!(plan(&Observed { main, ..state }, b""), Way::Empty);
        }
    }

    #[test]
    fn an_exclusive_lock_is_waited_for_in_rollback_mode_only() {
        let (wal, rollback) = (observed(Some(STAMP), true, false), observed(None, false, true));
        assert_eq!(after_error(ffi::SQLITE_BUSY, &wal), Next::Copy);
        assert_eq!(after_error(ffi::SQLITE_BUSY_RECOVERY, &wal), Next::Copy);
        assert_eq!(after_error(ffi::SQLITE_BUSY, &rollback), Next::Busy);
        assert_eq!(after_error(ffi::SQLITE_READONLY_ROLLBACK, &rollback), Next::Copy);
        assert_eq!(
            after_error(ffi::SQLITE_READONLY_ROLLBACK, &observed(None, false, false)),
            Next::Again
        );
        assert_eq!(after_error(ffi::SQLITE_READONLY_DBMOVED, &rollback), Next::Again);
        assert_eq!(after_error(ffi::SQLITE_CORRUPT_INDEX, &rollback), Next::Salvage);
        assert_eq!(after_error(ffi::SQLITE_IOERR_READ, &rollback), Next::Fail);
    }
}
