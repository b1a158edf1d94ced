//! A body from which parts are cut, whole or streamed.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;

use crate::{Chunk, StoreError};

/// A body from which parts are cut.
pub(super) struct Source {
    chunks: Option<mpsc::Receiver<Chunk>>,
    /// For the next chunk.
    wait: Duration,
    /// A streamed body's bytes that are in no part yet.
    buffer: BytesMut,
    /// A whole body's.
    rest: Bytes,
    ended: bool,
    /// Of a whole body.
    pub(super) total: Option<u64>,
}

impl Source {
    pub(super) fn whole(bytes: Bytes) -> Self {
        let total = Some(bytes.len() as u64);
        let wait = Duration::ZERO;
        Self { chunks: None, wait, buffer: BytesMut::new(), rest: bytes, ended: true, total }
    }

    pub(super) fn stream(chunks: mpsc::Receiver<Chunk>, wait: Duration) -> Self {
        let buffer = BytesMut::new();
        Self { chunks: Some(chunks), wait, buffer, rest: Bytes::new(), ended: false, total: None }
    }

    /// Waits until there are `bytes` bytes, or all that come.
    pub(super) async fn fill(&mut self, bytes: usize) -> Result<(), StoreError> {
        let Some(chunks) = &mut self.chunks else {
            return Ok(());
        };
        while !self.ended && self.buffer.len() < bytes {
            match tokio::time::timeout(self.wait, chunks.recv()).await {
                Ok(Some(Chunk::Data(data))) => self.buffer.extend_from_slice(&data),
                Ok(Some(Chunk::End)) => self.ended = true,
                Ok(None) => {
                    return Err(StoreError::BodyFailed("its producer ended early".to_owned()));
                }
                Err(_) => {
                    let wait = self.wait;
                    return Err(StoreError::BodyFailed(format!(
                        "its producer sent nothing for {wait:?}"
                    )));
                }
            }
        }
        Ok(())
    }

    /// The next bytes, at most so many.
    pub(super) fn take(&mut self, bytes: usize) -> Bytes {
        if self.chunks.is_none() {
            return self.rest.split_to(bytes.min(self.rest.len()));
        }
        let bytes = bytes.min(self.buffer.len());
        self.buffer.split_to(bytes).freeze()
    }

    /// Whether all has come, and is not more than so many bytes.
    pub(super) fn all_within(&self, bytes: usize) -> bool {
        self.ended && self.buffer.len() + self.rest.len() <= bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ended && self.buffer.is_empty() && self.rest.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_producer_that_ends_early_is_told_from_one_that_is_done() {
        let (send, receive) = mpsc::channel(4);
        send.send(Chunk::Data(Bytes::from_static(b"ab"))).await.unwrap();
        drop(send);
        let mut source = Source::stream(receive, Duration::from_secs(5));
        assert!(matches!(source.fill(10).await, Err(StoreError::BodyFailed(_))));

        let (send, receive) = mpsc::channel(4);
        send.send(Chunk::Data(Bytes::from_static(b"abc"))).await.unwrap();
        send.send(Chunk::End).await.unwrap();
        let mut source = Source::stream(receive, Duration::from_secs(5));
        source.fill(10).await.unwrap();
        assert_eq!(source.take(2), "ab");
        assert!(!source.is_empty());
        assert_eq!(source.take(2), "c");
        assert!(source.is_empty());
    }

    #[tokio::test]
    async fn a_producer_that_hangs_is_given_up() {
        let (_send, receive) = mpsc::channel(4);
        let mut source = Source::stream(receive, Duration::from_millis(10));
        assert!(matches!(source.fill(1).await, Err(StoreError::BodyFailed(_))));
    }
}
