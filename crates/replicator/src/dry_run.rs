//! What a cycle would do: everything up to the request that writes, which is not made.

use std::fmt;
use std::sync::Arc;

use futures::StreamExt;
use tokio_util::sync::CancellationToken;
use ultrasimple_core::{ObjectKey, SourcePath};

use crate::statistics::{Counters, CycleReport};
use crate::tree::scanner_and_workshop;
use crate::{CycleError, Replicator, RunError};

/// What would be done with one database, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DryRunLine {
    /// The database.
    pub path: SourcePath,
    /// The key of its backup, where it has one.
    pub key: Option<ObjectKey>,
    /// What would be done.
    pub action: DryRunAction,
    /// Why.
    pub reason: String,
}

impl fmt::Display for DryRunLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, key, action, reason } = self;
        let action = match action {
            DryRunAction::Upload => "would upload",
            DryRunAction::Nothing => "nothing to do",
            DryRunAction::Fail => "would fail",
        };
        match key {
            Some(key) => write!(f, "{action}: {path} -> {key} ({reason})"),
            None => write!(f, "{action}: {path} ({reason})"),
        }
    }
}

/// What would be done with a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DryRunAction {
    /// It would be uploaded.
    Upload,
    /// Nothing: the bucket has this content under this key.
    Nothing,
    /// It could not be backed up.
    Fail,
}

impl Replicator {
    /// Scans, captures and checks every database as a first cycle would, and tells what would be sent.
    /// Reads the bucket, writes nothing to it. The lines come in the order of the paths. In the
    /// report, `stored` are those that would be uploaded.
    ///
    /// # Errors
    /// When the scan fails, or when cancelled.
    pub async fn dry_run(
        &self,
        cancel: CancellationToken,
        mut print: impl FnMut(DryRunLine),
    ) -> Result<CycleReport, RunError> {
        let start = self.clock.monotonic();
        let Self { options, store, clock, capturer, .. } = self;
        let counters = Arc::new(Counters::default());
        let (scanner, workshop) = scanner_and_workshop(options, store, clock, capturer, &counters);
        let scanned = tokio::task::spawn_blocking(move || scanner.scan_once()).await;
        let scanned = scanned.map_err(|error| CycleError::Scan(error.to_string()))?;
        let found = scanned.map_err(CycleError::Scan)?;
        for problem in &found.problems {
            tracing::error!(path = %problem.path, "Cannot scan {}: {}", problem.path, problem.reason);
        }
        for pattern in &found.empty_patterns {
            tracing::warn!(%pattern, "No database matches the pattern {pattern}");
        }
        let mut report = CycleReport {
            databases: found.databases.len() as u64,
            changed: found.databases.len() as u64,
            failed: found.problems.len() as u64,
            problems: found.problems.len() as u64,
            scan: self.clock.monotonic().saturating_sub(start),
            ..CycleReport::default()
        };
        let looks = futures::stream::iter(found.databases.into_iter().map(|(id, path)| {
            let workshop = Arc::clone(&workshop);
            async move { workshop.look(id, path).await }
        }));
        let mut lines = looks.buffered(self.options.concurrent);
        loop {
            let line = tokio::select! {
                biased;
                () = cancel.cancelled() => return Err(RunError::Cancelled),
                line = lines.next() => line,
            };
            let Some(line) = line else { break };
            match line.action {
                DryRunAction::Upload => report.stored += 1,
                DryRunAction::Nothing => report.unchanged += 1,
                DryRunAction::Fail => report.failed += 1,
            }
            print(line);
        }
        report.took = self.clock.monotonic().saturating_sub(start);
        Ok(report)
    }
}
