//! What the bucket holds of each database of a shard, in little memory: 56 bytes for all but the odd ones.
//!
//! There are 100,000 databases and more, nearly all of them at rest. An entry therefore has no heap of its
//! own: the tag of a stored object is almost always an MD5 in quotes, kept as 16 bytes; what is otherwise,
//! and the damage of the few that are damaged, is kept apart. Entries are an array in order, without room to
//! grow: a hash table of as many takes twice as much. What is new or gone is kept beside it for a while.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::time::Duration;

use ultrasimple_core::{FingerprintDigest, Hour, ShortHash};
use ultrasimple_store::ETag;

use crate::shard::LastBackup;

/// What is known to be in the bucket of one database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    /// The fingerprint taken before the last capture whose content the bucket has; none where a later change
    /// might not change it.
    pub(crate) digest: FingerprintDigest,
    /// The newest backup.
    pub(crate) backup: LastBackup,
}

impl Held {
    /// The fingerprint, if there is one that vouches for the content.
    pub(crate) fn fingerprint(&self) -> Option<(FingerprintDigest, ShortHash)> {
        (self.digest != FingerprintDigest::NONE).then_some((self.digest, self.backup.content))
    }
}

/// See the module. `K`: what databases are known by.
#[derive(Debug)]
pub(crate) struct Holdings<K> {
    /// Sorted by id.
    entries: Vec<Entry<K>>,
    /// Not among those yet.
    new: HashMap<K, Entry<K>>,
    /// Still among those.
    removed: HashSet<K>,
    odd: HashMap<K, Odd>,
    damaged: u64,
}

#[derive(Debug, Clone, Copy)]
struct Entry<K> {
    id: K,
    digest: FingerprintDigest,
    content: ShortHash,
    hour: Hour,
    /// Seconds of the monotonic clock.
    stored_at: u32,
    /// Of a tag that is an MD5; else the tag is among the odd ones.
    md5: [u8; 16],
}

#[derive(Debug, Clone)]
struct Odd {
    etag: Option<ETag>,
    damage: Option<Box<str>>,
}

impl<K> Entry<K> {
    fn of(id: K, held: Held) -> (Self, Option<Odd>) {
        let LastBackup { content, hour, etag, damage, stored_at } = held.backup;
        let (digest, md5) = (held.digest, parse_md5_tag(&etag));
        let stored_at = u32::try_from(stored_at.as_secs()).unwrap_or(u32::MAX);
        let entry = Self { id, digest, content, hour, stored_at, md5: md5.unwrap_or_default() };
        let odd = Odd { etag: md5.is_none().then_some(etag), damage };
        let is_odd = odd.etag.is_some() || odd.damage.is_some();
        (entry, is_odd.then_some(odd))
    }
}

/// So many may always be apart.
const FEW: usize = 64;

impl<K> Default for Holdings<K> {
    fn default() -> Self {
        let (new, removed, odd) = (HashMap::new(), HashSet::new(), HashMap::new());
        Self { entries: Vec::new(), new, removed, odd, damaged: 0 }
    }
}

impl<K: Copy + Ord + Hash> Holdings<K> {
    /// What the bucket holds of a database.
    pub(crate) fn get(&self, id: K) -> Option<Held> {
        let entry = self.entry(id)?;
        let odd = self.odd.get(&id);
        let etag = odd.and_then(|odd| odd.etag.clone()).unwrap_or_else(|| md5_tag(entry.md5));
        let backup = LastBackup {
            content: entry.content,
            hour: entry.hour,
            etag,
            damage: odd.and_then(|odd| odd.damage.clone()),
            stored_at: Duration::from_secs(entry.stored_at.into()),
        };
        Some(Held { digest: entry.digest, backup })
    }

    /// The fingerprint of what the bucket holds.
    pub(crate) fn digest(&self, id: K) -> Option<FingerprintDigest> {
        Some(self.entry(id)?.digest)
    }

    /// Whether anything is held of a database.
    pub(crate) fn has(&self, id: K) -> bool {
        self.entry(id).is_some()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn entry(&self, id: K) -> Option<&Entry<K>> {
        match self.find(id) {
            Ok(index) => self.entries.get(index).filter(|_| !self.removed.contains(&id)),
            Err(_) => self.new.get(&id),
        }
    }

    fn find(&self, id: K) -> Result<usize, usize> {
        self.entries.binary_search_by_key(&id, |entry| entry.id)
    }

    /// Why the newest backup of a database is marked, if it is.
    pub(crate) fn damage(&self, id: K) -> Option<&str> {
        self.odd.get(&id)?.damage.as_deref()
    }

    /// How many newest backups are marked.
    pub(crate) fn damaged(&self) -> u64 {
        self.damaged
    }

    /// Those whose newest backup is marked.
    pub(crate) fn damaged_ids(&self) -> impl Iterator<Item = K> + '_ {
        let odd = if self.damaged > 0 { Some(&self.odd) } else { None };
        let damaged = odd.into_iter().flatten().filter(|(_, odd)| odd.damage.is_some());
        damaged.map(|(&id, _)| id)
    }

    /// The databases of which something is held.
    pub(crate) fn ids(&self) -> impl Iterator<Item = K> + '_ {
        let old = self.entries.iter().map(|entry| entry.id).filter(|id| !self.removed.contains(id));
        old.chain(self.new.keys().copied())
    }

    /// Of all of them, the fingerprint of what the bucket holds.
    #[cfg(feature = "simulation")]
    pub(crate) fn digests(&self) -> impl Iterator<Item = FingerprintDigest> + '_ {
        self.ids().filter_map(|id| self.digest(id))
    }

    /// How many these are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len() - self.removed.len() + self.new.len()
    }

    pub(crate) fn insert(&mut self, id: K, held: Held) {
        let (entry, odd) = Entry::of(id, held);
        self.put(entry, odd);
        self.merge_if_worthwhile();
    }

    /// Takes in many at once. Of what is there twice, the last counts.
    pub(crate) fn extend(&mut self, all: impl IntoIterator<Item = (K, Held)>) {
        let mut all: Vec<_> = all.into_iter().map(|(id, held)| Entry::of(id, held)).collect();
        all.reverse();
        self.put_all(all);
    }

    /// Gives some to another shelf, where they are known by other names: to each its new one.
    pub(crate) fn give<J: Copy + Ord + Hash>(&mut self, names: &[(K, J)], to: &mut Holdings<J>) {
        let mut all = Vec::with_capacity(names.len());
        for &(id, new) in names {
            let Some(&Entry { digest, content, hour, stored_at, md5, .. }) = self.entry(id) else {
                continue;
            };
            let entry = Entry { id: new, digest, content, hour, stored_at, md5 };
            all.push((entry, self.forget_odd(id)));
            if self.find(id).is_ok() {
                self.removed.insert(id);
            } else {
                self.new.remove(&id);
            }
        }
        self.merge_if_worthwhile();
        to.put_all(all);
    }

    /// Of what is there twice, the first counts.
    fn put_all(&mut self, mut all: Vec<(Entry<K>, Option<Odd>)>) {
        all.sort_by_key(|(entry, _)| entry.id);
        all.dedup_by_key(|(entry, _)| entry.id);
        let mut added = Vec::with_capacity(all.len());
        for (entry, odd) in all {
            if self.find(entry.id).is_ok() || self.new.contains_key(&entry.id) {
                self.put(entry, odd);
            } else {
                self.remember_odd(entry.id, odd);
                added.push(entry);
            }
        }
        if added.len() <= FEW {
            self.new.extend(added.into_iter().map(|entry| (entry.id, entry)));
            self.merge_if_worthwhile();
        } else {
            self.merge_with(added);
        }
    }

    fn put(&mut self, entry: Entry<K>, odd: Option<Odd>) {
        let id = entry.id;
        match self.find(id).map(|index| self.entries.get_mut(index)) {
            Ok(Some(old)) => {
                *old = entry;
                self.removed.remove(&id);
            }
            _ => {
                self.new.insert(id, entry);
            }
        }
        self.remember_odd(id, odd);
    }

    pub(crate) fn remove(&mut self, id: K) {
        if self.find(id).is_ok() {
            self.removed.insert(id);
        } else {
            self.new.remove(&id);
        }
        self.forget_odd(id);
        self.merge_if_worthwhile();
    }

    fn remember_odd(&mut self, id: K, odd: Option<Odd>) {
        self.forget_odd(id);
        if let Some(odd) = odd {
            self.damaged += u64::from(odd.damage.is_some());
            self.odd.insert(id, odd);
        }
    }

    fn forget_odd(&mut self, id: K) -> Option<Odd> {
        let odd = self.odd.remove(&id)?;
        self.damaged -= u64::from(odd.damage.is_some());
        Some(odd)
    }

    /// An eighth is put in order at a time: so an entry is moved some eight times in all, however many there are.
    fn merge_if_worthwhile(&mut self) {
        if self.new.len() + self.removed.len() > FEW + self.entries.len() / 8 {
            self.merge();
        }
    }

    /// Puts all in order, in as much memory as that takes: for a shard that comes to rest.
    pub(crate) fn merge(&mut self) {
        if !self.new.is_empty() || !self.removed.is_empty() {
            self.merge_with(Vec::new());
        }
    }

    /// The same, with `new` ones, of which nothing is there yet.
    fn merge_with(&mut self, mut new: Vec<Entry<K>>) {
        let mut entries = Vec::with_capacity(self.len() + new.len());
        new.extend(std::mem::take(&mut self.new).into_values());
        new.sort_unstable_by_key(|entry| entry.id);
        let mut new = new.into_iter().peekable();
        let removed = std::mem::take(&mut self.removed);
        for old in std::mem::take(&mut self.entries) {
            while let Some(entry) = new.next_if(|entry| entry.id < old.id) {
                entries.push(entry);
            }
            if !removed.contains(&old.id) {
                entries.push(old);
            }
        }
        entries.extend(new);
        self.entries = entries;
    }
}

fn md5_tag(md5: [u8; 16]) -> ETag {
    let mut tag = String::with_capacity(34);
    tag.push('"');
    for byte in md5 {
        let digits = [byte >> 4, byte & 15].map(|digit| char::from_digit(digit.into(), 16));
        tag.extend(digits.into_iter().flatten());
    }
    tag.push('"');
    ETag(tag.into())
}

/// The MD5 of a tag that is exactly what [`md5_tag`] makes of it.
fn parse_md5_tag(etag: &ETag) -> Option<[u8; 16]> {
    let digits = etag.0.strip_prefix('"')?.strip_suffix('"')?;
    let md5 = u128::from_str_radix(digits, 16).ok()?.to_be_bytes();
    (md5_tag(md5) == *etag).then_some(md5)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use ultrasimple_core::ContentHash;

    use super::*;
    use crate::scan::{DatabaseId, Identity, test_id};

    fn held(etag: &str, damage: Option<&str>) -> Held {
        let digest = FingerprintDigest::NONE;
        let backup = LastBackup {
            content: ContentHash::of(b"x").short(),
            hour: Hour::of(ultrasimple_core::Timestamp::UNIX_EPOCH),
            etag: ETag(etag.into()),
            damage: damage.map(Into::into),
            stored_at: Duration::from_secs(77),
        };
        Held { digest, backup }
    }

    #[test]
    fn an_entry_is_small() {
        assert!(size_of::<Entry<DatabaseId>>() <= 56);
        assert!(size_of::<Entry<Identity>>() <= 64);
    }

    #[test]
    fn damage_is_counted() {
        let mut holdings = Holdings::default();
        holdings.insert(test_id(1), held("x", Some("page 1")));
        holdings.insert(test_id(2), held("x", None));
        assert_eq!((holdings.damaged(), holdings.damage(test_id(1))), (1, Some("page 1")));
        holdings.insert(test_id(1), held("x", None));
        assert_eq!((holdings.damaged(), holdings.damage(test_id(1))), (0, None));
        holdings.insert(test_id(2), held("x", Some("page 1")));
        holdings.remove(test_id(2));
        assert_eq!((holdings.damaged(), holdings.get(test_id(2))), (0, None));
    }

    #[test]
    fn at_rest_there_is_no_room_to_grow() {
        let mut holdings = Holdings::default();
        for number in (0..5_000).rev() {
            holdings.insert(test_id(number), held("\"0123456789abcdef0123456789abcdef\"", None));
        }
        holdings.merge();
        assert_eq!((holdings.entries.capacity(), holdings.new.capacity()), (5_000, 0));
    }

    proptest! {
        /// Whatever order things come and go in, it is a map.
        #[test]
        fn it_is_a_map(steps in proptest::collection::vec((0_u32..300, 0_u64..6), 0..200)) {
            let (mut holdings, mut map) = (Holdings::default(), BTreeMap::new());
            for (number, what) in steps {
                let id = test_id(number);
                match what {
                    0 => {
                        holdings.remove(id);
                        map.remove(&id);
                    }
                    1 if number == 0 => holdings.merge(),
                    4 => {
                        let many = (number..number + 2 * number % 150).map(test_id);
                        let many = many.map(|id| (id, held(&number.to_string(), None)));
                        let many: Vec<_> = many.collect();
                        holdings.extend(many.clone());
                        map.extend(many);
                    }
                    // To another shelf, under other names, and back.
                    5 => {
                        let names: Vec<_> = (number..number + 2 * number % 150)
                            .map(|number| (test_id(number), u64::from(number) * 7 % 1_000))
                            .collect();
                        let mut other = Holdings::default();
                        holdings.give(&names, &mut other);
                        let given = names.iter().filter(|(id, _)| map.contains_key(id));
                        prop_assert_eq!(other.len(), given.count());
                        prop_assert!(names.iter().all(|(id, _)| holdings.get(*id).is_none()));
                        let back: Vec<_> = names.into_iter().map(|(id, name)| (name, id)).collect();
                        other.give(&back, &mut holdings);
                        prop_assert!(other.is_empty() && other.damaged() == 0);
                    }
                    seconds => {
                        let mut held = held("x", (seconds == 3).then_some("page 1"));
                        held.backup.stored_at = Duration::from_secs(seconds);
                        holdings.insert(id, held.clone());
                        map.insert(id, held);
                    }
                }
                prop_assert_eq!(holdings.get(id), map.get(&id).cloned());
            }
            let mut ids: Vec<_> = holdings.ids().collect();
            ids.sort_unstable();
            prop_assert_eq!(&ids, &map.keys().copied().collect::<Vec<_>>());
            prop_assert_eq!(holdings.len(), map.len());
            prop_assert!(ids.iter().all(|id| holdings.get(*id) == map.get(id).cloned()));
            let damaged = map.values().filter(|held| held.backup.damage.is_some()).count();
            prop_assert_eq!(holdings.damaged(), damaged as u64);
        }

        #[test]
        fn nothing_is_lost(
            etag in prop_oneof![
                "\"[0-9a-f]{32}\"", "\"[0-9A-F]{32}\"", "\"[0-9a-f]{32}-[0-9]\"", "[0-9a-f]{32}",
                "\"[+]?[0-9a-f]{30,31}\"", ".{0,40}"
            ],
            damage in proptest::option::of(".{0,5}"),
        ) {
            let held = held(&etag, damage.as_deref());
            let mut holdings = Holdings::default();
            holdings.insert(test_id(1), held.clone());
            prop_assert_eq!(holdings.get(test_id(1)), Some(held));
        }
    }
}
