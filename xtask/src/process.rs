//! Runs programs: shows the command line, turns a failed exit into an error that names it.

use std::ffi::OsStr;
use std::io::Read;
use std::process::{Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::workspace::cargo;

/// Runs `command` with its output shown, and fails where it fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    println!("$ {}", line(command));
    run_silently_announced(command)
}

/// [`run`] for a step that has announced itself: the command line is shown only when it fails.
pub(crate) fn run_silently_announced(command: &mut Command) -> Result<()> {
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("start `{}`", line(command)))?;
    succeeded(command, status)
}

/// Whether `command` can be run and succeeds; shows nothing.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Runs `command` and returns what it printed; fails, with what it said, where it fails.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let Output { status, stdout, stderr } = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("start `{}`", line(command)))?;
    if !status.success() {
        bail!(
            "`{}` ended with {status}\n{}{}",
            line(command),
            String::from_utf8_lossy(&stdout),
            String::from_utf8_lossy(&stderr)
        );
    }
    Ok(String::from_utf8_lossy(&stdout).into_owned())
}

/// How a command that may hang ended, with its standard error.
pub(crate) enum Ended {
    /// By itself.
    Exited(ExitStatus, String),
    /// It took longer than its limit and was killed.
    TimedOut,
}

/// Runs a `command` that may wait for a network that is not there, for at most `limit`.
pub(crate) fn run_within(command: &mut Command, limit: Duration) -> Result<Ended> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start `{}`", line(command)))?;
    let mut stderr = child.stderr.take().context("take the standard error")?;
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        stderr.read_to_string(&mut text).map(|_| text)
    });
    let status = wait_within(&mut child, limit)?;
    let Some(status) = status else {
        child.kill().context("kill a command that hangs")?;
        child.wait().context("collect a killed command")?;
        return Ok(Ended::TimedOut);
    };
    let text = reader.join().ok().and_then(Result::ok).unwrap_or_default();
    Ok(Ended::Exited(status, text))
}

/// Waits for `child` to end by itself, for at most `limit`.
pub(crate) fn wait_within(
    child: &mut std::process::Child,
    limit: Duration,
) -> Result<Option<ExitStatus>> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().context("wait for a child process")? {
            return Ok(Some(status));
        }
        if start.elapsed() >= limit {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The command line, as one could type it in the repository.
pub(crate) fn line(command: &Command) -> String {
    let mut words = Vec::new();
    // Of the environment, what decides how the command judges; the rest is where things are.
    for (name, value) in command.get_envs() {
        if let Some(value) = value.filter(|_| name.as_encoded_bytes().ends_with(b"FLAGS")) {
            words.push(format!("{}={}", name.display(), word(value)));
        }
    }
    let program = command.get_program();
    words.push(if program == cargo() { "cargo".to_owned() } else { word(program) });
    words.extend(command.get_args().map(word));
    words.join(" ")
}

fn word(text: &OsStr) -> String {
    let text = text.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.into_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

fn succeeded(command: &Command, status: ExitStatus) -> Result<()> {
    if !status.success() {
        bail!("`{}` ended with {status}", line(command));
    }
    Ok(())
}
