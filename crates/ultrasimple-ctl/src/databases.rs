//! `databases`: which databases have backups.
//!
//! The objects' listing says which there are; the catalogs say what each is, without a request for it. With
//! `--from-catalogs` they alone are asked.

use std::collections::BTreeMap;

use anyhow::Context;
use futures::StreamExt;
use serde::Serialize;
use ultrasimple_core::{Hour, KeyStem, SourcePath, Timestamp, VolumeName};
use ultrasimple_keeper::Holds;
use ultrasimple_store::{FetchError, Held, Store};

use crate::filter::Filter;
use crate::find::{self, Look};
use crate::known::{self, Entry, Known};
use crate::show::{self, Column};
use crate::{Outcome, complain};

/// Terminals of so many columns have room for all there is to show.
const WIDE: usize = 100;

#[derive(Debug, clap::Args)]
pub(crate) struct Databases {
    /// Only those whose key stem or source path matches as a whole; '*' also matches '/'. One that begins
    /// with '*' or '/' reads the footers of the databases that no catalog knows: a request each
    #[arg(value_name = "GLOB", value_parser = Filter::parse)]
    glob: Option<Filter>,
    /// Show source paths: a request for each database that no catalog knows
    #[arg(long)]
    paths: bool,
    /// Ask the catalogs only, which may be an hour old: a few hundred requests instead of one for every
    /// thousand objects
    #[arg(long)]
    from_catalogs: bool,
}

/// The JSON document; see docs/CTL.md.
#[derive(Debug, Serialize)]
struct Document<'a> {
    location: &'a str,
    /// With `--from-catalogs`: when the oldest of them was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    as_of: Option<Timestamp>,
    databases: Vec<Line<'a>>,
    /// Databases that the catalogs know, and of which the bucket has no object.
    lost: Vec<&'a KeyStem>,
}

#[derive(Debug, Serialize)]
struct Line<'a> {
    stem: &'a KeyStem,
    #[serde(skip)]
    newest: Hour,
    newest_key: String,
    /// Every capture in the newest backup was taken before this time.
    newest_before: Timestamp,
    newest_object_bytes: u64,
    oldest_key: String,
    backups: u64,
    object_bytes: u64,
    #[serde(flatten)]
    source: Option<Source<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    held: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gone_since: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failed_check: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    marked: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verified_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<&'a str>,
    /// The newest backup that the catalogs know, where it is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    lost_newest_key: Option<String>,
}

/// From the catalogs, or with `--paths` from the footer.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Source<'a> {
    Known {
        path: &'a SourcePath,
        volume: &'a VolumeName,
        #[serde(skip_serializing_if = "Option::is_none")]
        captured_at: Option<Timestamp>,
    },
    Unknown {
        error: String,
    },
}

/// The hours of a database: as listed, or as a catalog has them.
#[derive(Debug, Clone, Copy)]
struct Hours {
    newest: Hour,
    newest_bytes: u64,
    oldest: Hour,
    backups: u64,
    bytes: u64,
}

impl From<&Held> for Hours {
    fn from(held: &Held) -> Self {
        let &Held { newest, newest_bytes, oldest, backups, bytes, .. } = held;
        Self { newest, newest_bytes, oldest, backups, bytes }
    }
}

impl From<&Entry> for Hours {
    fn from(entry: &Entry) -> Self {
        Self {
            newest: entry.newest_hour,
            newest_bytes: entry.newest_bytes,
            oldest: entry.oldest_hour,
            backups: entry.backups,
            bytes: entry.bytes,
        }
    }
}

/// What was found out.
struct Found {
    known: Known,
    holds: Option<Holds>,
    databases: BTreeMap<KeyStem, Hours>,
    looks: BTreeMap<KeyStem, Result<Look, FetchError>>,
    lost: Vec<KeyStem>,
}

/// Prints them.
///
/// # Errors
/// When the bucket cannot be listed.
pub(crate) async fn run(
    store: &dyn Store,
    args: &Databases,
    json: bool,
) -> anyhow::Result<Outcome> {
    let location = store.location();
    let found = find(store, args).await?;
    let as_of = found.known.oldest_written().filter(|_| args.from_catalogs);
    let lines: Vec<_> =
        found.databases.iter().map(|(stem, hours)| line(&found, stem, *hours)).collect();
    if json {
        let lost = found.lost.iter().collect();
        show::print_json(&Document { location, as_of, databases: lines, lost })?;
        return Ok(Outcome::AllWell);
    }
    if let Some(first) = found.lost.first() {
        let (databases, more) = (
            show::count(found.lost.len(), "database"),
            if found.lost.len() > 1 { ", …" } else { "" },
        );
        complain(&format!(
            "LOST: the catalogs know {databases} of which {location} has no object: {first}{more} \
             (--json names all)"
        ));
    }
    if lines.is_empty() {
        let which = if args.glob.is_some() { "matching " } else { "" };
        complain(&format!("no {which}backups in {location}"));
        return Ok(Outcome::AllWell);
    }
    show::print(&text(&lines, args.paths, as_of))?;
    Ok(Outcome::AllWell)
}

async fn find(store: &dyn Store, args: &Databases) -> anyhow::Result<Found> {
    let location = store.location();
    let cannot_list = || format!("cannot list {location}");
    let filter = args.glob.as_ref();
    let is_meant = |stem: &KeyStem, entry: &Entry| {
        filter.is_none_or(|filter| filter.matches(stem, &entry.path))
    };
    let known = if args.from_catalogs {
        let known = Known::load(store, false).await;
        let known = known.with_context(|| format!("cannot list the catalogs of {location}"))?;
        known::warn(&known.unusable);
        known
    } else {
        Known::load_or_warn(store, false).await
    };
    let meant = known.databases().iter().filter(|(stem, entry)| is_meant(stem, entry));
    let (mut looks, mut lost) = (BTreeMap::new(), Vec::new());
    let databases = if args.from_catalogs {
        meant.map(|(stem, entry)| (stem.clone(), Hours::from(entry))).collect()
    } else {
        let inventory = find::matching(store, filter, None, Some(&known)).await;
        let inventory = inventory.with_context(cannot_list)?;
        let listed = inventory.databases();
        if args.paths {
            let unknown = listed.iter().filter(|(stem, _)| known.get(stem).is_none()).collect();
            let mut all = find::looks(store, unknown);
            while let Some((stem, look)) = all.next().await {
                looks.insert(stem, look);
            }
        }
        lost.extend(
            meant.map(|(stem, _)| stem).filter(|stem| !listed.contains_key(*stem)).cloned(),
        );
        listed.iter().map(|(stem, held)| (stem.clone(), Hours::from(held))).collect()
    };
    let holds = match Holds::list(store).await {
        Ok(holds) => Some(holds),
        Err(error) => {
            complain(&format!("the holds cannot be listed, so that none is shown: {error}"));
            None
        }
    };
    Ok(Found { known, holds, databases, looks, lost })
}

fn line<'a>(found: &'a Found, stem: &'a KeyStem, hours: Hours) -> Line<'a> {
    let entry = found.known.get(stem);
    // What a catalog says of the newest backup is of another one where it does not know this one yet.
    let same = entry.filter(|entry| entry.newest_hour == hours.newest);
    let newest = same.and_then(|entry| entry.newest.as_ref());
    let from_catalog = entry.and_then(|entry| {
        let captured_at = newest.map(|newest| newest.captured_at);
        Some(Source::Known { path: &entry.path, volume: found.known.volume(entry)?, captured_at })
    });
    let from_footer = || {
        found.looks.get(stem).map(|look| match look {
            Ok(Look { footer }) => Source::Known {
                path: &footer.path,
                volume: &footer.volume,
                captured_at: Some(footer.captured_at),
            },
            Err(error) => Source::Unknown { error: error.to_string() },
        })
    };
    let lost_newest = entry.map(|entry| entry.newest_hour).filter(|&hour| hour > hours.newest);
    Line {
        stem,
        newest: hours.newest,
        newest_key: stem.at(hours.newest).to_string(),
        newest_before: hours.newest.end(),
        newest_object_bytes: hours.newest_bytes,
        oldest_key: stem.at(hours.oldest).to_string(),
        backups: hours.backups,
        object_bytes: hours.bytes,
        source: from_catalog.or_else(from_footer),
        held: found.holds.as_ref().map(|holds| holds.holds(stem)),
        gone_since: entry.and_then(|entry| entry.gone_since),
        failed_check: entry.and_then(|entry| entry.failed_check.as_deref()),
        marked: newest.and_then(|newest| newest.marked.as_deref()),
        verified_at: same.and_then(|entry| entry.verified_at),
        fault: same.and_then(|entry| entry.fault.as_deref()),
        lost_newest_key: lost_newest.map(|hour| stem.at(hour).to_string()),
    }
}

impl Line<'_> {
    /// What is worth knowing, in a few words.
    fn state(&self) -> String {
        let words = [
            (self.lost_newest_key.is_some(), "NEWEST LOST"),
            (self.fault.is_some(), "FAULTY"),
            (self.marked.is_some(), "MARKED"),
            (self.failed_check.is_some(), "CHECK FAILED"),
            (self.gone_since.is_some(), "gone"),
            (self.held == Some(true), "held"),
        ];
        let words: Vec<_> =
            words.into_iter().filter_map(|(is_so, word)| is_so.then_some(word)).collect();
        words.join(", ")
    }

    fn path(&self) -> String {
        match &self.source {
            Some(Source::Known { path, .. }) => path.to_string(),
            Some(Source::Unknown { error }) => format!("unreadable: {error}"),
            None => String::new(),
        }
    }
}

fn text(lines: &[Line<'_>], paths: bool, as_of: Option<Timestamp>) -> String {
    let width = show::terminal_width();
    let has_room = !paths || width.is_none_or(|width| width >= WIDE);
    let verified = has_room && lines.iter().any(|line| line.verified_at.is_some());
    let state = lines.iter().any(|line| !line.state().is_empty());
    let mut columns = vec![
        Column::long("DATABASE"),
        Column::text("NEWEST HOUR"),
        Column::number("SIZE"),
        Column::number("BACKUPS"),
    ];
    let extra = [
        (verified, Column::text("VERIFIED")),
        (state, Column::long("STATE")),
        (paths, Column::long("SOURCE")),
    ];
    columns.extend(extra.into_iter().filter_map(|(is_there, column)| is_there.then_some(column)));
    let rows = lines.iter().map(|line| {
        let mut row = vec![
            line.stem.to_string(),
            line.newest.to_string(),
            show::bytes(line.newest_object_bytes),
            line.backups.to_string(),
        ];
        let date = |time| show::time(time).chars().take(10).collect();
        let extra = [
            (verified, line.verified_at.map_or_else(String::new, date)),
            (state, line.state()),
            (paths, line.path()),
        ];
        row.extend(extra.into_iter().filter_map(|(is_there, cell)| is_there.then_some(cell)));
        row
    });
    let rows: Vec<_> = rows.collect();
    let table = show::table(&columns, &rows, width);
    format!("{table}{}\n", summary(lines, as_of))
}

fn summary(lines: &[Line<'_>], as_of: Option<Timestamp>) -> String {
    let bytes = lines.iter().map(|line| line.object_bytes).sum();
    let mut parts = vec![show::count(lines.len(), "database")];
    let bad = |line: &&Line<'_>| {
        line.fault.is_some()
            || line.marked.is_some()
            || line.failed_check.is_some()
            || line.lost_newest_key.is_some()
    };
    for (number, what) in [
        (lines.iter().filter(bad).count(), "in need of attention"),
        (lines.iter().filter(|line| line.gone_since.is_some()).count(), "gone"),
        (lines.iter().filter(|line| line.held == Some(true)).count(), "held"),
    ] {
        if number > 0 {
            parts.push(format!("{number} {what}"));
        }
    }
    parts.push(show::bytes(bytes));
    let as_of = as_of.map(|time| format!("; by the catalogs, the oldest of {}", show::time(time)));
    parts.join(", ") + &as_of.unwrap_or_default()
}
