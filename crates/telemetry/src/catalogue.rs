//! All instruments there are: what is not here is not told, and what is here is told by each node that it applies to.
//!
//! Names follow OpenTelemetry's semantic conventions; the names for Prometheus follow from them by OpenTelemetry's
//! rules, but for what every dashboard knows by another name (`process_…`). A label has few values, all of them known
//! here: a database's path belongs in the log, not on a metric.

mod instruments;

pub use instruments::*;

/// What an instrument's numbers are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Grows from the start on.
    Counter,
    /// Goes up and down.
    Gauge,
    /// How often something took how long, with the upper bounds of its buckets, in seconds.
    Histogram(&'static [f64]),
}

/// What an instrument is split by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label {
    /// In OpenTelemetry; dots become `_` for Prometheus.
    pub name: &'static str,
    /// Its values.
    pub values: Values,
}

/// The values that a label can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Values {
    /// These.
    Words(&'static [&'static str]),
    /// One in each process, like this.
    One(&'static str),
}

/// Which nodes tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// All.
    Always,
    /// Those with `-etcd`.
    InFleet,
    /// All, from five minutes after the start on.
    Later,
    /// Those with `-put-budget`.
    WithBudget,
}

/// An instrument.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Instrument {
    /// In OpenTelemetry.
    pub name: &'static str,
    /// In Prometheus.
    pub prometheus: &'static str,
    /// By UCUM: `s`, `By`, or what is counted in braces.
    pub unit: &'static str,
    /// What its numbers are.
    pub kind: Kind,
    /// What it is split by.
    pub label: Option<Label>,
    /// Who tells it.
    pub when: When,
    /// What it means, in a sentence or two.
    pub meaning: &'static str,
}

/// Instruments that belong together.
#[derive(Debug, Clone, Copy)]
pub struct Section {
    /// What about.
    pub title: &'static str,
    /// In this order.
    pub instruments: &'static [&'static Instrument],
}

/// All of them.
pub const SECTIONS: &[Section] = &[
    Section {
        title: "Are the databases protected?",
        instruments: &[
            &DATABASES,
            &EXPOSURE_MAX,
            &EXPOSURE,
            &SCAN_TIMESTAMP,
            &SCAN_PROBLEMS,
            &BACKUPS_FAILED,
            &BUCKET_BAD,
            &UNVERIFIED,
            &UNVERIFIED_AGE,
        ],
    },
    Section {
        title: "Cycles and uploads",
        instruments: &[
            &CYCLE_DURATION,
            &CYCLE_INTERVAL,
            &SCAN_DURATION,
            &CHANGES,
            &BACKUPS_STORED,
            &BACKUPS_UNCHANGED,
            &BACKUPS_SENT,
            &UPLOAD_DURATION,
            &QUEUE_LENGTH,
            &UPLOADS_IN_FLIGHT,
        ],
    },
    Section {
        title: "The bucket",
        instruments: &[
            &BUCKET_BACKUPS,
            &BUCKET_SIZE,
            &CATALOG_AGE,
            &CATALOG_WRITES,
            &RETENTION,
            &VERIFICATIONS,
            &COMPARISON,
        ],
    },
    Section {
        title: "The bill",
        instruments: &[&REQUESTS, &MONTH_REQUESTS, &MONTH_COST, &BUDGET_REQUESTS, &BUDGET_WAIT],
    },
    Section {
        title: "The fleet",
        instruments: &[
            &SHARDS,
            &SHARDS_UNOWNED,
            &NODE_UNWELL,
            &LEASE_REMAINING,
            &LEASE_TTL,
            &FENCES,
        ],
    },
    Section {
        title: "The process",
        instruments: &[&BUILD, &UPTIME, &MEMORY, &CPU_TIME, &OPEN_FILES, &MOST_FILES],
    },
];

/// All instruments.
pub fn all() -> impl Iterator<Item = &'static Instrument> {
    SECTIONS.iter().flat_map(|section| section.instruments.iter().copied())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// What everybody knows by another name than the rules give.
    const KNOWN: [&str; 5] = [
        "process_resident_memory_bytes",
        "process_cpu_seconds_total",
        "process_open_fds",
        "process_max_fds",
        "ultrasimple_build_info",
    ];

    /// The name that OpenTelemetry's rules give for Prometheus.
    fn by_the_rules(instrument: &Instrument) -> String {
        let mut name = instrument.name.replace('.', "_");
        name += match instrument.unit {
            "s" => "_seconds",
            "By" => "_bytes",
            "{USD}" => "_dollars",
            unit => {
                assert!(unit.is_empty() || unit.starts_with('{') && unit.ends_with('}'), "{unit}");
                ""
            }
        };
        name + if instrument.kind == Kind::Counter { "_total" } else { "" }
    }

    #[test]
    fn names_follow_the_rules_and_are_unique() {
        let (mut names, mut others) = (HashSet::new(), HashSet::new());
        for instrument in all() {
            let Instrument { name, prometheus, meaning, label, .. } = instrument;
            assert!(names.insert(*name) && others.insert(*prometheus), "{name} is there twice");
            assert!(
                by_the_rules(instrument) == *prometheus || KNOWN.contains(prometheus),
                "{prometheus} should be {}",
                by_the_rules(instrument)
            );
            assert!(meaning.ends_with('.') && !meaning.contains('\n'), "{name}: {meaning}");
            if let Some(Label { name: label, values: Values::Words(words) }) = label {
                assert!(words.len() > 1, "{name}: {label}");
                let unique: HashSet<_> = words.iter().collect();
                assert_eq!(unique.len(), words.len(), "{name}: {label}");
            }
            if let Kind::Histogram(bounds) = instrument.kind {
                assert!(bounds.is_sorted() && !bounds.is_empty(), "{name}");
            }
        }
    }
}
