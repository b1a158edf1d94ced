//! What the requests cost: the last day's, as if a month went on like that. Without I/O.
//!
//! Knows requests, not storage; and the prices of one provider. Called by the statistics.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;
use ultrasimple_store::RequestCounts;

use crate::budget::MONTH;

/// Dollars for 1,000 PUT, COPY, POST or LIST requests: S3 Standard in us-east-1, by
/// <https://aws.amazon.com/s3/pricing/>.
const PUT_CLASS_PRICE: f64 = 0.005;
/// Dollars for 1,000 GET, HEAD and all other requests, by the same list. DELETE is free.
const GET_CLASS_PRICE: f64 = 0.0004;

/// Dollars for a GiB-month of storage, by the same list: the first 50 TB.
const STORAGE_PRICE: f64 = 0.023;

/// What it costs to keep so many bytes for a month, in US dollars, to the cent: AWS, S3 Standard, us-east-1.
#[expect(clippy::cast_precision_loss, reason = "to the cent")]
pub fn storage_dollars(bytes: u64) -> f64 {
    let gib = bytes as f64 / f64::from(1 << 30);
    (gib * STORAGE_PRICE * 100.0).round() / 100.0
}

/// No projection goes by less than this.
const LEAST_SPAN: Duration = Duration::from_mins(5);
/// Nor by more.
const MOST_SPAN: Duration = Duration::from_hours(24);
/// How often a number is kept to compare with.
const STEP: Duration = Duration::from_hours(1);

/// The requests of 30 days that go on as the last 24 hours went; in the first day, as it went since the
/// start: then it overstates, because what a start costs once counts as if it went on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ProjectedMonth {
    /// Requests at the price of a PUT: uploads, the steps of those in parts, pages of listings.
    pub put_class: u64,
    /// Requests at the price of a GET: reads and HEAD.
    pub get_class: u64,
    /// What both cost, in US dollars, to the cent: AWS, S3 Standard, us-east-1. Storage is not in it.
    pub dollars: f64,
}

/// What had been sent at some time (monotonic clock).
#[derive(Debug, Clone, Copy)]
struct Reading {
    at: Duration,
    counts: RequestCounts,
}

/// The readings of the last day, an hour apart.
#[derive(Debug, Default)]
pub(crate) struct Meter(VecDeque<Reading>);

impl Meter {
    /// Takes a reading, if the last one is old enough. The first is where the projection starts from.
    pub(crate) fn note(&mut self, counts: RequestCounts, now: Duration) {
        if self.0.back().is_some_and(|last| now.saturating_sub(last.at) < STEP) {
            return;
        }
        self.0.retain(|reading| now.saturating_sub(reading.at) <= MOST_SPAN);
        self.0.push_back(Reading { at: now, counts });
    }

    /// The month to expect; `None` when there is too little to go by.
    pub(crate) fn project(&self, counts: RequestCounts, now: Duration) -> Option<ProjectedMonth> {
        let recent = self.0.iter().find(|reading| now.saturating_sub(reading.at) <= MOST_SPAN);
        project(*recent?, Reading { at: now, counts })
    }
}

/// What went from one reading to the other, in a month.
fn project(from: Reading, to: Reading) -> Option<ProjectedMonth> {
    let span = to.at.saturating_sub(from.at);
    if span < LEAST_SPAN {
        return None;
    }
    let in_a_month = |class: fn(&RequestCounts) -> u64| {
        let count = u128::from(class(&to.counts).saturating_sub(class(&from.counts)));
        u64::try_from(count * MONTH.as_millis() / span.as_millis()).unwrap_or(u64::MAX)
    };
    let put_class = in_a_month(RequestCounts::put_class);
    let get_class = in_a_month(RequestCounts::get_class);
    Some(ProjectedMonth { put_class, get_class, dollars: dollars(put_class, get_class) })
}

/// To the cent.
#[expect(clippy::cast_precision_loss, reason = "2^53 requests are out of reach")]
fn dollars(put_class: u64, get_class: u64) -> f64 {
    let thousands = |count: u64| count as f64 / 1_000.0;
    let exact = thousands(put_class) * PUT_CLASS_PRICE + thousands(get_class) * GET_CLASS_PRICE;
    (exact * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: u64 = 60;
    const HOUR: u64 = 60 * MIN;
    const DAY: u64 = 24 * HOUR;

    fn reading(seconds: u64, puts: u64, gets: u64) -> Reading {
        let counts = RequestCounts { puts, gets, ..RequestCounts::default() };
        Reading { at: Duration::from_secs(seconds), counts }
    }

    #[test]
    fn a_month_goes_on_like_the_span() {
        for (from, to, expected) in [
            // The design's figures: one database every 15 s, and 250 of them.
            (reading(0, 0, 0), reading(DAY, 5_760, 0), Some((172_800, 0, 0.86))),
            (reading(0, 0, 0), reading(DAY, 1_440_000, 0), Some((43_200_000, 0, 216.0))),
            (reading(0, 0, 0), reading(DAY, 0, 100_000), Some((0, 3_000_000, 1.2))),
            (reading(7, 100, 9), reading(7 + HOUR, 200, 9), Some((72_000, 0, 0.36))),
            (reading(0, 5, 5), reading(DAY, 5, 5), Some((0, 0, 0.0))),
            (reading(0, 0, 0), reading(5 * MIN, 1, 2), Some((8_640, 17_280, 0.05))),
            (reading(0, 0, 0), reading(5 * MIN - 1, 1, 2), None),
            (reading(9, 0, 0), reading(9, 100, 0), None),
        ] {
            let projected =
                project(from, to).map(|month| (month.put_class, month.get_class, month.dollars));
            assert_eq!(projected, expected, "{from:?} to {to:?}");
        }
    }

    #[test]
    fn storage_is_to_the_cent() {
        for (bytes, dollars) in [(0, 0.0), (1 << 30, 0.02), (10 << 30, 0.23), (1 << 40, 23.55)] {
            assert!((storage_dollars(bytes) - dollars).abs() < 1e-9, "{bytes}");
        }
    }

    #[test]
    fn all_kinds_count_in_their_class() {
        let counts =
            RequestCounts { puts: 1, multipart: 2, gets: 4, heads: 8, lists: 16, deletes: 32 };
        let to = Reading { at: Duration::from_secs(DAY), counts };
        let month = project(reading(0, 0, 0), to).unwrap();
        assert_eq!((month.put_class, month.get_class), (30 * 19, 30 * 12));
    }

    #[test]
    fn what_is_more_than_a_day_ago_is_forgotten() {
        let mut meter = Meter::default();
        let counts = |puts| RequestCounts { puts, ..RequestCounts::default() };
        // A first backup, then one request a minute.
        for minute in 0..3 * 24 * 60 {
            let (now, puts) = (Duration::from_secs(minute * MIN), 100_000 + minute);
            meter.note(counts(if minute == 0 { 0 } else { puts }), now);
            let month = meter.project(counts(puts), now).map(|month| month.put_class);
            match minute {
                0..5 => assert_eq!(month, None),
                5..=1_440 => assert!(month > Some(30 * 100_000), "{month:?} after {minute}"),
                _ => assert_eq!(month, Some(30 * 1_440), "after {minute}"),
            }
            assert!(meter.0.len() <= 25);
        }
    }

    #[test]
    fn nothing_is_told_by_readings_that_are_too_old() {
        let mut meter = Meter::default();
        assert_eq!(meter.project(RequestCounts::default(), Duration::ZERO), None);
        meter.note(RequestCounts::default(), Duration::ZERO);
        let later = Duration::from_secs(2 * DAY);
        assert_eq!(meter.project(RequestCounts::default(), later), None);
        meter.note(RequestCounts::default(), later);
        assert_eq!(meter.0.len(), 1);
    }
}
