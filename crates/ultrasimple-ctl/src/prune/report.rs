//! What retention gives up and what came of it, for people and as JSON (docs/CTL.md).

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use ultrasimple_core::catalog::Record;
use ultrasimple_core::retention::{DeleteReason, KeepReason, Plan, RetentionRules};
use ultrasimple_core::{Catalog, Hour, KeyStem, ShardKey, SourcePath, Timestamp, VolumeName};
use ultrasimple_keeper::{PruneReport, ShardPlan};

use super::Unknown;
use crate::show::{self, Column};
use crate::{Outcome, complain};

/// What came of a backup that no rule wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Came {
    /// A dry run: it would be deleted, if it proves to be what the catalog says.
    WouldGo,
    Deleted,
    /// It was gone already.
    Gone,
    /// It stays, for a good reason.
    Kept,
    /// It could not be looked at or deleted.
    Failed,
}

/// A database of which something is to go, or would be.
#[derive(Debug, Serialize)]
pub(super) struct Database {
    stem: KeyStem,
    path: SourcePath,
    volume: VolumeName,
    /// Why nothing of it may be deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    blocked: Option<String>,
    delete: Vec<Deletion>,
    #[serde(skip_serializing_if = "Option::is_none")]
    keep: Option<Vec<Keep>>,
}

/// A backup that no rule wants.
#[derive(Debug, Serialize)]
struct Deletion {
    key: String,
    #[serde(skip)]
    hour: Hour,
    hour_end: Timestamp,
    object_bytes: u64,
    replaced_by: String,
    unwanted_since: Timestamp,
    #[serde(skip)]
    why: DeleteReason,
    result: Came,
    /// Why it was not deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// A backup that stays by the rules.
#[derive(Debug, Serialize)]
struct Keep {
    key: String,
    #[serde(skip)]
    hour: Hour,
    hour_end: Timestamp,
    object_bytes: u64,
    reason: String,
}

/// What is to be told of a shard. `acted`: what came of it; `None` in a dry run.
pub(super) fn databases(
    catalog: &Catalog,
    plan: &ShardPlan,
    acted: Option<&PruneReport>,
    with_keeps: bool,
) -> Vec<Database> {
    let results = acted.map(results);
    let mut databases = Vec::new();
    for (stem, plan) in &plan.databases {
        let Some(record) = catalog.databases.get(stem) else { continue };
        let is_blocked = plan.keep.iter().any(|(_, reason)| *reason == KeepReason::Blocked);
        if plan.delete.is_empty() && !is_blocked && !with_keeps {
            continue;
        }
        let block = plan.block.as_ref().filter(|_| is_blocked || with_keeps);
        databases.push(Database {
            stem: stem.clone(),
            path: record.path.clone(),
            volume: catalog.key.volume.clone(),
            blocked: block.map(ToString::to_string),
            delete: deletions(stem, record, plan, results.as_ref(), acted),
            keep: with_keeps.then(|| keeps(stem, record, plan)),
        });
    }
    databases
}

fn bytes(record: &Record, hour: Hour) -> u64 {
    record.hour(hour).map_or(0, |held| held.bytes)
}

fn keeps(stem: &KeyStem, record: &Record, plan: &Plan) -> Vec<Keep> {
    let keeps = plan.keep.iter().map(|&(hour, reason)| Keep {
        key: stem.at(hour).to_string(),
        hour,
        hour_end: hour.end(),
        object_bytes: bytes(record, hour),
        reason: reason.to_string(),
    });
    keeps.collect()
}

type Results<'a> = BTreeMap<&'a str, (Came, Option<String>)>;

/// By key.
fn results(acted: &PruneReport) -> Results<'_> {
    let deleted = acted.deleted.iter().map(|key| (key.as_str(), (Came::Deleted, None)));
    let failed = acted.failed.iter().map(|(key, error)| {
        let why = Some(error.to_string());
        (key.as_str(), (Came::Failed, why))
    });
    let kept = acted.unproven.iter().chain(&acted.deferred);
    let kept = kept.map(|(key, why)| (key.as_str(), (Came::Kept, Some(why.clone()))));
    kept.chain(failed).chain(deleted).collect()
}

fn deletions(
    stem: &KeyStem,
    record: &Record,
    plan: &Plan,
    results: Option<&Results<'_>>,
    acted: Option<&PruneReport>,
) -> Vec<Deletion> {
    let refused = acted.and_then(|acted| acted.refused.iter().find(|(other, _)| other == stem));
    let refused = refused.map(|(_, why)| why);
    // Where the newest could not be looked at, nothing else was.
    let newest = record.newest_own().map(|held| stem.at(held.hour).to_string());
    let of_newest = newest.and_then(|key| results?.get(key.as_str()).cloned());
    let came = |key: &str| match (results, refused) {
        (None, _) => (Came::WouldGo, None),
        (Some(_), Some(why)) => (Came::Kept, Some(why.clone())),
        (Some(results), None) => match (results.get(key), &of_newest) {
            (Some(result), _) => result.clone(),
            (None, Some((Came::Failed, why))) => (Came::Failed, why.clone()),
            (None, _) => (Came::Gone, None),
        },
    };
    let deletions = plan.delete.iter().map(|&(hour, why)| {
        let key = stem.at(hour).to_string();
        let (result, reason) = came(&key);
        Deletion {
            key,
            hour,
            hour_end: hour.end(),
            object_bytes: bytes(record, hour),
            replaced_by: stem.at(why.replaced_by).to_string(),
            unwanted_since: why.since,
            why,
            result,
            reason,
        }
    });
    deletions.collect()
}

/// The JSON document; see docs/CTL.md.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    location: String,
    #[serde(serialize_with = "as_text")]
    rules: RetentionRules,
    /// The time that the rules go by.
    now: Timestamp,
    dry_run: bool,
    /// What no rule wants.
    delete: u64,
    delete_bytes: u64,
    deleted: u64,
    deleted_bytes: u64,
    /// Of what should have gone: what could not be looked at or deleted, or did not prove to be what the
    /// catalog says.
    not_deleted: u64,
    /// What stays by the rules.
    keep: u64,
    databases: Vec<Database>,
    /// Databases that no catalog knows. `None`: nobody looked.
    pub(super) unknown: Option<Unknown>,
    catalogs_failed: Vec<FailedCatalog>,
}

#[derive(Debug, Serialize)]
struct FailedCatalog {
    key: String,
    reason: String,
}

fn as_text<S: Serializer>(rules: &RetentionRules, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(rules)
}

impl Report {
    pub(super) fn new(
        location: &str,
        rules: RetentionRules,
        now: Timestamp,
        dry_run: bool,
    ) -> Self {
        Self {
            location: location.to_owned(),
            rules,
            now,
            dry_run,
            delete: 0,
            delete_bytes: 0,
            deleted: 0,
            deleted_bytes: 0,
            not_deleted: 0,
            keep: 0,
            databases: Vec::new(),
            unknown: None,
            catalogs_failed: Vec::new(),
        }
    }

    pub(super) fn add(
        &mut self,
        key: &ShardKey,
        databases: Vec<Database>,
        failed: Option<String>,
        kept: u64,
    ) {
        self.keep += kept;
        for deletion in databases.iter().flat_map(|database| &database.delete) {
            self.delete += 1;
            self.delete_bytes = self.delete_bytes.saturating_add(deletion.object_bytes);
            match deletion.result {
                Came::Deleted => {
                    self.deleted += 1;
                    self.deleted_bytes = self.deleted_bytes.saturating_add(deletion.object_bytes);
                }
                Came::Kept | Came::Failed => self.not_deleted += 1,
                Came::WouldGo | Came::Gone => {}
            }
        }
        self.databases.extend(databases);
        if let Some(reason) = failed {
            self.catalogs_failed.push(FailedCatalog { key: key.object_key().to_string(), reason });
        }
    }

    pub(super) fn outcome(&self) -> Outcome {
        let all_well = self.not_deleted == 0 && self.catalogs_failed.is_empty();
        if all_well { Outcome::AllWell } else { Outcome::SomeFailed }
    }

    pub(super) fn print(&mut self, verbose: bool, json: bool) -> anyhow::Result<()> {
        self.databases.sort_by(|a, b| a.stem.cmp(&b.stem));
        if json {
            show::print_json(self)?;
            return Ok(());
        }
        for FailedCatalog { key, reason } in &self.catalogs_failed {
            complain(&format!(
                "the catalog {key}: {reason}; 'ultrasimple-ctl catalog rebuild' makes one anew that \
                 cannot be read"
            ));
        }
        self.tell_unknown();
        let rows: Vec<_> =
            self.databases.iter().flat_map(|database| rows(database, verbose)).collect();
        let columns = [
            Column::long("DATABASE"),
            Column::text("HOUR"),
            Column::number("SIZE"),
            Column::text("RESULT"),
            Column::long("REASON"),
        ];
        let table = if rows.is_empty() {
            String::new()
        } else {
            show::table(&columns, &rows, show::terminal_width())
        };
        show::print(&format!("{table}{}\n", self.summary()))?;
        Ok(())
    }

    fn tell_unknown(&self) {
        let Some(unknown) = self.unknown.as_ref().filter(|unknown| !unknown.is_empty()) else {
            return;
        };
        let databases = show::count(unknown.len(), "database");
        let some: Vec<_> = unknown.iter().take(3).map(ToString::to_string).collect();
        let more = if unknown.len() > some.len() { ", …" } else { "" };
        complain(&format!(
            "no catalog knows {databases}, of which nothing is deleted: {}{more}; the daemon writes its \
             catalogs about hourly, and 'ultrasimple-ctl catalog rebuild' takes up what is missing",
            some.join(", ")
        ));
    }

    fn summary(&self) -> String {
        let backups =
            |number: u64| show::count(usize::try_from(number).unwrap_or(usize::MAX), "backup");
        let (rules, now) = (self.rules, show::time(self.now));
        let rules = format!("the rules are {rules}, at {now}");
        if self.dry_run {
            let (delete, bytes) = (backups(self.delete), show::bytes(self.delete_bytes));
            return format!("would delete {delete} ({bytes}) and keep {}; {rules}", self.keep);
        }
        let (deleted, bytes) = (backups(self.deleted), show::bytes(self.deleted_bytes));
        let not = match self.not_deleted {
            0 => String::new(),
            number => format!(", {} NOT DELETED", backups(number)),
        };
        format!("deleted {deleted} ({bytes}){not}, kept {}; {rules}", self.keep)
    }
}

fn rows(database: &Database, verbose: bool) -> Vec<Vec<String>> {
    let row = |hour: Hour, bytes: u64, result: &str, reason: String| {
        let stem = database.stem.to_string();
        (hour, vec![stem, hour.to_string(), show::bytes(bytes), result.to_owned(), reason])
    };
    let deletions = database.delete.iter().map(|deletion| {
        let result = match deletion.result {
            Came::WouldGo => "would go",
            Came::Deleted => "deleted",
            Came::Gone => "was gone",
            Came::Kept => "KEPT",
            Came::Failed => "FAILED",
        };
        let reason = deletion.reason.clone().unwrap_or_else(|| deletion.why.to_string());
        row(deletion.hour, deletion.object_bytes, result, reason)
    });
    let keeps = database.keep.iter().flatten().filter(|_| verbose);
    let keeps = keeps.map(|keep| row(keep.hour, keep.object_bytes, "stays", keep.reason.clone()));
    let mut rows: Vec<_> = deletions.chain(keeps).collect();
    rows.sort_by_key(|(hour, _)| *hour);
    let blocked = database.blocked.iter().map(|why| {
        let (stem, none) = (database.stem.to_string(), String::new);
        vec![stem, none(), none(), "blocked".to_owned(), why.clone()]
    });
    blocked.chain(rows.into_iter().map(|(_, row)| row)).collect()
}
