//! Writing a body: by one request up to a threshold, in parts above.
//!
//! An upload in parts becomes an object only by its completion, which carries the condition. Whatever
//! fails before leaves the key as it was; the upload is then aborted, and so it is when the caller stops
//! waiting ([`Upload`]'s `Drop`). What a crash of this process leaves behind, only the store can remove: a
//! lifecycle rule `AbortIncompleteMultipartUpload` is for that, and touches no object.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::oneshot;

use super::digest::Md5Digest;
use super::errors::{Effect, store_error};
use super::source::Source;
use super::{CONTENT_TYPE, Encryption, Shared, headers};
use crate::counted::RequestKind;
use crate::{Body, Condition, StoreError, Stored};

/// S3's limits of an upload in parts.
const MAX_PARTS: u64 = 10_000;
const MAX_PART: u64 = 5 * 1024 * 1024 * 1024;
/// As long as an upload has fewer parts, they do not grow.
const PARTS_BEFORE_GROWTH: u64 = 5_000;
/// Then they double each time so many have been sent, at most so often. With parts of 16 MiB that makes
/// room for 5.4 TiB; the largest object has 5.
const PARTS_PER_DOUBLING: u64 = 600;
const MAX_DOUBLINGS: u64 = 8;

/// Stores `body` under `key` (with its prefix).
pub(super) async fn put(
    shared: &Arc<Shared>,
    key: String,
    body: Body,
    condition: Condition,
) -> Result<Stored, StoreError> {
    let threshold = usize::try_from(shared.options.multipart_threshold).unwrap_or(usize::MAX);
    let mut source = match body {
        Body::Bytes(bytes) if bytes.len() <= threshold => {
            return shared.put_single(&key, bytes, &condition).await;
        }
        Body::Bytes(bytes) => Source::whole(bytes),
        Body::Chunks(chunks) => {
            let mut source = Source::stream(chunks, shared.options.timeouts.chunk);
            source.fill(threshold.saturating_add(1)).await?;
            if source.all_within(threshold) {
                let bytes = source.take(threshold);
                return shared.put_single(&key, bytes, &condition).await;
            }
            source
        }
    };
    let upload = Upload::create(shared, key).await?;
    match upload.send_all(&mut source).await {
        Ok(parts) => upload.complete(parts, &condition).await,
        Err(error) => {
            upload.abort().await;
            Err(not_done(error))
        }
    }
}

/// What fails before the completion is certainly not done, however a part fared.
fn not_done(error: StoreError) -> StoreError {
    match error {
        StoreError::UnknownOutcome(reason) => StoreError::Unavailable(reason),
        error => error,
    }
}

/// How large the part `number` (from 1) of a body is to be.
fn part_size(base: u64, number: u64, total: Option<u64>) -> u64 {
    if let Some(total) = total {
        return base.max(total.div_ceil(MAX_PARTS)).min(MAX_PART);
    }
    let doublings = match number.checked_sub(PARTS_BEFORE_GROWTH + 1) {
        None => 0,
        Some(beyond) => (beyond / PARTS_PER_DOUBLING + 1).min(MAX_DOUBLINGS),
    };
    (base << doublings).min(MAX_PART)
}

/// A part that the server has confirmed.
struct SentPart {
    etag: String,
    digest: Md5Digest,
    size: u64,
}

/// An upload in parts that has been created, and must be completed or aborted.
struct Upload {
    shared: Arc<Shared>,
    key: String,
    id: String,
    open: bool,
}

impl Upload {
    /// Creates an upload. Should the caller stop waiting while the server creates it, it is aborted.
    async fn create(shared: &Arc<Shared>, key: String) -> Result<Self, StoreError> {
        let (give, taken) = oneshot::channel();
        let shared = Arc::clone(shared);
        tokio::spawn(async move {
            let created = Self::create_now(shared, key).await;
            // When nobody takes it, it is dropped here, which aborts it.
            drop(give.send(created));
        });
        match taken.await {
            Ok(created) => created.map_err(not_done),
            Err(_) => Err(StoreError::Unavailable("the runtime is going down".to_owned())),
        }
    }

    async fn create_now(shared: Arc<Shared>, key: String) -> Result<Self, StoreError> {
        let what = format!("begin the upload of {key}");
        let request = shared
            .client
            .create_multipart_upload()
            .bucket(&shared.bucket)
            .key(&key)
            .content_type(CONTENT_TYPE)
            .send();
        let answer = shared
            .send(RequestKind::Multipart, 0, request)
            .await
            .map_err(|failure| store_error(&shared, &what, Effect::Write, failure))?;
        let Some(id) = answer.upload_id().map(str::to_owned) else {
            return Err(StoreError::Untrustworthy(format!("{what}: the answer has no upload id")));
        };
        Ok(Self { shared, key, id, open: true })
    }

    /// Sends the whole body, a few parts at a time.
    async fn send_all(&self, source: &mut Source) -> Result<BTreeMap<i32, SentPart>, StoreError> {
        let options = &self.shared.options;
        let mut sent = BTreeMap::new();
        let mut sending = FuturesUnordered::new();
        let mut number: u64 = 0;
        loop {
            let size = part_size(options.part_size, number + 1, source.total);
            let size = usize::try_from(size).unwrap_or(usize::MAX);
            source.fill(size).await?;
            if source.is_empty() {
                break;
            }
            number += 1;
            if number > MAX_PARTS {
                let key = &self.key;
                return Err(StoreError::Invalid(format!(
                    "{key} is larger than {MAX_PARTS} parts hold: raise the part size"
                )));
            }
            let number = i32::try_from(number).unwrap_or(i32::MAX);
            sending.push(self.send_part(number, source.take(size)));
            while sending.len() >= options.parts_in_flight {
                // Never empty here, so never `None`.
                let Some(part) = sending.next().await else {
                    break;
                };
                let (number, part) = part?;
                sent.insert(number, part);
            }
        }
        while let Some(part) = sending.next().await {
            let (number, part) = part?;
            sent.insert(number, part);
        }
        Ok(sent)
    }

    async fn send_part(&self, number: i32, body: Bytes) -> Result<(i32, SentPart), StoreError> {
        let Self { shared, key, id, .. } = self;
        let what = format!("upload part {number} of {key}");
        let size = body.len() as u64;
        let digest = Md5Digest::of(&body).await;
        let request = shared
            .client
            .upload_part()
            .bucket(&shared.bucket)
            .key(key)
            .upload_id(id)
            .part_number(number)
            .content_md5(digest.base64())
            .body(ByteStream::from(body))
            .send();
        let answer = shared
            .send(RequestKind::Multipart, size, request)
            .await
            .map_err(|failure| store_error(shared, &what, Effect::Write, failure))?;
        let hashed = Encryption {
            server: answer.server_side_encryption(),
            customer: answer.sse_customer_algorithm(),
        };
        let etag = shared.confirmed(&what, answer.e_tag(), &digest.hex(), &hashed)?;
        Ok((number, SentPart { etag: etag.0.into(), digest, size }))
    }

    /// Makes the parts an object, if the condition holds. Otherwise the upload is gone, too.
    async fn complete(
        self,
        parts: BTreeMap<i32, SentPart>,
        condition: &Condition,
    ) -> Result<Stored, StoreError> {
        let completed = self.try_complete(parts, condition).await;
        match &completed {
            Ok(_) => self.close(),
            Err(_) => self.abort().await,
        }
        completed
    }

    async fn try_complete(
        &self,
        parts: BTreeMap<i32, SentPart>,
        condition: &Condition,
    ) -> Result<Stored, StoreError> {
        let Self { shared, key, id, .. } = self;
        let what = format!("complete the upload of {key}");
        let size = parts.values().map(|part| part.size).sum();
        let digests: Vec<Md5Digest> = parts.values().map(|part| part.digest).collect();
        let expected = Md5Digest::of_parts(&digests);
        let parts = parts.into_iter().map(|(number, part)| {
            CompletedPart::builder().part_number(number).e_tag(part.etag).build()
        });
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts.collect())).build();
        let (if_none_match, if_match) = headers(condition);
        let request = shared
            .client
            .complete_multipart_upload()
            .bucket(&shared.bucket)
            .key(key)
            .upload_id(id)
            .multipart_upload(parts)
            .set_if_none_match(if_none_match)
            .set_if_match(if_match)
            .send();
        // The server may have to put the parts together: as long as it would take to send them.
        let answer = shared
            .send(RequestKind::Multipart, size, request)
            .await
            .map_err(|failure| shared.write_error(&what, condition, failure))?;
        let hashed = Encryption { server: answer.server_side_encryption(), customer: None };
        let etag = shared.confirmed(&what, answer.e_tag(), &expected, &hashed)?;
        Ok(Stored { etag, size })
    }

    fn close(mut self) {
        self.open = false;
    }

    /// Removes the parts, within a limit. What it cannot remove is logged.
    async fn abort(mut self) {
        self.open = false;
        abort(&self.shared, &self.key, &self.id).await;
    }
}

impl Drop for Upload {
    /// The caller has stopped waiting: aborts in a task of its own.
    fn drop(&mut self) {
        if !self.open {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let shared = Arc::clone(&self.shared);
        let (key, id) = (std::mem::take(&mut self.key), std::mem::take(&mut self.id));
        runtime.spawn(async move { abort(&shared, &key, &id).await });
    }
}

async fn abort(shared: &Shared, key: &str, id: &str) {
    let request =
        shared.client.abort_multipart_upload().bucket(&shared.bucket).key(key).upload_id(id).send();
    let limit = shared.options.timeouts.abort;
    let aborted = shared.send_within(RequestKind::Delete, limit, request).await;
    if let Err(failure) = aborted {
        // It was completed, or has been aborted already.
        if failure.status() == Some(404) {
            return;
        }
        let what = format!("abort the upload of {key}");
        let error = store_error(shared, &what, Effect::Write, failure);
        tracing::warn!(key, upload = id, %error, "the parts of an upload are left in the bucket");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;
    const TIB: u64 = 1024 * 1024 * MIB;

    #[test]
    fn ten_thousand_parts_hold_the_largest_object() {
        let streamed: u64 = (1..=MAX_PARTS).map(|number| part_size(16 * MIB, number, None)).sum();
        assert!(streamed >= 5 * TIB, "{streamed}");
        let whole = part_size(16 * MIB, 1, Some(5 * TIB));
        assert!(whole * MAX_PARTS >= 5 * TIB && whole <= MAX_PART, "{whole}");
    }

    #[test]
    fn parts_grow_only_when_they_must() {
        let sizes: Vec<u64> = (1..=MAX_PARTS).map(|n| part_size(16 * MIB, n, None)).collect();
        assert!(sizes[..5_000].iter().all(|size| *size == 16 * MIB));
        assert!(sizes.is_sorted() && sizes[9_999] == 4096 * MIB);
        assert_eq!(part_size(16 * MIB, 1, Some(100 * MIB)), 16 * MIB);
        assert!(part_size(5 * 1024 * MIB, 9_999, None) <= MAX_PART);
    }
}
