//! A real OpenTelemetry collector (rotel), which writes down all that it receives.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::process::{ServerProcess, find_tool, free_ports};

/// Far more than it takes to begin to listen.
const START: Duration = Duration::from_mins(1);

/// A collector on free ports of the loopback address. Ends when it is dropped.
#[derive(Debug)]
pub struct Collector {
    process: ServerProcess,
    log: PathBuf,
    /// Where it takes gRPC.
    pub grpc: u16,
    /// Where it takes HTTP.
    pub http: u16,
}

/// A span as it was received.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Span {
    /// Trace, in hex.
    pub trace: String,
    /// Span, in hex.
    pub id: String,
    /// The span that it is in; empty where it is in none.
    pub parent: String,
    /// What it is called.
    pub name: String,
    /// Without `SPAN_KIND_`.
    pub kind: String,
    /// Without `STATUS_CODE_`; empty where there is none.
    pub status: String,
    /// What the status says.
    pub message: String,
    /// In nanoseconds since 1970.
    pub start: u64,
    /// In nanoseconds since 1970.
    pub end: u64,
    /// Their values as the collector writes them: `Str(…)`, `Int(…)`.
    pub attributes: BTreeMap<String, String>,
}

impl Collector {
    /// Starts one that keeps its log in `folder`.
    ///
    /// # Errors
    /// When there is none on this machine (`ULTRASIMPLE_ROTEL` says where), or it does not start.
    pub fn start(folder: &Path) -> anyhow::Result<Self> {
        let [grpc, http] = free_ports();
        let log = folder.join("collector.log");
        let mut command = Command::new(find_tool("rotel-agent", "ULTRASIMPLE_ROTEL")?);
        command
            .args(["start", "--exporter", "blackhole"])
            .args(["--debug-log", "metrics", "--debug-log", "traces"])
            .args(["--debug-log-verbosity", "detailed"])
            .args(["--otlp-grpc-endpoint", &format!("127.0.0.1:{grpc}")])
            .args(["--otlp-http-endpoint", &format!("127.0.0.1:{http}")])
            .current_dir(folder)
            .env_clear();
        let mut process = ServerProcess::spawn(command, &log)?;
        let listens = |port| TcpStream::connect(("127.0.0.1", port)).is_ok();
        process.wait_ready(START, || listens(grpc) && listens(http))?;
        Ok(Self { process, log, grpc, http })
    }

    /// Where it takes a protocol, as `OTEL_EXPORTER_OTLP_ENDPOINT` says it.
    pub fn endpoint(&self, protocol: &str) -> String {
        let port = if protocol == "grpc" { self.grpc } else { self.http };
        format!("http://127.0.0.1:{port}")
    }

    /// All that it wrote so far.
    pub fn written(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The names of all metrics received so far.
    pub fn metrics(&self) -> BTreeSet<String> {
        let written = self.written();
        let names = written.lines().filter_map(|line| line.split("-> Name: ").nth(1));
        names.map(str::to_owned).collect()
    }

    /// All spans received so far.
    pub fn spans(&self) -> Vec<Span> {
        spans(&self.written())
    }

    /// Waits until what it received is enough. It writes things down a little later than it confirms them.
    ///
    /// # Errors
    /// When it is not within `limit`.
    pub fn wait(
        &mut self,
        limit: Duration,
        mut is_enough: impl FnMut(&str) -> bool,
    ) -> anyhow::Result<()> {
        let log = self.log.clone();
        let written = move || std::fs::read_to_string(&log).unwrap_or_default();
        self.process.wait_ready(limit, || is_enough(&written()))
    }

    /// Ends it.
    pub fn kill(&mut self) {
        self.process.kill();
    }
}

/// The spans in what a collector has written. One that is not written to its end is none.
pub fn spans(written: &str) -> Vec<Span> {
    let whole = written.rfind('\n').map_or("", |end| &written[..end]);
    let mut spans = Vec::new();
    let mut is_span = false;
    for line in whole.lines() {
        let line = line.trim();
        if line.starts_with("ResourceSpans #") || line.starts_with("ResourceMetrics #") {
            is_span = false;
        }
        if line.starts_with("Span #") {
            is_span = true;
            spans.push(Span::default());
        }
        let Some(span) = spans.last_mut().filter(|_| is_span) else { continue };
        if let Some((name, value)) = line.strip_prefix("-> ").and_then(|line| line.split_once(": "))
        {
            span.attributes.insert(name.to_owned(), value.to_owned());
        } else if let Some((name, value)) = line.split_once(':') {
            span.take(name.trim(), value.trim());
        }
    }
    spans
}

impl Span {
    fn take(&mut self, name: &str, value: &str) {
        let text = value.to_owned();
        match name {
            "Trace ID" => self.trace = text,
            "ID" => self.id = text,
            "Parent ID" => self.parent = text,
            "Name" => self.name = text,
            "Kind" => self.kind = text.replace("SPAN_KIND_", ""),
            "Status code" => self.status = text.replace("STATUS_CODE_", ""),
            "Status message" => self.message = text,
            "Start time" => self.start = text.parse().unwrap_or_default(),
            "End time" => self.end = text.parse().unwrap_or_default(),
            _ => {}
        }
    }

    /// The value of an attribute that is text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.attributes.get(name)?.strip_prefix("Str(")?.strip_suffix(')')
    }

    /// The value of an attribute that is a whole number.
    pub fn number(&self, name: &str) -> Option<i64> {
        self.attributes.get(name)?.strip_prefix("Int(")?.strip_suffix(')')?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_as_rotel_writes_them() {
        let written = "\
ResourceSpans #0
Resource attributes:
     -> service.name: Str(x)
Span #0
    Trace ID       : 5b
    Parent ID      : ee
    ID             : ef
    Name           : put
    Kind           : SPAN_KIND_CLIENT
Start time: 15
End time: 17
    Status code    : STATUS_CODE_ERROR
    Status message : oh: no
Attributes:
     -> a.b: Str(c: d)
     -> n: Int(3)
ResourceMetrics #0
     -> Name: other
Span #1
    Trace ID";
        let [span, unfinished] = &spans(written)[..] else { panic!() };
        assert_eq!(
            (span.trace.as_str(), span.id.as_str(), span.parent.as_str()),
            ("5b", "ef", "ee")
        );
        assert_eq!((span.kind.as_str(), span.status.as_str()), ("CLIENT", "ERROR"));
        assert_eq!((span.message.as_str(), span.start, span.end), ("oh: no", 15, 17));
        assert_eq!((span.text("a.b"), span.number("n")), (Some("c: d"), Some(3)));
        assert_eq!(span.attributes.len(), 2);
        assert_eq!(*unfinished, Span::default());
    }
}
