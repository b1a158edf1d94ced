//! Giving memory back after a burst.
//!
//! A first cycle over 100,000 databases leaves the C library's heap with tens of megabytes of free pieces
//! that it keeps; a daemon at rest should not. Costs some milliseconds, so only after much work.

/// Changes, or uploads and comparisons, in one cycle, or databases in the catalogs that are read at a start or written in
/// one round, that make it worthwhile.
pub(crate) const WORTHWHILE: u64 = 1_000;

/// Gives what is free back to the system, where the C library can (glibc).
pub(crate) fn release() {
    #[cfg(target_env = "gnu")]
    // SAFETY: no preconditions; it takes the heap's own locks.
    unsafe {
        libc::malloc_trim(0);
    }
}
