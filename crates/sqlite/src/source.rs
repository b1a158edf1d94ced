//! Reading a live database through SQLite: all its pages in one read transaction.
//!
//! One statement over `sqlite_dbpage` is one read transaction, hence one state. The pages come through the
//! pager, WAL included, and an error on any of them ends it (`sqlite3_serialize` puts zeros in the place of
//! a page it can't read, and says nothing).

use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use ultrasimple_core::{Clock, Timestamp};

use crate::CaptureError;
use crate::error::code_and_message;
use crate::image::ImageWriter;
use crate::seal::Seal;

/// Why reading through SQLite ended early.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// SQLite's extended result code and message: the caller knows what it means in which state.
    Sqlite(i32, String),
    /// Something else, to be passed on.
    Other(CaptureError),
}

impl From<rusqlite::Error> for ReadError {
    fn from(error: rusqlite::Error) -> Self {
        let (code, message) = code_and_message(&error);
        Self::Sqlite(code, message)
    }
}

impl From<CaptureError> for ReadError {
    fn from(error: CaptureError) -> Self {
        Self::Other(error)
    }
}

/// Writes all pages of the database at `path` to `writer`. Returns when the read began.
pub(crate) fn copy_pages(
    path: &Path,
    busy_timeout: Duration,
    clock: &dyn Clock,
    writer: &mut ImageWriter,
) -> Result<Timestamp, ReadError> {
    let _seal = Seal::new(None).ok_or_else(unsealed)?;
    let connection = open(&uri(path, "mode=ro&readonly_shm=1"), OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    tolerate_damaged_schema(&connection)?;
    connection.busy_timeout(busy_timeout)?;
    let mut statement = connection.prepare("SELECT data FROM sqlite_dbpage")?;
    let captured_at = clock.now();
    let mut pages = statement.query([])?;
    while let Some(page) = pages.next()? {
        match page.get_ref(0)? {
            ValueRef::Blob(bytes) => writer.push(bytes)?,
            other => {
                let message = format!("a page is not a blob but {:?}", other.data_type());
                return Err(ReadError::Sqlite(rusqlite::ffi::SQLITE_ERROR, message));
            }
        }
    }
    Ok(captured_at)
}

pub(crate) fn unsealed() -> CaptureError {
    let message = "the system calls of the `unix` VFS can't be replaced".to_owned();
    let code = rusqlite::ffi::SQLITE_ERROR;
    CaptureError::Sqlite { action: "be kept from writing to the source", code, message }
}

/// Opens a connection for reading other people's databases: it trusts nothing in them, runs nothing of
/// them, and does not checkpoint when it closes.
pub(crate) fn open(uri: &str, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let flags = flags | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(uri, flags)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    Ok(connection)
}

/// Lets SQLite hand out pages although the schema in them is damaged. (Nothing is written to it.)
pub(crate) fn tolerate_damaged_schema(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_WRITABLE_SCHEMA, true).map(|_| ())
}

/// The URI of `path` with `parameters`. Every byte that could mean something in a URI is escaped.
pub(crate) fn uri(path: &Path, parameters: &str) -> String {
    let path = path.as_os_str().as_bytes();
    let mut uri = String::with_capacity(path.len() + parameters.len() + 16);
    uri.push_str("file://");
    for &byte in path {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'_' | b'.' | b'~') {
            uri.push(char::from(byte));
        } else {
            // Writing to a String can't fail.
            let _ = write!(uri, "%{byte:02X}");
        }
    }
    uri.push('?');
    uri.push_str(parameters);
    uri
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::ffi::OsStr;

    proptest! {
        #[test]
        fn a_uri_has_one_question_mark_and_decodes_to_the_path(name in "[^\0]{0,40}", raw: Vec<u8>) {
            let raw: Vec<u8> = raw.into_iter().filter(|&b| b != 0).collect();
            let bytes = [b"/x/", name.as_bytes(), &raw].concat();
            let uri = uri(Path::new(OsStr::from_bytes(&bytes)), "mode=ro");
            let path = uri.strip_prefix("file://").unwrap().strip_suffix("?mode=ro").unwrap();
            prop_assert!(path.bytes().all(|b| b.is_ascii_graphic() && !b"?#&=\"'".contains(&b)));
            prop_assert_eq!(ultrasimple_core::path::decode(path), bytes);
        }
    }
}
