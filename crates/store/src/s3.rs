//! Buckets of S3 and of what speaks like it, through `aws-sdk-s3`.
//!
//! Owns every request: its deadline, its count, the key prefix, and what its answer means. Nothing is
//! retried here: the next cycle is the retry. Uploads in parts are in `upload`, the reading side in
//! `read` and `list`, the server's clock in `time`, the meaning of errors in `errors`.
//!
//! A write is confirmed twice: Content-MD5 makes the server refuse a body that was damaged on the way,
//! and the `ETag` of the answer must be the body's MD5 (with SSE-KMS and SSE-C, and in directory buckets,
//! it is something else, and only the former holds).

mod connect;
mod digest;
mod errors;
mod list;
mod options;
mod read;
mod source;
mod time;
mod upload;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::ServerSideEncryption;
use bytes::Bytes;
use futures::stream::BoxStream;
use ultrasimple_core::key::MAX_KEY_BYTES;
use ultrasimple_core::{ObjectKey, Timestamp};

use crate::counted::RequestKind;
use crate::{
    Body, ByteRange, Capabilities, Condition, ETag, ListedObject, Object, ObjectInfo,
    RequestCounters, Store, StoreError, Stored,
};
use digest::Md5Digest;
use errors::{Effect, Failure, store_error};
pub use options::{S3Options, Timeouts};

/// What objects are called to those who look at the bucket with other tools.
const CONTENT_TYPE: &str = "application/octet-stream";

/// A bucket, or the part of it under a prefix.
#[derive(Debug, Clone)]
pub struct S3Store {
    shared: Arc<Shared>,
}

/// What all requests of a store use.
#[derive(Debug)]
struct Shared {
    client: Client,
    bucket: String,
    /// With its trailing slash, or empty.
    prefix: String,
    location: String,
    endpoint: String,
    options: S3Options,
    put_if_absent: AtomicBool,
    put_if_matches: AtomicBool,
}

impl S3Store {
    /// A store for the bucket that `options` name. Nothing is sent to it yet; [`crate::probe()`] does.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] when an option cannot work, [`StoreError::Denied`] when there are no
    /// credentials.
    pub async fn connect(options: S3Options) -> Result<Self, StoreError> {
        options.check()?;
        let client = connect::client(&options).await?;
        let prefix = match options.prefix.as_str() {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        };
        let shared = Shared {
            client,
            bucket: options.bucket.clone(),
            prefix,
            location: options.location(),
            endpoint: options.endpoint(),
            options,
            put_if_absent: AtomicBool::new(true),
            put_if_matches: AtomicBool::new(true),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The most bytes that one streamed upload holds in memory: see [`S3Options::memory_per_stream`].
    pub fn memory_per_stream(&self) -> u64 {
        self.shared.options.memory_per_stream()
    }

    /// Where this store counts its requests.
    pub fn counters(&self) -> &Arc<RequestCounters> {
        &self.shared.options.counters
    }
}

impl Shared {
    /// Sends one request: counted, and with a deadline for `bytes` bytes of body.
    async fn send<T, E>(
        &self,
        kind: RequestKind,
        bytes: u64,
        request: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T, Failure<E>> {
        self.send_within(kind, self.options.timeouts.for_bytes(bytes), request).await
    }

    async fn send_within<T, E>(
        &self,
        kind: RequestKind,
        limit: Duration,
        request: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T, Failure<E>> {
        self.options.counters.count(kind);
        match tokio::time::timeout(limit, request).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(Failure::Sdk(Box::new(error))),
            Err(_) => Err(Failure::Deadline(limit)),
        }
    }

    /// The key as the server knows it. One that is too long is refused before anything is sent.
    fn full_key(&self, key: &ObjectKey) -> Result<String, StoreError> {
        let full = format!("{}{key}", self.prefix);
        if full.len() > MAX_KEY_BYTES {
            let bytes = full.len();
            return Err(StoreError::Invalid(format!(
                "the key {full:?} has {bytes} bytes with its prefix; S3 takes at most {MAX_KEY_BYTES}"
            )));
        }
        Ok(full)
    }

    /// A condition that the server would ignore is refused: it would be an overwrite.
    fn check_condition(&self, condition: &Condition) -> Result<(), StoreError> {
        let (honoured, header) = match condition {
            Condition::Absent => (&self.put_if_absent, "If-None-Match"),
            Condition::Matches(_) => (&self.put_if_matches, "If-Match"),
            Condition::Always => return Ok(()),
        };
        if honoured.load(Ordering::Relaxed) {
            return Ok(());
        }
        let endpoint = &self.endpoint;
        Err(StoreError::Invalid(format!("{endpoint} does not honour {header}: write without it")))
    }

    async fn put_single(
        &self,
        key: &str,
        body: Bytes,
        condition: &Condition,
    ) -> Result<Stored, StoreError> {
        let size = body.len() as u64;
        let digest = Md5Digest::of(&body).await;
        let (if_none_match, if_match) = headers(condition);
        let request = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(key)
            .content_type(CONTENT_TYPE)
            .content_md5(digest.base64())
            .set_if_none_match(if_none_match)
            .set_if_match(if_match)
            .body(ByteStream::from(body))
            .send();
        let answer = self
            .send(RequestKind::Put, size, request)
            .await
            .map_err(|failure| self.write_error(&format!("put {key}"), condition, failure))?;
        let hashed = Encryption {
            server: answer.server_side_encryption(),
            customer: answer.sse_customer_algorithm(),
        };
        let etag = self.confirmed(key, answer.e_tag(), &digest.hex(), &hashed)?;
        Ok(Stored { etag, size })
    }

    /// The tag of a write's answer, if it is the tag of what was sent.
    fn confirmed(
        &self,
        what: &str,
        etag: Option<&str>,
        expected: &str,
        encryption: &Encryption<'_>,
    ) -> Result<ETag, StoreError> {
        let Some(etag) = etag else {
            return Err(StoreError::Untrustworthy(format!(
                "{} confirmed {what} without an ETag",
                self.endpoint
            )));
        };
        let comparable = encryption.keeps_md5() && !self.bucket.ends_with("--x-s3");
        if comparable && digest::same_form(etag, expected) && !digest::same(etag, expected) {
            return Err(StoreError::Untrustworthy(format!(
                "{} confirmed {what} with the ETag {etag}, but what was sent has {expected}",
                self.endpoint
            )));
        }
        Ok(ETag(etag.into()))
    }

    /// The error of a conditional write. When there is nothing to match, AWS says 404 rather than 412.
    fn write_error<E>(&self, what: &str, condition: &Condition, failure: Failure<E>) -> StoreError
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let gone = matches!(condition, Condition::Matches(_))
            && failure.status() == Some(404)
            && failure.code() == Some("NoSuchKey");
        if gone {
            return StoreError::ConditionFailed;
        }
        store_error(self, what, Effect::Write, failure)
    }
}

/// How the server says it encrypted what it stored.
struct Encryption<'a> {
    server: Option<&'a ServerSideEncryption>,
    customer: Option<&'a str>,
}

impl Encryption<'_> {
    fn keeps_md5(&self) -> bool {
        self.customer.is_none() && matches!(self.server, None | Some(ServerSideEncryption::Aes256))
    }
}

/// `If-None-Match` and `If-Match`.
fn headers(condition: &Condition) -> (Option<String>, Option<String>) {
    match condition {
        Condition::Absent => (Some("*".to_owned()), None),
        Condition::Matches(etag) => (None, Some(etag.0.to_string())),
        Condition::Always => (None, None),
    }
}

#[async_trait]
impl Store for S3Store {
    fn location(&self) -> &str {
        &self.shared.location
    }

    fn max_key_bytes(&self) -> usize {
        MAX_KEY_BYTES.saturating_sub(self.shared.prefix.len())
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            put_if_absent: self.shared.put_if_absent.load(Ordering::Relaxed),
            put_if_matches: self.shared.put_if_matches.load(Ordering::Relaxed),
        }
    }

    fn learn(&self, found: Capabilities) {
        self.shared.put_if_absent.store(found.put_if_absent, Ordering::Relaxed);
        self.shared.put_if_matches.store(found.put_if_matches, Ordering::Relaxed);
    }

    async fn put(
        &self,
        key: &ObjectKey,
        body: Body,
        condition: Condition,
    ) -> Result<Stored, StoreError> {
        self.shared.check_condition(&condition)?;
        let key = self.shared.full_key(key)?;
        upload::put(&self.shared, key, body, condition).await
    }

    async fn get(&self, key: &ObjectKey, range: ByteRange) -> Result<Option<Object>, StoreError> {
        let key = self.shared.full_key(key)?;
        read::get(&self.shared, &key, range).await
    }

    async fn head(&self, key: &ObjectKey) -> Result<Option<ObjectInfo>, StoreError> {
        let key = self.shared.full_key(key)?;
        read::head(&self.shared, &key).await
    }

    fn list(
        &self,
        prefix: &str,
        start_after: Option<&str>,
    ) -> BoxStream<'_, Result<ListedObject, StoreError>> {
        list::list(&self.shared, prefix, start_after)
    }

    async fn delete(&self, keys: &[ObjectKey]) -> Result<Vec<(ObjectKey, StoreError)>, StoreError> {
        list::delete(&self.shared, keys).await
    }

    async fn time(&self) -> Result<Timestamp, StoreError> {
        time::time(&self.shared).await
    }
}
