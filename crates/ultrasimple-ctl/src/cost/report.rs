//! The reckoning as people read it, and as JSON (docs/CTL.md).

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use super::assume::{Halved, Nature};
use super::figures::{bytes, money, number, span};
use super::model::{Bill, Cause, DAYS, Kind, Line, Policy, Workload, bill};
use super::numbers::Sources;
use super::prices::Prices;
use super::reading::Reading;
use crate::show::{self, Column};

/// No line is longer.
const WIDTH: usize = 80;
/// What the last paragraph tries: a change waits so long at most, and most bills are small then.
const CALMER: Duration = Duration::from_mins(5);

/// All there is to say.
#[derive(Debug)]
pub(crate) struct Reckoning {
    pub(crate) workload: Workload,
    pub(crate) policy: Policy,
    pub(crate) prices: Prices,
    pub(crate) bill: Bill,
    pub(crate) halved: Vec<Halved>,
    pub(super) sources: Sources,
    /// Where catalogs were read.
    pub(super) reading: Option<Reading>,
}

impl Cause {
    fn name(self) -> &'static str {
        match self {
            Self::Hot => "always changing databases",
            Self::Others => "other databases",
            Self::Catalogs => "catalogs",
            Self::Starts => "starts",
            Self::Reconciling => "reconciling",
            Self::Verifying => "verifying",
            Self::Retention => "retention",
        }
    }

    fn key(self) -> &'static str {
        match self {
            Self::Hot => "hot_uploads",
            Self::Others => "other_uploads",
            Self::Catalogs => "catalogs",
            Self::Starts => "starts",
            Self::Reconciling => "reconciling",
            Self::Verifying => "verifying",
            Self::Retention => "retention",
        }
    }
}

impl Reckoning {
    fn money(&self, amount: f64) -> String {
        money(&self.prices.currency, amount)
    }

    pub(crate) fn text(&self) -> String {
        let Self { workload, policy, prices, bill, sources, .. } = self;
        let reading = self.reading.as_ref();
        let mut text = reading.map_or_else(String::new, |r| r.text(workload, policy, sources));
        text += &wrapped(
            "",
            &format!("A month of {DAYS} days at {}, prices of {}:", prices.title, prices.as_of),
        );
        let _ = writeln!(text, "\n{}", row("CAUSE", "KIND", "REQUESTS", "COST"));
        for line in &bill.lines {
            let Line { cause, kind, requests, cost, arithmetic } = line;
            let (requests, cost) = (number(requests.round()), self.money(*cost));
            let _ = writeln!(text, "{}", row(cause.name(), kind.name(), &requests, &cost));
            text += &wrapped("    ", arithmetic);
        }
        let stored = format!("{} GB", number(bill.storage.billed_gb));
        let cost = self.money(bill.storage.cost);
        let _ = writeln!(text, "{}", row("storage", "", &stored, &cost));
        text += &wrapped("    ", &bill.storage.arithmetic);
        let requests: f64 = bill.lines.iter().map(|line| line.requests).sum();
        let total = self.money(bill.total());
        let _ = writeln!(text, "{}\n", row("sum", "", &number(requests.round()), &total));
        for paragraph in self.paragraphs() {
            text += &wrapped("", &paragraph);
        }
        text
    }

    fn paragraphs(&self) -> Vec<String> {
        let mut all = Vec::new();
        for (nature, title) in
            [(Nature::Assumption, "What decides"), (Nature::Setting, "Of the settings")]
        {
            let most = self.halved.iter().find(|halved| halved.nature == nature);
            if let Some(halved) = most.filter(|halved| halved.change.abs() >= 0.005) {
                let Halved { flag, value, half, total, change, .. } = halved;
                let sum = self.money(*total);
                let change = self.change(*change);
                all.push(format!(
                    "{title}: {flag} {value}. With {half} the sum would be {sum} ({change})."
                ));
            }
        }
        all.extend(self.exposure());
        all.extend(self.calmer());
        let is_held = self.workload.held.is_some();
        let storage = |reading: &Reading| reading.storage_note(&self.bill, is_held, &self.prices);
        all.extend(self.reading.as_ref().and_then(storage));
        if self.bill.verified_bytes > 0.0 {
            let read = bytes(self.bill.verified_bytes);
            all.push(format!("Verifying reads {read} a month; what that costs is not in the sum."));
        }
        all.extend(self.prices.note.clone());
        all
    }

    fn change(&self, change: f64) -> String {
        let sign = if change > 0.0 { "+" } else { "" };
        format!("{sign}{}", self.money(change))
    }

    fn exposure(&self) -> Option<String> {
        let gap = span(self.bill.hot_gap?);
        let why = if self.bill.is_budgeted { ": that is all that -put-budget allows" } else { "" };
        Some(format!("A change of an always changing database waits up to {gap}{why}."))
    }

    /// What an upload every five minutes would make of it.
    fn calmer(&self) -> Option<String> {
        if self.bill.hot_gap? >= CALMER.as_secs_f64() {
            return None;
        }
        let policy = Policy { min_upload_interval: CALMER, ..self.policy.clone() };
        let calmer = bill(&self.workload, &policy, &self.prices);
        let (sum, before) = (calmer.total(), self.bill.total());
        let gap = span(calmer.hot_gap?);
        (before - sum >= 0.005).then(|| {
            let (sum, change) = (self.money(sum), self.change(sum - before));
            format!(
                "With -min-upload-interval 5m the sum would be {sum} ({change}), and a change \
                     would wait up to {gap}."
            )
        })
    }

    /// See docs/CTL.md.
    pub(crate) fn document(&self) -> Value {
        let Self { workload, policy, prices, bill, halved, sources, reading } = self;
        let lines: Vec<_> = bill.lines.iter().map(|line| self.line(line)).collect();
        let requests =
            Kind::ALL.map(|kind| (kind.name().to_lowercase(), rounded(bill.requests(kind))));
        let requests: serde_json::Map<_, _> = requests.into_iter().collect();
        let of = |nature| halved.iter().find(move |halved| halved.nature == nature);
        json!({
            "currency": prices.currency,
            "month_days": rounded(DAYS),
            "provider": prices,
            "workload": {
                "databases": rounded(workload.databases),
                "hot": rounded(workload.hot),
                "changes_per_day": six_digits(workload.changes_per_day),
                "image_bytes": rounded(workload.image_bytes),
                "compression": six_digits(workload.compression),
            },
            "sources": sources,
            "catalogs": reading.as_ref().map(Reading::document),
            "settings": {
                "interval_seconds": policy.interval.as_secs_f64(),
                "min_upload_interval_seconds": policy.min_upload_interval.as_secs_f64(),
                "put_budget": policy.put_budget.map(rounded),
                "retention_days": policy.retention_days.map(rounded),
                "keep": policy.keep.map(|keep| keep.to_string()),
                "shards": rounded(policy.shards),
                "verify_percent_per_day": policy.verify_percent_per_day,
                "reconcile_requests": rounded(policy.reconcile_requests),
                "restarts_per_month": policy.restarts_per_month,
            },
            "lines": lines,
            "storage": {
                "objects": rounded(bill.storage.objects),
                "object_bytes": rounded(bill.storage.object_bytes),
                "gone_bytes": rounded(bill.storage.gone_bytes),
                "billed_gb": exact(bill.storage.billed_gb),
                "cost": exact(bill.storage.cost),
                "arithmetic": bill.storage.arithmetic,
                "basis": if workload.held.is_some() { "held" } else { "steady_state" },
                "steady_state": reading.as_ref().and_then(Reading::steady_document),
            },
            "requests": requests,
            "total": exact(bill.total()),
            "hot_exposure_seconds": bill.hot_gap.map(exact),
            "limited_by_put_budget": bill.is_budgeted,
            "verified_bytes": rounded(bill.verified_bytes),
            "dominating_assumption": of(Nature::Assumption).map(|halved| halved.flag),
            "dominating_setting": of(Nature::Setting).map(|halved| halved.flag),
            "halved": halved.iter().map(|halved| Halved {
                total: six_digits(halved.total),
                change: six_digits(halved.change),
                ..halved.clone()
            }).collect::<Vec<_>>(),
        })
    }

    fn line(&self, line: &Line) -> Value {
        json!({
            "cause": line.cause.key(),
            "kind": line.kind.name().to_lowercase(),
            "requests": rounded(line.requests),
            "per_1000": self.prices.per_1000(line.kind),
            "cost": exact(line.cost),
            "arithmetic": line.arithmetic,
        })
    }
}

/// A whole number, as JSON knows it.
pub(super) fn rounded(number: f64) -> Value {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
    let whole = number.round() as u64;
    whole.into()
}

/// Without the last digits, which are those of the arithmetic and not of the price.
pub(super) fn exact(number: f64) -> Value {
    six_digits(number).into()
}

fn six_digits(number: f64) -> f64 {
    (number * 1e6).round() / 1e6
}

fn row(cause: &str, kind: &str, requests: &str, cost: &str) -> String {
    format!("{cause:<25}  {kind:<6}  {requests:>22}  {cost:>21}")
}

/// Lines of words that are not longer than [`WIDTH`]; all but the first of a paragraph are indented more.
pub(super) fn wrapped(indent: &str, text: &str) -> String {
    let mut lines = String::new();
    let mut line = indent.to_owned();
    for word in text.split_whitespace() {
        let is_begun = !line.trim().is_empty();
        if is_begun && line.chars().count() + 1 + word.chars().count() > WIDTH {
            lines += &line;
            lines.push('\n');
            line = format!("{indent}  {word}");
            continue;
        }
        if is_begun {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines + &line + "\n"
}

/// The JSON of `--list-providers`.
#[derive(Debug, Serialize)]
pub(crate) struct Providers<'a> {
    providers: &'a [Prices],
}

pub(crate) fn providers(lists: &[Prices]) -> Providers<'_> {
    Providers { providers: lists }
}

/// The text of `--list-providers`.
pub(crate) fn providers_text(lists: &[Prices]) -> String {
    let columns = [
        Column::text("NAME"),
        Column::number("PUT"),
        Column::number("LIST"),
        Column::number("GET"),
        Column::number("DELETE"),
        Column::number("GB-MONTH"),
        Column::text("CURRENCY"),
        Column::text("AS OF"),
    ];
    let rows: Vec<_> = lists
        .iter()
        .map(|prices| {
            let mut row = vec![prices.name.clone()];
            row.extend(Kind::ALL.map(|kind| prices.per_1000(kind).to_string()));
            row.push(prices.storage_per_gb_month.to_string());
            row.extend([prices.currency.clone(), prices.as_of.clone()]);
            row
        })
        .collect();
    let mut text = show::table(&columns, &rows, Some(WIDTH));
    text += "\nRequests: for 1,000 of them.\n";
    for prices in lists {
        let _ = writeln!(text, "\n{}: {}", prices.name, prices.title);
        text += &wrapped("  ", &prices.source);
        if prices.minimum_storage_days > 0.0 {
            let days = number(prices.minimum_storage_days);
            text += &wrapped(
                "  ",
                &format!("What is stored for less than {days} days is billed for these."),
            );
        }
        if let Some(note) = &prices.note {
            text += &wrapped("  ", note);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cost::{assume, prices};

    proptest! {
        #[test]
        fn no_line_is_wider_than_a_terminal(
            databases in 1u32..1_000_000_000, hot in 0.0..=1.0_f64, changes in 0.0..1e6_f64,
            bytes in 1.0..1e13_f64, interval in 1u64..86_400, list in 0usize..7,
            budget in proptest::option::of(1.0..1e12_f64),
        ) {
            let databases = f64::from(databases);
            let workload = Workload {
                databases,
                hot: (databases * hot).floor(),
                changes_per_day: changes,
                image_bytes: bytes,
                compression: 0.4,
                ..Workload::default()
            };
            let policy = Policy {
                interval: Duration::from_secs(interval),
                min_upload_interval: Duration::ZERO,
                put_budget: budget,
                retention_days: Some(30.0),
                keep: None,
                shards: 256.0,
                verify_percent_per_day: 1.0,
                reconcile_requests: 5_000.0,
                restarts_per_month: 4.0,
            };
            let prices = prices::load(None).unwrap().swap_remove(list);
            let bill = bill(&workload, &policy, &prices);
            let halved = assume::halved(&workload, &policy, &prices, &[]);
            let sources = Sources::given();
            let reckoning =
                Reckoning { workload, policy, prices, bill, halved, sources, reading: None };
            let text = reckoning.text();
            for line in text.lines() {
                prop_assert!(line.chars().count() <= WIDTH, "{}", line);
            }
        }
    }

    #[test]
    fn long_text_is_broken_between_words() {
        let text = wrapped("  ", &"word ".repeat(20));
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].starts_with("  word") && lines[1].starts_with("    word"), "{text}");
        let long = "x".repeat(100);
        assert_eq!(wrapped("", &long), format!("{long}\n"));
    }
}
