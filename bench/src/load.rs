//! Applications that write: commits at a given pace, and how long each took.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use rusqlite::Connection;

use crate::figures::count;

/// What is written, and how often.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Commits a second to each database.
    pub(crate) each: f64,
    /// The threads that share the databases.
    pub(crate) threads: usize,
}

/// Writers at work; they end when this is finished or dropped.
#[derive(Debug)]
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<Vec<f64>>>>,
}

/// How long commits took, in milliseconds, in order.
#[derive(Debug)]
pub(crate) struct Latencies(Vec<f64>);

impl Load {
    /// Starts it: each commit adds one row, in WAL mode with `synchronous = normal`. The time of a commit counts
    /// from when it was due, or, where its thread slept until then, from its waking.
    pub(crate) fn start(databases: &[PathBuf], pace: Pace) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let share = databases.len().div_ceil(pace.threads.max(1)).max(1);
        let mut threads = Vec::new();
        for (number, paths) in (0_u32..).zip(databases.chunks(share)) {
            let connections: Vec<_> = paths.iter().map(|path| open(path)).collect::<Result<_>>()?;
            let between = Duration::from_secs_f64(1.0 / pace.each / count(paths.len()));
            let first = Instant::now() + between * number / u32::try_from(pace.threads)?.max(1);
            let stop = Arc::clone(&stop);
            threads.push(std::thread::spawn(move || write(&connections, first, between, &stop)));
        }
        Ok(Self { stop, threads })
    }

    /// Ends it.
    pub(crate) fn finish(mut self) -> Result<Latencies> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for thread in self.threads.drain(..) {
            all.extend(thread.join().map_err(|_| anyhow!("a writer panicked"))??);
        }
        all.sort_by(f64::total_cmp);
        Ok(Latencies(all))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Latencies {
    /// What so many of a hundred commits were faster than. Not a number where there was none.
    pub(crate) fn percentile(&self, percent: usize) -> f64 {
        let place = self.0.len() * percent / 100;
        self.0.get(place).copied().unwrap_or(f64::NAN)
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }
}

fn open(path: &Path) -> Result<Connection> {
    let open = || {
        let connection = Connection::open(path)?;
        connection.busy_timeout(Duration::from_secs(30))?;
        connection.execute_batch(
            "PRAGMA journal_mode = wal; PRAGMA synchronous = normal;
             CREATE TABLE IF NOT EXISTS written (id INTEGER PRIMARY KEY, text TEXT)",
        )?;
        Ok::<_, rusqlite::Error>(connection)
    };
    open().with_context(|| format!("open {}", path.display()))
}

/// To one database after the other, so often.
fn write(
    connections: &[Connection],
    first: Instant,
    between: Duration,
    stop: &AtomicBool,
) -> Result<Vec<f64>> {
    let mut took = Vec::new();
    let mut due = first;
    for connection in connections.iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let wait = due.saturating_duration_since(Instant::now());
        let from = if wait.is_zero() {
            due
        } else {
            std::thread::sleep(wait);
            Instant::now()
        };
        connection.execute("INSERT INTO written (text) VALUES (hex(randomblob(16)))", [])?;
        took.push(1e3 * from.elapsed().as_secs_f64());
        due += between;
    }
    Ok(took)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_keep_the_pace() {
        let path = std::env::temp_dir().join(format!("bench-load-{}.db", std::process::id()));
        let pace = Pace { each: 100.0, threads: 1 };
        let load = Load::start(std::slice::from_ref(&path), pace).unwrap();
        let connection = open(&path).unwrap();
        let rows = || connection.query_row("SELECT count(*) FROM written", [], |row| row.get(0));
        let start = Instant::now();
        while rows().unwrap_or(0_i64) < 10 && start.elapsed() < Duration::from_mins(1) {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(start.elapsed() >= Duration::from_millis(50), "{:?}", start.elapsed());
        let latencies = load.finish().unwrap();
        assert!(latencies.count() >= 10 && latencies.percentile(50) <= latencies.percentile(99));
        drop(connection);
        std::fs::remove_file(path).unwrap();
    }
}
