//! A daemon that is measured, and what it says of itself.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use ultrasimple_testkit::http;
use ultrasimple_testkit::process::{ServerProcess, free_ports};
use ultrasimple_testkit::seaweed::ADMIN;

use crate::machine;

const READY_WITHIN: Duration = Duration::from_mins(2);
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
const LEAVES_WITHIN: Duration = Duration::from_mins(3);
/// Seldom, so that looking is not what is measured.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What daemons are started with.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) program: PathBuf,
    /// Theirs; the logs are here.
    pub(crate) folder: PathBuf,
    pub(crate) pattern: PathBuf,
    /// The S3 server.
    pub(crate) store: String,
    pub(crate) bucket: String,
    pub(crate) interval: Duration,
    pub(crate) fleet: Option<Fleet>,
    /// Further arguments.
    pub(crate) more: Vec<String>,
}

/// What nodes of a fleet are started with besides.
#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) etcd: Vec<String>,
    pub(crate) shards: u32,
    pub(crate) lease_ttl: Duration,
}

/// One that runs; dropping it kills it.
#[derive(Debug)]
pub(crate) struct Daemon {
    process: ServerProcess,
    http: u16,
}

/// What it says of a shard.
#[derive(Debug)]
pub(crate) struct Shard {
    pub(crate) databases: u64,
    /// Its catalog is read, and nothing waits to be looked at.
    pub(crate) is_quiet: bool,
}

/// How cycles went until now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cycles {
    pub(crate) count: f64,
    /// The sum of their times in seconds.
    pub(crate) took: f64,
}

impl Place {
    /// One node that is no fleet, on SeaweedFS.
    pub(crate) fn single(programs: &Path, folder: &Path, pattern: PathBuf, store: &str) -> Self {
        Self {
            program: programs.join("ultrasimple"),
            folder: folder.to_owned(),
            pattern,
            store: store.to_owned(),
            bucket: "bench".to_owned(),
            interval: Duration::from_secs(15),
            fleet: None,
            more: Vec::new(),
        }
    }

    /// A command that does what the daemon is for.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.env_clear().env("AWS_EC2_METADATA_DISABLED", "true").current_dir(&self.folder);
        command.arg("-pattern").arg(&self.pattern);
        command.args(["-bucket", &self.bucket, "-endpoint-url", &self.store]);
        command.args(["-access-key", ADMIN.access_key, "-secret-key", ADMIN.secret_key]);
        command.args(["-interval", &format!("{}ms", self.interval.as_millis())]);
        command.args(&self.more);
        command
    }

    /// A command that backs all up and ends.
    pub(crate) fn once(&self) -> Command {
        let [http] = free_ports();
        let mut command = self.command();
        command.args(["-http", &format!("127.0.0.1:{http}"), "-once"]);
        command
    }

    /// Starts a node, and waits until it answers.
    pub(crate) fn start(&self, number: usize) -> Result<Daemon> {
        let mut daemon = self.spawn(number)?;
        let http = daemon.http;
        daemon.process.wait_ready(READY_WITHIN, || {
            http::request(http, "GET", "/stats", "", ANSWER_WITHIN).is_ok_and(|it| it.status == 200)
        })?;
        Ok(daemon)
    }

    /// Starts a node.
    pub(crate) fn spawn(&self, number: usize) -> Result<Daemon> {
        let [http] = free_ports();
        let mut command = self.command();
        if let Some(Fleet { etcd, shards, lease_ttl }) = &self.fleet {
            for endpoint in etcd {
                command.args(["-etcd", endpoint]);
            }
            command.args(["-node", &format!("n{number}"), "-shards", &shards.to_string()]);
            command.args(["-lease-ttl", &format!("{}ms", lease_ttl.as_millis())]);
        }
        command.args(["-http", &format!("127.0.0.1:{http}")]);
        let log = self.folder.join(format!("n{number}.log"));
        let process = ServerProcess::spawn(command, &log)?;
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
    pub(crate) fn count(&self, name: &str) -> Result<u64> {
        self.get("/stats")?.get(name).and_then(Value::as_u64).with_context(|| format!("no {name}"))
    }

    /// How its cycles went.
    pub(crate) fn cycles(&self) -> Result<Cycles> {
        let answer = http::request(self.http, "GET", "/metrics", "", ANSWER_WITHIN)?;
        let number = |name: &str| {
            let line = answer.body.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().parse::<f64>().ok()
        };
        let of = |suffix: &str| {
            let name = format!("ultrasimple_cycle_duration_seconds_{suffix} ");
            number(&name).with_context(|| format!("/metrics has no {name}"))
        };
        Ok(Cycles { count: of("count")?, took: of("sum")? })
    }

    /// Waits until so many databases have been stored since its start, and none waits.
    pub(crate) fn wait_until_stored(&mut self, databases: u64, within: Duration) -> Result<()> {
        self.wait("all is stored", within, |daemon| {
            Ok(daemon.count("uploads_success")? >= databases && daemon.count("pending")? == 0)
        })
    }

    /// Waits until something holds of it.
    pub(crate) fn wait(
        &mut self,
        what: &str,
        within: Duration,
        holds: impl FnMut(&Self) -> Result<bool>,
    ) -> Result<()> {
        self.wait_closely(what, within, LOOK_EVERY, holds)
    }

    /// The same, looking so often.
    pub(crate) fn wait_closely(
        &mut self,
        what: &str,
        within: Duration,
        every: Duration,
        mut holds: impl FnMut(&Self) -> Result<bool>,
    ) -> Result<()> {
        let start = Instant::now();
        while start.elapsed() < within {
            // While it starts, nobody answers.
            if holds(self).unwrap_or(false) {
                return Ok(());
            }
            if let Some(status) = self.process.ended()? {
                bail!("the daemon ended ({status}):\n{}", self.process.log_tail());
            }
            std::thread::sleep(every);
        }
        bail!("not within {within:?}: {what}\n{}", self.process.log_tail())
    }

    /// Its shards.
    pub(crate) fn shards(&self) -> Result<Vec<Shard>> {
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
    pub(crate) fn databases(&self) -> Result<u64> {
        Ok(self.shards()?.iter().map(|shard| shard.databases).sum())
    }

    /// Whether it backs up all that it is to back up.
    pub(crate) fn is_ready(&self) -> Result<bool> {
        Ok(http::request(self.http, "GET", "/readyz", "", ANSWER_WITHIN)?.status == 200)
    }

    /// Its memory in bytes.
    pub(crate) fn resident(&self) -> Result<u64> {
        machine::resident(self.process.id())
    }

    /// The process.
    pub(crate) fn process(&self) -> &ServerProcess {
        &self.process
    }

    /// Lets it end in order.
    pub(crate) fn leave(mut self) -> Result<()> {
        self.process.stop(LEAVES_WITHIN)
    }

    /// Ends it at once.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }
}
