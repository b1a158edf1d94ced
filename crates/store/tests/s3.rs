//! What only a bucket has: a prefix, requests that are billed, and uploads in parts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(unreachable_pub, reason = "the modules of a test are its own")]

mod support;

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use ultrasimple_store::{
    Body, Capabilities, Chunk, Condition, RequestCounts, S3Options, S3Store, Store, StoreError,
    probe,
};
use ultrasimple_testkit::fault_proxy::{Fault, FaultProxy, Rule};
use ultrasimple_testkit::seaweed::{ADMIN, SeaweedFs};

use support::{
    PART, THRESHOLD, content, key, names, noise, open_uploads, options, put, seaweed, streamed,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_prefix_hides_what_is_outside() {
    let server = tokio::task::spawn_blocking(SeaweedFs::shared).await.unwrap();
    let bucket = server.create_bucket();
    let at = |prefix: &str| {
        let options = options(server.endpoint(), bucket.clone(), ADMIN);
        S3Store::connect(S3Options { prefix: prefix.to_owned(), ..options })
    };
    let (whole, inner) = (at("").await.unwrap(), at("team/a").await.unwrap());
    put(&inner, "object", &noise(1, 10), Condition::Absent).await.unwrap();
    put(&whole, "team/ab", &noise(2, 10), Condition::Absent).await.unwrap();
    put(&whole, "object", &noise(3, 10), Condition::Absent).await.unwrap();
    assert_eq!(inner.location(), format!("s3://{bucket}/team/a"));
    assert_eq!(names(&inner, "", None).await, ["object"]);
    assert_eq!(content(&inner, "object").await, noise(1, 10));
    assert_eq!(content(&whole, "team/a/object").await, noise(1, 10));
    inner.delete(&[key("object")]).await.unwrap();
    assert_eq!(names(&whole, "", None).await, ["object", "team/ab"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_too_long_is_refused_without_a_request() {
    let store = seaweed("prefix").await;
    assert_eq!(store.max_key_bytes(), 1_024 - "prefix/".len());
    let long = "k".repeat(store.max_key_bytes() + 1);
    let refused = put(&*store, &long, &noise(1, 10), Condition::Absent).await;
    assert!(matches!(refused, Err(StoreError::Invalid(_))), "{refused:?}");
    assert!(matches!(store.head(&key(&long)).await, Err(StoreError::Invalid(_))));
    assert_eq!(store.counters().snapshot(), RequestCounts::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_request_is_counted() {
    let store = seaweed("").await;
    let whole = noise(1, 10);
    put(&*store, "a", &whole, Condition::Absent).await.unwrap();
    let refused = put(&*store, "a", &whole, Condition::Absent).await;
    assert!(matches!(refused, Err(StoreError::ConditionFailed)));
    let body = streamed(noise(2, 3 * PART), 100_000, Some(Chunk::End));
    store.put(&key("b"), body, Condition::Absent).await.unwrap();
    store.head(&key("a")).await.unwrap();
    store.time().await.unwrap();
    content(&*store, "a").await;
    names(&*store, "", None).await;
    store.delete(&[key("a"), key("b")]).await.unwrap();
    // 3 parts, the beginning and the completion.
    let expected = RequestCounts { puts: 2, multipart: 5, gets: 1, heads: 2, lists: 1, deletes: 1 };
    assert_eq!(store.counters().snapshot(), expected);
    assert_eq!((expected.put_class(), expected.get_class()), (8, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_costs_what_it_says() {
    let store = seaweed("").await;
    probe(&*store).await.unwrap();
    let counts = store.counters().snapshot();
    assert_eq!((counts.puts, counts.gets, counts.deletes), (4, 1, 1));
    assert_eq!(counts.put_class() + counts.get_class(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_answer_with_a_date_tells_the_time() {
    let server = tokio::task::spawn_blocking(SeaweedFs::shared).await.unwrap();
    let mut proxy = FaultProxy::start(server.port()).await.unwrap();
    let options = options(proxy.endpoint(), server.create_bucket(), ADMIN);
    let store = S3Store::connect(options).await.unwrap();
    store.time().await.unwrap();
    // The proxy's own answers have none.
    for status in [200, 404] {
        proxy.set(Fault::Answer(status, "")).await.unwrap();
        let error = store.time().await.unwrap_err();
        assert!(matches!(error, StoreError::Untrustworthy(_)), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("no Date") && text.contains("cluster.json"), "{text}");
    }
    proxy.set(Fault::Answer(403, "")).await.unwrap();
    let error = store.time().await.unwrap_err();
    assert!(matches!(error, StoreError::Denied(_)), "{error:?}");
    proxy.set(Fault::Refuse).await.unwrap();
    let error = store.time().await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_that_are_not_honoured_are_not_sent() {
    let store = seaweed("").await;
    store.learn(Capabilities { put_if_absent: false, put_if_matches: false });
    let refused = put(&*store, "a", &noise(1, 10), Condition::Absent).await;
    assert!(matches!(refused, Err(StoreError::Invalid(_))), "{refused:?}");
    put(&*store, "a", &noise(1, 10), Condition::Always).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_not_waited_for_is_aborted() {
    let store = seaweed("").await;
    let (send, chunks) = mpsc::channel(1);
    let writing = {
        let store = store.clone();
        tokio::spawn(async move {
            store.put(&key("object"), Body::Chunks(chunks), Condition::Absent).await
        })
    };
    for piece in noise(1, 3 * PART).chunks(100_000) {
        send.send(Chunk::Data(Bytes::copy_from_slice(piece))).await.unwrap();
    }
    assert_eq!(open_uploads(&store).await, 1);
    writing.abort();
    assert!(writing.await.unwrap_err().is_cancelled());
    until_no_uploads(&store).await;
    assert_eq!(names(&*store, "", None).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_given_up_while_it_is_created_is_aborted() {
    let server = tokio::task::spawn_blocking(SeaweedFs::shared).await.unwrap();
    let mut proxy = FaultProxy::start(server.port()).await.unwrap();
    let bucket = server.create_bucket();
    let store = S3Store::connect(options(proxy.endpoint(), bucket, ADMIN)).await.unwrap();
    proxy.set_rule(Rule::new(Fault::Delay(300)).method("POST").target("uploads")).await.unwrap();
    let writing = {
        let store = store.clone();
        tokio::spawn(async move {
            let body = Body::Bytes(noise(1, 2 * PART));
            store.put(&key("object"), body, Condition::Absent).await
        })
    };
    let begun = async {
        while proxy.requests("POST") == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), begun).await.unwrap();
    writing.abort();
    assert!(writing.await.unwrap_err().is_cancelled());
    // Created, although nobody waits for it, and then removed.
    let aborted = async {
        while proxy.requests("DELETE") == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), aborted).await.unwrap();
    until_no_uploads(&store).await;
}

async fn until_no_uploads(store: &S3Store) {
    let gone = async { while open_uploads(store).await > 0 {} };
    tokio::time::timeout(Duration::from_secs(20), gone).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_that_fails_leaves_no_upload() {
    let store = seaweed("").await;
    let body = streamed(noise(1, 3 * PART), 100_000, None);
    let failed = store.put(&key("object"), body, Condition::Absent).await;
    assert!(matches!(failed, Err(StoreError::BodyFailed(_))), "{failed:?}");
    assert_eq!(open_uploads(&store).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_completion_whose_condition_fails_leaves_no_upload() {
    let store = seaweed("").await;
    put(&*store, "object", &noise(1, 10), Condition::Absent).await.unwrap();
    let body = Body::Bytes(noise(2, 2 * PART));
    let refused = store.put(&key("object"), body, Condition::Absent).await;
    assert!(matches!(refused, Err(StoreError::ConditionFailed)), "{refused:?}");
    assert_eq!(open_uploads(&store).await, 0);
    assert_eq!(content(&*store, "object").await, noise(1, 10));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_uploads_in_parts_one_stands() {
    let store = seaweed("").await;
    let writers = (0..8).map(|writer| {
        let store = store.clone();
        tokio::spawn(async move {
            let body = noise(writer, THRESHOLD + 1);
            store
                .put(&key("raced"), Body::Bytes(body.clone()), Condition::Absent)
                .await
                .map(|_| body)
        })
    });
    let mut won = Vec::new();
    for result in futures::future::join_all(writers).await {
        match result.unwrap() {
            Ok(body) => won.push(body),
            Err(StoreError::ConditionFailed | StoreError::Unavailable(_)) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    // SeaweedFS looks at the condition of a completion, but not atomically with it: of two at the same moment
    // both may be told that they won. What stands is whole, and keeps the next one out.
    let stands = content(&*store, "raced").await;
    assert!(won.contains(&stands));
    assert_eq!(open_uploads(&store).await, 0);
    let late = Body::Bytes(noise(9, THRESHOLD + 1));
    let refused = store.put(&key("raced"), late, Condition::Absent).await;
    assert!(matches!(refused, Err(StoreError::ConditionFailed)), "{refused:?}");
}

const CHILD: &str = "ULTRASIMPLE_TEST_ENDPOINT";

/// Not a test of its own: what the processes of the next ones run. They have an environment of their own.
#[tokio::test]
async fn child_process_with_the_chain() {
    let Ok(endpoint) = std::env::var(CHILD) else {
        return;
    };
    let store = S3Store::connect(S3Options {
        bucket: std::env::var("ULTRASIMPLE_TEST_BUCKET").unwrap(),
        endpoint_url: Some(endpoint),
        ..S3Options::default()
    });
    let put = put(&store.await.unwrap(), "object", &noise(1, 10), Condition::Absent).await;
    if std::env::var_os("AWS_ACCESS_KEY_ID").is_some() {
        put.unwrap();
        return;
    }
    let error = put.unwrap_err();
    assert!(matches!(error, StoreError::Denied(_)), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("no credentials") && text.contains("set -access-key"), "{text}");
}

/// Runs the child with no source of credentials but those of `environment`.
async fn with_the_chain(environment: &[(&str, &str)]) {
    let server = tokio::task::spawn_blocking(SeaweedFs::shared).await.unwrap();
    let home = tempfile::tempdir().unwrap();
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "child_process_with_the_chain"]);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("AWS_") {
            child.env_remove(name);
        }
    }
    child.env("HOME", home.path()).env("AWS_EC2_METADATA_DISABLED", "true");
    child.env(CHILD, server.endpoint()).env("ULTRASIMPLE_TEST_BUCKET", server.create_bucket());
    child.envs(environment.iter().copied());
    // Shown only when it fails.
    let output = child.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_come_from_the_environment() {
    with_the_chain(&[
        ("AWS_ACCESS_KEY_ID", ADMIN.access_key),
        ("AWS_SECRET_ACCESS_KEY", ADMIN.secret_key),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_credentials_the_error_says_what_to_set() {
    with_the_chain(&[]).await;
}
