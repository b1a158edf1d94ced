//! Wires settings, store and replicator together, and runs.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Error, bail};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use ultrasimple_command_line::secrets;
use ultrasimple_core::config::{FleetSettings, HttpSettings, RunMode, Settings};
use ultrasimple_core::{Clock, SystemClock};
use ultrasimple_replicator::{CycleReport, Replicator, ReplicatorOptions, RunError};
use ultrasimple_store::Store;
use ultrasimple_telemetry::{Otlp, Service, Traces};
use ultrasimple_trace::Tracer;

use crate::http::{self, Server, Token};
use crate::metrics::Distributions;
use crate::observed::Observed;
use crate::{fleet, scratch, signals, store};

/// How long the last numbers and spans may take on their way to the collector.
const LAST_EXPORT: Duration = Duration::from_secs(5);

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All that was to be done was done.
    AllWell,
    /// Some databases failed; the log names them.
    SomeFailed,
}

/// Between two attempts to join a fleet anew.
const REJOIN: Duration = Duration::from_secs(5);

/// Runs as the settings say, until done or told to stop.
///
/// # Errors
/// When it could not start, or could not go on.
pub(crate) async fn run(settings: Settings) -> anyhow::Result<Outcome> {
    let cancel = signals::cancellation()?;
    let otlp = Otlp::wanted().context("cannot start")?;
    let otlp = otlp.filter(|_| settings.run != RunMode::DryRun);
    let traces = Traces::wanted().context("cannot start")?;
    let traces = traces.filter(|_| settings.run != RunMode::DryRun);
    // Takes what others may have, before anything is asked of the store.
    let door = door(&settings.http).await?;
    scratch::prepare(&settings.upload.scratch)?;
    if settings.run != RunMode::DryRun {
        announce(&settings);
    }
    // Although there is nothing to tell yet: a start may have to wait for others.
    let token = door.as_ref().and_then(|(_, token)| token.clone());
    let start = |(listener, token): (TcpListener, Option<String>)| {
        Server::start(listener, token.as_deref().map(Token::new))
    };
    let server = door.map(start).transpose()?;
    let store = tokio::select! {
        opened = store::open(&settings) => opened?,
        () = cancel.cancelled() => bail!("stopped before the store was open"),
    };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let replicator = Replicator::new(options(&settings), Arc::clone(&store), Arc::clone(&clock));
    let distributions = Arc::new(Distributions::default());
    let service = service(&settings);
    let traces = traces.map(|traces| traces.start(&service, Arc::clone(&clock)));
    let (tracer, traces) = traces.transpose().context("cannot start")?.unzip();
    let replicator = replicator
        .context("cannot start")?
        .watched_by(Arc::clone(&distributions) as _)
        .traced_by(tracer.unwrap_or(Tracer::off()));
    let replicator = Arc::new(replicator);
    let fleet = settings.fleet.as_ref().filter(|_| settings.run == RunMode::Forever);
    let joining = Joining {
        settings: &settings,
        fleet,
        store: &store,
        served: server.as_ref().map(Server::address),
        clock: &clock,
        replicator: &replicator,
        cancel: cancel.clone(),
    };
    joining.join().await?;
    let (bucket, clock) = (store.location().to_owned(), Arc::clone(&clock));
    let replicators = Arc::clone(&replicator);
    let observed = Observed::new(&settings, bucket, replicators, clock, distributions, token);
    let observed = Arc::new(observed);
    let exporter = otlp.map(|otlp| observed.export(otlp, &service)).transpose();
    let exporter = exporter.context("cannot start")?;
    if let Some(server) = &server {
        server.tell_of(observed);
    }
    let outcome = act(&joining, cancel).await;
    let last_numbers = async { exporter?.end(LAST_EXPORT).await.err() };
    let last_spans = async { traces?.end(LAST_EXPORT).await.err() };
    let (numbers, spans) = tokio::join!(last_numbers, last_spans);
    if let Some(error) = numbers {
        warn!("The last numbers could not be exported: {error}");
    }
    if let Some(error) = spans {
        warn!("The last spans could not be exported: {error}");
    }
    outcome
}

/// Who tells.
fn service(settings: &Settings) -> Service {
    let (version, node) = (env!("CARGO_PKG_VERSION"), settings.node.node.to_string());
    Service { name: "ultrasimple", version, node }
}

/// How this node gets into its fleet, if it has one.
struct Joining<'a> {
    settings: &'a Settings,
    fleet: Option<&'a FleetSettings>,
    store: &'a Arc<dyn Store>,
    served: Option<SocketAddr>,
    clock: &'a Arc<dyn Clock>,
    replicator: &'a Arc<Replicator>,
    cancel: CancellationToken,
}

impl Joining<'_> {
    async fn join(&self) -> anyhow::Result<()> {
        let Self { settings, fleet, store, served, clock, .. } = *self;
        let Some(fleet) = fleet else { return Ok(()) };
        let membership = tokio::select! {
            joined = fleet::join(settings, fleet, store, served, clock) => joined?,
            () = self.cancel.cancelled() => bail!("stopped before the fleet was joined"),
        };
        self.replicator.join(membership);
        Ok(())
    }

    /// Joins the fleet as it is now, as soon as that can be done.
    async fn join_anew(&self) -> anyhow::Result<()> {
        while let Err(error) = self.join().await {
            if self.cancel.is_cancelled() || !fleet::may_pass(&error) {
                return Err(error);
            }
            warn!("cannot join now, and tries again: {error:#}");
            tokio::select! {
                () = self.cancel.cancelled() => {}
                () = tokio::time::sleep(REJOIN) => {}
            }
        }
        Ok(())
    }
}

/// Backs up, or shows what it would do.
async fn act(joining: &Joining<'_>, cancel: CancellationToken) -> anyhow::Result<Outcome> {
    let Joining { settings, replicator, .. } = joining;
    match settings.run {
        RunMode::Forever => {
            loop {
                match replicator.run(settings.scan.interval, cancel.clone()).await {
                    Err(RunError::Rejoin(reason)) => warn!("joins its fleet anew: {reason}"),
                    ended => break ended?,
                }
                joining.join_anew().await?;
            }
            info!("stopped");
            Ok(Outcome::AllWell)
        }
        RunMode::Once => Ok(outcome(&replicator.run_once(cancel).await?)),
        RunMode::DryRun => dry_run(replicator, cancel).await,
    }
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

/// The address for HTTP, and the token that is to be asked for there.
async fn door(settings: &HttpSettings) -> anyhow::Result<Option<(TcpListener, Option<String>)>> {
    let Some(address) = settings.address else { return Ok(None) };
    let token =
        settings.token_file.as_deref().map(secrets::token).transpose().map_err(Error::msg)?;
    Ok(Some((http::bind(address).await?, token)))
}

/// One line with all settings, without secrets.
fn announce(settings: &Settings) {
    let words = settings.describe().into_iter();
    let words: Vec<_> = words.map(|(name, value)| format!("{name}={value}")).collect();
    info!("ultrasimple {}: {}", env!("CARGO_PKG_VERSION"), words.join(", "));
}
