//! Which assumption decides: the sum again, with each number halved.

use serde::Serialize;

use super::figures::{bytes, number, span};
use super::model::{Policy, Workload, bill};
use super::prices::Prices;

/// What one can be wrong about, and what one can choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Nature {
    /// About the databases: not known before it has been measured.
    Assumption,
    /// Counted, and so not to be wrong about.
    Fact,
    /// Of the daemon.
    Setting,
}

/// What becomes of the sum when one number is half of what was given.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Halved {
    pub(crate) flag: &'static str,
    pub(crate) nature: Nature,
    /// As people read it.
    pub(crate) value: String,
    pub(crate) half: String,
    /// The sum with half of it.
    pub(crate) total: f64,
    /// What that is more or, negative, less.
    pub(crate) change: f64,
}

type Write = fn(f64) -> String;
type Halve = fn(&mut Workload, &mut Policy) -> Option<f64>;

fn half(number: &mut f64) -> Option<f64> {
    let before = *number;
    *number /= 2.0;
    (before > 0.0).then_some(before)
}

fn half_span(span: &mut std::time::Duration) -> Option<f64> {
    let before = span.as_secs_f64();
    *span /= 2;
    (before > 0.0).then_some(before)
}

/// Each flag, what it says, how that is written, and how it is halved.
const EACH: [(&str, Nature, Write, Halve); 13] = [
    ("--hot", Nature::Assumption, number, |w, _| half(&mut w.hot)),
    ("--databases", Nature::Fact, number, |w, _| half(&mut w.databases)),
    ("--changes-per-day", Nature::Assumption, number, |w, _| half(&mut w.changes_per_day)),
    ("--size", Nature::Assumption, bytes, |w, _| half(&mut w.image_bytes)),
    ("--compression", Nature::Assumption, number, |w, _| half(&mut w.compression)),
    ("--restarts-per-month", Nature::Assumption, number, |_, p| half(&mut p.restarts_per_month)),
    ("-interval", Nature::Setting, span, |_, p| half_span(&mut p.interval)),
    ("-min-upload-interval", Nature::Setting, span, |_, p| half_span(&mut p.min_upload_interval)),
    ("-put-budget", Nature::Setting, number, |_, p| half(p.put_budget.as_mut()?)),
    ("-retention-days", Nature::Setting, number, |_, p| half(p.retention_days.as_mut()?)),
    ("-shards", Nature::Setting, number, |w, p| {
        w.catalogs = w.catalogs.map(|catalogs| catalogs / 2.0);
        half(&mut p.shards)
    }),
    ("-verify-percent-per-day", Nature::Setting, number, |_, p| {
        half(&mut p.verify_percent_per_day)
    }),
    ("-reconcile-requests", Nature::Setting, number, |_, p| half(&mut p.reconcile_requests)),
];

/// All of them, the one that changes the sum most first. Those of the flags in `counted` are facts.
pub(crate) fn halved(
    workload: &Workload,
    policy: &Policy,
    prices: &Prices,
    counted: &[&str],
) -> Vec<Halved> {
    let given = bill(workload, policy, prices).total();
    let halve = |(flag, nature, write, halve): (_, _, Write, Halve)| {
        let (mut workload, mut policy) = (workload.clone(), policy.clone());
        let value = halve(&mut workload, &mut policy)?;
        let total = bill(&workload, &policy, prices).total();
        let (value, half) = (write(value), write(value / 2.0));
        let nature = if counted.contains(&flag) { Nature::Fact } else { nature };
        Some(Halved { flag, nature, value, half, total, change: total - given })
    };
    let mut all: Vec<_> = EACH.into_iter().filter_map(halve).collect();
    // Stable: of equals, the first of the table.
    all.sort_by(|a, b| b.change.abs().total_cmp(&a.change.abs()));
    all
}
