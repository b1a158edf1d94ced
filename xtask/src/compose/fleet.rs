//! A project of Compose: started, asked, waited for, and taken down again whatever happens.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::images::{Images, docker};
use crate::interrupt::Interrupt;
use crate::process::{self, succeeds};
use crate::workspace::Workspace;

const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Lines of each container's log that are shown when something failed.
const LAST_WORDS: &str = "15";

/// The containers of one run. Dropping it removes them, their network and their volumes.
pub(crate) struct Fleet {
    project: String,
    folder: PathBuf,
    variables: Vec<(&'static str, String)>,
    program: &'static [&'static str],
    interrupt: Interrupt,
}

/// What runs Compose files here, if there is something: the plugin, or the older program.
pub(crate) fn program() -> Option<&'static [&'static str]> {
    let programs: [&[&str]; 2] = [&["docker", "compose"], &["docker-compose"]];
    programs.into_iter().find(|words| succeeds(command(words).arg("version")))
}

fn command(words: &[&str]) -> Command {
    let (program, words) = words.split_first().unwrap_or((&"docker", &[]));
    let mut command = Command::new(program);
    command.args(words);
    command
}

impl Fleet {
    /// Starts nothing yet.
    pub(crate) fn new(
        workspace: &Workspace,
        images: Images,
        interrupt: Interrupt,
        tenants: usize,
    ) -> Result<Self> {
        let mut variables = images.0;
        // Any port that is free, on loopback.
        let ports = ["NODE1_PORT", "NODE2_PORT", "NODE3_PORT", "PROMETHEUS_PORT"];
        variables.extend(ports.map(|port| (port, "0".to_owned())));
        variables.push(("TENANTS", tenants.to_string()));
        Ok(Self {
            project: format!("ultrasimple-{}", std::process::id()),
            folder: workspace.root.join("deploy/compose"),
            variables,
            program: program().context("there is neither `docker compose` nor `docker-compose`")?,
            interrupt,
        })
    }

    /// Creates and starts all containers.
    pub(crate) fn up(&self) -> Result<()> {
        println!("starting the fleet as the project {}", self.project);
        self.compose(&["up", "--detach", "--no-build"])
    }

    /// Runs a command on the project; what it says is shown only when it fails.
    pub(crate) fn compose(&self, words: &[&str]) -> Result<()> {
        process::output(self.command().args(words)).map(drop)
    }

    /// What a command in a running container prints.
    pub(crate) fn exec(&self, service: &str, words: &[&str]) -> Result<String> {
        process::output(self.command().args(["exec", "-T", service]).args(words))
    }

    /// What a program prints that runs in a container of its own, as the service does, with one more volume.
    pub(crate) fn run_once(
        &self,
        service: &str,
        program: &str,
        volume: &str,
        words: &[&str],
    ) -> Result<String> {
        let mut command = self.command();
        command.args(["run", "--rm", "--no-deps", "-T", "--volume", volume]);
        process::output(command.args(["--entrypoint", program, service]).args(words))
    }

    /// The id of a service's container.
    pub(crate) fn container(&self, service: &str) -> Result<String> {
        let found = process::output(self.command().args(["ps", "--all", "--quiet", service]))?;
        let id = found.lines().next().with_context(|| format!("{service} has no container"))?;
        Ok(id.to_owned())
    }

    /// The network that all of them are in.
    pub(crate) fn network(&self) -> String {
        format!("{}_default", self.project)
    }

    /// Whether the containers of these services are healthy by their own checks.
    pub(crate) fn are_healthy(&self, services: &[&str]) -> Result<bool> {
        for service in services {
            let format = "--format={{json .State.Health.Status}}";
            let said = process::output(docker(["inspect", format]).arg(self.container(service)?))?;
            let said: Value = serde_json::from_str(&said).context("understand the engine")?;
            if said != "healthy" {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Waits until something is so.
    pub(crate) fn wait(
        &self,
        what: &str,
        limit: Duration,
        is_so: impl Fn() -> Result<bool>,
    ) -> Result<()> {
        let start = Instant::now();
        while !is_so()? {
            self.interrupt.check()?;
            if start.elapsed() > limit {
                bail!("not within {} s: {what}", limit.as_secs());
            }
            std::thread::sleep(LOOK_EVERY);
        }
        println!("{:>6.1} s  {what}", start.elapsed().as_secs_f64());
        Ok(())
    }

    /// Shows how the containers are and what they said last.
    pub(crate) fn show_logs(&self) {
        for words in [&["ps"][..], &["logs", "--tail", LAST_WORDS]] {
            // The failure itself is told in any case.
            let _ = process::run(self.command().args(words));
        }
    }

    fn command(&self) -> Command {
        let mut command = command(self.program);
        command.args(["--ansi", "never", "--project-name", &self.project]);
        command.current_dir(&self.folder);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        println!("taking the fleet down");
        let words = ["down", "--volumes", "--remove-orphans", "--timeout", "5"];
        if let Err(error) = self.compose(&words) {
            eprintln!("the containers of {} are not all gone: {error:#}", self.project);
        }
    }
}
