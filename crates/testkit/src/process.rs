//! Server processes for tests: started on free loopback ports, waited for with a deadline, killed on drop.
//!
//! Owns how a child process lives and dies. Knows nothing of what the servers are; [`crate::seaweed`]
//! and its like do.

use std::collections::BTreeSet;
use std::collections::hash_map::RandomState;
use std::ffi::OsStr;
use std::fs::File;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError, mpsc};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use ultrasimple_core::{Clock, SystemClock};

/// Below Linux' range for outgoing connections (32768 and up), so that no client socket takes a port
/// between the look and the server's bind.
const PORTS: std::ops::Range<u16> = 15_000..32_000;
/// Between two looks at a server that is not ready yet.
const POLL: Duration = Duration::from_millis(25);

/// Loopback TCP ports that nobody listens on now. They are all different, and none was given before: who
/// got it may not listen there yet.
///
/// # Panics
/// When a hundred tries find too few, which means that the machine is out of ports.
pub fn free_ports<const N: usize>() -> [u16; N] {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut held = Vec::with_capacity(N);
    for _ in 0..100 + N {
        let random = RandomState::new().build_hasher().finish();
        let span = u64::from(PORTS.end - PORTS.start);
        let port = PORTS.start + u16::try_from(random % span).unwrap_or_default();
        if !given.insert(port) {
            continue;
        }
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            held.push((port, listener));
        }
        if held.len() == N {
            break;
        }
    }
    let ports: Vec<u16> = held.iter().map(|(port, _)| *port).collect();
    match ports.try_into() {
        Ok(ports) => ports,
        #[expect(clippy::panic, reason = "a test cannot go on without a port")]
        Err(found) => panic!("wanted {N} free ports between {PORTS:?}, found only {found:?}"),
    }
}

/// A running server. Dropping it kills it and waits for its end; it also dies with this process, however
/// that ends (`PR_SET_PDEATHSIG`), so a `static` may hold one.
#[derive(Debug)]
pub struct ServerProcess {
    name: String,
    child: Child,
    log: PathBuf,
}

impl ServerProcess {
    /// Starts `command` with its output at the end of the file `log`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(mut command: Command, log: &Path) -> anyhow::Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let output = File::options().create(true).append(true).open(log);
        let output = output.with_context(|| format!("open {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child = spawn_on_lasting_thread(command).with_context(|| format!("start {name}"))?;
        Ok(Self { name, child, log: log.to_owned() })
    }

    /// The process's id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks `ready` again and again until it says yes.
    ///
    /// # Errors
    /// When the process ends before, or the time is over: with the tail of its log.
    pub fn wait_ready(
        &mut self,
        within: Duration,
        mut ready: impl FnMut() -> bool,
    ) -> anyhow::Result<()> {
        let start = SystemClock.monotonic();
        loop {
            if ready() {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended while starting ({status}):\n{}", self.name, self.log_tail());
            }
            if SystemClock.monotonic().saturating_sub(start) > within {
                bail!("{} was not ready within {within:?}:\n{}", self.name, self.log_tail());
            }
            poll();
        }
    }

    /// Kills it now and waits for its end, as a crash of the server would. Dropping does the same.
    pub fn kill(&mut self) {
        // Fails only when the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Stops it where it stands (SIGSTOP): connections stay open, nothing is answered.
    ///
    /// # Errors
    /// When it has ended.
    pub fn pause(&self) -> anyhow::Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on after [`Self::pause`].
    ///
    /// # Errors
    /// When it has ended.
    pub fn resume(&self) -> anyhow::Result<()> {
        self.signal(Signal::CONT)
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Asks it to end (SIGTERM), and does not wait.
    ///
    /// # Errors
    /// When it has ended.
    pub fn terminate(&self) -> anyhow::Result<()> {
        self.signal(Signal::TERM)
    }

    /// Asks it to end (SIGTERM) and waits for that; kills it when it takes too long.
    ///
    /// # Errors
    /// When it did not end by itself.
    pub fn stop(&mut self, within: Duration) -> anyhow::Result<()> {
        self.terminate()?;
        let start = SystemClock.monotonic();
        while self.child.try_wait()?.is_none() {
            if SystemClock.monotonic().saturating_sub(start) > within {
                self.kill();
                bail!("{} did not end within {within:?}:\n{}", self.name, self.log_tail());
            }
            poll();
        }
        Ok(())
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        kill_process(Pid::from_child(&self.child), signal)
            .with_context(|| format!("send {signal:?} to {}", self.name))
    }

    /// The last lines of its log.
    pub fn log_tail(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines.get(lines.len().saturating_sub(30)..).unwrap_or_default().join("\n")
    }
}

fn poll() {
    #[expect(clippy::disallowed_methods, reason = "polls another process, with a deadline")]
    std::thread::sleep(POLL);
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The program `name`: what the variable `variable` says, else from the tools folder that
/// `cargo xtask test` fills (`<target>/tools/bin`), else from `PATH`.
///
/// # Errors
/// When it is in none of them, with what to do.
pub fn find_tool(name: &str, variable: &str) -> anyhow::Result<PathBuf> {
    if let Some(path) = std::env::var_os(variable) {
        let path = PathBuf::from(path);
        if path.is_file() {
            return Ok(path);
        }
        bail!("{variable} is {}, which is not a file", path.display());
    }
    let target = std::env::current_exe().ok();
    // A test runs as <target>/<profile>/deps/<test>, or with <target>/<triple> in between.
    let in_tools = target
        .iter()
        .flat_map(|executable| executable.ancestors().skip(1).take(5))
        .map(|folder| folder.join("tools/bin").join(name));
    let in_path = std::env::var_os("PATH");
    let in_path = in_path
        .iter()
        .flat_map(|path| std::env::split_paths(path).collect::<Vec<_>>())
        .map(|folder| folder.join(name));
    match in_tools.chain(in_path).find(|candidate| candidate.is_file()) {
        Some(found) => Ok(found),
        None => bail!(
            "the program '{name}' is not installed: run 'cargo xtask test', which installs it, \
             or set {variable} to its path"
        ),
    }
}

/// A command without the variables of this process that would change how a server talks.
pub fn clean_command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy().to_ascii_uppercase();
        let changes = ["AWS_", "SSL_CERT_", "ETCD"].iter().any(|start| text.starts_with(start));
        if changes || text.ends_with("_PROXY") {
            command.env_remove(&name);
        }
    }
    command
}

type Request = (Command, mpsc::Sender<io::Result<Child>>);

/// `PR_SET_PDEATHSIG` fires when the *thread* that started the child ends, and the thread of a test
/// ends with the test. So one thread that lives as long as this process starts them all.
fn spawn_on_lasting_thread(mut command: Command) -> anyhow::Result<Child> {
    static STARTER: OnceLock<Mutex<mpsc::Sender<Request>>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (requests, received) = mpsc::channel::<Request>();
        std::thread::spawn(move || {
            for (mut command, answer) in received {
                // Nobody waits for the answer only when the test is gone; the child is killed below.
                if let Err(mpsc::SendError(Ok(mut unwanted))) = answer.send(command.spawn()) {
                    let _ = unwanted.kill();
                    let _ = unwanted.wait();
                }
            }
        });
        Mutex::new(requests)
    });
    // SAFETY: between fork and exec only an async-signal-safe system call (prctl) is made.
    unsafe {
        command.pre_exec(|| {
            let signal = Some(Signal::KILL);
            rustix::process::set_parent_process_death_signal(signal).map_err(io::Error::from)
        });
    }
    let (answer, child) = mpsc::channel();
    let requests = starter.lock().map_err(|_| anyhow::anyhow!("the starter's lock is poisoned"))?;
    requests.send((command, answer)).context("the starter thread has ended")?;
    drop(requests);
    Ok(child.recv().context("the starter thread has ended")??)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_different_and_free() {
        let mut ports = free_ports::<8>().to_vec();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 8);
        assert!(ports.iter().all(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok()));
    }

    #[test]
    fn a_child_outlives_the_thread_that_asked_for_it_and_ends_on_drop() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let mut command = clean_command("sleep");
        command.arg("600");
        let mut server = std::thread::spawn(move || ServerProcess::spawn(command, &log).unwrap())
            .join()
            .unwrap();
        assert!(server.child.try_wait().unwrap().is_none());
        let proc = PathBuf::from(format!("/proc/{}", server.id()));
        assert!(proc.exists());
        drop(server);
        assert!(!proc.exists());
    }

    #[test]
    fn an_early_end_is_told_with_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = clean_command("sh");
        command.args(["-c", "echo no such option; exit 3"]);
        let mut server = ServerProcess::spawn(command, &folder.path().join("log")).unwrap();
        let error = server.wait_ready(Duration::from_secs(20), || false).unwrap_err().to_string();
        assert!(error.contains("no such option") && error.contains("exit status: 3"), "{error}");
    }

    #[test]
    fn a_missing_tool_is_told_with_the_command_that_installs_it() {
        let error = find_tool("no-such-tool", "ULTRASIMPLE_NO_SUCH_TOOL").unwrap_err().to_string();
        assert!(error.contains("cargo xtask test"), "{error}");
    }
}
