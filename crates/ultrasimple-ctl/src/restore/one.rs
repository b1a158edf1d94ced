//! `restore DB -o FILE`.

use std::ffi::OsStr;
use std::path::Path;

use anyhow::{Context, anyhow, bail};
use serde::Serialize;
use ultrasimple_store::{Store, inventory};

use super::act::{self, How};
use super::report::{self, Line};
use crate::find::{self, Wanted};
use crate::progress::Progress;
use crate::select::{Rule, Search};
use crate::{Outcome, Usage, complain, show};

/// The JSON document; see docs/CTL.md.
#[derive(Debug, Serialize)]
struct Document<'a> {
    location: &'a str,
    database: Line,
}

/// Restores one database.
///
/// # Errors
/// When it was not restored.
pub(crate) async fn run(
    store: &dyn Store,
    database: &OsStr,
    output: &Path,
    rule: Rule,
    how: How,
    json: bool,
) -> anyhow::Result<Outcome> {
    let location = store.location();
    let progress = Progress::new(json);
    progress.looking("looking for the backup");
    let wanted = Wanted::parse(database, location)?;
    if rule.at.is_some() && matches!(wanted, Wanted::Key(_)) {
        let text = "the key names one backup already: leave out --at, or give the key stem";
        return Err(Usage(text.to_owned()).into());
    }
    let mut search = search(store, &wanted, rule).await?;
    let stem = search.stem.clone();
    let why = |error| anyhow!("{stem}: {}", report::explain(&error, rule.at));
    let pick = search.next(store).await.map_err(why)?;
    progress.restoring(pick.facts.size);
    let target = output.to_path_buf();
    let restored = act::restore(store, &mut search, pick, &target, how, &progress).await;
    progress.finish();
    let pick = restored.map_err(why)?;
    let absolute = std::path::absolute(output).unwrap_or_else(|_| output.to_path_buf());
    let directory = absolute.parent().unwrap_or(&absolute).to_path_buf();
    let synced = act::blocking(move || act::sync(&directory)).await;
    synced.map_err(|why| {
        anyhow!("{stem} was restored, but may be gone after a power failure: {why}")
    })?;
    let passed = search.passed_over();
    if json {
        let database = Line::done(stem, report::Result::Restored, &pick, &absolute, passed);
        show::print_json(&Document { location, database })?;
        return Ok(Outcome::AllWell);
    }
    for passed in passed {
        complain(&format!("passed over {}: {}", passed.key, passed.reason));
    }
    let facts = &pick.facts;
    let (time, bytes) = (show::time(facts.captured_at), show::bytes(facts.size));
    let marked = if facts.marked.is_some() { "; MARKED: its check had failed" } else { "" };
    let (path, output) = (&facts.path, output.display());
    show::print(&format!("restored {path} as of {time} to {output} ({bytes}){marked}\n"))?;
    Ok(Outcome::AllWell)
}

async fn search(store: &dyn Store, wanted: &Wanted, rule: Rule) -> anyhow::Result<Search> {
    let location = store.location();
    let stem = find::stem(store, wanted).await?;
    let listed = inventory::of_database(store, &stem).await;
    let listed = listed.with_context(|| format!("cannot list {location}"))?;
    let hours = listed.iter().map(|backup| backup.key.hour);
    match wanted {
        Wanted::Key(key) => {
            let hours: Vec<_> = hours.filter(|&hour| hour <= key.hour).collect();
            if hours.first() != Some(&key.hour) {
                bail!(
                    "{location} has no {key}: 'ultrasimple-ctl backups {stem}' shows what it has"
                );
            }
            Ok(Search::among(stem, hours, rule))
        }
        _ if listed.is_empty() => bail!("{}", find::no_backups(store, &stem)),
        // Hours that begin after the time asked for cannot hold an early enough capture.
        _ => {
            let early = |hour: &ultrasimple_core::Hour| rule.at.is_none_or(|at| hour.start() <= at);
            let oldest = hours.clone().next_back();
            let mut search = Search::among(stem, hours.filter(early).collect(), rule);
            search.set_oldest(oldest);
            Ok(search)
        }
    }
}
