//! The log: one line for each event, on stderr.

use std::io::{self, IsTerminal};

use anyhow::Context;
use tracing_subscriber::EnvFilter;
use ultrasimple_core::config::{LogFormat, LogSettings};

/// Ours from `info` on, those of libraries only when something is wrong. A directive for `ultrasimple`
/// covers all crates whose names begin with it.
const DEFAULT_FILTER: &str = "warn,ultrasimple=info";

/// Starts the log. `filter` is what `RUST_LOG` says, if it says anything.
///
/// # Errors
/// When the filter cannot be read.
pub(crate) fn init(settings: LogSettings, filter: Option<&str>) -> anyhow::Result<()> {
    let words = filter.filter(|filter| !filter.trim().is_empty()).unwrap_or(DEFAULT_FILTER);
    let filter = EnvFilter::builder().parse(words).with_context(|| {
        format!("RUST_LOG={words:?}: it must be like info, or warn,ultrasimple=debug")
    })?;
    // A reader of stderr who went away must not become a panic.
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .log_internal_errors(false);
    match settings.format {
        LogFormat::Json => builder.json().flatten_event(true).init(),
        LogFormat::Text => {
            let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            builder.compact().with_target(false).with_ansi(colours).init();
        }
    }
    Ok(())
}
