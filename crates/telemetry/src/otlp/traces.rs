//! Spans, pushed to an OpenTelemetry collector.
//!
//! Owns the bridge between our spans, of which the few that are told have been chosen already, and OpenTelemetry's
//! exporter: its batches, its queue of 2,048 (what does not fit is dropped and counted by it), its thread.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchSpanProcessor, SpanData, SpanEvents, SpanExporter as Export, SpanLinks, SpanProcessor,
};
use ultrasimple_core::Clock;
use ultrasimple_trace::catalogue::Kind;
use ultrasimple_trace::{Finished, Sampler, Sink, Tracer, Value};

use super::connection::{Connection, OtlpError, TRACES, Way, wrong};
use super::reach::Reach;
use super::{Service, end_within, resource};

const SAMPLER: &str = "OTEL_TRACES_SAMPLER";
const SAMPLER_ARG: &str = "OTEL_TRACES_SAMPLER_ARG";

/// What the environment says of traces, where it says that there is something to do.
#[derive(Debug)]
pub struct Traces {
    connection: Connection,
    sampler: Sampler,
}

impl Traces {
    /// What the environment says. `None`: nothing is to be traced.
    ///
    /// # Errors
    /// When it says something that cannot be done.
    pub fn wanted() -> Result<Option<Self>, OtlpError> {
        let variable = |name| std::env::var(name).ok();
        let Some(connection) = Connection::by(&TRACES, variable)? else { return Ok(None) };
        let sampler = sampler(variable)?;
        Ok((sampler != Sampler::None).then_some(Self { connection, sampler }))
    }

    /// Begins to export. To be called within the runtime.
    ///
    /// # Errors
    /// When the environment says something that cannot be done.
    pub fn start(
        self,
        service: &Service,
        clock: Arc<dyn Clock>,
    ) -> Result<(Tracer, TraceExporter), OtlpError> {
        let reach = Arc::new(Reach::new("Traces", Arc::clone(&clock)));
        let exporter = Reporting { inner: exporter(&self.connection)?, reach: Arc::clone(&reach) };
        let mut processor = BatchSpanProcessor::builder(exporter).build();
        processor.set_resource(&resource(service));
        let scope = InstrumentationScope::builder("ultrasimple").with_version(service.version);
        let sink = Arc::new(Told { processor, scope: scope.build() });
        let tracer = Tracer::new(Arc::clone(&sink) as Arc<dyn Sink>, self.sampler, clock);
        Ok((tracer, TraceExporter { sink, reach }))
    }
}

/// Which traces are made at all.
fn sampler(variable: impl Fn(&'static str) -> Option<String>) -> Result<Sampler, OtlpError> {
    let variable = |name| variable(name).filter(|value: &String| !value.trim().is_empty());
    let Some(word) = variable(SAMPLER) else { return Ok(Sampler::All) };
    // Nobody calls us within a trace of theirs: all of ours begin here.
    match word.strip_prefix("parentbased_").unwrap_or(&word) {
        "always_on" => Ok(Sampler::All),
        "always_off" => Ok(Sampler::None),
        "traceidratio" => {
            let part = variable(SAMPLER_ARG).unwrap_or_else(|| "1".to_owned());
            match part.trim().parse() {
                Ok(number) if (0.0..=1.0).contains(&number) => Ok(Sampler::Part(number)),
                _ => Err(wrong(SAMPLER_ARG, &format!("{part:?}: it must be between 0 and 1"))),
            }
        }
        _ => {
            let reason = format!("{word:?}: it must be always_on, always_off or traceidratio");
            Err(wrong(SAMPLER, &reason))
        }
    }
}

fn exporter(connection: &Connection) -> Result<SpanExporter, OtlpError> {
    let builder = SpanExporter::builder();
    let built = match connection.way()? {
        Way::Grpc(tls) => {
            let builder = builder.with_tonic().with_protocol(connection.protocol);
            let builder = match tls {
                Some(tls) => builder.with_tls_config(*tls),
                None => builder,
            };
            builder.with_timeout(connection.timeout).build()
        }
        Way::Http(client) => {
            builder.with_http().with_http_client(*client).with_protocol(connection.protocol).build()
        }
    };
    built.map_err(|error| connection.wrong(&error))
}

/// Says, but not each time, that the collector cannot be reached.
#[derive(Debug)]
struct Reporting {
    inner: SpanExporter,
    reach: Arc<Reach>,
}

impl Export for Reporting {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.reach.tell(self.inner.export(batch).await)
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

/// Sends the spans, every five seconds or as the environment says.
#[derive(Debug)]
pub struct TraceExporter {
    sink: Arc<Told>,
    reach: Arc<Reach>,
}

impl TraceExporter {
    /// Sends what there is once more, and ends.
    ///
    /// # Errors
    /// When that was not possible within `limit`.
    pub async fn end(self, limit: Duration) -> Result<(), String> {
        let Self { sink, reach } = self;
        end_within(limit, move || sink.processor.shutdown_with_timeout(limit)).await?;
        // The processor's end does not say whether its last batch has arrived.
        reach.failure().map_or(Ok(()), Err)
    }
}

#[derive(Debug)]
struct Told {
    processor: BatchSpanProcessor,
    scope: InstrumentationScope,
}

impl Sink for Told {
    fn take(&self, spans: Vec<Finished>) {
        for span in spans {
            self.processor.on_end(data(span, &self.scope));
        }
    }
}

/// A span as OpenTelemetry has it.
fn data(span: Finished, scope: &InstrumentationScope) -> SpanData {
    let Finished { context, parent, of, start, took, attributes, failure } = span;
    let attributes = attributes.into_iter().map(|(attribute, value)| match value {
        Value::Text(text) => KeyValue::new(attribute.name, text),
        Value::Word(word) => KeyValue::new(attribute.name, word),
        Value::Number(number) => KeyValue::new(attribute.name, number),
        Value::Real(number) => KeyValue::new(attribute.name, number),
    });
    let (trace, id) = (TraceId::from(context.trace.0), SpanId::from(context.span.0));
    let (flags, state) = (TraceFlags::SAMPLED, TraceState::default());
    SpanData {
        span_context: SpanContext::new(trace, id, flags, false, state),
        parent_span_id: parent.map_or(SpanId::INVALID, |parent| SpanId::from(parent.0)),
        parent_span_is_remote: false,
        span_kind: match of.kind {
            Kind::Internal => SpanKind::Internal,
            Kind::Client => SpanKind::Client,
        },
        name: Cow::Borrowed(of.name),
        start_time: start,
        end_time: start.checked_add(took).unwrap_or(start),
        attributes: attributes.collect(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: failure.map_or(Status::Unset, Status::error),
        instrumentation_scope: scope.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(words: &[(&str, &str)]) -> Result<Sampler, String> {
        let find = |name| {
            let word = words.iter().find(|(known, _)| *known == name);
            word.map(|(_, value)| (*value).to_owned())
        };
        sampler(find).map_err(|error| error.to_string())
    }

    #[test]
    fn the_sampler_is_that_of_the_environment() {
        let ratio = (SAMPLER, "parentbased_traceidratio");
        for (said, sampler) in [
            (&[][..], Sampler::All),
            (&[(SAMPLER, "parentbased_always_on")], Sampler::All),
            (&[(SAMPLER, "always_off")], Sampler::None),
            (&[ratio], Sampler::Part(1.0)),
            (&[ratio, (SAMPLER_ARG, "0.25")], Sampler::Part(0.25)),
        ] {
            assert_eq!(by(said), Ok(sampler), "{said:?}");
        }
        for (bad, said) in [
            (&[(SAMPLER, "jaeger_remote")][..], "OTEL_TRACES_SAMPLER: \"jaeger_remote\": "),
            (&[ratio, (SAMPLER_ARG, "2")], "OTEL_TRACES_SAMPLER_ARG: \"2\": "),
            (&[ratio, (SAMPLER_ARG, "all")], "OTEL_TRACES_SAMPLER_ARG: \"all\": "),
        ] {
            let error = by(bad).unwrap_err();
            assert!(error.starts_with(said), "{error}");
        }
    }
}
