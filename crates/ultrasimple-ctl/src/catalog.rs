//! `catalog rebuild` and `catalog show`: catalogs made anew from the objects, and as they are.

use std::io::Read;

use anyhow::{Context, bail};
use lz4_flex::frame::FrameDecoder;
use serde::Serialize;
use ultrasimple_core::{KeyStem, ShardId, ShardKey, VolumeName};
use ultrasimple_keeper::{catalogs, rebuild};
use ultrasimple_store::{ByteRange, Store};

use crate::progress::Progress;
use crate::{Outcome, Usage, complain, known, show};

/// Decompressed; far more than a catalog has.
const MOST_BYTES: u64 = 8 << 30;
/// Things that are named for people.
const NAMED: usize = 20;

#[derive(Debug, clap::Args)]
pub(crate) struct Catalog {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make the catalogs anew from the objects: one listing, and a request for each database
    Rebuild(Rebuild),
    /// Print catalogs as JSON lines: a header, then a line for each database
    Show(Show),
}

#[derive(Debug, clap::Args)]
struct Rebuild {
    /// Into how many shards the volumes are divided, where the bucket has no cluster file that says so
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    shards: Option<u32>,
}

#[derive(Debug, clap::Args)]
struct Show {
    /// Only this volume's
    #[arg(long, value_name = "NAME")]
    volume: Option<VolumeName>,
    /// Only this shard's
    #[arg(long, value_name = "N")]
    shard: Option<u32>,
}

/// Does either.
///
/// # Errors
/// When nothing could be done.
pub(crate) async fn run(store: &dyn Store, args: &Catalog, json: bool) -> anyhow::Result<Outcome> {
    match &args.command {
        Command::Rebuild(args) => make(store, args, json).await,
        Command::Show(args) => print(store, args, json).await,
    }
}

/// The JSON document of `catalog rebuild`; see docs/CTL.md.
#[derive(Debug, Serialize)]
struct Document<'a> {
    location: &'a str,
    shards: u32,
    backups: u64,
    databases: u64,
    catalogs_written: u64,
    unreadable: Vec<Unreadable>,
    catalogs_failed: Vec<Failed>,
}

/// A database of which no backup could be read.
#[derive(Debug, Serialize)]
struct Unreadable {
    stem: KeyStem,
    reason: String,
}

#[derive(Debug, Serialize)]
struct Failed {
    key: String,
    reason: String,
}

async fn make(store: &dyn Store, args: &Rebuild, json: bool) -> anyhow::Result<Outcome> {
    let location = store.location();
    let file = known::cluster_file(store).await?.map(|file| file.shards);
    let shards = match (file, args.shards) {
        (Some(file), Some(given)) if file != given => {
            let text = format!("--shards {given}: the bucket is divided into {file}: leave it out");
            return Err(Usage(text).into());
        }
        (Some(shards), _) | (None, Some(shards)) => shards,
        (None, None) => bail!(
            "{location} has no cluster file, so that nobody knows into how many shards its volumes are \
             divided: say it with --shards, as the daemon's -shards (256 if never set)"
        ),
    };
    let progress = Progress::new(json);
    progress.looking("listing the bucket and reading a footer of each database");
    let author = known::author(shards)?;
    let rebuilt = rebuild::rebuild(store, &author, |_| true).await;
    progress.finish();
    let rebuilt = rebuilt.with_context(|| format!("cannot rebuild the catalogs of {location}"))?;
    let unreadable = rebuilt.unreadable.into_iter();
    let failed = rebuilt.failed.into_iter();
    let document = Document {
        location,
        shards,
        backups: rebuilt.backups,
        databases: rebuilt.databases,
        catalogs_written: rebuilt.written,
        unreadable: unreadable.map(|(stem, reason)| Unreadable { stem, reason }).collect(),
        catalogs_failed: failed
            .map(|(key, reason)| Failed { key: key.object_key().to_string(), reason })
            .collect(),
    };
    let outcome = match (document.catalogs_failed.is_empty(), document.catalogs_written) {
        (false, 0) => Outcome::AllFailed,
        (true, _) if document.unreadable.is_empty() => Outcome::AllWell,
        _ => Outcome::SomeFailed,
    };
    if json {
        show::print_json(&document)?;
    } else {
        for Unreadable { stem, reason } in document.unreadable.iter().take(NAMED) {
            complain(&format!("{stem} is in no catalog: no backup of it can be read: {reason}"));
        }
        for Failed { key, reason } in document.catalogs_failed.iter().take(NAMED) {
            complain(&format!("the catalog {key} could not be written: {reason}"));
        }
        let Document { backups, databases, catalogs_written, .. } = document;
        show::print(&format!(
            "{backups} backups of {databases} databases found; {catalogs_written} catalogs written\n"
        ))?;
    }
    Ok(outcome)
}

async fn print(store: &dyn Store, args: &Show, json: bool) -> anyhow::Result<Outcome> {
    let location = store.location();
    let listed = catalogs::list(store, args.volume.as_ref()).await;
    let listed = listed.with_context(|| format!("cannot list the catalogs of {location}"))?;
    let shard = args.shard.map(ShardId);
    let keys = listed.into_iter().filter(|key| shard.is_none_or(|shard| key.shard == shard));
    let keys: Vec<_> = keys.collect();
    if keys.is_empty() {
        bail!("{location} has no such catalog: 'ultrasimple-ctl catalog rebuild' makes catalogs");
    }
    let mut documents = Vec::new();
    for key in keys {
        let text = lines(store, &key).await?;
        if !json {
            show::print(&text)?;
            continue;
        }
        for line in text.lines() {
            let line: serde_json::Value = serde_json::from_str(line)
                .with_context(|| format!("{} has a line that is not JSON", key.object_key()))?;
            documents.push(line);
        }
    }
    if json {
        show::print_json(&serde_json::json!({ "location": location, "lines": documents }))?;
    }
    Ok(Outcome::AllWell)
}

/// The lines of a catalog, as they are.
async fn lines(store: &dyn Store, key: &ShardKey) -> anyhow::Result<String> {
    let object = key.object_key();
    let cannot = || format!("cannot read the catalog {object}");
    let found = store.get(&object, ByteRange::Full).await.with_context(cannot)?;
    let bytes = found.with_context(cannot)?.bytes(MOST_BYTES).await.with_context(cannot)?;
    let mut text = String::new();
    let decoder = FrameDecoder::new(bytes.as_ref());
    decoder.take(MOST_BYTES).read_to_string(&mut text).with_context(cannot)?;
    Ok(text)
}
