//! Deleting what retention gives up.
//!
//! The plan is [`ultrasimple_core::retention`]'s, made from a catalog. Acting on it does not trust the catalog:
//! before anything of a database is deleted, its newest backup must be there and say that it is that database's
//! (R4), and so must every backup that is to go (R11). What cannot be proved stays. A deletion that fails is
//! told and tried again the next time.

use std::collections::BTreeMap;

use futures::{StreamExt, stream};
use ultrasimple_core::catalog::{Edit, Record};
use ultrasimple_core::retention::{History, Plan, RetentionRules, plan};
use ultrasimple_core::{Catalog, Hour, KeyStem, ObjectKey, Timestamp, VolumeName};
use ultrasimple_store::{FetchError, Store, StoreError, footer};

use crate::Holds;

/// Databases looked at at once.
const IN_FLIGHT: usize = 16;
/// What one request may delete.
const BATCH: usize = 1_000;

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
    /// What could not be deleted now, and why.
    pub failed: Vec<(ObjectKey, StoreError)>,
    /// What is left alone because it is not provably a backup of its database, and why.
    pub unproven: Vec<(ObjectKey, String)>,
    /// Databases of which nothing was deleted because their newest backup is not there as the catalog
    /// says, and why.
    pub refused: Vec<(KeyStem, String)>,
    /// What is to change in the catalog.
    pub edits: Vec<Edit>,
}

/// Does what a plan says. The `holds` are to be at most a minute old: one that was placed since the plan
/// was made counts.
pub async fn act(
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
    let mut report = PruneReport::default();
    let mut proven = Vec::new();
    while let Some(proof) = proofs.next().await {
        report.unproven.extend(proof.unproven);
        report.refused.extend(proof.refused.map(|why| (proof.stem.clone(), why)));
        report.failed.extend(proof.failed);
        report.edits.extend(proof.edits);
        proven.extend(proof.hours.into_iter().map(|hour| (proof.stem.clone(), hour)));
        if proven.len() >= BATCH {
            let rest = proven.split_off(BATCH);
            delete(store, std::mem::replace(&mut proven, rest), &mut report).await;
        }
    }
    while !proven.is_empty() {
        let rest = proven.split_off(proven.len().min(BATCH));
        delete(store, std::mem::replace(&mut proven, rest), &mut report).await;
    }
    report
}

async fn delete(store: &dyn Store, batch: Vec<(KeyStem, Hour)>, report: &mut PruneReport) {
    let keys: Vec<_> = batch.iter().map(|(stem, hour)| stem.at(*hour).object_key()).collect();
    if keys.is_empty() {
        return;
    }
    let failed: BTreeMap<_, _> = match store.delete(&keys).await {
        Ok(failed) => failed.into_iter().collect(),
        Err(error) => keys.iter().map(|key| (key.clone(), error.clone())).collect(),
    };
    for ((stem, hour), key) in batch.into_iter().zip(keys) {
        if failed.contains_key(&key) {
            continue;
        }
        report.edits.push(Edit::Gone { stem, hour });
        report.deleted.push(key);
    }
    report.failed.extend(failed);
}

/// What is known of one database after looking at its objects.
struct Proof {
    stem: KeyStem,
    /// May go.
    hours: Vec<Hour>,
    unproven: Vec<(ObjectKey, String)>,
    refused: Option<String>,
    failed: Vec<(ObjectKey, StoreError)>,
    edits: Vec<Edit>,
}

enum Seen {
    /// A backup of this database.
    Ours,
    Gone,
    /// Something else, or a backup of another one.
    Foreign(String),
    /// A backup of a newer version of this program.
    Newer(String),
    Failed(StoreError),
}

/// Looking at the objects of one database.
struct Look<'a> {
    store: &'a dyn Store,
    volume: &'a VolumeName,
    stem: &'a KeyStem,
    record: &'a Record,
}

impl Look<'_> {
    /// Looks at the newest backup and at all that are to go.
    async fn prove(self, plan: &Plan) -> Proof {
        let stem = self.stem.clone();
        let mut proof = Proof::of(stem.clone());
        let newest = self.record.hours.iter().rev().find(|held| held.foreign.is_none());
        let Some(newest) = newest else { return proof };
        let refused = |why| format!("its newest backup, {}, {why}", stem.at(newest.hour));
        match self.at(newest.hour).await {
            Seen::Ours => {}
            Seen::Gone => {
                proof.refused = Some(refused("is gone".to_owned()));
                proof.edits.push(Edit::Gone { stem: stem.clone(), hour: newest.hour });
                return proof;
            }
            Seen::Foreign(why) | Seen::Newer(why) => {
                proof.refused = Some(refused(why));
                return proof;
            }
            Seen::Failed(error) => {
                proof.failed.push((stem.at(newest.hour).object_key(), error));
                return proof;
            }
        }
        for &(hour, _) in &plan.delete {
            let key = stem.at(hour).object_key();
            match self.at(hour).await {
                Seen::Ours => proof.hours.push(hour),
                Seen::Gone => proof.edits.push(Edit::Gone { stem: stem.clone(), hour }),
                Seen::Foreign(why) => {
                    if let Some(held) = self.record.hour(hour) {
                        let (stem, etag, why) =
                            (stem.clone(), held.etag.clone(), why.as_str().into());
                        proof.edits.push(Edit::Foreign { stem, hour, etag, why });
                    }
                    proof.unproven.push((key, why));
                }
                Seen::Newer(why) => proof.unproven.push((key, why)),
                Seen::Failed(error) => proof.failed.push((key, error)),
            }
        }
        proof
    }

    async fn at(&self, hour: Hour) -> Seen {
        let found = footer(self.store, &self.stem.at(hour).object_key()).await;
        match found {
            Ok((footer, _)) if footer.volume == *self.volume && footer.path == self.record.path => {
                Seen::Ours
            }
            Ok((footer, _)) => {
                let (path, volume) = (&footer.path, &footer.volume);
                Seen::Foreign(format!("is the backup of {path} (volume {volume})"))
            }
            Err(FetchError::Missing) => Seen::Gone,
            Err(FetchError::Store(error)) => Seen::Failed(error),
            Err(FetchError::Newer(error)) => Seen::Newer(format!("cannot be read: {error}")),
            Err(error) => Seen::Foreign(format!("is not provably a backup: {error}")),
        }
    }
}

impl Proof {
    fn of(stem: KeyStem) -> Self {
        Self {
            stem,
            hours: Vec::new(),
            unproven: Vec::new(),
            refused: None,
            failed: Vec::new(),
            edits: Vec::new(),
        }
    }
}
