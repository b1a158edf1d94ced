//! Which database is meant: from what the operator wrote to the key stem of one database.
//!
//! A key names its database; a source path must be looked for. The catalogs are asked first: a few requests,
//! and one more to see that the objects say the same. Where they do not know the path, footers are read. To
//! keep requests few, the databases whose stem ends in the file's name are asked (the name is always the last
//! part of a stem the replicator makes); only where none of them is it, all others are (objects that
//! were copied by hand).

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Context, bail};
use futures::StreamExt;
use futures::stream;
use ultrasimple_core::path::{encode, without_db};
use ultrasimple_core::{
    BackupKey, Footer, Hour, KeyStem, ShardId, SourcePath, Timestamp, VolumeName, placement,
};
use ultrasimple_keeper::catalogs;
use ultrasimple_store::inventory::{REMEMBERED_HOURS, of_database};
use ultrasimple_store::{FetchError, Held, Inventory, Store, StoreError};

use crate::complain;
use crate::filter::Filter;
use crate::known::{self, Known};

/// Footers asked for at once.
pub(crate) const LOOKS_IN_FLIGHT: usize = 64;
/// Catalogs read at once, to find a path.
const CATALOGS_IN_FLIGHT: usize = 8;
/// So many databases of the right name are asked without further thought. Of more, only those whose
/// stem has nothing that is not in the path.
const MANY: usize = 1_000;

/// What the operator wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// `/data/t1.db`
    Path(SourcePath),
    /// `acme/t1/t1`
    Stem(KeyStem),
    /// `acme/t1/t1-20240115-140000.db.lz4`
    Key(BackupKey),
}

impl Wanted {
    /// Reads what was written. A full address (`s3://bucket/prefix/key`) is taken, too.
    ///
    /// # Errors
    /// When it is neither a path nor a key.
    pub(crate) fn parse(word: &OsStr, location: &str) -> anyhow::Result<Self> {
        if word.as_bytes().starts_with(b"./") || word.as_bytes().starts_with(b"../") {
            let path =
                std::path::absolute(Path::new(word)).context("cannot tell this directory")?;
            return Ok(Self::Path(SourcePath::new(&path)));
        }
        if word.as_bytes().starts_with(b"/") {
            return Ok(Self::Path(SourcePath::from_bytes(word.as_bytes())));
        }
        let text = word.to_str().with_context(|| format!("{} is not a key", word.display()))?;
        let within = text.strip_prefix(location).and_then(|rest| rest.strip_prefix('/'));
        let text = within.unwrap_or(text);
        if let Some(key) = BackupKey::parse(text) {
            return Ok(Self::Key(key));
        }
        let stem = KeyStem::try_from(text.to_owned());
        Ok(Self::Stem(
            stem.context("this is neither a source path (they begin with '/') nor a key")?,
        ))
    }
}

/// The stem of the database that is meant. At a path that no catalog knows, the whole bucket is listed.
///
/// # Errors
/// When there is none, or more than one.
pub(crate) async fn stem(store: &dyn Store, wanted: &Wanted) -> anyhow::Result<KeyStem> {
    match wanted {
        Wanted::Key(key) => Ok(key.stem.clone()),
        Wanted::Stem(stem) => Ok(stem.clone()),
        Wanted::Path(path) => {
            let found = by_catalogs(store, path).await?;
            match found.as_slice() {
                [] => by_path(store, path).await,
                [(stem, _)] => Ok(stem.clone()),
                several => bail!("{}", ambiguous(path, several)),
            }
        }
    }
}

/// The databases that the catalogs know at a path, and whose objects say the same. What cannot be found out
/// here is found out by listing.
async fn by_catalogs(
    store: &dyn Store,
    path: &SourcePath,
) -> anyhow::Result<Vec<(KeyStem, Footer)>> {
    let shards = known::cluster_file(store).await.ok().flatten().map(|file| file.shards);
    let shard = |volume: &VolumeName| -> Option<ShardId> {
        shards.map(|shards| placement::shard_of(volume, path, shards))
    };
    let keys = catalogs::list(store, None).await.unwrap_or_default();
    let keys = keys.into_iter().filter(|key| shard(&key.volume).is_none_or(|s| s == key.shard));
    let reads = keys.map(|key| async move {
        let Ok(Some((catalog, _))) = catalogs::read(store, &key).await else { return Vec::new() };
        let here = catalog.databases.into_iter().filter(|(_, record)| record.path == *path);
        here.map(|(stem, _)| stem).collect::<Vec<_>>()
    });
    let stems: Vec<_> = stream::iter(reads).buffer_unordered(CATALOGS_IN_FLIGHT).concat().await;
    let mut found = Vec::new();
    for stem in stems {
        let listed = of_database(store, &stem).await;
        let listed = listed.with_context(|| format!("cannot list {}", store.location()))?;
        let hours: Vec<_> = listed.iter().take(REMEMBERED_HOURS).map(|b| b.key.hour).collect();
        match look(store, &stem, &hours).await {
            Ok(look) if look.footer.path == *path => found.push((stem, look.footer)),
            Ok(_) => {}
            Err(error) if error.is_loss() => {}
            Err(error) => bail!("cannot read a backup of {stem}: {error}"),
        }
    }
    Ok(found)
}

async fn by_path(store: &dyn Store, path: &SourcePath) -> anyhow::Result<KeyStem> {
    let location = store.location();
    let inventory = Inventory::list(store, "", None).await;
    let inventory = inventory.with_context(|| format!("cannot list {location}"))?;
    let order = order(path, inventory.databases().keys());
    if order.left_out > 0 {
        let (name, left_out) = (path.key_name(), order.left_out);
        complain(&format!(
            "many databases are called {name:?}: {left_out} whose keys have other folders than the path \
             were not looked at; name the key stem to be sure"
        ));
    }
    let mut unreadable = 0;
    for group in [order.first, order.rest] {
        let group: Vec<_> = group
            .into_iter()
            .filter_map(|stem| inventory.databases().get_key_value(stem))
            .collect();
        let mut found = Vec::new();
        let mut looks = looks(store, group);
        while let Some((stem, look)) = looks.next().await {
            match look {
                Ok(look) if look.footer.path == *path => found.push((stem, look.footer)),
                Ok(_) => {}
                Err(error) if error.is_loss() => unreadable += 1,
                Err(error) => bail!("cannot read a backup of {stem}: {error}"),
            }
        }
        match found.as_slice() {
            [] => {}
            [(stem, _)] => return Ok(stem.clone()),
            several => bail!("{}", ambiguous(path, several)),
        }
    }
    let hint = match unreadable {
        0 => String::new(),
        number => format!(" ({number} databases have no readable backup, and could be it)"),
    };
    bail!(
        "{location} has no backup of {path}{hint}: see 'ultrasimple-ctl databases --paths', or name it \
         by its key"
    )
}

/// Says that a stem has no backups, and what may be wrong.
pub(crate) fn no_backups(store: &dyn Store, stem: &KeyStem) -> String {
    format!(
        "{} has no backups with the key stem {stem}: see 'ultrasimple-ctl databases'; a source path \
         begins with '/'",
        store.location()
    )
}

fn ambiguous(path: &SourcePath, several: &[(KeyStem, Footer)]) -> String {
    let mut lines: Vec<_> = several
        .iter()
        .map(|(stem, footer)| {
            let (volume, node, time) = (&footer.volume, &footer.node, footer.captured_at);
            format!("\n  {stem}  (volume {volume}, node {node}, last captured {time})")
        })
        .collect();
    lines.sort();
    format!("several databases were at {path}; name one by its key stem:{}", lines.concat())
}

/// In which order databases are asked for their path.
#[derive(Debug, PartialEq, Eq)]
struct Order<'a> {
    first: Vec<&'a KeyStem>,
    rest: Vec<&'a KeyStem>,
    left_out: usize,
}

fn order<'a>(path: &SourcePath, stems: impl Iterator<Item = &'a KeyStem>) -> Order<'a> {
    let name = path.key_name();
    let (mut first, rest): (Vec<_>, Vec<_>) =
        stems.partition(|stem| stem.as_str().rsplit('/').next() == Some(&name));
    let mut left_out = 0;
    if first.len() > MANY {
        let components = path.as_bytes().split(|&byte| byte == b'/');
        let known: BTreeSet<_> =
            components.flat_map(|part| [encode(part), encode(without_db(part))]).collect();
        let explained = |stem: &&KeyStem| stem.as_str().split('/').all(|part| known.contains(part));
        let likely: Vec<_> = first.iter().copied().filter(explained).collect();
        if !likely.is_empty() {
            left_out = first.len() - likely.len();
            first = likely;
        }
    }
    Order { first, rest, left_out }
}

/// What the newest readable footer of a database says.
#[derive(Debug, Clone)]
pub(crate) struct Look {
    pub(crate) footer: Footer,
}

/// Looks at the newest readable footer of each database, many at once; in any order.
pub(crate) fn looks<'a>(
    store: &'a dyn Store,
    databases: Vec<(&'a KeyStem, &'a Held)>,
) -> impl futures::Stream<Item = (KeyStem, Result<Look, FetchError>)> + Unpin {
    let looks = databases.into_iter().map(move |(stem, held)| async move {
        let hours = match held.candidates() {
            [] => &[held.newest],
            hours => hours,
        };
        (stem.clone(), look(store, stem, hours).await)
    });
    Box::pin(stream::iter(looks).buffer_unordered(LOOKS_IN_FLIGHT))
}

async fn look(store: &dyn Store, stem: &KeyStem, hours: &[Hour]) -> Result<Look, FetchError> {
    let mut first_error = None;
    for &hour in hours {
        match ultrasimple_store::footer(store, &stem.at(hour).object_key()).await {
            Ok((footer, _)) => return Ok(Look { footer }),
            Err(error) if error.is_loss() => first_error = first_error.or(Some(error)),
            Err(error) => return Err(error),
        }
    }
    Err(first_error.unwrap_or(FetchError::Missing))
}

/// The databases that a filter means, of a whole inventory. Reads footers only where paths may match, and
/// only of databases whose path is not `known`.
///
/// # Errors
/// When the store cannot be read.
pub(crate) async fn matching(
    store: &dyn Store,
    filter: Option<&Filter>,
    at: Option<Timestamp>,
    known: Option<&Known>,
) -> Result<Inventory, StoreError> {
    let prefix = filter.map_or("", |filter| filter.key_prefix());
    let mut inventory = Inventory::list(store, prefix, at).await?;
    let Some(filter) = filter else {
        return Ok(inventory);
    };
    let mut meant: BTreeSet<KeyStem> = BTreeSet::new();
    let mut unsure = Vec::new();
    for (stem, held) in inventory.databases() {
        if filter.matches_stem(stem) {
            meant.insert(stem.clone());
        } else if let Some(entry) = known.and_then(|known| known.get(stem)) {
            if filter.matches_path(&entry.path) {
                meant.insert(stem.clone());
            }
        } else if filter.may_match_paths() {
            unsure.push((stem, held));
        }
    }
    let mut looks = looks(store, unsure);
    while let Some((stem, look)) = looks.next().await {
        match look {
            Ok(look) if filter.matches_path(&look.footer.path) => drop(meant.insert(stem)),
            Err(FetchError::Store(error)) => return Err(error),
            // What cannot be read cannot match: its path is not known.
            _ => {}
        }
    }
    drop(looks);
    inventory.retain(|stem| meant.contains(stem));
    Ok(inventory)
}

#[cfg(test)]
#[path = "find_tests.rs"]
mod tests;
