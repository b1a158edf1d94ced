//! The clocks of a host: a monotonic one that may be a little fast or slow, and a wall clock that may be anything.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use ultrasimple_core::{Clock, Timestamp};

/// What time it really is, since the beginning.
#[derive(Debug, Default)]
pub(crate) struct Now(AtomicU64);

impl Now {
    pub(crate) fn get(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }

    pub(crate) fn set(&self, now: Duration) {
        self.0.store(nanos(now), Ordering::Relaxed);
    }
}

/// The real wall clock's time at the beginning: some minutes before a full hour.
pub(crate) const BEGINNING: i64 = 1_705_322_400 - 8 * 60;

/// What the wall clock should say.
pub(crate) fn wall(now: Duration) -> Timestamp {
    let begin = Timestamp::from_second(BEGINNING).unwrap_or(Timestamp::UNIX_EPOCH);
    begin.checked_add(now).unwrap_or(begin)
}

/// See the module.
#[derive(Debug)]
pub(crate) struct HostClock {
    now: Arc<Now>,
    /// What it gains in a million, by the real time.
    drift: i64,
    /// How long it stood still.
    lost: AtomicU64,
    /// How much the wall clock is ahead.
    ahead: AtomicI64,
}

/// What a monotonic clock says at the beginning: it has no zero that means anything.
const START: Duration = Duration::from_hours(48);

impl HostClock {
    pub(crate) fn new(now: Arc<Now>, drift: i64) -> Self {
        Self { now, drift, lost: AtomicU64::new(0), ahead: AtomicI64::new(0) }
    }

    /// Sets how much the wall clock is ahead of the real time, in milliseconds.
    pub(crate) fn set_ahead(&self, millis: i64) {
        self.ahead.store(millis, Ordering::Relaxed);
    }

    /// The host was suspended, and its monotonic clock with it.
    pub(crate) fn lose(&self, time: Duration) {
        self.lost.fetch_add(nanos(time), Ordering::Relaxed);
    }

    /// The real time at which the monotonic clock will say this, at the latest, if it does not stand still.
    pub(crate) fn real(&self, monotonic: Duration) -> Duration {
        let local = monotonic.saturating_sub(START);
        let real = Duration::from_nanos(scale(local, MILLION, MILLION + self.drift));
        real + Duration::from_nanos(1 + self.lost.load(Ordering::Relaxed))
    }
}

impl Clock for HostClock {
    fn now(&self) -> Timestamp {
        let ahead = self.ahead.load(Ordering::Relaxed);
        let real = wall(self.now.get());
        let span = Duration::from_millis(ahead.unsigned_abs());
        let shown = if ahead < 0 { real.checked_sub(span) } else { real.checked_add(span) };
        shown.unwrap_or(real)
    }

    fn monotonic(&self) -> Duration {
        let lost = Duration::from_nanos(self.lost.load(Ordering::Relaxed));
        let real = self.now.get().saturating_sub(lost);
        if self.drift == 0 {
            return START + real;
        }
        START + Duration::from_nanos(scale(real, MILLION + self.drift, MILLION))
    }
}

const MILLION: i64 = 1_000_000;

/// The nanoseconds of a time, multiplied by `by` and divided by `per`. Clocks are read all the time, and 128 bits are
/// slow to divide.
fn scale(time: Duration, by: i64, per: i64) -> u64 {
    let (nanos, by, per) = (nanos(time), by.unsigned_abs(), per.unsigned_abs());
    (nanos / per).saturating_mul(by).saturating_add(nanos % per * by / per)
}

/// In nanoseconds: more than five hundred years are as good as for ever.
pub(crate) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_comes_when_it_was_said_to() {
        let now = Arc::new(Now::default());
        for drift in [-50_000, 0, 50_000] {
            now.set(Duration::ZERO);
            let clock = HostClock::new(Arc::clone(&now), drift);
            let due = clock.monotonic() + Duration::from_secs(10);
            let real = clock.real(due);
            now.set(real.saturating_sub(Duration::from_millis(1)));
            assert!(clock.monotonic() < due, "{drift}");
            now.set(real);
            assert!(clock.monotonic() >= due, "{drift}");
            clock.lose(Duration::from_secs(3));
            assert!(clock.monotonic() < due && clock.real(due) > real);
        }
    }

    #[test]
    fn the_wall_clock_jumps_and_the_other_does_not() {
        let now = Arc::new(Now::default());
        let clock = HostClock::new(Arc::clone(&now), 0);
        let (wall, monotonic) = (clock.now(), clock.monotonic());
        clock.set_ahead(-90_000);
        assert_eq!(clock.now().duration_since(wall).as_secs(), -90);
        assert_eq!(clock.monotonic(), monotonic);
    }
}
