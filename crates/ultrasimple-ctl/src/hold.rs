//! `hold`, `release`, `holds`: databases of which nothing may be deleted, by markers in the bucket.

use std::ffi::OsString;

use anyhow::{Context, bail};
use serde::Serialize;
use ultrasimple_core::hold::Hold as Marker;
use ultrasimple_core::{Clock, KeyStem, SystemClock, Timestamp};
use ultrasimple_keeper::{Holds, holds};
use ultrasimple_store::{ByteRange, Store, inventory};

use crate::find::{self, Wanted};
use crate::show::{self, Column};
use crate::{Outcome, complain};

/// Far more than a marker has.
const MOST_BYTES: u64 = 64 * 1_024;

#[derive(Debug, clap::Args)]
pub(crate) struct Hold {
    /// A source path, a key stem, or the key of a backup
    #[arg(value_name = "DB")]
    pub(crate) database: OsString,
    /// Why, for whoever lists the holds
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Release {
    /// A source path, a key stem, or the key of a backup
    #[arg(value_name = "DB")]
    pub(crate) database: OsString,
}

/// The JSON document of `hold` and `release`; see docs/CTL.md.
#[derive(Debug, Serialize)]
struct Document<'a> {
    location: &'a str,
    stem: &'a KeyStem,
    held: bool,
    /// Whether that is new.
    changed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Places a hold. One that is there already stays, with its reason.
///
/// # Errors
/// When it is not held.
pub(crate) async fn place(store: &dyn Store, args: &Hold, json: bool) -> anyhow::Result<Outcome> {
    let location = store.location();
    let stem = find::stem(store, &Wanted::parse(&args.database, location)?).await?;
    let listed = inventory::of_database(store, &stem).await;
    if listed.with_context(|| format!("cannot list {location}"))?.is_empty() {
        bail!("{}", find::no_backups(store, &stem));
    }
    let mut hold = Marker::new(stem.clone(), SystemClock.now(), args.reason.clone());
    let placed = holds::place(store, &hold).await;
    let changed = placed.with_context(|| format!("cannot hold {stem}"))?;
    let mut is_readable = true;
    if !changed {
        match read(store, &stem).await? {
            Some(there) => hold = there,
            None => is_readable = false,
        }
    }
    let since = is_readable.then_some(hold.since);
    if json {
        let reason = hold.reason.filter(|_| is_readable);
        show::print_json(&Document { location, stem: &stem, held: true, changed, since, reason })?;
    } else if changed {
        show::print(&format!("{stem} is held: nothing of it is deleted until it is released\n"))?;
    } else {
        let since = since.map(|since| format!(", since {}", show::time(since)));
        let why = hold.reason.filter(|_| is_readable).map(|why| format!(" ({why})"));
        let (since, why) = (since.unwrap_or_default(), why.unwrap_or_default());
        show::print(&format!("{stem} was held already{since}{why}\n"))?;
    }
    Ok(Outcome::AllWell)
}

/// Releases a hold. That there is none is no error.
///
/// # Errors
/// When it is still held, or nobody knows.
pub(crate) async fn release(
    store: &dyn Store,
    args: &Release,
    json: bool,
) -> anyhow::Result<Outcome> {
    let location = store.location();
    let stem = find::stem(store, &Wanted::parse(&args.database, location)?).await?;
    let released = holds::release(store, &stem).await;
    let changed = released.with_context(|| format!("cannot release {stem}"))?;
    if json {
        let (since, reason) = (None, None);
        show::print_json(&Document { location, stem: &stem, held: false, changed, since, reason })?;
    } else if changed {
        show::print(&format!(
            "{stem} is released: retention deletes what its rules do not want\n"
        ))?;
    } else {
        show::print(&format!("{stem} was not held\n"))?;
    }
    Ok(Outcome::AllWell)
}

/// The marker, if it can be understood.
async fn read(store: &dyn Store, stem: &KeyStem) -> anyhow::Result<Option<Marker>> {
    let found = store.get(&Marker::key(stem), ByteRange::Full).await;
    let Some(object) = found.context("cannot read the hold")? else { return Ok(None) };
    let bytes = object.bytes(MOST_BYTES).await.context("cannot read the hold")?;
    Ok(Marker::parse(&bytes).ok())
}

/// The JSON document of `holds`; see docs/CTL.md.
#[derive(Debug, Serialize)]
struct List<'a> {
    location: &'a str,
    holds: Vec<Line>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Line {
    Readable {
        stem: KeyStem,
        since: Timestamp,
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    Unreadable {
        key: String,
        error: &'static str,
    },
}

/// Lists the holds.
///
/// # Errors
/// When they cannot be listed or read.
pub(crate) async fn list(store: &dyn Store, json: bool) -> anyhow::Result<Outcome> {
    let location = store.location();
    let cannot = || format!("cannot list the holds in {location}");
    let holds = Holds::list(store).await.with_context(cannot)?;
    let mut lines = Vec::new();
    for hold in holds.read(store).await.with_context(cannot)? {
        lines.push(match hold {
            Ok(Marker { stem, since, reason, .. }) => Line::Readable { stem, since, reason },
            Err(key) => {
                let error = "it cannot be understood; it holds all the same";
                Line::Unreadable { key: key.to_string(), error }
            }
        });
    }
    lines.sort_by(|a, b| a.name().cmp(b.name()));
    if json {
        show::print_json(&List { location, holds: lines })?;
        return Ok(Outcome::AllWell);
    }
    if lines.is_empty() {
        complain(&format!("nothing is held in {location}"));
        return Ok(Outcome::AllWell);
    }
    let columns = [Column::long("DATABASE"), Column::text("SINCE"), Column::long("REASON")];
    let rows: Vec<_> = lines
        .into_iter()
        .map(|line| match line {
            Line::Readable { stem, since, reason } => {
                vec![stem.to_string(), show::time(since), reason.unwrap_or_default()]
            }
            Line::Unreadable { key, error } => vec![key, String::new(), error.to_owned()],
        })
        .collect();
    show::print(&show::table(&columns, &rows, show::terminal_width()))?;
    Ok(Outcome::AllWell)
}

impl Line {
    fn name(&self) -> &str {
        match self {
            Self::Readable { stem, .. } => stem.as_str(),
            Self::Unreadable { key, .. } => key,
        }
    }
}
