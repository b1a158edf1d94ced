//! What the daemon tells in numbers, to the real programs that read such: `promtool`, and an OpenTelemetry collector.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use ultrasimple_telemetry::catalogue::{self, When};
use ultrasimple_testkit::collector::{Collector, Span};
use ultrasimple_testkit::http;
use ultrasimple_testkit::process::{ServerProcess, free_ports};

/// Far more than any of this takes.
const DEADLINE: Duration = Duration::from_mins(1);

/// A directory with `tenants/a.db`, and a bucket beside it.
fn tree() -> TempDir {
    let tree = tempfile::tempdir().unwrap();
    std::fs::create_dir(tree.path().join("tenants")).unwrap();
    let database = rusqlite::Connection::open(tree.path().join("tenants/a.db")).unwrap();
    database.execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (1)").unwrap();
    tree
}

fn daemon(directory: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ultrasimple"));
    let bucket = format!("file://{}/bucket", directory.display());
    command
        .args(["-pattern", "tenants/*.db", "-bucket", &bucket])
        .args(words)
        .current_dir(directory)
        .env_clear()
        .env("TMPDIR", directory);
    command
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

#[test]
fn promtool_has_nothing_to_complain_about() {
    let tree = tree();
    let log = tree.path().join("log");
    let words = ["-http", "127.0.0.1:0", "-interval", "1s", "-node", "n"];
    let mut running = ServerProcess::spawn(daemon(tree.path(), &words), &log).unwrap();
    running.wait_ready(DEADLINE, || text(&log).contains("serving http://")).unwrap();
    let said = text(&log);
    let address = said.split("serving http://").nth(1).unwrap().split('/').next().unwrap();
    let port = address.rsplit(':').next().unwrap().parse().unwrap();
    let scrape = || http::request(port, "GET", "/metrics", "", DEADLINE).unwrap();
    // When a cycle ends, its upload may still be under way: the next one tells.
    let is_clean = "\nultrasimple_databases{state=\"clean\"} 1\n";
    running.wait_ready(DEADLINE, || scrape().body.contains(is_clean)).unwrap();
    let scraped = scrape();
    assert_eq!(scraped.status, 200);

    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool, of Debian's package prometheus, which `cargo xtask test` installs");
    promtool.stdin.take().unwrap().write_all(scraped.body.as_bytes()).unwrap();
    let judged = promtool.wait_with_output().unwrap();
    let complaints = String::from_utf8([judged.stdout, judged.stderr].concat()).unwrap();
    assert!(judged.status.success() && complaints.is_empty(), "{complaints}");
}

#[test]
fn a_collector_gets_all_that_is_catalogued_and_nothing_else() {
    let always = catalogue::all().filter(|instrument| instrument.when == When::Always);
    let always: BTreeSet<_> = always.map(|instrument| instrument.name.to_owned()).collect();
    for protocol in ["grpc", "http/protobuf"] {
        let tree = tree();
        let mut collector = Collector::start(tree.path()).unwrap();
        let mut command = daemon(tree.path(), &["-once", "-node", "n-17"]);
        command
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint(protocol))
            .env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
            .env("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test");
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !said.contains("WARN"), "{protocol}: {said}");
        // It writes them down a little later, all of them at once.
        let has_all = |written: &str| {
            always.iter().all(|name| written.contains(&format!("-> Name: {name}\n")))
        };
        collector.wait(DEADLINE, has_all).unwrap();
        collector.kill();
        assert_eq!(collector.metrics(), always, "{protocol}");
        let received = collector.written();
        for attribute in [
            "service.name: Str(ultrasimple)",
            "service.instance.id: Str(n-17)",
            "deployment.environment.name: Str(test)",
        ] {
            assert!(received.contains(attribute), "{protocol}: no {attribute}");
        }
        // The one upload there was.
        assert!(received.contains("outcome: Str(stored)"), "{protocol}");
    }
}

#[test]
fn what_the_environment_says_wrong_stops_the_start() {
    let tree = tree();
    let mut command = daemon(tree.path(), &["-once"]);
    command
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", "carrier-pigeon");
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("OTEL_EXPORTER_OTLP_PROTOCOL: \"carrier-pigeon\""), "{said}");
}

/// A collector that is down costs a warning, never a backup.
#[test]
fn a_collector_that_is_down_keeps_nobody_from_backing_up() {
    let tree = tree();
    let [port] = free_ports();
    let mut command = daemon(tree.path(), &["-once"]);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://127.0.0.1:{port}"));
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains(" 1 synced"), "{said}");
    for what in ["numbers", "spans"] {
        assert!(said.contains(&format!("The last {what} could not be exported")), "{said}");
    }
}

/// It goes on, and complains once, however often it is in vain.
#[test]
fn a_collector_that_stays_down_is_told_once() {
    let tree = tree();
    let log = tree.path().join("log");
    // Takes connections, and never answers.
    let deaf = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command =
        daemon(tree.path(), &["-http", "127.0.0.1:0", "-interval", "1s", "-log-format", "json"]);
    command
        .env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", format!("http://{}", deaf.local_addr().unwrap()))
        .env("OTEL_EXPORTER_OTLP_TIMEOUT", "100")
        .env("OTEL_BSP_SCHEDULE_DELAY", "50");
    let mut running = ServerProcess::spawn(command, &log).unwrap();
    let cycles = |said: &str| said.matches("Scan complete").count();
    running.wait_ready(DEADLINE, || cycles(&text(&log)) >= 6).unwrap();
    // Well within what a shutdown may take, although nobody answers.
    running.stop(DEADLINE).unwrap();
    let said = text(&log);
    assert_eq!(said.matches("cannot be sent to the collector").count(), 1, "{said}");
    assert_eq!(said.matches("\"level\":\"WARN\"").count(), 2, "{said}");
}

/// The spans of the only cycle, as a collector gets them from a daemon with these databases, one of them bad.
fn cycle_by(protocol: &str) -> (Vec<Span>, String) {
    let tree = tree();
    let more = ["b", "c"].map(|name| tree.path().join(format!("tenants/{name}.db")));
    std::fs::copy(tree.path().join("tenants/a.db"), &more[0]).unwrap();
    std::fs::write(&more[1], "not a database, but long enough").unwrap();
    let mut collector = Collector::start(tree.path()).unwrap();
    let mut command = daemon(tree.path(), &["-once", "-node", "n-17", "-shards", "4"]);
    command
        .env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", traces_at(&collector, protocol))
        .env("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", protocol);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{protocol}: {said}");
    let has_cycle = |written: &str| written.contains("ultrasimple.children.failed_left_out");
    collector.wait(DEADLINE, has_cycle).unwrap();
    // What is written of a batch is written whole, with the next line of whoever writes.
    let is_whole = |written: &str| {
        let spans = ultrasimple_testkit::collector::spans(written);
        ["put", "claim", "tend", "cycle"]
            .iter()
            .all(|name| spans.iter().any(|span| span.name == *name))
    };
    collector.wait(DEADLINE, is_whole).unwrap();
    collector.kill();
    assert!(collector.written().contains("service.instance.id: Str(n-17)"), "{protocol}");
    (collector.spans(), said)
}

/// The endpoint of one signal is used as it is.
fn traces_at(collector: &Collector, protocol: &str) -> String {
    let path = if protocol == "grpc" { "" } else { "/v1/traces" };
    collector.endpoint(protocol) + path
}

#[test]
fn a_collector_gets_a_cycle_as_one_trace() {
    for protocol in ["grpc", "http/protobuf"] {
        let (spans, log) = cycle_by(protocol);
        let named = |name: &str| spans.iter().filter(|span| span.name == name).collect::<Vec<_>>();
        let [cycle] = named("cycle")[..] else { panic!("{protocol}: {spans:?}") };
        assert_eq!((cycle.parent.as_str(), cycle.kind.as_str()), ("", "INTERNAL"));
        let within = |span: &Span| {
            let within = spans.iter().filter(|other| other.parent == span.id);
            let mut names: Vec<_> = within.map(|other| other.name.as_str()).collect();
            names.sort_unstable();
            names
        };
        assert_eq!(within(cycle), ["backup", "backup", "backup", "dispatch", "scan"]);
        for (name, number) in [("databases", 3), ("stored", 2), ("failing", 1), ("children", 3)] {
            assert_eq!(cycle.number(&format!("ultrasimple.{name}")), Some(number), "{name}");
        }
        for backup in named("backup") {
            assert_eq!(backup.trace, cycle.trace);
            assert!(cycle.start <= backup.start && backup.start < backup.end);
            if backup.text("file.path").unwrap().ends_with("c.db") {
                assert_eq!(within(backup), ["capture", "commit"]);
                assert_eq!(backup.text("error.type"), Some("not_a_database"));
                assert!(backup.status == "ERROR" && !backup.message.is_empty(), "{backup:?}");
                // The log says where in the trace to look.
                let line = log.lines().find(|line| line.contains("Not backed up")).unwrap();
                let ids = format!("trace_id={} span_id={}", backup.trace, backup.id);
                assert!(line.ends_with(&ids), "{line}");
            } else {
                assert_eq!(within(backup), ["capture", "commit", "compress", "put"]);
                assert_eq!(backup.text("ultrasimple.outcome"), Some("stored"));
                assert_ne!(backup.status, "ERROR");
            }
        }
        let captures = named("capture");
        let checks: Vec<_> = captures.iter().filter(|it| within(it) == ["check"]).collect();
        assert_eq!(checks.len(), 2);
        let put = named("put")[0];
        assert_eq!((put.kind.as_str(), named("put").len()), ("CLIENT", 2));
        assert!(put.text("ultrasimple.key").unwrap().ends_with(".db.lz4"));
        // After the cycle, the catalogs are written: traces of their own.
        let tend = named("tend")[0];
        assert!(tend.parent.is_empty() && tend.trace != cycle.trace);
        assert_eq!(within(tend), ["catalog"]);
        let [take_over] = named("take_over")[..] else { panic!("{protocol}") };
        assert_eq!(within(take_over), ["claim"; 4]);
    }
}

#[test]
fn the_histogram_of_cycles_has_an_example_for_open_metrics() {
    let tree = tree();
    let log = tree.path().join("log");
    let [nobody] = free_ports();
    let words = ["-http", "127.0.0.1:0", "-interval", "1s", "-node", "n"];
    let mut command = daemon(tree.path(), &words);
    command.env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", format!("http://127.0.0.1:{nobody}"));
    let mut running = ServerProcess::spawn(command, &log).unwrap();
    running.wait_ready(DEADLINE, || text(&log).contains(" 1 synced")).unwrap();
    let said = text(&log);
    let address = said.split("serving http://").nth(1).unwrap().split('/').next().unwrap();
    let port: u16 = address.rsplit(':').next().unwrap().parse().unwrap();
    let mut stream = TcpStream::connect((address.split(':').next().unwrap(), port)).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let accept = "Accept: application/openmetrics-text;version=1.0.0";
    let end = "Connection: close\r\n\r\n";
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {address}\r\n{accept}\r\n{end}").unwrap();
    let mut scraped = String::new();
    stream.read_to_string(&mut scraped).unwrap();
    let is_it = |line: &&str| line.contains("cycle_duration") && line.contains(" # ");
    let bucket = scraped.lines().find(is_it);
    let ids = bucket.unwrap().split("trace_id=\"").nth(1).unwrap().split('"').next().unwrap();
    assert!(said.contains(&format!("trace_id={ids}")), "{bucket:?} {said}");
}
