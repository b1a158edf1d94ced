//! Where daemons run: as processes of this host, or each in a container, as on a host of its own.
//!
//! A container has processes, a file system, a name and a network of its own; the databases are mounted into it,
//! read-only. It reaches etcd and the store at this host's address in the network of all containers.

use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::task::block_in_place;
use ultrasimple_core::{Clock as _, SystemClock};
use ultrasimple_testkit::process::ServerProcess;

/// On all that is made of containers and networks.
const LABEL: &str = "ultrasimple-chaos";
/// A container that was just made runs within this.
const RUNS_WITHIN: Duration = Duration::from_secs(10);

/// Where the daemons of a run are.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// On this host.
    Here,
    /// In containers.
    Containers(Arc<Network>),
}

impl Place {
    /// Containers of this image, or this host.
    pub(crate) fn new(image: Option<&str>) -> Result<Self> {
        Ok(match image {
            Some(image) => Self::Containers(Arc::new(Network::new(image)?)),
            None => Self::Here,
        })
    }

    /// Where daemons reach this host.
    pub(crate) fn address(&self) -> Ipv4Addr {
        match self {
            Self::Here => Ipv4Addr::LOCALHOST,
            Self::Containers(network) => network.gateway,
        }
    }

    /// The flags with which a daemon serves HTTP for us at this port.
    pub(crate) fn http(&self, port: u16) -> Vec<String> {
        match self {
            Self::Here => vec!["-http".to_owned(), format!("127.0.0.1:{port}")],
            // In its container; for us it is published on loopback.
            Self::Containers(_) => vec![
                "-http".to_owned(),
                format!("0.0.0.0:{port}"),
                "-http-open".to_owned(),
                "-advertise".to_owned(),
                format!("http://127.0.0.1:{port}"),
            ],
        }
    }

    /// Starts a daemon.
    pub(crate) fn start(&self, command: Command, start: &Start) -> Result<Body> {
        Ok(match self {
            Self::Here => Body::Process(ServerProcess::spawn(command, &start.log)?),
            Self::Containers(network) => Body::Container(network.start(&command, start)?),
        })
    }
}

/// How a daemon is started.
#[derive(Debug)]
pub(crate) struct Start {
    /// Another one each time.
    pub(crate) name: String,
    pub(crate) log: PathBuf,
    pub(crate) http: u16,
    /// What it may read, and what is its own.
    pub(crate) data: PathBuf,
    pub(crate) own: PathBuf,
}

/// The network of all containers of a run. Dropping it removes it.
#[derive(Debug)]
pub(crate) struct Network {
    name: String,
    image: String,
    gateway: Ipv4Addr,
}

impl Network {
    fn new(image: &str) -> Result<Self> {
        // What a run left that was killed.
        docker(&["network", "prune", "--force", "--filter", &format!("label={LABEL}")])?;
        let name = format!("{LABEL}-{}", std::process::id());
        docker(&["network", "create", "--label", LABEL, &name])?;
        let mut network = Self { name, image: image.to_owned(), gateway: Ipv4Addr::UNSPECIFIED };
        let format = "--format={{(index .IPAM.Config 0).Gateway}}";
        let said = docker(&["network", "inspect", format, &network.name])?;
        network.gateway = said.trim().parse().with_context(|| format!("a gateway: {said}"))?;
        Ok(network)
    }

    fn start(&self, command: &Command, start: &Start) -> Result<Container> {
        let Start { name, log, http, data, own } = start;
        let name = format!("{}-{name}", self.name);
        let owner = data.metadata().with_context(|| format!("look at {}", data.display()))?;
        let mut words = vec!["create".to_owned()];
        let mut add = |flag: &str, value: String| words.extend([flag.to_owned(), value]);
        add("--name", name.clone());
        add("--label", LABEL.to_owned());
        add("--network", self.name.clone());
        add("--publish", format!("127.0.0.1:{http}:{http}"));
        add("--user", format!("{}:{}", owner.uid(), owner.gid()));
        add("--cap-drop", "ALL".to_owned());
        add("--volume", format!("{0}:{0}:ro", data.display()));
        add("--volume", format!("{0}:{0}", own.display()));
        for (variable, value) in command.get_envs() {
            let Some(value) = value else { continue };
            add("--env", format!("{}={}", variable.display(), value.display()));
        }
        // The first process of a container ignores what it does not handle yet, such as SIGTERM: let it be another.
        words.extend(["--init", "--read-only", "--no-healthcheck"].map(str::to_owned));
        words.push(self.image.clone());
        words.extend(command.get_args().map(|word| word.display().to_string()));
        docker(&words.iter().map(String::as_str).collect::<Vec<_>>())?;
        let network = self.name.clone();
        let mut client = Command::new("docker");
        client.args(["start", "--attach", &name]);
        match ServerProcess::spawn(client, log) {
            Ok(client) => Ok(Container { name, network, client }),
            Err(error) => {
                docker(&["rm", "--force", &name])?;
                Err(error)
            }
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // The next run tries again.
        let _ = docker(&["network", "rm", &self.name]);
    }
}

/// A daemon that runs, or has ended. Dropping it kills it.
#[derive(Debug)]
pub(crate) enum Body {
    Process(ServerProcess),
    Container(Container),
}

/// A container, and the client that writes its log and ends with it.
#[derive(Debug)]
pub(crate) struct Container {
    name: String,
    network: String,
    client: ServerProcess,
}

impl Body {
    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        match self {
            Self::Process(process) => process.ended(),
            Self::Container(container) => container.client.ended(),
        }
    }

    /// Stops it where it stands.
    pub(crate) fn pause(&self) -> Result<()> {
        match self {
            Self::Process(process) => process.pause(),
            Self::Container(container) => docker(&["pause", &container.name]).map(drop),
        }
    }

    /// Lets it go on.
    pub(crate) fn resume(&self) -> Result<()> {
        match self {
            Self::Process(process) => process.resume(),
            Self::Container(container) => docker(&["unpause", &container.name]).map(drop),
        }
    }

    /// Asks it to end (SIGTERM), and does not wait for that.
    pub(crate) fn terminate(&mut self) -> Result<()> {
        match self {
            Self::Process(process) => process.terminate(),
            Self::Container(container) => container.terminate(),
        }
    }

    /// Takes its network away, or gives it back, where it has one of its own.
    pub(crate) fn connect(&self, connect: bool) -> Result<()> {
        let Self::Container(Container { name, network, .. }) = self else { return Ok(()) };
        let word = if connect { "connect" } else { "disconnect" };
        docker(&["network", word, network, name]).map(drop)
    }
}

impl Container {
    fn terminate(&mut self) -> Result<()> {
        let start = SystemClock.monotonic();
        loop {
            let asked = docker(&["kill", "--signal", "TERM", &self.name]);
            if asked.is_ok() || self.client.ended()?.is_some() {
                return Ok(());
            }
            // It does not run yet.
            if SystemClock.monotonic().saturating_sub(start) > RUNS_WITHIN {
                return asked.map(drop);
            }
        }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if let Err(error) = docker(&["rm", "--force", &self.name]) {
            eprintln!("chaos: {error:#}");
        }
    }
}

/// What the engine's client prints.
fn docker(words: &[&str]) -> Result<String> {
    let ran = block_in_place(|| Command::new("docker").args(words).output());
    let ran = ran.context("run docker")?;
    if !ran.status.success() {
        bail!("docker {}: {}", words.join(" "), String::from_utf8_lossy(&ran.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&ran.stdout).into_owned())
}
