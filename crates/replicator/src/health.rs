//! Whether the store works for this node: a node of a fleet that cannot reach it says so, so that others, for whom it
//! works, take over. Decided without I/O; the replicator asks after each cycle in which nothing spoke for the store.

use std::time::Duration;

/// A store that fails for a shorter time may come back before others could have taken over.
const UNWELL_AFTER: Duration = Duration::from_secs(30);
/// So many successes in a row, and it works again.
const WELL_AFTER: u32 = 2;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Health {
    failing_since: Option<Duration>,
    is_unwell: bool,
    successes: u32,
}

impl Health {
    /// Whether the store is to be asked although nothing has failed.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.failing_since.is_some() || self.is_unwell
    }

    /// The store has done something. Gives what others are to be told, if that is news.
    pub(crate) fn worked(&mut self) -> Option<bool> {
        self.failing_since = None;
        self.successes = self.successes.saturating_add(1);
        let is_news = self.is_unwell && self.successes >= WELL_AFTER;
        if is_news {
            self.is_unwell = false;
        }
        is_news.then_some(true)
    }

    /// It could not even say what time it is, at `now` (monotonic clock).
    pub(crate) fn failed(&mut self, now: Duration) -> Option<bool> {
        self.successes = 0;
        let since = *self.failing_since.get_or_insert(now);
        let is_news = !self.is_unwell && now.saturating_sub(since) >= UNWELL_AFTER;
        self.is_unwell |= is_news;
        is_news.then_some(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_store_that_fails_for_long_is_told_once_and_so_is_its_return() {
        let mut health = Health::default();
        assert!(!health.is_in_doubt());
        assert_eq!([health.failed(at(5)), health.failed(at(34))], [None, None]);
        assert_eq!([health.failed(at(35)), health.failed(at(99))], [Some(false), None]);
        assert_eq!([health.worked(), health.failed(at(100))], [None, None], "not yet");
        assert!(health.is_in_doubt());
        assert_eq!([health.worked(), health.worked()], [None, Some(true)]);
        assert_eq!(health.worked(), None);
        assert!(!health.is_in_doubt());
    }

    #[test]
    fn what_fails_now_and_then_is_well() {
        let mut health = Health::default();
        for second in 0..100 {
            assert_eq!(health.failed(at(second * 29)), None);
            assert_eq!(health.worked(), None);
        }
    }
}
