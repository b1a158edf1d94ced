//! What the catalogs know, condensed: a few hundred bytes for each database, however many backups it has.
//!
//! Never trusted over the objects, and never needed (R9): where catalogs are missing or damaged, less is
//! told, with a warning. What changes a catalog goes through [`Edits`], which the keeper applies.

use std::collections::BTreeMap;

use anyhow::Context;
use futures::{StreamExt, stream};
use ultrasimple_core::catalog::{Edit, Newest, Record};
use ultrasimple_core::cluster_file::ClusterFile;
use ultrasimple_core::{
    Catalog, Clock, Epoch, Footer, Hour, KeyStem, ShardKey, SourcePath, SystemClock, Timestamp,
    VolumeName, placement,
};
use ultrasimple_keeper::{Author, catalogs};
use ultrasimple_store::{ByteRange, Store, StoreError};

use crate::complain;

/// Catalogs read at once: each may be large.
const IN_FLIGHT: usize = 8;
/// Far more than the cluster file ever has.
const MOST_CLUSTER_FILE_BYTES: u64 = 64 * 1_024;
/// Who writes, in catalogs.
const NODE: &str = "ultrasimple-ctl";

/// What all catalogs know.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// The catalogs that could be read, without their databases.
    pub(crate) catalogs: Vec<Head>,
    /// Those that could not, and why.
    pub(crate) unusable: BTreeMap<ShardKey, String>,
    databases: BTreeMap<KeyStem, Entry>,
}

/// A catalog without its databases.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) key: ShardKey,
    pub(crate) shards: u32,
    pub(crate) epoch: Epoch,
    pub(crate) written_at: Timestamp,
    pub(crate) reconciled_at: Option<Timestamp>,
}

/// What a catalog says of one database, without its hours.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    catalog: usize,
    pub(crate) path: SourcePath,
    pub(crate) newest: Option<Newest>,
    pub(crate) failed_check: Option<Box<str>>,
    pub(crate) gone_since: Option<Timestamp>,
    pub(crate) backups: u64,
    pub(crate) bytes: u64,
    pub(crate) oldest_hour: Hour,
    pub(crate) newest_hour: Hour,
    pub(crate) newest_bytes: u64,
    /// When the newest backup was last read back.
    pub(crate) verified_at: Option<Timestamp>,
    /// What was wrong with the newest backup then.
    pub(crate) fault: Option<Box<str>>,
    /// Backups in which a fault was found, the newest included.
    pub(crate) faults: u64,
    /// All hours, where they were asked for.
    pub(crate) hours: Vec<Hour>,
}

impl Entry {
    fn of(record: &Record, catalog: usize, with_hours: bool) -> Option<Self> {
        let (oldest, newest) = (record.hours.first()?, record.newest_hour()?);
        let hours = record.hours.iter();
        Some(Self {
            catalog,
            path: record.path.clone(),
            newest: record.newest.clone(),
            failed_check: record.failed_check.clone(),
            gone_since: record.gone_since,
            backups: record.hours.len() as u64,
            bytes: hours.clone().map(|held| held.bytes).sum(),
            oldest_hour: oldest.hour,
            newest_hour: newest.hour,
            newest_bytes: newest.bytes,
            verified_at: newest.verified_at,
            fault: newest.fault.clone(),
            faults: hours.clone().filter(|held| held.fault.is_some()).count() as u64,
            hours: if with_hours { hours.map(|held| held.hour).collect() } else { Vec::new() },
        })
    }
}

impl Entry {
    /// The place of its catalog among all.
    pub(crate) fn catalog(&self) -> usize {
        self.catalog
    }
}

impl Known {
    /// Reads all catalogs: a request for each, and one to list them. With `with_hours`, four bytes more
    /// for each backup.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub(crate) async fn load(store: &dyn Store, with_hours: bool) -> Result<Self, StoreError> {
        let mut known = Self::default();
        let unusable = each(store, None, |catalog| known.add(&catalog, with_hours)).await?;
        known.unusable = unusable;
        Ok(known)
    }

    /// As [`Self::load`], for commands that can do without: what is not known is said on stderr.
    pub(crate) async fn load_or_warn(store: &dyn Store, with_hours: bool) -> Self {
        match Self::load(store, with_hours).await {
            Ok(known) => {
                warn(&known.unusable);
                known
            }
            Err(error) => {
                complain(&format!(
                    "the catalogs cannot be listed, which leaves less to tell: {error}"
                ));
                Self::default()
            }
        }
    }

    fn add(&mut self, catalog: &Catalog, with_hours: bool) {
        let index = self.catalogs.len();
        self.catalogs.push(Head {
            key: catalog.key.clone(),
            shards: catalog.shards,
            epoch: catalog.epoch,
            written_at: catalog.written_at,
            reconciled_at: catalog.reconciled_at,
        });
        for (stem, record) in &catalog.databases {
            let Some(entry) = Entry::of(record, index, with_hours) else { continue };
            // In two catalogs only after a database moved: the one with the later backup is right.
            let there = self.databases.get(stem);
            if there.is_none_or(|there| there.newest_hour < entry.newest_hour) {
                self.databases.insert(stem.clone(), entry);
            }
        }
    }

    pub(crate) fn databases(&self) -> &BTreeMap<KeyStem, Entry> {
        &self.databases
    }

    pub(crate) fn get(&self, stem: &KeyStem) -> Option<&Entry> {
        self.databases.get(stem)
    }

    /// The catalog that a database is in.
    pub(crate) fn head(&self, entry: &Entry) -> Option<&Head> {
        self.catalogs.get(entry.catalog)
    }

    pub(crate) fn volume(&self, entry: &Entry) -> Option<&VolumeName> {
        self.head(entry).map(|head| &head.key.volume)
    }

    /// Of what time all of this is, at the least.
    pub(crate) fn oldest_written(&self) -> Option<Timestamp> {
        self.catalogs.iter().map(|head| head.written_at).min()
    }
}

/// Reads all catalogs of one volume or of all, and gives each to `take`; tells those that cannot be used or
/// read, and why: one of them is no reason to know nothing. Memory is that of a few catalogs.
///
/// # Errors
/// When they cannot be listed.
pub(crate) async fn each(
    store: &dyn Store,
    volume: Option<&VolumeName>,
    mut take: impl FnMut(Catalog),
) -> Result<BTreeMap<ShardKey, String>, StoreError> {
    let mut unusable = BTreeMap::new();
    let keys = catalogs::list(store, volume).await?;
    let reads = keys.into_iter().map(|key| async move {
        let found = catalogs::read(store, &key).await;
        (key, found)
    });
    let mut reads = stream::iter(reads).buffer_unordered(IN_FLIGHT);
    while let Some((key, found)) = reads.next().await {
        match found {
            Ok(Some((catalog, _))) => take(catalog),
            Ok(None) => {}
            Err(error) => drop(unusable.insert(key, error.to_string())),
        }
    }
    Ok(unusable)
}

/// What the catalogs say of one database: a request where its newest footer and the cluster file tell the
/// shard, else one for each catalog. What cannot be read is not known.
pub(crate) async fn record(
    store: &dyn Store,
    stem: &KeyStem,
    footer: Option<&Footer>,
) -> Option<Record> {
    let file = cluster_file(store).await.ok().flatten();
    if let (Some(file), Some(Footer { volume, path, .. })) = (file, footer) {
        let shard = placement::shard_of(volume, path, file.shards);
        let key = ShardKey { volume: volume.clone(), shard };
        match catalogs::read(store, &key).await {
            Ok(found) => return found?.0.databases.remove(stem),
            Err(error) => {
                warn(&BTreeMap::from([(key, error.to_string())]));
                return None;
            }
        }
    }
    let mut found = None;
    let take =
        |mut catalog: Catalog| found = found.take().or_else(|| catalog.databases.remove(stem));
    match each(store, None, take).await {
        Ok(unusable) if found.is_none() => warn(&unusable),
        _ => {}
    }
    found
}

/// Says that catalogs cannot be used.
pub(crate) fn warn(unusable: &BTreeMap<ShardKey, String>) {
    let Some((key, why)) = unusable.first_key_value() else { return };
    let (key, more) = (key.object_key(), unusable.len() - 1);
    let more = if more == 0 { String::new() } else { format!(" (and {more} more)") };
    complain(&format!(
        "the catalog {key} cannot be used{more}, which leaves less to tell: {why}; 'ultrasimple-ctl \
         catalog rebuild' makes catalogs anew from the objects"
    ));
}

/// The cluster file, if there is one.
///
/// # Errors
/// When it cannot be read.
pub(crate) async fn cluster_file(store: &dyn Store) -> anyhow::Result<Option<ClusterFile>> {
    let key = ClusterFile::key();
    let cannot = || format!("cannot read {key} in {}", store.location());
    let Some(object) = store.get(&key, ByteRange::Full).await.with_context(cannot)? else {
        return Ok(None);
    };
    let bytes = object.bytes(MOST_CLUSTER_FILE_BYTES).await.with_context(cannot)?;
    ClusterFile::parse(&bytes).map(Some).with_context(cannot)
}

/// This tool as the writer of a catalog of a volume with so many shards.
///
/// # Errors
/// Never in practice.
pub(crate) fn author(shards: u32) -> anyhow::Result<Author> {
    let node = NODE.parse()?;
    Ok(Author { node, epoch: None, shards, now: SystemClock.now(), is_final: false })
}

/// What is to change in the catalogs.
#[derive(Debug, Default)]
pub(crate) struct Edits {
    by_catalog: BTreeMap<ShardKey, (u32, Vec<Edit>)>,
    count: usize,
}

impl Edits {
    /// Notes a change to the catalog that is known to have the database; without one there is nothing to
    /// change.
    pub(crate) fn add(&mut self, known: &Known, stem: &KeyStem, edit: Edit) {
        let head = known.get(stem).and_then(|entry| known.head(entry));
        if let Some(head) = head {
            let (_, edits) =
                self.by_catalog.entry(head.key.clone()).or_insert((head.shards, Vec::new()));
            edits.push(edit);
            self.count += 1;
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Does them all. Gives the number of those done, and the catalogs that could not be written, and why.
    ///
    /// # Errors
    /// Never in practice.
    pub(crate) async fn write(self, store: &dyn Store) -> anyhow::Result<Written> {
        let writes = self.by_catalog.into_iter().map(|(key, (shards, edits))| async move {
            let author = author(shards)?;
            let written = catalogs::update(store, &key, &author, &edits).await;
            Ok::<_, anyhow::Error>((key, edits.len(), written))
        });
        let mut writes = stream::iter(writes).buffer_unordered(IN_FLIGHT);
        let mut result = Written::default();
        while let Some(written) = writes.next().await {
            match written? {
                (_, count, Ok(_)) => result.done += count,
                (key, _, Err(error)) => drop(result.failed.insert(key, error.to_string())),
            }
        }
        Ok(result)
    }
}

/// What became of [`Edits`].
#[derive(Debug, Default)]
pub(crate) struct Written {
    pub(crate) done: usize,
    pub(crate) failed: BTreeMap<ShardKey, String>,
}
