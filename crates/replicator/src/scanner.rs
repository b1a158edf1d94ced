//! The actor that scans: runs [`VolumeScanner`] on a blocking thread, one scan at a time.
//!
//! Owns the table of what the last scan saw. Does not know what is in the bucket. Called by the cycle.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, RpcReplyPort, SpawnErr};
use ultrasimple_core::{Clock, FingerprintDigest, SourcePath, Timestamp, VolumeName, placement};

use crate::CycleError;
use crate::scan::{DatabaseId, Gone, Identity, Problem, Scan, VolumeScanner};

/// What the scanner needs.
pub(crate) struct Arguments {
    pub(crate) scanner: VolumeScanner,
    pub(crate) volume: VolumeName,
    pub(crate) shards: u32,
    pub(crate) clock: Arc<dyn Clock>,
}

/// What the one scan of a dry run found.
pub(crate) struct Found {
    /// In the order of their paths.
    pub(crate) databases: Vec<(DatabaseId, SourcePath)>,
    pub(crate) problems: Vec<Problem>,
    pub(crate) empty_patterns: Vec<String>,
}

impl Arguments {
    /// Scans once, without actors. Blocks.
    pub(crate) fn scan_once(mut self) -> Result<Found, String> {
        let now_ns = nanoseconds(self.clock.now());
        let scan = self.scanner.scan(now_ns).map_err(|error| format!("/: {error}"))?;
        let table = self.scanner.table();
        let table = table.read().unwrap_or_else(PoisonError::into_inner);
        let paths = table.ids().filter_map(|id| Some((id, table.path(id)?)));
        let mut databases: Vec<_> = paths.collect();
        databases.sort_by(|(_, a), (_, b)| a.cmp(b));
        let Scan { problems, empty_patterns, .. } = scan;
        Ok(Found { databases, problems, empty_patterns })
    }
}

fn nanoseconds(time: Timestamp) -> i64 {
    i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX)
}

/// A handle to the scanner.
#[derive(Debug, Clone)]
pub(crate) struct Scanner(ActorRef<Message>);

/// What one scan found, sorted by shard.
pub(crate) struct Scanned {
    /// By shard number; shards without news have nothing.
    pub(crate) by_shard: Vec<News>,
    pub(crate) news: u64,
    pub(crate) databases: u64,
    pub(crate) problems: Vec<Problem>,
    pub(crate) empty_patterns: Vec<String>,
    pub(crate) at: Timestamp,
    pub(crate) took: Duration,
}

/// What a scan found of one shard's databases.
#[derive(Debug, Clone, Default)]
pub(crate) struct News {
    pub(crate) changed: Vec<Changed>,
    pub(crate) gone: Vec<Gone>,
}

/// A database that is new, or whose fingerprint is another.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Changed {
    pub(crate) id: DatabaseId,
    pub(crate) identity: Identity,
    pub(crate) digest: FingerprintDigest,
}

enum Message {
    Scan(RpcReplyPort<Result<Scanned, String>>),
}

impl Scanner {
    pub(crate) async fn spawn(
        arguments: Arguments,
        supervisor: ActorCell,
    ) -> Result<Self, SpawnErr> {
        let (actor, _) = Actor::spawn_linked(None, ScannerActor, arguments, supervisor).await?;
        Ok(Self(actor))
    }

    pub(crate) fn cell(&self) -> ActorCell {
        self.0.get_cell()
    }

    /// Looks at everything once. Takes as long as the file system does.
    pub(crate) async fn scan(&self) -> Result<Scanned, CycleError> {
        let scanned = self.0.call(Message::Scan, None).await;
        crate::node::answer(scanned, "the scanner")?.map_err(CycleError::Scan)
    }
}

struct ScannerActor;

/// What a scan needs, lent to the blocking thread while it runs.
struct Shared {
    scanner: Mutex<VolumeScanner>,
    volume: VolumeName,
    shards: u32,
    clock: Arc<dyn Clock>,
}

impl Actor for ScannerActor {
    type Msg = Message;
    type State = Arc<Shared>;
    type Arguments = Arguments;

    async fn pre_start(
        &self,
        _: ActorRef<Message>,
        Arguments { scanner, volume, shards, clock }: Arguments,
    ) -> Result<Arc<Shared>, ActorProcessingErr> {
        Ok(Arc::new(Shared { scanner: Mutex::new(scanner), volume, shards, clock }))
    }

    async fn handle(
        &self,
        _: ActorRef<Message>,
        Message::Scan(reply): Message,
        state: &mut Arc<Shared>,
    ) -> Result<(), ActorProcessingErr> {
        let shared = Arc::clone(state);
        // A panic in the scan fails this actor, and with it the tree: all begins anew.
        let scanned = tokio::task::spawn_blocking(move || shared.scan()).await?;
        let _ = reply.send(scanned);
        Ok(())
    }
}

impl Shared {
    fn scan(&self) -> Result<Scanned, String> {
        let at = self.clock.now();
        let start = self.clock.monotonic();
        let now_ns = nanoseconds(at);
        let mut scanner = self.scanner.lock().unwrap_or_else(PoisonError::into_inner);
        let scan = scanner.scan(now_ns).map_err(|error| format!("/: {error}"))?;
        let table = scanner.table();
        let table = table.read().unwrap_or_else(PoisonError::into_inner);
        let mut by_shard = vec![News::default(); self.shards as usize];
        let mut of = |path: &SourcePath, add: &dyn Fn(&mut News)| {
            let shard = placement::shard_of(&self.volume, path, self.shards);
            by_shard.get_mut(shard.0 as usize).map(add);
        };
        let news = scan.changed.len() as u64;
        for (id, digest) in scan.changed {
            if let Some((path, identity)) = table.identify(id) {
                of(&path, &|news| news.changed.push(Changed { id, identity, digest }));
            }
        }
        for gone in scan.gone {
            of(&gone.path, &|news| news.gone.push(gone.clone()));
        }
        Ok(Scanned {
            by_shard,
            news,
            databases: scan.databases as u64,
            problems: scan.problems,
            empty_patterns: scan.empty_patterns,
            at,
            took: self.clock.monotonic().saturating_sub(start),
        })
    }
}
