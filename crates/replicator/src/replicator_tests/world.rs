//! A world for the tests of whole cycles: real databases, a directory store with faults on demand, and a clock
//! that stands still until it is turned.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use futures::stream::BoxStream;
use tempfile::TempDir;
use ultrasimple_core::catalog::Record;
use ultrasimple_core::{Hour, KeyStem, ObjectKey, Timestamp, object};
use ultrasimple_store::{
    Body, ByteRange, Capabilities, Condition, CountedStore, DirectoryStore, ListedObject, Object,
    ObjectInfo, RequestCounts, StoreError, Stored,
};
use ultrasimple_testkit::bank::{self, Bank, BankOptions};

use super::super::*;
use crate::ReplicatorBuilder;

/// A clock that stands still until it is turned.
#[derive(Debug)]
pub(super) struct ManualClock(Mutex<(Timestamp, Duration)>);

impl ManualClock {
    pub(super) fn at(time: &str) -> Arc<Self> {
        Arc::new(Self(Mutex::new((time.parse().unwrap(), Duration::ZERO))))
    }

    pub(super) fn advance(&self, by: Duration) {
        let mut now = self.0.lock().unwrap();
        *now = (now.0 + by, now.1 + by);
    }

    pub(super) fn set_back(&self, by: Duration) {
        let mut now = self.0.lock().unwrap();
        now.0 -= by;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.0.lock().unwrap().0
    }

    fn monotonic(&self) -> Duration {
        self.0.lock().unwrap().1
    }
}

/// What goes wrong with the next writes of backups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    Unavailable,
    /// The write is done, but nobody learns of it.
    LostReply,
    Panic,
    /// Never answers.
    Hang,
    /// Never answers, and is done when [`World::late_writes`] says so.
    Late,
}

#[derive(Debug)]
pub(super) struct FaultyStore {
    pub(super) inner: CountedStore<DirectoryStore>,
    fault: Mutex<Fault>,
    pub(super) unconditional: AtomicBool,
    pub(super) hanging: AtomicUsize,
    /// Writes that are on their way, whatever became of those who sent them.
    late: Mutex<Vec<(ObjectKey, Body, Condition)>>,
    /// What the store's clock says, if not the truth.
    pub(super) time: Mutex<Option<Timestamp>>,
    /// Keys that begin with this may not be read or listed.
    pub(super) denied: Mutex<Option<String>>,
    /// The next write of a catalog never ends.
    pub(super) hang_catalog: AtomicBool,
    /// What it says of where it is, if not the truth.
    pub(super) location: OnceLock<String>,
}

impl FaultyStore {
    fn may_read(&self, key: &str) -> Result<(), StoreError> {
        let denied = self.denied.lock().unwrap();
        if denied.as_ref().is_some_and(|denied| key.starts_with(denied)) {
            return Err(StoreError::Denied("Access Denied".into()));
        }
        Ok(())
    }
}

#[async_trait]
impl Store for FaultyStore {
    fn location(&self) -> &str {
        self.location.get().map_or_else(|| self.inner.location(), String::as_str)
    }
    fn max_key_bytes(&self) -> usize {
        self.inner.max_key_bytes()
    }
    fn capabilities(&self) -> Capabilities {
        let able = !self.unconditional.load(Ordering::SeqCst);
        Capabilities { put_if_absent: able, put_if_matches: able }
    }
    fn requests(&self) -> RequestCounts {
        self.inner.requests()
    }
    async fn put(
        &self,
        key: &ObjectKey,
        body: Body,
        condition: Condition,
    ) -> Result<Stored, StoreError> {
        let fault = *self.fault.lock().unwrap();
        if key.as_str().starts_with(".ultrasimple/") {
            if self.hang_catalog.swap(false, Ordering::SeqCst) {
                self.hanging.fetch_add(1, Ordering::SeqCst);
                std::future::pending::<()>().await;
            }
            return self.inner.put(key, body, condition).await;
        }
        match fault {
            Fault::None => self.inner.put(key, body, condition).await,
            Fault::Unavailable => Err(StoreError::Unavailable("out of order".into())),
            Fault::LostReply => {
                self.inner.put(key, body, condition).await?;
                Err(StoreError::UnknownOutcome("no answer".into()))
            }
            Fault::Panic => panic!("on purpose"),
            Fault::Hang => {
                self.hanging.fetch_add(1, Ordering::SeqCst);
                std::future::pending().await
            }
            Fault::Late => {
                self.late.lock().unwrap().push((key.clone(), body, condition));
                self.hanging.fetch_add(1, Ordering::SeqCst);
                std::future::pending().await
            }
        }
    }
    async fn get(&self, key: &ObjectKey, range: ByteRange) -> Result<Option<Object>, StoreError> {
        self.may_read(key.as_str())?;
        self.inner.get(key, range).await
    }
    async fn head(&self, key: &ObjectKey) -> Result<Option<ObjectInfo>, StoreError> {
        self.inner.head(key).await
    }
    fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
    ) -> BoxStream<'_, Result<ListedObject, StoreError>> {
        match self.may_read(prefix) {
            Ok(()) => self.inner.list(prefix, after),
            Err(error) => Box::pin(futures::stream::iter([Err(error)])),
        }
    }
    async fn delete(&self, keys: &[ObjectKey]) -> Result<Vec<(ObjectKey, StoreError)>, StoreError> {
        self.inner.delete(keys).await
    }
    async fn time(&self) -> Result<Timestamp, StoreError> {
        let time = *self.time.lock().unwrap();
        match time {
            Some(time) => Ok(time),
            None => self.inner.time().await,
        }
    }
}

pub(super) struct World {
    pub(super) folder: TempDir,
    pub(super) store: Arc<FaultyStore>,
    pub(super) clock: Arc<ManualClock>,
}

impl World {
    /// Waits until so many writes hang.
    pub(super) async fn until_hanging(&self, count: usize) {
        while self.store.hanging.load(Ordering::SeqCst) < count {
            tokio::task::yield_now().await;
        }
    }

    pub(super) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["data", "scratch"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        let inner = DirectoryStore::open(&folder.path().join("bucket"), true).await.unwrap();
        let store = Arc::new(FaultyStore {
            inner: CountedStore::new(inner, Arc::default()),
            fault: Mutex::new(Fault::None),
            unconditional: AtomicBool::new(false),
            hanging: AtomicUsize::new(0),
            late: Mutex::default(),
            time: Mutex::new(None),
            denied: Mutex::new(None),
            hang_catalog: AtomicBool::new(false),
            location: OnceLock::new(),
        });
        Self { folder, store, clock: ManualClock::at("2024-01-15T13:05:00Z") }
    }

    pub(super) fn data(&self, name: &str) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join("data").join(name)
    }

    pub(super) fn bank(&self, name: &str) -> Bank {
        let mut bank = Bank::open(&self.data(name), &BankOptions::default()).unwrap();
        bank.commit().unwrap();
        bank
    }

    pub(super) fn builder(&self) -> ReplicatorBuilder {
        ReplicatorBuilder::default()
            .pattern(self.data("*").to_str().unwrap())
            .store(Arc::clone(&self.store) as Arc<dyn Store>)
            .clock(Arc::clone(&self.clock) as Arc<dyn Clock>)
            .scratch(self.folder.path().join("scratch"))
            .shards(4)
    }

    pub(super) async fn session(&self) -> Session {
        Session::start(self.builder().build().unwrap()).await
    }

    /// A file in the bucket.
    pub(super) fn object(&self, key: &str) -> PathBuf {
        self.folder.path().join("bucket").join(key)
    }

    /// The keys of all backups, sorted.
    pub(super) fn backups(&self) -> Vec<String> {
        let all = std::fs::read_dir(self.object("")).unwrap();
        let names = all.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| name.ends_with(".db.lz4")).collect();
        names.sort();
        names
    }

    /// All catalogs, as one.
    pub(super) async fn catalog(&self) -> BTreeMap<KeyStem, Record> {
        let loaded = ultrasimple_keeper::catalogs::read_all(&*self.store, None).await.unwrap();
        assert_eq!(loaded.unusable, BTreeMap::new());
        loaded.catalogs.into_values().flat_map(|catalog| catalog.databases).collect()
    }

    pub(super) fn fault(&self, fault: Fault) {
        *self.store.fault.lock().unwrap() = fault;
    }

    /// What was on its way arrives. Gives how each ended.
    pub(super) async fn late_writes(&self) -> Vec<Result<Stored, StoreError>> {
        let late = std::mem::take(&mut *self.store.late.lock().unwrap());
        let mut ends = Vec::new();
        for (key, body, condition) in late {
            ends.push(self.store.inner.put(&key, body, condition).await);
        }
        ends
    }

    pub(super) fn requests(&self) -> RequestCounts {
        self.store.requests()
    }

    pub(super) fn key(&self, stem: &str) -> PathBuf {
        let hour = Hour::of(self.clock.now());
        self.folder.path().join(format!("bucket/{stem}-{hour}.db.lz4"))
    }

    /// Restores the backup of this hour and proves the bank's invariant. Returns its number of commits.
    pub(super) fn restored(&self, stem: &str) -> i64 {
        let hour = Hour::of(self.clock.now());
        self.restored_from(&format!("{stem}-{hour}.db.lz4"))
    }

    /// As [`Self::restored`], of any backup.
    pub(super) fn restored_from(&self, key: &str) -> i64 {
        let object = std::fs::read(self.object(key)).unwrap();
        let mut image = Vec::new();
        object::decode(&object[..], &mut image).unwrap();
        bank::verify_image(&image).unwrap()
    }
}

/// A replicator whose cycles are run one by one.
pub(super) struct Session {
    pub(super) replicator: Replicator,
    pub(super) node: Node,
    pub(super) running: Running,
    pub(super) last: Statistics,
}

impl Session {
    pub(super) async fn start(replicator: Replicator) -> Self {
        let running = replicator.start().await.unwrap();
        let (node, last) = (running.node.clone(), replicator.statistics());
        Self { replicator, node, running, last }
    }

    pub(super) async fn cycle(&mut self) -> CycleReport {
        let tree = self.node.tree().await.unwrap();
        let mut news = ScanNews::default();
        let begun = self.replicator.begin_cycle(&self.running, &tree, &mut news).await.unwrap();
        tree.when_idle().await.unwrap();
        self.replicator.end_cycle(&self.running, &tree, begun, &mut self.last).await.unwrap()
    }

    /// A cycle, and all that is due in the background after it.
    pub(super) async fn cycle_and_keep(&mut self) -> CycleReport {
        // A round that is under way is no second one.
        self.node.tree().await.unwrap().keeper.idle().await;
        let report = self.cycle().await;
        let tree = self.node.tree().await.unwrap();
        tree.keeper.idle().await;
        // Owners note when a round ended as they hear of it: before the clock goes on.
        tree.glances().await.unwrap();
        report
    }

    /// Ends as with `kill -9`.
    pub(super) async fn kill(self) {
        let tree = self.node.tree().await.unwrap();
        tree.abort();
        tree.kill();
        self.node.stop().await;
    }

    pub(super) async fn stop(self) {
        self.replicator.stop(&self.running, Ok(())).await.unwrap();
    }
}

pub(super) fn counts(report: &CycleReport) -> (u64, u64, u64, u64) {
    (report.changed, report.stored, report.unchanged, report.failed)
}
