//! Running a program to its end, and waiting for things to become true: always with a deadline.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use ultrasimple_core::{Clock, SystemClock};

/// Far more than anything waited for takes, and less than what the test runner allows a test.
pub const DEADLINE: Duration = Duration::from_secs(90);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Looks again and again until there is something, and gives that. The only wait by the clock there is.
///
/// # Panics
/// When there is nothing within [`DEADLINE`].
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = SystemClock.monotonic();
    loop {
        if let Some(found) = look() {
            return found;
        }
        let waited = SystemClock.monotonic().saturating_sub(start);
        assert!(waited < DEADLINE, "still not so after {waited:?}: {what}");
        #[expect(clippy::disallowed_methods, reason = "polls another process, with a deadline")]
        std::thread::sleep(PAUSE);
    }
}

/// One of the built programs, beside the folder of this test's executable.
///
/// # Panics
/// When it is not built.
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.ancestors().nth(2).unwrap().join(name);
    assert!(
        path.is_file(),
        "{} is not built: run 'cargo xtask test', or 'cargo build --workspace --bins' first",
        path.display()
    );
    path
}

/// A command without any setting from this process's environment.
pub fn clean(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("AWS_EC2_METADATA_DISABLED", "true");
    command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command
}

/// How a program ended, and what it said.
#[derive(Debug)]
pub struct Ran {
    /// Its exit status; `None` when a signal ended it.
    pub status: Option<i32>,
    /// All of its stdout.
    pub stdout: String,
    /// All of its stderr.
    pub stderr: String,
}

impl Ran {
    /// Panics unless it ended with this status and said all of this on stderr.
    #[track_caller]
    pub fn expect(&self, status: i32, said: &[&str]) -> &Self {
        assert_eq!(self.status, Some(status), "{self}");
        for text in said {
            assert!(self.stderr.contains(text), "it does not say {text:?}: {self}");
        }
        self
    }

    /// Stdout as one JSON document.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self}"))
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { status, stdout, stderr } = self;
        write!(f, "status {status:?}\n-- stdout:\n{stdout}\n-- stderr:\n{stderr}")
    }
}

/// Runs a command to its end.
///
/// # Panics
/// When it cannot be started, or does not end within [`DEADLINE`] (then it is killed).
pub fn run(mut command: Command) -> Ran {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    end(child, &command)
}

fn end(child: Child, command: &Command) -> Ran {
    let pid = Pid::from_child(&child);
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    let output = receiver.recv_timeout(DEADLINE).unwrap_or_else(|_| {
        kill_process(pid, Signal::KILL).unwrap();
        let output = receiver.recv();
        panic!("{command:?} still ran after {DEADLINE:?}: {output:?}");
    });
    let output = output.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ran { status: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}
