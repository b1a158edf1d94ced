//! Every version of every object, as the recorder before the store saw them: read, proved and kept.
//!
//! A thread takes the records as they come, unpacks each backup and proves its bank, and keeps what the
//! checks need to know of it, not the bytes. What is wrong with one version alone is a violation at once.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc;
use ultrasimple_core::cluster_file::ClusterFile;
use ultrasimple_core::{BackupKey, Catalog, ContentHash, Epoch, ShardKey, Timestamp, object};
use ultrasimple_testkit::bank;
use ultrasimple_testkit::recorder::{What, Write};

use crate::check::Violation;

/// One version of a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Backup {
    /// When the store had it, by the machine's monotonic clock.
    pub(crate) stored: Duration,
    pub(crate) node: String,
    pub(crate) epoch: Epoch,
    pub(crate) captured_at: Timestamp,
    /// How many commits of its database it has seen.
    pub(crate) commits: i64,
    pub(crate) content: ContentHash,
}

/// What was written under one key.
#[derive(Debug, Clone, Default)]
pub(crate) struct Object {
    /// Versions of a backup, in the order in which the store took them.
    pub(crate) backups: Vec<Backup>,
    /// Epochs of a catalog, generations of the cluster file, in that order.
    pub(crate) epochs: Vec<Epoch>,
    /// What the store calls the last one. `None` when it was deleted.
    pub(crate) etag: Option<String>,
    /// How many writes the store refused.
    pub(crate) refused: u64,
    /// How many were never answered: perhaps done.
    pub(crate) unknown: u64,
    /// How many came in parts.
    pub(crate) in_parts: u64,
    /// How many came without a condition.
    pub(crate) unconditional: u64,
}

/// What was written, by key.
pub(crate) type Objects = BTreeMap<String, Object>;

#[derive(Debug, Default)]
struct State {
    objects: Objects,
    violations: Vec<Violation>,
}

/// The reader of the records.
#[derive(Debug)]
pub(crate) struct Versions {
    state: Arc<Mutex<State>>,
    reader: Option<JoinHandle<()>>,
}

impl Versions {
    /// Begins to read. What cannot be read is put in `evidence`.
    pub(crate) fn read(mut records: mpsc::Receiver<Write>, evidence: PathBuf) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let reader = std::thread::spawn(move || {
            while let Some(write) = records.blocking_recv() {
                take(&shared, &write, &evidence);
            }
        });
        Self { state, reader: Some(reader) }
    }

    /// What was written so far.
    pub(crate) fn objects(&self) -> Objects {
        lock(&self.state).objects.clone()
    }

    /// Waits for the last record, once the recorder is gone; gives what was written, and what was wrong.
    pub(crate) fn finish(mut self) -> (Objects, Vec<Violation>) {
        if let Some(reader) = self.reader.take() {
            // It does not panic.
            let _ = reader.join();
        }
        let state = std::mem::take(&mut *lock(&self.state));
        (state.objects, state.violations)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn take(state: &Mutex<State>, write: &Write, evidence: &std::path::Path) {
    let (_, key) = write.path.split_once('/').unwrap_or(("", &write.path));
    let mut violation = None;
    let read = match &write.what {
        What::Put { body, .. } if write.is_done() => match Content::read(key, body, write.answered)
        {
            Ok(content) => Some(content),
            Err(why) => {
                let name = key.replace('/', "_");
                let kept = evidence.join(format!("{name}-{}", write.answered.as_micros()));
                // The violation is reported even where its evidence cannot be kept.
                let _ = std::fs::create_dir_all(evidence);
                let _ = std::fs::write(&kept, body);
                let what = format!("{key}: {why} (kept as {})", kept.display());
                violation = Some(Violation::new("R2", what));
                None
            }
        },
        _ => None,
    };
    let mut state = lock(state);
    state.violations.extend(violation);
    let object = state.objects.entry(key.to_owned()).or_default();
    match (write.status, &write.what) {
        (409 | 412, _) => object.refused += 1,
        (0, _) => object.unknown += 1,
        (_, What::Delete) if write.is_done() => object.etag = None,
        (_, What::Put { etag, parts, condition, .. }) if write.is_done() => {
            object.etag = Some(etag.clone());
            object.in_parts += u64::from(*parts > 0);
            object.unconditional += u64::from(condition.is_empty());
        }
        _ => {}
    }
    match read {
        Some(Content::Backup(backup)) => object.backups.push(backup),
        Some(Content::Epoch(epoch)) => object.epochs.push(epoch),
        Some(Content::Other) | None => {}
    }
}

/// What an object is.
enum Content {
    Backup(Backup),
    /// A catalog, or the cluster file.
    Epoch(Epoch),
    /// Anything else, such as what the probe of the store writes.
    Other,
}

impl Content {
    fn read(key: &str, body: &[u8], stored: Duration) -> Result<Self, String> {
        if let Some(shard) = ShardKey::parse(key) {
            let catalog = Catalog::parse(body, &shard).map_err(|error| error.to_string())?;
            return Ok(Self::Epoch(catalog.epoch));
        }
        if key == ClusterFile::key().as_str() {
            let file = ClusterFile::parse(body).map_err(|error| error.to_string())?;
            return Ok(Self::Epoch(Epoch(file.generation)));
        }
        if BackupKey::parse(key).is_none() {
            return Ok(Self::Other);
        }
        let mut image = Vec::new();
        let footer = object::decode(body, &mut image).map_err(|error| error.to_string())?;
        let commits = bank::verify_image(&image)?;
        Ok(Self::Backup(Backup {
            stored,
            node: footer.node.to_string(),
            epoch: footer.epoch,
            captured_at: footer.captured_at,
            commits,
            content: footer.blake3,
        }))
    }
}
