//! One capture of an inode at a time in this process.
//!
//! POSIX locks belong to the process, not to the descriptor: closing *any* descriptor of an inode drops
//! all locks this process has on it. A capture opens raw descriptors only while it has no SQLite handle;
//! this makes that true across threads (and across hard links). Process-wide, because the locks are.

use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use ultrasimple_core::FileStamp;

static TAKEN: Mutex<BTreeSet<(u64, u64)>> = Mutex::new(BTreeSet::new());
static FREED: Condvar = Condvar::new();

/// The right to open descriptors on one inode; given back on drop.
pub(crate) struct Turn {
    inode: (u64, u64),
}

impl Turn {
    /// Waits for the turn of `stamp`'s inode, for at most `patience`.
    pub(crate) fn take(stamp: &FileStamp, patience: Duration) -> Option<Self> {
        let inode = (stamp.device, stamp.inode);
        let taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = FREED.wait_timeout_while(taken, patience, |taken| taken.contains(&inode));
        let (mut taken, _) = waited.unwrap_or_else(PoisonError::into_inner);
        // Lazily: a `Turn` made in vain would give back, on drop, the turn of another.
        taken.insert(inode).then(|| Self { inode })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        TAKEN.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.inode);
        FREED.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inode_is_taken_once() {
        let stamp = FileStamp { device: u64::MAX, inode: 1, size: 1, mtime_ns: 1, ctime_ns: 1 };
        let turn = Turn::take(&stamp, Duration::ZERO).unwrap();
        let grown = FileStamp { size: 2, mtime_ns: 2, ..stamp };
        assert!(Turn::take(&grown, Duration::ZERO).is_none());
        assert!(Turn::take(&FileStamp { inode: 2, ..stamp }, Duration::ZERO).is_some());
        // A waiting one gets its turn when the first gives it back.
        let waiting =
            std::thread::spawn(move || Turn::take(&stamp, Duration::from_mins(1)).is_some());
        drop(turn);
        assert!(waiting.join().unwrap());
        assert!(Turn::take(&stamp, Duration::ZERO).is_some());
    }
}
