//! What is in `deploy/observability`, on a real Prometheus that looks at a real fleet: every query of every dashboard
//! returns data, and alerts fire when things break and are silent when they are mended.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::Value;
use ultrasimple_core::{Clock as _, SystemClock};
use ultrasimple_telemetry::Samples;
use ultrasimple_telemetry::catalogue::{self, Label, Values, When};
use ultrasimple_telemetry::text::{Format, encode};
use ultrasimple_tests::prometheus::{Prometheus, Target};
use ultrasimple_tests::{Fleet, FleetNode, eventually};

const SHARDS: u32 = 16;
const TOKEN: &str = "a-token-of-the-tests";

/// A fleet that Prometheus looks at.
struct Stage {
    fleet: Fleet,
    nodes: Vec<FleetNode>,
    prometheus: Prometheus,
}

impl Stage {
    /// Some good databases, one that is none, and a place that cannot be scanned.
    fn new(names: &[&str], more: &[Target]) -> Self {
        let fleet = Fleet::new(SHARDS);
        for number in 0..6 {
            fleet.bank(&format!("t{number}"), 1);
        }
        std::fs::write(fleet.yard.path("data/bad.db"), "no database, whatever its name says")
            .unwrap();
        std::fs::create_dir(fleet.yard.path("more")).unwrap();
        symlink("nowhere", fleet.yard.path("more/t")).unwrap();
        let token = fleet.yard.path("token");
        std::fs::write(&token, TOKEN).unwrap();
        let words = ["-http-token-file", token.to_str().unwrap(), "-put-budget", "10000000"];
        let words = [&words[..], &["-pattern", "more/*/sub/*.db"]].concat();
        let nodes: Vec<_> = names.iter().map(|name| fleet.node(name, &words)).collect();
        fleet.until_owned_by(&nodes.iter().collect::<Vec<_>>());
        let address = |node: &FleetNode| (node.name.clone(), node.daemon.address().to_owned());
        let mut targets: Vec<Target> = nodes.iter().map(address).collect();
        targets.extend_from_slice(more);
        let prometheus = Prometheus::start(&token, &targets);
        Self { fleet, nodes, prometheus }
    }

    /// Something changes, and something only seems to.
    fn work(&self) {
        self.fleet.bank("t0", 1);
        let path = self.fleet.yard.path("data/t1.db");
        let touched = std::fs::OpenOptions::new().write(true).open(path).unwrap();
        touched.set_modified(SystemClock.now().into()).unwrap();
    }
}

/// Tells what real nodes tell from five minutes after the start on only: by the same encoder, with other numbers. That
/// they do is seen in the tests of the daemon, whose clock can be turned.
fn later() -> String {
    let mut samples = Samples::default();
    for instrument in catalogue::all().filter(|instrument| instrument.when == When::Later) {
        match instrument.label {
            Some(Label { values: Values::Words(words), .. }) => {
                samples.counts(instrument, words.iter().map(|word| (*word, 1_000)));
            }
            _ => samples.real(instrument, 1.5),
        }
    }
    let text = encode(&samples, Format::Prometheus);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut request = [0; 4_096];
            let _ = stream.read(&mut request);
            let length = text.len();
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nConnection: close\r\n";
            let _ = write!(stream, "{head}Content-Length: {length}\r\n\r\n{text}");
        }
    });
    address
}

fn dashboards() -> BTreeMap<PathBuf, Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/observability/dashboards");
    let files = folder.read_dir().unwrap().map(|entry| entry.unwrap().path());
    let parse = |path: PathBuf| {
        let parsed = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        (path, parsed)
    };
    files.map(parse).collect()
}

/// What a dashboard asks of Prometheus: the place, and the query with its variables filled in.
fn queries(board: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let panels = board["panels"].as_array().unwrap().iter();
    for panel in panels.filter(|panel| panel["datasource"]["type"] == "prometheus") {
        for target in panel["targets"].as_array().unwrap() {
            found.push((&panel["title"], target["expr"].as_str().unwrap().to_owned()));
        }
    }
    for annotation in board["annotations"]["list"].as_array().unwrap() {
        found.push((&annotation["name"], annotation["expr"].as_str().unwrap().to_owned()));
    }
    for variable in board["templating"]["list"].as_array().unwrap() {
        let Some(definition) = variable["definition"].as_str() else { continue };
        let inner = definition.strip_prefix("label_values(").unwrap().strip_suffix(')').unwrap();
        let (series, label) = inner.rsplit_once(", ").unwrap();
        found.push((&variable["name"], format!("count by ({label}) ({series})")));
    }
    let fill = |(place, query): (&Value, String)| {
        let filled = query
            .replace("$cluster", "default")
            .replace("$node", "n1|n2|n3")
            .replace("$__rate_interval", "20s")
            .replace("$__range", "1m");
        assert!(!filled.contains('$'), "{place}: a variable is left in {filled}");
        (format!("{}: {place}", board["title"]), filled)
    };
    found.into_iter().map(fill).collect()
}

#[test]
fn every_query_of_every_dashboard_returns_data() {
    let mut open: Vec<_> = dashboards().values().flat_map(queries).collect();
    assert!(open.len() > 90, "{} queries", open.len());
    let stage = Stage::new(&["n1", "n2", "n3"], &[("n1".to_owned(), later())]);
    let returns_data = |query: &str| {
        let series = stage.prometheus.query(query);
        series.iter().any(|(_, value)| value.is_finite())
    };
    let mut last = String::new();
    let all = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        eventually("all queries return data", || {
            stage.work();
            open.retain(|(_, query)| !returns_data(query));
            last = format!("{open:#?}");
            open.is_empty().then_some(())
        });
    }));
    assert!(all.is_ok(), "these return nothing: {last}");
}

#[test]
fn alerts_fire_when_things_break_and_end_when_they_are_mended() {
    let mut stage = Stage::new(&["n1", "n2"], &[]);
    let fires = |stage: &Stage, alert: &str, node: Option<&str>| {
        eventually(&format!("{alert} fires for {node:?}"), || {
            let firing = stage.prometheus.firing(alert);
            let is_it = |labels: &&Value| node.is_none_or(|node| labels["node"] == node);
            firing.iter().find(is_it).cloned()
        })
    };
    let ends = |stage: &Stage, alert: &str| {
        eventually(&format!("{alert} ends"), || {
            stage.prometheus.firing(alert).is_empty().then_some(())
        });
    };
    // A database that is none.
    let labels = fires(&stage, "UltrasimpleDatabasesFailing", None);
    assert_eq!(
        (labels["cluster"].as_str(), labels["severity"].as_str()),
        (Some("default"), Some("warning"))
    );
    fires(&stage, "UltrasimpleScanProblems", None);
    for silent in ["UltrasimpleNodeDown", "UltrasimpleLeaseLost", "UltrasimpleNothingScraped"] {
        assert_eq!(stage.prometheus.firing(silent), Vec::<Value>::new());
    }
    std::fs::remove_file(stage.fleet.yard.path("data/bad.db")).unwrap();
    stage.fleet.bank("bad", 1);
    ends(&stage, "UltrasimpleDatabasesFailing");
    // A node that dies: it alone is named, and the other one has its work.
    stage.nodes[1].daemon.kill();
    fires(&stage, "UltrasimpleNodeDown", Some("n2"));
    assert_eq!(stage.prometheus.firing("UltrasimpleNodeDown").len(), 1);
    stage.fleet.until_owned_by(&[&stage.nodes[0]]);
    ends(&stage, "UltrasimpleShardsUnowned");
    // etcd dies, and comes back.
    stage.fleet.etcd.kill(0).unwrap();
    fires(&stage, "UltrasimpleLeaseLost", Some("n1"));
    stage.fleet.etcd.restart(0).unwrap();
    ends(&stage, "UltrasimpleLeaseLost");
}
