//! Deleting what retention gives up.
//!
//! The plan is [`ultrasimple_core::retention`]'s, made from a catalog. Acting on it does not trust the catalog:
//! before anything is deleted, the footers are read. A backup goes only if it is provably one of this database
//! and hour (R11), if the one that the plan says took its place is there, is provably so too, and is not marked
//! or found faulty (or both are), and if the newest that the catalog knows is there and good (R4). So whatever
//! a catalog claims, stale or wrong: of each database, the newest provable backup of the bucket stays. What
//! cannot be proved stays, too. A deletion that fails is told and tried again the next time.
//!
//! The requests: of each database of which something is to go, a footer for the newest, for each that is to go,
//! and for each that took such a one's place. So pruning daily costs a third of pruning hourly.

mod proof;

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{StreamExt, stream};
use tokio::time::Instant;
use ultrasimple_core::catalog::{Edit, Record};
use ultrasimple_core::retention::{History, Plan, RetentionRules, plan};
use ultrasimple_core::{Catalog, Hour, KeyStem, ObjectKey, Timestamp};
use ultrasimple_store::{Store, StoreError};
use ultrasimple_trace::catalogue::{DELETED, NOT_DELETED, RETENTION, SHARD, UNPROVEN, VOLUME};
use ultrasimple_trace::child;

use crate::Holds;
use proof::Look;

/// Databases looked at at once.
const IN_FLIGHT: usize = 16;
/// What one request may delete.
const BATCH: usize = 1_000;
/// Holds listed longer ago than this are listed again before anything is deleted.
const HOLDS_AGE: Duration = Duration::from_mins(1);

/// What is to go of the databases of one shard, and when there will be more.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ShardPlan {
    /// The plans of the databases.
    pub databases: BTreeMap<KeyStem, Plan>,
    /// When there will be more to delete, at the earliest. `None`: never, as things are.
    pub next: Option<Timestamp>,
}

impl ShardPlan {
    /// Number of backups that are to go.
    pub fn deletions(&self) -> usize {
        self.databases.values().map(|plan| plan.delete.len()).sum()
    }
}

/// Plans for all databases of a shard.
pub fn plan_shard(
    catalog: &Catalog,
    rules: &RetentionRules,
    now: Timestamp,
    holds: &Holds,
) -> ShardPlan {
    let mut result = ShardPlan::default();
    for (stem, record) in &catalog.databases {
        let plan = plan_database(record, rules, now, holds.holds(stem));
        result.next = [result.next, plan.next].into_iter().flatten().min();
        result.databases.insert(stem.clone(), plan);
    }
    result
}

/// Plans for one database. What was found not to be its backup is left out: it is not touched.
pub fn plan_database(
    record: &Record,
    rules: &RetentionRules,
    now: Timestamp,
    is_held: bool,
) -> Plan {
    let ours = record.hours.iter().filter(|held| held.foreign.is_none());
    let hours: Vec<_> = ours.map(|held| held.hour).collect();
    let history = History {
        hours: &hours,
        newest_is_bad: record.newest_is_bad(),
        last_check_failed: record.failed_check.as_deref(),
        is_held,
    };
    plan(rules, now, &history)
}

/// What became of a plan.
#[derive(Debug, Default)]
pub struct PruneReport {
    /// What has been deleted.
    pub deleted: Vec<ObjectKey>,
    /// What could not be looked at or deleted now, and why.
    pub failed: Vec<(ObjectKey, StoreError)>,
    /// What is left alone because it is not provably a backup of its database and hour, and why.
    pub unproven: Vec<(ObjectKey, String)>,
    /// What stays for now because the backup that took its place is known to be bad, and why.
    pub deferred: Vec<(ObjectKey, String)>,
    /// Databases of which nothing was deleted because their newest backup is not there as the catalog
    /// says, or is bad, and why.
    pub refused: Vec<(KeyStem, String)>,
    /// What is to change in the catalog: to be written even when nothing was deleted. Until it is, the
    /// same is looked at again.
    pub edits: Vec<Edit>,
}

/// Does what a plan says. Neither the plan nor the catalog need be fresh. The `holds` are to be at most a
/// minute old: those placed since the plan was made count, and in a long run they are listed again.
pub async fn act(
    store: &dyn Store,
    catalog: &Catalog,
    plan: &ShardPlan,
    holds: &Holds,
) -> PruneReport {
    let mut span = child(&RETENTION);
    span.say(&VOLUME, &catalog.key.volume);
    span.set(&SHARD, u64::from(catalog.key.shard.0));
    let report = span.within(delete(store, catalog, plan, holds)).await;
    span.set(&DELETED, report.deleted.len());
    span.set(&NOT_DELETED, report.failed.len());
    span.set(&UNPROVEN, report.unproven.len());
    if let Some((key, error)) = report.failed.first() {
        span.fail("store", &format_args!("{key}: {error}"));
    }
    report
}

async fn delete(
    store: &dyn Store,
    catalog: &Catalog,
    plan: &ShardPlan,
    holds: &Holds,
) -> PruneReport {
    let volume = &catalog.key.volume;
    let mut work = Vec::new();
    for (stem, plan) in &plan.databases {
        let record = catalog.databases.get(stem).filter(|_| !plan.delete.is_empty());
        if let Some(record) = record.filter(|_| !holds.holds(stem)) {
            work.push(Look { store, volume, stem, record }.prove(plan));
        }
    }
    let mut proofs = stream::iter(work).buffer_unordered(IN_FLIGHT);
    let mut deletion = Deletion::new(store, holds);
    while let Some(proof) = proofs.next().await {
        let report = &mut deletion.report;
        report.unproven.extend(proof.unproven);
        report.deferred.extend(proof.deferred);
        report.refused.extend(proof.refused.map(|why| (proof.stem.clone(), why)));
        report.failed.extend(proof.failed);
        report.edits.extend(proof.edits);
        let hours = proof.hours.into_iter().map(|hour| (proof.stem.clone(), hour));
        deletion.proven.extend(hours);
        while deletion.proven.len() >= BATCH {
            deletion.send().await;
        }
    }
    while !deletion.proven.is_empty() {
        deletion.send().await;
    }
    deletion.report
}

/// Deleting what is proved, by the thousand.
struct Deletion<'a> {
    store: &'a dyn Store,
    holds: Holds,
    listed_at: Instant,
    /// What may go.
    proven: Vec<(KeyStem, Hour)>,
    report: PruneReport,
}

impl<'a> Deletion<'a> {
    fn new(store: &'a dyn Store, holds: &Holds) -> Self {
        let (holds, listed_at) = (holds.clone(), Instant::now());
        Self { store, holds, listed_at, proven: Vec::new(), report: PruneReport::default() }
    }

    /// Deletes as much as one request may.
    async fn send(&mut self) {
        let rest = self.proven.split_off(self.proven.len().min(BATCH));
        let batch = std::mem::replace(&mut self.proven, rest);
        let renewed = self.renew_holds().await;
        let batch: Vec<_> = batch.into_iter().filter(|(stem, _)| !self.holds.holds(stem)).collect();
        let keys: Vec<_> = batch.iter().map(|(stem, hour)| stem.at(*hour).object_key()).collect();
        if keys.is_empty() {
            return;
        }
        let deleted = match renewed {
            Ok(()) => self.store.delete(&keys).await,
            Err(error) => Err(error),
        };
        let failed: BTreeMap<_, _> = match deleted {
            Ok(failed) => failed.into_iter().collect(),
            Err(error) => keys.iter().map(|key| (key.clone(), error.clone())).collect(),
        };
        for ((stem, hour), key) in batch.into_iter().zip(keys) {
            if failed.contains_key(&key) {
                continue;
            }
            self.report.edits.push(Edit::Gone { stem, hour });
            self.report.deleted.push(key);
        }
        self.report.failed.extend(failed);
    }

    async fn renew_holds(&mut self) -> Result<(), StoreError> {
        if self.listed_at.elapsed() > HOLDS_AGE {
            // Before the request: what is placed while it runs may be missing from it.
            let now = Instant::now();
            self.holds = Holds::list(self.store).await?;
            self.listed_at = now;
        }
        Ok(())
    }
}
