//! Comparing what is listed with what is recorded: exactly, and by sums.

use std::collections::BTreeMap;
use std::hash::Hasher;

use twox_hash::XxHash3_64;
use ultrasimple_core::Hour;
use ultrasimple_core::catalog::{HeldHour, Record};

/// How a listing of one database differs from its record.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Differences {
    /// Listed, and not in the record, or there as another object.
    pub found: Vec<HeldHour>,
    /// In the record, and not listed.
    pub missing: Vec<Hour>,
}

/// Compares a record with what a listing shows (in any order).
pub fn differences(record: Option<&Record>, listed: &[HeldHour]) -> Differences {
    let known = record.map(|record| record.hours.as_slice()).unwrap_or_default();
    let known: BTreeMap<_, _> = known.iter().map(|held| (held.hour, held)).collect();
    let listed: BTreeMap<_, _> = listed.iter().map(|held| (held.hour, held)).collect();
    let is_same = |a: &HeldHour, b: &HeldHour| (a.bytes, &a.etag) == (b.bytes, &b.etag);
    let found =
        listed.values().filter(|held| !known.get(&held.hour).is_some_and(|k| is_same(k, held)));
    let missing = known.keys().filter(|hour| !listed.contains_key(hour));
    Differences {
        found: found.map(|&held| held.clone()).collect(),
        missing: missing.copied().collect(),
    }
}

/// What a database's hours add up to.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sum(u64);

impl Sum {
    pub(super) fn of(record: &Record, before: Hour) -> Self {
        let closed = record.hours.iter().filter(|held| held.hour < before);
        closed.fold(Self::default(), |sum, held| sum.and(held.hour, held.bytes, &held.etag.0))
    }

    pub(super) fn and(self, hour: Hour, bytes: u64, etag: &str) -> Self {
        let mut hasher = XxHash3_64::with_seed(u64::from(hour.index()));
        hasher.write(&bytes.to_le_bytes());
        hasher.write(etag.as_bytes());
        Self(self.0.wrapping_add(hasher.finish()))
    }

    pub(super) fn plus(self, other: Self) -> Self {
        Self(self.0.wrapping_add(other.0))
    }
}
