//! How much goes to the store at once, and how many requests a month: two small rules without I/O.

use std::time::Duration;

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

const MONTH: Duration = Duration::from_hours(30 * 24);

/// Requests a month, spread evenly: a token bucket that holds one day's worth at most, so that 30 days
/// of any workload stay within the budget. The largest exposure is served first, so that all that wait
/// share it fairly.
#[derive(Debug, Clone)]
pub(crate) struct PutBudget {
    /// Requests a second.
    rate: f64,
    capacity: f64,
    tokens: f64,
    at: Duration,
}

impl PutBudget {
    /// `per_month` requests in any 30 days, beginning at `now` (monotonic clock).
    pub(crate) fn new(per_month: u64, now: Duration) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "a budget of 2^53 requests is none")]
        let budget = per_month as f64;
        let capacity = (budget / 30.0).max(1.0);
        // What the bucket holds at the start is part of the budget.
        let rate = (budget - capacity).max(0.0) / MONTH.as_secs_f64();
        Self { rate, capacity, tokens: capacity, at: now }
    }

    /// Takes one request, or tells how long until there is one.
    pub(crate) fn take(&mut self, now: Duration) -> Result<(), Duration> {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        self.tokens = (self.tokens + passed * self.rate).min(self.capacity);
        self.at = now;
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        let seconds = if self.rate > 0.0 { (1.0 - self.tokens) / self.rate } else { f64::MAX };
        Err(Duration::try_from_secs_f64(seconds).unwrap_or(MONTH).min(MONTH))
    }

    /// Gives a request back that was not made.
    pub(crate) fn give_back(&mut self) {
        self.tokens = (self.tokens + 1.0).min(self.capacity);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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

    #[test]
    fn nothing_waits_for_ever_when_the_budget_allows_anything() {
        let mut budget = PutBudget::new(1, Duration::ZERO);
        assert_eq!(budget.take(Duration::ZERO), Ok(()));
        assert_eq!(budget.take(Duration::ZERO), Err(MONTH));
    }

    proptest! {
        /// Whatever is asked for, 30 days never see more than the budget.
        #[test]
        fn a_month_stays_within(budget in 1u64..20_000, step in 1u64..200_000, hungry in 1u32..40) {
            let mut bucket = PutBudget::new(budget, Duration::ZERO);
            let mut taken = 0;
            let mut now = Duration::ZERO;
            while now < MONTH {
                for _ in 0..hungry * 50 {
                    taken += u64::from(bucket.take(now).is_ok());
                }
                now += Duration::from_secs(step);
            }
            prop_assert!(taken <= budget, "{taken} of {budget}");
        }
    }
}
