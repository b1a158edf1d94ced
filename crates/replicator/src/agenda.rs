//! When a shard's catalog is to be written, its old backups deleted, and some of them verified: decided without
//! I/O.
//!
//! An idle shard asks for nothing: what it will have to do, and when, is known from the last time.

use std::time::Duration;

use ultrasimple_core::Timestamp;
use ultrasimple_core::config::VerifyPercent;

use crate::extent::Extent;
use crate::shard::{Glance, Untold};

/// The least time between two writes of a catalog, but for much that is new, and between two prunings.
const HOUR: Duration = Duration::from_hours(1);
/// The least time between two writes when a first backup is done, and after a failure.
const SOON: Duration = Duration::from_mins(1);
/// New databases that are told [`SOON`], where no more are on their way.
const MANY: u64 = 32;
/// The least time between two writes while there are [`VERY_MANY`] to tell.
const AT_ONCE: Duration = Duration::from_secs(30);
/// New databases, of which each takes several times the memory until it is told that it takes at rest. Their histories are
/// short, so that it costs little to write them; of those that only changed, a write has to tell all that there ever was.
const VERY_MANY: u64 = 256;
/// A shard in which nothing else is to be done is verified in daily lots: each costs a write of its catalog.
const DAY: Duration = Duration::from_hours(24);

/// What is to be done about a shard now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Due {
    pub(crate) write: bool,
    pub(crate) prune: bool,
    /// How many backups are to be verified.
    pub(crate) verify: u64,
}

impl Due {
    pub(crate) fn is_anything(self) -> bool {
        self != Self::default()
    }

    /// Nothing but what changed is to be told.
    pub(crate) fn is_write_only(self) -> bool {
        self == Self { write: true, ..Self::default() }
    }
}

/// What is known of a shard's catalog in the bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Facts {
    /// What is in it.
    pub(crate) extent: Extent,
    /// When retention will have something to do, at the earliest.
    pub(crate) next_prune: Option<Timestamp>,
    /// Until when its databases count as verified at the steady rate.
    pub(crate) verified_at: Option<Timestamp>,
}

/// See the module. Times without a date are of the monotonic clock.
#[derive(Debug)]
pub(crate) struct Agenda {
    /// When the catalog was last known to say all there was.
    written: Duration,
    pruned: Option<Duration>,
    verified: Option<Duration>,
    /// When the last attempt failed, and how many did in a row.
    failed: Option<(Duration, u32)>,
    facts: Option<Facts>,
}

impl Agenda {
    /// Of a shard whose owner begins at `now`.
    pub(crate) fn new(now: Duration) -> Self {
        Self { written: now, pruned: None, verified: None, failed: None, facts: None }
    }

    /// Takes in what was read of the catalog.
    pub(crate) fn learn(&mut self, facts: Facts) {
        self.facts = Some(facts);
    }

    /// What will be in the catalog, about, when it is told that.
    pub(crate) fn extent(&self, untold: Untold) -> Extent {
        let Extent { databases, backups } =
            self.facts.map(|facts| facts.extent).unwrap_or_default();
        Extent { databases: databases.max(untold.known), backups: backups + untold.changes as u64 }
    }

    /// Whether nothing is known of the catalog: there was none to be read, and none has been written.
    pub(crate) fn is_blank(&self) -> bool {
        self.facts.is_none()
    }

    /// The catalog was written at `now`, or there was nothing to write.
    pub(crate) fn written(&mut self, now: Duration) {
        (self.written, self.failed) = (now, None);
    }

    /// How long ago the catalog was last known to say all there was.
    pub(crate) fn age(&self, now: Duration) -> Duration {
        now.saturating_sub(self.written)
    }

    /// What was due could not be done: the next attempts are ever rarer, down to one an hour.
    pub(crate) fn failed(&mut self, now: Duration) {
        let before = self.failed.map_or(0, |(_, times)| times);
        self.failed = Some((now, before.saturating_add(1)));
    }

    /// Backups were read back at `now`, or could not be.
    pub(crate) fn verified(&mut self, now: Duration) {
        self.verified = Some(now);
    }

    /// Retention has been at it at `now`.
    pub(crate) fn pruned(&mut self, now: Duration) {
        self.pruned = Some(now);
    }

    /// What is to be done now. `time` is the wall clock's.
    pub(crate) fn due(
        &self,
        untold: Untold,
        glance: Glance,
        percent: VerifyPercent,
        now: Duration,
        time: Timestamp,
    ) -> Due {
        let waits = self.failed.is_some_and(|(at, times)| {
            let wait = SOON.saturating_mul(2u32.saturating_pow(times.saturating_sub(1)));
            now.saturating_sub(at) < wait.min(HOUR)
        });
        if waits {
            return Due::default();
        }
        let since_written = now.saturating_sub(self.written);
        // A first backup: the catalog lacks a quarter of what there is, or the rest of it, and no more is on its way.
        let is_a_quarter = untold.new > 0 && untold.new * 4 >= untold.known;
        let is_at_rest = glance.pending <= glance.failing;
        let wait = match untold.new {
            VERY_MANY.. => AT_ONCE,
            MANY.. if is_at_rest => SOON,
            _ if is_a_quarter && is_at_rest => SOON,
            _ => HOUR,
        };
        let write = untold.changes > 0 && since_written >= wait;
        let next = self.facts.and_then(|facts| facts.next_prune);
        let rested = |last: Option<Duration>| last.is_none_or(|at| now.saturating_sub(at) >= HOUR);
        let prune = rested(self.pruned) && next.is_some_and(|next| next <= time);
        let (lot, since) = self.lot(percent, time);
        let is_time = (write || prune || since >= DAY) && rested(self.verified);
        let verify = if is_time { lot } else { 0 };
        Due { write, prune, verify }
    }

    /// How many backups the steady rate has room for since the last lot, and how long that is ago.
    fn lot(&self, percent: VerifyPercent, time: Timestamp) -> (u64, Duration) {
        let Some((facts, at)) = self.facts.and_then(|facts| Some((facts, facts.verified_at?)))
        else {
            return (0, Duration::ZERO);
        };
        let since = Duration::try_from(time.duration_since(at)).unwrap_or_default();
        let days = since.as_secs_f64() / DAY.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a shard has far fewer than 2^53 databases")]
        let databases = facts.extent.databases as f64;
        let lot = (databases * percent.percent() / 100.0 * days).min(databases);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "not negative, and bounded by the number of databases"
        )]
        let lot = lot as u64;
        (lot, since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: Untold = Untold { changes: 4, new: 4, known: 4 };
    const OLD: Untold = Untold { changes: 4, new: 0, known: 4 };
    const VERY_NEW: Untold = Untold { changes: 256, new: 256, known: 5_000 };
    const CHANGED: Untold = Untold { changes: 5_000, new: 0, known: 5_000 };

    fn of(databases: u64) -> Extent {
        Extent { databases, backups: 3 * databases }
    }

    fn at(hour: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + hour * 3_600).unwrap()
    }

    fn due(agenda: &Agenda, untold: Untold, pending: u64, minutes: u64) -> Due {
        let glance = Glance { pending, ..Glance::default() };
        agenda.due(untold, glance, VerifyPercent::OFF, Duration::from_mins(minutes), at(0))
    }

    #[test]
    fn a_catalog_is_written_hourly_when_changed_and_soon_after_or_within_a_first_backup() {
        let agenda = Agenda::new(Duration::ZERO);
        for (name, untold, pending, minutes, write) in [
            ("nothing to tell", Untold { changes: 0, new: 0, known: 9 }, 0, 600, false),
            ("changed, too early", OLD, 0, 59, false),
            ("changed", OLD, 0, 60, true),
            ("changed, more on its way", OLD, 7, 60, true),
            ("a first backup", NEW, 0, 1, true),
            ("a first backup in progress", NEW, 1, 59, false),
            ("a first backup without end", NEW, 1, 60, true),
            ("the rest of a first backup", Untold { changes: 32, new: 32, known: 999 }, 0, 1, true),
            ("some new tenants", Untold { changes: 31, new: 31, known: 999 }, 0, 59, false),
            ("a large first backup in progress", VERY_NEW, 7, 1, true),
            ("a large first backup in progress, too early", VERY_NEW, 7, 0, false),
            ("all changed", CHANGED, 0, 59, false),
            ("one more tenant", Untold { changes: 1, new: 1, known: 5 }, 0, 59, false),
        ] {
            assert_eq!(due(&agenda, untold, pending, minutes).write, write, "{name}");
        }
        let mut agenda = agenda;
        agenda.written(Duration::from_hours(1));
        assert!(!due(&agenda, OLD, 0, 61).write && due(&agenda, OLD, 0, 120).write);
    }

    #[test]
    fn retention_is_due_when_there_will_be_something_and_hourly_at_most() {
        let mut agenda = Agenda::new(Duration::ZERO);
        let none = Untold::default();
        assert!(!due(&agenda, none, 0, 600).prune, "nothing is known");
        let learn = |agenda: &mut Agenda, next_prune| {
            agenda.learn(Facts { extent: of(9), next_prune, verified_at: None });
        };
        learn(&mut agenda, Some(at(1)));
        assert!(!due(&agenda, none, 0, 600).prune, "not yet");
        learn(&mut agenda, Some(at(0)));
        assert!(due(&agenda, none, 0, 0).prune);
        agenda.pruned(Duration::from_mins(10));
        assert!(!due(&agenda, none, 0, 69).prune && due(&agenda, none, 0, 70).prune);
        learn(&mut agenda, None);
        assert!(!due(&agenda, none, 0, 600).prune, "never");
    }

    #[test]
    fn what_keeps_failing_is_tried_ever_more_rarely() {
        let mut agenda = Agenda::new(Duration::ZERO);
        let mut attempts = Vec::new();
        for minute in 60..60 * 6 {
            if due(&agenda, OLD, 0, minute).write {
                attempts.push(minute);
                agenda.failed(Duration::from_mins(minute));
            }
        }
        assert_eq!(attempts, [60, 61, 63, 67, 75, 91, 123, 183, 243, 303]);
        agenda.written(Duration::from_hours(6));
        assert!(due(&agenda, OLD, 0, 60 * 7).write, "as if nothing had been");
    }

    #[test]
    fn what_could_not_be_verified_is_not_tried_again_at_once() {
        let mut agenda = Agenda::new(Duration::ZERO);
        agenda.learn(Facts { extent: of(400), next_prune: None, verified_at: Some(at(-48)) });
        let lot = |agenda: &Agenda, minutes| {
            let (percent, now) = (VerifyPercent::new(1.0).unwrap(), Duration::from_mins(minutes));
            agenda.due(Untold::default(), Glance::default(), percent, now, at(0)).verify
        };
        assert_eq!(lot(&agenda, 0), 8);
        agenda.verified(Duration::ZERO);
        assert_eq!([lot(&agenda, 1), lot(&agenda, 59), lot(&agenda, 60)], [0, 0, 8]);
    }

    #[test]
    fn the_rate_of_verification_is_kept_in_lots() {
        let mut agenda = Agenda::new(Duration::ZERO);
        let verified_at = Some(at(0));
        agenda.learn(Facts { extent: of(400), next_prune: None, verified_at });
        let percent = VerifyPercent::new(1.0).unwrap();
        let lot = |hours: i64, untold| {
            let now = Duration::from_hours(hours.unsigned_abs());
            agenda.due(untold, Glance::default(), percent, now, at(hours)).verify
        };
        let none = Untold::default();
        assert_eq!([lot(5, none), lot(23, none), lot(24, none), lot(48, none)], [0, 0, 4, 8]);
        assert_eq!(lot(12, OLD), 2, "the catalog is written anyway");
        assert_eq!(lot(24 * 400, none), 400, "not more than there are");
        assert_eq!(lot(-24, none), 0, "the clock was set back");
        agenda.learn(Facts { extent: of(1), next_prune: None, verified_at });
        let lot = |hours: i64| {
            let now = Duration::from_hours(u64::try_from(hours).unwrap());
            agenda.due(none, Glance::default(), percent, now, at(hours)).verify
        };
        assert_eq!([lot(24 * 99), lot(24 * 100)], [0, 1], "one database, 1 % a day");
    }
}
