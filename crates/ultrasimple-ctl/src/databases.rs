//! `databases`: which databases have backups.

use std::collections::BTreeMap;

use anyhow::Context;
use futures::StreamExt;
use serde::Serialize;
use ultrasimple_core::{KeyStem, SourcePath, Timestamp, VolumeName};
use ultrasimple_store::{FetchError, Held, Inventory, Store};

use crate::args::Databases;
use crate::find::{self, Look};
use crate::show::{self, Column};
use crate::{Outcome, complain};

/// The JSON document; see docs/CTL.md.
#[derive(Debug, Serialize)]
struct Document<'a> {
    location: &'a str,
    databases: Vec<Line<'a>>,
}

#[derive(Debug, Serialize)]
struct Line<'a> {
    stem: &'a KeyStem,
    newest_key: String,
    /// Every capture in the newest backup was taken before this time.
    newest_before: Timestamp,
    newest_object_bytes: u64,
    oldest_key: String,
    backups: u64,
    object_bytes: u64,
    #[serde(flatten)]
    source: Option<Source<'a>>,
}

/// With `--paths`.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Source<'a> {
    Known { path: &'a SourcePath, volume: &'a VolumeName, captured_at: Timestamp },
    Unknown { error: String },
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
    let listed = find::matching(store, args.glob.as_ref(), None, None).await;
    let inventory = listed.with_context(|| format!("cannot list {location}"))?;
    let mut looks = BTreeMap::new();
    if args.paths {
        let mut all = find::looks(store, inventory.databases().iter().collect());
        while let Some((stem, look)) = all.next().await {
            looks.insert(stem, look);
        }
    }
    if json {
        let databases = inventory.databases().iter();
        let databases = databases.map(|(stem, held)| line(stem, held, looks.get(stem))).collect();
        show::print_json(&Document { location, databases })?;
        return Ok(Outcome::AllWell);
    }
    if inventory.databases().is_empty() {
        let which = if args.glob.is_some() { "matching " } else { "" };
        complain(&format!("no {which}backups in {location}"));
        return Ok(Outcome::AllWell);
    }
    show::print(&text(&inventory, &looks, args.paths))?;
    Ok(Outcome::AllWell)
}

fn line<'a>(
    stem: &'a KeyStem,
    held: &Held,
    look: Option<&'a Result<Look, FetchError>>,
) -> Line<'a> {
    let source = look.map(|look| match look {
        Ok(Look { footer }) => Source::Known {
            path: &footer.path,
            volume: &footer.volume,
            captured_at: footer.captured_at,
        },
        Err(error) => Source::Unknown { error: error.to_string() },
    });
    Line {
        stem,
        newest_key: stem.at(held.newest).to_string(),
        newest_before: held.newest.end(),
        newest_object_bytes: held.newest_bytes,
        oldest_key: stem.at(held.oldest).to_string(),
        backups: held.backups,
        object_bytes: held.bytes,
        source,
    }
}

fn text(
    inventory: &Inventory,
    looks: &BTreeMap<KeyStem, Result<Look, FetchError>>,
    paths: bool,
) -> String {
    let mut columns = vec![
        Column::long("DATABASE"),
        Column::text("NEWEST HOUR"),
        Column::number("SIZE"),
        Column::number("BACKUPS"),
    ];
    if paths {
        columns.push(Column::long("SOURCE"));
    }
    let rows: Vec<_> = inventory
        .databases()
        .iter()
        .map(|(stem, held)| {
            let mut row = vec![
                stem.to_string(),
                held.newest.to_string(),
                show::bytes(held.newest_bytes),
                held.backups.to_string(),
            ];
            if let Some(look) = looks.get(stem) {
                row.push(match look {
                    Ok(look) => look.footer.path.to_string(),
                    Err(error) => format!("unreadable: {error}"),
                });
            }
            row
        })
        .collect();
    let bytes = inventory.databases().values().map(|held| held.bytes).sum();
    let table = show::table(&columns, &rows, show::terminal_width());
    format!("{table}{}, {}\n", show::count(rows.len(), "database"), show::bytes(bytes))
}
