//! What must hold, as pure functions of what was seen. Each is tested with a violation that it must find.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use ultrasimple_core::{BackupKey, Catalog, KeyStem, ShardKey};

use crate::tenants::Account;
use crate::versions::{Backup, Objects};

/// Something that must never be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    /// The rule that was broken, as in the design.
    pub(crate) rule: &'static str,
    /// What was seen.
    pub(crate) what: String,
}

impl Violation {
    pub(crate) fn new(rule: &'static str, what: String) -> Self {
        Self { rule, what }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.what)
    }
}

/// An object as the bucket lists it: its tag and size.
pub(crate) type Listing = BTreeMap<String, (String, u64)>;

/// The name of the database whose backups have this stem.
fn name_of(stem: &KeyStem) -> &str {
    let stem = stem.as_str();
    stem.rsplit('/').next().unwrap_or(stem)
}

/// R5: no key goes back: not its epoch, not the commits that it has seen, and not its time of capture by more than the
/// clocks that told it were apart.
pub(crate) fn never_back(objects: &Objects, clocks_apart: Duration) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (key, object) in objects {
        for (earlier, later) in object.backups.iter().zip(object.backups.iter().skip(1)) {
            let went_back = [
                ("epoch", later.epoch < earlier.epoch),
                ("time of capture", later.captured_at + clocks_apart < earlier.captured_at),
                ("commits", later.commits < earlier.commits),
            ];
            for (what, _) in went_back.iter().filter(|(_, back)| *back) {
                let text = format!("the {what} of {key} went back: {earlier:?}, then {later:?}");
                violations.push(Violation::new("R5", text));
            }
        }
        for (earlier, later) in object.epochs.iter().zip(object.epochs.iter().skip(1)) {
            if later < earlier {
                let text = format!("the epoch of {key} went back from {earlier} to {later}");
                violations.push(Violation::new("R5", text));
            }
        }
    }
    violations
}

/// R8: every write that could replace something has a condition.
pub(crate) fn always_conditional(objects: &Objects) -> Vec<Violation> {
    let is_ours = |key: &str| BackupKey::parse(key).is_some() || ShardKey::parse(key).is_some();
    let bare = objects.iter().filter(|(key, object)| is_ours(key) && object.unconditional > 0);
    let text = |key: &str, count: u64| format!("{key} was written {count} times without condition");
    bare.map(|(key, object)| Violation::new("R8", text(key, object.unconditional))).collect()
}

/// The newest backup of each database, by its name: the key, and the version it has now.
pub(crate) fn newest(objects: &Objects) -> BTreeMap<String, (String, Backup)> {
    let mut newest = BTreeMap::new();
    for (key, object) in objects.iter().filter(|(_, object)| object.etag.is_some()) {
        let Some(parsed) = BackupKey::parse(key) else { continue };
        let Some(backup) = object.backups.last() else { continue };
        let name = name_of(&parsed.stem).to_owned();
        // Keys of one database are in the order of their hours.
        newest.insert(name, (key.clone(), backup.clone()));
    }
    newest
}

/// R3: the newest backup of every database that is there has its last commit.
pub(crate) fn all_is_stored(
    objects: &Objects,
    accounts: &BTreeMap<String, Account>,
) -> Vec<Violation> {
    let newest = newest(objects);
    let mut violations = Vec::new();
    for (name, account) in accounts.iter().filter(|(_, account)| account.gone.is_none()) {
        let last = account.commits.len();
        let found = newest.get(name);
        let stored = found.and_then(|(_, backup)| usize::try_from(backup.commits).ok());
        if stored != Some(last) {
            let text = format!("{name} has {last} commits; its newest backup is {found:?}");
            violations.push(Violation::new("R3", text));
        }
    }
    violations
}

/// R2, as far as the ledger can tell: no backup has seen commits that were never made.
pub(crate) fn nothing_invented(
    objects: &Objects,
    accounts: &BTreeMap<String, Account>,
) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (name, (key, backup)) in newest(objects) {
        let made = accounts.get(&name).map_or(0, |account| account.commits.len());
        // Of a database that vanished, the last commit may not have been noted.
        if usize::try_from(backup.commits).unwrap_or(usize::MAX) > made + 1 {
            let text = format!("{key} has seen {} commits of {made}", backup.commits);
            violations.push(Violation::new("R2", text));
        }
    }
    violations
}

/// R11 and R4: the bucket has what was written through the recorder and not deleted, and what was there
/// before, to the byte.
pub(crate) fn bucket_is_as_written(
    listing: &Listing,
    objects: &Objects,
    before: &Listing,
) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut wrong = |rule, text: String| violations.push(Violation::new(rule, text));
    for (key, held) in before {
        if listing.get(key) != Some(held) {
            let now = listing.get(key);
            wrong("R11", format!("{key} was not ours: it was {held:?} and is {now:?}"));
        }
        if objects.contains_key(key) {
            wrong("R11", format!("{key} was not ours and was written to"));
        }
    }
    for (key, object) in objects {
        let there = listing.get(key).map(|(etag, _)| etag);
        match (&object.etag, there) {
            _ if object.unknown > 0 => {}
            (Some(written), Some(there)) if written == there => {}
            (None, None) => {}
            (written, there) => {
                wrong("R4", format!("{key} is {there:?} and was written as {written:?}"));
            }
        }
        let is_ours = BackupKey::parse(key).is_some() || key.starts_with(".ultrasimple/");
        if !is_ours {
            wrong("R11", format!("{key} was written to, which is no key of ours"));
        }
    }
    let unknown = |key: &&String| !objects.contains_key(*key) && !before.contains_key(*key);
    for key in listing.keys().filter(unknown) {
        wrong("R11", format!("{key} is there, and was not written by the nodes"));
    }
    violations
}

/// Which backups of databases that are still there the catalogs have to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// The newest of each. What an owner that crashed stored in an earlier hour nobody asks for again until the
    /// catalog is next compared with the bucket.
    Newest,
    /// All: the catalogs were made anew.
    All,
}

/// R9 and what the catalogs are for: what they say of the backups of databases that are still there is so,
/// and these backups are in them. Of a database that vanished while its last upload was under way nobody
/// asks again.
pub(crate) fn catalogs_agree(
    catalogs: &[Catalog],
    listing: &Listing,
    accounts: &BTreeMap<String, Account>,
    which: Known,
) -> Vec<Violation> {
    let mut newest = BTreeMap::new();
    for (key, parsed) in listing.keys().filter_map(|key| Some((key, BackupKey::parse(key)?))) {
        newest.insert(name_of(&parsed.stem).to_owned(), key.clone());
    }
    let is_meant = |name: &str, key: &str| {
        let is_there = accounts.get(name).is_some_and(|account| account.gone.is_none());
        let is_newest = newest.get(name).is_some_and(|newest| newest == key);
        is_there && (which == Known::All || is_newest || !listing.contains_key(key))
    };
    let mut violations = Vec::new();
    let mut known = BTreeSet::new();
    for catalog in catalogs {
        for (stem, record) in &catalog.databases {
            for held in &record.hours {
                let key = stem.at(held.hour).object_key().as_str().to_owned();
                let there = listing.get(&key);
                let says = (held.etag.0.to_string(), held.bytes);
                let same = |there: &(String, u64)| {
                    there.0.trim_matches('"') == says.0.trim_matches('"') && there.1 == says.1
                };
                if !there.is_some_and(same) && is_meant(name_of(stem), &key) {
                    let shard = &catalog.key;
                    let text = format!("the catalog of {shard} says {says:?} of {key}: {there:?}");
                    violations.push(Violation::new("catalog", text));
                }
                known.insert(key);
            }
        }
    }
    for key in listing.keys().filter(|key| !known.contains(*key)) {
        let Some(parsed) = BackupKey::parse(key) else { continue };
        if is_meant(name_of(&parsed.stem), key) {
            violations.push(Violation::new("catalog", format!("{key} is in no catalog")));
        }
    }
    violations
}

/// How long the oldest commit waited that was not in the bucket yet: the longest wait, and whose it was.
/// A database's wait ends with the first version that has the commit.
pub(crate) fn longest_exposure(
    objects: &Objects,
    accounts: &BTreeMap<String, Account>,
) -> Option<(Duration, String)> {
    let mut by_name: BTreeMap<&str, Vec<&Backup>> = BTreeMap::new();
    let parsed: Vec<_> =
        objects.iter().map(|(key, object)| (BackupKey::parse(key), object)).collect();
    for (key, object) in &parsed {
        let Some(key) = key else { continue };
        by_name.entry(name_of(&key.stem)).or_default().extend(&object.backups);
    }
    let mut longest = None;
    for (name, mut backups) in by_name {
        let Some(account) = accounts.get(name) else { continue };
        backups.sort_by_key(|backup| backup.stored);
        let mut covered = 0;
        for backup in backups {
            let commits = usize::try_from(backup.commits).unwrap_or_default();
            if let Some(oldest) = account.commits.get(covered).filter(|_| commits > covered) {
                let waited = backup.stored.saturating_sub(*oldest);
                if longest.as_ref().is_none_or(|(most, _)| waited > *most) {
                    longest = Some((waited, format!("{name}, until {:?}", backup.stored)));
                }
                covered = commits;
            }
        }
    }
    longest
}

/// Uploads of what the version before had already.
pub(crate) fn repeated(objects: &Objects) -> u64 {
    let same = |object: &crate::versions::Object| {
        let pairs = object.backups.iter().zip(object.backups.iter().skip(1));
        pairs.filter(|(earlier, later)| earlier.content == later.content).count() as u64
    };
    objects.values().map(same).sum()
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
