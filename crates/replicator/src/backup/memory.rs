//! How much memory captures and uploads take, and who may have it when.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What one unit of the memory budget stands for.
const BUDGET_UNIT: u64 = 4_096;
/// Memory that any upload needs besides image and object: buffers of the codec and the connection.
const OVERHEAD: u64 = 192 * 1_024;
/// Bytes that captures and uploads may hold in memory, all together: half for images in memory, half for
/// uploads that stream. They don't share, so that no large database holds up the small ones.
#[derive(Debug, Clone)]
pub(crate) struct MemoryBudget {
    units: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    total: u64,
}

impl MemoryBudget {
    pub(crate) fn new(bytes: u64) -> Self {
        let half = usize::try_from(bytes / 2 / BUDGET_UNIT).unwrap_or(Semaphore::MAX_PERMITS);
        let streams = usize::try_from(bytes / 2 / memory_per_stream(bytes)).unwrap_or(1);
        Self {
            units: Arc::new(Semaphore::new(half.clamp(1, Semaphore::MAX_PERMITS))),
            streams: Arc::new(Semaphore::new(streams.clamp(1, 64))),
            total: bytes,
        }
    }

    /// What a database needs whose image has at most so many bytes. Images that would take much of the
    /// budget are spooled.
    pub(super) fn need(&self, image_bound: u64) -> Need {
        if image_bound <= self.total / 8 {
            Need::Memory { bytes: 2 * image_bound + OVERHEAD, image: image_bound }
        } else {
            Need::Stream
        }
    }

    fn semaphore(&self, need: Need) -> (Arc<Semaphore>, u32) {
        match need {
            Need::Stream => (Arc::clone(&self.streams), 1),
            Need::Memory { bytes, .. } => {
                // Never so many that they could not be had.
                let units = bytes.min(self.total / 2).div_euclid(BUDGET_UNIT).max(1);
                (Arc::clone(&self.units), u32::try_from(units).unwrap_or(u32::MAX))
            }
        }
    }

    pub(super) fn take_now(&self, need: Need) -> Option<OwnedSemaphorePermit> {
        let (semaphore, units) = self.semaphore(need);
        semaphore.try_acquire_many_owned(units).ok()
    }

    pub(super) async fn take(&self, need: Need) -> Option<OwnedSemaphorePermit> {
        let (semaphore, units) = self.semaphore(need);
        semaphore.acquire_many_owned(units).await.ok()
    }
}

/// How much memory an upload that streams may take, of a budget of so many bytes: the store's parts and
/// the chunks on their way to it. Whoever opens the store sets the size of its parts by this.
pub fn memory_per_stream(budget: u64) -> u64 {
    (budget / 4).clamp(STREAM_LEAST, STREAM_MOST)
}

/// Less than this does not do: parts have 5 MiB at least.
const STREAM_LEAST: u64 = 24 << 20;
/// More than this makes nothing faster.
const STREAM_MOST: u64 = 104 << 20;

/// Memory that an upload takes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Need {
    Memory {
        /// All of it.
        bytes: u64,
        /// The largest image that may be held.
        image: u64,
    },
    /// The image is spooled, and the object made as it is sent.
    Stream,
}

impl Need {
    pub(super) fn largest_image(self) -> u64 {
        match self {
            Self::Memory { image, .. } => image,
            Self::Stream => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[tokio::test]
    async fn large_ones_do_not_hold_up_small_ones() {
        let budget = MemoryBudget::new(256 * MIB);
        let stream = budget.need(33 * MIB);
        assert!(matches!(stream, Need::Stream));
        let streams: Vec<_> = std::iter::from_fn(|| budget.take_now(stream)).collect();
        assert_eq!(streams.len(), 2);
        let image = budget.need(16 * MIB);
        let images: Vec<_> = std::iter::from_fn(|| budget.take_now(image)).collect();
        assert_eq!(images.len(), 3, "with their objects, in half of the budget");
        drop(images);
        assert!(budget.take(image).await.is_some());
    }

    #[tokio::test]
    async fn whatever_is_needed_can_be_had() {
        for total in [16 * MIB, 17 * MIB, 256 * MIB, 1 << 44] {
            let budget = MemoryBudget::new(total);
            for bound in [0, 1, total / 8, total / 8 + 1, u64::MAX / 4] {
                assert!(budget.take_now(budget.need(bound)).is_some(), "{bound} of {total}");
            }
        }
    }
}
