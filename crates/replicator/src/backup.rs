//! Backing up one database: capture → check → compress → put. Plan, act, record, recover.
//!
//! Owns the order of these steps and what each way of failing means; what becomes of a capture is decided in
//! `send.rs`. Does not own what is remembered of the outcome (the shard owner does) or how many run at once (the uploader does). Dropping the future
//! gives the attempt up: nothing half-done is left in the store.

mod memory;
mod put;
pub(crate) mod send;

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use ultrasimple_core::footer::{ContentHasher, FooterFields};
use ultrasimple_core::key::KeyStem;
use ultrasimple_core::pattern::PatternSet;
use ultrasimple_core::template::{PathTemplate, Setting};
use ultrasimple_core::{
    CheckLevel, Clock, ContentHash, Epoch, FingerprintDigest, Footer, NodeName, ShortHash,
    SourcePath, VolumeName, Volumes, object, placement,
};
use ultrasimple_sqlite::{Capture, CaptureError, Capturer, Image, filesystem_kind, timestamp_tick};
use ultrasimple_store::Store;
use ultrasimple_trace::catalogue as c;
use ultrasimple_trace::{child, here};

use crate::dry_run::{DryRunAction, DryRunLine};
use crate::scan::{DatabaseId, Table};
use crate::shard::{Failure, Known, LastBackup, Outcome};
use crate::statistics::Counters;

pub(crate) use memory::MemoryBudget;
pub use memory::memory_per_stream;
use send::{Sending, put_of};

/// What all uploads share.
pub(crate) struct Workshop {
    pub(crate) table: Arc<RwLock<Table>>,
    pub(crate) patterns: PatternSet,
    pub(crate) template: PathTemplate,
    pub(crate) volumes: Volumes,
    pub(crate) node: NodeName,
    pub(crate) check: CheckLevel,
    pub(crate) capturer: Arc<Capturer>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) memory: MemoryBudget,
    /// Captures that may be under way at once: they are work for the processor and the disk.
    pub(crate) captures: Arc<Semaphore>,
}

/// What the capture of a database gave, ready to be sent.
pub(crate) struct Prepared {
    pub(crate) digest: FingerprintDigest,
    pub(crate) settled: bool,
    pub(crate) content: ContentHash,
    pub(crate) fields: FooterFields,
    pub(crate) body: PreparedBody,
}

impl Prepared {
    /// What the footer will say.
    pub(crate) fn footer(&self) -> Footer {
        Footer::new(self.fields.clone(), self.content, self.body.image_size())
    }
}

pub(crate) enum PreparedBody {
    /// The object, whole.
    Object(Bytes, Box<Footer>),
    /// The image is in scratch; the object is made while it is sent.
    Spooled(Arc<Image>),
}

impl PreparedBody {
    /// Bytes of the image.
    fn image_size(&self) -> u64 {
        match self {
            Self::Object(_, footer) => footer.size,
            Self::Spooled(image) => image.len(),
        }
    }
}

/// A database as it is about to be backed up.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// As the pattern found it: what the footer says.
    pub(crate) path: SourcePath,
    volume: VolumeName,
    /// Where it is, symbolic links resolved.
    real: PathBuf,
    pub(crate) stem: KeyStem,
}

/// An attempt to back a database up.
pub(crate) struct Attempt {
    pub(crate) outcome: Outcome,
    /// Whether a request to write was made (or may have been).
    pub(crate) sent: bool,
}

impl Attempt {
    fn unsent(outcome: Outcome) -> Self {
        Self { outcome, sent: false }
    }
}

/// Why there is no outcome to record.
#[derive(Debug)]
pub(crate) enum Stop {
    /// A later owner writes to this bucket: this node must stop.
    Fenced(Footer),
}

impl Workshop {
    /// Backs one database up.
    ///
    /// # Errors
    /// When this node was found to be fenced off.
    pub(crate) async fn back_up(
        self: &Arc<Self>,
        id: DatabaseId,
        epoch: Epoch,
        known: Known,
    ) -> Result<Attempt, Stop> {
        let target = match self.target(id) {
            Ok(Some(target)) => Arc::new(target),
            Ok(None) => return Ok(Attempt::unsent(Outcome::Vanished)),
            Err(failure) => return Ok(Attempt::unsent(Outcome::Failed(failure))),
        };
        // Where the bucket may have later ones, the content of the last one that is known proves nothing yet.
        match self.prepare(&target, epoch, known.sure()).await {
            Ok((prepared, _memory)) => {
                let sending = Sending {
                    store: &*self.store,
                    clock: &*self.clock,
                    counters: &self.counters,
                    stem: &target.stem,
                    known,
                };
                sending.run(prepared).await
            }
            Err(unprepared) => Ok(Attempt::unsent(unprepared.into())),
        }
    }

    /// Does all that [`Self::back_up`] does but for the write, and tells what that would have been.
    pub(crate) async fn look(self: &Arc<Self>, id: DatabaseId, path: SourcePath) -> DryRunLine {
        let fail = |key, failure: Failure| DryRunLine {
            path: path.clone(),
            key,
            action: DryRunAction::Fail,
            reason: failure.reason,
        };
        let vanished = || Failure { kind: "vanished", reason: "it has just vanished".to_owned() };
        let target = match self.target(id) {
            Ok(Some(target)) => Arc::new(target),
            Ok(None) => return fail(None, vanished()),
            Err(failure) => return fail(None, failure),
        };
        let (prepared, _memory) = match self.prepare(&target, Epoch::default(), None).await {
            Ok(prepared) => prepared,
            Err(Unprepared::Failed(failure)) => return fail(None, failure),
            Err(_) => return fail(None, vanished()),
        };
        let put = put_of(&*self.store, &target.stem, &prepared, None);
        let key = Some(put.key.clone());
        match put.look_ahead(&prepared.body).await {
            Ok(put::Ahead::Same) => DryRunLine {
                path,
                key,
                action: DryRunAction::Nothing,
                reason: "the bucket has this content under this key".to_owned(),
            },
            Ok(put::Ahead::Send(reason)) => {
                DryRunLine { path, key, action: DryRunAction::Upload, reason }
            }
            Err(put::PutError::Failed(failure) | put::PutError::Doubtful(failure)) => {
                fail(key, failure)
            }
            Err(put::PutError::Fenced(_)) => fail(key, vanished()),
        }
    }

    /// Where a database is and what its key is. `None` when it is no longer known.
    pub(crate) fn target(&self, id: DatabaseId) -> Result<Option<Target>, Failure> {
        let (path, is_link, sharing) = {
            let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
            let Some((path, is_link)) = table.locate(id) else { return Ok(None) };
            let sharing: Vec<_> =
                table.sharing_key(id).into_iter().filter_map(|id| table.path(id)).collect();
            (path, is_link, sharing)
        };
        let Some(volume) = self.volumes.of(&path).map(|volume| volume.name.clone()) else {
            let reason = "it is on none of the volumes: see -volume".to_owned();
            return Err(Failure { kind: "volume", reason });
        };
        let setting = Setting {
            patterns: &self.patterns,
            volume: &volume,
            node: &self.node,
            max_key_bytes: self.store.max_key_bytes(),
        };
        let stem = self.template.expand(&path, setting);
        let stem = stem.map_err(|error| Failure { kind: "key", reason: error.to_string() })?;
        if let Some(other) = sharing.first() {
            let reason = format!(
                "its key {stem} is also that of {other}; neither is backed up: change -path so that \
                 their keys differ, or exclude one"
            );
            return Err(Failure { kind: "key_collision", reason });
        }
        let real =
            if is_link { std::fs::canonicalize(path.as_path()) } else { Ok(path.to_path_buf()) };
        let real = real.map_err(|error| Failure {
            kind: "link",
            reason: format!("its symbolic link cannot be resolved: {error}"),
        })?;
        Ok(Some(Target { path, volume, real, stem }))
    }

    /// Captures and compresses, within the memory budget.
    async fn prepare(
        self: &Arc<Self>,
        target: &Arc<Target>,
        epoch: Epoch,
        last: Option<&LastBackup>,
    ) -> Result<(Prepared, OwnedSemaphorePermit), Unprepared> {
        let content = last.map(|last| last.content);
        let stopping = || Unprepared::Deferred;
        let turn = self.captures.acquire().await.map_err(|_| stopping())?;
        // One thread hop where there is memory at once, which is the rule.
        let at_once = move |workshop: &Self, target: &Target| {
            let need = workshop.memory.need(size_bound(&target.real));
            let Some(memory) = workshop.memory.take_now(need) else { return Ok(Err(need)) };
            let prepared = workshop.capture(target, epoch, need.largest_image(), content)?;
            Ok(Ok((prepared, memory)))
        };
        let need = match self.blocking(target, at_once).await? {
            Ok(prepared) => return Ok(prepared),
            Err(need) => need,
        };
        // Whoever waits for memory holds nothing that others wait for.
        drop(turn);
        let memory = self.memory.take(need).await.ok_or_else(stopping)?;
        let _turn = self.captures.acquire().await.map_err(|_| stopping())?;
        let work = move |workshop: &Self, target: &Target| {
            workshop.capture(target, epoch, need.largest_image(), content)
        };
        Ok((self.blocking(target, work).await?, memory))
    }

    /// Runs blocking work on a thread of its own. A panic there is this database's failure, no other's.
    async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        target: &Arc<Target>,
        work: impl FnOnce(&Self, &Target) -> Result<T, Unprepared> + Send + 'static,
    ) -> Result<T, Unprepared> {
        let (workshop, target, here) = (Arc::clone(self), Arc::clone(target), here());
        let work = move || here.enter(|| work(&workshop, &target));
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => result,
            Err(error) if error.is_cancelled() => Err(Unprepared::Deferred),
            Err(error) => Err(Unprepared::Failed(Failure {
                kind: "panic",
                reason: format!("the capture panicked, which is a bug, please report it: {error}"),
            })),
        }
    }

    fn capture(
        &self,
        target: &Target,
        epoch: Epoch,
        memory_limit: u64,
        last: Option<ShortHash>,
    ) -> Result<Prepared, Unprepared> {
        let Capture { fingerprint, mode, captured_at, image, check, .. } =
            self.image(target, memory_limit)?;
        let digest = fingerprint.digest();
        let settled = is_settled(&target.real, &fingerprint, captured_at);
        let unchanged =
            |content: ContentHash| (last == Some(content.short())).then_some((digest, settled));
        let fields = FooterFields {
            volume: target.volume.clone(),
            path: target.path.clone(),
            shard: placement::shard_of(&target.volume, &target.path, self.volumes.shards()),
            mode,
            captured_at,
            node: self.node.clone(),
            epoch,
            check,
            fingerprint: settled.then_some(digest),
        };
        let io = |error: &dyn std::fmt::Display| {
            let reason = format!("the captured image cannot be read back from scratch: {error}");
            Unprepared::Failed(Failure { kind: "scratch", reason })
        };
        let mut span = child(&c::COMPRESS);
        span.set(&c::IMAGE_SIZE, image.len());
        let (content, body) = if let Some(bytes) = image.as_bytes() {
            let content = ContentHash::of(bytes);
            if let Some((digest, settled)) = unchanged(content) {
                return Err(Unprepared::Unchanged(digest, settled));
            }
            let (object, footer) = object::encode_hashed(bytes, content, fields.clone())
                .map_err(|error| io(&error))?;
            (content, PreparedBody::Object(object.into(), Box::new(footer)))
        } else {
            let mut hasher = ContentHasher::default();
            image.write_to(&mut hasher).map_err(|error| io(&error))?;
            let content = hasher.finish();
            if let Some((digest, settled)) = unchanged(content) {
                return Err(Unprepared::Unchanged(digest, settled));
            }
            (content, PreparedBody::Spooled(Arc::new(image)))
        };
        Ok(Prepared { digest, settled, content, fields, body })
    }
}

impl Workshop {
    /// Reads a database.
    fn image(&self, target: &Target, memory_limit: u64) -> Result<Capture, Unprepared> {
        let mut span = child(&c::CAPTURE);
        let captured = span.enter(|| self.capturer.capture(&target.real, memory_limit, self.check));
        match captured {
            Ok(capture) => {
                span.set(&c::METHOD, capture.method.as_str());
                span.set(&c::IMAGE_SIZE, capture.image.len());
                Ok(capture)
            }
            Err(CaptureError::Vanished) => Err(Unprepared::Vanished),
            Err(error) => {
                let failure = failure(&error);
                span.fail(failure.kind, &failure.reason);
                Err(Unprepared::Failed(failure))
            }
        }
    }
}

/// Why there is nothing to send.
enum Unprepared {
    Failed(Failure),
    Vanished,
    Deferred,
    Unchanged(FingerprintDigest, bool),
}

impl From<Unprepared> for Outcome {
    fn from(unprepared: Unprepared) -> Self {
        match unprepared {
            Unprepared::Failed(failure) => Self::Failed(failure),
            Unprepared::Vanished => Self::Vanished,
            Unprepared::Deferred => Self::Deferred,
            Unprepared::Unchanged(digest, settled) => Self::Unchanged { digest, settled },
        }
    }
}

/// An upper bound of the image's size, as far as `stat` tells. What cannot be looked at is left to the
/// capture to complain about.
fn size_bound(path: &std::path::Path) -> u64 {
    ultrasimple_sqlite::fingerprint(path).map_or(0, |found| found.image_size_bound())
}

/// Whether any change after the capture is certain to change the fingerprint.
fn is_settled(
    path: &std::path::Path,
    fingerprint: &ultrasimple_core::Fingerprint,
    captured_at: ultrasimple_core::Timestamp,
) -> bool {
    let kind = filesystem_kind(path).unwrap_or(ultrasimple_sqlite::FilesystemKind::Network);
    let stamps = [Some(fingerprint.main), fingerprint.wal];
    let tick = stamps.iter().flatten().map(|stamp| timestamp_tick(kind, stamp)).max();
    let tick_ns = i64::try_from(tick.unwrap_or(Duration::ZERO).as_nanos()).unwrap_or(i64::MAX);
    let now_ns = i64::try_from(captured_at.as_nanosecond()).unwrap_or(i64::MAX);
    !fingerprint.is_racy(now_ns, tick_ns)
}

fn failure(error: &CaptureError) -> Failure {
    // The message of an error that wraps another leaves the cause to its source.
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
    Failure { kind: error.kind(), reason: format!("{error}{}", cause.unwrap_or_default()) }
}
