//! How to reach the collector, as the `OTEL_…` variables say.
//!
//! Each signal has variables of its own, which go before those that are for all. What cannot be honoured is said by the
//! variable's name.

use std::fmt::Display;
use std::time::Duration;

use opentelemetry_otlp::Protocol;
use opentelemetry_otlp::tonic_types::transport::{Certificate, ClientTlsConfig};

use crate::http_client::Hyper;

/// What OpenTelemetry says a request may take where nobody says anything.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A setting that cannot be honoured.
#[derive(Debug, thiserror::Error)]
#[error("{variable}: {reason}")]
pub struct OtlpError {
    /// Which.
    pub variable: &'static str,
    /// What is wrong, and what would be right.
    pub reason: String,
}

pub(super) fn wrong(variable: &'static str, reason: &dyn Display) -> OtlpError {
    OtlpError { variable, reason: reason.to_string() }
}

/// What is sent, by the names of its variables.
#[derive(Debug)]
pub(super) struct Signal {
    /// `otlp` or `none`.
    exporter: &'static str,
    endpoint: [&'static str; 2],
    protocol: [&'static str; 2],
    timeout: [&'static str; 2],
    certificate: [&'static str; 2],
    /// What the standard has, and this does not: better said than ignored.
    not_here: [&'static str; 6],
}

macro_rules! signal {
    ($name:literal) => {
        Signal {
            exporter: concat!("OTEL_", $name, "_EXPORTER"),
            endpoint: signal!($name, "ENDPOINT"),
            protocol: signal!($name, "PROTOCOL"),
            timeout: signal!($name, "TIMEOUT"),
            certificate: signal!($name, "CERTIFICATE"),
            not_here: [
                concat!("OTEL_EXPORTER_OTLP_", $name, "_CLIENT_CERTIFICATE"),
                "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
                concat!("OTEL_EXPORTER_OTLP_", $name, "_CLIENT_KEY"),
                "OTEL_EXPORTER_OTLP_CLIENT_KEY",
                concat!("OTEL_EXPORTER_OTLP_", $name, "_COMPRESSION"),
                "OTEL_EXPORTER_OTLP_COMPRESSION",
            ],
        }
    };
    ($name:literal, $what:literal) => {
        [concat!("OTEL_EXPORTER_OTLP_", $name, "_", $what), concat!("OTEL_EXPORTER_OTLP_", $what)]
    };
}

pub(super) static METRICS: Signal = signal!("METRICS");
pub(super) static TRACES: Signal = signal!("TRACES");

/// How to reach the collector.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Connection {
    pub(super) protocol: Protocol,
    pub(super) timeout: Duration,
    endpoint: &'static str,
    is_https: bool,
    /// Whom to trust instead of whom the system trusts.
    authorities: Option<Authorities>,
}

/// Certificates, as PEM.
#[derive(Debug, PartialEq, Eq)]
struct Authorities {
    variable: &'static str,
    pem: Vec<u8>,
}

/// What requests go through.
pub(super) enum Way {
    Grpc(Option<Box<ClientTlsConfig>>),
    Http(Box<Hyper>),
}

impl Connection {
    /// What the environment says. `None`: nothing of this signal is to be exported.
    pub(super) fn by(
        signal: &Signal,
        variable: impl Fn(&'static str) -> Option<String>,
    ) -> Result<Option<Self>, OtlpError> {
        let variable = |name| variable(name).filter(|value| !value.trim().is_empty());
        let first = |names: [&'static str; 2]| {
            names.into_iter().find_map(|name| Some((name, variable(name)?)))
        };
        let is_off =
            variable("OTEL_SDK_DISABLED").is_some_and(|word| word.eq_ignore_ascii_case("true"));
        let Some((endpoint, address)) = first(signal.endpoint) else { return Ok(None) };
        match variable(signal.exporter).as_deref() {
            _ if is_off => return Ok(None),
            Some("none") => return Ok(None),
            None | Some("otlp") => {}
            Some(other) => {
                return Err(wrong(signal.exporter, &format!("{other:?}: it must be otlp or none")));
            }
        }
        let scheme = address.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
        let is_https = match scheme.as_deref() {
            Some("http") => false,
            Some("https") => true,
            _ => {
                let reason = format!("{address:?}: it must be like http://collector:4318");
                return Err(wrong(endpoint, &reason));
            }
        };
        let protocol = match first(signal.protocol) {
            None => Protocol::HttpBinary,
            Some((_, word)) if word == "http/protobuf" => Protocol::HttpBinary,
            Some((_, word)) if word == "grpc" => Protocol::Grpc,
            Some((name, word)) => {
                return Err(wrong(name, &format!("{word:?}: it must be grpc or http/protobuf")));
            }
        };
        let timeout = match first(signal.timeout) {
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
        let mut not_here = signal.not_here.into_iter();
        if let Some(name) = not_here.find(|name| variable(name).is_some_and(|word| word != "none"))
        {
            return Err(wrong(name, &"this cannot be set here: send to a collector on this host"));
        }
        let authorities = first(signal.certificate).map(|(variable, path)| {
            let pem = std::fs::read(&path);
            let pem = pem.map_err(|error| wrong(variable, &format!("cannot read {path}: {error}")));
            Ok(Authorities { variable, pem: pem? })
        });
        let authorities = authorities.transpose()?;
        Ok(Some(Self { protocol, timeout, endpoint, is_https, authorities }))
    }

    /// To be called within the runtime.
    pub(super) fn way(&self) -> Result<Way, OtlpError> {
        let authorities = self.authorities.as_ref();
        if self.protocol == Protocol::Grpc {
            let tls = self.is_https.then(|| match authorities {
                Some(it) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&it.pem)),
                None => ClientTlsConfig::new().with_enabled_roots(),
            });
            return Ok(Way::Grpc(tls.map(Box::new)));
        }
        let client = Hyper::new(self.timeout, authorities.map(|it| &it.pem[..]));
        let client = client
            .map_err(|error| wrong(authorities.map_or(self.endpoint, |it| it.variable), &error));
        client.map(|client| Way::Http(Box::new(client)))
    }

    /// The endpoint is no good.
    pub(super) fn wrong(&self, reason: &dyn Display) -> OtlpError {
        wrong(self.endpoint, reason)
    }
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
