//! An image: the bytes of a database in one state, in memory or spooled to scratch.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::CaptureError;
use crate::scratch::{Reservation, Scratch};

/// Bytes are compared and gathered in pieces of this size.
const CHUNK: usize = 256 * 1_024;
static ZEROS: [u8; 64 * 1_024] = [0; 64 * 1_024];

/// Whether `bytes` are all zero. Compares memory rather than bytes: fast in debug builds too.
fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(ZEROS.len()).all(|chunk| Some(chunk) == ZEROS.get(..chunk.len()))
}

/// The bytes of a database in one state between two commits. Owned, and independent of the source.
#[derive(Debug)]
pub struct Image(Body);

#[derive(Debug)]
enum Body {
    Memory(Vec<u8>),
    Spooled(Spool),
}

/// A file in scratch, sparse where the image is zero. Gone when dropped.
#[derive(Debug)]
pub(crate) struct Spool {
    file: File,
    len: u64,
    /// While it still has a name.
    path: Option<PathBuf>,
    reservation: Reservation,
}

impl Image {
    pub(crate) fn in_memory(bytes: Vec<u8>) -> Self {
        Self(Body::Memory(bytes))
    }

    pub(crate) fn spooled(spool: Spool) -> Self {
        Self(Body::Spooled(spool))
    }

    /// Bytes of the image.
    pub fn len(&self) -> u64 {
        match &self.0 {
            Body::Memory(bytes) => bytes.len() as u64,
            Body::Spooled(spool) => spool.len,
        }
    }

    /// Whether it has no bytes, which no capture has.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes, where they are in memory.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match &self.0 {
            Body::Memory(bytes) => Some(bytes),
            Body::Spooled(_) => None,
        }
    }

    /// A view to read the image from its start. Several may be open.
    pub fn reader(&self) -> ImageReader<'_> {
        ImageReader { image: self, offset: 0 }
    }

    /// Writes all of it to `writer`; returns how many bytes.
    ///
    /// # Errors
    /// Those of reading scratch and of `writer`.
    pub fn write_to(&self, writer: &mut impl Write) -> io::Result<u64> {
        match &self.0 {
            Body::Memory(bytes) => writer.write_all(bytes).map(|()| bytes.len() as u64),
            Body::Spooled(_) => {
                let mut reader = io::BufReader::with_capacity(CHUNK, self.reader());
                io::copy(&mut reader, writer)
            }
        }
    }

    /// Reads into `buffer` from `offset`; returns how many bytes, none at the end.
    ///
    /// # Errors
    /// Those of reading scratch.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        match &self.0 {
            Body::Memory(bytes) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                let (_, mut rest) = bytes.split_at(start);
                rest.read(buffer)
            }
            Body::Spooled(spool) => spool.file.read_at(buffer, offset),
        }
    }

    pub(crate) fn as_bytes_mut(&mut self) -> Option<&mut [u8]> {
        match &mut self.0 {
            Body::Memory(bytes) => Some(bytes),
            Body::Spooled(_) => None,
        }
    }

    /// Where it is spooled, while it still has a name.
    pub(crate) fn spool_path(&self) -> Option<&Path> {
        match &self.0 {
            Body::Memory(_) => None,
            Body::Spooled(spool) => spool.path.as_deref(),
        }
    }

    /// Takes the name away: from now on a crash leaves nothing.
    pub(crate) fn unname(&mut self) {
        if let Body::Spooled(spool) = &mut self.0 {
            spool.unname();
        }
    }
}

impl Spool {
    /// Learns the file's length anew, after SQLite has changed it.
    pub(crate) fn measure(&mut self) -> io::Result<u64> {
        self.len = self.file.metadata()?.len();
        Ok(self.len)
    }

    /// Gives the file another name.
    pub(crate) fn move_to(&mut self, path: PathBuf) -> io::Result<()> {
        if let Some(old) = &self.path {
            std::fs::rename(old, &path)?;
            self.path = Some(path);
        }
        Ok(())
    }

    /// All of it.
    pub(crate) fn read_all(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(self.len).map_err(io::Error::other)?];
        self.file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    fn unname(&mut self) {
        if let Some(path) = self.path.take() {
            // Without success the file stays until its directory goes.
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.unname();
    }
}

/// Reads an [`Image`] from start to end.
#[derive(Debug)]
pub struct ImageReader<'a> {
    image: &'a Image,
    offset: u64,
}

impl Read for ImageReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.image.read_at(buffer, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}

/// Takes an image in, piece by piece: in memory as long as it fits, then in scratch.
pub(crate) struct ImageWriter {
    scratch: Arc<Scratch>,
    memory_limit: u64,
    body: WriterBody,
}

enum WriterBody {
    Memory(Vec<u8>),
    Spooled(SpoolWriter),
}

impl ImageWriter {
    /// `expected` bytes are made room for, if they fit `memory_limit`.
    pub(crate) fn new(scratch: &Arc<Scratch>, memory_limit: u64, expected: u64) -> Self {
        let room =
            if expected <= memory_limit { usize::try_from(expected).unwrap_or(0) } else { 0 };
        let body = WriterBody::Memory(Vec::with_capacity(room));
        Self { scratch: Arc::clone(scratch), memory_limit, body }
    }

    /// Appends `bytes`.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<(), CaptureError> {
        if let WriterBody::Memory(memory) = &mut self.body
            && (memory.len() + bytes.len()) as u64 <= self.memory_limit
        {
            memory.extend_from_slice(bytes);
            return Ok(());
        }
        self.spool()?.push(bytes)
    }

    /// Appends `count` zeros.
    pub(crate) fn push_zeros(&mut self, count: u64) -> Result<(), CaptureError> {
        if let WriterBody::Memory(memory) = &mut self.body {
            let total = count.saturating_add(memory.len() as u64);
            if let Some(total) = usize::try_from(total).ok().filter(|_| total <= self.memory_limit)
            {
                memory.resize(total, 0);
                return Ok(());
            }
        }
        self.spool()?.push_zeros(count)
    }

    /// What was written, as an image.
    pub(crate) fn finish(self) -> Result<Image, CaptureError> {
        match self.body {
            WriterBody::Memory(bytes) => Ok(Image(Body::Memory(bytes))),
            WriterBody::Spooled(writer) => Ok(Image(Body::Spooled(writer.finish()?))),
        }
    }

    fn spool(&mut self) -> Result<&mut SpoolWriter, CaptureError> {
        if let WriterBody::Memory(memory) = &mut self.body {
            let memory = std::mem::take(memory);
            let (path, file) = self.scratch.create_file()?;
            let mut writer = SpoolWriter::new(self.scratch.account(), path, file);
            memory.chunks(ZEROS.len()).try_for_each(|chunk| writer.push(chunk))?;
            self.body = WriterBody::Spooled(writer);
        }
        match &mut self.body {
            WriterBody::Spooled(writer) => Ok(writer),
            WriterBody::Memory(_) => unreachable!("replaced just above"),
        }
    }
}

/// Writes a file in scratch, leaving holes where there are zeros.
pub(crate) struct SpoolWriter {
    spool: Spool,
    /// What is still to be written, ending at `spool.len`.
    pending: Vec<u8>,
}

impl SpoolWriter {
    pub(crate) fn new(reservation: Reservation, path: PathBuf, file: File) -> Self {
        let spool = Spool { file, len: 0, path: Some(path), reservation };
        Self { spool, pending: Vec::new() }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<(), CaptureError> {
        if is_zero(bytes) {
            return self.push_zeros(bytes.len() as u64);
        }
        self.pending.extend_from_slice(bytes);
        self.spool.len += bytes.len() as u64;
        if self.pending.len() >= CHUNK { self.flush() } else { Ok(()) }
    }

    pub(crate) fn push_zeros(&mut self, count: u64) -> Result<(), CaptureError> {
        self.flush()?;
        self.spool.len += count;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), CaptureError> {
        let count = self.pending.len() as u64;
        if count > 0 {
            self.spool.reservation.grow(count)?;
            let written = self.spool.file.write_all_at(&self.pending, self.spool.len - count);
            written.map_err(|e| self.failed(e))?;
            self.pending.clear();
        }
        Ok(())
    }

    fn failed(&self, error: io::Error) -> CaptureError {
        let scratch = self.spool.reservation.scratch();
        CaptureError::spooling(scratch.root(), self.spool.len, error)
    }

    pub(crate) fn finish(mut self) -> Result<Spool, CaptureError> {
        self.flush()?;
        self.spool.file.set_len(self.spool.len).map_err(|e| self.failed(e))?;
        Ok(self.spool)
    }
}
