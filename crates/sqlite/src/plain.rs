//! Reading files of a database without SQLite.
//!
//! Only under a [`crate::turn::Turn`], and only while this process has no SQLite handle on the inode:
//! closing the descriptor drops the process's locks.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{OFlags, SeekFrom, seek};
use rustix::io::Errno;

use crate::CaptureError;

const CHUNK: usize = 256 * 1_024;

/// A stretch of a file.
pub(crate) enum Piece<'a> {
    Bytes(&'a [u8]),
    /// A hole of so many bytes.
    Zeros(u64),
}

/// Opens for reading; does not wait for a writer should it be a pipe by now.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// The first `count` bytes of the file, or as many as it has.
pub(crate) fn head(path: &Path, count: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(count);
    open(path)?.take(count as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads the file from start to end, holes without reading them. Returns how long it is.
pub(crate) fn copy(
    path: &Path,
    action: &'static str,
    mut take: impl FnMut(Piece<'_>) -> Result<(), CaptureError>,
) -> Result<u64, CaptureError> {
    let failed = |error: io::Error| CaptureError::reading(path, action, error);
    let file = open(path).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    let mut buffer = vec![0; CHUNK.min(usize::try_from(size).unwrap_or(CHUNK))];
    let mut offset = 0;
    while offset < size {
        let (data, end) = next_data(&file, offset, size);
        if data > offset {
            take(Piece::Zeros(data - offset))?;
            offset = data;
        }
        while offset < end {
            let wanted = usize::try_from(end - offset).unwrap_or(CHUNK).min(CHUNK);
            let room = buffer.get_mut(..wanted).unwrap_or_default();
            let count = file.read_at(room, offset).map_err(failed)?;
            if count == 0 {
                // Cut off while we read: the caller compares the length.
                return Ok(offset);
            }
            take(Piece::Bytes(buffer.get(..count).unwrap_or_default()))?;
            offset += count as u64;
        }
    }
    Ok(offset)
}

/// The next stretch of data at or after `offset`. Where the file system can't tell, all is data.
fn next_data(file: &File, offset: u64, size: u64) -> (u64, u64) {
    let data = match seek(file, SeekFrom::Data(offset)) {
        Ok(data) => data,
        Err(Errno::NXIO) => return (size, size),
        Err(_) => return (offset, size),
    };
    match seek(file, SeekFrom::Hole(data)) {
        Ok(end) if end > data => (data.min(size), end.min(size)),
        _ => (offset, size),
    }
}
