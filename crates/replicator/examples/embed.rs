//! Backs up a folder of databases to another folder, a few cycles long.
//!
//! `cargo run -p ultrasimple-replicator --example embed -- /srv/tenants /mnt/backups`

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio_util::sync::CancellationToken;
use ultrasimple_replicator::{ReplicatorBuilder, Statistics};
use ultrasimple_store::DirectoryStore;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(databases), Some(backups)) = (arguments.next(), arguments.next()) else {
        anyhow::bail!("usage: embed DATABASES BACKUPS");
    };
    let statistics = run(&databases, &backups, Duration::from_secs(5)).await?;
    println!(
        "{} scans, {} uploads, {} errors, {} bytes",
        statistics.scans,
        statistics.uploads_success,
        statistics.uploads_failed,
        statistics.bytes_uploaded
    );
    Ok(())
}

/// Backs up all `*.db` below `databases` to the folder `backups`, for so long.
pub(crate) async fn run(
    databases: &Path,
    backups: &Path,
    time: Duration,
) -> anyhow::Result<Statistics> {
    let databases = std::path::absolute(databases)?;
    let store = DirectoryStore::open(backups, true).await?;
    let replicator = ReplicatorBuilder::default()
        .pattern(format!("{}/**/*.db", databases.to_str().context("not UTF-8")?))
        .store(Arc::new(store))
        .template("{{path}}")
        .concurrent(8)
        .retention_days(30)
        .build()?;

    // It runs until something cancels it: here, the clock.
    let cancel = CancellationToken::new();
    let stop = cancel.clone();
    tokio::spawn(async move {
        tokio::time::sleep(time).await;
        stop.cancel();
    });
    replicator.run(Duration::from_millis(500), cancel).await?;
    Ok(replicator.statistics())
}
