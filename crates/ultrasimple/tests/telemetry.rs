//! What the daemon tells in numbers, to the real programs that read such: `promtool`, and an OpenTelemetry collector.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::BTreeSet;
use std::io::Write;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use ultrasimple_telemetry::catalogue::{self, When};
use ultrasimple_testkit::http;
use ultrasimple_testkit::process::{ServerProcess, find_tool, free_ports};

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

/// A collector that writes down all that it receives.
struct Collector {
    process: ServerProcess,
    log: PathBuf,
    grpc: u16,
    http: u16,
}

impl Collector {
    fn start(folder: &Path) -> Self {
        let [grpc, http] = free_ports();
        let log = folder.join("collector.log");
        let program = find_tool("rotel-agent", "ULTRASIMPLE_ROTEL").unwrap();
        let mut command = Command::new(program);
        command
            .args(["start", "--exporter", "blackhole"])
            .args(["--debug-log", "metrics", "--debug-log-verbosity", "detailed"])
            .args(["--otlp-grpc-endpoint", &format!("127.0.0.1:{grpc}")])
            .args(["--otlp-http-endpoint", &format!("127.0.0.1:{http}")])
            .current_dir(folder)
            .env_clear();
        let mut process = ServerProcess::spawn(command, &log).unwrap();
        let listens = |port| TcpStream::connect(("127.0.0.1", port)).is_ok();
        process.wait_ready(DEADLINE, || listens(grpc) && listens(http)).unwrap();
        Self { process, log, grpc, http }
    }
}

/// The names of all metrics that a collector has received.
fn names(log: &Path) -> BTreeSet<String> {
    let lines = text(log);
    lines.lines().filter_map(|line| line.split("-> Name: ").nth(1)).map(str::to_owned).collect()
}

#[test]
fn a_collector_gets_all_that_is_catalogued_and_nothing_else() {
    let always = catalogue::all().filter(|instrument| instrument.when == When::Always);
    let always: BTreeSet<_> = always.map(|instrument| instrument.name.to_owned()).collect();
    for protocol in ["grpc", "http/protobuf"] {
        let tree = tree();
        let mut collector = Collector::start(tree.path());
        let port = if protocol == "grpc" { collector.grpc } else { collector.http };
        let mut command = daemon(tree.path(), &["-once", "-node", "n-17"]);
        command
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://127.0.0.1:{port}"))
            .env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
            .env("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test");
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !said.contains("WARN"), "{protocol}: {said}");
        // It writes them down a little later, all of them at once.
        let log = collector.log.as_path();
        let is_there = || always.is_subset(&names(log));
        collector.process.wait_ready(DEADLINE, is_there).unwrap();
        collector.process.kill();
        assert_eq!(names(log), always, "{protocol}");
        let received = text(log);
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
    assert!(said.contains(" 1 synced") && said.contains("could not be exported"), "{said}");
}
