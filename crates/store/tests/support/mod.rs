//! What the tests of the stores share.
#![allow(dead_code, reason = "each test binary uses some of it")]

use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use tokio::sync::mpsc;
use ultrasimple_core::ObjectKey;
use ultrasimple_store::{
    Body, ByteRange, Chunk, Condition, ListedObject, Object, S3Options, S3Store, Store, StoreError,
    Stored,
};
use ultrasimple_testkit::seaweed::{ADMIN, Login, SeaweedFs};

/// As small as servers allow, so that tests reach the limits with little.
pub const PART: usize = 5 * 1024 * 1024;
pub const THRESHOLD: usize = 6 * 1024 * 1024;

pub fn key(text: &str) -> ObjectKey {
    ObjectKey::new(text).unwrap()
}

/// Bytes that differ by their seed and do not repeat.
pub fn noise(seed: u64, length: usize) -> Bytes {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes.into()
}

pub async fn put(
    store: &dyn Store,
    name: &str,
    body: &Bytes,
    condition: Condition,
) -> Result<Stored, StoreError> {
    store.put(&key(name), Body::Bytes(body.clone()), condition).await
}

pub async fn read(object: Object) -> Result<Bytes, StoreError> {
    Ok(object.body.try_collect::<Vec<_>>().await?.concat().into())
}

/// The content of an object that is there.
pub async fn content(store: &dyn Store, name: &str) -> Bytes {
    let object = store.get(&key(name), ByteRange::Full).await.unwrap();
    read(object.unwrap_or_else(|| panic!("{name} is not there"))).await.unwrap()
}

pub async fn listed(store: &dyn Store, prefix: &str, after: Option<&str>) -> Vec<ListedObject> {
    store.list(prefix, after).try_collect().await.unwrap()
}

pub async fn names(store: &dyn Store, prefix: &str, after: Option<&str>) -> Vec<String> {
    listed(store, prefix, after).await.into_iter().map(|object| object.key).collect()
}

/// Streams `body` in pieces of `piece` bytes, and ends as `end` says.
pub fn streamed(body: Bytes, piece: usize, end: Option<Chunk>) -> Body {
    let (send, chunks) = mpsc::channel(2);
    tokio::spawn(async move {
        for piece in body.chunks(piece.max(1)) {
            if send.send(Chunk::Data(Bytes::copy_from_slice(piece))).await.is_err() {
                return;
            }
        }
        if let Some(end) = end {
            let _ = send.send(end).await;
        }
    });
    Body::Chunks(chunks)
}

pub fn options(endpoint: String, bucket: String, login: Login) -> S3Options {
    S3Options {
        bucket,
        endpoint_url: Some(endpoint),
        access_key: Some(login.access_key.to_owned()),
        secret_key: Some(login.secret_key.to_owned()),
        multipart_threshold: THRESHOLD as u64,
        part_size: PART as u64,
        ..S3Options::default()
    }
}

/// A store in a fresh bucket of the shared server, with a prefix.
pub async fn seaweed(prefix: &str) -> Arc<S3Store> {
    let server = tokio::task::spawn_blocking(SeaweedFs::shared).await.unwrap();
    let bucket = server.create_bucket();
    let options = options(server.endpoint(), bucket, ADMIN);
    let options = S3Options { prefix: prefix.to_owned(), ..options };
    Arc::new(S3Store::connect(options).await.unwrap())
}

/// Uploads in parts that were begun in the store's bucket and neither completed nor aborted.
pub async fn open_uploads(store: &S3Store) -> usize {
    let credentials = aws_credential_types::Credentials::new(
        ADMIN.access_key,
        ADMIN.secret_key,
        None,
        None,
        "test",
    );
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(aws_sdk_s3::config::BehaviorVersion::latest())
        .region(aws_sdk_s3::config::Region::new("us-east-1"))
        .endpoint_url(SeaweedFs::shared().endpoint())
        .force_path_style(true)
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .credentials_provider(credentials)
        .build();
    let bucket = store.location().trim_start_matches("s3://");
    let bucket = bucket.split('/').next().unwrap();
    let client = aws_sdk_s3::Client::from_conf(config);
    let answer = client.list_multipart_uploads().bucket(bucket).send().await.unwrap();
    answer.uploads().len()
}
