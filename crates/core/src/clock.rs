//! Time as an input: nothing outside [`SystemClock`] asks the operating system what time it is.

use std::fmt::Debug;
use std::time::Duration;

use jiff::Timestamp;

/// Where the time comes from. Production uses [`SystemClock`]; tests and the simulation their own.
pub trait Clock: Debug + Send + Sync {
    /// Wall-clock time (UTC). May jump in both directions.
    fn now(&self) -> Timestamp;

    /// Time since an arbitrary fixed point. Never goes back; use it to measure how long something took
    /// or has waited.
    fn monotonic(&self) -> Duration;
}

/// What the monotonic clock of a process begins at: so that what happened before its start, two days ago at most,
/// has a time as well. Nothing that is compared with it looks back further (`-min-upload-interval` is a day at most).
const BEFORE_THE_START: Duration = Duration::from_hours(48);

/// The operating system's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    /// It goes on while the machine sleeps: a lease does not.
    fn monotonic(&self) -> Duration {
        use std::sync::OnceLock;
        static START: OnceLock<Duration> = OnceLock::new();
        let now = since_boot();
        BEFORE_THE_START + now.saturating_sub(*START.get_or_init(|| now))
    }
}

fn since_boot() -> Duration {
    #[cfg(target_os = "linux")]
    let clock = rustix::time::ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    let clock = rustix::time::ClockId::Monotonic;
    rustix::time::clock_gettime(clock).try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_before_the_start_has_a_time() {
        assert!(SystemClock.monotonic() >= Duration::from_hours(48));
    }
}
