//! Numbers and spans, pushed to an OpenTelemetry collector by OTLP, as the `OTEL_…` variables say.
//!
//! What is written nowhere is that nothing is exported: then there is no thread, no connection, and no cost.

mod connection;
mod metrics;
mod reach;
mod traces;

use std::fmt::Display;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::EnvResourceDetector;

pub use connection::OtlpError;
pub use metrics::{Exporter, Otlp};
pub use traces::{TraceExporter, Traces};

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

/// Runs `end`, which blocks, for no longer than `limit`.
async fn end_within<E: Display + Send + 'static>(
    limit: Duration,
    end: impl FnOnce() -> Result<(), E> + Send + 'static,
) -> Result<(), String> {
    let ended = tokio::task::spawn_blocking(end);
    let Ok(ended) = tokio::time::timeout(limit, ended).await else {
        return Err(format!("it took longer than {limit:?}"));
    };
    ended.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
}
