//! Whether this node can do its work: a node of a fleet that cannot reach the store, whose file system hangs, or that
//! sees nothing on a volume where there should be something, says so, so that others, for whom they work, take over.
//! Decided without I/O.
//!
//! The store is asked after each cycle in which nothing spoke for it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ultrasimple_core::VolumeName;

/// A store that fails for a shorter time may come back before others could have taken over.
const UNWELL_AFTER: Duration = Duration::from_secs(30);
/// So many successes in a row, and it works again.
const WELL_AFTER: u32 = 2;

/// So many databases must be missing on a volume that has none: one may have been deleted.
const MISSED: u64 = 2;

/// What is seen of a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Sight {
    /// There is a database, this node's or another's.
    pub(crate) is_seen: bool,
    /// So many of this node's should be there, and are not.
    pub(crate) unseen: u64,
}

/// See the module. What its methods return is whether the node is well, if that is news.
#[derive(Debug, Default)]
pub(crate) struct Health {
    failing_since: Option<Duration>,
    store_fails: bool,
    successes: u32,
    scan_hangs: bool,
    /// Volumes that look as if they were not mounted.
    empty: BTreeSet<VolumeName>,
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

    /// What the last scan saw of the volumes. A volume without any database where there should be some is taken for
    /// one that is not mounted, until a database shows: when its shards are others', nobody tells any more what
    /// should be there. Gives the volumes of which that is new, too.
    pub(crate) fn saw(
        &mut self,
        volumes: &BTreeMap<VolumeName, Sight>,
    ) -> (Vec<VolumeName>, Option<bool>) {
        self.empty.retain(|volume| !volumes.get(volume).is_some_and(|sight| sight.is_seen));
        let lacks = |sight: &Sight| !sight.is_seen && sight.unseen >= MISSED;
        let lacking = volumes.iter().filter(|(_, sight)| lacks(sight));
        let mut new: Vec<_> = lacking.map(|(volume, _)| volume.clone()).collect();
        new.retain(|volume| self.empty.insert(volume.clone()));
        (new, self.news())
    }

    fn news(&mut self) -> Option<bool> {
        let is_unwell = self.store_fails || self.scan_hangs || !self.empty.is_empty();
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
    fn a_volume_without_what_should_be_there_is_taken_for_unmounted_until_something_shows() {
        let mut health = Health::default();
        let name: VolumeName = "v".parse().unwrap();
        let sight = |is_seen, unseen| [(name.clone(), Sight { is_seen, unseen })].into();
        assert_eq!(health.saw(&sight(false, 1)), (vec![], None), "one may have been deleted");
        assert_eq!(health.saw(&sight(true, 9)), (vec![], None), "it is mounted");
        assert_eq!(health.saw(&sight(false, 2)), (vec![name.clone()], Some(false)));
        assert_eq!(health.saw(&sight(false, 2)), (vec![], None), "told once");
        assert_eq!(health.saw(&BTreeMap::new()), (vec![], None), "its shards are others' now");
        assert_eq!(health.saw(&sight(true, 2)), (vec![], Some(true)));
        assert_eq!(health.saw(&BTreeMap::new()), (vec![], None));
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
