//! Reads the line that the daemon logs after each cycle.

/// What the daemon's log says of one cycle.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cycle {
    pub(crate) changed: u64,
    pub(crate) stored: u64,
    pub(crate) failed: u64,
    pub(crate) pending: u64,
}

impl Cycle {
    /// Reads a line such as `… Scan complete: … changed=3 stored=3 failed=0 pending=0 …`.
    pub(crate) fn read(line: &str) -> Option<Self> {
        if !line.contains("Scan complete") {
            return None;
        }
        let field = |name: &str| {
            let value = line.split_whitespace().find_map(|word| word.strip_prefix(name))?;
            value.strip_prefix('=')?.parse().ok()
        };
        Some(Self {
            changed: field("changed")?,
            stored: field("stored")?,
            failed: field("failed")?,
            pending: field("pending")?,
        })
    }

    /// Whether the bucket has everything, as far as this cycle saw.
    pub(crate) fn is_at_rest(self) -> bool {
        self.changed == 0 && self.failed == 0 && self.pending == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cycle_is_read_from_the_log() {
        let line = "2024-01-15T13:05:00Z  INFO Scan complete: 50 databases, 3 synced (took 78ms) \
                    databases=50 changed=4 stored=3 unchanged=1 failed=0 pending=2 bytes=77";
        let cycle = Cycle::read(line).expect("a cycle");
        assert_eq!((cycle.changed, cycle.stored, cycle.failed, cycle.pending), (4, 3, 0, 2));
        assert!(!cycle.is_at_rest());
        assert!(Cycle::read("INFO serving http://127.0.0.1:1/healthz and /stats").is_none());
    }
}
