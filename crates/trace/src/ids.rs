//! Which trace, and which span of it.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

/// A trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId(pub u128);

/// A span of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanId(pub u64);

/// A place in a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    /// Which trace.
    pub trace: TraceId,
    /// Which span of it.
    pub span: SpanId,
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Makes ids that nobody else makes: hashes of a counter, under keys that the operating system drew.
#[derive(Debug, Default)]
pub(crate) struct Ids {
    keys: RandomState,
    count: AtomicU64,
}

impl Ids {
    /// A new span in a new trace.
    pub(crate) fn trace(&self) -> Context {
        let trace = u128::from(self.next()) << 64 | u128::from(self.next());
        Context { trace: TraceId(trace), span: self.span() }
    }

    pub(crate) fn span(&self) -> SpanId {
        SpanId(self.next())
    }

    /// Never 0, which stands for none.
    fn next(&self) -> u64 {
        self.keys.hash_one(self.count.fetch_add(1, Ordering::Relaxed)).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ids_are_unique_and_spread() {
        let ids = Ids::default();
        let made: HashSet<_> = (0..10_000).map(|_| ids.span()).collect();
        assert_eq!(made.len(), 10_000);
        let high = made.iter().filter(|id| id.0 > u64::MAX / 2).count();
        assert!((4_500..5_500).contains(&high), "{high}");
        assert_ne!(Ids::default().trace(), Ids::default().trace());
    }

    #[test]
    fn they_are_written_as_everybody_writes_them() {
        assert_eq!(TraceId(0xab).to_string(), "000000000000000000000000000000ab");
        assert_eq!(SpanId(0xab).to_string(), "00000000000000ab");
    }
}
