//! Wires settings, store and replicator together, and runs.

use std::io::{self, Write};
use std::sync::Arc;

use anyhow::{Context, bail};
use tokio_util::sync::CancellationToken;
use tracing::info;
use ultrasimple_core::SystemClock;
use ultrasimple_core::config::{RunMode, Settings};
use ultrasimple_replicator::{CycleReport, Replicator, ReplicatorOptions};

use crate::{http, scratch, signals, store};

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All that was to be done was done.
    AllWell,
    /// Some databases failed; the log names them.
    SomeFailed,
}

/// Runs as the settings say, until done or told to stop.
///
/// # Errors
/// When it could not start, or could not go on.
pub(crate) async fn run(settings: Settings) -> anyhow::Result<Outcome> {
    not_yet(&settings)?;
    let cancel = signals::cancellation()?;
    // Takes what others may have, before anything is asked of the store.
    let listener = match settings.http.address {
        Some(address) => Some(http::bind(address).await?),
        None => None,
    };
    scratch::prepare(&settings.upload.scratch)?;
    if settings.run != RunMode::DryRun {
        announce(&settings);
    }
    let store = tokio::select! {
        opened = store::open(&settings) => opened?,
        () = cancel.cancelled() => bail!("stopped before the store was open"),
    };
    let replicator = Replicator::new(options(&settings), store, Arc::new(SystemClock));
    let replicator = Arc::new(replicator.context("cannot start")?);
    let _server = match listener {
        Some(listener) => Some(http::serve(listener, statistics(&replicator))?),
        None => None,
    };
    match settings.run {
        RunMode::Forever => {
            replicator.run(settings.scan.interval, cancel).await?;
            info!("stopped");
            Ok(Outcome::AllWell)
        }
        RunMode::Once => Ok(outcome(&replicator.run_once(cancel).await?)),
        RunMode::DryRun => dry_run(&replicator, cancel).await,
    }
}

/// R12: what can be set, but has no effect yet.
fn not_yet(settings: &Settings) -> anyhow::Result<()> {
    let is_fleet = settings.fleet.is_some() && settings.run != RunMode::DryRun;
    for (is_set, flag) in
        [(is_fleet, "-etcd"), (settings.http.token_file.is_some(), "-http-token-file")]
    {
        if is_set {
            bail!("{flag}: this build cannot do that yet");
        }
    }
    Ok(())
}

/// Prints one line for each database.
async fn dry_run(replicator: &Replicator, cancel: CancellationToken) -> anyhow::Result<Outcome> {
    let mut written = Ok(());
    let reported = replicator
        .dry_run(cancel.clone(), |line| {
            if written.is_ok() {
                written = writeln!(io::stdout(), "{line}");
                if written.is_err() {
                    cancel.cancel();
                }
            }
        })
        .await;
    match written {
        Ok(()) => {}
        // The reader has seen enough (`| head`).
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(Outcome::AllWell),
        Err(error) => return Err(error).context("cannot write to stdout"),
    }
    let report = reported?;
    let CycleReport { databases, stored, unchanged, failed, .. } = report;
    info!(
        "Dry run: {databases} databases, {stored} would be uploaded, {unchanged} are stored as they \
         are, {failed} would fail"
    );
    Ok(outcome(&report))
}

fn outcome(report: &CycleReport) -> Outcome {
    if report.failed == 0 && report.problems == 0 { Outcome::AllWell } else { Outcome::SomeFailed }
}

fn options(settings: &Settings) -> ReplicatorOptions {
    let Settings { scan, keep, upload, node, .. } = settings;
    ReplicatorOptions {
        volumes: node.volumes.clone(),
        node: node.node.clone(),
        patterns: scan.patterns.clone(),
        template: upload.template.clone(),
        concurrent: upload.concurrent,
        memory_budget: upload.memory_budget,
        check: upload.check,
        min_upload_interval: upload.min_upload_interval,
        put_budget: upload.put_budget,
        keep: *keep,
        scratch: upload.scratch.clone(),
        spool_limit: upload.spool_limit,
        drain_timeout: upload.drain_timeout,
    }
}

fn statistics(replicator: &Arc<Replicator>) -> http::Statistics {
    let replicator = Arc::clone(replicator);
    Arc::new(move || serde_json::to_value(replicator.statistics()).unwrap_or_default())
}

/// One line with all settings, without secrets.
fn announce(settings: &Settings) {
    let words = settings.describe().into_iter();
    let words: Vec<_> = words.map(|(name, value)| format!("{name}={value}")).collect();
    info!("ultrasimple {}: {}", env!("CARGO_PKG_VERSION"), words.join(", "));
}
