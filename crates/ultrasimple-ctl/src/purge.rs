//! `purge`: deletes all backups of a database, the last one included. Nothing else does (R4).
//!
//! Look at every footer, sort ([`Sorted`]: what is provably this database's, and what is not), show, ask, look for
//! a hold once more, delete the oldest first, tell the catalogs.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, BufRead, IsTerminal, Write};

use anyhow::{Context, bail};
use futures::{StreamExt, stream};
use serde::Serialize;
use tokio::sync::oneshot;
use ultrasimple_core::catalog::Edit;
use ultrasimple_core::hold::Hold;
use ultrasimple_core::{BackupKey, Footer, KeyStem, ShardKey, SourcePath, VolumeName};
use ultrasimple_keeper::catalogs;
use ultrasimple_store::{FetchError, ListedBackup, Store, inventory};

use crate::find::{self, LOOKS_IN_FLIGHT, Wanted};
use crate::{Outcome, Usage, complain, known, show};

pub(crate) const EXAMPLES: &str = "\
Shows what will go and asks; --yes is for scripts. A database that is held must be released first. Only objects
whose footer says that they are this database's are deleted; other databases' never.

If the source database still exists, the daemon backs it up anew: remove it or -exclude it first.

Examples:
  ultrasimple-ctl -bucket my-backups purge acme/users/main/t1/t1
  ultrasimple-ctl -bucket my-backups purge /data/acme/tenants/t1.db --yes --json

Exit status: 0 all deleted, 3 some could not be deleted or proved, 1 nothing was deleted, 2 nobody could be asked.";

/// What one request may delete.
const BATCH: usize = 1_000;
/// Keys that are named one by one.
const NAMED: usize = 10;

#[derive(Debug, clap::Args)]
pub(crate) struct Purge {
    /// A source path or a key stem
    #[arg(value_name = "DB")]
    pub(crate) database: OsString,
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
    /// Also delete objects with a key of this database whose footer cannot be read, so that nobody knows
    /// what they are
    #[arg(long)]
    pub(crate) unproven: bool,
}

/// Why an object stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Why {
    /// Its footer cannot be read.
    Unproven,
    /// A newer version of this program wrote it.
    Newer,
    /// It is another database's.
    Foreign,
}

/// An object that stays.
#[derive(Debug, Serialize)]
struct Kept {
    key: String,
    result: Why,
    reason: String,
}

/// What is under a stem.
#[derive(Debug, Default)]
struct Sorted {
    /// Whose backups go, if any footer says so.
    identity: Option<(SourcePath, VolumeName)>,
    /// What goes, the oldest first.
    going: Vec<ListedBackup>,
    kept: Vec<Kept>,
}

impl Sorted {
    /// Sorts what was found, the newest first. Whose backups are meant is said by the newest readable footer,
    /// or by the newest with this path.
    fn of(
        found: Vec<(ListedBackup, Result<Footer, FetchError>)>,
        path: Option<&SourcePath>,
        unproven: bool,
    ) -> Self {
        let mut footers = found.iter().filter_map(|(_, footer)| footer.as_ref().ok());
        let meant = footers.find(|footer| path.is_none_or(|path| footer.path == *path));
        let identity = meant.map(|footer| (footer.path.clone(), footer.volume.clone()));
        let mut sorted = Self { identity, ..Self::default() };
        for (backup, footer) in found {
            let key = backup.key.to_string();
            let (result, reason) = match footer {
                Ok(footer) => {
                    let is_meant = sorted.identity.as_ref().is_some_and(|(path, volume)| {
                        (path, volume) == (&footer.path, &footer.volume)
                    });
                    if is_meant {
                        sorted.going.push(backup);
                        continue;
                    }
                    let (path, volume) = (&footer.path, &footer.volume);
                    (Why::Foreign, format!("it is a backup of {path} (volume {volume})"))
                }
                Err(error @ FetchError::Newer(_)) => (Why::Newer, error.to_string()),
                Err(_) if unproven => {
                    sorted.going.push(backup);
                    continue;
                }
                Err(error) => (Why::Unproven, error.to_string()),
            };
            sorted.kept.push(Kept { key, result, reason });
        }
        sorted.going.reverse();
        sorted
    }

    fn bytes(&self) -> u64 {
        self.going.iter().map(|backup| backup.size).sum()
    }

    /// What will go and what will not, for people.
    fn text(&self, stem: &KeyStem) -> String {
        let whose = match &self.identity {
            Some((path, volume)) => format!("{stem}: {path} on volume {volume}"),
            None => format!("{stem}: no footer says of which database"),
        };
        let (number, bytes) = (show::count(self.going.len(), "backup"), show::bytes(self.bytes()));
        let mut lines = vec![whose];
        if let (Some(oldest), Some(newest)) = (self.going.first(), self.going.last()) {
            let (oldest, newest) = (oldest.key.hour, newest.key.hour);
            lines.push(format!("  {number} ({bytes}) to be deleted, from {oldest} to {newest}"));
        }
        for kept in self.kept.iter().take(NAMED) {
            let hint = match kept.result {
                Why::Unproven => "; --unproven deletes it, too",
                Why::Newer => "; use a newer program",
                Why::Foreign => "",
            };
            lines.push(format!("  {} stays: {}{hint}", kept.key, kept.reason));
        }
        if self.kept.len() > NAMED {
            lines.push(format!("  and {} more stay", self.kept.len() - NAMED));
        }
        lines.join("\n") + "\n"
    }
}

/// The JSON document; see docs/CTL.md.
#[derive(Debug, Serialize)]
struct Document<'a> {
    location: &'a str,
    stem: &'a KeyStem,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a SourcePath>,
    #[serde(skip_serializing_if = "Option::is_none")]
    volume: Option<&'a VolumeName>,
    deleted: usize,
    deleted_bytes: u64,
    failed: &'a [Failed],
    kept: &'a [Kept],
    catalogs_failed: &'a [Failed],
}

#[derive(Debug, Serialize)]
struct Failed {
    key: String,
    reason: String,
}

/// Deletes them.
///
/// # Errors
/// When nothing was deleted.
pub(crate) async fn run(store: &dyn Store, args: &Purge, json: bool) -> anyhow::Result<Outcome> {
    let location = store.location();
    let wanted = Wanted::parse(&args.database, location)?;
    if let Wanted::Key(BackupKey { stem, .. }) = &wanted {
        let text = format!(
            "this is the key of one backup, and all backups of the database would go: give its key stem, \
             {stem}"
        );
        return Err(Usage(text).into());
    }
    let stem = find::stem(store, &wanted).await?;
    refuse_held(store, &stem).await?;
    let path = if let Wanted::Path(path) = &wanted { Some(path) } else { None };
    let sorted = Sorted::of(look(store, &stem).await?, path, args.unproven);
    let _ = io::stderr().write_all(sorted.text(&stem).as_bytes());
    if sorted.going.is_empty() {
        bail!("nothing of {stem} is provably this database's: nothing was deleted");
    }
    if !args.yes && !confirmed(&stem).await? {
        complain("nothing was deleted");
        return Ok(Outcome::AllFailed);
    }
    refuse_held(store, &stem).await?;
    let (deleted, failed) = delete(store, &sorted.going).await;
    let keys = deleted.iter().map(|backup| backup.key.clone()).collect();
    let catalogs_failed = tell_catalogs(store, keys).await?;
    let deleted_bytes = deleted.iter().map(|backup| backup.size).sum();
    let identity = sorted.identity.as_ref();
    if json {
        show::print_json(&Document {
            location,
            stem: &stem,
            path: identity.map(|(path, _)| path),
            volume: identity.map(|(_, volume)| volume),
            deleted: deleted.len(),
            deleted_bytes,
            failed: &failed,
            kept: &sorted.kept,
            catalogs_failed: &catalogs_failed,
        })?;
    } else {
        for Failed { key, reason } in &failed {
            complain(&format!("{key} could not be deleted: {reason}"));
        }
        for Failed { key, reason } in &catalogs_failed {
            complain(&format!(
                "the catalog {key} could not be told: {reason}; 'ultrasimple-ctl catalog rebuild' does"
            ));
        }
        let (number, bytes) = (show::count(deleted.len(), "backup"), show::bytes(deleted_bytes));
        let anew = identity.map_or_else(String::new, |(path, _)| {
            format!("; if {path} still exists, the daemon backs it up anew")
        });
        show::print(&format!("deleted {number} ({bytes}) of {stem}{anew}\n"))?;
    }
    let unproven = sorted.kept.iter().any(|kept| kept.result != Why::Foreign);
    Ok(match (failed.is_empty() && catalogs_failed.is_empty() && !unproven, deleted.is_empty()) {
        (true, _) => Outcome::AllWell,
        (false, true) => Outcome::AllFailed,
        (false, false) => Outcome::SomeFailed,
    })
}

async fn refuse_held(store: &dyn Store, stem: &KeyStem) -> anyhow::Result<()> {
    let held = store.head(&Hold::key(stem)).await.context("cannot look for a hold")?;
    if held.is_some() {
        bail!("{stem} is held: 'ultrasimple-ctl release {stem}' first");
    }
    Ok(())
}

/// All objects of a stem and their footers, the newest first.
async fn look(
    store: &dyn Store,
    stem: &KeyStem,
) -> anyhow::Result<Vec<(ListedBackup, Result<Footer, FetchError>)>> {
    let listed = inventory::of_database(store, stem).await;
    let listed = listed.with_context(|| format!("cannot list {}", store.location()))?;
    if listed.is_empty() {
        bail!("{}", find::no_backups(store, stem));
    }
    let looks = listed.into_iter().map(|backup| async move {
        let footer = ultrasimple_store::footer(store, &backup.key.object_key()).await;
        (backup, footer.map(|(footer, _)| footer))
    });
    let found: Vec<_> = stream::iter(looks).buffered(LOOKS_IN_FLIGHT).collect().await;
    for (backup, footer) in &found {
        if let Err(FetchError::Store(error)) = footer {
            bail!("{} cannot be looked at: {error}: nothing was deleted", backup.key);
        }
    }
    Ok(found)
}

/// Asks on the terminal. On a thread of its own, so that Ctrl-C need not wait for an answer.
async fn confirmed(stem: &KeyStem) -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() {
        let text = "purge deletes for ever, and there is no terminal to ask on: --yes says that it is meant";
        return Err(Usage(text.to_owned()).into());
    }
    let _ = io::stderr().write_all(b"Type the key stem (or yes) to delete them for ever: ");
    let (sender, answer) = oneshot::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = io::stdin().lock().read_line(&mut line);
        let _ = sender.send(read.map(|_| line));
    });
    let line = answer.await.context("no answer")?.context("cannot read the answer")?;
    Ok(line.trim() == "yes" || line.trim() == stem.as_str())
}

async fn delete<'a>(
    store: &dyn Store,
    going: &'a [ListedBackup],
) -> (Vec<&'a ListedBackup>, Vec<Failed>) {
    let (mut deleted, mut failed) = (Vec::new(), Vec::new());
    for batch in going.chunks(BATCH) {
        let keys: Vec<_> = batch.iter().map(|backup| backup.key.object_key()).collect();
        let errors: BTreeMap<_, _> = match store.delete(&keys).await {
            Ok(errors) => errors.into_iter().collect(),
            Err(error) => keys.iter().map(|key| (key.clone(), error.clone())).collect(),
        };
        for (backup, key) in batch.iter().zip(&keys) {
            match errors.get(key) {
                None => deleted.push(backup),
                Some(error) => {
                    failed.push(Failed { key: key.to_string(), reason: error.to_string() });
                }
            }
        }
    }
    (deleted, failed)
}

/// Tells all catalogs that know the database. Gives those that could not be told.
async fn tell_catalogs(store: &dyn Store, keys: Vec<BackupKey>) -> anyhow::Result<Vec<Failed>> {
    let Some(stem) = keys.first().map(|key| key.stem.clone()) else { return Ok(Vec::new()) };
    let mut knowing: Vec<(ShardKey, u32)> = Vec::new();
    let unusable = known::each(store, None, |catalog| {
        if catalog.databases.contains_key(&stem) {
            knowing.push((catalog.key, catalog.shards));
        }
    });
    let unusable =
        unusable.await.context("the backups are deleted, but the catalogs cannot be listed")?;
    let mut failed: Vec<_> = unusable
        .into_iter()
        .map(|(key, reason)| Failed { key: key.object_key().to_string(), reason })
        .collect();
    let gone = keys.into_iter().map(|BackupKey { stem, hour }| Edit::Gone { stem, hour });
    let edits: Vec<_> = gone.collect();
    for (key, shards) in knowing {
        let author = known::author(shards)?;
        if let Err(error) = catalogs::update(store, &key, &author, &edits).await {
            let (key, reason) = (key.object_key().to_string(), error.to_string());
            failed.push(Failed { key, reason });
        }
    }
    Ok(failed)
}
