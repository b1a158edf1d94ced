//! Builds the SDK's client: what it trusts, as whom it signs, and everything it does by default that a
//! daemon of many small uploads does not want.

use std::path::PathBuf;

use aws_config::BehaviorVersion;
use aws_credential_types::Credentials;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    Builder, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    SharedCredentialsProvider, SharedHttpClient, StalledStreamProtectionConfig,
};
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::S3Options;
use crate::StoreError;

/// Longer than a cycle, so that connections serve the next one; shorter than most servers keep theirs.
const POOL_IDLE: std::time::Duration = std::time::Duration::from_secs(20);

/// A client for `options`. Sends nothing, except that the credentials chain may look for its source.
pub(super) async fn client(options: &S3Options) -> Result<Client, StoreError> {
    // Without TLS there is no need for certificates, which a small container may lack.
    let plain = options.endpoint_url.as_deref().is_some_and(|url| url.starts_with("http://"));
    let http = if plain { pool(options).build_http() } else { https_client(options)? };
    let credentials = credentials(options, plain, &http).await?;

    let timeouts = TimeoutConfig::builder()
        .connect_timeout(options.timeouts.connect)
        // All others are deadlines of whole calls: see `Shared::send`.
        .build();
    let mut config = Builder::new()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(options.region.clone()))
        .http_client(http)
        .timeout_config(timeouts)
        // The next cycle is the retry.
        .retry_config(RetryConfig::disabled())
        // The deadlines do this; the SDK's way costs a task and a timer per body.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        // A trailing checksum by default is what several servers reject or store as content.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .force_path_style(options.force_path_style.unwrap_or(options.endpoint_url.is_some()))
        .credentials_provider(credentials);
    if let Some(url) = &options.endpoint_url {
        config = config.endpoint_url(url);
    }
    Ok(Client::from_conf(config.build()))
}

fn pool(options: &S3Options) -> aws_smithy_http_client::Builder {
    aws_smithy_http_client::Builder::new()
        .pool_idle_timeout(POOL_IDLE)
        .pool_max_idle_per_host(options.idle_connections)
}

async fn credentials(
    options: &S3Options,
    plain: bool,
    http: &SharedHttpClient,
) -> Result<SharedCredentialsProvider, StoreError> {
    if let (Some(access), Some(secret)) = (&options.access_key, &options.secret_key) {
        let credentials = Credentials::new(access, secret, None, None, "ultrasimple");
        return Ok(SharedCredentialsProvider::new(credentials));
    }
    // The sources of credentials are not where the bucket is.
    let http = if plain { https_client(options)? } else { http.clone() };
    let loaded = aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new(options.region.clone()))
        .http_client(http)
        .load()
        .await;
    loaded.credentials_provider().ok_or_else(|| {
        StoreError::Denied("no credentials: set -access-key and -secret-key".to_owned())
    })
}

fn https_client(options: &S3Options) -> Result<SharedHttpClient, StoreError> {
    let mut trust = TrustStore::default();
    let variable = std::env::var_os("AWS_CA_BUNDLE").filter(|path| !path.is_empty());
    if let Some(path) = options.ca_bundle.clone().or(variable.map(PathBuf::from)) {
        trust = trust.with_pem_certificate(read_certificates(&path)?);
    }
    let context = TlsContext::builder().with_trust_store(trust).build();
    let context = context.map_err(|error| StoreError::Invalid(format!("TLS: {error}")))?;
    Ok(pool(options)
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .tls_context(context)
        .build_https())
}

/// Reads and checks a PEM file: the SDK would panic later on one it cannot use.
fn read_certificates(path: &PathBuf) -> Result<Vec<u8>, StoreError> {
    let refuse = |reason: String| {
        let path = path.display();
        StoreError::Invalid(format!("the certificates in {path} (AWS_CA_BUNDLE): {reason}"))
    };
    let pem = std::fs::read(path).map_err(|error| refuse(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| refuse(format!("not PEM: {error}")))?;
        roots.add(certificate).map_err(|error| refuse(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(refuse("the file contains no certificate".to_owned()));
    }
    Ok(pem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_that_cannot_be_used_is_refused_at_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let error = read_certificates(&path).unwrap_err();
        assert!(error.to_string().contains("AWS_CA_BUNDLE"), "{error}");
        for (content, reason) in [
            ("", "no certificate"),
            ("-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n", "not PEM"),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", ""),
        ] {
            std::fs::write(&path, content).unwrap();
            let error = read_certificates(&path).unwrap_err();
            assert!(error.to_string().contains(reason), "{error}");
        }
    }
}
