//! What holds for every history, every set of rules and every clock.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Span, ToSpan};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;

/// 2023-01-01T00: the hour with which histories begin.
const FIRST: i64 = 464_592;

fn hour_at(index: i64) -> Hour {
    Hour::of(Timestamp::from_second(index * 3_600).unwrap())
}

fn hour_number(hour: Hour) -> i64 {
    hour.start().as_second() / 3_600
}

/// Histories with runs of contiguous hours, idle days, and idle months, shuffled and with duplicates.
fn histories() -> impl Strategy<Value = Vec<Hour>> {
    let gap = prop_oneof![4 => Just(1), 3 => 2..30i64, 2 => 20..200i64, 1 => 500..5_000i64];
    let hours = vec(gap, 1..60).prop_map(|gaps| {
        let numbers = gaps.iter().scan(FIRST, |number, gap| {
            *number += gap;
            Some(hour_at(*number))
        });
        numbers.flat_map(|hour| [hour].repeat(1 + hour.index() as usize % 2)).collect::<Vec<_>>()
    });
    hours.prop_shuffle()
}

/// A history and a time: within it, at its end, or long after, on the full hour or not.
fn histories_and_times() -> impl Strategy<Value = (Vec<Hour>, Timestamp)> {
    let late = prop_oneof![3 => -100..2_000i64, 1 => -50_000..50_000i64];
    let second = prop_oneof![Just(0), Just(3_599), 0..3_600i64];
    (histories(), late, second).prop_map(|(hours, late, second)| {
        let last = hours.iter().copied().max().map_or(FIRST, hour_number);
        let now = Timestamp::from_second((last + late) * 3_600 + second).unwrap();
        (hours, now)
    })
}

fn all_rules() -> impl Strategy<Value = RetentionRules> {
    let count = || option::of(1..20u32);
    let counts = (option::of(1..60u32), count(), count(), count(), option::of(1..4u32));
    (1..40u32, counts).prop_map(|(days, (hourly, daily, weekly, monthly, yearly))| {
        let counts = [hourly, daily, weekly, monthly, yearly];
        let given = Period::ALL.iter().zip(counts).filter_map(|(p, c)| Some((p, c?)));
        let parts: Vec<_> = given.map(|(period, count)| format!("{period}={count}")).collect();
        rules(days, &parts.join(","))
    })
}

fn free(hours: &[Hour]) -> History<'_> {
    History { hours, ..History::default() }
}

/// The start of the `back`th period before the one that `now` lies in, by the calendar.
fn period_start(period: Period, now: Timestamp, back: i64) -> Timestamp {
    let now = TimeZone::UTC.to_datetime(now);
    let date = now.date();
    let (start, span): (DateTime, Span) = match period {
        Period::Hourly => (date.at(now.hour(), 0, 0, 0), back.hours()),
        Period::Daily => (date.into(), back.days()),
        Period::Weekly => {
            let since_monday = date.weekday().to_monday_zero_offset();
            ((date - i64::from(since_monday).days()).into(), back.weeks())
        }
        Period::Monthly => (date.first_of_month().into(), back.months()),
        Period::Yearly => (Date::new(date.year(), 1, 1).unwrap().into(), back.years()),
    };
    (start - span).to_zoned(TimeZone::UTC).unwrap().timestamp()
}

/// What the words of the rules say, taken literally: the newest, what lies in the future, and of each
/// of the last periods the last backup of before its end.
fn literally(rules: &RetentionRules, now: Timestamp, hours: &[Hour]) -> Vec<Hour> {
    let past: Vec<Hour> = hours.iter().copied().filter(|hour| hour.start() <= now).collect();
    let mut kept: Vec<Hour> = hours.iter().copied().filter(|hour| hour.start() > now).collect();
    kept.extend(hours.iter().max());
    let by_days = rules.retention_days().map(|days| (Period::Hourly, days * 24 + 1));
    let by_keep = rules.keep().into_iter().flat_map(Keep::rules);
    for (period, count) in by_days.into_iter().chain(by_keep) {
        for back in 0..i64::from(count) {
            let end = period_start(period, now, back - 1);
            kept.extend(past.iter().filter(|hour| hour.start() < end).max());
        }
    }
    kept.sort();
    kept.dedup();
    kept
}

/// The backup that a restore as of this full hour takes: the newest of those taken before it.
fn restored(hours: &[Hour], full_hour: Timestamp) -> Option<Hour> {
    hours.iter().copied().filter(|hour| hour.end() <= full_hour).max()
}

fn later(time: Timestamp, seconds: i64) -> Timestamp {
    Timestamp::from_second(time.as_second() + seconds).unwrap()
}

proptest! {
    #[test]
    fn the_plan_is_what_the_words_say((hours, now) in histories_and_times(), rules in all_rules()) {
        let plan = plan(&rules, now, &free(&hours));
        prop_assert_eq!(kept(&plan), literally(&rules, now, &hours));
        let mut all = [kept(&plan), deleted(&plan)].concat();
        all.sort();
        let mut expected = hours.clone();
        expected.sort();
        expected.dedup();
        prop_assert_eq!(all, expected);
    }

    #[test]
    fn the_newest_and_the_future_stay((hours, now) in histories_and_times(), rules in all_rules()) {
        let plan = plan(&rules, now, &free(&hours));
        prop_assert_eq!(plan.keep.last().map(|k| k.0), hours.iter().copied().max());
        prop_assert!(deleted(&plan).iter().all(|hour| hour.start() <= now));
        let future = hours.iter().filter(|hour| hour.start() > now);
        prop_assert!(future.into_iter().all(|hour| kept(&plan).contains(hour)));
    }

    #[test]
    fn every_full_hour_of_the_window_is_restored_as_before(
        (hours, now) in histories_and_times(),
        days in 1..40u32,
        keep in all_rules(),
    ) {
        let keep = keep.keep().filter(|keep| keep.rules().all(|(p, _)| p != Period::Hourly));
        let plan = plan(&RetentionRules::new(days, keep).unwrap(), now, &free(&hours));
        let left = kept(&plan);
        for back in 0..i64::from(days) * 24 {
            let full_hour = period_start(Period::Hourly, now, back);
            prop_assert_eq!(restored(&hours, full_hour), restored(&left, full_hour));
        }
    }

    #[test]
    fn with_days_alone_what_stays_is_needed((hours, now) in histories_and_times(), days in 1..40u32) {
        let plan = plan(&rules(days, ""), now, &free(&hours));
        let window = 0..i64::from(days) * 24 + 1;
        let ends = window.map(|back| period_start(Period::Hourly, now, back - 1));
        let needed: Vec<_> = ends.filter_map(|end| restored(&hours, end)).collect();
        for (hour, reason) in plan.keep {
            let is_rule = matches!(reason, KeepReason::Rule { .. });
            prop_assert!(!is_rule || needed.contains(&hour), "{hour}");
        }
    }

    #[test]
    fn contiguous_hours_go_by_age(count in 1..2_000i64, days in 1..40u32, late in 0..7_200i64) {
        let hours: Vec<Hour> = (0..count).map(|n| hour_at(FIRST + n)).collect();
        let now = later(hour_at(FIRST + count - 1).start(), late);
        let oldest = now - SignedDuration::from_hours(i64::from(days) * 24);
        let (newest, rest) = hours.split_last().unwrap();
        let young = rest.iter().copied().filter(|hour| hour.end() > oldest);
        let plan = plan(&rules(days, ""), now, &free(&hours));
        prop_assert_eq!(kept(&plan), young.chain([*newest]).collect::<Vec<_>>());
    }

    #[test]
    fn a_second_plan_deletes_nothing((hours, now) in histories_and_times(), rules in all_rules()) {
        let first = plan(&rules, now, &free(&hours));
        let second = plan(&rules, now, &free(&kept(&first)));
        prop_assert_eq!((kept(&second), deleted(&second)), (kept(&first), vec![]));
    }

    #[test]
    fn next_is_when_more_goes(
        (hours, now) in histories_and_times(),
        rules in all_rules(),
        part in 0..1_000i64,
    ) {
        let first = plan(&rules, now, &free(&hours));
        let at = |time| plan(&rules, time, &free(&hours));
        if let Some(next) = first.next {
            prop_assert!(next > now);
            let between = later(now, (next.as_second() - now.as_second()) * part / 1_000);
            for time in [between, later(next, -1), next - SignedDuration::from_nanos(1)] {
                prop_assert!(time < now || at(time).delete == first.delete, "{time}");
            }
            prop_assert!(at(next).delete.len() > first.delete.len());
        } else {
            prop_assert_eq!(at(Timestamp::MAX).delete, first.delete);
        }
    }

    /// A newer backup makes another history; what it adds to `next` is known without another plan.
    #[test]
    fn a_newer_backup_brings_next_forward_as_far_as_said(
        (mut hours, now) in histories_and_times(),
        rules in all_rules(),
        gap in 1..100i64,
    ) {
        let newest = hours.iter().copied().max().unwrap();
        let newer = hour_at(hour_number(newest) + gap);
        let before = plan(&rules, now, &free(&hours)).next;
        hours.push(newer);
        let (until, _) = rules.wanted_until(newest, newer);
        let expected = before.into_iter().chain([until]).filter(|&time| time > now).min();
        prop_assert_eq!(plan(&rules, now, &free(&hours)).next, expected);
    }

    #[test]
    fn a_blocked_history_deletes_nothing(
        (hours, now) in histories_and_times(),
        rules in all_rules(),
        (held, bad, failed) in any::<(bool, bool, bool)>()
            .prop_filter("blocked", |&(held, bad, failed)| held || bad || failed),
    ) {
        let history = History {
            hours: &hours,
            newest_is_bad: bad.then_some("x"),
            last_check_failed: failed.then_some("y"),
            is_held: held,
        };
        let blocked = plan(&rules, now, &history);
        prop_assert_eq!((deleted(&blocked), blocked.next), (vec![], None));
        let same = |reason: &KeepReason| *reason == KeepReason::Blocked;
        let would_go = blocked.keep.iter().filter(|(_, reason)| same(reason)).map(|(hour, _)| *hour);
        let expected = deleted(&plan(&rules, now, &free(&hours)));
        prop_assert_eq!(would_go.collect::<Vec<_>>(), expected);
    }

    /// Plans are made again and again while backups arrive. Whatever the last one wants of all that
    /// ever was must still be there, and the newest at every step.
    #[test]
    fn nothing_wanted_later_goes_earlier(
        (mut hours, end) in histories_and_times(),
        rules in all_rules(),
        steps in vec(0..1_000_000i64, 0..60),
    ) {
        hours.sort();
        hours.dedup();
        hours.retain(|hour| hour.start() <= end);
        let first = hour_at(FIRST).start();
        let span = (end.as_second() - first.as_second()).max(0);
        let mut times: Vec<_> = steps.iter().map(|step| later(first, span / 1_000_000 * step)).collect();
        times.sort();
        times.push(end);
        let (mut left, mut arrived) = (Vec::new(), 0);
        for now in times {
            let here = hours.iter().filter(|hour| hour.start() <= now).count();
            left.extend_from_slice(&hours[arrived..here]);
            arrived = here;
            left = kept(&plan(&rules, now, &free(&left)));
            prop_assert_eq!(left.last(), hours[..here].last());
        }
        for hour in kept(&plan(&rules, end, &free(&hours))) {
            prop_assert!(left.contains(&hour), "{hour}");
        }
    }
}

/// Two and a half years, a backup each hour and a plan each seventh: the representatives survive, and no
/// more than the rules count.
#[test]
fn years_of_plans_leave_what_the_rules_count() {
    let rules = rules(30, "hourly=48,daily=30,weekly=12,monthly=12,yearly=3");
    let all: Vec<Hour> = (FIRST..FIRST + 24 * 910).map(hour_at).collect();
    let mut left = Vec::new();
    for arrived in all.chunks(7) {
        left.extend_from_slice(arrived);
        left = kept(&plan(&rules, arrived[arrived.len() - 1].start(), &free(&left)));
        assert!(left.len() <= 48 + 30 + 12 + 12 + 3);
    }
    assert_eq!(left, literally(&rules, all[all.len() - 1].start(), &all));
    // The last of 2023, of 2024 and of a month: none was lost on the way.
    for representative in ["20240101-000000", "20250101-000000", "20240901-000000"] {
        assert!(left.contains(&Hour::parse(representative).unwrap()), "{representative}");
    }
}
