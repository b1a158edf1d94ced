//! `backups DB`: the hours held of one database, and what each backup says of itself.

use anyhow::{Context, bail};
use futures::{StreamExt, stream};
use serde::Serialize;
use ultrasimple_core::{
    CheckResult, ContentHash, Epoch, Footer, KeyStem, NodeName, SourcePath, Timestamp, VolumeName,
};
use ultrasimple_store::{FetchError, ListedBackup, Store, inventory};

use crate::Outcome;
use crate::args::Backups;
use crate::find::{self, LOOKS_IN_FLIGHT, Wanted};
use crate::show::{self, Column};

/// The JSON document; see docs/CTL.md.
#[derive(Debug, Serialize)]
struct Document<'a> {
    location: &'a str,
    stem: &'a KeyStem,
    backups: Vec<Line<'a>>,
}

#[derive(Debug, Serialize)]
struct Line<'a> {
    key: String,
    hour_start: Timestamp,
    hour_end: Timestamp,
    object_bytes: u64,
    stored_at: Timestamp,
    #[serde(flatten)]
    content: Content<'a>,
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
    let backups: Vec<_> = footers.collect().await;
    if json {
        let backups = backups.iter().map(line).collect();
        show::print_json(&Document { location, stem: &stem, backups })?;
    } else {
        show::print(&text(&stem, &backups))?;
    }
    Ok(Outcome::AllWell)
}

type Backup = (ListedBackup, Result<Footer, FetchError>);

fn line((backup, footer): &Backup) -> Line<'_> {
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
        key: backup.key.to_string(),
        hour_start: backup.key.hour.start(),
        hour_end: backup.key.hour.end(),
        object_bytes: backup.size,
        stored_at: backup.modified,
        content,
    }
}

fn text(stem: &KeyStem, backups: &[Backup]) -> String {
    let columns = [
        Column::text("HOUR"),
        Column::text("CAPTURED"),
        Column::number("STORED"),
        Column::number("DATABASE"),
        Column::long("CHECK"),
        Column::text("NODE"),
        Column::number("EPOCH"),
    ];
    let rows: Vec<_> = backups
        .iter()
        .map(|(backup, footer)| {
            let (hour, stored) = (backup.key.hour.to_string(), show::bytes(backup.size));
            let none = String::new;
            match footer {
                Ok(footer) => vec![
                    hour,
                    show::time(footer.captured_at),
                    stored,
                    show::bytes(footer.size),
                    check(&footer.check),
                    footer.node.to_string(),
                    footer.epoch.to_string(),
                ],
                Err(error) => {
                    vec![
                        hour,
                        none(),
                        stored,
                        none(),
                        format!("UNREADABLE: {error}"),
                        none(),
                        none(),
                    ]
                }
            }
        })
        .collect();
    let head = match backups.iter().find_map(|(_, footer)| footer.as_ref().ok()) {
        Some(footer) => format!("{stem}: {} on volume {}\n", footer.path, footer.volume),
        None => format!("{stem}\n"),
    };
    head + &show::table(&columns, &rows, show::terminal_width())
}

fn check(result: &CheckResult) -> String {
    match result {
        CheckResult::Passed => "passed".to_owned(),
        CheckResult::Skipped => "skipped".to_owned(),
        CheckResult::Failed(reason) => format!("FAILED: {reason}"),
    }
}
