//! Gathers what the page shows: all at once, each part with a deadline, so that what does not answer leaves a gap and
//! nothing else.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use ultrasimple_cluster::Sighting;
use ultrasimple_core::{Clock, Hour, NodeName, SourcePath};
use ultrasimple_peers::{self as peers, Answer, Limits};
use ultrasimple_replicator::{Database, History, Replicator, ShardStatus};
use ultrasimple_telemetry::Reading;

use super::fleet::{FleetView, Myself};
use super::query::{self, Query};
use super::view::{DatabaseView, OfShards, SearchView, View};
use crate::metrics::Distributions;

/// How long this node's actors may take to answer.
const ANSWER: Duration = Duration::from_millis(1_500);
/// How long going through all paths may take.
const SEARCH: Duration = Duration::from_secs(2);
/// How long the bucket may take to give a catalog.
const CATALOG: Duration = Duration::from_secs(5);
/// How long what the other nodes said is good for.
const FRESH: Duration = Duration::from_secs(2);
/// How long what a catalog said is good for, unless something is stored.
const KEPT: Duration = Duration::from_mins(5);
/// Databases whose hours are remembered.
const REMEMBERED: usize = 16;
/// What asking other nodes may cost.
const PEERS: Limits = Limits { deadline: ANSWER, at_once: 16, bytes: 16 << 20 };
/// Failing databases that are named.
const NAMED: usize = 50;
/// Databases of a search that are named.
pub(super) const FOUND: usize = 50;

/// Whom to ask.
pub(super) struct Sources {
    pub(super) node: NodeName,
    pub(super) bucket: String,
    pub(super) replicator: Arc<Replicator>,
    pub(super) interval: Duration,
    /// How long a change may wait.
    pub(super) limit: Option<Duration>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) distributions: Arc<Distributions>,
    /// When the node began, by the monotonic clock.
    pub(super) since: Duration,
    /// What the other nodes ask for.
    pub(super) token: Option<String>,
    pub(super) seen: tokio::sync::Mutex<Option<(Duration, Arc<Seen>)>>,
    pub(super) histories: Mutex<VecDeque<Remembered>>,
    /// Catalogs are large: one at a time.
    pub(super) catalogs: Semaphore,
}

/// The fleet, and what the other nodes say.
pub(super) struct Seen {
    sighting: Sighting,
    answers: BTreeMap<NodeName, Result<Answer, String>>,
}

/// What a catalog said of a database.
pub(super) struct Remembered {
    path: SourcePath,
    newest: Option<Hour>,
    at: Duration,
    history: Option<History>,
}

impl Sources {
    /// All that the page shows.
    pub(super) async fn view(
        &self,
        query: Query,
        unready: impl Future<Output = Option<String>>,
    ) -> View {
        let Self { replicator, .. } = self;
        let (shards, portrait, seen, unready, search, database) = tokio::join!(
            self.within(ANSWER, replicator.shards()),
            self.within(ANSWER, replicator.portrait(NAMED)),
            self.seen(),
            unready,
            self.search(query.words),
            self.database(query.database),
        );
        let statistics = replicator.statistics();
        let (now, monotonic) = (self.clock.now(), self.clock.monotonic());
        let lease = replicator.lease();
        let own: &[ShardStatus] = shards.as_deref().unwrap_or_default();
        let me = Myself {
            name: &self.node,
            shards: own,
            is_trusted: lease.as_ref().is_none_or(ultrasimple_cluster::Lease::is_trusted),
            month_dollars: statistics.projected_month.map(|month| month.dollars),
            stored_bytes: statistics.kept.bytes,
        };
        let limit = self.limit.map_or(f64::INFINITY, |limit| limit.as_secs_f64());
        let fleet = match &seen {
            Ok(Some(seen)) => FleetView::of(&me, &seen.sighting, &seen.answers, limit),
            Ok(None) => FleetView::alone(&me, limit),
            Err(why) => {
                let mut fleet = FleetView::alone(&me, limit);
                (fleet.is_fleet, fleet.unseen) = (true, Some(why.clone()));
                fleet
            }
        };
        let database = database.map(|(mut view, key)| {
            let owner = key.and_then(|key| fleet.owner(&key));
            let owner = owner.filter(|_| view.status.is_none());
            view.elsewhere = owner.map(|(name, link)| (name.to_owned(), link.map(str::to_owned)));
            view
        });
        View {
            now,
            node: self.node.to_string(),
            version: env!("CARGO_PKG_VERSION"),
            uptime: monotonic.saturating_sub(self.since),
            bucket: self.bucket.clone(),
            interval: self.interval,
            lease: lease.map(|lease| lease.remaining()),
            limit: self.limit,
            unready,
            statistics,
            shards: shards.as_ref().map(|shards| together(shards)).map_err(Clone::clone),
            portrait: portrait.map(Option::unwrap_or_default),
            cycles: replicator.recent_cycles(),
            protected: self.protected(),
            fleet,
            search,
            database,
        }
    }

    async fn within<T, E: std::fmt::Display>(
        &self,
        limit: Duration,
        asked: impl Future<Output = Result<T, E>>,
    ) -> Result<T, String> {
        match tokio::time::timeout(limit, asked).await {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(_) => Err(format!("no answer within {} s", limit.as_secs_f64())),
        }
    }

    fn protected(&self) -> Reading {
        let none = Reading::default();
        self.distributions.exposure().read().next().map_or(none, |(_, reading)| reading)
    }

    /// The fleet, and what its other nodes say; `None` without a fleet. Who asks while others are asked waits for what
    /// they learn.
    async fn seen(&self) -> Result<Option<Arc<Seen>>, String> {
        if self.replicator.lease().is_none() {
            return Ok(None);
        }
        let mut last = self.seen.lock().await;
        let now = self.clock.monotonic();
        if let Some((_, seen)) = last.as_ref().filter(|(at, _)| now.saturating_sub(*at) < FRESH) {
            return Ok(Some(Arc::clone(seen)));
        }
        let sighting = tokio::time::timeout(ANSWER, self.replicator.fleet()).await;
        let Ok(Some(sighting)) = sighting else {
            return Err("who owns what is not known now".to_owned());
        };
        let nodes = sighting.view.nodes.iter().filter(|(name, _)| **name != self.node);
        let nodes = nodes.map(|(name, node)| (name.clone(), node.record.address.clone()));
        let nodes = nodes.filter(|(_, address)| !address.is_empty()).collect();
        let answers = peers::all(nodes, self.token.as_deref(), PEERS).await;
        let seen = Arc::new(Seen { sighting, answers });
        *last = Some((self.clock.monotonic(), Arc::clone(&seen)));
        Ok(Some(seen))
    }

    async fn search(&self, words: Option<String>) -> Option<SearchView> {
        let words = words?;
        let wanted = words.clone();
        let is_wanted = move |path: &SourcePath| query::is_in(&wanted, &path.to_string());
        let found = self.replicator.find(is_wanted, FOUND, SEARCH);
        let found = self.within(SEARCH + ANSWER, found).await;
        Some(SearchView { words, found })
    }

    /// A database, and its shard where a scan shows it.
    async fn database(
        &self,
        path: Option<SourcePath>,
    ) -> Option<(DatabaseView, Option<ultrasimple_core::ShardKey>)> {
        let path = path?;
        let wanted = path.clone();
        let found = self.replicator.find(move |path| *path == wanted, 1, SEARCH);
        let found = self.within(SEARCH + ANSWER, found).await.unwrap_or_default();
        let (key, status) = match found.databases.into_iter().next() {
            Some(Database { shard, status, .. }) => (Some(shard), status),
            None => (None, None),
        };
        let newest = status.as_ref().and_then(|status| status.newest);
        let history = self.history(&path, newest).await;
        let shard = key.as_ref().map(|key| format!("{} of {}", key.shard.0, key.volume));
        Some((DatabaseView { path, shard, elsewhere: None, status, history }, key))
    }

    /// The hours held of a database: of its catalog, which is read once in a while. `newest`: that of its newest backup.
    async fn history(
        &self,
        path: &SourcePath,
        newest: Option<Hour>,
    ) -> Result<Option<History>, String> {
        // Whoever waits finds what the one before was told.
        let permit = tokio::time::timeout(CATALOG, self.catalogs.acquire()).await;
        let Ok(Ok(_permit)) = permit else { return Err("others are being answered".to_owned()) };
        let now = self.clock.monotonic();
        {
            let kept = self.histories.lock().unwrap_or_else(PoisonError::into_inner);
            let is_it = |it: &&Remembered| {
                it.path == *path && it.newest == newest && now.saturating_sub(it.at) < KEPT
            };
            if let Some(remembered) = kept.iter().find(is_it) {
                return Ok(remembered.history.clone());
            }
        }
        let history = self.within(CATALOG, self.replicator.history(path)).await?;
        let mut kept = self.histories.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|it| it.path != *path);
        kept.truncate(REMEMBERED - 1);
        let (path, at) = (path.clone(), now);
        kept.push_front(Remembered { path, newest, at, history: history.clone() });
        Ok(history)
    }
}

fn together(shards: &[ShardStatus]) -> OfShards {
    OfShards {
        databases: shards.iter().map(|shard| shard.databases).sum(),
        pending: shards.iter().map(|shard| shard.pending).sum(),
        failing: shards.iter().map(|shard| shard.failing).sum(),
        exposure: shards.iter().map(|shard| shard.exposure_seconds).fold(0.0, f64::max),
    }
}

/// A directory of this host is nobody's business.
pub(super) fn in_words(location: &str) -> String {
    let is_directory = location.starts_with("file:") || location.starts_with('/');
    if is_directory { "a directory".to_owned() } else { location.to_owned() }
}
