//! Once, or again and again until Ctrl-C.

use std::time::Duration;

use serde_json::Value;

use crate::{Outcome, complain, show};

/// Moves the cursor to the top and clears what is there.
const CLEAR: &str = "\x1b[H\x1b[2J";

#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub(crate) struct Watch {
    /// Show it again every so many seconds (2 where none are given), until Ctrl-C; with --json a document a line
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2",
          value_parser = clap::value_parser!(u16).range(1..=3_600))]
    watch: Option<u16>,
}

/// What is shown once.
pub(crate) struct Shown {
    pub(crate) document: Value,
    pub(crate) text: String,
    pub(crate) outcome: Outcome,
}

/// Shows it as often as is asked for.
///
/// # Errors
/// When it cannot be told: the first time; later that is said, and tried again.
pub(crate) async fn shown(
    watch: Watch,
    json: bool,
    mut look: impl AsyncFnMut() -> anyhow::Result<Shown>,
) -> anyhow::Result<Outcome> {
    let mut shown = look().await?;
    let Some(seconds) = watch.watch else {
        if json {
            show::print_json(&shown.document)?;
        } else {
            show::print(&shown.text)?;
        }
        return Ok(shown.outcome);
    };
    let is_terminal = show::terminal_width().is_some();
    loop {
        let text = match (json, is_terminal) {
            (true, _) => format!("{}\n", shown.document),
            (false, true) => format!("{CLEAR}{}", shown.text),
            (false, false) => format!("{}\n", shown.text),
        };
        if !show::print_more(&text)? {
            return Ok(shown.outcome);
        }
        shown = loop {
            tokio::time::sleep(Duration::from_secs(seconds.into())).await;
            match look().await {
                Ok(shown) => break shown,
                Err(error) => complain(&format!("{error:#}")),
            }
        };
    }
}

/// `0.0 s`, `4.2 s`, `3m 20s`: whatever tells most at a glance.
pub(crate) fn seconds(seconds: f64) -> String {
    if seconds < 60.0 {
        return format!("{seconds:.1} s");
    }
    let whole = Duration::try_from_secs_f64(seconds).map_or(u64::MAX, |span| span.as_secs());
    match (whole / 3_600, whole / 60 % 60, whole % 60) {
        (0, minutes, seconds) => format!("{minutes}m {seconds}s"),
        (hours, minutes, _) => format!("{hours}h {minutes}m"),
    }
}

/// Reads a time span: `30s`, `5m`, `1h 30m`.
///
/// # Errors
/// What would be right.
pub(crate) fn time_span(word: &str) -> Result<Duration, String> {
    let expected = || "it must be a time with its unit, such as 30s, 5m or 1h".to_owned();
    let span = word.trim().parse::<jiff::SignedDuration>().map_err(|_| expected())?;
    Duration::try_from(span).map_err(|_| expected())
}
