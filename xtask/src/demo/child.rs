//! The programs that the demo keeps running: their output is shown as it comes, their lines can
//! be waited for, and none of them outlives the demo.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::interrupt::Interrupt;
use crate::process::{line, wait_within};

/// How long an unwanted child may take to end before it is killed.
const GRACE: Duration = Duration::from_secs(5);

/// A program that runs beside us. Dropping it ends it.
pub(crate) struct Running {
    name: &'static str,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    interrupt: Interrupt,
}

impl Running {
    /// Starts `command`; each line it prints is shown after its `name`.
    pub(crate) fn start(
        name: &'static str,
        command: &mut Command,
        interrupt: &Interrupt,
    ) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("start `{}`", line(command)))?;
        let (sender, lines) = mpsc::channel();
        let stdin = child.stdin.take();
        if let Some(stdout) = child.stdout.take() {
            show_lines(name, stdout, sender.clone());
        }
        if let Some(stderr) = child.stderr.take() {
            show_lines(name, stderr, sender);
        }
        Ok(Self { name, child, stdin, lines, interrupt: interrupt.clone() })
    }

    /// Waits, for at most `limit`, for a line of which `read` makes something.
    pub(crate) fn wait_for<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut read: impl FnMut(&str) -> Option<T>,
    ) -> Result<T> {
        let start = Instant::now();
        while start.elapsed() < limit {
            self.interrupt.check()?;
            match self.lines.recv_timeout(Duration::from_millis(100)) {
                Ok(line) => {
                    if let Some(found) = read(&line) {
                        return Ok(found);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    let status = self.child.wait().context("wait for a child process")?;
                    bail!("{} ended with {status} while we waited for {what}", self.name);
                }
            }
        }
        bail!("{}: no {what} within {} s", self.name, limit.as_secs())
    }

    /// Forgets the lines so far: only what it says from now on can be waited for.
    pub(crate) fn forget_lines(&mut self) {
        self.lines.try_iter().for_each(drop);
    }

    /// Closes its standard input and waits for it to end well.
    pub(crate) fn close_stdin_and_wait(mut self, limit: Duration) -> Result<()> {
        drop(self.stdin.take());
        self.end_well(limit)
    }

    /// Asks it to end with SIGTERM and waits for it to end well.
    pub(crate) fn terminate_and_wait(mut self, limit: Duration) -> Result<()> {
        self.signal(Signal::TERM)?;
        self.end_well(limit)
    }

    fn end_well(&mut self, limit: Duration) -> Result<()> {
        let Some(status) = wait_within(&mut self.child, limit)? else {
            bail!("{} did not end within {} s", self.name, limit.as_secs());
        };
        // Its last lines are shown before the story goes on.
        while self.lines.recv_timeout(GRACE).is_ok() {}
        if !status.success() {
            bail!("{} ended with {status}", self.name);
        }
        Ok(())
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.context("the id of a child process")?;
        kill_process(pid, signal).with_context(|| format!("send a signal to {}", self.name))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let ended = |child: &mut Child, limit| -> Option<ExitStatus> {
            wait_within(child, limit).ok().flatten()
        };
        if ended(&mut self.child, Duration::ZERO).is_some() {
            return;
        }
        // Nobody is left to hear of a failure here; what can be done is done.
        drop(self.stdin.take());
        let _ = self.signal(Signal::TERM);
        if ended(&mut self.child, GRACE).is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn show_lines(name: &'static str, from: impl Read + Send + 'static, to: Sender<String>) {
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines() {
            let Ok(line) = line else { break };
            println!("  {name} | {line}");
            // When nobody waits any more, the lines are still shown.
            let _ = to.send(line);
        }
    });
}
