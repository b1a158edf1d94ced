//! OTLP over HTTP goes through this: hyper, with the TLS that the store has.
//!
//! The exporter asks from a thread of its own, outside the runtime; the requests are made inside.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use tokio::runtime::Handle;

/// Of an answer that says little.
const ANSWER_BYTES: usize = 64 * 1_024;

#[derive(Debug)]
pub(crate) struct Hyper {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    timeout: Duration,
    runtime: Handle,
}

impl Hyper {
    /// A client whose requests may take so long each. To be called within the runtime.
    ///
    /// # Errors
    /// When the system's certificates cannot be read.
    pub(crate) fn new(timeout: Duration) -> std::io::Result<Self> {
        let provider = rustls::crypto::ring::default_provider();
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(provider)?
            .https_or_http()
            .enable_http1()
            .build();
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { client, timeout, runtime: Handle::current() })
    }
}

#[async_trait]
impl HttpClient for Hyper {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let asked = self.client.request(request.map(Full::new));
        let answered = async move {
            let (parts, body) = asked.await?.into_parts();
            let body = Limited::new(body, ANSWER_BYTES).collect().await?.to_bytes();
            Ok::<_, HttpError>(Response::from_parts(parts, body))
        };
        let timeout = self.timeout;
        let timed = async move { tokio::time::timeout(timeout, answered).await? };
        let answer = self.runtime.spawn(timed).await?;
        // The exporter says only that there was an error.
        answer.inspect_err(|error| {
            tracing::debug!(%error, "The collector was not reached: {error:?}");
        })
    }
}
