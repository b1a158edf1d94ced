//! OTLP over HTTP goes through this: hyper, with the TLS that the store has.
//!
//! The exporter asks from a thread of its own, outside the runtime; the requests are made inside.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
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
    /// A client whose requests may take so long each. It trusts the `authorities` (PEM) alone, or else whom the system
    /// trusts. To be called within the runtime.
    ///
    /// # Errors
    /// When there are no certificates, or they cannot be read.
    pub(crate) fn new(timeout: Duration, authorities: Option<&[u8]>) -> io::Result<Self> {
        let provider = rustls::crypto::ring::default_provider();
        let builder = HttpsConnectorBuilder::new();
        let builder = match authorities {
            Some(pem) => builder.with_tls_config(trusting(provider, pem)?),
            None => builder.with_provider_and_native_roots(provider)?,
        };
        let connector = builder.https_or_http().enable_http1().build();
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { client, timeout, runtime: Handle::current() })
    }
}

fn trusting(provider: CryptoProvider, pem: &[u8]) -> io::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(io::Error::other)?;
        roots.add(certificate).map_err(io::Error::other)?;
    }
    if roots.is_empty() {
        return Err(io::Error::other("there is no certificate in it (PEM)"));
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(provider));
    let builder = builder.with_safe_default_protocol_versions().map_err(io::Error::other)?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener};
    use std::thread::JoinHandle;

    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    use rustls::{ServerConfig, ServerConnection, StreamOwned};

    /// A collector with a certificate that nobody else trusts, which answers one request. Its certificate as PEM.
    fn collector() -> (SocketAddr, String, JoinHandle<io::Result<()>>) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let serve = move || {
            let (socket, _) = listener.accept()?;
            let connection = ServerConnection::new(Arc::new(config)).map_err(io::Error::other)?;
            let mut stream = StreamOwned::new(connection, socket);
            let (mut asked, mut bytes) = (Vec::new(), [0; 1_024]);
            while !asked.ends_with(b"spans") {
                let count = stream.read(&mut bytes)?;
                asked.extend_from_slice(&bytes[..count]);
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nthey")
        };
        (address, made.cert.pem(), std::thread::spawn(serve))
    }

    async fn ask(authorities: &str, port: u16) -> Result<Response<Bytes>, HttpError> {
        let client = Hyper::new(Duration::from_secs(30), Some(authorities.as_bytes())).unwrap();
        let request = Request::post(format!("https://localhost:{port}/v1/traces"));
        client.send_bytes(request.body(Bytes::from_static(b"spans")).unwrap()).await
    }

    #[tokio::test]
    async fn the_authorities_that_are_named_are_trusted_and_no_others() {
        let (address, pem, served) = collector();
        let answer = ask(&pem, address.port()).await.unwrap();
        assert_eq!((answer.status().as_u16(), &answer.body()[..]), (200, &b"they"[..]));
        served.join().unwrap().unwrap();

        let (address, _, served) = collector();
        assert!(ask(&pem, address.port()).await.is_err(), "another's certificate");
        assert!(served.join().unwrap().is_err());
    }
}
