//! What people ask of a node that runs: which databases are failing, how long changes wait, where a database is, what
//! the bucket holds of it.
//!
//! Owns none of it. Each answer is a bounded copy, made in one pass; what is large (all paths) is gone through in
//! steps, so that nobody waits for a lock. Called by the daemon's status page.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures::future::try_join_all;
use ultrasimple_cluster::Sighting;
use ultrasimple_core::catalog::{HeldHour, Newest, Record};
use ultrasimple_core::{Clock, Hour, Place, ShardKey, SourcePath, Timestamp};
use ultrasimple_keeper::catalogs::{self, ReadError};

use crate::node::Node;
use crate::scan::DatabaseId;
use crate::shard::Failing;
use crate::shard::portrait::{AGES, ByAge, Standing};
use crate::statistics::PastCycle;
use crate::tree::Tree;
use crate::{CycleError, Replicator};

/// Directories that are gone through before others may change the table.
const AT_ONCE: usize = 64;

/// A database that is failing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailingDatabase {
    /// Where it is.
    pub path: SourcePath,
    /// Its shard.
    pub shard: ShardKey,
    /// Why.
    pub trouble: Trouble,
}

/// Why a database is failing, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// The kind of failure; there are few.
    pub kind: &'static str,
    /// What happened and what to do, in a sentence. It has no path but that of the database.
    pub reason: String,
    /// How long ago the first of the unbroken series was.
    pub lasts: Duration,
    /// How many attempts failed in a row.
    pub attempts: u32,
}

/// How many changes have been waiting for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ages {
    /// No longer than this, and longer than what is counted before. `None`: longer than all.
    pub up_to: Option<Duration>,
    /// Changes of databases that are not failing.
    pub waiting: u64,
    /// Changes of those that are.
    pub failing: u64,
}

/// What is wrong, and what waits.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Portrait {
    /// Those that have been failing for longest, no more than was asked for.
    pub failing: Vec<FailingDatabase>,
    /// From the youngest to the oldest.
    pub ages: Vec<Ages>,
}

/// A database that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    /// Where it is.
    pub path: SourcePath,
    /// Its shard.
    pub shard: ShardKey,
    /// How it stands. `None`: its shard is not this node's.
    pub status: Option<DatabaseStatus>,
}

/// How a database of this node stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DatabaseStatus {
    /// For how long a change has been waiting that the bucket has not yet.
    pub waits: Option<Duration>,
    /// Why its last attempt failed, or its newest backup is marked as damaged.
    pub trouble: Option<Trouble>,
    /// The hour of its newest backup.
    pub newest: Option<Hour>,
    /// How long ago that was stored.
    pub stored: Option<Duration>,
}

/// What a search found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Findings {
    /// The first by their paths, no more than were asked for.
    pub databases: Vec<Database>,
    /// How many match in all.
    pub count: u64,
    /// How many were looked at.
    pub of: u64,
    /// The time was over before all were looked at.
    pub is_partial: bool,
}

/// What the catalog says that the bucket holds of a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// When that was written.
    pub written_at: Timestamp,
    /// The backups, the oldest first.
    pub hours: Vec<HeldHour>,
    /// What the newest is, where that is known.
    pub newest: Option<Newest>,
    /// Since when the database is gone.
    pub gone_since: Option<Timestamp>,
}

impl Replicator {
    /// The fleet, as this node knows it. `None` without one, or when that cannot be told now. To be given a deadline.
    pub async fn fleet(&self) -> Option<Sighting> {
        self.membership()?.look().await
    }

    /// The last cycles, the oldest first: no more than [`crate::RECENT_CYCLES`].
    pub fn recent_cycles(&self) -> Vec<PastCycle> {
        self.counters.recent()
    }

    /// What is wrong with this node's databases, naming no more than `most`, and how long changes wait. `None` while
    /// it does not run.
    ///
    /// # Errors
    /// When an actor does not answer.
    pub async fn portrait(&self, most: usize) -> Result<Option<Portrait>, CycleError> {
        let Some(tree) = self.tree().await? else { return Ok(None) };
        let now = self.clock.monotonic();
        let asked = tree.roster.entries().into_iter().map(|(place, entry)| {
            let tree = &tree;
            async move {
                let answer = entry.owner.portrait(most).await;
                let portrait = tree.unless_gone(place, &entry.owner, answer)?;
                Ok::<_, CycleError>(portrait.map(|it| (entry.owner.seat().shard.clone(), it)))
            }
        });
        let mut failing = Vec::new();
        let mut sums = (ByAge::default(), ByAge::default());
        for (shard, portrait) in try_join_all(asked).await?.into_iter().flatten() {
            add(&mut sums.0, portrait.waiting);
            add(&mut sums.1, portrait.stuck);
            failing.extend(portrait.failing.into_iter().map(|(id, it)| (it, id, shard.clone())));
        }
        failing.sort_by_key(|(it, ..)| it.since);
        let table = tree.table.read().unwrap_or_else(PoisonError::into_inner);
        let failing = failing.into_iter().filter_map(|(failing, id, shard)| {
            let trouble = self.trouble(failing, now);
            Some(FailingDatabase { path: table.path(id)?, shard, trouble })
        });
        Ok(Some(Portrait { failing: failing.take(most).collect(), ages: ages(sums) }))
    }

    /// The databases on this node's volumes for which `is_wanted` holds, whoever owns them: the first `most` by their
    /// paths. What takes longer than `within` is broken off.
    ///
    /// # Errors
    /// When an actor does not answer.
    pub async fn find(
        &self,
        is_wanted: impl Fn(&SourcePath) -> bool + Send + 'static,
        most: usize,
        within: Duration,
    ) -> Result<Findings, CycleError> {
        let Some(tree) = self.tree().await? else { return Ok(Findings::default()) };
        let (clock, searched) = (Arc::clone(&self.clock), Arc::clone(&tree));
        let search = move || search(&searched, &*clock, is_wanted, most, within);
        let gone = CycleError::NoAnswer { who: "the search", why: "any more" };
        let (found, mut findings) = tokio::task::spawn_blocking(search).await.map_err(|_| gone)?;
        let mut standings = self.standings(&tree, &found).await?;
        let databases = found.into_iter().filter_map(|(path, (id, place))| {
            let shard = self.options.volumes.key(place)?;
            Some(Database { path, shard, status: standings.remove(&id) })
        });
        findings.databases = databases.collect();
        Ok(findings)
    }

    /// What the bucket holds of the database at `path`, as its shard's catalog says: a request to the store. `None`
    /// where the catalog does not know it. To be given a deadline.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub async fn history(&self, path: &SourcePath) -> Result<Option<History>, HistoryError> {
        let Some(tree) = self.tree().await? else { return Err(HistoryError::Idle) };
        let shard = self.options.volumes.place(path).and_then(|it| self.options.volumes.key(it));
        let Some(shard) = shard else { return Ok(None) };
        let Some((mut catalog, _)) = catalogs::read(&*self.store, &shard).await? else {
            return Ok(None);
        };
        let record = tree.namer.stem(path).and_then(|stem| catalog.databases.remove(&stem));
        let of_path = |record: &Record| record.path == *path;
        Ok(record.filter(of_path).map(|Record { hours, newest, gone_since, .. }| History {
            written_at: catalog.written_at,
            hours,
            newest,
            gone_since,
        }))
    }

    async fn tree(&self) -> Result<Option<Arc<Tree>>, CycleError> {
        let running: Option<Node> =
            self.running.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match running {
            Some(node) => node.tree().await.map(Some),
            None => Ok(None),
        }
    }

    /// How those stand that are this node's.
    async fn standings(
        &self,
        tree: &Tree,
        found: &[(SourcePath, (DatabaseId, Place))],
    ) -> Result<BTreeMap<DatabaseId, DatabaseStatus>, CycleError> {
        let mut by_place: BTreeMap<Place, Vec<DatabaseId>> = BTreeMap::new();
        for (_, (id, place)) in found {
            by_place.entry(*place).or_default().push(*id);
        }
        let now = self.clock.monotonic();
        let asked = by_place.into_iter().filter_map(|(place, ids)| {
            let owner = tree.roster.get(place)?.owner;
            Some(async move {
                let answer = owner.standings(ids.clone()).await;
                let standings = tree.unless_gone(place, &owner, answer)?.unwrap_or_default();
                Ok::<_, CycleError>(ids.into_iter().zip(standings).collect::<Vec<_>>())
            })
        });
        let standings = try_join_all(asked).await?.into_iter().flatten();
        Ok(standings.map(|(id, standing)| (id, self.status(standing, now))).collect())
    }

    fn status(&self, standing: Standing, now: Duration) -> DatabaseStatus {
        let Standing { waiting_since, failing, newest } = standing;
        DatabaseStatus {
            waits: waiting_since.map(|since| now.saturating_sub(since)),
            trouble: failing.map(|failing| self.trouble(failing, now)),
            newest: newest.map(|(hour, _)| hour),
            stored: newest.map(|(_, at)| now.saturating_sub(at)),
        }
    }

    /// For people, who need not know where this node keeps its scratch.
    fn trouble(&self, Failing { failure, since, attempts }: Failing, now: Duration) -> Trouble {
        let scratch = self.options.scratch.to_string_lossy();
        let reason = match &*scratch {
            "" | "/" => failure.reason,
            scratch => failure.reason.replace(scratch, "(scratch)"),
        };
        Trouble { kind: failure.kind, reason, lasts: now.saturating_sub(since), attempts }
    }
}

/// Why what the bucket holds of a database cannot be told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// Nothing runs.
    #[error("the node does not back anything up now")]
    Idle,
    /// An actor does not answer.
    #[error("{0}")]
    Actors(#[from] CycleError),
    /// The catalog cannot be read.
    #[error("{0}")]
    Catalog(#[from] ReadError),
}

type Found = Vec<(SourcePath, (DatabaseId, Place))>;

/// Goes through all paths, a few directories at a time. Blocks.
fn search(
    tree: &Tree,
    clock: &dyn Clock,
    is_wanted: impl Fn(&SourcePath) -> bool,
    most: usize,
    within: Duration,
) -> (Found, Findings) {
    let end = clock.monotonic().saturating_add(within);
    let mut first: BTreeSet<(SourcePath, (DatabaseId, Place))> = BTreeSet::new();
    let mut findings = Findings::default();
    let mut next = Some(0);
    while let Some(from) = next {
        let table = tree.table.read().unwrap_or_else(PoisonError::into_inner);
        next = table.visit(from, AT_ONCE, |id, place, path| {
            let Some(place) = place else { return };
            findings.of += 1;
            let path = SourcePath::from_bytes(path);
            if is_wanted(&path) {
                findings.count += 1;
                first.insert((path, (id, place)));
                if first.len() > most {
                    first.pop_last();
                }
            }
        });
        drop(table);
        if next.is_some() && clock.monotonic() >= end {
            findings.is_partial = true;
            break;
        }
    }
    (first.into_iter().collect(), findings)
}

fn add(sum: &mut ByAge, counts: ByAge) {
    for (sum, count) in sum.iter_mut().zip(counts) {
        *sum += count;
    }
}

fn ages((waiting, failing): (ByAge, ByAge)) -> Vec<Ages> {
    let bounds = AGES.iter().copied().map(Some).chain([None]);
    let counts = waiting.into_iter().zip(failing);
    bounds.zip(counts).map(|(up_to, (waiting, failing))| Ages { up_to, waiting, failing }).collect()
}
