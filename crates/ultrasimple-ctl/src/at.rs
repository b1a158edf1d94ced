//! What `--at` takes: a time, read into a [`Timestamp`].

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

/// Reads a time: RFC 3339, a date or date-time without zone (UTC), `now`, or a span such as `2h ago`.
///
/// # Errors
/// With what would be right.
pub(crate) fn parse(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    let text = text.trim();
    if text.eq_ignore_ascii_case("now") {
        return Ok(now);
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    // jiff's civil types take what has an offset too, and ignore the offset.
    if !has_zone(text) {
        let date_time = text.parse::<DateTime>().ok();
        let date_time = date_time.or_else(|| {
            Some(text.parse::<Date>().ok()?.to_datetime(jiff::civil::Time::midnight()))
        });
        if let Some(Ok(zoned)) = date_time.map(|date_time| date_time.to_zoned(TimeZone::UTC)) {
            return Ok(zoned.timestamp());
        }
    }
    match text.parse::<Span>() {
        Ok(span) if span.is_negative() => {
            let zoned = now.to_zoned(TimeZone::UTC);
            let time = zoned.checked_add(span).map_err(|_| format!("{text:?} is too long ago"))?;
            Ok(time.timestamp())
        }
        Ok(_) => Err(format!("{text:?} is a span, not a time: did you mean \"{text} ago\"?")),
        Err(_) => Err(format!(
            "{text:?} is not a time: give 2024-01-15T13:05:00Z, 2024-01-15T13:05 (UTC), 2024-01-15 \
             (its first moment) or \"2h ago\""
        )),
    }
}

/// Whether something follows the time of day, or a zone stands in brackets.
fn has_zone(text: &str) -> bool {
    let time = text.split_once(['T', 't', ' ']).map_or("", |(_, time)| time);
    time.contains(['Z', 'z', '+', '-', '['])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_that_are_taken() {
        let now = "2024-01-15T13:05:00Z".parse().unwrap();
        for (text, expected) in [
            ("2024-01-15T13:05:00Z", "2024-01-15T13:05:00Z"),
            ("2024-01-15T13:05:00.5Z", "2024-01-15T13:05:00.5Z"),
            ("2024-01-15T13:05:00+02:00", "2024-01-15T11:05:00Z"),
            ("2024-01-15 13:05:00-01:00", "2024-01-15T14:05:00Z"),
            ("2024-01-15T13:05", "2024-01-15T13:05:00Z"),
            ("2024-01-15 13:05:30", "2024-01-15T13:05:30Z"),
            ("2024-01-15", "2024-01-15T00:00:00Z"),
            ("2h ago", "2024-01-15T11:05:00Z"),
            ("2 hours ago", "2024-01-15T11:05:00Z"),
            ("1h 30m ago", "2024-01-15T11:35:00Z"),
            ("3d ago", "2024-01-12T13:05:00Z"),
            ("1 week ago", "2024-01-08T13:05:00Z"),
            ("1 month ago", "2023-12-15T13:05:00Z"),
            ("-2h", "2024-01-15T11:05:00Z"),
            ("-PT2H", "2024-01-15T11:05:00Z"),
            (" now ", "2024-01-15T13:05:00Z"),
        ] {
            assert_eq!(parse(text, now).unwrap().to_string(), expected, "{text}");
        }
    }

    #[test]
    fn times_that_are_refused_with_help() {
        let now = "2024-01-15T13:05:00Z".parse().unwrap();
        for (text, help) in [
            ("", "is not a time"),
            ("yesterday", "give 2024-01-15T13:05:00Z"),
            ("2h", "did you mean \"2h ago\"?"),
            ("2024-13-15", "is not a time"),
            ("2024-01-15T25:00:00Z", "is not a time"),
            ("2024-01-15T13:05:00+99:00", "is not a time"),
            ("2024-01-15T13:05[Nowhere/At-All]", "is not a time"),
            ("19000 years ago", "too long ago"),
        ] {
            let error = parse(text, now).unwrap_err();
            assert!(error.contains(help), "{text}: {error}");
        }
    }
}
