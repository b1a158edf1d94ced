//! The databases of a shard that have a change which the bucket lacks, and what is known of each.
//!
//! In the first cycle these may be all there are, and each of them has been seen once, at the same time, and nothing
//! has happened to it but that it was offered. Such a batch is kept as nine bytes for each and one [`Active`] for
//! all. Whatever becomes of one of them, it is taken out and kept by itself, as all others are.

use std::collections::HashMap;
use std::time::Duration;

use ultrasimple_core::{FingerprintDigest, Hour};

use super::Failing;
use crate::scan::DatabaseId;

/// A database that is to be backed up. The default: seen at the very beginning.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Active {
    /// Since when its oldest change has been waiting (monotonic clock).
    pub(crate) since: Duration,
    pub(crate) offered: bool,
    /// The last fingerprint seen since it was offered.
    pub(crate) seen: Option<FingerprintDigest>,
    pub(crate) failing: Option<Box<Failing>>,
    /// See [`super::Known::unsure_since`].
    pub(crate) unsure_since: Option<Hour>,
    /// See [`super::Known::doubted`].
    pub(crate) doubted: Option<Hour>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    batch: Batch,
    /// All others.
    single: HashMap<DatabaseId, Active>,
}

#[derive(Debug, Default)]
struct Batch {
    /// What is known of each.
    like: Active,
    /// Sorted.
    ids: Vec<DatabaseId>,
    /// Of each of these, whether it was taken out.
    out: Vec<bool>,
    left: usize,
}

/// So few are kept by themselves.
const FEW: usize = 64;

impl Backlog {
    pub(crate) fn len(&self) -> usize {
        self.batch.left + self.single.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn contains(&self, id: DatabaseId) -> bool {
        self.get(id).is_some()
    }

    pub(crate) fn get(&self, id: DatabaseId) -> Option<&Active> {
        let in_batch = || self.batch.find(id).map(|_| &self.batch.like);
        self.single.get(&id).or_else(in_batch)
    }

    /// To change it. From now on it is kept by itself.
    pub(crate) fn get_mut(&mut self, id: DatabaseId) -> Option<&mut Active> {
        if let Some(active) = self.batch.take(id) {
            self.single.insert(id, active);
        }
        self.single.get_mut(&id)
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (DatabaseId, &Active)> {
        let batch = self.batch.ids.iter().zip(&self.batch.out).filter(|(_, out)| !**out);
        let batch = batch.map(|(&id, _)| (id, &self.batch.like));
        batch.chain(self.single.iter().map(|(&id, active)| (id, active)))
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &Active> {
        self.iter().map(|(_, active)| active)
    }

    pub(crate) fn insert(&mut self, id: DatabaseId, active: Active) {
        self.batch.take(id);
        self.single.insert(id, active);
    }

    /// Takes in databases that are not there yet, all alike.
    pub(crate) fn extend(&mut self, mut ids: Vec<DatabaseId>, like: &Active) {
        if ids.len() <= FEW || self.batch.left > 0 {
            self.single.extend(ids.into_iter().map(|id| (id, like.clone())));
            return;
        }
        ids.sort_unstable();
        ids.dedup();
        ids.shrink_to_fit();
        let (out, left) = (vec![false; ids.len()], ids.len());
        self.batch = Batch { like: like.clone(), ids, out, left };
    }

    pub(crate) fn remove(&mut self, id: DatabaseId) -> Option<Active> {
        let removed = self.batch.take(id).or_else(|| self.single.remove(&id));
        if self.is_empty() {
            // After a first cycle nearly all databases are at rest, for good.
            self.single.shrink_to_fit();
        }
        removed
    }

    /// Marks all as offered that are not yet and that `may` be, and gives each of these to `take`.
    pub(crate) fn offer(
        &mut self,
        may: impl Fn(DatabaseId) -> bool,
        mut take: impl FnMut(DatabaseId, &Active),
    ) {
        if !self.batch.like.offered {
            let waits: Vec<_> = self.batch.left().filter(|&id| !may(id)).collect();
            for id in waits {
                self.get_mut(id);
            }
            self.batch.like.offered = true;
            self.batch.left().for_each(|id| take(id, &self.batch.like));
        }
        for (&id, active) in self.single.iter_mut().filter(|(_, active)| !active.offered) {
            if may(id) {
                (active.offered, active.seen) = (true, None);
                take(id, active);
            }
        }
    }
}

impl Batch {
    /// Where it is, if it is there.
    fn find(&self, id: DatabaseId) -> Option<usize> {
        let at = self.ids.binary_search(&id).ok()?;
        (self.out.get(at) == Some(&false)).then_some(at)
    }

    fn take(&mut self, id: DatabaseId) -> Option<Active> {
        let out = self.find(id).and_then(|at| self.out.get_mut(at))?;
        *out = true;
        self.left -= 1;
        if self.left == 0 {
            return Some(std::mem::take(self).like);
        }
        Some(self.like.clone())
    }

    fn left(&self) -> impl Iterator<Item = DatabaseId> {
        self.ids.iter().zip(&self.out).filter(|(_, out)| !**out).map(|(&id, _)| id)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::scan::test_id;

    fn since(seconds: u64) -> Active {
        Active { since: Duration::from_secs(seconds), ..Active::default() }
    }

    #[test]
    fn many_that_are_alike_take_little() {
        let mut backlog = Backlog::default();
        backlog.extend((0..5_000).rev().map(test_id).collect(), &since(1));
        backlog.offer(|_| true, |_, _| {});
        assert_eq!((backlog.len(), backlog.single.capacity()), (5_000, 0));
        assert_eq!(backlog.batch.ids.capacity() * size_of::<DatabaseId>(), 40_000);
        for id in (0..5_000).map(test_id) {
            assert!(backlog.get_mut(id).is_some() && backlog.remove(id).is_some());
        }
        assert_eq!((backlog.len(), backlog.single.capacity()), (0, 0));
        assert_eq!(backlog.batch.ids.capacity(), 0);
    }

    proptest! {
        /// Whatever happens in whatever order, it is a map, and what is offered is told once.
        #[test]
        fn it_is_a_map(
            steps in proptest::collection::vec((0_u32..100, 0_u64..6, 0_u32..100), 0..200),
        ) {
            let (mut backlog, mut map) = (Backlog::default(), BTreeMap::<_, Active>::new());
            for (number, what, many) in steps {
                let id = test_id(number);
                let seconds = u64::from(many);
                match what {
                    0 => prop_assert_eq!(backlog.remove(id), map.remove(&id)),
                    1 => {
                        backlog.insert(id, since(seconds));
                        map.insert(id, since(seconds));
                    }
                    2 => {
                        let ids = (number..number + many).map(test_id);
                        let ids: Vec<_> = ids.filter(|id| !map.contains_key(id)).collect();
                        map.extend(ids.iter().map(|&id| (id, since(seconds))));
                        backlog.extend(ids, &since(seconds));
                    }
                    3 => {
                        let may = |id: DatabaseId| id > test_id(number);
                        let mut offered = Vec::new();
                        backlog.offer(may, |id, active| offered.push((id, active.clone())));
                        offered.sort_by_key(|(id, _)| *id);
                        let mut expected = Vec::new();
                        for (&id, active) in map.iter_mut().filter(|(id, active)| may(**id) && !active.offered) {
                            (active.offered, active.seen) = (true, None);
                            expected.push((id, active.clone()));
                        }
                        prop_assert_eq!(offered, expected);
                    }
                    _ => {
                        let change = |active: &mut Active| {
                            active.offered = false;
                            active.doubted = Some(Hour::of(ultrasimple_core::Timestamp::UNIX_EPOCH));
                        };
                        let known = backlog.get_mut(id).map(change).is_some();
                        prop_assert_eq!(known, map.get_mut(&id).map(change).is_some());
                    }
                }
                prop_assert_eq!(backlog.get(id), map.get(&id));
            }
            let mut all: Vec<_> = backlog.iter().collect();
            all.sort_by_key(|(id, _)| *id);
            prop_assert_eq!(all, map.iter().map(|(&id, active)| (id, active)).collect::<Vec<_>>());
            prop_assert_eq!(backlog.len(), map.len());
        }
    }
}
