//! The form of a backup in the store: an LZ4 frame with the image, then the footer.
//!
//! This module alone knows how an image becomes an object and back. `lz4 -d object > database` works
//! because LZ4 ignores the footer's skippable frame. The frame has independent blocks, the content
//! checksum, and the content size.

use std::io::{self, Read, Write};

use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};

use crate::footer::{ContentHash, Footer, FooterError, FooterFields};

/// Why bytes are not a backup.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ObjectError {
    /// The footer is missing or unreadable.
    #[error("{0}")]
    Footer(#[from] FooterError),
    /// The LZ4 frame is damaged, or reading or writing failed.
    #[error("its content cannot be read: {0}")]
    Content(#[from] io::Error),
    /// The content is not what the footer says.
    #[error("its content is not what its footer says: {found} instead of {expected}")]
    Mismatch {
        /// What the footer says.
        expected: String,
        /// What was found.
        found: String,
    },
}

/// Writes one object: feed it the image with `Write`, then [`Self::finish`].
#[derive(Debug)]
pub struct ObjectWriter<W: Write> {
    frame: FrameEncoder<W>,
    hasher: blake3::Hasher,
    written: u64,
}

impl<W: Write> ObjectWriter<W> {
    /// Begins an object whose image has `image_size` bytes.
    pub fn new(output: W, image_size: u64) -> Self {
        let frame = FrameEncoder::with_frame_info(frame_info(image_size), output);
        Self { frame, hasher: blake3::Hasher::new(), written: 0 }
    }

    /// Ends the object with its footer.
    ///
    /// # Errors
    /// When the image did not have the announced size, or writing failed.
    pub fn finish(self, fields: FooterFields) -> Result<(W, Footer), ObjectError> {
        let mut output = self.frame.finish().map_err(io::Error::from)?;
        let hash = ContentHash(*self.hasher.finalize().as_bytes());
        let footer = Footer::new(fields, hash, self.written);
        output.write_all(&footer.to_frame()?)?;
        Ok((output, footer))
    }
}

impl<W: Write> Write for ObjectWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.frame.write(bytes)?;
        self.hasher.update(bytes.get(..count).unwrap_or(bytes));
        self.written += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.frame.flush()
    }
}

/// The whole object of an image that is in memory.
///
/// # Errors
/// Never in practice: writing to memory does not fail.
pub fn encode(image: &[u8], fields: FooterFields) -> Result<(Vec<u8>, Footer), ObjectError> {
    encode_hashed(image, ContentHash::of(image), fields)
}

/// [`encode`] for an image whose hash is known.
///
/// # Errors
/// As there.
pub fn encode_hashed(
    image: &[u8],
    hash: ContentHash,
    fields: FooterFields,
) -> Result<(Vec<u8>, Footer), ObjectError> {
    let output = Vec::with_capacity(image.len() / 2 + 1_024);
    let mut frame = FrameEncoder::with_frame_info(frame_info(image.len() as u64), output);
    frame.write_all(image)?;
    let mut object = frame.finish().map_err(io::Error::from)?;
    let footer = Footer::new(fields, hash, image.len() as u64);
    object.extend_from_slice(&footer.to_frame()?);
    Ok((object, footer))
}

/// How the LZ4 frame of an image of so many bytes is made.
fn frame_info(image_size: u64) -> FrameInfo {
    // Small images in one small block: the encoder allocates by block size.
    let block_size = if image_size <= 256 * 1_024 { BlockSize::Max64KB } else { BlockSize::Max1MB };
    FrameInfo::new()
        .content_size(Some(image_size))
        .content_checksum(true)
        .block_mode(BlockMode::Independent)
        .block_size(block_size)
}

/// Reads an object from its beginning to its end, writes the image to `output` and compares it with
/// the footer. Needs little memory (a few LZ4 blocks), whatever the object's size.
///
/// # Errors
/// When reading or writing fails, or the object is not whole and true. What was written to `output`
/// until then is not to be used.
pub fn decode(object: impl Read, output: impl Write) -> Result<Footer, ObjectError> {
    let mut counted = HashingWriter { output, hasher: blake3::Hasher::new(), written: 0 };
    let mut decoder = FrameDecoder::new(object);
    io::copy(&mut decoder, &mut counted)?;
    counted.output.flush()?;
    // The decoder stops at the end of the LZ4 frame: what is left of its input is the footer.
    let mut tail = Vec::new();
    let limit = 128 * 1_024;
    decoder.into_inner().take(limit).read_to_end(&mut tail)?;
    let (footer, frame_bytes) = Footer::from_suffix(&tail)?;
    let found = ContentHash(*counted.hasher.finalize().as_bytes());
    if frame_bytes != tail.len() as u64 {
        return Err(FooterError::Damaged("there are bytes before it".into()).into());
    }
    if (found, counted.written) != (footer.blake3, footer.size) {
        let describe = |hash: ContentHash, size: u64| format!("{size} bytes, BLAKE3 {hash}");
        let expected = describe(footer.blake3, footer.size);
        return Err(ObjectError::Mismatch { expected, found: describe(found, counted.written) });
    }
    Ok(footer)
}

struct HashingWriter<W> {
    output: W,
    hasher: blake3::Hasher,
    written: u64,
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.output.write(bytes)?;
        self.hasher.update(bytes.get(..count).unwrap_or(bytes));
        self.written += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

#[cfg(test)]
#[path = "object_tests.rs"]
mod tests;
