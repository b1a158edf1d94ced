//! Reading backups back: a footer alone, or the whole image, verified.
//!
//! Owns: the way from an object in a [`Store`] through `core::object::decode` to a writer, in bounded
//! memory. Does not own: which backup to read, or where the image goes. Called by restore, by the
//! verifier, and by whoever finds another's object at its key.

use std::io::{self, Read, Write};

use bytes::{Buf, Bytes};
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::sync::mpsc;
use ultrasimple_core::footer::{FooterError, SUFFIX_BYTES};
use ultrasimple_core::object::{ObjectError, decode};
use ultrasimple_core::{Footer, ObjectKey};

use crate::{ByteRange, Object, ObjectInfo, Store, StoreError};

/// Pieces of a body that wait for the decoder. With the sizes in which stores deliver (at most some
/// 256 KiB), a fetch needs a few MiB.
const CHUNKS_IN_FLIGHT: usize = 4;
/// How often a footer is asked for again because it is longer than what was asked for.
const MAX_FOOTER_REQUESTS: usize = 3;

/// Why a backup was not read, by what the caller is to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// There is no such object (any more).
    #[error("there is no such object")]
    Missing,
    /// The object is not whole and true, or not a backup at all. Trying again does not help.
    #[error("{0}")]
    Damaged(#[source] ObjectError),
    /// A newer version wrote it. Use a newer program.
    #[error("{0}")]
    Newer(#[source] FooterError),
    /// The store could not be read. Trying again may help; see the kind.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// What was read could not be written to its destination.
    #[error("{0}")]
    Write(#[source] io::Error),
}

impl FetchError {
    /// Whether this very object will never give a good image, so that an older one is the best there is.
    pub fn is_loss(&self) -> bool {
        matches!(self, Self::Missing | Self::Damaged(_))
    }
}

impl From<FooterError> for FetchError {
    fn from(error: FooterError) -> Self {
        match error {
            FooterError::Newer(_) => Self::Newer(error),
            error => Self::Damaged(ObjectError::Footer(error)),
        }
    }
}

/// Reads an object's footer without its body: one request for the last [`SUFFIX_BYTES`] bytes, a second
/// one only for absurdly long paths. Also tells what the store says of the object.
///
/// # Errors
/// When the store cannot be read, or the object does not end as a backup does.
pub async fn footer(
    store: &dyn Store,
    key: &ObjectKey,
) -> Result<(Footer, ObjectInfo), FetchError> {
    let mut wanted = SUFFIX_BYTES;
    for _ in 0..MAX_FOOTER_REQUESTS {
        let range = ByteRange::Last(wanted);
        let object = store.get(key, range).await?.ok_or(FetchError::Missing)?;
        let suffix = collect(object.body, wanted).await?;
        match Footer::from_suffix(&suffix) {
            Ok((footer, _)) => return Ok((footer, object.info)),
            Err(FooterError::NeedsMore { needed }) if (suffix.len() as u64) < object.info.size => {
                wanted = needed;
            }
            Err(FooterError::NeedsMore { .. }) => return Err(FooterError::Absent.into()),
            Err(error) => return Err(error.into()),
        }
    }
    Err(StoreError::Unavailable("the object changes while it is being read".to_owned()).into())
}

async fn collect(
    mut body: BoxStream<'static, Result<Bytes, StoreError>>,
    at_most: u64,
) -> Result<Vec<u8>, StoreError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = body.next().await {
        bytes.extend_from_slice(&chunk?);
        if bytes.len() as u64 > at_most {
            let what = "it sent more than the last bytes it was asked for";
            return Err(StoreError::Untrustworthy(what.to_owned()));
        }
    }
    Ok(bytes)
}

/// Reads a backup, writes its image to `writer` and compares size and BLAKE3 with its footer. Gives the
/// writer back, flushed. Decoding and writing happen on a blocking thread; memory is bounded whatever
/// the size. Also tells what the store says of the object. Dropping the future ends that thread's work
/// soon, and drops the writer there.
///
/// # Errors
/// By kind. What was written until then is not to be used.
pub async fn fetch<W>(
    store: &dyn Store,
    key: &ObjectKey,
    writer: W,
) -> Result<(Footer, ObjectInfo, W), FetchError>
where
    W: Write + Send + 'static,
{
    let object = store.get(key, ByteRange::Full).await?.ok_or(FetchError::Missing)?;
    read(object, writer).await
}

/// [`fetch`] of an object that the store has begun to send, whole: for callers that need its tag even if
/// it is damaged.
///
/// # Errors
/// As there.
pub async fn read<W>(mut object: Object, writer: W) -> Result<(Footer, ObjectInfo, W), FetchError>
where
    W: Write + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(CHUNKS_IN_FLIGHT);
    let decoding = tokio::task::spawn_blocking(move || decode_from(receiver, writer));
    while let Some(chunk) = object.body.next().await {
        let last = chunk.is_err();
        // A decoder that listens no more has failed, and says why below.
        if sender.send(Some(chunk)).await.is_err() || last {
            break;
        }
    }
    let _ = sender.send(None).await;
    match decoding.await {
        Ok(decoded) => decoded.map(|(footer, writer)| (footer, object.info, writer)),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(StoreError::Unavailable("the program is stopping".to_owned()).into()),
        },
    }
}

/// `None` ends the body; a channel that closes without it means that nobody wants the image any more.
type Piece = Option<Result<Bytes, StoreError>>;

fn decode_from<W: Write>(
    pieces: mpsc::Receiver<Piece>,
    writer: W,
) -> Result<(Footer, W), FetchError> {
    let mut input = PieceReader { pieces, current: Bytes::new(), ended: false, failure: None };
    let mut output = NotingWriter { writer, failure: None };
    let decoded = decode(&mut input, &mut output);
    // An error of the store or of the destination comes out of `decode` as one of reading the content:
    // what was noted on the way tells them apart.
    match (decoded, input.failure, output.failure) {
        (_, Some(error), _) => Err(error.into()),
        (_, _, Some(error)) => Err(FetchError::Write(error)),
        (Ok(footer), None, None) => Ok((footer, output.writer)),
        (Err(ObjectError::Footer(error)), None, None) => Err(error.into()),
        (Err(error), None, None) => Err(FetchError::Damaged(error)),
    }
}

struct PieceReader {
    pieces: mpsc::Receiver<Piece>,
    current: Bytes,
    ended: bool,
    failure: Option<StoreError>,
}

impl Read for PieceReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() && !self.ended {
            match self.pieces.blocking_recv() {
                Some(Some(Ok(bytes))) => self.current = bytes,
                Some(Some(Err(error))) => {
                    let text = error.to_string();
                    self.failure = Some(error);
                    return Err(io::Error::other(text));
                }
                Some(None) => self.ended = true,
                None => return Err(io::Error::other("given up")),
            }
        }
        let count = self.current.len().min(buffer.len());
        self.current.split_to(count).copy_to_slice(buffer.get_mut(..count).unwrap_or_default());
        Ok(count)
    }
}

struct NotingWriter<W> {
    writer: W,
    failure: Option<io::Error>,
}

impl<W> NotingWriter<W> {
    fn note<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        result.map_err(|error| {
            let (kind, text) = (error.kind(), error.to_string());
            if kind != io::ErrorKind::Interrupted {
                self.failure = Some(error);
            }
            io::Error::new(kind, text)
        })
    }
}

impl<W: Write> Write for NotingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let result = self.writer.write(bytes);
        self.note(result)
    }

    fn flush(&mut self) -> io::Result<()> {
        let result = self.writer.flush();
        self.note(result)
    }
}

#[cfg(test)]
#[path = "fetch_tests.rs"]
mod tests;
