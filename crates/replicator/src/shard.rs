//! What the owner of a shard knows and decides: a state machine without I/O, clock or messages.
//!
//! ```text
//!            observe: other fingerprint          offers              settle: stored, unchanged
//!   clean ───────────────────────────▶ waiting ─────────▶ offered ───────────────────────────▶ clean
//!                                         ▲                  │ failed, or changed meanwhile
//!                                         └──────────────────┘
//! ```
//!
//! Invariants: a database is offered at most once at a time; it becomes clean only by an outcome that
//! the store confirmed (R3) and only if nothing newer was seen meanwhile; a failure keeps the time since
//! when the change has been waiting; after an attempt that may have stored something, or may still do so, only a
//! write that the store confirms makes it clean: it takes the place that the other was meant for.

mod backlog;
pub(crate) mod portrait;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use ultrasimple_core::catalog::{Change, StoredBackup};
use ultrasimple_core::{FingerprintDigest, Hour, KeyStem, ShortHash, SourcePath, Timestamp};
use ultrasimple_store::ETag;

use crate::absent::{Absentees, Fate};
use crate::held::{Held, Holdings};
use crate::keeping::Kept;
use crate::ledger::Ledger;
use crate::scan::{DatabaseId, Gone, Identity};
use crate::scanner::{Changed, News};
use backlog::{Active, Backlog};

/// The newest backup of a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LastBackup {
    pub(crate) content: ShortHash,
    pub(crate) hour: Hour,
    pub(crate) etag: ETag,
    /// Why it is marked as damaged, if it is.
    pub(crate) damage: Option<Box<str>>,
    /// When it was stored, to the second (monotonic clock).
    pub(crate) stored_at: Duration,
}

impl LastBackup {
    /// What is to be remembered of a backup.
    pub(crate) fn of(backup: &StoredBackup, stored_at: Duration) -> Self {
        let newest = &backup.newest;
        Self {
            content: newest.blake3.short(),
            hour: newest.hour(),
            etag: backup.etag.clone(),
            damage: newest.marked.clone(),
            stored_at,
        }
    }
}

/// Why a database could not be backed up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// A short name of the kind of failure; there are few.
    pub(crate) kind: &'static str,
    /// What happened and what to do, in a sentence.
    pub(crate) reason: String,
}

/// Kinds of failures that are no fault of the database: the store or the host fails all alike.
const OF_ALL: [&str; 7] =
    ["unavailable", "slow_down", "denied", "unknown_outcome", "untrustworthy", "store", "scratch"];

/// A failure that lasts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failing {
    pub(crate) failure: Failure,
    /// When the first of the unbroken series happened (monotonic clock).
    pub(crate) since: Duration,
    pub(crate) attempts: u32,
}

/// How an attempt to back a database up ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The store has confirmed the content (just now, or had it already).
    Stored { digest: FingerprintDigest, settled: bool, backup: StoredBackup, at: Duration },
    /// The content is that of the last backup; nothing was sent.
    Unchanged { digest: FingerprintDigest, settled: bool },
    /// Nothing changed in the bucket.
    Failed(Failure),
    /// Something may have changed in the bucket, now or later, or something was found there that was not
    /// expected: under the key of this hour.
    Doubtful(Failure, Hour),
    /// Given up on the way: whether anything changes in the bucket, nobody knows. It was to be under the key of
    /// this hour at the latest.
    GivenUp(Hour),
    /// The file is gone; the next scan will say so.
    Vanished,
    /// Not tried: the daemon is stopping, or the store does not work at the moment.
    Deferred,
}

/// A database to be backed up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Offer {
    pub(crate) id: DatabaseId,
    /// Since when its oldest change has been waiting (monotonic clock).
    pub(crate) since: Duration,
    /// `None` where there is nothing: a million of these may wait in a first cycle.
    past: Option<Box<Past>>,
}

/// What there was of a database before it was offered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Past {
    pub(crate) known: Known,
    /// The last attempt failed.
    pub(crate) has_failed: bool,
}

/// What an owner knows of the newest backup of a database.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Known {
    pub(crate) last: Option<LastBackup>,
    /// The bucket may have later backups than `last`, of this hour or later ones: an owner before this one
    /// ended before it could tell.
    pub(crate) unsure_since: Option<Hour>,
    /// An attempt of ours may have stored something, or may still do so: in this hour at the latest.
    pub(crate) doubted: Option<Hour>,
}

impl Offer {
    pub(crate) fn new(id: DatabaseId, since: Duration, past: Past) -> Self {
        let past = (past != Past::default()).then(|| Box::new(past));
        Self { id, since, past }
    }

    /// Whether the last attempt failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.past.as_ref().is_some_and(|past| past.has_failed)
    }

    /// Whether all that is to be said of either is since when it waits, and that is the same.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        self.past.is_none() && other.past.is_none() && self.since == other.since
    }

    pub(crate) fn known(self) -> Known {
        self.past.map(|past| past.known).unwrap_or_default()
    }
}

impl Known {
    /// The newest backup, where nothing else can be.
    pub(crate) fn sure(&self) -> Option<&LastBackup> {
        self.last.as_ref().filter(|_| self.unsure_since.is_none() && self.doubted.is_none())
    }
}

/// A shard at a glance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Glance {
    /// Databases with a change that the bucket has not.
    pub(crate) pending: u64,
    /// Of these, those that are not failing.
    pub(crate) waiting: u64,
    /// Databases whose last attempt failed, or whose newest backup is marked as damaged.
    pub(crate) failing: u64,
    /// How long the oldest change has been waiting.
    pub(crate) exposure: Duration,
    /// The same of those that are not failing.
    pub(crate) waiting_exposure: Duration,
    /// The same of those that are.
    pub(crate) failing_exposure: Duration,
    /// The same of those changes only that nothing about their own database keeps out of the bucket.
    pub(crate) unserved: Duration,
    /// How long its catalog has lacked something.
    pub(crate) catalog_age: Duration,
    /// Databases that it should have, and that no scan shows (any more): not said to be gone by the catalog.
    pub(crate) unseen: u64,
    /// What its catalog said when it was last read or written.
    pub(crate) kept: Kept,
}

/// What became of the newest backup that an owner remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lost {
    /// It is gone, or cannot be restored.
    Unusable,
    /// The newest is another one, of this hour.
    Replaced(Hour),
}

/// What a catalog says of a database.
#[derive(Debug, Clone)]
pub(crate) struct Recalled {
    pub(crate) identity: Identity,
    pub(crate) held: Held,
    pub(crate) gone_since: Option<Timestamp>,
    /// It cannot be restored, and is to be written anew: see [`Known::doubted`].
    pub(crate) doubted: Option<Hour>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Shard {
    held: Holdings<DatabaseId>,
    active: Backlog,
    /// Held, but to be looked at again in the next cycle.
    unsettled: HashSet<DatabaseId>,
    absent: Absentees,
    /// Since which hour the bucket may have more than the catalog said.
    unsure_since: Option<Hour>,
    /// Whether a scan has been taken in.
    has_observed: bool,
    ledger: Ledger,
    /// Databases that no catalog has yet.
    new: u64,
    /// Of these, those that are being told.
    new_in_write: u64,
}

impl Shard {
    /// Takes in what the shard's catalog says, before the first scan.
    pub(crate) fn recall(&mut self, recalled: Vec<Recalled>, unsure_since: Option<Hour>) {
        self.unsure_since = unsure_since;
        self.absent.extend(recalled.into_iter().map(|recalled| {
            let Recalled { identity, held, gone_since, doubted } = recalled;
            (identity, held, Fate { gone_since, is_told: gone_since.is_some(), doubted })
        }));
    }

    /// Takes in what a scan saw of this shard's databases. `now` is of the monotonic clock, `time` of the wall's.
    pub(crate) fn observe(&mut self, news: News, now: Duration, time: Timestamp) {
        for Gone { id, identity, path, .. } in news.gone {
            // What an attempt that is under way will have done, nobody will hear.
            let doubted = self
                .active
                .remove(id)
                .and_then(|active| active.doubted.max(active.offered.then(|| Hour::of(time))));
            self.unsettled.remove(&id);
            let held = self.held.get(id);
            let fingerprint = held.as_ref().and_then(Held::fingerprint);
            self.ledger.gone(id, path, fingerprint);
            self.held.remove(id);
            if let Some(held) = held {
                let fate = Fate { gone_since: Some(time), is_told: false, doubted };
                self.absent.insert(identity, held, fate);
            }
        }
        let unsure_since = self.unsure_since.filter(|_| !self.has_observed);
        let (alike, mut many) =
            (Active { since: now, unsure_since, ..Active::default() }, Vec::new());
        let shown = news.changed.iter().map(|changed| (changed.identity, changed.id));
        let fates = self.absent.give(shown, &mut self.held);
        for Changed { id, digest, .. } in news.changed {
            let fate = fates.get(&id);
            if fate.is_some_and(|fate| fate.gone_since.is_some()) {
                self.ledger.note(id);
            }
            let (is_recalled, doubted) = (fate.is_some(), fate.and_then(|fate| fate.doubted));
            if let Some(active) = self.active.get_mut(id) {
                active.seen = Some(digest);
            } else if doubted.is_some() || !self.is_held(id, digest) {
                let may_be_stale = is_recalled || !self.has_observed;
                let unsure_since = self.unsure_since.filter(|_| may_be_stale);
                let active = Active { since: now, unsure_since, doubted, ..Active::default() };
                if active == alike {
                    many.push(id);
                } else {
                    self.active.insert(id, active);
                }
            }
        }
        self.active.extend(many, &alike);
        self.has_observed = true;
        for id in std::mem::take(&mut self.unsettled) {
            if !self.active.contains(id) {
                self.activate(id, now);
            }
        }
    }

    /// Whether the bucket has all that a database with this fingerprint holds.
    fn is_held(&self, id: DatabaseId, digest: FingerprintDigest) -> bool {
        digest != FingerprintDigest::NONE && self.held.digest(id) == Some(digest)
    }

    fn activate(&mut self, id: DatabaseId, since: Duration) {
        self.active.insert(id, Active { since, ..Active::default() });
    }

    /// All that wait and may be backed up now; each is offered until [`Self::settle`] is told how it
    /// went. A database backed up less than `min_interval` ago goes on waiting.
    pub(crate) fn offers(&mut self, now: Duration, min_interval: Duration) -> Vec<Offer> {
        let Self { held, active, .. } = self;
        let is_rested =
            |id| held.get(id).is_none_or(|held| held.backup.stored_at + min_interval <= now);
        let mut offers = Vec::new();
        active.offer(is_rested, |id, active| {
            let last = held.get(id).map(|held| held.backup);
            let &Active { since, unsure_since, doubted, .. } = active;
            let known = Known { last, unsure_since, doubted };
            let past = Past { known, has_failed: active.failing.is_some() };
            offers.push(Offer::new(id, since, past));
        });
        offers
    }

    /// Takes in how an attempt ended. Of a database that is gone by now, nothing is kept.
    pub(crate) fn settle(&mut self, id: DatabaseId, outcome: Outcome, now: Duration) {
        let Some(active) = self.active.get_mut(id) else { return };
        active.offered = false;
        let seen = active.seen.take();
        if let Outcome::Doubtful(_, hour) | Outcome::GivenUp(hour) = &outcome {
            active.doubted = active.doubted.max(Some(*hour));
        }
        let (digest, settled, backup) = match outcome {
            Outcome::Stored { digest, settled, backup, at } => {
                let last = LastBackup::of(&backup, at);
                self.new += u64::from(self.held.digest(id).is_none());
                self.ledger.stored(id, backup);
                (digest, settled, Some(last))
            }
            Outcome::Unchanged { digest, settled } => (digest, settled, None),
            Outcome::Failed(failure) | Outcome::Doubtful(failure, _) => {
                let before = active.failing.take();
                let was = before.as_ref().map(|failing| failing.failure.kind);
                if failure.kind == DAMAGED_KEPT && was != Some(DAMAGED_KEPT) {
                    self.ledger.note(id);
                }
                let attempts = before.as_ref().map_or(0, |failing| failing.attempts);
                let since = before.as_ref().map_or(now, |failing| failing.since);
                let failing = Failing { failure, since, attempts: attempts + 1 };
                active.failing = Some(Box::new(failing));
                return;
            }
            Outcome::Vanished | Outcome::GivenUp(_) | Outcome::Deferred => return,
        };
        let Active { since, unsure_since, doubted, .. } = *active;
        self.active.remove(id);
        let backup = backup.or_else(|| self.held.get(id).map(|held| held.backup));
        let Some(backup) = backup else {
            // Unchanged since a backup of which was learned meanwhile that it is lost.
            self.activate(id, since);
            if let Some(active) = self.active.get_mut(id) {
                (active.unsure_since, active.doubted) = (unsure_since, doubted);
            }
            return;
        };
        // Until it was looked at again, a fingerprint that is not settled vouches for nothing.
        let vouches = if settled { digest } else { FingerprintDigest::NONE };
        self.held.insert(id, Held { digest: vouches, backup });
        if self.active.is_empty() {
            self.held.merge();
        }
        self.ledger.note(id);
        if !settled {
            self.unsettled.insert(id);
        }
        // The fingerprint was taken before the capture: what the scan saw later may be newer.
        if seen.is_some_and(|seen| seen != digest) {
            self.activate(id, now);
        }
    }

    /// Whether the bucket has nothing of its databases that is not known here.
    pub(crate) fn is_sure(&self) -> bool {
        let was_looked_at = self.has_observed && self.absent.is_empty();
        let is_doubted =
            |active: &Active| active.unsure_since.is_some() || active.doubted.is_some();
        let is_certain = self.unsure_since.is_none() || was_looked_at;
        is_certain && !self.absent.is_any_doubted() && !self.active.values().any(is_doubted)
    }

    /// How many are offered and not yet settled.
    pub(crate) fn in_flight(&self) -> usize {
        self.active.values().filter(|active| active.offered).count()
    }

    /// The shard at a glance.
    pub(crate) fn glance(&self, now: Duration) -> Glance {
        let (mut failing, mut waiting) = (0, 0);
        let (mut failing_exposure, mut waiting_exposure) = (Duration::ZERO, Duration::ZERO);
        let mut unserved = Duration::ZERO;
        for (id, active) in self.active.iter() {
            let exposure = now.saturating_sub(active.since);
            let kind = active.failing.as_ref().map(|failing| failing.failure.kind);
            if kind.is_none_or(|kind| OF_ALL.contains(&kind)) {
                unserved = unserved.max(exposure);
            }
            // Those whose newest backup is damaged are counted apart: they need not be waiting.
            let is_damaged = self.held.damage(id).is_some();
            if is_damaged || active.failing.is_some() {
                failing += u64::from(!is_damaged);
                failing_exposure = failing_exposure.max(exposure);
            } else {
                waiting += 1;
                waiting_exposure = waiting_exposure.max(exposure);
            }
        }
        Glance {
            pending: self.active.len() as u64,
            waiting,
            failing: failing + self.held.damaged(),
            exposure: waiting_exposure.max(failing_exposure),
            waiting_exposure,
            failing_exposure,
            unserved,
            catalog_age: Duration::ZERO,
            unseen: if self.has_observed { self.absent.untold_count() as u64 } else { 0 },
            kept: Kept::default(),
        }
    }

    /// Begins to write the catalog: what it is to be told. `place` gives the path and the stem of a database.
    pub(crate) fn begin_write(
        &mut self,
        place: impl Fn(DatabaseId) -> Option<(SourcePath, KeyStem)>,
        stem: impl Fn(&SourcePath) -> Option<KeyStem>,
    ) -> Vec<Change> {
        self.new_in_write = self.new;
        let Self { held, active, ledger, .. } = self;
        let mut unplaced = Vec::new();
        let (changed, departed) = ledger.begin();
        let changed = changed.filter_map(|(id, stored)| {
            let Some((path, stem)) = place(id) else {
                unplaced.push(id);
                return None;
            };
            let failing = active.get(id).and_then(|active| active.failing.as_ref());
            let kept = failing.filter(|failing| failing.failure.kind == DAMAGED_KEPT);
            Some(Change {
                stem,
                path,
                stored: stored.clone(),
                fingerprint: held.get(id).and_then(|held| held.fingerprint()),
                failed_check: kept.map(|failing| failing.failure.reason.as_str().into()),
                gone_since: None,
            })
        });
        let departed = departed.iter().filter_map(|departed| {
            Some(Change {
                stem: stem(&departed.path)?,
                path: departed.path.clone(),
                stored: departed.stored.clone(),
                fingerprint: departed.fingerprint,
                failed_check: None,
                // Since when, the absent tell.
                gone_since: None,
            })
        });
        let changes = departed.chain(changed).collect();
        // Gone, and the owner will hear of it presently.
        ledger.put_back(&unplaced);
        changes
    }

    /// Databases that are gone, and of which the catalog does not say so. Of those that no scan ever showed it is
    /// believed only where most were seen: else a file system may not be mounted yet.
    pub(crate) fn untold_absences(&self, now: Timestamp) -> HashMap<Identity, Timestamp> {
        let most_are_seen = self.held.len() >= self.absent.never_shown_count();
        let believed = |fate: &Fate| fate.gone_since.is_some() || most_are_seen;
        let untold = self.absent.untold().filter(|(_, fate)| believed(fate));
        untold.map(|(identity, fate)| (identity, fate.gone_since.unwrap_or(now))).collect()
    }

    /// The catalog was written, and says of these that they are gone.
    pub(crate) fn written(&mut self, told: &HashMap<Identity, Timestamp>) {
        self.ledger.written();
        self.new -= std::mem::take(&mut self.new_in_write);
        for (identity, since) in told {
            self.absent.told(*identity, *since);
        }
    }

    /// The catalog could not be written.
    pub(crate) fn not_written(&mut self) {
        self.ledger.failed();
    }

    /// How much there is to tell the catalog.
    pub(crate) fn untold(&self) -> Untold {
        let gone = self.absent.gone_untold_count();
        Untold { changes: self.ledger.len() + gone, new: self.new, known: self.held.len() as u64 }
    }

    /// The backups of these databases are not what is remembered of them: they are to be backed up again, as if
    /// they never had been. What changed since the catalog was read is not among them.
    pub(crate) fn forget(
        &mut self,
        lost: impl Fn(DatabaseId, &LastBackup) -> Option<Lost>,
        now: Duration,
    ) -> usize {
        let lost: Vec<_> = self
            .held
            .ids()
            .filter(|&id| !self.ledger.has(id))
            .filter_map(|id| Some((id, lost(id, &self.held.get(id)?.backup)?)))
            .collect();
        for &(id, lost) in &lost {
            self.held.remove(id);
            self.unsettled.remove(&id);
            if !self.active.contains(id) {
                self.activate(id, now);
            }
            if let Some(active) = self.active.get_mut(id) {
                active.unsure_since = match lost {
                    Lost::Unusable => None,
                    Lost::Replaced(newest) => Some(newest),
                };
            }
        }
        lost.len()
    }

    /// What it takes the bucket to hold, in no order.
    #[cfg(feature = "simulation")]
    pub(crate) fn digests(&self) -> impl Iterator<Item = FingerprintDigest> + '_ {
        self.held.digests()
    }

    /// Why a database is failing, if it is.
    pub(crate) fn failing(&self, id: DatabaseId) -> Option<Failing> {
        let attempt = self.active.get(id).and_then(|active| active.failing.as_deref().cloned());
        attempt.or_else(|| damage(&self.held.get(id)?.backup))
    }
}

/// What is wrong with a database whose newest backup is marked.
fn damage(backup: &LastBackup) -> Option<Failing> {
    let found = backup.damage.as_deref()?;
    let reason = format!(
        "the database is damaged ({found}); it was stored as it is, marked: repair it, or restore an \
         older hour"
    );
    let failure = Failure { kind: DAMAGED, reason };
    Some(Failing { failure, since: backup.stored_at, attempts: 1 })
}

/// The kind of failure of a database whose newest backup is marked.
pub(crate) const DAMAGED: &str = "damaged";
/// The kind of failure of a damaged database whose capture was not stored, because the hour has a good one.
pub(crate) const DAMAGED_KEPT: &str = "damaged_kept";

/// How much there is to tell a catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Untold {
    /// Databases of which something changed.
    pub(crate) changes: usize,
    /// How many of them the catalog does not have.
    pub(crate) new: u64,
    /// Databases of which the bucket has something.
    pub(crate) known: u64,
}

#[cfg(test)]
#[path = "shard_tests.rs"]
mod tests;
