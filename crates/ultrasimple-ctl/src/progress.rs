//! The progress bar: on a terminal, and nowhere else.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar, or nothing where nobody would see it.
#[derive(Debug, Clone)]
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// A bar on stderr, if that is a terminal and `quiet` is not set.
    pub(crate) fn new(quiet: bool) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        if !quiet && std::io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        Self(bar)
    }

    /// Says what is going on before the total is known.
    pub(crate) fn looking(&self, what: &str) {
        self.style("{spinner} {msg}");
        self.0.set_message(what.to_owned());
        self.0.tick();
    }

    /// Begins to count bytes.
    pub(crate) fn restoring(&self, bytes: u64) {
        self.style(
            "{bar:30} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta} {msg}",
        );
        self.0.reset();
        self.0.set_length(bytes);
    }

    /// Begins to count things.
    pub(crate) fn counting(&self, things: u64) {
        self.style("{bar:30} {pos}/{len} {eta} {msg}");
        self.0.reset();
        self.0.set_length(things);
    }

    /// One more of them is done.
    pub(crate) fn one(&self) {
        self.0.inc(1);
    }

    /// So many more bytes are there.
    pub(crate) fn bytes(&self, count: u64) {
        self.0.inc(count);
    }

    /// What stands beside the bar.
    pub(crate) fn note(&self, text: String) {
        self.0.set_message(text);
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        self.0.finish_and_clear();
    }

    fn style(&self, template: &str) {
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.0.set_style(style);
        }
    }
}
