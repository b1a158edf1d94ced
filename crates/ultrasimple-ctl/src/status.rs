//! `status`: the bucket at a glance, from the cluster file, the catalogs and the holds. No object is looked at.

use std::collections::BTreeMap;

use anyhow::Context;
use serde::Serialize;
use ultrasimple_core::cluster_file::{ClusterFile, Holder};
use ultrasimple_core::{KeyStem, SourcePath, Timestamp, VolumeName};
use ultrasimple_keeper::Holds;
use ultrasimple_store::Store;

use crate::known::{self, Entry, Known};
use crate::{Outcome, show};

pub(crate) const EXAMPLES: &str = "\
Reads the cluster file, the catalogs and the list of holds: a few hundred requests at most. What the objects say is
shown by databases, and proved by verify.

Exit status: 0 all well, 3 something needs attention: a catalog that cannot be used, a newest backup that is marked
or faulty, a database whose last check failed.";

/// Databases that are named for people.
const NAMED: usize = 20;

/// The JSON document; see docs/CTL.md.
#[derive(Debug, Default, Serialize)]
struct Status {
    location: String,
    cluster: Option<Cluster>,
    volumes: BTreeMap<VolumeName, Volume>,
    catalogs: Catalogs,
    databases: u64,
    gone: u64,
    held: usize,
    backups: u64,
    object_bytes: u64,
    failed_checks: u64,
    marked_newest: u64,
    faulty_newest: u64,
    /// In all backups, the newest included.
    faults: u64,
    /// Databases whose newest backup was never verified.
    never_verified: u64,
    oldest_never_verified: Option<Timestamp>,
    reconciled_at: Option<Timestamp>,
    attention: Vec<Attention>,
}

#[derive(Debug, Serialize)]
struct Cluster {
    shards: u32,
    generation: u64,
    holder: Holder,
}

#[derive(Debug, Default, Serialize)]
struct Volume {
    catalogs: u64,
    databases: u64,
    backups: u64,
    object_bytes: u64,
}

#[derive(Debug, Default, Serialize)]
struct Catalogs {
    number: usize,
    oldest_written_at: Option<Timestamp>,
    newest_written_at: Option<Timestamp>,
    unusable: Vec<Unusable>,
}

#[derive(Debug, Serialize)]
struct Unusable {
    key: String,
    reason: String,
}

/// A database that somebody should look after.
#[derive(Debug, Serialize)]
struct Attention {
    stem: KeyStem,
    path: SourcePath,
    reason: String,
}

/// Prints it.
///
/// # Errors
/// When the store cannot be read.
pub(crate) async fn run(store: &dyn Store, json: bool) -> anyhow::Result<Outcome> {
    let location = store.location();
    let cannot = || format!("cannot list the catalogs and holds in {location}");
    let cluster = known::cluster_file(store).await?;
    let known = Known::load(store, false).await.with_context(cannot)?;
    let holds = Holds::list(store).await.with_context(cannot)?;
    let mut status = Status::of(&known);
    location.clone_into(&mut status.location);
    status.held = holds.len();
    status.cluster = cluster.map(|ClusterFile { shards, generation, holder, .. }| Cluster {
        shards,
        generation,
        holder,
    });
    if json {
        show::print_json(&status)?;
    } else {
        show::print(&status.text())?;
    }
    let all_well = status.attention.is_empty() && status.catalogs.unusable.is_empty();
    Ok(if all_well { Outcome::AllWell } else { Outcome::SomeFailed })
}

impl Status {
    fn of(known: &Known) -> Self {
        let mut status = Self::default();
        let written = || known.catalogs.iter().map(|head| head.written_at);
        let unusable = known.unusable.iter().map(|(key, reason)| Unusable {
            key: key.object_key().to_string(),
            reason: reason.clone(),
        });
        status.catalogs = Catalogs {
            number: known.catalogs.len() + known.unusable.len(),
            oldest_written_at: written().min(),
            newest_written_at: written().max(),
            unusable: unusable.collect(),
        };
        status.reconciled_at = known.catalogs.iter().filter_map(|head| head.reconciled_at).max();
        for head in &known.catalogs {
            status.volumes.entry(head.key.volume.clone()).or_default().catalogs += 1;
        }
        for (stem, entry) in known.databases() {
            status.add(known, stem, entry);
        }
        status
    }

    fn add(&mut self, known: &Known, stem: &KeyStem, entry: &Entry) {
        self.databases += 1;
        self.gone += u64::from(entry.gone_since.is_some());
        self.backups += entry.backups;
        self.object_bytes = self.object_bytes.saturating_add(entry.bytes);
        self.faults += entry.faults;
        if let Some(volume) = known.volume(entry).and_then(|name| self.volumes.get_mut(name)) {
            volume.databases += 1;
            volume.backups += entry.backups;
            volume.object_bytes = volume.object_bytes.saturating_add(entry.bytes);
        }
        if entry.verified_at.is_none() {
            self.never_verified += 1;
            let captured_at = entry.newest.as_ref().map(|newest| newest.captured_at);
            let captured_at = captured_at.unwrap_or_else(|| entry.newest_hour.start());
            let oldest = self.oldest_never_verified.get_or_insert(captured_at);
            *oldest = captured_at.min(*oldest);
        }
        let marked = entry.newest.as_ref().and_then(|newest| newest.marked.as_deref());
        self.marked_newest += u64::from(marked.is_some());
        self.faulty_newest += u64::from(entry.fault.is_some());
        self.failed_checks += u64::from(entry.failed_check.is_some());
        let reasons = [
            ("its newest backup is faulty", entry.fault.as_deref()),
            ("its newest backup is marked", marked),
            ("its last check failed", entry.failed_check.as_deref()),
        ];
        for (what, why) in reasons {
            if let Some(why) = why {
                let (stem, path) = (stem.clone(), entry.path.clone());
                self.attention.push(Attention { stem, path, reason: format!("{what}: {why}") });
            }
        }
    }

    fn text(&self) -> String {
        let none = || "none".to_owned();
        let time = |time: Option<Timestamp>| time.map_or_else(|| "never".to_owned(), show::time);
        let cluster = self.cluster.as_ref().map(|cluster| {
            let Cluster { shards, generation, holder } = cluster;
            format!("{shards} shards, generation {generation}, last taken by {holder}")
        });
        let volumes: Vec<_> = self.volumes.keys().map(ToString::to_string).collect();
        let catalogs = match (self.catalogs.number, self.catalogs.unusable.len()) {
            (0, _) => {
                "none: 'databases' lists the objects, 'catalog rebuild' makes catalogs".to_owned()
            }
            (number, unusable) => {
                let oldest = time(self.catalogs.oldest_written_at);
                let newest = time(self.catalogs.newest_written_at);
                let unusable = match unusable {
                    0 => String::new(),
                    unusable => format!(", {unusable} UNUSABLE"),
                };
                format!("{number}, written {oldest} to {newest}{unusable}")
            }
        };
        let verified = match (self.never_verified, self.databases) {
            (0, _) => "all newest backups".to_owned(),
            (never, all) => format!(
                "{} of {all} newest backups; of the others the oldest is of {}",
                all - never,
                time(self.oldest_never_verified)
            ),
        };
        let lines = [
            ("bucket", self.location.clone()),
            ("cluster file", cluster.unwrap_or_else(none)),
            ("volumes", if volumes.is_empty() { none() } else { volumes.join(", ") }),
            ("catalogs", catalogs),
            ("databases", format!("{}, {} gone, {} held", self.databases, self.gone, self.held)),
            ("backups", format!("{}, {}", self.backups, show::bytes(self.object_bytes))),
            ("verified", verified),
            ("faults", format!("{}, {} in newest backups", self.faults, self.faulty_newest)),
            ("marked", format!("{} newest backups", self.marked_newest)),
            ("checks", format!("{} failed", self.failed_checks)),
            ("reconciled", time(self.reconciled_at)),
        ];
        let mut text: Vec<_> =
            lines.iter().map(|(name, value)| format!("{name:<14}{value}\n")).collect();
        for Unusable { key, reason } in self.catalogs.unusable.iter().take(NAMED) {
            text.push(format!("ATTENTION: the catalog {key} cannot be used: {reason}\n"));
        }
        for Attention { stem, reason, .. } in self.attention.iter().take(NAMED) {
            text.push(format!("ATTENTION: {stem}: {reason}\n"));
        }
        if self.attention.len() > NAMED {
            text.push(format!("and {} more: --json has all\n", self.attention.len() - NAMED));
        }
        text.concat()
    }
}
