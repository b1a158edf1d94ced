//! The scan, whole, and its table alone: by one thread, over a small tree as the default pattern has it.

use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ultrasimple_core::config::KeepSettings;
use ultrasimple_core::key::MAX_KEY_BYTES;
use ultrasimple_core::pattern::{Pattern, PatternSet};
use ultrasimple_core::template::PathTemplate;
use ultrasimple_core::{CheckLevel, Volumes};
use ultrasimple_replicator::ReplicatorOptions;
use ultrasimple_replicator::parts::{Scanner, Seen};

use crate::part::{Workload, prepared, repeated};
use crate::samples::{node, volume};

/// In the tree.
pub(crate) const DATABASES: u32 = 10_000;
const IN_A_DIRECTORY: u32 = 1_000;
/// Of so many databases, one has a `-wal` beside it.
const WITH_WAL: u32 = 10;

/// So late that every directory had long come to rest when it was listed: then only its time is looked at.
const LATE: i64 = 4_000_000_000_000_000_000;
/// So early that none had: then each is listed again.
const EARLY: i64 = 0;

/// Nothing has changed since the last scan.
pub(crate) fn rest(folder: &Path) -> Result<Box<dyn Workload>> {
    let mut scanner = Tree::open(folder)?.known(LATE)?;
    let at_rest = Seen { databases: DATABASES as usize, changed: 0, listed: 0 };
    Ok(repeated(move || {
        let seen = scanner.scan(LATE)?;
        ensure!(seen == at_rest, "a scan at rest saw {seen:?}");
        Ok(seen)
    }))
}

/// Nothing was known before.
pub(crate) fn first(folder: &Path) -> Result<Box<dyn Workload>> {
    let tree = Tree::open(folder)?;
    Ok(prepared(
        move || Ok(tree.scanner()),
        |mut scanner| {
            let seen = scanner.scan(LATE)?;
            ensure!(seen.changed == DATABASES as usize, "a first scan saw {seen:?}");
            Ok(scanner)
        },
    ))
}

/// The second half of a first scan.
pub(crate) fn take_new(folder: &Path) -> Result<Box<dyn Workload>> {
    let tree = Tree::open(folder)?;
    Ok(prepared(
        move || {
            let scanner = tree.scanner();
            let found = scanner.walk(LATE)?;
            Ok((scanner, found))
        },
        |(mut scanner, found)| {
            let seen = scanner.apply(found);
            ensure!(seen.changed == DATABASES as usize, "new to the table were {seen:?}");
            Ok(scanner)
        },
    ))
}

/// The second half of a scan that found each directory touched, and all databases there as they were.
pub(crate) fn take_again(folder: &Path) -> Result<Box<dyn Workload>> {
    let tree = Tree::open(folder)?;
    Ok(prepared(
        move || {
            let scanner = tree.known(EARLY)?;
            let found = scanner.walk(LATE)?;
            Ok((scanner, found))
        },
        |(mut scanner, found)| {
            let seen = scanner.apply(found);
            ensure!(seen.changed == 0 && seen.listed > 0, "listed again were {seen:?}");
            Ok(scanner)
        },
    ))
}

/// As an upload does.
pub(crate) fn look_up(folder: &Path) -> Result<Box<dyn Workload>> {
    let scanner = Tree::open(folder)?.known(LATE)?;
    let known = scanner.known();
    Ok(repeated(move || {
        for &known in &known {
            black_box(scanner.path(known).context("a known database has no path")?);
        }
        Ok(())
    }))
}

/// Files that are called like databases: a scan opens none. All parts look at the same.
struct Tree {
    options: ReplicatorOptions,
}

impl Tree {
    fn open(folder: &Path) -> Result<Self> {
        let root = folder.canonicalize()?.join("tree");
        if !root.exists() {
            Self::create(&root)?;
        }
        let pattern = root.join("data/*/databases/*/branches/*/tenants/*.db");
        let pattern = Pattern::parse(pattern.to_str().context("the folder's name is no text")?)?;
        let patterns = PatternSet::new(vec![pattern], Vec::new());
        Ok(Self { options: options(patterns, root.join("scratch"))? })
    }

    fn create(root: &Path) -> Result<()> {
        for first in (0..DATABASES).step_by(IN_A_DIRECTORY as usize) {
            let project = first / IN_A_DIRECTORY;
            let below = format!("data/project{project}/databases/users/branches/main/tenants");
            let directory = root.join(below);
            std::fs::create_dir_all(&directory)?;
            for number in first..DATABASES.min(first + IN_A_DIRECTORY) {
                std::fs::write(directory.join(format!("t{number}.db")), "a database")?;
                if number % WITH_WAL == 0 {
                    std::fs::write(directory.join(format!("t{number}.db-wal")), "its log")?;
                }
            }
        }
        Ok(())
    }

    /// What knows nothing yet.
    fn scanner(&self) -> Scanner {
        Scanner::new(&self.options, MAX_KEY_BYTES, 1)
    }

    /// What has seen all, at that time.
    fn known(&self, now_ns: i64) -> Result<Scanner> {
        let mut scanner = self.scanner();
        let seen = scanner.scan(now_ns)?;
        ensure!(seen.databases == DATABASES as usize, "a first scan saw {seen:?}");
        Ok(scanner)
    }
}

/// The daemon's defaults, as far as a scan is concerned.
fn options(patterns: PatternSet, scratch: std::path::PathBuf) -> Result<ReplicatorOptions> {
    Ok(ReplicatorOptions {
        volumes: Volumes::one(volume()?, 256),
        node: node()?,
        patterns,
        template: PathTemplate::standard(),
        concurrent: 1,
        memory_budget: 1 << 28,
        check: CheckLevel::Quick,
        min_upload_interval: Duration::ZERO,
        put_budget: None,
        keep: KeepSettings::default(),
        scratch,
        spool_limit: 1 << 30,
        drain_timeout: Duration::ZERO,
    })
}
