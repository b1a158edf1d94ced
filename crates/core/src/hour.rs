//! The hour a backup belongs to: the *next* full hour (UTC) after the capture.

use std::fmt;

use jiff::Timestamp;
use jiff::civil;
use jiff::tz::TimeZone;

/// The hour in a backup's key, in whole hours since 1970-01-01T00:00Z.
///
/// A capture belongs to the next full hour: 13:05 to 14, 14:00:00 to 15. All captures of one database
/// within an hour share one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hour(u32);

const SECONDS: i64 = 3_600;
/// The last hour that four digits of a year can name: 9999-12-30T22:00Z, the end of jiff's range.
const LAST: u32 = 70_388_902;

impl Hour {
    /// The hour to which a capture taken at `time` belongs. Times outside 1970 to 9999 are taken as the
    /// nearest hour within.
    pub fn of(time: Timestamp) -> Self {
        let hours = time.as_second().div_euclid(SECONDS).saturating_add(1);
        Self(u32::try_from(hours.max(0)).unwrap_or(LAST).min(LAST))
    }

    /// The instant the hour's name says; every capture in it was taken *before* this instant.
    pub fn end(self) -> Timestamp {
        Timestamp::from_second(i64::from(self.0) * SECONDS).unwrap_or(Timestamp::MAX)
    }

    /// The first instant of which a capture can belong to this hour.
    pub fn start(self) -> Timestamp {
        Timestamp::from_second((i64::from(self.0) - 1) * SECONDS).unwrap_or(Timestamp::MIN)
    }

    /// Whole hours since 1970-01-01T00:00Z.
    pub fn index(self) -> u32 {
        self.0
    }

    /// Reads exactly what `Display` writes: `YYYYMMDD-HH0000`.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        if bytes.len() != 15 || bytes.get(8) != Some(&b'-') || text.get(11..) != Some("0000") {
            return None;
        }
        let number = |range: std::ops::Range<usize>| -> Option<i16> {
            let digits = text.get(range)?;
            digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
        };
        let (year, month, day) = (number(0..4)?, number(4..6)?, number(6..8)?);
        let date = civil::Date::new(year, month.try_into().ok()?, day.try_into().ok()?).ok()?;
        let time = civil::Time::new(number(9..11)?.try_into().ok()?, 0, 0, 0).ok()?;
        let second = date.to_datetime(time).to_zoned(TimeZone::UTC).ok()?.timestamp().as_second();
        let hour = u32::try_from(second / SECONDS).ok().filter(|_| second >= 0)?;
        (hour <= LAST).then_some(Self(hour))
    }
}

impl serde::Serialize for Hour {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Hour {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let hour = Self::parse(&text);
        hour.ok_or_else(|| serde::de::Error::custom("an hour is written YYYYMMDD-HH0000"))
    }
}

impl fmt::Display for Hour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = TimeZone::UTC.to_datetime(self.end());
        let (year, month, day) = (time.year(), time.month(), time.day());
        write!(f, "{year:04}{month:02}{day:02}-{:02}0000", time.hour())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_capture_belongs_to_the_next_full_hour() {
        for (time, hour) in [
            ("2024-01-15T13:05:00Z", "20240115-140000"),
            ("2024-01-15T14:00:00Z", "20240115-150000"),
            ("2024-01-15T14:59:59.999Z", "20240115-150000"),
            ("2024-01-15T23:00:00Z", "20240116-000000"),
            ("2024-02-28T23:30:00Z", "20240229-000000"),
            ("2024-12-31T23:59:59Z", "20250101-000000"),
            ("1970-01-01T00:00:00Z", "19700101-010000"),
        ] {
            assert_eq!(Hour::of(at(time)).to_string(), hour, "{time}");
        }
    }

    #[test]
    fn only_its_own_form_parses() {
        for bad in [
            "",
            "20240115-14000",
            "20240115-1400000",
            "20240115-140001",
            "20240115-240000",
            "20240230-140000",
            "20241315-140000",
            "+0240115-140000",
            "20240115_140000",
            "19691231-230000",
            "2024011é-14000",
        ] {
            assert_eq!(Hour::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn extremes_do_not_panic() {
        assert_eq!(Hour::of(Timestamp::MIN).index(), 0);
        let last = Hour::of(Timestamp::MAX);
        assert_eq!(Hour::parse(&last.to_string()), Some(last));
    }

    proptest! {
        #[test]
        fn round_trip(second in 0i64..253_402_000_000) {
            let time = Timestamp::from_second(second).unwrap();
            let hour = Hour::of(time);
            prop_assert_eq!(Hour::parse(&hour.to_string()), Some(hour));
            prop_assert!(hour.start() <= time && time < hour.end());
        }
    }
}
