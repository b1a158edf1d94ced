//! `restore --all --to DIR`: list, choose, plan, restore many at once, make it durable, report.
//!
//! The catalogs tell where most databases were, and when their newest backup was captured; a footer is read where
//! they do not, or where the bucket has something else than they say. What a catalog says is believed until the
//! object is there: its own footer decides.
//!
//! Memory: a few hundred bytes for each database, and a few MiB for each of those restored at once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use futures::{StreamExt, stream};
use serde::Serialize;
use ultrasimple_core::{KeyStem, SourcePath, Timestamp};
use ultrasimple_store::{Held, Store};

use super::act::{self, How, blocking};
use super::report::{Backup, Counts, Line, Result as Came};
use super::{place, plan};
use crate::filter::Filter;
use crate::find::{self, LOOKS_IN_FLIGHT};
use crate::known::Known;
use crate::progress::Progress;
use crate::select::{Facts, Pick, Rule, Search};
use crate::{Outcome, complain, show};

/// What is to be done.
#[derive(Debug)]
pub(crate) struct Task<'a> {
    pub(crate) to: &'a Path,
    pub(crate) filter: Option<&'a Filter>,
    pub(crate) by_volume: bool,
    pub(crate) rule: Rule,
    pub(crate) how: How,
    pub(crate) parallel: usize,
    pub(crate) json: bool,
}

/// The JSON document; see docs/CTL.md.
#[derive(Debug, Serialize)]
struct Document<'a> {
    location: &'a str,
    to: SourcePath,
    at: Option<Timestamp>,
    by_volume: bool,
    #[serde(flatten)]
    counts: Counts,
    databases: Vec<Line>,
}

/// Restores all that are meant.
///
/// # Errors
/// When nothing could be begun.
pub(crate) async fn run(store: &dyn Store, task: &Task<'_>) -> anyhow::Result<Outcome> {
    let location = store.location();
    let progress = Progress::new(task.json);
    progress.looking("listing the bucket");
    let (chosen, mut lines) = choose(store, task, &progress).await?;
    let to = task.to.to_path_buf();
    let root = blocking(move || place::root(&to)).await.map_err(|why| anyhow!(why))?;
    let sources: Vec<_> = chosen
        .values()
        .map(|(search, pick)| plan::Source {
            stem: &search.stem,
            volume: &pick.facts.volume,
            path: &pick.facts.path,
        })
        .collect();
    let plan::Plan { by_volume, mut places } = plan::plan(&sources, task.by_volume);
    progress.restoring(chosen.values().map(|(_, pick)| pick.facts.size).sum());
    let total = chosen.len();
    let jobs = chosen.into_iter().map(|(stem, (search, pick))| {
        let place = places.remove(&stem).unwrap_or_else(|| Err("it has no place".to_owned()));
        restore_one(store, task, &root, search, pick, place, &progress)
    });
    let mut done = stream::iter(jobs).buffer_unordered(task.parallel);
    let mut counts = Counts::of(&lines);
    while let Some(line) = done.next().await {
        counts.add(&line);
        let (so_far, failed) = (counts.restored + counts.skipped, counts.failed);
        progress.note(format!("{so_far}/{total} databases, {failed} failed"));
        lines.push(line);
    }
    drop(done);
    make_durable(&root, &mut lines).await;
    let counts = Counts::of(&lines);
    progress.finish();
    lines.sort_by(|a, b| (a.result, &a.stem).cmp(&(b.result, &b.stem)));
    if !task.json {
        tell(&lines, counts, &root, location)?;
        return Ok(outcome(counts));
    }
    let (to, at) = (SourcePath::new(&root), task.rule.at);
    show::print_json(&Document { location, to, at, by_volume, counts, databases: lines })?;
    Ok(outcome(counts))
}

fn outcome(counts: Counts) -> Outcome {
    match (counts.failed, counts.restored + counts.skipped) {
        (0, 1..) => Outcome::AllWell,
        (_, 0) => Outcome::AllFailed,
        _ => Outcome::SomeFailed,
    }
}

type Chosen = BTreeMap<KeyStem, (Search, Pick)>;

/// Which backup of each database; and those that have none.
async fn choose(
    store: &dyn Store,
    task: &Task<'_>,
    progress: &Progress,
) -> anyhow::Result<(Chosen, Vec<Line>)> {
    let (location, rule) = (store.location(), task.rule);
    let known = Known::load_or_warn(store, false).await;
    let inventory = find::matching(store, task.filter, rule.at, Some(&known)).await;
    let inventory = inventory.with_context(|| format!("cannot list {location}"))?;
    let total = inventory.databases().len();
    if total == 0 {
        let which = if task.filter.is_some() { "no database that matches" } else { "no backups" };
        bail!("{location} has {which}: see 'ultrasimple-ctl databases'");
    }
    let searches = inventory.into_databases().into_iter().map(|(stem, held)| {
        let facts = told(&known, &stem, &held);
        let mut search = Search::new(stem, &held, rule);
        if let Some(facts) = facts {
            search.hint(held.newest, facts);
        }
        search
    });
    let searches = searches.map(|mut search| async move {
        let pick = search.next(store).await;
        (search, pick)
    });
    let mut searches = stream::iter(searches).buffer_unordered(LOOKS_IN_FLIGHT);
    let (mut chosen, mut lines) = (BTreeMap::new(), Vec::new());
    while let Some((search, pick)) = searches.next().await {
        match pick {
            Ok(pick) => drop(chosen.insert(search.stem.clone(), (search, pick))),
            Err(error) => {
                let passed_over = search.passed_over();
                lines.push(Line::not_done(search.stem.clone(), None, &error, rule.at, passed_over));
            }
        }
        let so_far = chosen.len() + lines.len();
        progress.looking(&format!("looking at backups: {so_far}/{total}"));
    }
    Ok((chosen, lines))
}

/// What the catalogs say of the newest backup of a database, where the bucket has one of that hour and size.
fn told(known: &Known, stem: &KeyStem, held: &Held) -> Option<Facts> {
    let entry = known.get(stem)?;
    let newest = entry.newest.as_ref()?;
    let is_there = (entry.newest_hour, entry.newest_bytes) == (held.newest, held.newest_bytes);
    if !is_there || newest.hour() != held.newest || entry.fault.is_some() {
        return None;
    }
    Some(Facts {
        volume: known.head(entry)?.key.volume.clone(),
        path: entry.path.clone(),
        captured_at: newest.captured_at,
        blake3: newest.blake3,
        size: newest.size,
        marked: newest.marked.clone(),
    })
}

/// Makes the names of what is there durable, up to `root`: each directory once.
async fn make_durable(root: &Path, lines: &mut [Line]) {
    let mut directories = BTreeSet::new();
    for target in lines.iter().filter_map(|line| line.target.as_ref()) {
        let target = target.to_path_buf();
        let above = target.ancestors().skip(1).take_while(|above| above.starts_with(root));
        // Where one is noted, those above it are.
        for directory in above {
            if !directories.insert(directory.to_path_buf()) {
                break;
            }
        }
    }
    let syncs = directories.into_iter().map(|directory| async move {
        let path = directory.clone();
        (directory, blocking(move || act::sync(&path)).await)
    });
    let mut syncs = stream::iter(syncs).buffer_unordered(LOOKS_IN_FLIGHT);
    let mut failed = BTreeMap::new();
    while let Some((directory, synced)) = syncs.next().await {
        if let Err(why) = synced {
            failed.insert(directory, why);
        }
    }
    for line in lines.iter_mut().filter(|_| !failed.is_empty()) {
        let target = line.target.as_ref().map(SourcePath::to_path_buf);
        let mut above = target.iter().flat_map(|target| target.ancestors().skip(1));
        if let Some(why) = above.find_map(|directory| failed.get(directory)) {
            line.result = Came::Failed;
            line.reason =
                Some(format!("it is there, but may be gone after a power failure: {why}"));
        }
    }
}

async fn restore_one(
    store: &dyn Store,
    task: &Task<'_>,
    root: &Path,
    mut search: Search,
    pick: Pick,
    place: Result<PathBuf, String>,
    progress: &Progress,
) -> Line {
    let stem = search.stem.clone();
    let backup = Some(Backup::of(&stem, &pick));
    let prepared = {
        let root = root.to_path_buf();
        blocking(move || {
            let target = place::prepare(&root, &place?)?;
            let is_there = std::fs::symlink_metadata(&target).is_ok();
            Ok((target, is_there))
        })
        .await
    };
    let (target, is_there) = match prepared {
        Ok(prepared) => prepared,
        Err(reason) => return Line::failed(stem, backup, reason),
    };
    // What is there is compared with what the bucket has now, not with what a catalog told.
    let again = if is_there { search.look_again(store, &pick).await } else { Ok(None) };
    let again = match again {
        Ok(again) => again,
        Err(error) => {
            let passed_over = search.passed_over();
            return Line::not_done(stem, backup, &error, task.rule.at, passed_over);
        }
    };
    if let Some(again) = again {
        let (there, facts) = (target.clone(), again.facts.clone());
        let right = blocking(move || {
            let right = place::is_right(&there, &facts);
            right.map_err(|e| format!("cannot read {}: {e}", there.display()))
        });
        match right.await {
            Ok(true) => {
                progress.bytes(again.facts.size);
                return Line::done(stem, Came::Skipped, &again, &target, search.passed_over());
            }
            Ok(false) => {}
            Err(reason) => return Line::failed(stem, backup, reason),
        }
    }
    match act::restore(store, &mut search, pick, &target, task.how, progress).await {
        Ok(pick) => Line::done(stem, Came::Restored, &pick, &target, search.passed_over()),
        Err(error) => Line::not_done(stem, backup, &error, task.rule.at, search.passed_over()),
    }
}

/// What is to be known is on stderr, the result on stdout.
fn tell(lines: &[Line], counts: Counts, root: &Path, location: &str) -> anyhow::Result<()> {
    for line in lines {
        for passed in &line.passed_over {
            complain(&format!("passed over {}: {}", passed.key, passed.reason));
        }
        let Some(reason) = &line.reason else { continue };
        let name = match &line.backup {
            Some(backup) => format!("{} ({})", backup.path, line.stem),
            None => line.stem.to_string(),
        };
        complain(&format!("{name}: {reason}"));
    }
    let to = root.display();
    show::print(&format!("{} from {location} to {to}\n", counts.summary()))?;
    Ok(())
}

#[cfg(test)]
#[path = "all_tests.rs"]
mod tests;
