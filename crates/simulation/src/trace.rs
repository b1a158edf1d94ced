//! What happened, for people, and a hash of it, by which two runs are compared.

use std::fmt;
use std::time::Duration;

/// See the module. The lines are kept only where they are asked for.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    lines: Option<Vec<String>>,
    hash: u64,
}

impl Trace {
    pub(crate) fn new(is_kept: bool) -> Self {
        Self { lines: is_kept.then(Vec::new), hash: 0xCBF2_9CE4_8422_2325 }
    }

    /// A number that says which way things went.
    pub(crate) fn mix(&mut self, number: u64) {
        self.hash = (self.hash ^ number).wrapping_mul(0x0000_0100_0000_01B3).rotate_left(23);
    }

    /// A line, if lines are kept.
    pub(crate) fn line(&mut self, now: Duration, text: fmt::Arguments<'_>) {
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{:>9.3} {text}", now.as_secs_f64()));
        }
    }

    pub(crate) fn is_kept(&self) -> bool {
        self.lines.is_some()
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn take(&mut self) -> Vec<String> {
        self.lines.take().unwrap_or_default()
    }
}
