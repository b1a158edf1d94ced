//! Words to numbers, and numbers to words.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use jiff::SignedDuration;

use super::Setting;
use super::table::Kind;

/// Reads a time span such as `15s`, `1h30m` or `500ms` within the setting's bounds.
pub(super) fn duration(setting: Setting, word: &str) -> Result<Duration, String> {
    let expected = || format!("it must be {}", setting.expected());
    let word = word.trim();
    if word.parse::<f64>().is_ok_and(|number| number > 0.0) {
        return Err(format!("{}; a unit is missing: {word}s, {word}m or {word}h", expected()));
    }
    let Ok(signed) = word.parse::<SignedDuration>() else {
        let days = word.ends_with('d') || word.contains("day");
        return Err(if days { format!("{}, in hours at most", expected()) } else { expected() });
    };
    let Kind::Duration(min, max) = setting.kind() else {
        return Err(expected());
    };
    Duration::try_from(signed)
        .ok()
        .filter(|duration| (min..=max).contains(duration))
        .ok_or_else(expected)
}

/// Reads a number of bytes such as `256MiB`, `1GB` or `1048576` within the setting's bounds.
pub(super) fn size(setting: Setting, word: &str) -> Result<u64, String> {
    let expected = || format!("it must be {}", setting.expected());
    let Kind::Size(min, max) = setting.kind() else {
        return Err(expected());
    };
    let bytes = word.trim().parse::<ByteSize>().map_err(|_| expected())?.as_u64();
    Some(bytes).filter(|bytes| (min..=max).contains(bytes)).ok_or_else(expected)
}

/// Reads a whole number within the setting's bounds. `_` may stand between digits, as in TOML.
pub(super) fn count(setting: Setting, word: &str) -> Result<u64, String> {
    let expected = || format!("it must be {}", setting.expected());
    let Kind::Count(min, max) = setting.kind() else {
        return Err(expected());
    };
    let digits = word.trim().replace('_', "");
    let number = digits.parse::<u64>().map_err(|_| expected())?;
    Some(number).filter(|number| (min..=max).contains(number)).ok_or_else(expected)
}

/// Reads what a switch takes outside the command line.
pub(super) fn switch(word: &str) -> Result<bool, String> {
    match word.trim().to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err("it must be true or false".to_owned()),
    }
}

/// How many percent of the backups are verified each day: 0 (none) to 100.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct VerifyPercent(f64);

/// Why a number is not a [`VerifyPercent`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it must be a number of percent from 0 to 100, such as 1 or 0.5")]
pub struct InvalidVerifyPercent;

impl VerifyPercent {
    /// Nothing is verified.
    pub const OFF: Self = Self(0.0);

    /// Checks the number.
    ///
    /// # Errors
    /// When it is outside 0 to 100.
    pub fn new(percent: f64) -> Result<Self, InvalidVerifyPercent> {
        // The absolute value is that of a negative zero.
        if (0.0..=100.0).contains(&percent) {
            Ok(Self(percent.abs()))
        } else {
            Err(InvalidVerifyPercent)
        }
    }

    /// The number of percent.
    pub fn percent(self) -> f64 {
        self.0
    }

    /// Whether nothing is verified.
    pub fn is_off(self) -> bool {
        self.0 <= 0.0
    }
}

impl Default for VerifyPercent {
    /// One percent.
    fn default() -> Self {
        Self(1.0)
    }
}

impl FromStr for VerifyPercent {
    type Err = InvalidVerifyPercent;

    fn from_str(word: &str) -> Result<Self, InvalidVerifyPercent> {
        decimal(word).map_or(Err(InvalidVerifyPercent), Self::new)
    }
}

impl fmt::Display for VerifyPercent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A node's share of the work, relative to that of others: 0.01 to 1,000.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Capacity(f64);

/// Why a number is not a [`Capacity`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it must be a number from 0.01 to 1000, such as 1 or 0.5")]
pub struct InvalidCapacity;

impl Capacity {
    /// The number.
    pub fn value(self) -> f64 {
        self.0
    }
}

impl Default for Capacity {
    fn default() -> Self {
        Self(1.0)
    }
}

impl FromStr for Capacity {
    type Err = InvalidCapacity;

    fn from_str(word: &str) -> Result<Self, InvalidCapacity> {
        let number = decimal(word).filter(|number| (0.01..=1_000.0).contains(number));
        number.map(Self).ok_or(InvalidCapacity)
    }
}

impl fmt::Display for Capacity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A number with digits and perhaps a point. Floats have forms that nobody means here: 1e1, inf, -0, +1.
fn decimal(word: &str) -> Option<f64> {
    let word = word.trim();
    let is_decimal = word.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    Some(word).filter(|_| is_decimal).and_then(|word| word.parse().ok())
}

/// A time span in the form in which it can be given: `1h 30m`, `500ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DurationText(
    /// The time span.
    pub Duration,
);

impl fmt::Display for DurationText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match SignedDuration::try_from(self.0) {
            Ok(signed) if !signed.is_zero() => write!(f, "{signed:#}"),
            Ok(_) => f.write_str("0s"),
            Err(_) => write!(f, "{}s", self.0.as_secs()),
        }
    }
}

/// A number of bytes in a form in which it can be given: `256MiB`; exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SizeText(
    /// Bytes.
    pub u64,
);

impl fmt::Display for SizeText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        let (mut number, mut unit) = (self.0, 0);
        while number != 0 && number.is_multiple_of(1_024) && unit + 1 < units.len() {
            number /= 1_024;
            unit += 1;
        }
        write!(f, "{number}{}", units.get(unit).copied().unwrap_or_default())
    }
}
