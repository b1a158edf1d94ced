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

use crate::held::{Held, Holdings};
use crate::scan::DatabaseId;

/// The newest backup of a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LastBackup {
    pub(crate) content: ContentHash,
    pub(crate) hour: Hour,
    pub(crate) etag: ETag,
    /// Why it is marked as damaged, if it is.
    pub(crate) damage: Option<Box<str>>,
    /// When it was stored, to the second (monotonic clock).
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
    /// Not tried, or given up: the daemon is stopping, or the store does not work at the moment.
    Deferred,
}

#[derive(Debug)]
struct Active {
    since: Duration,
    offered: bool,
    /// The last fingerprint seen since it was offered.
    seen: Option<FingerprintDigest>,
    failing: Option<Box<Failing>>,
}

/// A database to be backed up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Offer {
    pub(crate) id: DatabaseId,
    /// Since when its oldest change has been waiting (monotonic clock).
    pub(crate) since: Duration,
    pub(crate) last: Option<Box<LastBackup>>,
    /// The last attempt failed.
    pub(crate) has_failed: bool,
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
    held: Holdings,
    active: HashMap<DatabaseId, Active>,
    /// Held, but to be looked at again in the next cycle.
    unsettled: HashSet<DatabaseId>,
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
            self.held.remove(*id);
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
        self.held.digest(id) == Some(digest) && !self.unsettled.contains(&id)
    }

    fn activate(&mut self, id: DatabaseId, since: Duration) {
        let active = Active { since, offered: false, seen: None, failing: None };
        self.active.insert(id, active);
    }

    /// All that wait and may be backed up now; each is offered until [`Self::settle`] is told how it
    /// went. A database backed up less than `min_interval` ago goes on waiting.
    pub(crate) fn offers(&mut self, now: Duration, min_interval: Duration) -> Vec<Offer> {
        let mut offers = Vec::new();
        for (&id, active) in self.active.iter_mut().filter(|(_, active)| !active.offered) {
            let last = self.held.get(id).map(|held| Box::new(held.backup));
            let rests = last.as_ref().is_some_and(|last| last.stored_at + min_interval > now);
            if !rests {
                active.offered = true;
                active.seen = None;
                let has_failed = active.failing.is_some();
                offers.push(Offer { id, since: active.since, last, has_failed });
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
                let failing = Failing { failure, since, attempts: attempts + 1 };
                active.failing = Some(Box::new(failing));
                return;
            }
            Outcome::Vanished | Outcome::Deferred => return,
        };
        self.active.remove(&id);
        if self.active.is_empty() {
            // After a first cycle nearly all databases are at rest, for good.
            self.active.shrink_to_fit();
        }
        let backup = backup.or_else(|| self.held.get(id).map(|held| held.backup));
        if let Some(backup) = backup {
            self.held.insert(id, Held { digest, backup });
            if !settled {
                self.unsettled.insert(id);
            }
        }
        // The fingerprint was taken before the capture: what the scan saw later may be newer.
        if seen.is_some_and(|seen| seen != digest) {
            self.activate(id, now);
        }
    }

    /// The shard at a glance.
    pub(crate) fn glance(&self, now: Duration) -> Glance {
        let waiting = self.active.values();
        let oldest = waiting.map(|active| active.since).min();
        let failing = self
            .active
            .iter()
            .filter(|(id, active)| active.failing.is_some() && self.held.damage(**id).is_none());
        Glance {
            pending: self.active.len() as u64,
            failing: failing.count() as u64 + self.held.damaged(),
            exposure: oldest.map_or(Duration::ZERO, |since| now.saturating_sub(since)),
        }
    }

    /// Why a database is failing, if it is.
    pub(crate) fn failing(&self, id: DatabaseId) -> Option<Failing> {
        let attempt = self.active.get(&id).and_then(|active| active.failing.as_deref().cloned());
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

#[cfg(test)]
#[path = "shard_tests.rs"]
mod tests;
