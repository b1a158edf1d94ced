//! Which of many are kept: pure, bounded, and decided when each has ended.
//!
//! Kept are those that failed, the slowest, and a random few of the others, to compare with.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use crate::ids::SpanId;

/// How one ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Drawn by chance, which makes those with the lowest ids a random few.
    pub(crate) id: SpanId,
    pub(crate) took: Duration,
    /// The word for the kind of its failure, if it failed.
    pub(crate) failure: Option<&'static str>,
}

/// How many are kept at most.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Most {
    /// That failed. Beyond that, the first one of each kind.
    pub(crate) failed: usize,
    pub(crate) slow: usize,
    pub(crate) random: usize,
}

/// How many there were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) ended: u64,
    pub(crate) left_out: u64,
    /// Of those left out.
    pub(crate) failed_left_out: u64,
}

/// Those that are kept so far, and how many were left out.
#[derive(Debug)]
pub(crate) struct Picks<T> {
    most: Most,
    counts: Counts,
    kinds: HashSet<&'static str>,
    failed: Vec<T>,
    slow: BTreeMap<(Duration, SpanId), T>,
    random: BTreeMap<SpanId, T>,
    failed_so_far: usize,
}

impl<T> Picks<T> {
    pub(crate) fn new(most: Most) -> Self {
        Self {
            most,
            counts: Counts::default(),
            kinds: HashSet::new(),
            failed: Vec::new(),
            slow: BTreeMap::new(),
            random: BTreeMap::new(),
            failed_so_far: 0,
        }
    }

    /// One has ended.
    pub(crate) fn offer(&mut self, verdict: Verdict, what: T) {
        self.counts.ended += 1;
        let Verdict { id, took, failure } = verdict;
        if let Some(kind) = failure {
            let is_first = self.kinds.insert(kind);
            if self.failed_so_far < self.most.failed || is_first {
                self.failed_so_far += 1;
                self.failed.push(what);
            } else {
                self.counts.failed_left_out += 1;
                self.counts.left_out += 1;
            }
            return;
        }
        self.slow.insert((took, id), what);
        if self.slow.len() > self.most.slow
            && let Some(((_, id), quickest)) = self.slow.pop_first()
        {
            self.random.insert(id, quickest);
        }
        if self.random.len() > self.most.random {
            self.random.pop_last();
            self.counts.left_out += 1;
        }
    }

    /// Gives out those that are kept. What ends after that is judged anew, but for the number of failures.
    pub(crate) fn take(&mut self) -> Vec<T> {
        let failed = std::mem::take(&mut self.failed).into_iter();
        let slow = std::mem::take(&mut self.slow).into_values();
        let random = std::mem::take(&mut self.random).into_values();
        failed.chain(slow).chain(random).collect()
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MOST: Most = Most { failed: 5, slow: 4, random: 3 };

    fn verdict(id: u64, ms: u64, failure: Option<&'static str>) -> Verdict {
        Verdict { id: SpanId(id), took: Duration::from_millis(ms), failure }
    }

    #[test]
    fn of_ten_thousand_the_failed_and_the_slowest_are_kept() {
        let mut picks = Picks::new(MOST);
        for number in 0..10_000u64 {
            // A permutation: 7919 has no divisor in common with 10,000.
            let ms = number * 7_919 % 10_000;
            let failure = (number % 3_000 == 17).then_some("busy");
            picks.offer(verdict(number + 1, ms, failure), (ms, failure));
        }
        let counts = picks.counts();
        let kept = picks.take();
        assert_eq!(kept.iter().filter(|(_, failure)| failure.is_some()).count(), 4);
        for slowest in 9_996..10_000 {
            assert!(kept.iter().any(|(ms, _)| *ms == slowest), "{slowest}");
        }
        assert_eq!(kept.len(), 4 + 4 + 3);
        assert_eq!(counts, Counts { ended: 10_000, left_out: 10_000 - 11, failed_left_out: 0 });
    }

    #[test]
    fn a_flood_of_failures_does_not_hide_another_kind() {
        let mut picks = Picks::new(MOST);
        for number in 0..10_000 {
            picks.offer(verdict(number, 1, Some("denied")), "denied");
        }
        picks.offer(verdict(20_000, 1, Some("busy")), "busy");
        picks.offer(verdict(20_001, 1, Some("busy")), "busy");
        let counts = picks.counts();
        assert_eq!(picks.take(), ["denied", "denied", "denied", "denied", "denied", "busy"]);
        assert_eq!((counts.left_out, counts.failed_left_out), (9_996, 9_996));
    }

    #[test]
    fn what_comes_late_does_not_bring_the_flood_back() {
        let mut picks = Picks::new(MOST);
        for number in 0..8 {
            picks.offer(verdict(number, 1, Some("denied")), number);
        }
        assert_eq!(picks.take().len(), 5);
        picks.offer(verdict(9, 1, Some("denied")), 9);
        picks.offer(verdict(10, 1, None), 10);
        assert_eq!(picks.take(), [10]);
        assert_eq!(picks.counts(), Counts { ended: 10, left_out: 4, failed_left_out: 4 });
    }

    proptest! {
        #[test]
        fn all_are_either_kept_or_counted(
            all in prop::collection::vec((0u64..50, prop::option::of(0usize..4)), 0..200),
        ) {
            const KINDS: [&str; 4] = ["a", "b", "c", "d"];
            let mut picks = Picks::new(MOST);
            for (id, (ms, kind)) in all.iter().enumerate() {
                let failure = kind.map(|kind| KINDS[kind]);
                picks.offer(verdict(id as u64, *ms, failure), (*ms, failure));
                let held = picks.failed.len() + picks.slow.len() + picks.random.len();
                prop_assert!(held <= MOST.failed + KINDS.len() + MOST.slow + MOST.random);
            }
            let counts = picks.counts();
            let kept = picks.take();
            prop_assert_eq!(counts.ended, all.len() as u64);
            prop_assert_eq!(kept.len() as u64 + counts.left_out, counts.ended);
            let mut good: Vec<_> = all.iter().filter(|(_, kind)| kind.is_none()).collect();
            good.sort_by_key(|(ms, _)| std::cmp::Reverse(*ms));
            if let Some((slowest, _)) = good.first() {
                prop_assert!(kept.contains(&(*slowest, None)));
            }
        }
    }
}
