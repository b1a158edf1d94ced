//! `backups DB`: the hours held of one database, what each backup says of itself, and what its catalog knows.

use std::collections::BTreeSet;
use std::ffi::OsString;

use anyhow::{Context, bail};
use futures::{StreamExt, stream};
use serde::Serialize;
use ultrasimple_core::catalog::HeldHour;
use ultrasimple_core::hold::Hold;
use ultrasimple_core::{
    CheckResult, ContentHash, Epoch, Footer, Hour, KeyStem, NodeName, SourcePath, Timestamp,
    VolumeName,
};
use ultrasimple_store::{FetchError, ListedBackup, Store, inventory};

use crate::find::{self, LOOKS_IN_FLIGHT, Wanted};
use crate::known;
use crate::show::{self, Column};
use crate::{Outcome, complain};

/// Terminals of so many columns have room for node and epoch.
const WIDE: usize = 110;

#[derive(Debug, clap::Args)]
pub(crate) struct Backups {
    /// A source path, a key stem, or the key of a backup
    #[arg(value_name = "DB")]
    database: OsString,
}

/// The JSON document; see docs/CTL.md.
#[derive(Debug, Serialize)]
struct Document<'a> {
    location: &'a str,
    stem: &'a KeyStem,
    /// `None`: nobody knows.
    held: Option<bool>,
    backups: Vec<Line<'a>>,
    /// Keys of backups that the catalog knows, and that are not there.
    lost: &'a [String],
}

#[derive(Debug, Serialize)]
struct Line<'a> {
    key: String,
    hour_start: Timestamp,
    hour_end: Timestamp,
    object_bytes: u64,
    stored_at: Timestamp,
    newest: bool,
    #[serde(flatten)]
    content: Content<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verified_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<&'a str>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Readable {
        path: &'a SourcePath,
        volume: &'a VolumeName,
        captured_at: Timestamp,
        image_bytes: u64,
        blake3: ContentHash,
        check: &'a CheckResult,
        node: &'a NodeName,
        epoch: Epoch,
    },
    Unreadable {
        error: String,
    },
}

/// Prints them, the newest first.
///
/// # Errors
/// When there are none, or the bucket cannot be read.
pub(crate) async fn run(store: &dyn Store, args: &Backups, json: bool) -> anyhow::Result<Outcome> {
    let location = store.location();
    let wanted = Wanted::parse(&args.database, location)?;
    let stem = find::stem(store, &wanted).await?;
    let listed = inventory::of_database(store, &stem).await;
    let listed = listed.with_context(|| format!("cannot list {location}"))?;
    if listed.is_empty() {
        bail!("{}", find::no_backups(store, &stem));
    }
    let footers = stream::iter(listed)
        .map(|backup| async move {
            let footer = ultrasimple_store::footer(store, &backup.key.object_key()).await;
            (backup, footer.map(|(footer, _)| footer))
        })
        .buffered(LOOKS_IN_FLIGHT);
    let footers: Vec<_> = footers.collect().await;
    let identity = footers.iter().find_map(|(_, footer)| footer.as_ref().ok());
    let record = known::record(store, &stem, identity).await;
    let listed: BTreeSet<_> = footers.iter().map(|(backup, _)| backup.key.hour).collect();
    let hours = record.iter().flat_map(|record| &record.hours).map(|held| held.hour);
    let lost: Vec<_> =
        hours.filter(|hour| !listed.contains(hour)).map(|hour| stem.at(hour).to_string()).collect();
    let backups: Vec<_> = footers
        .into_iter()
        .map(|(backup, footer)| {
            let held = record.as_ref().and_then(|record| record.hour(backup.key.hour));
            // What was verified may be an object that this one has replaced.
            let known = held.filter(|held| held.etag == backup.etag).cloned();
            Backup { listed: backup, footer, known }
        })
        .collect();
    let held = store.head(&Hold::key(&stem)).await.map(|hold| hold.is_some()).ok();
    if json {
        let newest = backups.first().map(|backup| backup.listed.key.hour);
        let backups = backups.iter().map(|backup| line(backup, newest)).collect();
        show::print_json(&Document { location, stem: &stem, held, backups, lost: &lost })?;
        return Ok(Outcome::AllWell);
    }
    if !lost.is_empty() {
        let number = show::count(lost.len(), "backup");
        complain(&format!("the catalog knows {number} that are not there: {}", lost.join(", ")));
    }
    show::print(&text(&stem, &backups, held))?;
    Ok(Outcome::AllWell)
}

/// A backup, what it says of itself, and what the catalog knows of this very object.
struct Backup {
    listed: ListedBackup,
    footer: Result<Footer, FetchError>,
    known: Option<HeldHour>,
}

fn line(backup: &Backup, newest: Option<Hour>) -> Line<'_> {
    let Backup { listed, footer, known } = backup;
    let content = match footer {
        Ok(footer) => Content::Readable {
            path: &footer.path,
            volume: &footer.volume,
            captured_at: footer.captured_at,
            image_bytes: footer.size,
            blake3: footer.blake3,
            check: &footer.check,
            node: &footer.node,
            epoch: footer.epoch,
        },
        Err(error) => Content::Unreadable { error: error.to_string() },
    };
    Line {
        key: listed.key.to_string(),
        hour_start: listed.key.hour.start(),
        hour_end: listed.key.hour.end(),
        object_bytes: listed.size,
        stored_at: listed.modified,
        newest: Some(listed.key.hour) == newest,
        content,
        verified_at: known.as_ref().and_then(|held| held.verified_at),
        fault: known.as_ref().and_then(|held| held.fault.as_deref()),
    }
}

fn text(stem: &KeyStem, backups: &[Backup], held: Option<bool>) -> String {
    let width = show::terminal_width();
    let is_wide = width.is_none_or(|width| width >= WIDE);
    let mut columns = vec![
        Column::text("HOUR"),
        Column::text("CAPTURED"),
        Column::number("STORED"),
        Column::number("DATABASE"),
        Column::long("CHECK"),
    ];
    if is_wide {
        columns.extend([Column::text("NODE"), Column::number("EPOCH")]);
    }
    let rows: Vec<_> = backups
        .iter()
        .map(|Backup { listed, footer, known }| {
            let mut row = vec![listed.key.hour.to_string()];
            let stored = show::bytes(listed.size);
            match footer {
                Ok(footer) => {
                    let image = show::bytes(footer.size);
                    let state = state(&footer.check, known.as_ref());
                    row.extend([show::time(footer.captured_at), stored, image, state]);
                    row.extend([footer.node.to_string(), footer.epoch.to_string()]);
                }
                Err(error) => {
                    let none = String::new;
                    row.extend([none(), stored, none(), format!("UNREADABLE: {error}")]);
                    row.extend([none(), none()]);
                }
            }
            row.truncate(columns.len());
            row
        })
        .collect();
    let head = match backups.iter().find_map(|backup| backup.footer.as_ref().ok()) {
        Some(footer) => format!("{stem}: {} on volume {}", footer.path, footer.volume),
        None => stem.to_string(),
    };
    let held = if held == Some(true) { ", held" } else { "" };
    format!("{head}{held}\n{}", show::table(&columns, &rows, width))
}

/// What the check found as it was taken, and what verifying found since.
fn state(check_then: &CheckResult, known: Option<&HeldHour>) -> String {
    let then = check(check_then);
    let verified = known.and_then(|held| {
        let date: String = show::time(held.verified_at?).chars().take(10).collect();
        Some(match &held.fault {
            Some(fault) => format!("FAULTY on {date}: {fault}"),
            None => format!("{then}, verified {date}"),
        })
    });
    verified.unwrap_or(then)
}

fn check(result: &CheckResult) -> String {
    match result {
        CheckResult::Passed => "passed".to_owned(),
        CheckResult::Skipped => "skipped".to_owned(),
        CheckResult::Failed(reason) => format!("FAILED: {reason}"),
    }
}
