//! What the bucket holds of databases that no scan shows: not yet, after a start, or not any more.
//!
//! At a start these are all databases, of which nothing but their backups is known, so what is known besides is kept
//! apart, for the few that have it.

use std::collections::HashMap;

use ultrasimple_core::{Hour, Timestamp};

use crate::held::{Held, Holdings};
use crate::scan::{DatabaseId, Identity};

/// What became of a database that no scan shows. The default: it is to be seen yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Fate {
    pub(crate) gone_since: Option<Timestamp>,
    /// Whether the catalog says that it is gone.
    pub(crate) is_told: bool,
    /// See [`crate::shard::Known::doubted`].
    pub(crate) doubted: Option<Hour>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Absentees {
    held: Holdings<Identity>,
    /// Of those of which anything but the default is known.
    fates: HashMap<Identity, Fate>,
}

impl Absentees {
    pub(crate) fn insert(&mut self, identity: Identity, held: Held, fate: Fate) {
        self.held.insert(identity, held);
        if fate == Fate::default() {
            self.fates.remove(&identity);
        } else {
            self.fates.insert(identity, fate);
        }
    }

    /// Takes in many at once.
    pub(crate) fn extend(&mut self, all: impl Iterator<Item = (Identity, Held, Fate)>) {
        let Self { held, fates } = self;
        held.extend(all.map(|(identity, held, fate)| {
            fates.remove(&identity);
            if fate != Fate::default() {
                fates.insert(identity, fate);
            }
            (identity, held)
        }));
    }

    /// Gives what the bucket holds of databases that a scan shows to `held`. Tells which are among these, and what
    /// had become of them.
    pub(crate) fn give(
        &mut self,
        shown: impl Iterator<Item = (Identity, DatabaseId)>,
        held: &mut Holdings<DatabaseId>,
    ) -> HashMap<DatabaseId, Fate> {
        if self.is_empty() {
            return HashMap::new();
        }
        let known: Vec<_> = shown.filter(|(identity, _)| self.held.has(*identity)).collect();
        self.held.give(&known, held);
        let fates = known.into_iter().map(|(identity, id)| {
            let fate = self.fates.remove(&identity);
            (id, fate.unwrap_or_default())
        });
        let fates = fates.collect();
        if self.held.is_empty() {
            // After the first scan nearly none is left, for good.
            self.held.merge();
            self.fates.shrink_to_fit();
            held.merge();
        }
        fates
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Those that the catalog does not say to be gone, and what became of them.
    pub(crate) fn untold(&self) -> impl Iterator<Item = (Identity, Fate)> + '_ {
        let fate = |identity| self.fates.get(&identity).copied().unwrap_or_default();
        self.held.ids().map(move |id| (id, fate(id))).filter(|(_, fate)| !fate.is_told)
    }

    /// How many these are.
    pub(crate) fn untold_count(&self) -> usize {
        self.held.len() - self.count(|fate| fate.is_told)
    }

    /// How many are known to be gone, and the catalog does not say so.
    pub(crate) fn gone_untold_count(&self) -> usize {
        self.count(|fate| fate.gone_since.is_some() && !fate.is_told)
    }

    /// How many were never seen.
    pub(crate) fn never_shown_count(&self) -> usize {
        self.held.len() - self.count(|fate| fate.gone_since.is_some())
    }

    fn count(&self, is: impl Fn(&Fate) -> bool) -> usize {
        self.fates.values().filter(|fate| is(fate)).count()
    }

    /// Whether anything of one of them may have been stored, or may yet be, that nobody heard of.
    pub(crate) fn is_any_doubted(&self) -> bool {
        self.fates.values().any(|fate| fate.doubted.is_some())
    }

    /// The catalog says that one is gone, if it is among these.
    pub(crate) fn told(&mut self, identity: Identity, since: Timestamp) {
        if self.held.has(identity) {
            let fate = self.fates.entry(identity).or_default();
            (fate.gone_since, fate.is_told) = (Some(since), true);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ultrasimple_core::{ContentHash, FingerprintDigest};
    use ultrasimple_store::ETag;

    use super::*;
    use crate::scan::{test_id, test_identity};
    use crate::shard::LastBackup;

    fn identity(number: u32) -> Identity {
        test_identity(test_id(number))
    }

    fn held() -> Held {
        let backup = LastBackup {
            content: ContentHash::of(b"x").short(),
            hour: Hour::of(Timestamp::UNIX_EPOCH),
            etag: ETag("x".into()),
            damage: None,
            stored_at: Duration::ZERO,
        };
        Held { digest: FingerprintDigest::NONE, backup }
    }

    #[test]
    fn those_without_a_fate_are_to_be_seen_yet() {
        let [seen_never, gone, told] = [1, 2, 3].map(identity);
        let since = Some(Timestamp::UNIX_EPOCH);
        let mut absentees = Absentees::default();
        absentees.insert(seen_never, held(), Fate::default());
        let doubted = Some(Hour::of(Timestamp::UNIX_EPOCH));
        let fate = Fate { gone_since: since, doubted, ..Fate::default() };
        absentees.insert(gone, held(), fate);
        absentees.insert(told, held(), Fate { gone_since: since, is_told: true, doubted: None });
        assert_eq!((absentees.untold_count(), absentees.gone_untold_count()), (2, 1));
        assert_eq!((absentees.never_shown_count(), absentees.is_any_doubted()), (1, true));
        let mut untold: Vec<_> = absentees.untold().collect();
        untold.sort_unstable_by_key(|(identity, _)| *identity);
        assert_eq!(untold, [(seen_never, Fate::default()), (gone, fate)]);

        absentees.told(gone, Timestamp::UNIX_EPOCH);
        absentees.told(identity(4), Timestamp::UNIX_EPOCH);
        assert_eq!(absentees.untold_count(), 1);
        let mut shown = Holdings::default();
        let mut show = |absentees: &mut Absentees, one: u32| {
            let id = test_id(100 + one);
            let fates = absentees.give([(identity(one), id)].into_iter(), &mut shown);
            let fate = fates.get(&id).copied();
            assert!(fate.is_none() || shown.get(id) == Some(held()));
            fate
        };
        assert_eq!(show(&mut absentees, 4), None);
        assert_eq!(show(&mut absentees, 1), Some(Fate::default()));
        assert_eq!(show(&mut absentees, 1), None);
        let fate = show(&mut absentees, 2).unwrap();
        assert!(fate.is_told && fate.doubted.is_some());
        assert!(show(&mut absentees, 3).is_some() && absentees.is_empty());
    }

    #[test]
    fn a_fate_ends_with_what_it_was_of() {
        let one = identity(1);
        let mut absentees = Absentees::default();
        let told = Fate { is_told: true, ..Fate::default() };
        absentees.insert(one, held(), told);
        absentees.give([(one, test_id(1))].into_iter(), &mut Holdings::default());
        absentees.insert(one, held(), Fate::default());
        assert_eq!(absentees.untold_count(), 1);
        absentees.insert(one, held(), told);
        absentees.extend([(one, held(), Fate::default())].into_iter());
        assert_eq!(absentees.untold_count(), 1);
    }
}
