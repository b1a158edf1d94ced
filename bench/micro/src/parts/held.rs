//! What the bucket holds of a shard's databases, as their owner remembers it.

use std::hint::black_box;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use ultrasimple_core::FingerprintDigest;
use ultrasimple_core::catalog::StoredBackup;
use ultrasimple_replicator::parts::Held;

use crate::part::{Workload, prepared, repeated};
use crate::samples::{backup, digest, scatter};

/// Known to the table.
pub(crate) const DATABASES: u32 = 10_000;
/// Fewer than what it puts in order by itself.
const NEW: u32 = 1_000;

/// One after the other, in no order: now and then all are put in order.
pub(crate) fn insert(_: &Path) -> Result<Box<dyn Workload>> {
    let known = numbered(0..DATABASES)?;
    Ok(prepared(
        || Ok(Held::default()),
        move |mut held| {
            learn(&mut held, &known);
            Ok(held)
        },
    ))
}

/// Each of them, in no order.
pub(crate) fn get(_: &Path) -> Result<Box<dyn Workload>> {
    let known = numbered(0..DATABASES)?;
    let mut held = Held::default();
    learn(&mut held, &known);
    held.merge();
    Ok(repeated(move || {
        for (id, _, _) in &known {
            black_box(held.get(*id).context("what was learned is not held")?);
        }
        Ok(())
    }))
}

/// The few that are new.
pub(crate) fn merge(_: &Path) -> Result<Box<dyn Workload>> {
    let (known, new) = (numbered(0..DATABASES)?, numbered(DATABASES..DATABASES + NEW)?);
    Ok(prepared(
        move || {
            let mut held = Held::default();
            learn(&mut held, &known);
            held.merge();
            learn(&mut held, &new);
            ensure!(held.databases() == (DATABASES + NEW) as usize, "two have one number");
            Ok(held)
        },
        |mut held| {
            held.merge();
            Ok(held)
        },
    ))
}

type Learned = (u64, FingerprintDigest, StoredBackup);

fn numbered(numbers: std::ops::Range<u32>) -> Result<Vec<Learned>> {
    let learned = |number: u32| {
        let id = scatter(number.into());
        Ok((id, digest(id), backup(number, 0)?))
    };
    numbers.map(learned).collect()
}

fn learn(held: &mut Held, learned: &[Learned]) {
    for (id, digest, backup) in learned {
        held.insert(*id, *digest, backup);
    }
}
