//! The numbers as Prometheus reads them: its own text format, and OpenMetrics for those who ask for that.

use std::fmt::Write;

use crate::catalogue::{Instrument, Kind};
use crate::histogram::Exemplar;
use crate::samples::{Sample, Samples, Value};

/// How numbers are written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' text format, version 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// What whoever sends this `Accept` header wants.
    pub fn wanted(accept: &str) -> Self {
        let mut wanted =
            accept.split(',').map(|kind| kind.split(';').next().unwrap_or_default().trim());
        if wanted.any(|kind| kind.eq_ignore_ascii_case("application/openmetrics-text")) {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }

    /// Its `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Writes the numbers down.
pub fn encode(samples: &Samples, format: Format) -> String {
    let mut text = String::new();
    let mut last = "";
    for sample in samples.iter() {
        if sample.instrument.name != last {
            last = sample.instrument.name;
            head(&mut text, sample.instrument, format);
        }
        body(&mut text, sample, format);
    }
    if format == Format::OpenMetrics {
        text.push_str("# EOF\n");
    }
    text
}

// Writing to a string does not fail.

fn head(text: &mut String, instrument: &Instrument, format: Format) {
    let Instrument { prometheus, kind, meaning, .. } = instrument;
    let (name, kind) = match (kind, format) {
        // There a counter's name is without the ending.
        (Kind::Counter, Format::OpenMetrics) => {
            (prometheus.strip_suffix("_total").unwrap_or(prometheus), "counter")
        }
        (Kind::Counter, Format::Prometheus) => (*prometheus, "counter"),
        (Kind::Gauge, _) => (*prometheus, "gauge"),
        (Kind::Histogram(_), _) => (*prometheus, "histogram"),
    };
    let meaning = escape(meaning);
    let _ = writeln!(text, "# HELP {name} {meaning}\n# TYPE {name} {kind}");
}

fn body(text: &mut String, Sample { instrument, word, value }: &Sample, format: Format) {
    let name = instrument.prometheus;
    let label = instrument
        .label
        .zip(*word)
        .map(|(label, word)| format!("{}=\"{}\"", label.name.replace('.', "_"), escape(word)));
    let label = label.as_deref();
    match value {
        Value::Number(number) => line(text, name, "", label, None, *number),
        Value::Distribution(reading) => {
            let bounds =
                reading.buckets.iter().map(|(bound, count)| (format!("{bound:?}"), *count));
            let above = ("+Inf".to_owned(), reading.count);
            for (index, (bound, count)) in bounds.chain([above]).enumerate() {
                line(text, name, "_bucket", label, Some(&bound), whole(count));
                let exemplar = reading.exemplars.get(index).copied().flatten();
                // Prometheus' own format has none.
                if let Some(exemplar) = exemplar.filter(|_| format == Format::OpenMetrics) {
                    text.pop();
                    add_exemplar(text, exemplar);
                }
            }
            line(text, name, "_sum", label, None, reading.sum);
            line(text, name, "_count", label, None, whole(reading.count));
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "2^53 milliseconds are out of reach")]
fn add_exemplar(text: &mut String, Exemplar { context, at, took }: Exemplar) {
    let (trace, span) = (context.trace, context.span);
    let (took, at) = (took.as_secs_f64(), at.as_millisecond() as f64 / 1_000.0);
    let _ = writeln!(text, " # {{trace_id=\"{trace}\",span_id=\"{span}\"}} {took} {at}");
}

#[expect(clippy::cast_precision_loss, reason = "2^53 of anything are out of reach")]
fn whole(count: u64) -> f64 {
    count as f64
}

fn line(
    text: &mut String,
    name: &str,
    end: &str,
    label: Option<&str>,
    le: Option<&str>,
    number: f64,
) {
    let le = le.map(|bound| format!("le=\"{bound}\""));
    let labels: Vec<_> = label.into_iter().chain(le.as_deref()).collect();
    let labels =
        if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
    let _ = writeln!(text, "{name}{end}{labels} {number}");
}

fn escape(words: &str) -> String {
    words.replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Histogram;
    use crate::catalogue::{BACKUPS_SENT, CATALOG_AGE, SHARDS};
    use std::time::Duration;

    static WAITS: Instrument = Instrument {
        name: "waits",
        prometheus: "waits_seconds",
        unit: "s",
        kind: Kind::Histogram(&[0.5, 10.0]),
        label: None,
        when: crate::catalogue::When::Always,
        meaning: "How \"long\".",
    };

    fn some() -> Samples {
        let mut samples = Samples::default();
        samples.count(&BACKUPS_SENT, 12_345_678_901);
        samples.real(&CATALOG_AGE, 0.25);
        samples.counts(&SHARDS, [("owned", 2), ("releasing", 0)]);
        let waits = Histogram::new(&WAITS);
        waits.record(None, Duration::from_secs(2));
        samples.distribution(&waits);
        samples
    }

    #[test]
    fn prometheus_reads_it() {
        let text = encode(&some(), Format::Prometheus);
        let lines: Vec<_> = text.lines().filter(|line| !line.starts_with("# HELP ultra")).collect();
        assert_eq!(
            lines,
            [
                "# TYPE ultrasimple_backups_sent_bytes_total counter",
                "ultrasimple_backups_sent_bytes_total 12345678901",
                "# TYPE ultrasimple_catalog_age_seconds gauge",
                "ultrasimple_catalog_age_seconds 0.25",
                "# TYPE ultrasimple_shards gauge",
                "ultrasimple_shards{phase=\"owned\"} 2",
                "ultrasimple_shards{phase=\"releasing\"} 0",
                "# HELP waits_seconds How \\\"long\\\".",
                "# TYPE waits_seconds histogram",
                "waits_seconds_bucket{le=\"0.5\"} 0",
                "waits_seconds_bucket{le=\"10.0\"} 1",
                "waits_seconds_bucket{le=\"+Inf\"} 1",
                "waits_seconds_sum 2",
                "waits_seconds_count 1",
            ]
        );
    }

    #[test]
    fn open_metrics_differs_in_the_names_of_counters_and_has_an_end() {
        let text = encode(&some(), Format::OpenMetrics);
        assert!(text.contains("# TYPE ultrasimple_backups_sent_bytes counter\n"), "{text}");
        assert!(text.contains("\nultrasimple_backups_sent_bytes_total 12345678901\n"), "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
    }

    #[test]
    fn open_metrics_tells_which_trace_an_example_is_in() {
        use ultrasimple_trace::{Context, SpanId, TraceId};
        let waits = Histogram::new(&WAITS);
        let context = Context { trace: TraceId(0xa), span: SpanId(0xb) };
        let at = ultrasimple_core::Timestamp::from_millisecond(1_700_000_000_250).unwrap();
        for ms in [400, 2_000, 20_000] {
            let took = Duration::from_millis(ms);
            let exemplar = (ms != 400).then_some(Exemplar { context, at, took });
            waits.record_with(None, took, exemplar);
        }
        let mut samples = Samples::default();
        samples.distribution(&waits);
        let text = encode(&samples, Format::OpenMetrics);
        let ids = "trace_id=\"0000000000000000000000000000000a\",span_id=\"000000000000000b\"";
        let lines: Vec<_> = text.lines().filter(|line| line.contains("_bucket")).collect();
        assert_eq!(
            lines,
            [
                "waits_seconds_bucket{le=\"0.5\"} 1".to_owned(),
                format!("waits_seconds_bucket{{le=\"10.0\"}} 2 # {{{ids}}} 2 1700000000.25"),
                format!("waits_seconds_bucket{{le=\"+Inf\"}} 3 # {{{ids}}} 20 1700000000.25"),
            ]
        );
        assert!(!encode(&samples, Format::Prometheus).contains("trace_id"));
    }

    #[test]
    fn whoever_asks_gets_what_they_read() {
        for (accept, format) in [
            ("", Format::Prometheus),
            ("*/*", Format::Prometheus),
            ("text/plain;version=0.0.4;q=0.5", Format::Prometheus),
            ("application/openmetrics-text;version=1.0.0,text/plain;q=0.5", Format::OpenMetrics),
            ("text/plain;q=0.3, Application/OpenMetrics-Text; q=1", Format::OpenMetrics),
        ] {
            assert_eq!(Format::wanted(accept), format, "{accept}");
        }
    }
}
