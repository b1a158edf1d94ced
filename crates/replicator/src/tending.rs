//! Tending one shard: writing its catalog, deleting what retention gives up, and reading some of its backups
//! back, in one go, so that all of it costs one read and one write of the catalog.
//!
//! Owns the order of these and what is said of their outcome. Does not own when (the agenda does) or what is
//! deleted (`core::retention` does). Called by the keeper, a few shards at a time.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use ultrasimple_core::catalog::{Change, Edit, HeldHour, Record};
use ultrasimple_core::config::KeepSettings;
use ultrasimple_core::retention::safe_now;
use ultrasimple_core::{Catalog, Clock, ETag, Epoch, Hour, KeyStem, NodeName, ShardKey, Timestamp};
use ultrasimple_keeper::catalogs::{self, Author, Opened};
use ultrasimple_keeper::verify::{Expected, VerifyError, verify};
use ultrasimple_keeper::{Holds, PruneReport, UpdateError, Verdict, prune};
use ultrasimple_sqlite::Capturer;
use ultrasimple_store::{Store, StoreError};
use ultrasimple_trace::catalogue::CATALOG;
use ultrasimple_trace::{Tracer, child};

use crate::agenda::{Due, Facts};
use crate::extent::Extent;
use crate::keeping::{KeepingCounters, Kept};
use crate::scan::Identity;
use crate::shard::{LastBackup, Lost};

/// How long a listing of the holds is believed.
const HOLDS_FOR: Duration = Duration::from_mins(1);
/// How long a shard in which something cannot be deleted for a reason that may pass waits for the next look.
const BLOCKED_FOR: Duration = Duration::from_hours(24);

/// So many backups that cannot be read now do not keep others from being verified in their stead; with more, the
/// store is taken for broken.
const MOST_UNREAD: usize = 3;

/// What tending needs of a shard.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) key: ShardKey,
    /// Of its owner.
    pub(crate) epoch: Epoch,
    pub(crate) due: Due,
    /// There was no catalog that could be read.
    pub(crate) is_blank: bool,
    /// The bucket has nothing that the owner does not know.
    pub(crate) is_sure: bool,
    /// What is, or will be, in the catalog, about.
    pub(crate) extent: Extent,
    pub(crate) changes: Vec<Change>,
    /// Databases that are gone, and since when.
    pub(crate) gone: HashMap<Identity, Timestamp>,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Tended {
    pub(crate) facts: Facts,
    pub(crate) kept: Kept,
    /// The newest backup of each database.
    pub(crate) newest: HashMap<Identity, NewestHeld>,
    /// Of the absent ones, what the catalog says now.
    pub(crate) told: HashMap<Identity, Timestamp>,
    /// What was tried.
    pub(crate) done: Due,
    /// Under which the catalog was last written by an owner.
    pub(crate) epoch: Epoch,
}

/// What a catalog says of a newest backup.
#[derive(Debug)]
pub(crate) struct NewestHeld {
    pub(crate) hour: Hour,
    pub(crate) etag: ETag,
    /// It was read back, and cannot be restored.
    pub(crate) is_corrupt: bool,
}

/// Why a shard could not be tended; all of it is tried again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TendError {
    #[error("{0}")]
    Catalog(#[from] UpdateError),
    #[error("{0}")]
    Store(#[from] StoreError),
}

impl TendError {
    /// A word for it.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Catalog(UpdateError::Fenced { .. }) => "fenced",
            Self::Catalog(_) => "catalog",
            Self::Store(_) => "store",
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Tender {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) capturer: Arc<Capturer>,
    pub(crate) counters: Arc<KeepingCounters>,
    pub(crate) tracer: Tracer,
    pub(crate) settings: KeepSettings,
    pub(crate) node: NodeName,
    pub(crate) shards: u32,
    pub(crate) holds: Mutex<Option<(Duration, Arc<Holds>)>>,
}

impl Tender {
    /// Who writes: the owner of a shard under this epoch, or none of it.
    pub(crate) fn author(&self, epoch: Option<Epoch>, is_final: bool) -> Author {
        Author {
            node: self.node.clone(),
            epoch,
            shards: self.shards,
            now: self.clock.now(),
            is_final,
        }
    }

    /// Does what is due. When the future is dropped, what it has not done is done by the next one.
    pub(crate) async fn tend(&self, job: Job, is_final: bool) -> Result<Tended, TendError> {
        let store = &*self.store;
        let author = self.author(Some(job.epoch), is_final && job.is_sure);
        let mut opened = match catalogs::begin(store, &job.key, &author) {
            // Where there is one by now, the write finds out.
            Some(begun) if job.is_blank && job.due.is_write_only() => begun,
            _ => catalogs::open(store, &job.key, &author).await?,
        };
        let mut edits: Vec<_> = job.changes.into_iter().map(Edit::Change).collect();
        apply(&mut opened.catalog, &edits);
        let departures = departures(&opened.catalog, &job.gone);
        apply(&mut opened.catalog, &departures);
        edits.extend(departures);
        let begins = self.begins(&opened.catalog, !edits.is_empty());
        apply(&mut opened.catalog, &begins);
        edits.extend(begins);
        let mut retry = None;
        if job.due.prune {
            let found = self.prune(&opened.catalog, &mut retry).await.unwrap_or_else(|error| {
                // What the catalog is to be told does not wait for that.
                let key = job.key.object_key();
                tracing::warn!(%key, %error, "Retention cannot look at the shard of {key} now: {error}");
                retry = Some(self.clock.now());
                Vec::new()
            });
            apply(&mut opened.catalog, &found);
            edits.extend(found);
        }
        if job.due.verify > 0 {
            let found = self.verify(&opened.catalog, job.due.verify).await;
            apply(&mut opened.catalog, &found);
            edits.extend(found);
        }
        let catalog = if edits.is_empty() {
            opened.catalog
        } else {
            self.write(opened, &author, &edits).await?
        };
        let mut facts = self.facts(&catalog).await;
        facts.next_prune = [facts.next_prune, retry].into_iter().flatten().min();
        Ok(Tended {
            facts,
            kept: Kept::of(&catalog),
            newest: newest(&catalog),
            told: job.gone,
            done: job.due,
            epoch: catalog.epoch,
        })
    }

    /// Writes a catalog, or what is to change in it if somebody else did meanwhile.
    async fn write(
        &self,
        opened: Opened,
        author: &Author,
        edits: &[Edit],
    ) -> Result<Catalog, TendError> {
        self.counters.catalog_written();
        let (store, key) = (&*self.store, opened.catalog.key.clone());
        let mut span = child(&CATALOG);
        span.object(store.location(), &key.object_key());
        let written = match opened.write(store, author).await {
            Err(StoreError::ConditionFailed | StoreError::UnknownOutcome(_)) => {
                catalogs::update(store, &key, author, edits).await.map_err(TendError::from)
            }
            written => written.map_err(TendError::from),
        };
        written.inspect_err(|error| span.fail(error.word(), error))
    }

    /// What the agenda has to know of a catalog.
    pub(crate) async fn facts(&self, catalog: &Catalog) -> Facts {
        let now = self.clock.now();
        // Holds that are known, if any: whoever acts asks for them.
        let holds = self.holds.lock().await.as_ref().map(|(_, holds)| Arc::clone(holds));
        let holds = holds.unwrap_or_default();
        let mut next = None;
        for (stem, record) in &catalog.databases {
            let plan =
                prune::plan_database(record, &self.settings.retention, now, holds.holds(stem));
            let blocked = plan.block.as_ref().and_then(|_| now.checked_add(BLOCKED_FOR).ok());
            let due = (!plan.delete.is_empty()).then_some(now);
            next = [next, due, plan.next, blocked].into_iter().flatten().min();
        }
        let (databases, backups) = (catalog.databases.len() as u64, catalog.backups());
        let extent = Extent { databases, backups };
        Facts { extent, next_prune: next, verified_at: catalog.verified_at }
    }

    /// The marks of a catalog that is written for the first time: where the steady verification begins, spread
    /// over the day, and that there was nothing to be compared yet.
    fn begins(&self, catalog: &Catalog, is_written: bool) -> Vec<Edit> {
        let now = self.clock.now();
        let mut edits = Vec::new();
        if is_written && catalog.verified_at.is_none() {
            let phase = f64::from(catalog.key.shard.0) / f64::from(self.shards.max(1));
            let phase = Duration::from_hours(24).mul_f64(phase.min(1.0));
            edits.push(Edit::VerifiedAt(now.checked_sub(phase).unwrap_or(now)));
        }
        if is_written && catalog.reconciled_at.is_none() {
            edits.push(Edit::ReconciledAt(now));
        }
        edits
    }

    /// The holds as they were a minute ago at most.
    async fn holds(&self) -> Result<Arc<Holds>, StoreError> {
        let mut cached = self.holds.lock().await;
        let now = self.clock.monotonic();
        if let Some((at, holds)) = &*cached
            && now.saturating_sub(*at) < HOLDS_FOR
        {
            return Ok(Arc::clone(holds));
        }
        let holds = Arc::new(Holds::list(&*self.store).await?);
        *cached = Some((now, Arc::clone(&holds)));
        Ok(holds)
    }

    /// Deletes what retention gives up, and gives what is to change in the catalog. `retry` is set when something
    /// is to be tried again.
    async fn prune(
        &self,
        catalog: &Catalog,
        retry: &mut Option<Timestamp>,
    ) -> Result<Vec<Edit>, StoreError> {
        let local = self.clock.now();
        let now = match safe_now(local, self.store.time().await?) {
            Ok(now) => now,
            Err(ahead) => {
                tracing::error!("{ahead}");
                *retry = Some(local);
                return Ok(Vec::new());
            }
        };
        let holds = self.holds().await?;
        let plan = prune::plan_shard(catalog, &self.settings.retention, now, &holds);
        if plan.deletions() == 0 {
            return Ok(Vec::new());
        }
        let report = prune::act(&*self.store, catalog, &plan, &holds).await;
        if !report.failed.is_empty() || !report.refused.is_empty() {
            *retry = Some(local);
        }
        self.tell(&report);
        Ok(report.edits)
    }

    fn tell(&self, report: &PruneReport) {
        let PruneReport { deleted, failed, unproven, deferred, refused, .. } = report;
        self.counters.pruned(deleted.len(), failed.len(), unproven.len());
        if !deleted.is_empty() {
            let count = deleted.len();
            tracing::info!(count, "Retention deleted {count} backups");
        }
        if let Some((key, error)) = failed.first() {
            let count = failed.len();
            tracing::warn!(
                %key, count,
                "{count} backups could not be deleted now, the first is {key}: {error}"
            );
        }
        for (key, why) in unproven {
            tracing::warn!(%key, "{key} is old enough to be deleted, but {why}: it is left alone");
        }
        for (key, why) in deferred {
            tracing::info!(%key, "{key} is old enough to be deleted, but stays for now: {why}");
        }
        for (stem, why) in refused {
            tracing::error!(%stem, "Nothing of {stem} is deleted: {why}");
        }
    }

    /// Reads backups back: of those whose newest was never verified the oldest, then those verified longest ago.
    async fn verify(&self, catalog: &Catalog, count: u64) -> Vec<Edit> {
        let mut edits = Vec::new();
        let volume = &catalog.key.volume;
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let mut unread = 0;
        for (stem, record, held) in candidates(catalog, count.saturating_add(MOST_UNREAD)) {
            if edits.len() >= count {
                break;
            }
            let key = stem.at(held.hour);
            let expected = Some(Expected { volume, record });
            let at = self.clock.now();
            let verified = match verify(&*self.store, &self.capturer, &key, expected).await {
                Ok(verified) => verified,
                Err(error) => {
                    tracing::warn!(%key, %error, "{key} could not be verified now: {error}");
                    unread += 1;
                    if unread > MOST_UNREAD && matches!(error, VerifyError::Store(_)) {
                        return edits;
                    }
                    continue;
                }
            };
            self.counters.verified(&verified.verdict);
            let fault: Option<Box<str>> = match verified.verdict {
                Verdict::Ok => None,
                Verdict::Warning(why) => {
                    tracing::warn!(%key, "The backup {key}: {why}");
                    if verified.footer.is_none() {
                        // It could not be judged.
                        continue;
                    }
                    None
                }
                Verdict::Failure(why) => {
                    tracing::error!(%key, "The backup {key} is lost: {why}");
                    Some(why.into())
                }
            };
            let (stem, hour) = (stem.clone(), held.hour);
            edits.push(match verified.etag {
                // Stored since the catalog was read, or by somebody else: good, or not the one that was there.
                Some(etag) if etag != held.etag && fault.is_some() => Edit::Gone { stem, hour },
                Some(etag) => Edit::Verified { stem, hour, etag, at, fault },
                None => Edit::Gone { stem, hour },
            });
        }
        edits.push(Edit::VerifiedAt(self.clock.now()));
        edits
    }
}

fn apply(catalog: &mut Catalog, edits: &[Edit]) {
    for edit in edits {
        catalog.edit(edit.clone());
    }
}

/// Says of the databases that are gone that they are.
fn departures(catalog: &Catalog, gone: &HashMap<Identity, Timestamp>) -> Vec<Edit> {
    if gone.is_empty() {
        return Vec::new();
    }
    let left = catalog.databases.iter().filter_map(|(stem, record)| {
        let since = *gone.get(&Identity::new(&record.path, stem))?;
        (record.gone_since.is_none()).then(|| {
            Edit::Change(Change {
                stem: stem.clone(),
                path: record.path.clone(),
                stored: Vec::new(),
                fingerprint: record
                    .fingerprint
                    .zip(record.newest.as_ref().map(|newest| newest.blake3.short())),
                failed_check: record.failed_check.clone(),
                gone_since: Some(since),
            })
        })
    });
    left.collect()
}

/// What is the newest of each database.
pub(crate) fn newest(catalog: &Catalog) -> HashMap<Identity, NewestHeld> {
    let newest = catalog.databases.iter().filter_map(|(stem, record)| {
        let held = record.newest_own()?;
        let (hour, etag, is_corrupt) = (held.hour, held.etag.clone(), held.fault.is_some());
        Some((Identity::new(&record.path, stem), NewestHeld { hour, etag, is_corrupt }))
    });
    newest.collect()
}

/// Whether the newest backup of a database is another than the `last` that its owner remembers, by what the
/// catalog says of it now.
pub(crate) fn lost(
    newest: Option<&NewestHeld>,
    last: &LastBackup,
    this_hour: Hour,
) -> Option<Lost> {
    let Some(newest) = newest else { return Some(Lost::Unusable) };
    if newest.is_corrupt {
        // Within its hour it stands in the way of a good one.
        return (newest.hour < this_hour).then_some(Lost::Unusable);
    }
    match newest.hour.cmp(&last.hour) {
        Ordering::Less => Some(Lost::Unusable),
        Ordering::Equal if newest.etag == last.etag => None,
        _ => Some(Lost::Replaced(newest.hour)),
    }
}

/// The newest backups that are to be verified next.
fn candidates(catalog: &Catalog, count: usize) -> Vec<(&KeyStem, &Record, &HeldHour)> {
    let newest = catalog
        .databases
        .iter()
        .filter_map(|(stem, record)| Some((stem, record, record.newest_own()?)));
    let mut newest: Vec<_> = newest.collect();
    newest.sort_by_key(|(_, _, held)| (held.verified_at, held.hour));
    newest.truncate(count);
    newest
}
