//! The log: one line for each event, on stderr. What happens within a span that is exported has its ids.

use std::fmt;
use std::io::{self, IsTerminal};

use anyhow::Context;
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, JsonFields, Writer, format};
use tracing_subscriber::fmt::{FmtContext, MakeWriter};
use tracing_subscriber::registry::LookupSpan;
use ultrasimple_core::config::{LogFormat, LogSettings};

/// Ours from `info` on, those of libraries only when something is wrong. A directive for `ultrasimple`
/// covers all crates whose names begin with it. That of OpenTelemetry says each time, in several lines, what the
/// exporters say once.
const DEFAULT_FILTER: &str = "warn,ultrasimple=info,opentelemetry=off";

/// Starts the log. `filter` is what `RUST_LOG` says, if it says anything.
///
/// # Errors
/// When the filter cannot be read.
pub(crate) fn init(settings: LogSettings, filter: Option<&str>) -> anyhow::Result<()> {
    let words = filter.filter(|filter| !filter.trim().is_empty()).unwrap_or(DEFAULT_FILTER);
    let filter = EnvFilter::builder().parse(words).with_context(|| {
        format!("RUST_LOG={words:?}: it must be like info, or warn,ultrasimple=debug")
    })?;
    let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    tracing::subscriber::set_global_default(subscriber(
        settings.format,
        filter,
        colours,
        io::stderr,
    ))
    .context("cannot start the log")
}

fn subscriber(
    shape: LogFormat,
    filter: EnvFilter,
    colours: bool,
    writer: impl for<'a> MakeWriter<'a> + Send + Sync + 'static,
) -> Box<dyn Subscriber + Send + Sync> {
    // A reader of stderr who went away must not become a panic.
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(colours)
        .log_internal_errors(false);
    match shape {
        LogFormat::Json => {
            let inner = format().json().flatten_event(true);
            let builder = builder.fmt_fields(JsonFields::new());
            Box::new(builder.event_format(WithIds { inner, shape }).finish())
        }
        LogFormat::Text => {
            let inner = format().compact().with_target(false).with_ansi(colours);
            Box::new(builder.event_format(WithIds { inner, shape }).finish())
        }
    }
}

/// Lines that end with the ids of the span that they come from, if there is one.
struct WithIds<F> {
    inner: F,
    shape: LogFormat,
}

impl<S, N, F> FormatEvent<S, N> for WithIds<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let Some(ids) = ultrasimple_trace::context() else {
            return self.inner.format_event(context, writer, event);
        };
        let mut line = String::new();
        self.inner.format_event(context, Writer::new(&mut line), event)?;
        let line = line.trim_end();
        let ultrasimple_trace::Context { trace, span } = ids;
        match (self.shape, line.strip_suffix('}')) {
            (LogFormat::Json, Some(line)) => {
                writeln!(writer, "{line},\"trace_id\":\"{trace}\",\"span_id\":\"{span}\"}}")
            }
            _ => writeln!(writer, "{line} trace_id={trace} span_id={span}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::{Arc, Mutex};
    use ultrasimple_core::SystemClock;
    use ultrasimple_trace::catalogue::SCAN;
    use ultrasimple_trace::{Finished, Sampler, Sink, Tracer};

    #[derive(Debug, Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[derive(Debug)]
    struct Nowhere;

    impl Sink for Nowhere {
        fn take(&self, _: Vec<Finished>) {}
    }

    /// The lines of two events, one within a span and one not; and the ids of that span.
    fn said(shape: LogFormat) -> (Vec<String>, String, String) {
        let lines = Lines::default();
        let writer = lines.clone();
        let filter = EnvFilter::builder().parse("info").unwrap();
        let log = subscriber(shape, filter, false, move || writer.clone());
        let tracer = Tracer::new(Arc::new(Nowhere), Sampler::All, Arc::new(SystemClock));
        let span = tracer.root(&SCAN);
        let ids = tracing::subscriber::with_default(log, || {
            tracing::info!(path = "/a \"b\"", "outside");
            span.enter(|| {
                tracing::warn!(count = 3, "within");
                ultrasimple_trace::context().unwrap()
            })
        });
        let bytes = lines.0.lock().unwrap().clone();
        let lines = String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect();
        (lines, ids.trace.to_string(), ids.span.to_string())
    }

    #[test]
    fn json_has_the_ids_as_fields() {
        let (lines, trace, span) = said(LogFormat::Json);
        let lines: Vec<serde_json::Value> =
            lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        let [outside, within] = &lines[..] else { panic!("{lines:?}") };
        assert_eq!((&within["trace_id"], &within["span_id"]), (&trace.into(), &span.into()));
        assert_eq!((&within["message"], &within["count"]), (&"within".into(), &3.into()));
        assert!(outside.get("trace_id").is_none() && outside["path"] == "/a \"b\"");
    }

    #[test]
    fn text_has_the_ids_at_its_end() {
        let (lines, trace, span) = said(LogFormat::Text);
        let [outside, within] = &lines[..] else { panic!("{lines:?}") };
        assert!(outside.ends_with("outside path=\"/a \\\"b\\\"\""), "{outside}");
        let end = format!("within count=3 trace_id={trace} span_id={span}");
        assert!(within.ends_with(&end), "{within}");
    }
}
