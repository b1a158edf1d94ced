//! The numbers, pushed to an OpenTelemetry collector.
//!
//! Owns the bridge between the catalogue and OpenTelemetry's SDK: all but the histograms are observed when they are
//! sent.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use opentelemetry::metrics::{AsyncInstrument, Meter, MeterProvider};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{MetricExporter, WithExportConfig, WithHttpConfig, WithTonicConfig};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{SdkMeterProvider, Temporality};
use ultrasimple_core::Clock;

use super::connection::{Connection, METRICS, OtlpError, Way};
use super::reach::Reach;
use super::{Service, end_within, resource};
use crate::catalogue::{self, Instrument, Kind};
use crate::histogram::Histogram;
use crate::samples::{Sample, Samples, Source, Value};

/// Instruments are observed one after the other: for so long what was asked for the first serves all.
const ONE_MOMENT: Duration = Duration::from_millis(50);

/// Sends the numbers, every minute or as the environment says.
#[derive(Debug)]
pub struct Exporter(SdkMeterProvider);

/// What the environment says of the numbers, where it says that there is something to do.
#[derive(Debug)]
pub struct Otlp(Connection);

impl Otlp {
    /// What the environment says. `None`: nothing is to be exported.
    ///
    /// # Errors
    /// When it says something that cannot be done.
    pub fn wanted() -> Result<Option<Self>, OtlpError> {
        let connection = Connection::by(&METRICS, |name| std::env::var(name).ok())?;
        Ok(connection.map(Self))
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
        let reach = Reach::new("The numbers", Arc::clone(&clock));
        let exporter = Reporting { inner: exporter(&self.0)?, reach };
        let provider = SdkMeterProvider::builder()
            .with_resource(resource(service))
            .with_periodic_exporter(exporter)
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
}

fn exporter(connection: &Connection) -> Result<MetricExporter, OtlpError> {
    let builder = MetricExporter::builder();
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
struct Reporting {
    inner: MetricExporter,
    reach: Reach,
}

impl PushMetricExporter for Reporting {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        self.reach.tell(self.inner.export(metrics).await)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.inner.temporality()
    }
}

impl Exporter {
    /// Sends what there is once more, and ends.
    ///
    /// # Errors
    /// When that was not possible within `limit`.
    pub async fn end(self, limit: Duration) -> Result<(), String> {
        end_within(limit, move || self.0.shutdown()).await
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
