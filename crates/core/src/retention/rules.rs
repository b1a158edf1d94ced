//! The rules of retention: how long a backup is wanted after a newer one took its place.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;

use crate::Hour;

/// The retention where nothing else is asked for, in days.
pub const DEFAULT_RETENTION_DAYS: u32 = 30;
/// The longest retention, in days: a hundred years.
pub const MAX_RETENTION_DAYS: u32 = 36_500;
/// The greatest count in a rule of `-keep`.
const MAX_COUNT: u32 = 1_000_000;

const HOUR_SECONDS: i64 = 3_600;
const DAY_SECONDS: i64 = 24 * HOUR_SECONDS;
const WEEK_SECONDS: i64 = 7 * DAY_SECONDS;
/// 1970-01-01 was a Thursday: the week in which it lies began so long before it.
const THURSDAY_SECONDS: i64 = 3 * DAY_SECONDS;

/// What a rule counts: whole hours, days, ISO weeks, months or years, all in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Period {
    /// Hours.
    Hourly,
    /// Days, from midnight.
    Daily,
    /// Weeks, from Monday.
    Weekly,
    /// Calendar months.
    Monthly,
    /// Calendar years.
    Yearly,
}

impl Period {
    /// All of them, the shortest first.
    pub const ALL: [Self; 5] =
        [Self::Hourly, Self::Daily, Self::Weekly, Self::Monthly, Self::Yearly];

    /// As `-keep` calls it: `daily`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hourly => "hourly",
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::Yearly => "yearly",
        }
    }

    /// The number of the period in which `time` lies. The next period has the next number.
    fn number(self, time: Timestamp) -> i64 {
        let second = time.as_second();
        let date = TimeZone::UTC.to_datetime(time).date();
        match self {
            Self::Hourly => second.div_euclid(HOUR_SECONDS),
            Self::Daily => second.div_euclid(DAY_SECONDS),
            Self::Weekly => (second + THURSDAY_SECONDS).div_euclid(WEEK_SECONDS),
            Self::Monthly => i64::from(date.year()) * 12 + i64::from(date.month()) - 1,
            Self::Yearly => i64::from(date.year()),
        }
    }

    /// When the period of this number begins; the end of time for those beyond the year 9999.
    fn start(self, number: i64) -> Timestamp {
        let at = |second| Timestamp::from_second(second).ok();
        let first_of = |year: i64, month: i64| {
            let date = Date::new(year.try_into().ok()?, month.try_into().ok()?, 1).ok()?;
            let midnight = date.to_datetime(Time::midnight()).to_zoned(TimeZone::UTC).ok()?;
            Some(midnight.timestamp())
        };
        let start = match self {
            Self::Hourly => at(number * HOUR_SECONDS),
            Self::Daily => at(number * DAY_SECONDS),
            Self::Weekly => at(number * WEEK_SECONDS - THURSDAY_SECONDS),
            Self::Monthly => first_of(number.div_euclid(12), number.rem_euclid(12) + 1),
            Self::Yearly => first_of(number, 1),
        };
        start.unwrap_or(Timestamp::MAX)
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a retention was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidRetention {
    /// Backups cannot be kept for so many days.
    #[error("{days} days of retention are outside 1 to {MAX_RETENTION_DAYS}")]
    Days {
        /// What was asked for.
        days: u32,
    },
    /// A part of `-keep` is not a rule.
    #[error(
        "{part:?} is not a rule: each is hourly, daily, weekly, monthly or yearly, '=' and a whole \
         number from 1 to {MAX_COUNT}, as in hourly=48,daily=30,weekly=12,monthly=12,yearly=3"
    )]
    Rule {
        /// The part.
        part: String,
    },
    /// A period of `-keep` has two rules.
    #[error("{period}= is there twice: leave one of them out")]
    Twice {
        /// Which.
        period: Period,
    },
}

/// What `-keep` asks for: of each of these periods, how many, the running one included. At least one
/// rule. Read from and shown as `hourly=48,daily=30`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep(Counts);

/// For each period, how many of them are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Counts {
    hourly: Option<u32>,
    daily: Option<u32>,
    weekly: Option<u32>,
    monthly: Option<u32>,
    yearly: Option<u32>,
}

impl Counts {
    fn slot(&mut self, period: Period) -> &mut Option<u32> {
        match period {
            Period::Hourly => &mut self.hourly,
            Period::Daily => &mut self.daily,
            Period::Weekly => &mut self.weekly,
            Period::Monthly => &mut self.monthly,
            Period::Yearly => &mut self.yearly,
        }
    }

    fn iter(mut self) -> impl Iterator<Item = (Period, u32)> {
        Period::ALL
            .into_iter()
            .filter_map(move |period| self.slot(period).map(|count| (period, count)))
    }
}

impl Keep {
    /// The rules, the shortest period first; each count is at least 1.
    pub fn rules(self) -> impl Iterator<Item = (Period, u32)> {
        self.0.iter()
    }
}

impl FromStr for Keep {
    type Err = InvalidRetention;

    fn from_str(text: &str) -> Result<Self, InvalidRetention> {
        let mut counts = Counts::default();
        for part in text.split(',').map(str::trim) {
            let invalid = || InvalidRetention::Rule { part: part.to_owned() };
            let (name, digits) = part.split_once('=').ok_or_else(invalid)?;
            let period = Period::ALL.into_iter().find(|period| period.name() == name);
            let period = period.ok_or_else(invalid)?;
            // `parse` alone would take a '+' in front.
            let count = Some(digits).filter(|d| d.bytes().all(|b| b.is_ascii_digit()));
            let count = count.and_then(|digits| digits.parse().ok()).ok_or_else(invalid)?;
            if !(1..=MAX_COUNT).contains(&count) {
                return Err(invalid());
            }
            if counts.slot(period).replace(count).is_some() {
                return Err(InvalidRetention::Twice { period });
            }
        }
        Ok(Self(counts))
    }
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (period, count)) in self.rules().enumerate() {
            let separator = if index == 0 { "" } else { "," };
            write!(f, "{separator}{period}={count}")?;
        }
        Ok(())
    }
}

/// What is kept: every hour of the last days (or of the last hours that `-keep` counts), and beyond
/// these what the other rules of `-keep` want. A backup is kept if any rule wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetentionRules {
    /// 1 to [`MAX_RETENTION_DAYS`].
    days: u32,
    keep: Option<Keep>,
}

impl Default for RetentionRules {
    /// [`DEFAULT_RETENTION_DAYS`].
    fn default() -> Self {
        Self { days: DEFAULT_RETENTION_DAYS, keep: None }
    }
}

impl RetentionRules {
    /// Keeps `days` (1 to [`MAX_RETENTION_DAYS`]) and what `keep` wants. `hourly=` in `keep` stands
    /// instead of `days`.
    ///
    /// # Errors
    /// When `days` is out of bounds.
    pub fn new(days: u32, keep: Option<Keep>) -> Result<Self, InvalidRetention> {
        if !(1..=MAX_RETENTION_DAYS).contains(&days) {
            return Err(InvalidRetention::Days { days });
        }
        Ok(Self { days, keep })
    }

    /// Keeps every hour of the last `days` days: 1 to [`MAX_RETENTION_DAYS`].
    ///
    /// # Errors
    /// When `days` is out of bounds.
    pub fn days(days: u32) -> Result<Self, InvalidRetention> {
        Self::new(days, None)
    }

    /// The days of which every hour is kept; `None` where `hourly=` of `-keep` stands instead.
    pub fn retention_days(&self) -> Option<u32> {
        let counts = self.keep.map_or_else(Counts::default, |keep| keep.0);
        counts.hourly.is_none().then_some(self.days)
    }

    /// What was given as `-keep`.
    pub fn keep(&self) -> Option<Keep> {
        self.keep
    }

    /// Until when the backup of `hour` is wanted once `next` is the next newer one, and the rule that
    /// wants it longest. From that instant on no rule wants it, ever again. (The newest backup has no
    /// `next`, and is wanted for ever.)
    ///
    /// A backup is in force from its own hour until the next newer one's. A rule wants the backup in
    /// force at the end of each of its last periods: so this one for the periods from that of `hour` to
    /// the one before that of `next`, if there is any, until the last of these drops out of the count.
    ///
    /// With days only, every full hour of the last days can be restored as it was.
    pub fn wanted_until(&self, hour: Hour, next: Hour) -> (Timestamp, Period) {
        let rules = self.rules().filter_map(|(period, count)| {
            let number = period.number(hour.start());
            let next_number = period.number(next.start());
            let drops_out = period.start(next_number - 1 + i64::from(count));
            (number < next_number).then_some((drops_out, period))
        });
        // There is always an hourly rule, and it always has something to say.
        rules.max().unwrap_or((Timestamp::MAX, Period::Hourly))
    }

    /// Every rule; one of them is hourly, so that nothing is unwanted before a newer one is there.
    fn rules(self) -> impl Iterator<Item = (Period, u32)> {
        let mut counts = self.keep.map_or_else(Counts::default, |keep| keep.0);
        // The running hour counts as one: without one more, the last of the days would lack its part.
        counts.hourly.get_or_insert(self.days * 24 + 1);
        counts.iter()
    }
}

impl fmt::Display for RetentionRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.retention_days(), self.keep) {
            (Some(days), Some(keep)) => write!(f, "{days} days,{keep}"),
            (None, Some(keep)) => write!(f, "{keep}"),
            (_, None) => write!(f, "{} days", self.days),
        }
    }
}
