//! An operator who looks at the fleet all the while: `ultrasimple-ctl shards --json`, again and again.
//!
//! Whatever is broken, it has to end soon; what it prints has to be what it promises, and to agree with etcd
//! where that said the same before and after.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;
use ultrasimple_core::{Clock as _, SystemClock};

use crate::check::Violation;
use crate::watcher::{Claims, look};

const LOOK_EVERY: Duration = Duration::from_secs(3);
/// Past this it hangs.
const ENDS_WITHIN: Duration = Duration::from_mins(1);
const KEYS: [&str; 8] =
    ["volume", "shard", "owner", "desired", "epoch", "databases", "pending", "exposure_seconds"];

/// What the operator saw.
#[derive(Debug, Clone, Default)]
pub(crate) struct Looked {
    /// How often it ended with 0, and otherwise.
    pub(crate) well: u64,
    pub(crate) not_well: u64,
    /// How long it took at most.
    pub(crate) longest: Duration,
    /// What it said when it did not end with 0, each once.
    pub(crate) said: BTreeSet<String>,
    pub(crate) violations: Vec<Violation>,
}

impl Looked {
    /// Takes in what was printed.
    fn read(&mut self, printed: &str, before: &Claims, after: &Claims) {
        let mut wrong = |what: String| self.violations.push(Violation::new("ctl shards", what));
        let Ok(Value::Array(rows)) = serde_json::from_str(printed) else {
            return wrong(format!("not a list: {}", printed.chars().take(200).collect::<String>()));
        };
        let mut seen = BTreeSet::new();
        for row in &rows {
            let missing: Vec<_> = KEYS.iter().filter(|key| row.get(**key).is_none()).collect();
            if !missing.is_empty() {
                wrong(format!("{row} lacks {missing:?}"));
                continue;
            }
            let text = |key: &str| row.get(key).and_then(Value::as_str).unwrap_or_default();
            let number = row.get("shard").and_then(Value::as_u64).unwrap_or_default();
            let shard = format!("{}/{number}", text("volume"));
            let claims = (before.get(&shard), after.get(&shard));
            if let (Some(first), Some(last)) = claims
                && first == last
                && first.node != text("owner")
            {
                wrong(format!("it says that {:?} owns {shard}, not {}", text("owner"), first.node));
            }
            if !seen.insert(shard.clone()) {
                wrong(format!("{shard} is there twice"));
            }
        }
        for shard in before.keys().filter(|shard| after.contains_key(*shard)) {
            if !seen.contains(shard) {
                wrong(format!("{shard} is missing"));
            }
        }
    }
}

/// A thread that looks. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Operator {
    looked: Arc<Mutex<Looked>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Operator {
    pub(crate) fn start(ctl: PathBuf, mut etcd: Vec<u16>) -> Self {
        let (looked, stop) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let (shared, stopped) = (Arc::clone(&looked), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                look_once(&ctl, &mut etcd, &shared);
                let start = SystemClock.monotonic();
                while !stopped.load(Ordering::Relaxed) && since(start) < LOOK_EVERY {
                    pause();
                }
            }
        });
        Self { looked, stop, thread: Some(thread) }
    }

    /// Ends it; what it saw.
    pub(crate) fn finish(mut self) -> Looked {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It does not panic.
            let _ = thread.join();
        }
        self.looked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn look_once(ctl: &PathBuf, etcd: &mut [u16], looked: &Mutex<Looked>) {
    let before = look(etcd).unwrap_or_default();
    let mut command = Command::new(ctl);
    command.env_clear().args(["shards", "--json"]);
    for port in etcd.iter() {
        command.args(["-etcd".to_owned(), format!("http://127.0.0.1:{port}")]);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let start = SystemClock.monotonic();
    let ran = run(command);
    let after = look(etcd).unwrap_or_default();
    let mut looked = looked.lock().unwrap_or_else(PoisonError::into_inner);
    looked.longest = looked.longest.max(since(start));
    match ran {
        Ok(printed) => {
            looked.well += 1;
            looked.read(&printed, &before, &after);
        }
        Err(None) => {
            let what = format!("it did not end within {ENDS_WITHIN:?}");
            looked.violations.push(Violation::new("ctl shards", what));
        }
        Err(Some(said)) => {
            looked.not_well += 1;
            if looked.said.len() < 20 {
                looked.said.insert(said);
            }
        }
    }
}

/// What it printed; or its last words; or nothing when it had to be killed.
fn run(mut command: Command) -> Result<String, Option<String>> {
    let mut child = command.spawn().map_err(|error| Some(error.to_string()))?;
    let start = SystemClock.monotonic();
    let (mut out, mut err) = (child.stdout.take(), child.stderr.take());
    let read = |from: Option<Box<dyn std::io::Read + Send>>| {
        std::thread::spawn(move || {
            let mut text = String::new();
            // What cannot be read is not there.
            let _ = from.map(|mut from| from.read_to_string(&mut text));
            text
        })
    };
    let out = read(out.take().map(|out| Box::new(out) as Box<dyn std::io::Read + Send>));
    let err = read(err.take().map(|err| Box::new(err) as Box<dyn std::io::Read + Send>));
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if since(start) < ENDS_WITHIN => pause(),
            _ => {
                // It has ended in between, at the latest.
                let _ = child.kill();
                let _ = child.wait();
                return Err(None);
            }
        }
    };
    let (out, err) = (out.join().unwrap_or_default(), err.join().unwrap_or_default());
    if status.success() {
        return Ok(out);
    }
    Err(Some(err.lines().next_back().unwrap_or_default().to_owned()))
}

fn since(start: Duration) -> Duration {
    SystemClock.monotonic().saturating_sub(start)
}

fn pause() {
    #[expect(clippy::disallowed_methods, reason = "polls another process, with a deadline")]
    std::thread::sleep(Duration::from_millis(25));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::watcher::Claim;

    fn row(shard: u32, owner: &str) -> Value {
        json!({"volume": "v", "shard": shard, "owner": owner, "desired": "a", "epoch": 1,
            "databases": 1, "pending": 0, "exposure_seconds": 0.0})
    }

    fn found(printed: &Value) -> Vec<String> {
        let claim = Claim { node: "a".to_owned(), created: 1 };
        let claims = Claims::from([("v/0".to_owned(), claim)]);
        let mut looked = Looked::default();
        looked.read(&printed.to_string(), &claims, &claims);
        looked.violations.into_iter().map(|violation| violation.what).collect()
    }

    #[test]
    fn what_is_wrong_in_a_list_is_found() {
        assert_eq!(found(&json!([row(0, "a"), row(1, "b")])), Vec::<String>::new());
        for (printed, text) in [
            (json!({}), "not a list"),
            (json!([row(0, "b")]), "\"b\" owns v/0, not a"),
            (json!([row(0, "a"), row(0, "a")]), "twice"),
            (json!([]), "missing"),
            (json!([row(0, "a"), {"volume": "v"}]), "lacks"),
        ] {
            let violations = found(&printed);
            assert!(violations.len() == 1 && violations[0].contains(text), "{violations:?}");
        }
    }
}
