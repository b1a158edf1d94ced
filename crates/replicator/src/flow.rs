//! How many uploads go to the store at once: a small rule without I/O.

/// How many uploads may be in flight: all that are allowed, until the store says 'slow down'; then half,
/// and one more for each round that goes well.
#[derive(Debug, Clone)]
pub(crate) struct AdaptiveLimit {
    most: usize,
    now: usize,
    /// Uploads that ended well since the limit last changed.
    successes: usize,
    /// Uploads, begun before the last cut, whose end tells nothing new.
    stale: usize,
}

impl AdaptiveLimit {
    pub(crate) fn new(most: usize) -> Self {
        Self { most: most.max(1), now: most.max(1), successes: 0, stale: 0 }
    }

    pub(crate) fn get(&self) -> usize {
        self.now
    }

    /// An upload ended; `slow_down` when the store asked for fewer, `in_flight` others go on.
    pub(crate) fn ended(&mut self, slow_down: bool, in_flight: usize) {
        if self.stale > 0 {
            self.stale -= 1;
        } else if slow_down {
            self.now = (self.now / 2).max(1);
            self.successes = 0;
            self.stale = in_flight;
        } else {
            self.successes += 1;
            if self.successes >= self.now && self.now < self.most {
                self.now += 1;
                self.successes = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_down_halves_once_per_round_and_success_grows_again() {
        let mut limit = AdaptiveLimit::new(100);
        limit.ended(true, 99);
        assert_eq!(limit.get(), 50);
        (0..99).for_each(|_| limit.ended(true, 10));
        assert_eq!(limit.get(), 50, "those were begun before the cut");
        (0..20).for_each(|_| limit.ended(true, 0));
        assert_eq!(limit.get(), 1, "never none");
        (0..20_000).for_each(|_| limit.ended(false, 0));
        assert_eq!(limit.get(), 100, "never more than allowed");
    }
}
