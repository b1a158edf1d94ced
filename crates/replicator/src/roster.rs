//! The shards of this node and their owners, as they are now: written by the steward, read by all who go through
//! the shards.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use ractor::ActorId;
use serde::Serialize;
use ultrasimple_core::{Epoch, Place, Timestamp};

use crate::scan::Owned;
use crate::scanner::{Counts, Wanted};
use crate::shard_owner::ShardOwner;

/// How far along a shard is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// What its catalog says is not known yet; no scan looks at its databases.
    New,
    /// Scans look at its databases.
    Ready {
        /// A scan has told its owner of all databases.
        is_observed: bool,
        /// There is no usable catalog: if the first scan shows databases, one is made.
        lacks_catalog: bool,
    },
    /// It is to go to another node.
    Releasing,
}

/// A shard and its owner.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) owner: ShardOwner,
    pub(crate) stage: Stage,
    /// Since when it is this node's.
    pub(crate) since: Timestamp,
    /// When the bucket was last compared with its catalog, as that said at the beginning.
    pub(crate) reconciled_at: Option<Timestamp>,
}

/// How many shards are how far along.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct ShardCounts {
    /// Their catalogs are being read.
    pub starting: u64,
    /// They are this node's.
    pub owned: u64,
    /// They are being given back.
    pub releasing: u64,
}

/// See the module. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Roster(Arc<RwLock<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    entries: BTreeMap<Place, Entry>,
    counts: Arc<Counts>,
}

impl Roster {
    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// All shards, as they are now.
    pub(crate) fn entries(&self) -> Vec<(Place, Entry)> {
        self.read().entries.iter().map(|(&place, entry)| (place, entry.clone())).collect()
    }

    /// How many shards are how far along.
    pub(crate) fn shard_counts(&self) -> ShardCounts {
        let mut counts = ShardCounts::default();
        for entry in self.read().entries.values() {
            *match entry.stage {
                Stage::New => &mut counts.starting,
                Stage::Ready { .. } => &mut counts.owned,
                Stage::Releasing => &mut counts.releasing,
            } += 1;
        }
        counts
    }

    /// All owners.
    pub(crate) fn owners(&self) -> Vec<ShardOwner> {
        self.read().entries.values().map(|entry| entry.owner.clone()).collect()
    }

    /// The shards whose catalog is known and that are to stay.
    pub(crate) fn ready(&self) -> Vec<(Place, Entry)> {
        let mut entries = self.entries();
        entries.retain(|(_, entry)| matches!(entry.stage, Stage::Ready { .. }));
        entries
    }

    /// The shard at this place.
    pub(crate) fn get(&self, place: Place) -> Option<Entry> {
        self.read().entries.get(&place).cloned()
    }

    /// Whether an actor is the owner of one of the shards.
    pub(crate) fn has(&self, id: ActorId) -> bool {
        self.read().entries.values().any(|entry| entry.owner.cell().get_id() == id)
    }

    /// A scan has told the owner of a shard of all its databases.
    pub(crate) fn observed(&self, place: Place, epoch: Epoch) {
        self.change(|inner| {
            let entry = inner.entries.get_mut(&place).filter(|entry| entry.owner.epoch() == epoch);
            if let Some(Entry { stage: stage @ Stage::Ready { .. }, .. }) = entry {
                *stage = Stage::Ready { is_observed: true, lacks_catalog: false };
            }
        });
    }

    pub(crate) fn insert(&self, place: Place, entry: Entry) {
        self.change(|inner| drop(inner.entries.insert(place, entry)));
    }

    pub(crate) fn remove(&self, place: Place) -> Option<Entry> {
        self.change(|inner| inner.entries.remove(&place))
    }

    /// Changes the entry of a shard that is owned under this epoch. `None` when it is not.
    pub(crate) fn update<T>(
        &self,
        place: Place,
        epoch: Epoch,
        update: impl FnOnce(&mut Entry) -> T,
    ) -> Option<T> {
        self.change(|inner| {
            let entry = inner.entries.get_mut(&place)?;
            (entry.owner.epoch() == epoch).then(|| update(entry))
        })
    }

    /// How many databases the last scan knew, by shard.
    pub(crate) fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.read().counts)
    }

    pub(crate) fn set_counts(&self, counts: Arc<Counts>) {
        self.change(|inner| inner.counts = counts);
    }
}

/// What a scan is to look at so that these shards hear of their databases, of `places` in all.
pub(crate) fn wanted(ready: &[(Place, Entry)], places: usize) -> Wanted {
    let mut owned = vec![false; places];
    let mut fresh = HashSet::new();
    for (place, entry) in ready {
        if let Some(owned) = owned.get_mut(place.index()) {
            *owned = true;
        }
        if !matches!(entry.stage, Stage::Ready { is_observed: true, .. }) {
            fresh.insert(*place);
        }
    }
    Wanted { owned: Owned::Some(owned), fresh }
}
