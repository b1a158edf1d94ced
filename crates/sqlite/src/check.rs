//! Checking images and files for damage: `PRAGMA quick_check` and `integrity_check`.
//!
//! They prove structure, not transactional consistency; that comes from how a capture is taken. A check
//! runs under a time limit that grows with the size, so that a hostile schema can't occupy a worker.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, ffi};
pub use ultrasimple_core::CheckLevel;
use ultrasimple_core::{CheckResult, Clock, SystemClock};
use ultrasimple_trace::catalogue::{CHECK, LEVEL};
use ultrasimple_trace::child;

use crate::error::code_and_message;
use crate::image::Image;
use crate::seal::Seal;
use crate::source;

/// Why a check could not be made. Damage found is no error, but a [`CheckResult::Failed`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// It took longer than any honest database of its size does.
    #[error("the check did not end within {} s: the schema may be hostile, or the disk too slow", limit.as_secs())]
    Timeout {
        /// How long it was allowed to take.
        limit: Duration,
    },
    /// The file can't be read.
    #[error("cannot read the file to check it")]
    Io(#[from] std::io::Error),
    /// SQLite failed for a reason that says nothing about the database, such as memory.
    #[error("SQLite cannot check: {message} (code {code})")]
    Sqlite {
        /// SQLite's extended result code.
        code: i32,
        /// SQLite's message.
        message: String,
    },
}

/// A minute, and a second for each 4 MiB: some twenty times what a check takes on a slow disk.
fn time_limit(size: u64) -> Duration {
    Duration::from_secs(60 + size / (4 << 20))
}

/// Checks the database file at `path`, which nobody may be writing to. Leaves no `-wal` or `-shm` beside it,
/// and ignores one that is there.
///
/// # Errors
/// When the check could not be made; see [`CheckError`].
pub fn check_file(path: &Path, level: CheckLevel) -> Result<CheckResult, CheckError> {
    check_path(path, level, &(Arc::new(SystemClock) as Arc<dyn Clock>))
}

pub(crate) fn check_path(
    path: &Path,
    level: CheckLevel,
    clock: &Arc<dyn Clock>,
) -> Result<CheckResult, CheckError> {
    let path = std::path::absolute(path)?;
    let size = std::fs::metadata(&path)?.len();
    if level == CheckLevel::Off {
        return Ok(CheckResult::Skipped);
    }
    traced(level, || {
        let seal = Seal::new(None);
        if seal.is_none() {
            let (code, message) = (ffi::SQLITE_ERROR, source::unsealed().to_string());
            return Err(CheckError::Sqlite { code, message });
        }
        let uri = source::uri(&path, "mode=ro&immutable=1");
        match source::open(&uri, OpenFlags::SQLITE_OPEN_READ_ONLY) {
            Ok(mut connection) => run(&mut connection, level, time_limit(size), clock),
            Err(error) => sort(&error, Duration::ZERO),
        }
    })
}

/// A check, as a span.
fn traced(
    level: CheckLevel,
    check: impl FnOnce() -> Result<CheckResult, CheckError>,
) -> Result<CheckResult, CheckError> {
    let mut span = child(&CHECK);
    span.say(&LEVEL, &level);
    let checked = check();
    match &checked {
        Ok(CheckResult::Failed(finding)) => span.fail("damaged", finding),
        Ok(_) => {}
        Err(error @ CheckError::Timeout { .. }) => span.fail("check_timeout", error),
        Err(error) => span.fail("check", error),
    }
    checked
}

/// Checks images in memory; keeps its connections, as opening one costs as much as a small check. A
/// connection keeps the text encoding of the first database that it sees and refuses others, so that only
/// those which saw nothing but UTF-8 are kept.
#[derive(Debug, Default)]
pub(crate) struct Checker {
    idle: Mutex<Vec<Connection>>,
}

impl Checker {
    /// Checks `image`, wherever it is. The image is the same afterwards.
    pub(crate) fn check(
        &self,
        image: &mut Image,
        level: CheckLevel,
        clock: &Arc<dyn Clock>,
    ) -> Result<CheckResult, CheckError> {
        if level == CheckLevel::Off {
            return Ok(CheckResult::Skipped);
        }
        if let Some(path) = image.spool_path() {
            return check_path(path, level, clock);
        }
        traced(level, || self.check_in_memory(image, level, clock))
    }

    fn check_in_memory(
        &self,
        image: &mut Image,
        level: CheckLevel,
        clock: &Arc<dyn Clock>,
    ) -> Result<CheckResult, CheckError> {
        let bytes = image.as_bytes_mut().unwrap_or_default();
        // SQLite's in-memory VFS has no WAL, so it refuses images whose header asks for one (2): they
        // ask for a rollback journal (1) while they are checked.
        let versions = read_versions(bytes);
        let patched =
            versions.filter(|versions| versions.contains(&2)).map(|v| v.map(|b| b.min(1)));
        write_versions(bytes, patched);
        let result = self.check_bytes(bytes, level, clock);
        write_versions(bytes, versions);
        result
    }

    fn check_bytes(
        &self,
        bytes: &mut [u8],
        level: CheckLevel,
        clock: &Arc<dyn Clock>,
    ) -> Result<CheckResult, CheckError> {
        let is_utf8 = bytes.get(59) == Some(&UTF8);
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = if is_utf8 { idle().pop() } else { None };
        let mut connection = match kept {
            Some(connection) => connection,
            None => open_in_memory().map_err(|error| other(&error))?,
        };
        let limit = time_limit(bytes.len() as u64);
        // SAFETY: the bytes outlive the attachment: it is undone below, or the connection closed, before
        // this function, which borrows them, returns or unwinds. SQLite does not write to them
        // (`READONLY`) nor free them (no `FREEONCLOSE`).
        unsafe { attach(&connection, bytes.as_mut_ptr(), bytes.len()) }
            .map_err(|error| other(&error))?;
        let result = run(&mut connection, level, limit, clock);
        // SAFETY: no bytes at all.
        let detached = unsafe { attach(&connection, std::ptr::null_mut(), 0) };
        if is_utf8 && detached.is_ok() {
            idle().push(connection);
        }
        result
    }
}

/// The lowest byte of the text encoding in a database's header (byte 59): UTF-8.
const UTF8: u8 = 1;

/// Makes `length` bytes at `data` the database of `connection`.
///
/// # Safety
/// They stay where they are until something else is attached or the connection closed.
unsafe fn attach(connection: &Connection, data: *mut u8, length: usize) -> rusqlite::Result<()> {
    let size = i64::try_from(length).unwrap_or(i64::MAX);
    let flags = ffi::SQLITE_DESERIALIZE_READONLY;
    // SAFETY: the handle is open; the rest is the caller's promise.
    let code = unsafe {
        let handle = connection.handle();
        ffi::sqlite3_deserialize(handle, c"main".as_ptr(), data, size, size, flags)
    };
    if code == ffi::SQLITE_OK {
        return Ok(());
    }
    Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None))
}

fn open_in_memory() -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_in_memory_with_flags(flags)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    Ok(connection)
}

/// Read and write version of the header (bytes 18 and 19): 1 for a rollback journal, 2 for a WAL.
fn read_versions(bytes: &[u8]) -> Option<[u8; 2]> {
    bytes.get(18..20)?.try_into().ok()
}

fn write_versions(bytes: &mut [u8], versions: Option<[u8; 2]>) {
    if let (Some(place), Some(versions)) = (bytes.get_mut(18..20), versions) {
        place.copy_from_slice(&versions);
    }
}

fn run(
    connection: &mut Connection,
    level: CheckLevel,
    limit: Duration,
    clock: &Arc<dyn Clock>,
) -> Result<CheckResult, CheckError> {
    let sql = match level {
        CheckLevel::Off => return Ok(CheckResult::Skipped),
        CheckLevel::Quick => "PRAGMA quick_check(1)",
        CheckLevel::Full => "PRAGMA integrity_check(1)",
    };
    let deadline = clock.monotonic().saturating_add(limit);
    let watch = Arc::clone(clock);
    // Every so many instructions of SQLite's virtual machine: some milliseconds.
    let late = move || watch.monotonic() > deadline;
    let watched = connection.progress_handler(100_000, Some(late));
    // Whether rows keep to CHECK constraints is the application's affair (and may need its functions):
    // no damage to the file.
    let ready =
        watched.and_then(|()| connection.execute_batch("PRAGMA ignore_check_constraints=ON"));
    let finding = ready.and_then(|()| {
        connection.query_row(sql, [], |row| {
            Ok(String::from_utf8_lossy(row.get_ref(0)?.as_bytes()?).into_owned())
        })
    });
    match finding {
        Ok(finding) if finding == "ok" => Ok(CheckResult::Passed),
        Ok(finding) => Ok(CheckResult::Failed(in_one_line(&finding))),
        Err(error) => sort(&error, limit),
    }
}

/// A finding as one line: SQLite puts a heading that says nothing before it.
fn in_one_line(finding: &str) -> String {
    let lines = finding.lines().map(str::trim);
    let lines: Vec<_> =
        lines.filter(|l| !l.is_empty() && !l.starts_with("*** in database")).collect();
    lines.join("; ")
}

/// What SQLite says when a schema needs functions, collations or modules of the application.
const NO_VERDICT: [&str; 3] = ["no such", "unknown function", "unsafe use of"];

/// What an error of a check says: about the database, or about the circumstances.
fn sort(error: &rusqlite::Error, limit: Duration) -> Result<CheckResult, CheckError> {
    let (code, message) = code_and_message(error);
    match code & 0xFF {
        ffi::SQLITE_INTERRUPT => Err(CheckError::Timeout { limit }),
        ffi::SQLITE_CORRUPT | ffi::SQLITE_NOTADB | ffi::SQLITE_TOOBIG => {
            Ok(CheckResult::Failed(message))
        }
        // The application has collations, functions or modules that SQLite lacks here: no verdict.
        ffi::SQLITE_ERROR if NO_VERDICT.iter().any(|text| message.contains(text)) => {
            tracing::debug!(reason = message, "the database can't be checked");
            Ok(CheckResult::Skipped)
        }
        ffi::SQLITE_ERROR => Ok(CheckResult::Failed(message)),
        _ => Err(CheckError::Sqlite { code, message }),
    }
}

fn other(error: &rusqlite::Error) -> CheckError {
    let (code, message) = code_and_message(error);
    CheckError::Sqlite { code, message }
}
