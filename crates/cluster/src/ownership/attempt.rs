//! A request that may have to be made several times, and how long all takes.

use std::time::Duration;

/// The durations that follow from that of a lease.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    ttl: Duration,
}

impl Pace {
    pub(super) fn new(ttl: Duration) -> Self {
        Self { ttl }
    }

    /// A reply that has not come after this long is taken for lost. Drivers give up sooner and say so.
    pub(super) fn patience(self) -> Duration {
        self.ttl
    }

    /// How long the membership must not have changed before unowned shards are claimed.
    pub(super) fn before_claims(self) -> Duration {
        self.ttl / 10
    }

    /// For how long changes may put that off.
    pub(super) fn claims_put_off(self) -> Duration {
        self.ttl / 2
    }

    /// How long the membership must not have changed before shards are given to others.
    pub(super) fn before_moves(self) -> Duration {
        self.ttl / 2
    }

    /// For how long changes may put that off.
    pub(super) fn moves_put_off(self) -> Duration {
        self.ttl * 2
    }

    /// How long a leaving node waits for etcd: to know that it leaves, and that its claims are gone.
    pub(super) fn farewell(self) -> Duration {
        self.ttl / 2
    }

    /// How long a name may be bound to somebody else's lease. That of our former self ends sooner.
    pub(super) fn name_taken(self) -> Duration {
        self.ttl * 2 + margin(self.ttl)
    }

    /// A failure this long ago says nothing any more.
    pub(super) fn forgets_failures(self) -> Duration {
        self.ttl * 10
    }

    /// Between two lists, at least.
    pub(super) fn between_lists(self) -> Duration {
        self.ttl / 10
    }

    /// How long to wait after so many failures in a row.
    pub(super) fn pause(self, failures: u32) -> Duration {
        let first = self.ttl / 40;
        first.saturating_mul(1 << failures.saturating_sub(1).min(5)).min(self.ttl / 2)
    }
}

/// How much earlier than etcd a node stops to trust a lease.
pub(super) fn margin(ttl: Duration) -> Duration {
    (ttl / 5).max(Duration::from_millis(500)).min(ttl / 2)
}

/// A request that is made until it is not needed any more.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Attempt {
    lost_at: Option<Duration>,
    not_before: Duration,
    failures: u32,
}

impl Attempt {
    /// When it is to be made (again).
    pub(super) fn due_at(&self) -> Duration {
        self.not_before.max(self.lost_at.unwrap_or_default())
    }

    /// It is to be made at this time.
    pub(super) fn at(not_before: Duration) -> Self {
        Self { not_before, ..Self::default() }
    }

    /// It is made now.
    pub(super) fn begin(&mut self, now: Duration, pace: Pace) {
        self.lost_at = Some(now + pace.patience());
    }

    /// It failed.
    pub(super) fn failed(&mut self, now: Duration, pace: Pace) {
        self.failures = self.failures.saturating_add(1);
        self.lost_at = None;
        self.not_before = now + pace.pause(self.failures);
    }

    /// It is not needed any more; the next one begins anew, and at once.
    pub(super) fn done(&mut self) {
        *self = Self::default();
    }
}
