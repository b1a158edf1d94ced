//! What the bucket holds of each database of a shard, in little memory: 84 bytes for all but the odd ones.
//!
//! There are 100,000 databases and more, nearly all of them at rest. An entry therefore has no heap of its
//! own: the tag of a stored object is almost always an MD5 in quotes, kept as 16 bytes; what is otherwise,
//! and the damage of the few that are damaged, is kept apart.

use std::collections::HashMap;
use std::time::Duration;

use ultrasimple_core::{ContentHash, FingerprintDigest, Hour};
use ultrasimple_store::ETag;

use crate::scan::DatabaseId;
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
    pub(crate) fn fingerprint(&self) -> Option<(FingerprintDigest, ContentHash)> {
        (self.digest != FingerprintDigest::NONE).then_some((self.digest, self.backup.content))
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Holdings {
    entries: HashMap<DatabaseId, Entry>,
    odd: HashMap<DatabaseId, Odd>,
    damaged: u64,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    digest: FingerprintDigest,
    content: ContentHash,
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

impl Holdings {
    /// What the bucket holds of a database.
    pub(crate) fn get(&self, id: DatabaseId) -> Option<Held> {
        let entry = self.entries.get(&id)?;
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
    pub(crate) fn digest(&self, id: DatabaseId) -> Option<FingerprintDigest> {
        Some(self.entries.get(&id)?.digest)
    }

    /// Why the newest backup of a database is marked, if it is.
    pub(crate) fn damage(&self, id: DatabaseId) -> Option<&str> {
        self.odd.get(&id)?.damage.as_deref()
    }

    /// How many newest backups are marked.
    pub(crate) fn damaged(&self) -> u64 {
        self.damaged
    }

    /// Those whose newest backup is marked.
    pub(crate) fn damaged_ids(&self) -> impl Iterator<Item = DatabaseId> + '_ {
        let odd = if self.damaged > 0 { Some(&self.odd) } else { None };
        let damaged = odd.into_iter().flatten().filter(|(_, odd)| odd.damage.is_some());
        damaged.map(|(&id, _)| id)
    }

    /// The databases of which something is held.
    pub(crate) fn ids(&self) -> impl Iterator<Item = DatabaseId> + '_ {
        self.entries.keys().copied()
    }

    /// Of all of them, the fingerprint of what the bucket holds.
    #[cfg(feature = "simulation")]
    pub(crate) fn digests(&self) -> impl Iterator<Item = FingerprintDigest> + '_ {
        self.entries.values().map(|entry| entry.digest)
    }

    /// How many these are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn insert(&mut self, id: DatabaseId, held: Held) {
        self.remove(id);
        let LastBackup { content, hour, etag, damage, stored_at } = held.backup;
        let md5 = parse_md5_tag(&etag);
        let stored_at = u32::try_from(stored_at.as_secs()).unwrap_or(u32::MAX);
        let entry =
            Entry { digest: held.digest, content, hour, stored_at, md5: md5.unwrap_or_default() };
        self.entries.insert(id, entry);
        self.damaged += u64::from(damage.is_some());
        if md5.is_none() || damage.is_some() {
            let etag = md5.is_none().then_some(etag);
            self.odd.insert(id, Odd { etag, damage });
        }
    }

    pub(crate) fn remove(&mut self, id: DatabaseId) {
        self.entries.remove(&id);
        if let Some(odd) = self.odd.remove(&id) {
            self.damaged -= u64::from(odd.damage.is_some());
        }
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
    use proptest::prelude::*;

    use super::*;
    use crate::scan::test_id;

    fn held(etag: &str, damage: Option<&str>) -> Held {
        let digest = FingerprintDigest::NONE;
        let backup = LastBackup {
            content: ContentHash::of(b"x"),
            hour: Hour::of(ultrasimple_core::Timestamp::UNIX_EPOCH),
            etag: ETag(etag.into()),
            damage: damage.map(Into::into),
            stored_at: Duration::from_secs(77),
        };
        Held { digest, backup }
    }

    #[test]
    fn an_entry_is_small() {
        assert!(size_of::<(DatabaseId, Entry)>() <= 84);
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

    proptest! {
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
