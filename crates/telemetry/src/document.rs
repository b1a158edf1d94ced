//! `docs/METRICS.md`, made from the catalogue.

use std::fmt::Write;

use crate::catalogue::{Instrument, Kind, Label, SECTIONS, Values, When};

/// Of a line.
const COLUMNS: usize = 120;

const HEAD: &str = "\
# Metrics

<!-- Made from crates/telemetry/src/catalogue.rs by `cargo xtask docs`: change that, not this. -->

The same numbers are told in two ways:

- **`/metrics`** on the address of `-http`, for Prometheus to fetch: in its text format, or as OpenMetrics where that is
  asked for. Who may ask is what it is for `/stats`: everybody on this host, or whoever has the token of
  `-http-token-file`.
- **OTLP**, pushed by the daemon to an OpenTelemetry collector. Off, unless `OTEL_EXPORTER_OTLP_ENDPOINT` (or
  `OTEL_EXPORTER_OTLP_METRICS_ENDPOINT`) is set. `OTEL_EXPORTER_OTLP_PROTOCOL` is `grpc` or `http/protobuf` (as without
  it); `…_HEADERS`, `…_TIMEOUT`, `OTEL_METRIC_EXPORT_INTERVAL`, `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` do what
  OpenTelemetry says, and `OTEL_SDK_DISABLED=true` or `OTEL_METRICS_EXPORTER=none` turn it off.

Each node tells of itself: the sum over all instances is the fleet's, of ages and exposures the maximum. Counters begin at 0
when the daemon starts. No label has the path of a database: the log and `ultrasimple-ctl` have.
";

/// The whole page.
pub fn page() -> String {
    // Writing to a string does not fail.
    let mut page = HEAD.to_owned();
    for section in SECTIONS {
        let _ = write!(page, "\n## {}\n", section.title);
        for instrument in section.instruments {
            entry(&mut page, instrument);
        }
    }
    page
}

fn entry(page: &mut String, instrument: &Instrument) {
    let Instrument { name, prometheus, unit, kind, label, when, meaning } = instrument;
    let kind = match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram(_) => "histogram",
    };
    let unit = match *unit {
        "" => String::new(),
        "s" => ", seconds".to_owned(),
        "By" => ", bytes".to_owned(),
        other => format!(", {}s", other.trim_matches(['{', '}']).replace('_', " "))
            .replace("USDs", "US dollars"),
    };
    let meaning = wrap(meaning);
    let _ = write!(page, "\n**`{prometheus}`** ({kind}{unit}; OTLP: `{name}`)\n\n{meaning}\n");
    if let Some(Label { name, values }) = label {
        let values = match values {
            Values::Words(words) => {
                words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
            }
            Values::One(example) => format!("one, like `{example}`"),
        };
        let values = wrap(&format!("`{}`: {values}.", name.replace('.', "_")));
        let _ = write!(page, "\n{values}\n");
    }
    match when {
        When::Always => {}
        When::InFleet => page.push_str("\nOnly of nodes with `-etcd`.\n"),
        When::WithBudget => page.push_str("\nOnly of nodes with `-put-budget`.\n"),
        When::Later => page.push_str("\nFrom five minutes after the start on.\n"),
    }
}

/// In lines of no more than [`COLUMNS`].
fn wrap(words: &str) -> String {
    let mut column = 0;
    words.split(' ').fold(String::new(), |text, word| {
        let width = word.chars().count();
        let fits = column + width < COLUMNS;
        let between = if text.is_empty() {
            ""
        } else if fits {
            " "
        } else {
            "\n"
        };
        column = if fits { column + 1 + width } else { width };
        text + between + word
    })
}

#[cfg(test)]
mod tests {
    /// `cargo xtask docs` sets the variable.
    #[test]
    fn the_page_in_docs_is_this_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/METRICS.md");
        if std::env::var_os("ULTRASIMPLE_WRITE_DOCS").is_some() {
            std::fs::write(path, super::page()).unwrap();
        }
        let there = std::fs::read_to_string(path).unwrap_or_default();
        assert!(there == super::page(), "docs/METRICS.md is stale: run `cargo xtask docs`");
    }
}
