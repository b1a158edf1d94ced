//! Which backups are looked at: what the bucket lists, and what the catalogs say that it has.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, bail};
use futures::TryStreamExt;
use tokio::sync::mpsc;
use twox_hash::XxHash3_64;
use ultrasimple_core::{BackupKey, Hour, KeyStem};
use ultrasimple_store::{Store, StoreError, inventory};

use crate::filter::Filter;
use crate::find;
use crate::known::Known;
use crate::progress::Progress;

/// What the operator named.
#[derive(Debug)]
pub(super) enum Chosen<'a> {
    /// All databases, or those that match.
    All(Option<&'a Filter>),
    /// These.
    These(Vec<One>),
}

#[derive(Debug)]
pub(super) enum One {
    Database(KeyStem),
    Backup(BackupKey),
}

/// Above 0, and at most 100.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Percent(pub(crate) f64);

impl Percent {
    /// Reads `1%` or `0.5`.
    ///
    /// # Errors
    /// With what would be right.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let number = text.strip_suffix('%').unwrap_or(text).parse::<f64>().ok();
        let fits = |percent: &f64| *percent > 0.0 && *percent <= 100.0;
        let percent = number.filter(fits);
        percent
            .map(Self)
            .ok_or_else(|| "give a percentage above 0 and up to 100, as in 1%".to_owned())
    }
}

/// Lets a random part of the backups through, the same one for the same seed, whatever their order.
#[derive(Debug)]
pub(super) struct Sieve {
    sender: mpsc::Sender<BackupKey>,
    sample: Option<(Percent, u64)>,
    is_empty: bool,
    nearest: Option<(u64, BackupKey)>,
}

impl Sieve {
    pub(super) fn new(sender: mpsc::Sender<BackupKey>, sample: Option<(Percent, u64)>) -> Self {
        Self { sender, sample, is_empty: true, nearest: None }
    }

    async fn offer(&mut self, key: BackupKey) {
        if let Some((percent, seed)) = self.sample {
            let hash = XxHash3_64::oneshot_with_seed(seed, key.to_string().as_bytes());
            #[expect(clippy::cast_precision_loss, reason = "a share needs no more precision")]
            let share = hash as f64 / u64::MAX as f64 * 100.0;
            if share > percent.0 {
                if self.is_empty && self.nearest.as_ref().is_none_or(|(other, _)| hash < *other) {
                    self.nearest = Some((hash, key));
                }
                return;
            }
        }
        self.is_empty = false;
        // Who receives is there until the end, or nobody wants anything any more.
        let _ = self.sender.send(key).await;
    }

    async fn end(mut self) {
        if let (true, Some((_, key))) = (self.is_empty, self.nearest.take()) {
            let _ = self.sender.send(key).await;
        }
    }
}

/// Gives the backups to look at to the sieve.
///
/// # Errors
/// When the store cannot be listed, or a database that was named has no backups.
pub(super) async fn choose(
    store: &dyn Store,
    chosen: &Chosen<'_>,
    all_hours: bool,
    known: &Known,
    mut sieve: Sieve,
    progress: &Progress,
) -> anyhow::Result<()> {
    let cannot_list = || format!("cannot list {}", store.location());
    match chosen {
        Chosen::These(these) => {
            for one in these {
                match one {
                    One::Backup(key) => sieve.offer(key.clone()).await,
                    One::Database(stem) => {
                        let hours = hours(store, stem, known).await.with_context(cannot_list)?;
                        if hours.is_empty() {
                            bail!("{}", find::no_backups(store, stem));
                        }
                        let few = if all_hours { hours.len() } else { 1 };
                        for hour in hours.into_iter().rev().take(few) {
                            sieve.offer(stem.at(hour)).await;
                        }
                    }
                }
            }
        }
        Chosen::All(filter) => {
            let given = if all_hours {
                all(store, *filter, known, &mut sieve).await
            } else {
                newest(store, *filter, known, &mut sieve, progress).await
            };
            given.with_context(cannot_list)?;
        }
    }
    sieve.end().await;
    Ok(())
}

/// All hours of one database.
async fn hours(
    store: &dyn Store,
    stem: &KeyStem,
    known: &Known,
) -> Result<BTreeSet<Hour>, StoreError> {
    let listed = inventory::of_database(store, stem).await?;
    let mut hours: BTreeSet<_> = listed.into_iter().map(|backup| backup.key.hour).collect();
    if let Some(entry) = known.get(stem) {
        hours.extend(entry.hours.iter().copied().chain([entry.newest_hour]));
    }
    Ok(hours)
}

/// The newest backup of each database; and where the catalogs know a newer one, that one, too.
async fn newest(
    store: &dyn Store,
    filter: Option<&Filter>,
    known: &Known,
    sieve: &mut Sieve,
    progress: &Progress,
) -> Result<(), StoreError> {
    let inventory = find::matching(store, filter, None, Some(known)).await?;
    let mut keys: Vec<_> =
        inventory.databases().iter().map(|(stem, held)| stem.at(held.newest)).collect();
    for (stem, entry) in known.databases() {
        let is_meant = filter.is_none_or(|filter| filter.matches(stem, &entry.path));
        let listed = inventory.databases().get(stem);
        if is_meant && listed.is_none_or(|held| held.newest < entry.newest_hour) {
            keys.push(stem.at(entry.newest_hour));
        }
    }
    drop(inventory);
    if sieve.sample.is_none() {
        progress.counting(keys.len() as u64);
    }
    for key in keys {
        sieve.offer(key).await;
    }
    Ok(())
}

/// All backups: as they are listed, and then those that the catalogs know and no listing has shown.
async fn all(
    store: &dyn Store,
    filter: Option<&Filter>,
    known: &Known,
    sieve: &mut Sieve,
) -> Result<(), StoreError> {
    let meant: Option<BTreeSet<_>> = if filter.is_some() {
        let inventory = find::matching(store, filter, None, Some(known)).await?;
        Some(inventory.into_databases().into_keys().collect())
    } else {
        None
    };
    let mut unseen: BTreeMap<&KeyStem, Vec<Hour>> = known
        .databases()
        .iter()
        .filter(|(stem, entry)| filter.is_none_or(|filter| filter.matches(stem, &entry.path)))
        .map(|(stem, entry)| (stem, entry.hours.clone()))
        .collect();
    let mut listing = inventory::backups(store, filter.map_or("", Filter::key_prefix));
    while let Some(backup) = listing.try_next().await? {
        let key = backup.key;
        if meant.as_ref().is_some_and(|meant| !meant.contains(&key.stem)) {
            continue;
        }
        if let Some(hours) = unseen.get_mut(&key.stem)
            && let Ok(at) = hours.binary_search(&key.hour)
        {
            hours.remove(at);
        }
        sieve.offer(key).await;
    }
    for (stem, hours) in unseen {
        for hour in hours {
            sieve.offer(stem.at(hour)).await;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{hour, stem};

    #[test]
    fn percentages() {
        for (text, percent) in [("1%", 1.0), ("0.5", 0.5), ("100%", 100.0), ("1e-3%", 0.001)] {
            assert_eq!(Percent::parse(text), Ok(Percent(percent)), "{text}");
        }
        for text in ["", "%", "0", "-1%", "101%", "NaN", "inf", "1 %", "1%%", "one"] {
            assert!(Percent::parse(text).unwrap_err().contains("as in 1%"), "{text}");
        }
    }

    async fn through(sample: Option<(Percent, u64)>, count: u32) -> BTreeSet<String> {
        let (sender, mut receiver) = mpsc::channel(count as usize + 1);
        let mut sieve = Sieve::new(sender, sample);
        for index in 0..count {
            sieve.offer(stem("t").at(hour(index + 1))).await;
        }
        sieve.end().await;
        let mut keys = BTreeSet::new();
        while let Some(key) = receiver.recv().await {
            assert!(keys.insert(key.to_string()));
        }
        keys
    }

    #[tokio::test]
    async fn a_sample_is_a_part_and_the_same_for_the_same_seed() {
        assert_eq!(through(None, 1_000).await.len(), 1_000);
        assert_eq!(through(Some((Percent(100.0), 1)), 1_000).await.len(), 1_000);
        let ten = through(Some((Percent(10.0), 1)), 10_000).await;
        assert!((800..1_200).contains(&ten.len()), "{}", ten.len());
        assert_eq!(through(Some((Percent(10.0), 1)), 10_000).await, ten);
        assert_ne!(through(Some((Percent(10.0), 2)), 10_000).await, ten);
        for seed in 0..100 {
            assert_eq!(through(Some((Percent(0.000_1), seed)), 5).await.len(), 1);
            assert_eq!(through(Some((Percent(0.000_1), seed)), 0).await.len(), 0);
        }
    }
}
