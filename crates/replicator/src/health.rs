//! Whether this node can do its work: a node of a fleet that cannot reach the store, or whose file system hangs, says
//! so, so that others, for whom they work, take over. Decided without I/O.
//!
//! The store is asked after each cycle in which nothing spoke for it.

use std::time::Duration;

/// A store that fails for a shorter time may come back before others could have taken over.
const UNWELL_AFTER: Duration = Duration::from_secs(30);
/// So many successes in a row, and it works again.
const WELL_AFTER: u32 = 2;

/// See the module. What its methods return is whether the node is well, if that is news.
#[derive(Debug, Default)]
pub(crate) struct Health {
    failing_since: Option<Duration>,
    store_fails: bool,
    successes: u32,
    scan_hangs: bool,
    is_unwell: bool,
}

impl Health {
    /// Whether the store is to be asked although nothing has failed.
    pub(crate) fn doubts_store(&self) -> bool {
        self.failing_since.is_some() || self.store_fails
    }

    /// The store has done something.
    pub(crate) fn store_worked(&mut self) -> Option<bool> {
        self.failing_since = None;
        self.successes = self.successes.saturating_add(1);
        self.store_fails &= self.successes < WELL_AFTER;
        self.news()
    }

    /// It could not even say what time it is, at `now` (monotonic clock).
    pub(crate) fn store_failed(&mut self, now: Duration) -> Option<bool> {
        self.successes = 0;
        let since = *self.failing_since.get_or_insert(now);
        self.store_fails |= now.saturating_sub(since) >= UNWELL_AFTER;
        self.news()
    }

    /// A scan does not end, or has ended.
    pub(crate) fn scan_hangs(&mut self, hangs: bool) -> Option<bool> {
        self.scan_hangs = hangs;
        self.news()
    }

    fn news(&mut self) -> Option<bool> {
        let is_unwell = self.store_fails || self.scan_hangs;
        let was_unwell = std::mem::replace(&mut self.is_unwell, is_unwell);
        (is_unwell != was_unwell).then_some(!is_unwell)
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
        assert!(!health.doubts_store());
        assert_eq!([health.store_failed(at(5)), health.store_failed(at(34))], [None, None]);
        assert_eq!([health.store_failed(at(35)), health.store_failed(at(99))], [Some(false), None]);
        assert_eq!([health.store_worked(), health.store_failed(at(100))], [None, None], "not yet");
        assert!(health.doubts_store());
        assert_eq!([health.store_worked(), health.store_worked()], [None, Some(true)]);
        assert_eq!(health.store_worked(), None);
        assert!(!health.doubts_store());
    }

    #[test]
    fn what_fails_now_and_then_is_well() {
        let mut health = Health::default();
        for second in 0..100 {
            assert_eq!(health.store_failed(at(second * 29)), None);
            assert_eq!(health.store_worked(), None);
        }
    }

    #[test]
    fn a_node_is_well_when_store_and_file_system_are() {
        let mut health = Health::default();
        assert_eq!([health.scan_hangs(true), health.scan_hangs(true)], [Some(false), None]);
        assert_eq!([health.store_failed(at(0)), health.store_failed(at(60))], [None, None]);
        assert_eq!(health.scan_hangs(false), None);
        assert_eq!([health.store_worked(), health.store_worked()], [None, Some(true)]);
    }
}
