//! The catalog of a shard: its stored form, and what its owner tells it.

use std::hint::black_box;
use std::path::Path;

use anyhow::{Result, ensure};
use ultrasimple_core::catalog::{Change, Edit};
use ultrasimple_core::key::MAX_KEY_BYTES;
use ultrasimple_core::{Catalog, Epoch, KeyStem, ShardId, ShardKey};

use crate::part::{Workload, prepared, repeated};
use crate::samples::{backup, digest, hours_later, node, path, volume};

/// 100,000 databases in 256 shards.
pub(crate) const FEW: u32 = 400;
/// A million.
pub(crate) const MANY: u32 = 4_000;
/// Backups of each database.
const HOURS: u32 = 8;

pub(crate) fn write_few(_: &Path) -> Result<Box<dyn Workload>> {
    write(FEW)
}

pub(crate) fn write_many(_: &Path) -> Result<Box<dyn Workload>> {
    write(MANY)
}

pub(crate) fn read_few(_: &Path) -> Result<Box<dyn Workload>> {
    read(FEW)
}

pub(crate) fn read_many(_: &Path) -> Result<Box<dyn Workload>> {
    read(MANY)
}

/// A backup more of each.
pub(crate) fn edit(_: &Path) -> Result<Box<dyn Workload>> {
    let catalog = catalog(MANY)?;
    let changes: Vec<Change> =
        (0..MANY).map(|database| change(database, HOURS)).collect::<Result<_>>()?;
    Ok(prepared(
        move || Ok((catalog.clone(), changes.clone())),
        |(mut catalog, changes)| {
            for change in changes {
                catalog.edit(Edit::Change(change));
            }
            Ok(catalog)
        },
    ))
}

fn write(databases: u32) -> Result<Box<dyn Workload>> {
    let catalog = catalog(databases)?;
    Ok(repeated(move || Ok(black_box(&catalog).to_bytes()?)))
}

fn read(databases: u32) -> Result<Box<dyn Workload>> {
    let catalog = catalog(databases)?;
    let (bytes, key) = (catalog.to_bytes()?, catalog.key.clone());
    ensure!(Catalog::parse(&bytes, &key)? == catalog, "what was written is read otherwise");
    Ok(repeated(move || Ok(Catalog::parse(black_box(&bytes), &key)?)))
}

fn catalog(databases: u32) -> Result<Catalog> {
    let key = ShardKey { volume: volume()?, shard: ShardId(7) };
    let mut catalog = Catalog::new(key, 256, Epoch(1), node()?, hours_later(HOURS)?);
    for database in 0..databases {
        for hour in 0..HOURS {
            catalog.edit(Edit::Change(change(database, hour)?));
        }
    }
    Ok(catalog)
}

fn change(database: u32, hour: u32) -> Result<Change> {
    let backup = backup(database, hour)?;
    let content = backup.newest.blake3.short();
    Ok(Change {
        stem: KeyStem::new(format!("acme/users/main/t{database}/t{database}"), MAX_KEY_BYTES)?,
        path: path(database),
        stored: vec![backup],
        fingerprint: Some((digest(database.into()), content)),
        failed_check: None,
        gone_since: None,
    })
}
