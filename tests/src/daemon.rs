//! A daemon that runs: its log, its `/stats`, its end.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use ultrasimple_core::{Clock, SystemClock};

use crate::run::eventually;

/// For one answer of `/stats`.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// A running daemon. Dropping it kills it.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
    address: String,
}

impl Daemon {
    /// Starts it, and waits until it runs. Its HTTP address is any free port.
    ///
    /// # Panics
    /// When it ends instead.
    pub fn start(mut command: Command) -> Self {
        command.args(["-http", "127.0.0.1:0"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let log = Arc::new(Mutex::new(Vec::new()));
        let written = Arc::clone(&log);
        let reader = std::thread::spawn(move || {
            for line in stderr.split(b'\n').map_while(Result::ok) {
                written.lock().unwrap().push(String::from_utf8_lossy(&line).into_owned());
            }
        });
        let mut daemon = Self { child, log, reader: Some(reader), address: String::new() };
        let line = daemon.says("serving http://");
        let address = line.split("http://").nth(1).unwrap();
        address.split('/').next().unwrap().clone_into(&mut daemon.address);
        daemon
    }

    /// Where its HTTP is: host and port.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// All it has said so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    /// How many lines it has said so far: a mark for [`Self::says_after`].
    pub fn mark(&self) -> usize {
        self.log.lock().unwrap().len()
    }

    /// Waits for a line with this text, from its start on, and gives it.
    #[track_caller]
    pub fn says(&self, text: &str) -> String {
        self.says_after(0, text)
    }

    /// Waits for a line with this text that comes after the mark, and gives it.
    #[track_caller]
    pub fn says_after(&self, mark: usize, text: &str) -> String {
        eventually(&format!("the log says {text:?}"), || {
            let ended = self.reader.as_ref().is_none_or(JoinHandle::is_finished);
            let log = self.log.lock().unwrap();
            let line = log.iter().skip(mark).find(|line| line.contains(text)).cloned();
            assert!(line.is_some() || !ended, "ended without saying {text:?}:\n{}", log.join("\n"));
            line
        })
    }

    /// What `/stats` tells now.
    #[track_caller]
    pub fn stats(&self) -> Value {
        let answer = self.get("/stats");
        let json = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
        serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {answer}"))
    }

    /// What it serves below `/api/v1`.
    #[track_caller]
    pub fn api(&self, what: &str) -> Value {
        let answer = self.get(&format!("/api/v1/{what}"));
        let json = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
        serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {answer}"))
    }

    /// A number of `/stats`.
    #[track_caller]
    pub fn count(&self, name: &str) -> u64 {
        let stats = self.stats();
        stats[name].as_u64().unwrap_or_else(|| panic!("no {name} in {stats}"))
    }

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.address)
            .unwrap_or_else(|error| panic!("{error}; it said:\n{}", self.log()));
        stream.set_read_timeout(Some(ANSWER_WITHIN)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Waits for a state of `/stats`.
    #[track_caller]
    pub fn until(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            eventually(what, || {
                last = self.stats();
                holds(&last).then(|| last.clone())
            })
        }));
        found.unwrap_or_else(|_| panic!("{what}: not so in {last}; it said:\n{}", self.log()))
    }

    /// Waits until so many cycles that begin from now on have ended.
    #[track_caller]
    pub fn cycles(&self, count: u64) {
        // The scan of one may be under way; and a cycle has certainly ended when the next was scanned.
        let goal = self.count("scans") + 2 + count;
        self.until("cycles", |stats| stats["scans"].as_u64() >= Some(goal));
    }

    /// Waits until all but `failing` databases have nothing pending, and have stayed so for two cycles.
    #[track_caller]
    pub fn settled(&self, failing: u64) {
        for _ in 0..2 {
            self.cycles(1);
            let what = format!("{failing} databases pending");
            self.until(&what, |stats| stats["pending"] == failing);
        }
    }

    /// SIGTERM; waits for its end. Gives its exit status and how long it took.
    #[track_caller]
    pub fn stop(&mut self) -> (Option<i32>, Duration) {
        let start = SystemClock.monotonic();
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        let status = eventually("it ends after SIGTERM", || self.child.try_wait().unwrap());
        let took = SystemClock.monotonic().saturating_sub(start);
        self.end_log();
        (status.code(), took)
    }

    /// Stops it where it stands (SIGSTOP).
    pub fn pause(&self) {
        kill_process(Pid::from_child(&self.child), Signal::STOP).unwrap();
    }

    /// Lets it go on.
    pub fn resume(&self) {
        kill_process(Pid::from_child(&self.child), Signal::CONT).unwrap();
    }

    /// Kills it at once, as a crash would.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.end_log();
    }

    /// Its exit status, if it has ended by itself.
    pub fn ended(&mut self) -> Option<Option<i32>> {
        let status = self.child.try_wait().unwrap()?;
        self.end_log();
        Some(status.code())
    }

    /// SIGTERM, and all must have gone well.
    #[track_caller]
    pub fn stop_well(mut self) {
        let (status, _) = self.stop();
        assert_eq!(status, Some(0), "{}", self.log());
    }

    fn end_log(&mut self) {
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // By its own id; gone already is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.end_log();
    }
}
