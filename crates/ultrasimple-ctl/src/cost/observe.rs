//! From catalogs to the numbers of a bill: pure, a catalog at a time.
//!
//! A catalog tells in which hours a database was backed up, not how often: within an hour, uploads replace each
//! other. So a database with a backup in nearly every hour is taken to change all the time, which is the dearer
//! case. Kept of each database are some 150 bytes, however many backups it has.

use std::collections::BTreeMap;

use ultrasimple_core::catalog::Record;
use ultrasimple_core::{Catalog, Hour, KeyStem, Timestamp};

use super::model::float;

/// Hours looked at for databases that always change.
const HOT_HOURS: u32 = 24;
/// With fewer, nobody can tell which these are.
const LEAST_HOT_HOURS: u32 = 12;
/// Of this many hours, one may be without a backup.
const ONE_MISSING_OF: u32 = 12;
/// Hours looked at for the changes of the others, at most.
const MOST_HOURS: u32 = 7 * 24;
/// Hours remembered of a database: those looked at, and some beyond the time of the catalogs.
const REMEMBERED: u32 = MOST_HOURS + 24;

/// What is read of catalogs until all are there.
#[derive(Debug, Default)]
pub(super) struct Census {
    catalogs: u64,
    shards: u32,
    written: Option<(Timestamp, Timestamp)>,
    databases: BTreeMap<KeyStem, Facts>,
}

/// What is kept of a database.
#[derive(Debug, Clone, PartialEq)]
struct Facts {
    /// The first hour held.
    first: u32,
    newest: u32,
    /// Which of the last hours are held: the bit `n` is that of `newest - n`.
    recent: [u64; (REMEMBERED / u64::BITS) as usize],
    objects: u64,
    bytes: u64,
    /// Bytes of the newest backup's image and of its object.
    image: Option<(u64, u64)>,
    is_gone: bool,
}

/// What all catalogs tell.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Observed {
    /// Catalogs read.
    pub(super) catalogs: u64,
    /// Into how many a volume is divided.
    pub(super) shards: u32,
    pub(super) oldest_written_at: Timestamp,
    pub(super) newest_written_at: Timestamp,
    /// Databases that are there.
    pub(super) databases: u64,
    /// Those that are not any more, and have backups.
    pub(super) gone: u64,
    pub(super) hot: u64,
    /// Databases known for too few hours to tell whether they are hot.
    pub(super) too_young: u64,
    /// Changes a day of each that is not hot. `None` where all are too new.
    pub(super) changes_per_day: Option<f64>,
    /// For how many days each of these was observed, on average.
    pub(super) days: f64,
    /// Bytes of an image, on average; `None` where no catalog knows any.
    pub(super) image_bytes: Option<f64>,
    /// Stored bytes for each byte of these.
    pub(super) compression: Option<f64>,
    /// Backups held, also of databases that are gone.
    pub(super) objects: u64,
    /// Their bytes.
    pub(super) bytes: u64,
}

impl Facts {
    fn of(record: &Record) -> Option<Self> {
        let own = || record.hours.iter().filter(|held| held.foreign.is_none());
        let (first, last) = (own().next()?.hour.index(), own().next_back()?);
        let newest = last.hour.index();
        let mut recent = [0; _];
        for held in own() {
            let age = newest.saturating_sub(held.hour.index());
            if let Some(word) = recent.get_mut((age / u64::BITS) as usize) {
                *word |= 1_u64 << (age % u64::BITS);
            }
        }
        // What the catalog says of the newest backup is of the last, whosever that is.
        let is_own = record.newest_hour().is_some_and(|held| held.foreign.is_none());
        let known = record.newest.as_ref().filter(|_| is_own);
        Some(Self {
            first,
            newest,
            recent,
            objects: own().count() as u64,
            bytes: own().fold(0, |sum, held| held.bytes.saturating_add(sum)),
            image: known.map(|known| (known.size, last.bytes)),
            is_gone: record.gone_since.is_some(),
        })
    }

    fn is_held(&self, hour: u32) -> bool {
        let word = |age: u32| Some((self.recent.get((age / u64::BITS) as usize)?, age % u64::BITS));
        let found = self.newest.checked_sub(hour).and_then(word);
        found.is_some_and(|(word, bit)| word >> bit & 1 == 1)
    }

    /// Of the `hours` that end with `last`, those with a backup.
    fn held_in(&self, last: u32, hours: u32) -> u32 {
        let is_held = |ago| last.checked_sub(ago).is_some_and(|hour| self.is_held(hour));
        (0..hours).map(|ago| u32::from(is_held(ago))).sum()
    }
}

impl Census {
    /// Takes in what a catalog says.
    pub(super) fn add(&mut self, catalog: &Catalog) {
        self.catalogs += 1;
        self.shards = self.shards.max(catalog.shards);
        let at = catalog.written_at;
        let (oldest, newest) = self.written.unwrap_or((at, at));
        self.written = Some((oldest.min(at), newest.max(at)));
        for (stem, record) in &catalog.databases {
            let Some(facts) = Facts::of(record) else { continue };
            // In two catalogs only after a database moved: the one with the later backup is right.
            let rank = |facts: &Facts| (facts.newest, !facts.is_gone, facts.objects);
            match self.databases.get_mut(stem) {
                Some(there) if rank(there) >= rank(&facts) => {}
                Some(there) => *there = facts,
                None => drop(self.databases.insert(stem.clone(), facts)),
            }
        }
    }

    /// What they say together; `None` when there was none. `kept_hours` is for how many hours retention keeps
    /// each backup: further back, what is not held says nothing.
    ///
    /// The time that the hours are counted back from is when the newest of the catalogs was written: an owner
    /// does not write one of a shard in which nothing happens. One from the future is by a wrong clock.
    pub(super) fn finish(self, now: Timestamp, kept_hours: f64) -> Option<Observed> {
        let (oldest_written_at, newest_written_at) = self.written?;
        let last = Hour::of(newest_written_at.min(now)).index().saturating_sub(1);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
        let window = (kept_hours.floor() as u32).min(MOST_HOURS);
        let mut sums = Sums::default();
        for facts in self.databases.values() {
            sums.add(facts, last, window);
        }
        let days = float(sums.hours) / 24.0;
        let [sized, image_bytes, stored_bytes] =
            [sums.sized, sums.image_bytes, sums.stored_bytes].map(float);
        Some(Observed {
            catalogs: self.catalogs,
            shards: self.shards,
            oldest_written_at,
            newest_written_at,
            databases: sums.databases,
            gone: sums.gone,
            hot: sums.hot,
            too_young: sums.too_young,
            changes_per_day: (days > 0.0).then(|| float(sums.changes) / days),
            days: days / float(sums.databases - sums.hot).max(1.0),
            image_bytes: (image_bytes > 0.0).then(|| image_bytes / sized),
            compression: (image_bytes > 0.0).then(|| stored_bytes / image_bytes),
            objects: sums.objects,
            bytes: sums.bytes,
        })
    }
}

#[derive(Debug, Default)]
struct Sums {
    databases: u64,
    gone: u64,
    hot: u64,
    too_young: u64,
    /// Of those that are neither gone nor hot: changes, in so many hours.
    changes: u64,
    hours: u64,
    sized: u64,
    image_bytes: u64,
    stored_bytes: u64,
    objects: u64,
    bytes: u64,
}

impl Sums {
    fn add(&mut self, facts: &Facts, last: u32, window: u32) {
        self.objects += facts.objects;
        self.bytes = self.bytes.saturating_add(facts.bytes);
        if facts.is_gone {
            self.gone += 1;
            return;
        }
        self.databases += 1;
        if let Some((image, stored)) = facts.image {
            self.sized += 1;
            self.image_bytes = self.image_bytes.saturating_add(image);
            self.stored_bytes = self.stored_bytes.saturating_add(stored);
        }
        // The first hour held is of no change: before it, there was no backup.
        let since_first = last.saturating_sub(facts.first);
        let known = if facts.first > last { 0 } else { since_first + 1 };
        let looked_at = known.min(window).min(HOT_HOURS);
        if looked_at < LEAST_HOT_HOURS {
            self.too_young += 1;
        } else if looked_at - facts.held_in(last, looked_at) <= looked_at / ONE_MISSING_OF {
            self.hot += 1;
            return;
        }
        let looked_at = since_first.min(window);
        self.changes += u64::from(facts.held_in(last, looked_at));
        self.hours += u64::from(looked_at);
    }
}

#[cfg(test)]
#[path = "observe_tests.rs"]
mod tests;
