//! A file in scratch into which a stored image is written to be checked.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use ultrasimple_core::{CheckResult, Clock};

use crate::check::{CheckError, CheckLevel, check_path};
use crate::scratch::{Reservation, Scratch};
use crate::{CaptureError, Capturer};

/// Takes an image by `Write`, then checks it. Its bytes count against the spool limit; it is removed on
/// drop.
#[derive(Debug)]
pub struct ScratchFile {
    path: PathBuf,
    file: io::BufWriter<File>,
    reservation: Reservation,
    clock: Arc<dyn Clock>,
}

impl ScratchFile {
    pub(crate) fn new(scratch: &Arc<Scratch>, clock: Arc<dyn Clock>) -> Result<Self, CaptureError> {
        let (path, file) = scratch.create_file()?;
        let file = io::BufWriter::with_capacity(64 * 1_024, file);
        Ok(Self { path, file, reservation: scratch.account(), clock })
    }

    /// Checks what was written as a SQLite database.
    ///
    /// # Errors
    /// When the check could not be made. Damage found is no error.
    pub fn check(&mut self, level: CheckLevel) -> Result<CheckResult, CheckError> {
        self.file.flush()?;
        check_path(&self.path, level, &self.clock)
    }
}

impl Write for ScratchFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.reservation.grow(bytes.len() as u64).map_err(io::Error::other)?;
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for ScratchFile {
    fn drop(&mut self) {
        // What cannot be removed is swept by the next start.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Capturer {
    /// A new file in scratch, for an image that is to be checked.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn scratch_file(&self) -> Result<ScratchFile, CaptureError> {
        ScratchFile::new(self.scratch(), self.clock())
    }
}
