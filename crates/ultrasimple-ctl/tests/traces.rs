//! Runs as traces, as a real collector gets them: how they hang together, and that catalogue and emission are the same.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use common::{Backup, Bucket, Ran, backup, hours_ago};
use ultrasimple_testkit::collector::{Collector, Span};
use ultrasimple_testkit::process::free_ports;
use ultrasimple_trace::catalogue::{By, SPANS};

/// Far more than any of this takes.
const DEADLINE: Duration = Duration::from_mins(1);

/// Two databases, of which t1 has backups that retention gives up, and t3, whose backup is damaged.
fn bucket() -> Bucket {
    let t1 = |days: i64| backup("acme/t1", "/data/t1.db", &hours_ago(days * 24));
    let t3 = backup("acme/t3", "/data/t3.db", &hours_ago(30));
    let backups = [t1(50), t1(40), t1(2), backup("acme/t2", "/data/t2.db", &hours_ago(3)), t3];
    let keys: Vec<_> = backups.iter().map(Backup::key).collect();
    let bucket = Bucket::with(&backups).with_catalogs();
    bucket.damage(&keys[4]);
    bucket
}

fn run(bucket: &Bucket, endpoint: &str, protocol: &str, args: &[&str]) -> Ran {
    let mut command = bucket.command();
    command
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol);
    Ran::of(command.arg("-bucket").arg(bucket.url()).args(args))
}

#[test]
fn restore_verify_and_prune_are_traces() {
    let bucket = bucket();
    let mut collector = Collector::start(&bucket.out("")).unwrap();
    let to = bucket.out("restored");
    for (protocol, status, args) in [
        ("http/protobuf", 3, &["restore", "--all", "--to", to.to_str().unwrap()][..]),
        ("grpc", 3, &["verify"]),
        ("grpc", 0, &["prune"]),
        // No trace: nothing that takes long.
        ("grpc", 0, &["databases"]),
    ] {
        let ran = run(&bucket, &collector.endpoint(protocol), protocol, args);
        assert_eq!(ran.status, status, "{ran:?}");
        assert!(!ran.stderr.contains("trace"), "{ran:?}");
    }
    let all = |written: &str| written.matches("ultrasimple.children.failed_left_out").count() == 3;
    collector.wait(DEADLINE, all).unwrap();
    collector.kill();
    assert!(collector.written().contains("service.name: Str(ultrasimple-ctl)"));
    let spans = collector.spans();
    let commands: Vec<_> = spans.iter().filter(|span| span.name == "command").collect();
    let traces: BTreeSet<_> = spans.iter().map(|span| &span.trace).collect();
    assert_eq!((commands.len(), traces.len()), (3, 3));
    for command in commands {
        let word = command.text("ultrasimple.command").unwrap();
        let within: Vec<_> = spans.iter().filter(|span| span.parent == command.id).collect();
        let (name, count) = match word {
            "restore" => ("restore", 3),
            "verify" => ("verification", 3),
            _ => ("retention", within.len()),
        };
        assert!(within.iter().all(|span| span.name == name) && within.len() == count, "{word}");
        let failed: Vec<_> = within.iter().filter(|span| span.status == "ERROR").collect();
        let expected = usize::from(word != "prune");
        assert_eq!(
            (failed.len(), command.status == "ERROR"),
            (expected, word != "prune"),
            "{word}"
        );
    }
    let deleted = spans.iter().filter_map(|span| span.number("ultrasimple.retention.deleted"));
    assert_eq!(deleted.sum::<i64>(), 1);
    as_catalogued(&spans);
}

/// Where a directory is the bucket, nothing is in S3.
fn as_catalogued(spans: &[Span]) {
    let names: BTreeMap<_, _> = spans.iter().map(|span| (&span.id, span.name.as_str())).collect();
    let ours: Vec<_> = SPANS.iter().filter(|span| matches!(span.by, By::Tool | By::Both)).collect();
    let told: BTreeSet<_> = spans.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(told, ours.iter().map(|span| span.name).collect());
    for span in &ours {
        let told: Vec<_> = spans.iter().filter(|other| other.name == span.name).collect();
        let said: BTreeSet<_> = told.iter().flat_map(|span| span.attributes.keys()).collect();
        let said: BTreeSet<_> = said.into_iter().map(String::as_str).collect();
        let names_of = span.attributes.iter().map(|attribute| attribute.name);
        let catalogued: BTreeSet<_> = names_of
            .filter(|name| !name.starts_with("aws."))
            .filter(|name| *name != "error.type" || said.contains(name))
            .collect();
        assert_eq!(said, catalogued, "{}", span.name);
        let within: BTreeSet<_> = told.iter().filter_map(|span| names.get(&span.parent)).collect();
        let is_ours = |parent: &&&str| ours.iter().any(|span| span.name == **parent);
        assert_eq!(within, span.parents.iter().filter(is_ours).collect(), "{}", span.name);
    }
}

#[test]
fn a_collector_that_is_down_is_told_and_nothing_else_fails() {
    let bucket = bucket();
    let [nobody] = free_ports();
    let endpoint = format!("http://127.0.0.1:{nobody}");
    let ran = run(&bucket, &endpoint, "http/protobuf", &["prune"]);
    assert!(ran.well().stdout.contains("deleted 1 backup ("), "{ran:?}");
    assert!(ran.stderr.contains("the trace could not be exported"), "{ran:?}");
    let ran = run(&bucket, "collector", "grpc", &["prune"]);
    ran.failed(1, &["OTEL_EXPORTER_OTLP_ENDPOINT: \"collector\""]);
}
