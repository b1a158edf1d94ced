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
//! when the change has been waiting.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use ultrasimple_core::{ContentHash, FingerprintDigest, Hour};
use ultrasimple_store::ETag;

use crate::scan::DatabaseId;

/// What is known to be in the bucket of one database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    /// The fingerprint taken before the last capture whose content the bucket has.
    pub(crate) digest: FingerprintDigest,
    /// Whether any later change is certain to change the fingerprint. If not, it is captured again.
    pub(crate) settled: bool,
    pub(crate) backup: LastBackup,
}

/// The newest backup of a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LastBackup {
    pub(crate) content: ContentHash,
    pub(crate) hour: Hour,
    pub(crate) etag: ETag,
    /// Why it is marked as damaged, if it is.
    pub(crate) damage: Option<Box<str>>,
    /// When it was stored (monotonic clock).
    pub(crate) stored_at: Duration,
}

/// Why a database could not be backed up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// A short name of the kind of failure; there are few.
    pub(crate) kind: &'static str,
    /// What happened and what to do, in a sentence.
    pub(crate) reason: String,
}

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
    Stored { digest: FingerprintDigest, settled: bool, backup: LastBackup },
    /// The content is that of the last backup; nothing was sent.
    Unchanged { digest: FingerprintDigest, settled: bool },
    /// Nothing changed in the bucket, or it is not known whether anything did.
    Failed(Failure),
    /// The file is gone; the next scan will say so.
    Vanished,
    /// Given up because the daemon is stopping.
    Cancelled,
}

#[derive(Debug)]
struct Active {
    since: Duration,
    offered: bool,
    /// The last fingerprint seen since it was offered.
    seen: Option<FingerprintDigest>,
    failing: Option<Failing>,
}

/// A database to be backed up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Offer {
    pub(crate) id: DatabaseId,
    /// Since when its oldest change has been waiting (monotonic clock).
    pub(crate) since: Duration,
    pub(crate) last: Option<LastBackup>,
}

/// A shard at a glance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Glance {
    /// Databases with a change that the bucket has not.
    pub(crate) pending: u64,
    /// Databases whose last attempt failed, or whose newest backup is marked as damaged.
    pub(crate) failing: u64,
    /// How long the oldest change has been waiting.
    pub(crate) exposure: Duration,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Shard {
    held: HashMap<DatabaseId, Held>,
    active: HashMap<DatabaseId, Active>,
    /// Held, but to be looked at again in the next cycle.
    unsettled: HashSet<DatabaseId>,
    damaged: u64,
}

impl Shard {
    /// Takes in what a scan saw of this shard's databases.
    pub(crate) fn observe(
        &mut self,
        changed: &[(DatabaseId, FingerprintDigest)],
        gone: &[DatabaseId],
        now: Duration,
    ) {
        for id in gone {
            self.active.remove(id);
            self.unsettled.remove(id);
            let held = self.held.remove(id);
            self.count_damage(held.as_ref(), None);
        }
        for &(id, digest) in changed {
            if let Some(active) = self.active.get_mut(&id) {
                active.seen = Some(digest);
            } else if !self.is_held(id, digest) {
                self.activate(id, now);
            }
        }
        for id in std::mem::take(&mut self.unsettled) {
            if !self.active.contains_key(&id) {
                self.activate(id, now);
            }
        }
    }

    /// Whether the bucket has all that a database with this fingerprint holds.
    fn is_held(&self, id: DatabaseId, digest: FingerprintDigest) -> bool {
        self.held.get(&id).is_some_and(|held| held.digest == digest && held.settled)
    }

    fn activate(&mut self, id: DatabaseId, since: Duration) {
        let active = Active { since, offered: false, seen: None, failing: None };
        self.active.insert(id, active);
    }

    /// All that wait and may be backed up now; each is offered until [`Self::settle`] is told how it
    /// went. A database backed up less than `min_interval` ago goes on waiting.
    pub(crate) fn offers(&mut self, now: Duration, min_interval: Duration) -> Vec<Offer> {
        let mut offers = Vec::new();
        for (&id, active) in &mut self.active {
            let last = self.held.get(&id).map(|held| held.backup.clone());
            let rests = last.as_ref().is_some_and(|last| last.stored_at + min_interval > now);
            if !active.offered && !rests {
                active.offered = true;
                active.seen = None;
                offers.push(Offer { id, since: active.since, last });
            }
        }
        offers
    }

    /// Takes in how an attempt ended. Of a database that is gone by now, nothing is kept.
    pub(crate) fn settle(&mut self, id: DatabaseId, outcome: Outcome, now: Duration) {
        let Some(active) = self.active.get_mut(&id) else { return };
        active.offered = false;
        let seen = active.seen.take();
        let (digest, settled, backup) = match outcome {
            Outcome::Stored { digest, settled, backup } => (digest, settled, Some(backup)),
            Outcome::Unchanged { digest, settled } => (digest, settled, None),
            Outcome::Failed(failure) => {
                let attempts = active.failing.as_ref().map_or(0, |failing| failing.attempts);
                let since = active.failing.as_ref().map_or(now, |failing| failing.since);
                active.failing = Some(Failing { failure, since, attempts: attempts + 1 });
                return;
            }
            Outcome::Vanished | Outcome::Cancelled => return,
        };
        self.active.remove(&id);
        let old = self.held.remove(&id);
        let backup = backup.or_else(|| old.as_ref().map(|held| held.backup.clone()));
        if let Some(backup) = backup {
            let held = Held { digest, settled, backup };
            self.count_damage(old.as_ref(), Some(&held));
            self.held.insert(id, held);
            if !settled {
                self.unsettled.insert(id);
            }
        }
        // The fingerprint was taken before the capture: what the scan saw later may be newer.
        if seen.is_some_and(|seen| seen != digest) {
            self.activate(id, now);
        }
    }

    fn count_damage(&mut self, old: Option<&Held>, new: Option<&Held>) {
        let damaged =
            |held: Option<&Held>| u64::from(held.is_some_and(|h| h.backup.damage.is_some()));
        self.damaged = (self.damaged + damaged(new)).saturating_sub(damaged(old));
    }

    /// The shard at a glance.
    pub(crate) fn glance(&self, now: Duration) -> Glance {
        let waiting = self.active.values();
        let oldest = waiting.map(|active| active.since).min();
        let is_damaged = |id| self.held.get(id).is_some_and(|held| held.backup.damage.is_some());
        let failing = self.active.iter().filter(|(id, a)| a.failing.is_some() && !is_damaged(id));
        Glance {
            pending: self.active.len() as u64,
            failing: failing.count() as u64 + self.damaged,
            exposure: oldest.map_or(Duration::ZERO, |since| now.saturating_sub(since)),
        }
    }

    /// Why a database is failing, if it is.
    pub(crate) fn failing(&self, id: DatabaseId) -> Option<Failing> {
        let attempt = self.active.get(&id).and_then(|active| active.failing.clone());
        attempt.or_else(|| self.held.get(&id).and_then(damage))
    }
}

/// What is wrong with a database whose newest backup is marked.
fn damage(held: &Held) -> Option<Failing> {
    let reason = damage_reason(held.backup.damage.as_deref()?);
    let failure = Failure { kind: "damaged", reason };
    Some(Failing { failure, since: held.backup.stored_at, attempts: 1 })
}

/// The sentence for a backup that is marked.
pub(crate) fn damage_reason(found: &str) -> String {
    format!(
        "the database is damaged ({found}): it was backed up as it is, marked; restore an older hour \
         or repair it"
    )
}

#[cfg(test)]
#[path = "shard_tests.rs"]
mod tests;
