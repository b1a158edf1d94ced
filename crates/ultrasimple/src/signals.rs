//! SIGTERM and Ctrl-C: the first asks for a drain, a second Ctrl-C ends the program at once.

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// What shells report for a program that Ctrl-C ended.
const INTERRUPTED: i32 = 130;

/// A token that is cancelled by the first SIGTERM or Ctrl-C from now on.
///
/// # Errors
/// When the operating system does not let us listen.
pub(crate) fn cancellation() -> anyhow::Result<CancellationToken> {
    let terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let token = CancellationToken::new();
    tokio::spawn(listen(terminate, interrupt, token.clone()));
    Ok(token)
}

async fn listen(mut terminate: Signal, mut interrupt: Signal, token: CancellationToken) {
    let name = tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "Ctrl-C",
    };
    info!("{name}: finishing what is in flight; Ctrl-C ends at once");
    token.cancel();
    interrupt.recv().await;
    warn!("Ctrl-C again: ending at once; what was not stored is stored after the next start");
    std::process::exit(INTERRUPTED);
}
