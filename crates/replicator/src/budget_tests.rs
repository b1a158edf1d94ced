//! Whatever is asked for, whoever sends it and whenever it is counted: no 30 days see more than the budget.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

const S: fn(u64) -> Duration = Duration::from_secs;

/// Begins as many uploads of one request as may be, each counted before the next.
fn burst(budget: &mut PutBudget, now: Duration) -> u64 {
    let before = budget.spent();
    budget.meter(before, now);
    while budget.ready(0).is_ok() {
        budget.meter(budget.spent() + 1, now);
    }
    budget.spent() - before
}

#[test]
fn a_start_gives_a_days_worth_and_a_restart_an_hours() {
    let day = 2_160_000 / 32;
    for (begin, counted, at_once) in [
        (Begin::First, 0, day),
        (Begin::First, 6, day - 6),
        (Begin::Again, 0, day / 24),
        (Begin::Again, 6, day / 24 - 6),
        (Begin::Again, 1_000_000, 0),
    ] {
        let mut budget = PutBudget::new(Some(2_160_000), begin, counted, S(0));
        assert_eq!(burst(&mut budget, S(0)), at_once, "{begin:?} after {counted}");
        // After that, and after an idle month, it is the same for both.
        assert_eq!(burst(&mut budget, S(24 * 3_600)), day);
        assert_eq!(burst(&mut budget, S(24 * 3_600) + MONTH), day);
    }
}

#[test]
fn what_is_in_flight_is_put_aside() {
    let mut budget = PutBudget::new(Some(320), Begin::First, 0, S(0));
    assert_eq!((budget.ready(9), budget.ready(10).is_ok()), (Ok(()), false));
    budget.meter(4, S(0));
    assert_eq!((budget.ready(5), budget.ready(6).is_ok()), (Ok(()), false));
}

#[test]
fn what_is_owed_is_paid_back_before_the_next_begins() {
    let mut budget = PutBudget::new(Some(32 * 86_400), Begin::First, 0, S(0));
    // A token a second; the last upload takes 102.
    let day = burst(&mut budget, S(0));
    budget.meter(day + 101, S(0));
    let wait = budget.ready(0).unwrap_err();
    assert!(wait > S(101) && wait <= S(102), "{wait:?}");
    budget.meter(day + 101, wait + LEAST_WAIT);
    assert_eq!(budget.ready(0), Ok(()));
}

#[test]
fn a_store_that_does_not_count_is_charged_by_uploads() {
    let mut budget = PutBudget::new(Some(320), Begin::First, 0, S(0));
    for _ in 0..10 {
        assert_eq!(budget.ready(0), Ok(()));
        budget.sent();
        budget.meter(0, S(0));
    }
    assert!(budget.ready(0).is_err());
    // One that does is not charged twice.
    let mut budget = PutBudget::new(Some(320), Begin::First, 0, S(0));
    for count in 1..=10 {
        assert_eq!(budget.ready(0), Ok(()));
        budget.sent();
        budget.meter(count, S(0));
    }
    assert_eq!(budget.spent(), 10);
}

#[test]
fn without_a_budget_there_is_no_limit_but_a_count() {
    let mut budget = PutBudget::new(None, Begin::First, 0, S(0));
    budget.meter(1_000_000, S(0));
    assert_eq!((budget.ready(1_000), budget.spent()), (Ok(()), 1_000_000));
}

#[test]
fn nothing_waits_for_ever_when_the_budget_allows_anything() {
    for per_month in 1..100 {
        for begin in [Begin::First, Begin::Again] {
            let mut budget = PutBudget::new(Some(per_month), begin, 0, S(0));
            let begun = burst(&mut budget, S(0));
            let later = burst(&mut budget, MONTH + S(2 * 86_400));
            assert!(later >= 1, "{per_month} a month, {begun} begun at the start");
        }
    }
}

/// What 30 days have seen.
#[derive(Default)]
struct Window {
    spent: VecDeque<(Duration, u64)>,
    total: u64,
    most: u64,
}

impl Window {
    fn spend(&mut self, count: u64, now: Duration) {
        self.spent.push_back((now, count));
        self.total += count;
        while let Some(&(at, count)) = self.spent.front()
            && now.saturating_sub(at) >= MONTH
        {
            self.total -= count;
            self.spent.pop_front();
        }
        self.most = self.most.max(self.total);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Uploads of one request each, many in flight, counted at any time between begin and end.
    #[test]
    fn a_month_stays_within(
        per_month in 1u64..20_000,
        again in any::<bool>(),
        steps in proptest::collection::vec((1u64..200_000, 0usize..300, any::<bool>()), 1..200),
    ) {
        let begin = if again { Begin::Again } else { Begin::First };
        let mut budget = PutBudget::new(Some(per_month), begin, 0, S(0));
        let (mut now, mut counted, mut in_flight, mut uncounted) = (S(0), 0, 0usize, 0u64);
        let mut window = Window::default();
        for (step, hungry, ends) in steps.into_iter().cycle().take(400) {
            for _ in 0..hungry {
                if budget.ready(in_flight).is_ok() {
                    (in_flight, uncounted) = (in_flight + 1, uncounted + 1);
                }
            }
            if ends {
                counted += uncounted;
                window.spend(uncounted, now);
                (0..in_flight).for_each(|_| budget.sent());
                (in_flight, uncounted) = (0, 0);
            }
            now += S(step);
            budget.meter(counted, now);
        }
        prop_assert!(window.most <= per_month, "{} of {per_month}", window.most);
    }

    /// Uploads that turn out to cost more, and requests of others: what is owed at a time is less than
    /// the day's worth that is kept for it.
    #[test]
    fn a_month_stays_within_whatever_an_upload_costs(
        days_worth in 100u64..1_000,
        steps in proptest::collection::vec((1u64..20_000, 0u64..90, 0u64..10), 1..200),
    ) {
        let per_month = 32 * days_worth;
        let mut budget = PutBudget::new(Some(per_month), Begin::First, 0, S(0));
        let (mut now, mut counted) = (S(0), 0);
        let mut window = Window::default();
        for (step, cost, others) in steps.into_iter().cycle().take(2_000) {
            let mut spent = others.min(step * days_worth / 172_800);
            while budget.ready(0).is_ok() {
                budget.meter(counted + spent + 1 + cost, now);
                spent += 1 + cost;
            }
            counted += spent;
            window.spend(spent, now);
            now += S(step);
            budget.meter(counted, now);
        }
        prop_assert!(window.most <= per_month, "{} of {per_month}", window.most);
    }
}
