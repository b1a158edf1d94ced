//! Databases that are alike: how often each is uploaded, and how many of its backups are held.

use ultrasimple_core::retention::Period;

use super::model::{DAYS, Policy};

/// Databases that are alike, and what becomes of each of them in a month.
#[derive(Debug, Clone, Copy)]
pub(super) struct Class {
    pub(super) databases: f64,
    /// Uploads of each.
    pub(super) uploads: f64,
}

impl Class {
    pub(super) fn all_uploads(self) -> f64 {
        self.databases * self.uploads
    }

    /// Hours of a day that get a backup.
    pub(super) fn hours_per_day(self) -> f64 {
        (self.uploads / DAYS).min(24.0)
    }

    /// New backups in a month; in the steady state as many are deleted.
    pub(super) fn backups(self) -> f64 {
        self.databases * self.hours_per_day() * DAYS
    }

    /// Backups held of each: those of the retention, and the one that was in force when it began.
    pub(super) fn held(self, policy: &Policy) -> f64 {
        1.0 + kept(policy, self.hours_per_day())
    }
}

/// The largest exposure is served first, so that each database gets an equal share of what is too little; what
/// some do not need is for the others.
pub(super) fn within_budget(
    budget: Option<f64>,
    hot: Class,
    others: Class,
) -> (bool, Class, Class) {
    let Some(budget) = budget.filter(|&most| hot.all_uploads() + others.all_uploads() > most)
    else {
        return (false, hot, others);
    };
    let share = budget / (hot.databases + others.databases);
    let rest = |few: Class, many: Class| (budget - few.all_uploads()) / many.databases;
    let (hot_uploads, others_uploads) = if others.uploads <= share && hot.databases > 0.0 {
        (rest(others, hot), others.uploads)
    } else if hot.uploads <= share && others.databases > 0.0 {
        (hot.uploads, rest(hot, others))
    } else {
        (share, share)
    };
    (true, Class { uploads: hot_uploads, ..hot }, Class { uploads: others_uploads, ..others })
}

/// For how many days every hour is kept.
pub(super) fn hourly_days(policy: &Policy) -> f64 {
    let mut rules = policy.keep.iter().flat_map(|keep| keep.rules());
    let hourly = rules.find(|(period, _)| *period == Period::Hourly);
    hourly.map_or_else(
        || policy.retention_days.unwrap_or_default(),
        |(_, hours)| f64::from(hours) / 24.0,
    )
}

/// For how many closed hours every backup is certainly kept; the running one is not counted.
pub(super) fn kept_hours(policy: &Policy) -> f64 {
    (hourly_days(policy) * 24.0 - 1.0).max(0.0)
}

/// Backups that the rules keep of a database with so many a day. A longer period adds what lies beyond the
/// shorter ones.
pub(super) fn kept(policy: &Policy, per_day: f64) -> f64 {
    let mut reach = hourly_days(policy);
    let mut kept = reach * per_day;
    for (period, count) in policy.keep.iter().flat_map(|keep| keep.rules()) {
        let days = match period {
            Period::Hourly => continue,
            Period::Daily => 1.0,
            Period::Weekly => 7.0,
            Period::Monthly => 365.25 / 12.0,
            Period::Yearly => 365.25,
        };
        let beyond = (f64::from(count) - reach / days).max(0.0);
        kept += beyond * (per_day * days).min(1.0);
        reach = reach.max(f64::from(count) * days);
    }
    kept
}
