//! A run as a trace, where the environment names an OpenTelemetry collector: of what takes long, and may fail for one
//! of many.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use ultrasimple_core::SystemClock;
use ultrasimple_telemetry::{Service, Traces};
use ultrasimple_trace::catalogue::{COMMAND, RUN};

use crate::args::Command;
use crate::{Outcome, complain};

/// How long the spans may take on their way to the collector.
const EXPORT: Duration = Duration::from_secs(5);

/// Does the work, and tells how long it took.
///
/// # Errors
/// Those of the work; and when the environment says something that cannot be done.
pub(crate) async fn traced(
    command: &Command,
    work: impl Future<Output = anyhow::Result<Outcome>>,
) -> anyhow::Result<Outcome> {
    let word = match command {
        Command::Restore(_) => "restore",
        Command::Verify(_) => "verify",
        Command::Prune(_) => "prune",
        _ => return work.await,
    };
    let Some(traces) = Traces::wanted().context("cannot start")? else { return work.await };
    let service = Service {
        name: "ultrasimple-ctl",
        version: env!("CARGO_PKG_VERSION"),
        node: std::process::id().to_string(),
    };
    let (tracer, exporter) =
        traces.start(&service, Arc::new(SystemClock)).context("cannot start")?;
    let mut span = tracer.root(&RUN);
    span.set(&COMMAND, word);
    let outcome = span.within(work).await;
    match &outcome {
        Ok(Outcome::AllWell | Outcome::SomeWarned | Outcome::Interrupted) => {}
        Ok(Outcome::SomeFailed) => span.fail("some_failed", &"some failed"),
        Ok(Outcome::AllFailed) => span.fail("failed", &"nothing was achieved"),
        Err(error) => span.fail("failed", &format_args!("{error:#}")),
    }
    drop(span);
    if let Err(error) = exporter.end(EXPORT).await {
        complain(&format!("the trace could not be exported: {error}"));
    }
    outcome
}
