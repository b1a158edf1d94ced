//! What becomes of an image: its hash, and the object that is stored.

use std::hint::black_box;
use std::path::Path;

use anyhow::Result;
use ultrasimple_core::footer::FooterFields;
use ultrasimple_core::{CheckResult, ContentHash, Epoch, ShardId, object};

use crate::part::{Workload, prepared, repeated};
use crate::samples::{LARGE, SMALL, digest, hours_later, image, node, path, volume};

pub(crate) fn hash_small(folder: &Path) -> Result<Box<dyn Workload>> {
    hash(folder, SMALL)
}

pub(crate) fn hash_large(folder: &Path) -> Result<Box<dyn Workload>> {
    hash(folder, LARGE)
}

pub(crate) fn compress_small(folder: &Path) -> Result<Box<dyn Workload>> {
    compress(folder, SMALL)
}

pub(crate) fn compress_large(folder: &Path) -> Result<Box<dyn Workload>> {
    compress(folder, LARGE)
}

fn hash(folder: &Path, rows: u32) -> Result<Box<dyn Workload>> {
    let image = image(folder, rows)?;
    Ok(repeated(move || Ok(ContentHash::of(black_box(&image)))))
}

fn compress(folder: &Path, rows: u32) -> Result<Box<dyn Workload>> {
    let image = image(folder, rows)?;
    let hash = ContentHash::of(&image);
    let fields = FooterFields {
        volume: volume()?,
        path: path(7),
        shard: ShardId(7),
        mode: 0o644,
        captured_at: hours_later(0)?,
        node: node()?,
        epoch: Epoch(1),
        check: CheckResult::Passed,
        fingerprint: Some(digest(7)),
    };
    Ok(prepared(
        move || Ok(fields.clone()),
        move |fields| Ok(object::encode_hashed(black_box(&image), hash, fields)?),
    ))
}
