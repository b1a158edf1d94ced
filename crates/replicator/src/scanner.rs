//! The actor that scans: runs [`VolumeScanner`] on a blocking thread, one scan at a time.
//!
//! Owns the table of what the last scan saw. Does not know what is in the bucket. Called by the cycle.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, RpcReplyPort, SpawnErr};
use ultrasimple_core::{Clock, FingerprintDigest, Place, SourcePath, Timestamp};

use crate::CycleError;
use crate::scan::{DatabaseId, Gone, Identity, Owned, Problem, Scan, Table, VolumeScanner};

/// What the scanner needs.
pub(crate) struct Arguments {
    pub(crate) scanner: VolumeScanner,
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
        let scan = self.scanner.scan(now_ns, &Owned::All, &HashSet::new());
        let scan = scan.map_err(|error| format!("/: {error}"))?;
        let table = self.scanner.table();
        let table = table.read().unwrap_or_else(PoisonError::into_inner);
        let paths = table.ids().filter_map(|id| Some((id, table.path(id)?)));
        let mut databases: Vec<_> = paths.collect();
        databases.sort_by(|(_, a), (_, b)| a.cmp(b));
        let Scan { mut problems, empty_patterns, .. } = scan;
        problems.extend(Counts::of(&table).outside());
        Ok(Found { databases, problems, empty_patterns })
    }
}

fn nanoseconds(time: Timestamp) -> i64 {
    i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX)
}

/// A handle to the scanner.
#[derive(Debug, Clone)]
pub(crate) struct Scanner(ActorRef<Message>);

/// Which shards a scan is to look at.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) owned: Owned,
    /// Of these, all databases are told, changed or not.
    pub(crate) fresh: HashSet<Place>,
}

/// What one scan found, sorted by shard.
pub(crate) struct Scanned {
    /// Of the shards that were wanted; those without news are not here.
    pub(crate) news: HashMap<Place, News>,
    pub(crate) changed: u64,
    /// In the shards that were wanted.
    pub(crate) databases: u64,
    pub(crate) counts: Arc<Counts>,
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

/// How many databases are known.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    by_place: HashMap<Place, u64>,
    /// On none of this node's volumes, and one of them.
    outside: Option<(u64, SourcePath)>,
}

impl Counts {
    fn of(table: &Table) -> Self {
        let mut counts = Self::default();
        let mut outside = (0, None);
        for entry in table.entries() {
            match entry.naming.place {
                Some(place) => *counts.by_place.entry(place).or_default() += 1,
                None => outside = (outside.0 + 1, outside.1.or(Some(entry.id))),
            }
        }
        let (count, example) = outside;
        counts.outside = example.and_then(|id| table.path(id)).map(|path| (count, path));
        counts
    }

    /// How many are in a shard.
    pub(crate) fn of_place(&self, place: Place) -> u64 {
        self.by_place.get(&place).copied().unwrap_or_default()
    }

    /// Where there are databases, this node's or others'.
    pub(crate) fn places(&self) -> impl Iterator<Item = Place> + '_ {
        self.by_place.keys().copied()
    }

    fn in_all(&self, owned: &Owned) -> u64 {
        let owned = self.by_place.iter().filter(|(place, _)| owned.has(Some(**place)));
        owned.map(|(_, count)| count).sum()
    }

    fn outside(&self) -> Option<Problem> {
        let (count, path) = self.outside.clone()?;
        let reason = format!(
            "it is below none of the directories of -volume, as are {count} databases in all, which nobody \
             backs up: give a -volume without a directory, or exclude them"
        );
        Some(Problem { path, reason })
    }
}

enum Message {
    Scan(Arc<Wanted>, RpcReplyPort<Result<Scanned, String>>),
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
    pub(crate) async fn scan(&self, wanted: Arc<Wanted>) -> Result<Scanned, CycleError> {
        let scanned = self.0.call(|reply| Message::Scan(wanted, reply), None).await;
        crate::node::answer(scanned, "the scanner")?.map_err(CycleError::Scan)
    }
}

struct ScannerActor;

/// What a scan needs, lent to the blocking thread while it runs.
struct Shared {
    scanner: Mutex<(VolumeScanner, Arc<Counts>)>,
    clock: Arc<dyn Clock>,
}

impl Actor for ScannerActor {
    type Msg = Message;
    type State = Arc<Shared>;
    type Arguments = Arguments;

    async fn pre_start(
        &self,
        _: ActorRef<Message>,
        Arguments { scanner, clock }: Arguments,
    ) -> Result<Arc<Shared>, ActorProcessingErr> {
        Ok(Arc::new(Shared { scanner: Mutex::new((scanner, Arc::default())), clock }))
    }

    async fn handle(
        &self,
        _: ActorRef<Message>,
        Message::Scan(wanted, reply): Message,
        state: &mut Arc<Shared>,
    ) -> Result<(), ActorProcessingErr> {
        let shared = Arc::clone(state);
        // A panic in the scan fails this actor, and with it the tree: all begins anew.
        let scanned = tokio::task::spawn_blocking(move || shared.scan(&wanted)).await?;
        let _ = reply.send(scanned);
        Ok(())
    }
}

impl Shared {
    fn scan(&self, Wanted { owned, fresh }: &Wanted) -> Result<Scanned, String> {
        let at = self.clock.now();
        let start = self.clock.monotonic();
        let now_ns = nanoseconds(at);
        let mut locked = self.scanner.lock().unwrap_or_else(PoisonError::into_inner);
        let (scanner, counts) = &mut *locked;
        let scan = scanner.scan(now_ns, owned, fresh).map_err(|error| format!("/: {error}"))?;
        let table = scanner.table();
        let table = table.read().unwrap_or_else(PoisonError::into_inner);
        if scan.appeared > 0 || !scan.gone.is_empty() {
            *counts = Arc::new(Counts::of(&table));
        }
        let counts = Arc::clone(counts);
        let mut news: HashMap<Place, News> = HashMap::new();
        let place_of = |id| table.place_of(id).filter(|&place| owned.has(Some(place)));
        let mut changes: HashMap<Place, usize> = HashMap::new();
        for place in scan.changed.iter().filter_map(|&(id, _)| place_of(id)) {
            *changes.entry(place).or_default() += 1;
        }
        for (id, digest) in scan.changed {
            let Some((place, (_, identity))) = place_of(id).zip(table.identify(id)) else {
                continue;
            };
            let changed = &mut news.entry(place).or_default().changed;
            if changed.is_empty() {
                // In one piece: a first scan tells all that there are.
                changed.reserve_exact(changes.get(&place).copied().unwrap_or_default());
            }
            changed.push(Changed { id, identity, digest });
        }
        for gone in scan.gone {
            if let Some(place) = gone.place.filter(|&place| owned.has(Some(place))) {
                news.entry(place).or_default().gone.push(gone);
            }
        }
        let mut problems = scan.problems;
        problems.extend(counts.outside());
        let changed = news.values().map(|news| news.changed.len() as u64).sum();
        Ok(Scanned {
            news,
            changed,
            databases: counts.in_all(owned),
            counts,
            problems,
            empty_patterns: scan.empty_patterns,
            at,
            took: self.clock.monotonic().saturating_sub(start),
        })
    }
}
