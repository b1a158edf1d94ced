//! A real Prometheus with the configuration and rules of `deploy/observability`, made faster.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use ultrasimple_testkit::http;
use ultrasimple_testkit::process::{ServerProcess, clean_command, find_tool, free_ports};

const READY_WITHIN: Duration = Duration::from_mins(1);
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// How often it looks at the nodes and at the rules.
const PACE: &str = "1s";
/// What the deployed file has instead of our targets.
const TARGETS: &str = "    static_configs:
      - targets: [node1:9810, node2:9810, node3:9810]
        labels:
          cluster: default
";

/// A running Prometheus, in a folder of its own.
#[derive(Debug)]
pub struct Prometheus {
    // Dropped in this order: first the process, then what it leaves.
    process: ServerProcess,
    folder: TempDir,
    port: u16,
}

/// A node as it is looked at: its name, and where its HTTP is.
pub type Target = (String, String);

impl Prometheus {
    /// Starts it, looking at these nodes with this token, and waits until it takes queries.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(token: &Path, targets: &[Target]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [port] = free_ports();
        let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text);
        write("prometheus.yml", configuration(token)).unwrap();
        write("alerts.yml", hasty(&deployed("alerts.yml"), "for:")).unwrap();
        write("recording.yml", hasty(&deployed("recording.yml"), "interval:")).unwrap();
        let targets: Vec<_> = targets
            .iter()
            .map(|(node, address)| {
                json!({"targets": [address], "labels": {"cluster": "default", "node": node}})
            })
            .collect();
        write("targets.json", Value::from(targets).to_string()).unwrap();
        let program = find_tool("prometheus", "ULTRASIMPLE_PROMETHEUS").unwrap();
        let mut command = clean_command(program);
        command.current_dir(folder.path()).args([
            "--config.file=prometheus.yml",
            "--storage.tsdb.path=data",
            "--log.level=warn",
            &format!("--web.listen-address=127.0.0.1:{port}"),
        ]);
        let mut process = ServerProcess::spawn(command, &folder.path().join("log")).unwrap();
        let is_ready = || {
            let answer = http::request(port, "GET", "/-/ready", "", ANSWER_WITHIN);
            answer.is_ok_and(|answer| answer.status == 200)
        };
        process.wait_ready(READY_WITHIN, is_ready).unwrap();
        Self { process, folder, port }
    }

    /// The newest value of each series that a query gives.
    ///
    /// # Panics
    /// When it is no valid query, or Prometheus does not answer.
    pub fn query(&self, promql: &str) -> Vec<(Value, f64)> {
        let target = format!("/api/v1/query?query={}", encoded(promql));
        let answer = http::request(self.port, "GET", &target, "", ANSWER_WITHIN)
            .unwrap_or_else(|error| panic!("{error:#}; it said:\n{}", self.process.log_tail()));
        let parsed: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(answer.status, 200, "{promql}: {}", answer.body);
        let result = &parsed["data"]["result"];
        if parsed["data"]["resultType"] == "scalar" {
            return vec![(Value::Null, number(&result[1]))];
        }
        let series = result.as_array().unwrap().iter();
        series.map(|one| (one["metric"].clone(), number(&one["value"][1]))).collect()
    }

    /// The alerts of this name that fire now, each with its labels.
    pub fn firing(&self, alert: &str) -> Vec<Value> {
        let promql = format!("ALERTS{{alertname=\"{alert}\",alertstate=\"firing\"}}");
        self.query(&promql).into_iter().map(|(labels, _)| labels).collect()
    }

    /// Where its files are: for whoever looks into a failure.
    pub fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }
}

fn number(text: &Value) -> f64 {
    text.as_str().unwrap().parse().unwrap()
}

/// A file of `deploy/observability`.
pub fn deployed(file: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/observability");
    std::fs::read_to_string(folder.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// The deployed configuration, with our token and targets.
fn configuration(token: &Path) -> String {
    let mut text = deployed("prometheus.yml");
    let pace = |what: &str, time: &str| (format!("{what}: {time}"), format!("{what}: {PACE}"));
    for (deployed, ours) in [
        pace("scrape_interval", "15s"),
        pace("scrape_timeout", "5s"),
        pace("evaluation_interval", "15s"),
        ("/etc/prometheus/http-token".to_owned(), token.display().to_string()),
        (TARGETS.to_owned(), "    file_sd_configs:\n      - files: [targets.json]\n".to_owned()),
    ] {
        assert!(text.contains(&deployed), "not in prometheus.yml: {deployed}");
        text = text.replace(&deployed, &ours);
    }
    text
}

/// The same rules without patience.
fn hasty(rules: &str, key: &str) -> String {
    let hastier = |line: &str| match line.split_once(key) {
        Some((indent, _)) if indent.trim().is_empty() => format!("{indent}{key} {PACE}\n"),
        _ => format!("{line}\n"),
    };
    rules.lines().map(hastier).collect()
}

/// For a URL.
fn encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}
