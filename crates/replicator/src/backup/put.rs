//! Putting an object under its key so that no newer one, and none of others, is ever replaced.
//!
//! Every write is conditional. Where the condition fails, the footer of what is there decides
//! ([`decide`]); then there is at most one more attempt, and after that the next cycle.

use std::io::{self, Write};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;
use ultrasimple_core::catalog::{Newest, StoredBackup};
use ultrasimple_core::footer::{FooterError, FooterFields, SUFFIX_BYTES};
use ultrasimple_core::object::ObjectWriter;
use ultrasimple_core::{ContentHash, Footer, Hour, ObjectKey, Timestamp};
use ultrasimple_sqlite::Image;
use ultrasimple_store::{Body, ByteRange, Chunk, Condition, ETag, Store, StoreError};
use ultrasimple_trace::catalogue::{COMPRESS, IMAGE_SIZE};

use super::PreparedBody;
use crate::conflict::{Decision, Reason, decide};
use crate::shard::Failure;

/// Bytes per chunk of a streamed object.
const CHUNK: usize = 1 << 20;
/// Chunks between the thread that compresses and the store.
const CHUNKS_AHEAD: usize = 4;

/// One object on its way.
pub(crate) struct Put<'a> {
    pub(crate) store: &'a dyn Store,
    pub(crate) key: ObjectKey,
    pub(crate) fields: FooterFields,
    pub(crate) content: ContentHash,
    /// The tag of what this node put there last, if it did.
    pub(crate) expected: Option<ETag>,
    /// It is to be written even where the same content is there already: an earlier write is perhaps still on its
    /// way, on condition that what is there has not changed.
    pub(crate) must_write: bool,
}

/// It is there.
pub(crate) struct Done {
    pub(crate) backup: StoredBackup,
    /// Bytes sent; 0 when the same content was there already.
    pub(crate) sent_bytes: u64,
}

pub(crate) enum PutError {
    /// Certainly nothing was written, and nothing was learned.
    Failed(Failure),
    /// It may have been written, or something else stands under the key.
    Doubtful(Failure),
    Fenced(Box<Footer>),
}

impl PutError {
    /// After a write that found something else there.
    fn doubtful(self) -> Self {
        match self {
            Self::Failed(failure) => Self::Doubtful(failure),
            other => other,
        }
    }
}

/// Whether nothing can have been written.
fn is_certain(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::SlowDown(_)
            | StoreError::Unavailable(_)
            | StoreError::Denied(_)
            | StoreError::Invalid(_)
            | StoreError::BodyFailed(_)
    )
}

/// What is under the key, if it is a backup.
struct There {
    footer: Footer,
    etag: ETag,
    bytes: u64,
}

impl There {
    fn backup(self) -> StoredBackup {
        StoredBackup { bytes: self.bytes, etag: self.etag, newest: Newest::of(&self.footer) }
    }
}

/// What a write would do.
pub(crate) enum Ahead {
    /// Nothing: the content is there.
    Same,
    /// Send the object, for this reason.
    Send(String),
}

impl Put<'_> {
    /// What [`Self::run`] would do, without a request that writes. The epoch of a dry run is below all, and whether
    /// writes of others may be on their way it does not know: what a real run would be refused, or would write again,
    /// for that reason alone is not told apart.
    pub(super) async fn look_ahead(&self, body: &PreparedBody) -> Result<Ahead, PutError> {
        let mut ours = self.footer(body);
        let Some(there) = self.look().await? else {
            return Ok(Ahead::Send("the bucket has no backup of this hour".to_owned()));
        };
        ours.epoch = there.footer.epoch;
        match decide(&ours, &there.footer) {
            Decision::Adopt | Decision::Renew => Ok(Ahead::Same),
            Decision::Overwrite => Ok(Ahead::Send(format!(
                "the bucket's backup of this hour has other content (captured {})",
                there.footer.captured_at
            ))),
            Decision::Fenced => Err(PutError::Fenced(Box::new(there.footer))),
            Decision::Leave(reason) => Err(PutError::Failed(self.left(reason, &ours))),
        }
    }

    fn footer(&self, body: &PreparedBody) -> Footer {
        Footer::new(self.fields.clone(), self.content, body.image_size())
    }

    pub(super) async fn run(self, body: PreparedBody) -> Result<Done, PutError> {
        let ours = self.footer(&body);
        let able = self.store.capabilities();
        let mut condition = match &self.expected {
            Some(etag) if able.put_if_matches => Condition::Matches(etag.clone()),
            None if able.put_if_absent => Condition::Absent,
            // A store without conditions: look first. Two nodes may still race, which is why a fleet
            // refuses such a store.
            _ => match self.resolve(&ours).await? {
                Resolved::Adopt(backup) => return Ok(Done { backup, sent_bytes: 0 }),
                Resolved::Overwrite(_) | Resolved::Absent => Condition::Always,
            },
        };
        for is_last in [false, true] {
            match self.send(&body, condition).await {
                Ok(stored) => {
                    let (bytes, etag) = (stored.size, stored.etag);
                    let backup = StoredBackup { bytes, etag, newest: Newest::of(&ours) };
                    return Ok(Done { backup, sent_bytes: bytes });
                }
                Err(StoreError::ConditionFailed) if !is_last => {}
                Err(error) if !is_last && is_certain(&error) => {
                    return Err(PutError::Failed(store_failure(&error)));
                }
                Err(error) => return Err(PutError::Doubtful(store_failure(&error))),
            }
            condition = match self.resolve(&ours).await.map_err(PutError::doubtful)? {
                Resolved::Adopt(backup) => return Ok(Done { backup, sent_bytes: 0 }),
                Resolved::Overwrite(etag) if able.put_if_matches => Condition::Matches(etag),
                Resolved::Overwrite(_) => Condition::Always,
                Resolved::Absent => Condition::Absent,
            };
        }
        Err(PutError::Doubtful(store_failure(&StoreError::ConditionFailed)))
    }

    async fn send(
        &self,
        body: &PreparedBody,
        condition: Condition,
    ) -> Result<ultrasimple_store::Stored, StoreError> {
        let body = match body {
            PreparedBody::Object(object, _) => Body::Bytes(object.clone()),
            PreparedBody::Spooled(image) => stream(Arc::clone(image), self.fields.clone()),
        };
        self.store.put(&self.key, body, condition).await
    }

    /// Looks at what is under the key and decides.
    async fn resolve(&self, ours: &Footer) -> Result<Resolved, PutError> {
        let Some(there) = self.look().await? else { return Ok(Resolved::Absent) };
        match decide(ours, &there.footer) {
            Decision::Adopt if !self.must_write => Ok(Resolved::Adopt(there.backup())),
            Decision::Adopt | Decision::Renew | Decision::Overwrite => {
                Ok(Resolved::Overwrite(there.etag))
            }
            Decision::Fenced => Err(PutError::Fenced(Box::new(there.footer))),
            Decision::Leave(reason) => Err(PutError::Failed(self.left(reason, ours))),
        }
    }

    /// Reads the footer of what is under the key.
    async fn look(&self) -> Result<Option<There>, PutError> {
        let failed = |error: StoreError| PutError::Failed(store_failure(&error));
        let mut bytes = SUFFIX_BYTES;
        loop {
            let object = self.store.get(&self.key, ByteRange::Last(bytes)).await.map_err(failed)?;
            let Some(object) = object else { return Ok(None) };
            let (etag, size) = (object.info.etag.clone(), object.info.size);
            let suffix = object.bytes(bytes).await.map_err(failed)?;
            match Footer::from_suffix(&suffix) {
                Ok((footer, _)) => return Ok(Some(There { footer, etag, bytes: size })),
                Err(FooterError::NeedsMore { needed }) if needed > bytes => bytes = needed,
                Err(error) => {
                    let reason = format!(
                        "an object that is not a readable backup stands under its key {}: {error}; it \
                         is left alone: move it away",
                        self.key
                    );
                    return Err(PutError::Failed(Failure { kind: "foreign_object", reason }));
                }
            }
        }
    }

    fn left(&self, reason: Reason, ours: &Footer) -> Failure {
        match reason {
            Reason::OtherDatabase(other) => Failure {
                kind: "key_collision",
                reason: format!(
                    "its key {} holds the backup of {other}; neither replaces the other: change -path \
                     so that their keys differ",
                    self.key
                ),
            },
            Reason::Newer(there) => Failure {
                kind: "newer_backup",
                reason: format!(
                    "the bucket has a newer capture under {} (of {there}; this one is of {}): has the \
                     clock been set back?",
                    self.key, ours.captured_at
                ),
            },
            Reason::WouldReplaceGood => match &ours.check {
                ultrasimple_core::CheckResult::Failed(found) => would_replace_good(Some(found)),
                _ => would_replace_good(None),
            },
        }
    }
}

enum Resolved {
    Absent,
    Adopt(StoredBackup),
    Overwrite(ETag),
}

/// The failure of a damaged capture whose hour already has a good one.
pub(crate) fn would_replace_good(found: Option<&str>) -> Failure {
    let reason = format!(
        "the database is damaged ({}); the good backup of this hour is kept, and from the next hour on it \
         is stored as it is, marked: repair it, or restore an older hour",
        found.unwrap_or("its check failed")
    );
    Failure { kind: "damaged_kept", reason }
}

/// The failure of a capture that, by the clock, belongs to an hour before that of the newest backup: under
/// that hour's key nobody would look for the newest state.
pub(crate) fn clock_set_back(newest: Hour, captured_at: Timestamp) -> Failure {
    let reason = format!(
        "its newest backup is that of {newest}, and by the clock it is only {captured_at}: has the clock \
         been set back? It goes on when that hour has come again"
    );
    Failure { kind: "newer_backup", reason }
}

pub(crate) fn store_failure(error: &StoreError) -> Failure {
    let kind = match error {
        StoreError::ConditionFailed => "condition_failed",
        StoreError::SlowDown(_) => "slow_down",
        StoreError::Unavailable(_) => "unavailable",
        StoreError::UnknownOutcome(_) => "unknown_outcome",
        StoreError::Denied(_) => "denied",
        StoreError::Invalid(_) => "invalid",
        StoreError::Untrustworthy(_) => "untrustworthy",
        _ => "store",
    };
    Failure { kind, reason: format!("upload failed: {error}") }
}

/// How much lower the priority of the thread is that compresses a large image: beside a busy one of the usual priority
/// it gets a third of the processor's time. The image is in scratch by then, so that nobody waits for it; the
/// applications whose databases these are should not wait, either. (A capture may hold a lock: it does not dawdle.)
const NICER: i32 = 5;

/// Makes the object of a spooled image, chunk by chunk, on a thread of its own. When the receiver is
/// dropped, the thread ends.
fn stream(image: Arc<Image>, fields: FooterFields) -> Body {
    let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD);
    let mut span = ultrasimple_trace::child(&COMPRESS);
    // Not one of the pool's: a priority that was lowered cannot be raised again.
    let thread = std::thread::Builder::new().name("compress".to_owned());
    let spawned = thread.spawn(move || {
        // On Linux it is the thread's. Where it may not be changed, it stays.
        let _ = rustix::process::nice(NICER);
        span.set(&IMAGE_SIZE, image.len());
        let output = ChunkWriter { sender, buffer: Vec::with_capacity(CHUNK) };
        let mut writer = ObjectWriter::new(output, image.len());
        let written = image
            .write_to(&mut writer)
            .map_err(Into::into)
            .and_then(|_| writer.finish(fields))
            .and_then(|(output, _)| Ok(output.end()?));
        if let Err(error) = written {
            // Without an end, the store stores nothing.
            span.fail("given_up", &error);
            tracing::debug!(%error, "a streamed upload was given up");
        }
    });
    if let Err(error) = spawned {
        // What had the sender is gone: without an end, the store stores nothing.
        tracing::warn!(%error, "No thread could be had to compress a large image: {error}");
    }
    Body::Chunks(receiver)
}

struct ChunkWriter {
    sender: mpsc::Sender<Chunk>,
    buffer: Vec<u8>,
}

impl ChunkWriter {
    fn send(&mut self) -> io::Result<()> {
        let full = std::mem::replace(&mut self.buffer, Vec::with_capacity(CHUNK));
        let sent = self.sender.blocking_send(Chunk::Data(Bytes::from(full)));
        sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn end(mut self) -> io::Result<()> {
        if !self.buffer.is_empty() {
            self.send()?;
        }
        self.sender.blocking_send(Chunk::End).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for ChunkWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK {
            self.send()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
