//! How to reach a bucket, and within which limits: raw in, checked by [`S3Options::check`].

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::{RequestCounters, StoreError};

const MIB: u64 = 1024 * 1024;
/// AWS, and SeaweedFS, refuse smaller parts (except the last).
const MIN_PART: u64 = 5 * MIB;
/// No S3 server takes a larger single PUT or part.
const MAX_PUT: u64 = 5 * 1024 * MIB;

/// Which bucket, where, as whom, and within which limits. Fill in what differs from
/// [`S3Options::default`].
#[derive(Clone)]
pub struct S3Options {
    /// The bucket.
    pub bucket: String,
    /// What all keys begin with: no leading or trailing slash; may be empty.
    pub prefix: String,
    /// The region that requests are signed for. Default: `us-east-1`.
    pub region: String,
    /// The server, as `https://host:port`; AWS when there is none.
    pub endpoint_url: Option<String>,
    /// With `secret_key`: fixed credentials. Without both: the SDK's chain (environment, profile,
    /// web identity, container, instance), refreshed before they expire.
    pub access_key: Option<String>,
    /// See `access_key`.
    pub secret_key: Option<String>,
    /// `endpoint/bucket/key` instead of `bucket.endpoint/key`. Default: with an `endpoint_url`.
    pub force_path_style: Option<bool>,
    /// Bodies larger than this, in bytes, are uploaded in parts. A streamed body is gathered up to here,
    /// because one PUT is cheaper than many parts. Default: 64 MiB; at most 5 GiB.
    pub multipart_threshold: u64,
    /// Bytes of a part, until the body is so large that 10,000 of them do not suffice; then they grow.
    /// Default: 16 MiB; 5 MiB to 5 GiB.
    pub part_size: u64,
    /// Parts of one upload that are sent at the same time. Default: 2.
    pub parts_in_flight: usize,
    /// Idle connections that are kept for the next requests. Default: 128.
    pub idle_connections: usize,
    /// How long to wait for what.
    pub timeouts: Timeouts,
    /// Certificates to trust besides the system's, as a PEM file. Default: what `AWS_CA_BUNDLE` names.
    /// (The system's are those of `SSL_CERT_FILE` and `SSL_CERT_DIR`, where these are set.)
    pub ca_bundle: Option<PathBuf>,
    /// Where requests are counted.
    pub counters: Arc<RequestCounters>,
}

/// How long to wait for what. Nothing waits without limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection, with its TLS handshake. Default: 5 s.
    pub connect: Duration,
    /// For a request and its answer, apart from the time that its body takes. Default: 30 s.
    pub request: Duration,
    /// A body gets so much longer as it takes at this rate, in bytes a second. Default: 256 KiB/s.
    pub min_rate: u64,
    /// For the next bytes of an object that is read. Default: 30 s.
    pub read_idle: Duration,
    /// For the next chunk of a streamed body from its producer. Default: 5 min.
    pub chunk: Duration,
    /// For the abort of a multipart upload. Default: 10 s.
    pub abort: Duration,
}

impl Timeouts {
    /// The deadline of a request with a body of `bytes` bytes, sent or received.
    pub fn for_bytes(&self, bytes: u64) -> Duration {
        self.request + Duration::from_secs(bytes / self.min_rate.max(1))
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            request: Duration::from_secs(30),
            min_rate: 256 * 1024,
            read_idle: Duration::from_secs(30),
            chunk: Duration::from_mins(5),
            abort: Duration::from_secs(10),
        }
    }
}

impl Default for S3Options {
    fn default() -> Self {
        Self {
            bucket: String::new(),
            prefix: String::new(),
            region: "us-east-1".to_owned(),
            endpoint_url: None,
            access_key: None,
            secret_key: None,
            force_path_style: None,
            multipart_threshold: 64 * MIB,
            part_size: 16 * MIB,
            parts_in_flight: 2,
            idle_connections: 128,
            timeouts: Timeouts::default(),
            ca_bundle: None,
            counters: Arc::default(),
        }
    }
}

impl S3Options {
    /// The most bytes that one streamed upload holds in memory, besides what waits in its channel. Up to
    /// 5,000 parts, that is, 78 GiB with the default part size; beyond, parts grow with the object.
    pub fn memory_per_stream(&self) -> u64 {
        let in_flight = u64::try_from(self.parts_in_flight).unwrap_or(u64::MAX);
        self.multipart_threshold.max(self.part_size) + self.part_size.saturating_mul(in_flight)
    }

    /// Refuses what cannot work.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        let refuse = |reason: String| Err(StoreError::Invalid(reason));
        if self.bucket.is_empty() {
            return refuse("no bucket is given: set -bucket".to_owned());
        }
        match (&self.access_key, &self.secret_key) {
            (Some(_), None) => {
                return refuse(
                    "-access-key is set without -secret-key: set both or none".to_owned(),
                );
            }
            (None, Some(_)) => {
                return refuse(
                    "-secret-key is set without -access-key: set both or none".to_owned(),
                );
            }
            (Some(key), _) | (_, Some(key)) if key.is_empty() => {
                return refuse("-access-key or -secret-key is empty: set both or none".to_owned());
            }
            _ => {}
        }
        if self.region.is_empty() {
            return refuse("-region is empty: us-east-1 is right for most servers".to_owned());
        }
        if let Some(url) = &self.endpoint_url {
            let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
            let Some(host) = host else {
                return refuse(format!("-endpoint-url {url:?} is not http://HOST or https://HOST"));
            };
            let (host, path) = host.split_once('/').unwrap_or((host, ""));
            if host.is_empty() || host.contains(['@', ' ', '?', '#']) || path.contains(['?', '#']) {
                return refuse(format!(
                    "-endpoint-url {url:?} is not an address: https://HOST:PORT is right"
                ));
            }
        }
        if !(MIN_PART..=MAX_PUT).contains(&self.part_size) {
            let bytes = self.part_size;
            return refuse(format!("a part size of {bytes} bytes is not between 5 MiB and 5 GiB"));
        }
        if self.multipart_threshold > MAX_PUT {
            return refuse(
                "the multipart threshold is above 5 GiB, the largest single PUT".to_owned(),
            );
        }
        if self.parts_in_flight == 0 {
            return refuse("no part may be in flight: at least 1 is needed".to_owned());
        }
        Ok(())
    }

    pub(super) fn location(&self) -> String {
        crate::Location::S3 { bucket: self.bucket.clone(), prefix: self.prefix.clone() }.to_string()
    }

    /// The server, for people.
    pub(super) fn endpoint(&self) -> String {
        match &self.endpoint_url {
            Some(url) => url.clone(),
            None => format!("AWS ({})", self.region),
        }
    }
}

impl fmt::Debug for S3Options {
    /// Without the secret key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Options")
            .field("location", &self.location())
            .field("endpoint", &self.endpoint())
            .field("access_key", &self.access_key)
            .field("timeouts", &self.timeouts)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_work_is_refused_by_the_flags_name() {
        let good = S3Options { bucket: "bucket".into(), ..S3Options::default() };
        assert!(good.check().is_ok());
        let cases = [
            (S3Options { bucket: String::new(), ..good.clone() }, "-bucket"),
            (S3Options { access_key: Some("a".into()), ..good.clone() }, "-secret-key"),
            (S3Options { secret_key: Some("s".into()), ..good.clone() }, "-access-key"),
            (S3Options { region: String::new(), ..good.clone() }, "-region"),
            (S3Options { endpoint_url: Some("host:9000".into()), ..good.clone() }, "http://HOST"),
            (
                S3Options { endpoint_url: Some("http://".into()), ..good.clone() },
                "https://HOST:PORT",
            ),
            (S3Options { part_size: 1024, ..good.clone() }, "5 MiB"),
            (S3Options { multipart_threshold: MAX_PUT + 1, ..good.clone() }, "5 GiB"),
            (S3Options { parts_in_flight: 0, ..good.clone() }, "at least 1"),
        ];
        for (options, named) in cases {
            let error = options.check().unwrap_err();
            assert!(matches!(error, StoreError::Invalid(_)), "{error}");
            assert!(error.to_string().contains(named), "{error}");
        }
    }

    #[test]
    fn the_secret_is_not_shown() {
        let options = S3Options {
            access_key: Some("key".into()),
            secret_key: Some("hush".into()),
            ..S3Options::default()
        };
        assert!(!format!("{options:?}").contains("hush"));
    }

    #[test]
    fn a_deadline_grows_with_the_body() {
        let timeouts = Timeouts { min_rate: 1_000, ..Timeouts::default() };
        assert_eq!(timeouts.for_bytes(0), Duration::from_secs(30));
        assert_eq!(timeouts.for_bytes(60_000), Duration::from_secs(90));
    }
}
