//! One node: a real daemon, and the network between it and everything else.
//!
//! ```text
//! daemon ──▶ link ──▶ a member of etcd          (three times)
//!        └─▶ link ──▶ answers ──▶ recorder ──▶ SeaweedFS
//! ```
//!
//! Owns the daemon's life, wherever that is (`place`): it is started again when it ends by itself, as a supervisor of services would.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use ultrasimple_core::{Clock as _, SystemClock};
use ultrasimple_testkit::fault_proxy::{Fault as Answer, FaultProxy};
use ultrasimple_testkit::link::Link;
use ultrasimple_testkit::mount::Mount;
use ultrasimple_testkit::process::free_ports;
use ultrasimple_testkit::seaweed::ADMIN;
use ultrasimple_testkit::turned_clock::TurnedClock;

use crate::place::{Body, Place, Start};

/// How long a daemon may take to end in order, whatever is broken.
const ENDS_WITHIN: Duration = Duration::from_secs(30);
/// A daemon that ended by itself is started again after this.
const STARTED_AGAIN_AFTER: Duration = Duration::from_millis(500);
/// What a small scratch file system holds.
const SCRATCH_BYTES: u64 = 4 << 20;

/// What all nodes have in common.
#[derive(Debug, Clone)]
pub(crate) struct Common {
    /// The daemon's program.
    pub(crate) program: PathBuf,
    pub(crate) place: Place,
    /// The folder of the run.
    pub(crate) folder: PathBuf,
    pub(crate) bucket: String,
    pub(crate) lease: Duration,
    pub(crate) interval: Duration,
    pub(crate) shards: u32,
    /// By how many seconds the clocks of all nodes are turned: the hour is to turn while things break.
    pub(crate) turned: i64,
    /// As if the store ignored conditions, and with the operator's leave: the fence is down.
    pub(crate) unfenced: bool,
}

impl Common {
    /// A node's own folder.
    fn own(&self, node: &str) -> PathBuf {
        self.folder.join(node)
    }
}

/// One node.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) name: String,
    common: Common,
    pub(crate) http: u16,
    process: Option<Body>,
    pub(crate) paused: bool,
    /// It should run: when it does not, it has ended by itself.
    wanted: bool,
    /// When it was found to have ended by itself.
    down_since: Option<Duration>,
    /// Since when it was asked to end, while it has not.
    leaving_since: Option<Duration>,
    pub(crate) etcd: Vec<Link>,
    pub(crate) store: Link,
    pub(crate) answers: FaultProxy,
    pub(crate) clock: Option<TurnedClock>,
    pub(crate) scratch: PathBuf,
    /// A small file system on `scratch`, where one can be had.
    pub(crate) mount: Option<Mount>,
    pub(crate) capacity_percent: u32,
    /// Each time it ended by itself, or not well: its status and last words.
    pub(crate) ends: Vec<String>,
    pub(crate) starts: u64,
    /// How often it had to be killed because it did not end.
    pub(crate) stuck: u64,
}

impl Node {
    /// Makes its network; does not start it.
    pub(crate) async fn new(
        number: usize,
        common: &Common,
        etcd_ports: &[u16],
        recorder: u16,
    ) -> Result<Self> {
        let name = format!("n{number}");
        let mut etcd = Vec::new();
        for port in etcd_ports {
            etcd.push(Link::start_at(common.place.address(), *port).await?);
        }
        let mut answers = FaultProxy::start(recorder).await?;
        if common.unfenced {
            answers.set(Answer::HideRefusals).await?;
        }
        let store = Link::start_at(common.place.address(), answers.port()).await?;
        let [http] = free_ports();
        let own = common.own(&name);
        let scratch = own.join("scratch");
        std::fs::create_dir_all(&scratch).with_context(|| format!("create {}", own.display()))?;
        let clock = TurnedClock::new(&own).inspect_err(|error| eprintln!("no clock: {error:#}"));
        let clock = clock.ok();
        let mount = Mount::tmpfs(&scratch, SCRATCH_BYTES);
        let node = Self {
            name,
            common: common.clone(),
            http,
            process: None,
            paused: false,
            wanted: false,
            down_since: None,
            leaving_since: None,
            etcd,
            store,
            answers,
            clock,
            scratch,
            mount,
            capacity_percent: 100,
            ends: Vec::new(),
            starts: 0,
            stuck: 0,
        };
        node.turn_clock(0)?;
        Ok(node)
    }

    /// Where it writes its log.
    pub(crate) fn log(&self) -> PathBuf {
        self.common.folder.join(format!("{}.log", self.name))
    }

    fn command(&self) -> Command {
        let Common { program, folder, bucket, lease, interval, shards, unfenced, .. } =
            &self.common;
        let mut command = Command::new(program);
        command.env_clear().env("AWS_EC2_METADATA_DISABLED", "true").env("TMPDIR", &self.scratch);
        command.current_dir(folder);
        for member in &self.etcd {
            command.args(["-etcd", &member.endpoint()]);
        }
        let pattern = folder.join("data/*.db");
        command.arg("-pattern").arg(pattern).args(["-node", &self.name, "-bucket", bucket]);
        command.args(["-endpoint-url", &self.store.endpoint()]);
        command.args(["-access-key", ADMIN.access_key, "-secret-key", ADMIN.secret_key]);
        command.args([
            "-lease-ttl".to_owned(),
            format!("{}s", lease.as_secs()),
            "-interval".to_owned(),
            format!("{}ms", interval.as_millis()),
            "-shards".to_owned(),
            shards.to_string(),
            "-capacity".to_owned(),
            format!("{}", f64::from(self.capacity_percent) / 100.0),
        ]);
        command.args(self.common.place.http(self.http));
        command.args(["-drain-timeout", "5s"]).args(unfenced.then_some("-allow-unfenced"));
        match &self.clock {
            Some(clock) => clock.command(command),
            None => command,
        }
    }

    /// What the store does to its requests when nothing is broken.
    pub(crate) fn always(&self) -> Answer {
        if self.common.unfenced { Answer::HideRefusals } else { Answer::None }
    }

    /// Starts it; it is to run from now on.
    pub(crate) fn start(&mut self) -> Result<()> {
        (self.wanted, self.paused, self.down_since) = (true, false, None);
        self.starts += 1;
        let start = Start {
            name: format!("{}-{}", self.name, self.starts),
            log: self.log(),
            http: self.http,
            data: self.common.folder.join("data"),
            own: self.common.own(&self.name),
        };
        self.process = Some(self.common.place.start(self.command(), &start)?);
        Ok(())
    }

    /// Kills it; it is not to run.
    pub(crate) fn kill(&mut self) {
        (self.wanted, self.paused, self.leaving_since) = (false, false, None);
        self.process = None;
    }

    /// Asks it to end; it is not to run.
    pub(crate) fn leave(&mut self) {
        self.wanted = false;
        self.resume();
        if let Some(process) = &mut self.process {
            // It has ended already.
            let _ = process.terminate();
            self.leaving_since = Some(SystemClock.monotonic());
        }
    }

    /// It is to run again, once it has ended.
    pub(crate) fn come_back(&mut self) {
        self.wanted = true;
    }

    /// Waits until it has ended after [`Self::leave`].
    pub(crate) async fn has_ended(&mut self) -> Result<()> {
        while self.leaving_since.is_some() {
            self.supervise()?;
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        Ok(())
    }

    /// Stops it where it stands. It may have ended by itself.
    pub(crate) fn pause(&mut self) {
        self.paused = self.process.as_ref().is_some_and(|process| process.pause().is_ok());
    }

    /// Lets it go on.
    pub(crate) fn resume(&mut self) {
        self.paused = false;
        if let Some(process) = &self.process {
            // It has ended already.
            let _ = process.resume();
        }
    }

    /// Takes its network away, or gives it back, where it has one of its own.
    pub(crate) fn connect(&self, connect: bool) {
        if let Some(process) = &self.process {
            // It has ended already, or another one came in its place that is connected as it should be.
            let _ = process.connect(connect);
        }
    }

    /// Looks after it: notes how it ended, kills it when it does not end in time, and starts it again where it
    /// is to run, a moment later where it ended by itself.
    pub(crate) fn supervise(&mut self) -> Result<()> {
        let now = SystemClock.monotonic();
        if let Some(process) = &mut self.process {
            let status = process.ended()?;
            match (status, self.leaving_since) {
                (None, Some(since)) if now.saturating_sub(since) > ENDS_WITHIN => {
                    self.stuck += 1;
                    self.note(&format!("did not end within {ENDS_WITHIN:?} and was killed"));
                }
                (None, _) => return Ok(()),
                (Some(status), Some(_)) if status.success() => {}
                (Some(status), _) => {
                    self.note(&status.to_string());
                    self.down_since = Some(now);
                }
            }
            (self.process, self.leaving_since) = (None, None);
        }
        let rests = |since: Duration| now.saturating_sub(since) < STARTED_AGAIN_AFTER;
        if self.wanted && self.process.is_none() && !self.down_since.is_some_and(rests) {
            self.start()?;
        }
        Ok(())
    }

    fn note(&mut self, how: &str) {
        self.ends.push(format!("{}: {how}: {}", self.name, last_words(&self.log())));
    }

    /// Makes its clock wrong by so many seconds.
    pub(crate) fn turn_clock(&self, seconds: i64) -> Result<()> {
        self.clock.as_ref().map_or(Ok(()), |clock| clock.turn(self.common.turned + seconds))
    }

    /// Fills its scratch file system.
    pub(crate) fn fill_scratch(&self) {
        // As much as there is room for.
        let _ = std::fs::write(self.filler(), vec![1; usize::try_from(SCRATCH_BYTES).unwrap_or(0)]);
    }

    /// Makes room again.
    pub(crate) fn free_scratch(&self) {
        // It may not have been filled.
        let _ = std::fs::remove_file(self.filler());
    }

    fn filler(&self) -> PathBuf {
        self.scratch.join("filler")
    }
}

/// The last line of a log.
fn last_words(log: &Path) -> String {
    let log = std::fs::read(log).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    log.lines().next_back().unwrap_or_default().to_owned()
}
