//! Reading objects, and asking about them.

use std::sync::Arc;

use aws_sdk_s3::primitives::{ByteStream, DateTime};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use ultrasimple_core::Timestamp;

use super::Shared;
use super::errors::{Effect, Failure, chain, store_error};
use crate::counted::RequestKind;
use crate::{ByteRange, ETag, Object, ObjectInfo, StoreError};

/// Reads an object or its end. `None` when there is none.
pub(super) async fn get(
    shared: &Arc<Shared>,
    key: &str,
    range: ByteRange,
) -> Result<Option<Object>, StoreError> {
    let what = format!("get {key}");
    let wanted = match range {
        ByteRange::Full => None,
        ByteRange::Last(0) => return nothing_of(shared, key).await,
        ByteRange::Last(bytes) => Some(bytes),
    };
    let request = shared.client.get_object().bucket(&shared.bucket).key(key);
    let request = request.set_range(wanted.map(|bytes| format!("bytes=-{bytes}"))).send();
    let answer = match shared.send(RequestKind::Get, 0, request).await {
        Ok(answer) => answer,
        Err(failure) if is_missing(&failure) => return Ok(None),
        // The end of an empty object.
        Err(failure) if failure.status() == Some(416) => return nothing_of(shared, key).await,
        Err(failure) => return Err(store_error(shared, &what, Effect::None, failure)),
    };
    let lies = |reason: &str| {
        let endpoint = &shared.endpoint;
        StoreError::Untrustworthy(format!("{what}: the answer of {endpoint} has {reason}"))
    };
    let length = answer.content_length().and_then(|length| u64::try_from(length).ok());
    let length = length.ok_or_else(|| lies("no length"))?;
    let (size, skip) = match (wanted, answer.content_range()) {
        (None, _) => (length, 0),
        (Some(_), Some(content_range)) => {
            let total = content_range.rsplit_once('/').and_then(|(_, total)| total.parse().ok());
            (total.ok_or_else(|| lies("no size in its Content-Range"))?, 0)
        }
        // A server that ignores ranges sends all of it.
        (Some(bytes), None) => (length, length.saturating_sub(bytes)),
    };
    let expected = wanted.unwrap_or(size).min(size);
    if length != expected + skip {
        return Err(lies(&format!("{length} bytes instead of {expected}")));
    }
    let info = info(shared, &what, answer.e_tag(), Some(size), answer.last_modified())?;
    let body = Reading { shared: Arc::clone(shared), what, body: answer.body, skip, left: length };
    Ok(Some(Object { info, body: body.into_stream() }))
}

/// An object with none of its bytes.
async fn nothing_of(shared: &Arc<Shared>, key: &str) -> Result<Option<Object>, StoreError> {
    let info = head(shared, key).await?;
    Ok(info.map(|info| Object { info, body: stream::empty().boxed() }))
}

/// A body on its way: what it must still bring, and what is not wanted of it.
struct Reading {
    shared: Arc<Shared>,
    what: String,
    body: ByteStream,
    skip: u64,
    left: u64,
}

impl Reading {
    fn into_stream(self) -> BoxStream<'static, Result<Bytes, StoreError>> {
        stream::try_unfold(self, |mut reading| async move {
            Ok(reading.next().await?.map(|bytes| (bytes, reading)))
        })
        .boxed()
    }

    async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        let idle = self.shared.options.timeouts.read_idle;
        loop {
            let next = tokio::time::timeout(idle, self.body.next()).await;
            let mut bytes = match next {
                Err(_) => {
                    return Err(self.broken(&format!("no more bytes for {idle:?}")));
                }
                Ok(Some(Err(error))) => return Err(self.broken(&chain(&error))),
                Ok(None) if self.left == 0 => return Ok(None),
                Ok(None) => {
                    let what = &self.what;
                    let left = self.left;
                    return Err(StoreError::Untrustworthy(format!(
                        "{what}: the body ended {left} bytes short of the announced length"
                    )));
                }
                Ok(Some(Ok(bytes))) => bytes,
            };
            let Some(left) = self.left.checked_sub(bytes.len() as u64) else {
                let what = &self.what;
                return Err(StoreError::Untrustworthy(format!(
                    "{what}: the body is longer than announced"
                )));
            };
            self.left = left;
            let skipped = self.skip.min(bytes.len() as u64);
            self.skip -= skipped;
            let skipped = usize::try_from(skipped).unwrap_or(usize::MAX).min(bytes.len());
            let wanted = bytes.split_off(skipped);
            if !wanted.is_empty() {
                return Ok(Some(wanted));
            }
        }
    }

    /// The connection was cut, or hangs. Nothing is wrong with the object.
    fn broken(&self, reason: &str) -> StoreError {
        let Self { what, left, .. } = self;
        StoreError::Unavailable(format!("{what}: broken off with {left} bytes to come: {reason}"))
    }
}

/// What the server says of an object. A missing bucket looks like a missing object here: the answer to a
/// HEAD has no body. The probe at start tells them apart.
pub(super) async fn head(shared: &Shared, key: &str) -> Result<Option<ObjectInfo>, StoreError> {
    let what = format!("head {key}");
    let request = shared.client.head_object().bucket(&shared.bucket).key(key).send();
    match shared.send(RequestKind::Head, 0, request).await {
        Ok(answer) => {
            let size = answer.content_length().and_then(|size| u64::try_from(size).ok());
            info(shared, &what, answer.e_tag(), size, answer.last_modified()).map(Some)
        }
        Err(failure) if is_missing(&failure) => Ok(None),
        Err(failure) => Err(store_error(shared, &what, Effect::None, failure)),
    }
}

/// A 404 that speaks of the key, or of nothing.
pub(super) fn is_missing<E: aws_sdk_s3::error::ProvideErrorMetadata>(failure: &Failure<E>) -> bool {
    failure.status() == Some(404) && failure.code() != Some("NoSuchBucket")
}

pub(super) fn info(
    shared: &Shared,
    what: &str,
    etag: Option<&str>,
    size: Option<u64>,
    modified: Option<&DateTime>,
) -> Result<ObjectInfo, StoreError> {
    let lacks = |field: &str| {
        let endpoint = &shared.endpoint;
        StoreError::Untrustworthy(format!("{what}: the answer of {endpoint} has no {field}"))
    };
    let etag = ETag(etag.ok_or_else(|| lacks("ETag"))?.into());
    let size = size.ok_or_else(|| lacks("size"))?;
    let modified = modified.and_then(timestamp).ok_or_else(|| lacks("modification time"))?;
    Ok(ObjectInfo { etag, size, modified })
}

pub(super) fn timestamp(time: &DateTime) -> Option<Timestamp> {
    let nanos = i32::try_from(time.subsec_nanos()).ok()?;
    Timestamp::new(time.secs(), nanos).ok()
}
