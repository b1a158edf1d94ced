//! A daemon of the fleet, and what it says of itself.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use ultrasimple_testkit::http;
use ultrasimple_testkit::process::{ServerProcess, free_ports};
use ultrasimple_testkit::seaweed::ADMIN;

use crate::machine;

const READY_WITHIN: Duration = Duration::from_mins(2);
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
const LEAVES_WITHIN: Duration = Duration::from_mins(3);

/// Where daemons run.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) program: PathBuf,
    pub(super) folder: PathBuf,
    pub(super) data: PathBuf,
    pub(super) etcd: Vec<String>,
    pub(super) store: String,
    pub(super) shards: u32,
    pub(super) lease_ttl: u64,
    pub(super) interval: u64,
}

/// One that runs; dropping it kills it.
#[derive(Debug)]
pub(super) struct Daemon {
    process: ServerProcess,
    http: u16,
}

/// What it says of a shard.
#[derive(Debug)]
pub(super) struct Shard {
    pub(super) databases: u64,
    /// Its catalog is read, and nothing waits to be looked at.
    pub(super) is_quiet: bool,
}

impl Place {
    /// Starts a node, and waits until it answers.
    pub(super) fn start(&self, number: usize) -> Result<Daemon> {
        let [http] = free_ports();
        let mut command = Command::new(&self.program);
        command.env_clear().env("AWS_EC2_METADATA_DISABLED", "true").current_dir(&self.folder);
        command.arg("-pattern").arg(self.data.join("*/*.db"));
        for endpoint in &self.etcd {
            command.args(["-etcd", endpoint]);
        }
        command.args(["-bucket", "bench", "-endpoint-url", &self.store]);
        command.args(["-access-key", ADMIN.access_key, "-secret-key", ADMIN.secret_key]);
        command.args(["-node", &format!("n{number}"), "-shards", &self.shards.to_string()]);
        command.args(["-lease-ttl", &format!("{}s", self.lease_ttl)]);
        command.args(["-interval", &format!("{}s", self.interval)]);
        command.args(["-http", &format!("127.0.0.1:{http}")]);
        let log = self.folder.join(format!("n{number}.log"));
        let mut process = ServerProcess::spawn(command, &log)?;
        process.wait_ready(READY_WITHIN, || {
            http::request(http, "GET", "/stats", "", ANSWER_WITHIN).is_ok_and(|it| it.status == 200)
        })?;
        Ok(Daemon { process, http })
    }
}

impl Daemon {
    fn get(&self, target: &str) -> Result<Value> {
        let answer = http::request(self.http, "GET", target, "", ANSWER_WITHIN)?;
        serde_json::from_str(&answer.body)
            .with_context(|| format!("{target} says {}: {}", answer.status, answer.body))
    }

    /// A number of `/stats`.
    pub(super) fn count(&self, name: &str) -> Result<u64> {
        self.get("/stats")?.get(name).and_then(Value::as_u64).with_context(|| format!("no {name}"))
    }

    /// Its shards.
    pub(super) fn shards(&self) -> Result<Vec<Shard>> {
        let shards = self.get("/api/v1/shards")?;
        let number = |shard: &Value, name: &str| shard.get(name).and_then(Value::as_u64);
        let all = shards.as_array().context("no list of shards")?.iter().map(|shard| Shard {
            databases: number(shard, "databases").unwrap_or_default(),
            is_quiet: shard.get("phase").and_then(Value::as_str) == Some("owned")
                && number(shard, "pending") == Some(0),
        });
        Ok(all.collect())
    }

    /// How many databases are in its shards.
    pub(super) fn databases(&self) -> Result<u64> {
        Ok(self.shards()?.iter().map(|shard| shard.databases).sum())
    }

    /// Whether it backs up all that it is to back up.
    pub(super) fn is_ready(&self) -> Result<bool> {
        Ok(http::request(self.http, "GET", "/readyz", "", ANSWER_WITHIN)?.status == 200)
    }

    /// Its memory in bytes.
    pub(super) fn resident(&self) -> Result<u64> {
        machine::resident(self.process.id()).context("no memory of a daemon")
    }

    /// Lets it end in order.
    pub(super) fn leave(mut self) -> Result<()> {
        self.process.stop(LEAVES_WITHIN)
    }

    /// Ends it at once.
    pub(super) fn kill(&mut self) {
        self.process.kill();
    }
}
