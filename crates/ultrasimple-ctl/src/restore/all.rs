//! `restore --all --to DIR`: list, look at the footers, plan, restore many at once, report.
//!
//! Memory: a few hundred bytes for each database, and a few MiB for each of those restored at once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use futures::{StreamExt, stream};
use serde::Serialize;
use ultrasimple_core::{KeyStem, SourcePath, Timestamp};
use ultrasimple_store::Store;

use super::act::{self, How, blocking};
use super::report::{Backup, Counts, Line, Result as Came};
use super::{place, plan};
use crate::filter::Filter;
use crate::find::{self, LOOKS_IN_FLIGHT};
use crate::progress::Progress;
use crate::select::{Pick, Rule, Search};
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
            volume: &pick.footer.volume,
            path: &pick.footer.path,
        })
        .collect();
    let plan::Plan { by_volume, mut places } = plan::plan(&sources, task.by_volume);
    let mut counts = Counts::default();
    for line in &lines {
        counts.add(line);
    }
    progress.restoring(chosen.values().map(|(_, pick)| pick.footer.size).sum());
    let total = chosen.len();
    let jobs = chosen.into_iter().map(|(stem, (search, pick))| {
        let place = places.remove(&stem).unwrap_or_else(|| Err("it has no place".to_owned()));
        restore_one(store, task, &root, search, pick, place, &progress)
    });
    let mut done = stream::iter(jobs).buffer_unordered(task.parallel);
    while let Some(line) = done.next().await {
        counts.add(&line);
        let (so_far, failed) = (counts.restored + counts.skipped, counts.failed);
        progress.note(format!("{so_far}/{total} databases, {failed} failed"));
        lines.push(line);
    }
    drop(done);
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
    let inventory = find::matching(store, task.filter, rule.at, None).await;
    let inventory = inventory.with_context(|| format!("cannot list {location}"))?;
    let total = inventory.databases().len();
    if total == 0 {
        let which = if task.filter.is_some() { "no database that matches" } else { "no backups" };
        bail!("{location} has {which}: see 'ultrasimple-ctl databases'");
    }
    let searches = inventory.into_databases().into_iter().map(|(stem, held)| async move {
        let mut search = Search::new(stem, &held, rule);
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
    let there = {
        let (root, footer) = (root.to_path_buf(), pick.footer.clone());
        blocking(move || {
            let target = place::prepare(&root, &place?)?;
            let right = place::is_right(&target, &footer);
            let right = right.map_err(|e| format!("cannot read {}: {e}", target.display()))?;
            Ok((target, right))
        })
        .await
    };
    let (target, right) = match there {
        Ok(there) => there,
        Err(reason) => return Line::failed(stem, backup, reason),
    };
    if right {
        progress.bytes(pick.footer.size);
        return Line::done(stem, Came::Skipped, &pick, &target, search.passed_over());
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
