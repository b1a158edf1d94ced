//! `status`: the fleet at a glance, from etcd and the nodes, or from the one daemon; and the bucket, from the cluster
//! file, the catalogs and the holds. No object is looked at.

use std::collections::BTreeMap;

use std::time::Duration;

use anyhow::Context;
use serde::Serialize;
use ultrasimple_core::cluster_file::{ClusterFile, Holder};
use ultrasimple_core::config::StoreSettings;
use ultrasimple_core::{KeyStem, SourcePath, Timestamp, VolumeName};
use ultrasimple_keeper::Holds;
use ultrasimple_store::Store;

use crate::find::LOOKS_IN_FLIGHT;
use crate::fleet::glance::Glance;
use crate::fleet::source::{Found, Source};
use crate::fleet::watch::time_span;
use crate::known::{self, Entry, Known};
use crate::{Outcome, Usage, connect, show};

pub(crate) const EXAMPLES: &str = "\
With -etcd it tells of the fleet, without of the daemon at -http, if one answers; with -bucket also of the bucket:
it reads the cluster file, the catalogs and the list of holds, a few hundred requests at most. What the objects say
is shown by databases, and proved by verify.

Exit status: 0 all well; 3 something needs attention: a shard without an owner, a change that has been waiting for
longer than --max-exposure, a node that does not answer, a catalog that cannot be used, a newest backup that is
marked or faulty, a database whose last check failed; 1 when etcd or the bucket does not answer.";

/// Databases that are named for people.
const NAMED: usize = 20;

#[derive(Debug, clap::Args)]
pub(crate) struct Status {
    /// How long a change may wait for its backup
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = time_span)]
    max_exposure: Duration,
}

/// The JSON document, see docs/CTL.md: all of the bucket, where there is one, and the fleet or the daemon.
#[derive(Debug, Serialize)]
struct Document {
    #[serde(flatten)]
    bucket: Option<OfBucket>,
    fleet: Option<Glance>,
    daemon: Option<Glance>,
}

#[derive(Debug, Default, Serialize)]
struct OfBucket {
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
    gone: u64,
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
/// When etcd does not answer, or the store cannot be read.
pub(crate) async fn run(
    source: &Source,
    settings: &StoreSettings,
    args: &Status,
    json: bool,
) -> anyhow::Result<Outcome> {
    let found = source.look().await?;
    let seen = match (&settings.bucket, &found) {
        (Some(_), _) => {
            let store = connect::open(settings, LOOKS_IN_FLIGHT).await?;
            Some(look(store.as_ref()).await?)
        }
        (None, Found::Nobody(why)) => {
            let text = "-bucket is missing: say where the backups are; or say with -etcd where the fleet is";
            return Err(Usage(format!("{text} (no daemon answers: {why})")).into());
        }
        (None, _) => None,
    };
    let document = Document::of(found, seen, args.max_exposure);
    if json {
        show::print_json(&document)?;
    } else {
        show::print(&document.text())?;
    }
    Ok(if document.is_well() { Outcome::AllWell } else { Outcome::SomeFailed })
}

/// What the bucket has to say, and its random name.
async fn look(store: &dyn Store) -> anyhow::Result<(OfBucket, Option<String>)> {
    let location = store.location();
    let cannot = || format!("cannot list the catalogs and holds in {location}");
    let cluster = known::cluster_file(store).await?;
    let known = Known::load(store, false).await.with_context(cannot)?;
    let holds = Holds::list(store).await.with_context(cannot)?;
    let mut status = OfBucket::of(&known);
    location.clone_into(&mut status.location);
    status.held = holds.len();
    let name = cluster.as_ref().map(|file| file.bucket.clone());
    status.cluster = cluster.map(|ClusterFile { shards, generation, holder, .. }| Cluster {
        shards,
        generation,
        holder,
    });
    Ok((status, name))
}

impl Document {
    fn of(found: Found, bucket: Option<(OfBucket, Option<String>)>, limit: Duration) -> Self {
        let (bucket, name) = bucket.map_or((None, None), |(bucket, name)| (Some(bucket), name));
        let (mut fleet, mut daemon) = (None, None);
        match found {
            Found::Fleet(found) => {
                let mut glance = Glance::of_fleet(&found, limit);
                if let Some(bucket) = &bucket {
                    let volumes = bucket.volumes.iter();
                    let volumes = volumes.map(|(name, it)| (name.clone(), it.databases - it.gone));
                    glance.compare_volumes(&volumes.collect());
                }
                let theirs = found.state.fleet.as_ref().map(|fleet| &fleet.bucket);
                if theirs.is_some() && bucket.is_some() && theirs != name.as_ref() {
                    let text =
                        "the fleet backs up to another bucket than the one that -bucket names";
                    glance.attention.push(text.to_owned());
                }
                fleet = Some(glance);
            }
            Found::Daemon(answer) => {
                // One that is about another bucket happens to be on this host.
                let location = bucket.as_ref().map(|bucket| &bucket.location);
                let is_it = location.is_none() || location == answer.node.bucket.as_ref();
                daemon = is_it.then(|| Glance::of_daemon(&answer, limit));
            }
            Found::Nobody(_) => {}
        }
        Self { bucket, fleet, daemon }
    }

    fn glance(&self) -> Option<&Glance> {
        self.fleet.as_ref().or(self.daemon.as_ref())
    }

    fn is_well(&self) -> bool {
        self.bucket.as_ref().is_none_or(OfBucket::is_well)
            && self.glance().is_none_or(|glance| glance.attention.is_empty())
    }

    fn text(&self) -> String {
        let glance = self.glance().map(Glance::text).unwrap_or_default();
        let bucket = self.bucket.as_ref().map(OfBucket::text).unwrap_or_default();
        let between = if glance.is_empty() || bucket.is_empty() { "" } else { "\n" };
        format!("{glance}{between}{bucket}")
    }
}

impl OfBucket {
    fn is_well(&self) -> bool {
        self.attention.is_empty() && self.catalogs.unusable.is_empty()
    }

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
            volume.gone += u64::from(entry.gone_since.is_some());
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
