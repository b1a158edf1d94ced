//! `health`: asks the daemon of this host one question, as a health check of a container or a supervisor does.
//!
//! Asks nobody else: neither etcd nor the bucket, so that it costs nothing however often it is asked, and a node is
//! not taken for ill because another one is.

use serde::Serialize;
use ultrasimple_core::config::Settings;
use ultrasimple_peers::{self as peers, Limits};

use crate::{Outcome, Usage, show};

pub(crate) const EXAMPLES: &str = "\
Asks /healthz, or with --ready /readyz, at -http: neither etcd nor the bucket, and without a token.

Examples:
  ultrasimple-ctl health                      # for what restarts a daemon that hangs
  ultrasimple-ctl health --ready              # for what waits until it backs up what it should

Exit status: 0 yes; 1 no, or no answer within 2 s.";

#[derive(Debug, clap::Args)]
pub(crate) struct Health {
    /// Not only whether it lives: whether it backs up all that it is to back up
    #[arg(long)]
    ready: bool,
}

/// The JSON document, see docs/CTL.md.
#[derive(Debug, Serialize)]
struct Document {
    well: bool,
    /// The daemon's own word, or why there is none.
    says: String,
}

/// Asks, and says what the answer was.
///
/// # Errors
/// When `-http` is off, so that nobody can be asked.
pub(crate) async fn run(settings: &Settings, args: &Health, json: bool) -> anyhow::Result<Outcome> {
    let off = || Usage("-http is off: there is nobody to ask".to_owned());
    let address = settings.http.daemon.ok_or_else(off)?;
    let path = if args.ready { "/readyz" } else { "/healthz" };
    let answer = peers::open_path(&format!("http://{address}"), path, Limits::default()).await;
    let (well, says) = answer.unwrap_or_else(|why| (false, format!("{address}: {why}")));
    let document = Document { well, says };
    if json {
        show::print_json(&document)?;
    } else {
        show::print(&format!("{}\n", document.says))?;
    }
    Ok(if well { Outcome::AllWell } else { Outcome::AllFailed })
}
