//! The numbers, pushed to an OpenTelemetry collector by OTLP, as the `OTEL_…` variables say.
//!
//! Owns the bridge between the catalogue and OpenTelemetry's SDK: all but the histograms are observed when they are
//! sent. What is written nowhere is that nothing is exported: then there is no thread, no connection, and no cost.

use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use opentelemetry::metrics::{AsyncInstrument, Meter, MeterProvider};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::tonic_types::transport::ClientTlsConfig;
use opentelemetry_otlp::{
    MetricExporter, Protocol, WithExportConfig, WithHttpConfig, WithTonicConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::resource::EnvResourceDetector;
use ultrasimple_core::Clock;

use crate::catalogue::{self, Instrument, Kind};
use crate::histogram::Histogram;
use crate::http_client::Hyper;
use crate::samples::{Sample, Samples, Source, Value};

/// Instruments are observed one after the other: for so long what was asked for the first serves all.
const ONE_MOMENT: Duration = Duration::from_millis(50);
/// What OpenTelemetry says a request may take where nobody says anything.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Who tells.
#[derive(Debug, Clone)]
pub struct Service {
    /// `service.name`, unless the environment says another.
    pub name: &'static str,
    /// `service.version`.
    pub version: &'static str,
    /// `service.instance.id`, unless the environment says another.
    pub node: String,
}

/// A setting that cannot be honoured.
#[derive(Debug, thiserror::Error)]
#[error("{variable}: {reason}")]
pub struct OtlpError {
    /// Which.
    pub variable: &'static str,
    /// What is wrong, and what would be right.
    pub reason: String,
}

fn wrong(variable: &'static str, reason: &dyn Display) -> OtlpError {
    OtlpError { variable, reason: reason.to_string() }
}

/// Sends the numbers, every minute or as the environment says.
#[derive(Debug)]
pub struct Exporter(SdkMeterProvider);

/// What the environment says, where it says that there is something to do.
#[derive(Debug, PartialEq, Eq)]
pub struct Otlp {
    protocol: Protocol,
    is_https: bool,
    timeout: Duration,
}

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const METRICS_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT";
const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";
const METRICS_PROTOCOL: &str = "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL";
const TIMEOUT_MS: &str = "OTEL_EXPORTER_OTLP_TIMEOUT";
const METRICS_TIMEOUT_MS: &str = "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT";

/// What the standard has, and this does not: better said than ignored.
const NOT_HERE: [&str; 8] = [
    "OTEL_EXPORTER_OTLP_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_METRICS_CLIENT_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_CLIENT_KEY",
    "OTEL_EXPORTER_OTLP_METRICS_CLIENT_KEY",
    "OTEL_EXPORTER_OTLP_COMPRESSION",
    "OTEL_EXPORTER_OTLP_METRICS_COMPRESSION",
];

impl Otlp {
    /// What the environment says. `None`: nothing is to be exported.
    ///
    /// # Errors
    /// When it says something that cannot be done.
    pub fn wanted() -> Result<Option<Self>, OtlpError> {
        Self::by(|name| std::env::var(name).ok())
    }

    /// Begins to export. To be called within the runtime.
    ///
    /// # Errors
    /// When the environment says something that cannot be done.
    pub fn start(
        self,
        service: &Service,
        source: Arc<dyn Source>,
        histograms: &[&Histogram],
        clock: Arc<dyn Clock>,
    ) -> Result<Exporter, OtlpError> {
        let provider = SdkMeterProvider::builder()
            .with_resource(resource(service))
            .with_periodic_exporter(self.exporter()?)
            .build();
        let scope = InstrumentationScope::builder("ultrasimple").with_version(service.version);
        let meter = provider.meter_with_scope(scope.build());
        let moment = Arc::new(Moment { source, clock, last: Mutex::default() });
        for instrument in catalogue::all() {
            observe(&meter, instrument, &moment);
        }
        for histogram in histograms {
            let Instrument { name, unit, meaning, .. } = *histogram.instrument();
            let twin = meter.f64_histogram(name).with_unit(unit).with_description(meaning);
            histogram.twin(twin.with_boundaries(histogram.bounds().to_vec()).build());
        }
        Ok(Exporter(provider))
    }

    fn by(variable: impl Fn(&'static str) -> Option<String>) -> Result<Option<Self>, OtlpError> {
        let variable = |name| variable(name).filter(|value| !value.trim().is_empty());
        let first = |names: [&'static str; 2]| {
            names.into_iter().find_map(|name| Some((name, variable(name)?)))
        };
        let is_off =
            variable("OTEL_SDK_DISABLED").is_some_and(|word| word.eq_ignore_ascii_case("true"));
        let Some((endpoint_variable, endpoint)) = first([METRICS_ENDPOINT, ENDPOINT]) else {
            return Ok(None);
        };
        match variable("OTEL_METRICS_EXPORTER").as_deref() {
            _ if is_off => return Ok(None),
            Some("none") => return Ok(None),
            None | Some("otlp") => {}
            Some(other) => {
                return Err(wrong(
                    "OTEL_METRICS_EXPORTER",
                    &format!("{other:?}: it must be otlp or none"),
                ));
            }
        }
        let scheme = endpoint.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
        let is_https = match scheme.as_deref() {
            Some("http") => false,
            Some("https") => true,
            _ => {
                let reason = format!("{endpoint:?}: it must be like http://collector:4318");
                return Err(wrong(endpoint_variable, &reason));
            }
        };
        let protocol = match first([METRICS_PROTOCOL, PROTOCOL]) {
            None => Protocol::HttpBinary,
            Some((_, word)) if word == "http/protobuf" => Protocol::HttpBinary,
            Some((_, word)) if word == "grpc" => Protocol::Grpc,
            Some((name, word)) => {
                return Err(wrong(name, &format!("{word:?}: it must be grpc or http/protobuf")));
            }
        };
        let timeout = match first([METRICS_TIMEOUT_MS, TIMEOUT_MS]) {
            None => TIMEOUT,
            Some((name, word)) => match word.trim().parse() {
                Ok(ms) if ms > 0 => Duration::from_millis(ms),
                _ => {
                    return Err(wrong(
                        name,
                        &format!("{word:?}: it must be milliseconds, like 10000"),
                    ));
                }
            },
        };
        if let Some(name) =
            NOT_HERE.into_iter().find(|name| variable(name).is_some_and(|word| word != "none"))
        {
            return Err(wrong(name, &"this cannot be set here: send to a collector on this host"));
        }
        Ok(Some(Self { protocol, is_https, timeout }))
    }

    fn exporter(&self) -> Result<MetricExporter, OtlpError> {
        let builder = MetricExporter::builder();
        let built = if self.protocol == Protocol::Grpc {
            let mut builder = builder.with_tonic().with_protocol(Protocol::Grpc);
            if self.is_https {
                builder = builder.with_tls_config(ClientTlsConfig::new().with_enabled_roots());
            }
            builder.with_timeout(self.timeout).build()
        } else {
            let client = Hyper::new(self.timeout).map_err(|error| wrong(ENDPOINT, &error))?;
            let builder = builder.with_http().with_http_client(client);
            builder.with_protocol(Protocol::HttpBinary).build()
        };
        built.map_err(|error| wrong(ENDPOINT, &error))
    }
}

impl Exporter {
    /// Sends what there is once more, and ends.
    ///
    /// # Errors
    /// When that was not possible within `limit`.
    pub async fn end(self, limit: Duration) -> Result<(), String> {
        let ended = tokio::task::spawn_blocking(move || self.0.shutdown());
        let Ok(ended) = tokio::time::timeout(limit, ended).await else {
            return Err(format!("it took longer than {limit:?}"));
        };
        ended.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }
}

fn resource(Service { name, version, node }: &Service) -> Resource {
    let ours = [
        KeyValue::new("service.name", *name),
        KeyValue::new("service.version", *version),
        KeyValue::new("service.instance.id", node.clone()),
    ];
    // What is added later counts: the environment's.
    let builder = Resource::builder_empty().with_attributes(ours);
    let builder = builder.with_detector(Box::new(EnvResourceDetector::new()));
    match std::env::var("OTEL_SERVICE_NAME") {
        Ok(name) if !name.is_empty() => builder.with_service_name(name).build(),
        _ => builder.build(),
    }
}

/// The samples of a moment, for all instruments.
struct Moment {
    source: Arc<dyn Source>,
    clock: Arc<dyn Clock>,
    last: Mutex<Option<(Duration, Arc<Samples>)>>,
}

impl Moment {
    fn samples(&self) -> Arc<Samples> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.monotonic();
        if let Some((at, samples)) = &*last
            && now.saturating_sub(*at) < ONE_MOMENT
        {
            return Arc::clone(samples);
        }
        let samples = Arc::new(self.source.samples());
        *last = Some((now, Arc::clone(&samples)));
        samples
    }

    fn tell(&self, instrument: &Instrument, to: &dyn AsyncInstrument<f64>) {
        for Sample { word, value, .. } in self.samples().of(instrument.name) {
            let Value::Number(number) = value else { continue };
            match instrument.label.zip(*word) {
                Some((label, word)) => to.observe(*number, &[KeyValue::new(label.name, word)]),
                None => to.observe(*number, &[]),
            }
        }
    }
}

/// Has an instrument observed whenever the numbers are sent.
fn observe(meter: &Meter, instrument: &'static Instrument, moment: &Arc<Moment>) {
    let Instrument { name, unit, meaning, kind, .. } = *instrument;
    let moment = Arc::clone(moment);
    let tell = move |to: &dyn AsyncInstrument<f64>| moment.tell(instrument, to);
    match kind {
        Kind::Counter => {
            let counter = meter.f64_observable_counter(name).with_unit(unit);
            counter.with_description(meaning).with_callback(tell).build();
        }
        Kind::Gauge => {
            let gauge = meter.f64_observable_gauge(name).with_unit(unit);
            gauge.with_description(meaning).with_callback(tell).build();
        }
        // Told as they happen.
        Kind::Histogram(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(words: &[(&str, &str)]) -> Result<Option<Otlp>, String> {
        let find = |name| {
            let word = words.iter().find(|(known, _)| *known == name);
            word.map(|(_, value)| (*value).to_owned())
        };
        Otlp::by(find).map_err(|error| error.to_string())
    }

    #[test]
    fn it_is_off_unless_there_is_an_endpoint() {
        for off in [
            &[][..],
            &[(PROTOCOL, "grpc")],
            &[(ENDPOINT, "")],
            &[(ENDPOINT, "http://c:4318"), ("OTEL_SDK_DISABLED", "True")],
            &[(ENDPOINT, "http://c:4318"), ("OTEL_METRICS_EXPORTER", "none")],
        ] {
            assert_eq!(by(off), Ok(None), "{off:?}");
        }
    }

    #[test]
    fn the_variables_say_how() {
        let http = Otlp { protocol: Protocol::HttpBinary, is_https: false, timeout: TIMEOUT };
        assert_eq!(by(&[(ENDPOINT, "http://c:4318")]), Ok(Some(http)));
        let said = [
            (METRICS_ENDPOINT, "https://c:4317"),
            (ENDPOINT, "http://other"),
            (METRICS_PROTOCOL, "grpc"),
            (PROTOCOL, "http/protobuf"),
            (TIMEOUT_MS, "1500"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "none"),
        ];
        let timeout = Duration::from_millis(1_500);
        let grpc = Otlp { protocol: Protocol::Grpc, is_https: true, timeout };
        assert_eq!(by(&said), Ok(Some(grpc)));
    }

    #[test]
    fn what_cannot_be_done_is_said_by_its_name() {
        let endpoint = (ENDPOINT, "http://c:4318");
        for (bad, said) in [
            ((METRICS_ENDPOINT, "c:4317"), "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: \"c:4317\""),
            ((PROTOCOL, "http/json"), "OTEL_EXPORTER_OTLP_PROTOCOL: \"http/json\""),
            ((TIMEOUT_MS, "10s"), "OTEL_EXPORTER_OTLP_TIMEOUT: \"10s\""),
            (("OTEL_METRICS_EXPORTER", "prometheus"), "OTEL_METRICS_EXPORTER: \"prometheus\""),
            (("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"), "OTEL_EXPORTER_OTLP_COMPRESSION: "),
            (("OTEL_EXPORTER_OTLP_CERTIFICATE", "ca.pem"), "OTEL_EXPORTER_OTLP_CERTIFICATE: "),
        ] {
            let error = by(&[endpoint, bad]).unwrap_err();
            assert!(error.starts_with(said), "{error}");
        }
    }
}
