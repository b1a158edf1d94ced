//! Bad days: each fault gives the error that tells the caller what to do, within its deadline. A real
//! server behind a proxy that does the harm.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(unreachable_pub, reason = "the modules of a test are its own")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use ultrasimple_core::ObjectKey;
use ultrasimple_store::s3::Timeouts;
use ultrasimple_store::{
    Body, ByteRange, Chunk, Condition, S3Options, S3Store, Store, StoreError, Stored, probe,
};
use ultrasimple_testkit::fault_proxy::{Fault, FaultProxy, Rule};
use ultrasimple_testkit::process::free_ports;
use ultrasimple_testkit::seaweed::{ADMIN, Login, READER, STRANGER, SeaweedFs};

use support::{PART, THRESHOLD, content, key, names, noise, options, put, read, streamed};

/// Short, so that a hang costs a test little.
const REQUEST: Duration = Duration::from_secs(2);
/// What a slow machine may take on top of a deadline.
const SLACK: Duration = Duration::from_secs(8);

struct Setting {
    proxy: FaultProxy,
    store: Arc<S3Store>,
    /// The same bucket without the proxy.
    direct: S3Store,
}

fn short(options: S3Options) -> S3Options {
    let timeouts = Timeouts {
        connect: REQUEST,
        request: REQUEST,
        read_idle: REQUEST,
        abort: REQUEST,
        ..Timeouts::default()
    };
    S3Options { timeouts, ..options }
}

async fn server() -> &'static SeaweedFs {
    tokio::task::spawn_blocking(SeaweedFs::shared).await.unwrap()
}

async fn setting() -> Setting {
    let server = server().await;
    let bucket = server.create_bucket();
    let proxy = FaultProxy::start(server.port()).await.unwrap();
    let direct = options(server.endpoint(), bucket.clone(), ADMIN);
    let through = short(options(proxy.endpoint(), bucket, ADMIN));
    Setting {
        proxy,
        store: Arc::new(S3Store::connect(through).await.unwrap()),
        direct: S3Store::connect(direct).await.unwrap(),
    }
}

async fn store_as(bucket: &str, login: Login) -> S3Store {
    let options = short(options(server().await.endpoint(), bucket.to_owned(), login));
    S3Store::connect(options).await.unwrap()
}

/// Fails the test when it takes longer than the deadline of a request.
async fn in_time<T>(call: impl Future<Output = T>) -> T {
    let start = Instant::now();
    let result = call.await;
    let took = start.elapsed();
    assert!(took < REQUEST + SLACK, "took {took:?}");
    result
}

async fn small_put(store: &S3Store) -> Result<Stored, StoreError> {
    in_time(put(store, "object", &noise(1, 5_000), Condition::Absent)).await
}

async fn large_put(store: &S3Store) -> Result<Stored, StoreError> {
    let body = noise(2, THRESHOLD + 1);
    store.put(&key("object"), Body::Bytes(body), Condition::Absent).await
}

async fn get(store: &S3Store) -> Result<Bytes, StoreError> {
    match in_time(store.get(&key("object"), ByteRange::Full)).await? {
        Some(object) => in_time(read(object)).await,
        None => panic!("not there"),
    }
}

async fn list(store: &S3Store) -> Result<Vec<String>, StoreError> {
    use futures::TryStreamExt;
    in_time(store.list("", None).map_ok(|object| object.key).try_collect()).await
}

async fn delete(store: &S3Store) -> Result<(), StoreError> {
    in_time(store.delete(&[key("object")])).await.map(|failed| assert_eq!(failed.len(), 0))
}

macro_rules! assert_error {
    ($result:expr, $kind:ident, $($says:expr),*) => {{
        let error = match $result {
            Ok(success) => panic!("expected {}, got {success:?}", stringify!($kind)),
            Err(error) => error,
        };
        let text = error.to_string();
        assert!(matches!(error, StoreError::$kind { .. }), "{error:?}");
        let _ = &text;
        $(assert!(text.contains($says), "{text:?} does not say {:?}", $says);)*
    }};
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bucket_is_missing() {
    let store = store_as("no-such-bucket", ADMIN).await;
    assert_error!(small_put(&store).await, Denied, "no-such-bucket", "-bucket");
    assert_error!(large_put(&store).await, Denied, "no-such-bucket", "-bucket");
    assert_error!(get(&store).await, Denied, "no-such-bucket", "-bucket");
    assert_error!(list(&store).await, Denied, "no-such-bucket", "-bucket");
    assert_error!(probe(&store).await, Denied, "no-such-bucket", "-bucket");
}

#[tokio::test(flavor = "multi_thread")]
async fn access_is_denied() {
    let bucket = server().await.create_bucket();
    let reader = store_as(&bucket, READER).await;
    assert_error!(small_put(&reader).await, Denied, "AccessDenied", "s3:PutObject", &bucket);
    assert_error!(large_put(&reader).await, Denied, "AccessDenied", "s3:PutObject");
    assert_error!(probe(&reader).await, Denied, "s3:PutObject");
    assert_eq!(list(&reader).await.unwrap(), [""; 0]);
    let stranger = store_as(&bucket, STRANGER).await;
    assert_error!(small_put(&stranger).await, Denied, "-access-key");
    assert_error!(stranger.head(&key("object")).await, Denied, "403");
    let wrong = Login { secret_key: "wrong", ..ADMIN };
    assert_error!(small_put(&store_as(&bucket, wrong).await).await, Denied, "-secret-key");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_is_denied_key_by_key() {
    let server = server().await;
    let bucket = server.create_bucket();
    let admin = S3Store::connect(options(server.endpoint(), bucket.clone(), ADMIN)).await.unwrap();
    put(&admin, "object", &noise(1, 10), Condition::Absent).await.unwrap();
    let keys = [key("object"), key("other")];
    let reader = store_as(&bucket, READER).await;
    // As a whole, or key by key inside a 200: never silently.
    match in_time(reader.delete(&keys)).await {
        Err(StoreError::Denied(_)) => {}
        Ok(failed) => {
            let named: Vec<&ObjectKey> = failed.iter().map(|(key, _)| key).collect();
            assert!(named.contains(&&keys[0]), "{failed:?}");
            assert!(failed.iter().all(|(_, error)| matches!(error, StoreError::Denied(_))));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(names(&admin, "", None).await, ["object"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_endpoint_is_down() {
    let [port] = free_ports();
    let options = short(options(format!("http://127.0.0.1:{port}"), "bucket".into(), ADMIN));
    let store = S3Store::connect(options).await.unwrap();
    let at = format!("127.0.0.1:{port}");
    assert_error!(small_put(&store).await, Unavailable, "cannot connect", &at);
    assert_error!(in_time(large_put(&store)).await, Unavailable, "cannot connect");
    assert_error!(get(&store).await, Unavailable, "cannot connect");
    assert_error!(delete(&store).await, Unavailable, "cannot connect");
    assert_error!(in_time(probe(&store)).await, Unavailable, "cannot connect", &at);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_endpoint_goes_away_and_comes_back() {
    let Setting { mut proxy, store, .. } = setting().await;
    small_put(&store).await.unwrap();
    proxy.set(Fault::Refuse).await.unwrap();
    // The connection that the pool kept is closed, too. Should that be noticed only after the request has
    // gone out on it, the outcome is unknown.
    let body = noise(1, 10);
    let first = in_time(put(&*store, "second", &body, Condition::Absent)).await;
    assert!(
        matches!(first, Err(StoreError::Unavailable(_) | StoreError::UnknownOutcome(_))),
        "{first:?}"
    );
    let second = in_time(put(&*store, "second", &body, Condition::Absent)).await;
    assert_error!(second, Unavailable, "cannot connect");
    proxy.set(Fault::None).await.unwrap();
    in_time(put(&*store, "second", &noise(1, 10), Condition::Absent)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_of_trouble() {
    let Setting { mut proxy, store, direct } = setting().await;
    put(&direct, "object", &noise(1, 5_000), Condition::Absent).await.unwrap();
    for (status, code) in [(503, "SlowDown"), (503, ""), (429, "")] {
        proxy.set(Fault::Answer(status, code)).await.unwrap();
        assert_error!(small_put(&store).await, SlowDown,);
        assert_error!(large_put(&store).await, SlowDown,);
        assert_error!(get(&store).await, SlowDown,);
        assert_error!(list(&store).await, SlowDown,);
        assert_error!(delete(&store).await, SlowDown,);
    }
    for (status, code) in [(500, "InternalError"), (500, ""), (502, ""), (504, "")] {
        proxy.set(Fault::Answer(status, code)).await.unwrap();
        assert_error!(small_put(&store).await, UnknownOutcome, &status.to_string());
        assert_error!(delete(&store).await, UnknownOutcome, &status.to_string());
        assert_error!(get(&store).await, Unavailable, &status.to_string());
        assert_error!(list(&store).await, Unavailable,);
        assert_error!(store.head(&key("object")).await, Unavailable,);
        // The upload was never completed: certainly not done.
        assert_error!(large_put(&store).await, Unavailable,);
    }
    for (status, code) in [(400, "ExpiredToken"), (403, "ExpiredToken"), (403, "RequestExpired")] {
        proxy.set(Fault::Answer(status, code)).await.unwrap();
        assert_error!(small_put(&store).await, Denied, "credentials have expired");
        assert_error!(get(&store).await, Denied, "credentials have expired");
    }
    proxy.set(Fault::Answer(409, "ConditionalRequestConflict")).await.unwrap();
    assert_error!(small_put(&store).await, Unavailable, "409");
    proxy.set(Fault::Answer(404, "NoSuchKey")).await.unwrap();
    let etag = ultrasimple_store::ETag("\"gone\"".into());
    let gone = put(&*store, "object", &noise(1, 5), Condition::Matches(etag)).await;
    assert_error!(gone, ConditionFailed,);

    proxy.set(Fault::None).await.unwrap();
    assert_eq!(get(&store).await.unwrap(), noise(1, 5_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_retried_at_once() {
    let Setting { mut proxy, store, .. } = setting().await;
    proxy.set(Fault::Answer(503, "SlowDown")).await.unwrap();
    assert_error!(small_put(&store).await, SlowDown,);
    assert_eq!(proxy.requests("PUT"), 1);
    proxy.set(Fault::Answer(500, "InternalError")).await.unwrap();
    assert_error!(small_put(&store).await, UnknownOutcome,);
    assert_eq!(proxy.requests("PUT"), 2);
    assert_eq!(store.requests().puts, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_hangs() {
    let Setting { mut proxy, store, direct } = setting().await;
    proxy.set(Fault::Hang).await.unwrap();
    assert_error!(small_put(&store).await, UnknownOutcome, "no answer", "within 2s");
    assert_error!(get(&store).await, Unavailable, "no answer");
    assert_error!(list(&store).await, Unavailable, "no answer");
    assert_error!(delete(&store).await, UnknownOutcome, "no answer");
    assert_error!(in_time(large_put(&store)).await, Unavailable, "no answer");
    assert_eq!(names(&direct, "", None).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn done_but_not_told() {
    let Setting { mut proxy, store, direct } = setting().await;
    for (fault, name) in [(Fault::HangAfter, "hang"), (Fault::CutAfter, "cut")] {
        proxy.set(fault).await.unwrap();
        let body = noise(1, 5_000);
        let unknown = in_time(put(&*store, name, &body, Condition::Absent)).await;
        assert_error!(unknown, UnknownOutcome,);
        // This is why it is not called a failure.
        assert_eq!(content(&direct, name).await, body);
        // And why it must not be repeated blindly.
        proxy.set(Fault::None).await.unwrap();
        let again = in_time(put(&*store, name, &body, Condition::Absent)).await;
        assert_error!(again, ConditionFailed,);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_connection_is_cut_in_a_requests_body() {
    let Setting { mut proxy, store, direct } = setting().await;
    proxy.set_rule(Rule::new(Fault::CutRequest(20_000)).method("PUT")).await.unwrap();
    let cut = in_time(put(&*store, "object", &noise(1, 200_000), Condition::Absent)).await;
    assert_error!(cut, UnknownOutcome,);
    assert_error!(in_time(large_put(&store)).await, Unavailable,);
    assert_eq!(names(&direct, "", None).await, [""; 0]);
    assert_eq!(uploads(&direct).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_connection_is_cut_in_an_answers_body() {
    let Setting { mut proxy, store, direct } = setting().await;
    put(&direct, "object", &noise(1, 300_000), Condition::Absent).await.unwrap();
    for bytes in [0, 1, 150_000, 299_999] {
        proxy.set(Fault::CutResponse(bytes)).await.unwrap();
        assert_error!(get(&store).await, Unavailable, "broken off");
        let last = in_time(store.get(&key("object"), ByteRange::Last(300_000))).await;
        assert_error!(read(last.unwrap().unwrap()).await, Unavailable, "broken off");
    }
    proxy.set(Fault::CutResponse(20)).await.unwrap();
    assert_error!(list(&store).await, Unavailable,);
    assert_error!(delete(&store).await, UnknownOutcome,);
}

#[tokio::test(flavor = "multi_thread")]
async fn success_is_claimed_for_another_content() {
    let Setting { mut proxy, store, direct } = setting().await;
    proxy.set(Fault::LieAboutEtag("00000000000000000000000000000000")).await.unwrap();
    assert_error!(small_put(&store).await, Untrustworthy, "0000000", "ETag");
    assert_error!(probe(&*store).await, Untrustworthy, "ETag");
    // It stored it, of course; it only says that it stored something else.
    direct.delete(&[key("object")]).await.unwrap();
    // Of a part.
    assert_error!(large_put(&store).await, Untrustworthy, "part", "ETag");
    // Of the whole.
    proxy
        .set_rule(
            Rule::new(Fault::LieAboutEtag("00000000000000000000000000000000-2")).method("POST"),
        )
        .await
        .unwrap();
    assert_error!(large_put(&store).await, Untrustworthy, "complete", "ETag");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_changes_content_is_found_at_the_start() {
    let Setting { mut proxy, store, direct } = setting().await;
    proxy.set_rule(Rule::new(Fault::ChangeContent).method("GET")).await.unwrap();
    assert_error!(probe(&*store).await, Untrustworthy, "changes the content");
    assert_eq!(names(&direct, "", None).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_cleans_up_whatever_fails() {
    let Setting { mut proxy, store, direct } = setting().await;
    // The second, third and fourth PUT of a probe.
    for failing in 2..=4 {
        let rule = Rule::new(Fault::Answer(500, "InternalError")).method("PUT").every(failing);
        proxy.set_rule(rule).await.unwrap();
        assert_error!(probe(&*store).await, UnknownOutcome, "500");
        assert_eq!(names(&direct, "", None).await, [""; 0], "PUT {failing}");
    }
    // The first, done but not told.
    proxy.set_rule(Rule::new(Fault::CutAfter).method("PUT")).await.unwrap();
    assert_error!(probe(&*store).await, UnknownOutcome,);
    assert_eq!(names(&direct, "", None).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_in_parts_that_fails_leaves_nothing() {
    let Setting { mut proxy, store, direct } = setting().await;
    let faults = [
        // Any part.
        Rule::new(Fault::Answer(500, "InternalError")).method("PUT").every(3),
        Rule::new(Fault::CutRequest(50_000)).method("PUT").every(2),
        Rule::new(Fault::CutAfter).method("PUT").every(4),
        Rule::new(Fault::LieAboutEtag("00000000000000000000000000000000")).method("PUT"),
    ];
    for rule in faults {
        proxy.set_rule(rule.clone()).await.unwrap();
        let body = streamed(noise(4, 4 * PART + 1), 300_000, Some(Chunk::End));
        let failed = store.put(&key("object"), body, Condition::Absent).await;
        assert!(
            matches!(failed, Err(StoreError::Unavailable(_) | StoreError::Untrustworthy(_))),
            "{rule:?}: {failed:?}"
        );
        assert_eq!(uploads(&direct).await, 0, "{rule:?}");
        assert_eq!(names(&direct, "", None).await, [""; 0], "{rule:?}");
    }
    // The completion fails: now it is unknown.
    let rule = Rule::new(Fault::Answer(500, "InternalError")).method("POST").target("uploadId");
    proxy.set_rule(rule).await.unwrap();
    assert_error!(large_put(&store).await, UnknownOutcome,);
    assert_eq!(uploads(&direct).await, 0);
    // It was carried out, and the answer lost: the object is there, and nothing else.
    let rule = Rule::new(Fault::CutAfter).method("POST").target("uploadId");
    proxy.set_rule(rule).await.unwrap();
    assert_error!(large_put(&store).await, UnknownOutcome,);
    assert_eq!(names(&direct, "", None).await, ["object"]);
    assert_eq!(uploads(&direct).await, 0);
    // An error inside a 200.
    proxy.set(Fault::None).await.unwrap();
    delete(&store).await.unwrap();
    let rule = Rule::new(Fault::Answer(200, "InternalError")).method("POST").target("uploadId");
    proxy.set_rule(rule).await.unwrap();
    assert_error!(large_put(&store).await, UnknownOutcome, "InternalError");
    assert_eq!(names(&direct, "", None).await, [""; 0]);
    assert_eq!(uploads(&direct).await, 0);
}

/// Uploads in parts that were begun and neither completed nor aborted.
async fn uploads(store: &S3Store) -> usize {
    support::open_uploads(store).await
}
