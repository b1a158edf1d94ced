//! From `-bucket` and what belongs to it to a store that was proved to work.

mod nowhere;

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use tracing::{info, warn};
use ultrasimple_core::config::{Bucket, RunMode, Secret, Settings, StoreSettings};
use ultrasimple_replicator::memory_per_stream;
use ultrasimple_store::{Capabilities, Location, S3Options, Store};

use self::nowhere::Nowhere;

const MIB: u64 = 1 << 20;
/// Of a streamed object, between the thread that compresses and the store.
const CHUNKS: u64 = 6 * MIB;

/// Opens the store and tries it out. In a dry run nothing is written, so nothing is tried out, and where
/// there is no bucket, or no directory yet, the store is one that has nothing.
///
/// # Errors
/// When backups could not be kept there, with the bucket's name and why.
pub(crate) async fn open(settings: &Settings) -> anyhow::Result<Arc<dyn Store>> {
    let dry = settings.run == RunMode::DryRun;
    let bucket = match &settings.store.bucket {
        Some(Bucket { directory: Some(path), .. }) if dry && !path.exists() => None,
        bucket => bucket.as_ref(),
    };
    let Some(bucket) = bucket else {
        return Ok(Arc::new(Nowhere));
    };
    let failed = || format!("cannot use -bucket {}", bucket.text);
    let location: Location = bucket.text.parse().with_context(failed)?;
    if let Location::Directory(path) = &location {
        check_parent(path).with_context(failed)?;
    }
    let store = ultrasimple_store::open(&location, s3_options(settings), !dry)
        .await
        .with_context(failed)?;
    if !dry {
        let report = ultrasimple_store::probe(store.as_ref()).await.with_context(failed)?;
        announce(store.location(), report.capabilities);
    }
    Ok(store)
}

/// A bucket's directory is created, the one it is in is not: that is probably a disk which is not
/// mounted, and backups would fill the wrong one.
fn check_parent(directory: &Path) -> anyhow::Result<()> {
    match directory.parent() {
        Some(parent) if !parent.is_dir() => {
            let parent = parent.display();
            bail!("there is no directory {parent}: mount or create it first")
        }
        _ => Ok(()),
    }
}

fn s3_options(settings: &Settings) -> S3Options {
    let StoreSettings { region, endpoint_url, credentials, .. } = &settings.store;
    let key = |secret: &Secret| secret.expose().to_owned();
    // What streams keeps to its share of the memory budget: first a single PUT's worth, then two parts
    // on their way, besides the chunks before them.
    let stream = memory_per_stream(settings.upload.memory_budget);
    let part_size = (stream / 8).clamp(5 * MIB, 16 * MIB);
    let multipart_threshold = (stream - 2 * part_size - CHUNKS).clamp(part_size, 64 * MIB);
    S3Options {
        part_size,
        parts_in_flight: 2,
        multipart_threshold,
        region: region.clone(),
        endpoint_url: endpoint_url.clone(),
        access_key: credentials.as_ref().map(|pair| key(&pair.access_key)),
        secret_key: credentials.as_ref().map(|pair| key(&pair.secret_key)),
        idle_connections: settings.upload.concurrent,
        ..S3Options::default()
    }
}

fn announce(location: &str, capabilities: Capabilities) {
    if capabilities.put_if_absent && capabilities.put_if_matches {
        info!("{location} works, and honours conditional writes");
    } else {
        warn!(
            "{location} works, but does not honour conditional writes: only one daemon may write to \
             it, and nothing would notice a second one"
        );
    }
}
