//! Looking at one database closely: listing it, reading the footers of what is new there.

use ultrasimple_core::catalog::{Edit, HeldHour, Newest, Record};
use ultrasimple_core::{BackupKey, Hour, KeyStem, SourcePath, VolumeName};
use ultrasimple_store::{FetchError, Store, StoreError, footer, inventory};

use super::{Budget, Differences, ReconcileReport, differences};
use crate::identity::{Identity, Owner, identify};

fn is_new(record: &Record, held: &HeldHour) -> bool {
    let known = record.hour(held.hour);
    known.is_none_or(|known| (known.bytes, &known.etag) != (held.bytes, &held.etag))
}

/// What a listing of one database shows.
async fn list(
    store: &dyn Store,
    stem: &KeyStem,
    budget: &mut Budget,
) -> Result<Vec<HeldHour>, StoreError> {
    budget.spend(1);
    let listed = inventory::of_database(store, stem).await?;
    let held =
        |backup: inventory::ListedBackup| HeldHour::new(backup.key.hour, backup.size, backup.etag);
    let mut listed: Vec<_> = listed.into_iter().map(held).collect();
    listed.sort_unstable_by_key(|held| held.hour);
    Ok(listed)
}

/// Looks at a database that no catalog knows: whose it is, and what is to be written into the catalog of its
/// shard. `None` when that cannot be read.
pub(super) async fn adopt(
    store: &dyn Store,
    stem: &KeyStem,
    before: Hour,
    budget: &mut Budget,
    report: &mut ReconcileReport,
) -> Result<Option<(VolumeName, SourcePath, Vec<Edit>)>, StoreError> {
    let mut hours = list(store, stem, budget).await?;
    hours.retain(|held| held.hour < before);
    let Some(last) = hours.last().map(|held| held.hour) else { return Ok(None) };
    budget.spend(1);
    let owner = identify(store, stem, hours.iter().map(|held| held.hour)).await?;
    let Owner { footer, is_newest } = match owner {
        Ok(owner) => owner,
        Err(why) => {
            report.foreign.push((stem.at(last), why));
            return Ok(None);
        }
    };
    let newest = is_newest.then(|| Newest::of(&footer));
    let edits = hours.into_iter().map(|held| {
        report.found.push(stem.at(held.hour));
        let newest = newest.clone().filter(|_| held.hour == last);
        let fingerprint = footer.fingerprint.filter(|_| newest.is_some());
        Edit::Found { stem: stem.clone(), path: footer.path.clone(), held, newest, fingerprint }
    });
    let edits = edits.collect();
    Ok(Some((footer.volume, footer.path, edits)))
}

/// Looking at a database that a catalog knows.
pub(super) struct Look<'a> {
    pub(super) store: &'a dyn Store,
    pub(super) volume: &'a VolumeName,
    pub(super) stem: &'a KeyStem,
    pub(super) before: Hour,
}

impl Look<'_> {
    /// What is to change in the record.
    pub(super) async fn repair(
        &self,
        record: &Record,
        budget: &mut Budget,
        report: &mut ReconcileReport,
    ) -> Result<Vec<Edit>, StoreError> {
        let listed = list(self.store, self.stem, budget).await?;
        let Differences { found, missing } = differences(Some(record), &listed);
        let mut edits = Vec::new();
        for hour in missing.into_iter().filter(|&hour| hour < self.before) {
            report.missing.push(self.stem.at(hour));
            edits.push(Edit::Gone { stem: self.stem.clone(), hour });
        }
        let last = listed.last().map(|held| held.hour);
        let has_lost_newest = record.newest_hour().map(|newest| newest.hour) > last;
        // Of what is the newest now, its footer tells what it is.
        let newest = listed.last().filter(|held| has_lost_newest && !found.contains(held)).cloned();
        for held in found.into_iter().filter(|held| held.hour < self.before).chain(newest) {
            budget.spend(1);
            let key = self.stem.at(held.hour);
            match footer(self.store, &key.object_key()).await {
                Ok((footer, _)) => {
                    let identity =
                        Identity { volume: self.volume, path: &record.path, hour: held.hour };
                    if let Some(why) = identity.mismatch(&footer) {
                        self.foreign(record, key, format!("it {why}"), &mut edits, report);
                        continue;
                    }
                    let newest = (last == Some(held.hour)).then(|| Newest::of(&footer));
                    let fingerprint = footer.fingerprint.filter(|_| newest.is_some());
                    let (stem, path) = (self.stem.clone(), footer.path);
                    if is_new(record, &held) {
                        report.found.push(key);
                    }
                    edits.push(Edit::Found { stem, path, held, newest, fingerprint });
                }
                Err(FetchError::Store(error)) => return Err(error),
                Err(FetchError::Missing) => {}
                // A backup all the same: whoever can read it is to judge it.
                Err(error @ FetchError::Newer(_)) => report.foreign.push((key, error.to_string())),
                Err(error) => self.foreign(record, key, error.to_string(), &mut edits, report),
            }
        }
        Ok(edits)
    }

    /// What stands under the key is none of the database's: if the catalog has a backup there, it is lost.
    fn foreign(
        &self,
        record: &Record,
        key: BackupKey,
        why: String,
        edits: &mut Vec<Edit>,
        report: &mut ReconcileReport,
    ) {
        if record.hour(key.hour).is_some() {
            edits.push(Edit::Gone { stem: self.stem.clone(), hour: key.hour });
        }
        report.foreign.push((key, why));
    }
}
