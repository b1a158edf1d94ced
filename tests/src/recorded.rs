//! The testkit's recorder for tests that are not async: what was written to a server, in its order.

use std::sync::{Arc, Mutex};

use tokio::runtime::Runtime;
use ultrasimple_core::BackupKey;
use ultrasimple_core::footer::Footer;
use ultrasimple_testkit::recorder::{Recorder, What, Write};

/// A recorder before a server, with threads of its own.
#[derive(Debug)]
pub struct Recorded {
    // Dropped in this order.
    recorder: Recorder,
    backups: Arc<Mutex<Vec<Written>>>,
    _runtime: Runtime,
}

/// A write of a backup.
#[derive(Debug, Clone)]
pub struct Written {
    /// The key, without the bucket.
    pub key: String,
    /// What the server answered: 200, or 412 where it was refused.
    pub status: u16,
    /// What the backup says of itself.
    pub footer: Footer,
    /// Of how many parts it came; 0 of one request.
    pub parts: usize,
    /// What came with it: `If-Match: …`, `If-None-Match: *`, or nothing.
    pub condition: String,
}

impl Written {
    fn of(write: &Write) -> Option<Self> {
        let (_, key) = write.path.split_once('/')?;
        BackupKey::parse(key)?;
        let What::Put { body, parts, condition, .. } = &write.what else { return None };
        let (footer, _) = Footer::from_suffix(body).ok()?;
        let (key, condition) = (key.to_owned(), condition.clone());
        Some(Self { key, status: write.status, footer, parts: *parts, condition })
    }
}

impl Recorded {
    /// Starts one before this port on loopback.
    pub fn start(upstream: u16) -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(2).enable_all().build().unwrap();
        let (recorder, mut records) = runtime.block_on(Recorder::start(upstream)).unwrap();
        let backups = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&backups);
        runtime.spawn(async move {
            while let Some(write) = records.recv().await {
                kept.lock().unwrap().extend(Written::of(&write));
            }
        });
        Self { recorder, backups, _runtime: runtime }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.recorder.port()
    }

    /// All writes of backups so far, with what was answered.
    pub fn backups(&self) -> Vec<Written> {
        self.backups.lock().unwrap().clone()
    }

    /// Those that the server took.
    pub fn stored(&self) -> Vec<Written> {
        self.backups().into_iter().filter(|written| written.status == 200).collect()
    }

    /// Those that it refused.
    pub fn refused(&self) -> Vec<Written> {
        self.backups().into_iter().filter(|written| written.status == 412).collect()
    }

    /// How many requests came, of all methods.
    pub fn requests(&self) -> u64 {
        self.recorder.requests().values().sum()
    }

    /// Panics when a version of a key is of an earlier owner or an earlier capture than the one before it.
    #[track_caller]
    pub fn never_went_back(&self) {
        let mut last = std::collections::BTreeMap::new();
        for written in self.stored() {
            let now = (written.footer.epoch, written.footer.captured_at);
            if let Some(before) = last.insert(written.key.clone(), now) {
                let fine = before.0 <= now.0 && before.1 <= now.1;
                assert!(fine, "R5: {} went from {before:?} back to {now:?}", written.key);
            }
        }
    }
}
