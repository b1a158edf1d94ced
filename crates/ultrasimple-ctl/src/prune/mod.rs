//! `prune`: what retention gives up, and why; and its deletion.
//!
//! Shard by shard: read the catalog, plan (core), and unless it is a dry run let the keeper act, which reads the
//! footers before it deletes anything (R4, R11), and tell the catalog. The time is the earlier of this host's and
//! the store's: a clock that jumped ahead must not delete. At the end the objects are listed, to name the databases
//! that no catalog knows: these are left alone.

mod report;

use std::collections::{BTreeSet, HashSet};

use anyhow::Context;
use clap::{ArgMatches, Command, FromArgMatches};
use futures::{StreamExt, stream};
use ultrasimple_core::config::{Group, RawSettings, Setting};
use ultrasimple_core::retention::{RetentionRules, safe_now};
use ultrasimple_core::{Catalog, Clock, KeyStem, ShardKey, SystemClock, Timestamp, placement};
use ultrasimple_keeper::{Holds, catalogs, prune};
use ultrasimple_store::{Inventory, Store};

use crate::progress::Progress;
use crate::{Outcome, connect, known};
use report::{Database, Report};

pub(crate) const EXAMPLES: &str = "\
The daemon does the same by itself, by the same rules: give the same -config, or the same -retention-days and
-keep. A backup goes when no rule wants it any more. What never goes: the newest of a database, what is held, and
anything of a database whose newest backup is not good or whose last check failed. Before anything is deleted its
footer is read: what is not provably a backup of its database stays.

Examples:
  ultrasimple-ctl -bucket my-backups prune -dry-run
  ultrasimple-ctl -bucket my-backups prune -dry-run -verbose -retention-days 7
  ultrasimple-ctl -config daemon.toml prune --json

Exit status: 0 all well, 3 something that should have gone could not be deleted, or a catalog cannot be used.";

/// Shards worked on at once.
const IN_FLIGHT: usize = 4;

#[derive(Debug, clap::Args)]
pub(crate) struct Prune {
    /// Delete nothing: only say what would be deleted
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// With --dry-run, show what is kept as well, and why
    #[arg(long, requires = "dry_run")]
    pub(crate) verbose: bool,
    /// Do not list the objects, to name the databases that no catalog knows: saves a request for every
    /// thousand
    #[arg(long)]
    pub(crate) from_catalogs: bool,
    #[command(flatten)]
    pub(crate) rules: Rules,
}

/// The rules, which are settings of the daemon: so that this tool goes by the same ones.
#[derive(Debug, Clone)]
pub(crate) struct Rules(pub(crate) RawSettings);

const RULES: [Setting; 2] = [Setting::RetentionDays, Setting::Keep];

impl clap::Args for Rules {
    fn augment_args(command: Command) -> Command {
        let heading = Group::Keep.heading();
        command.args(RULES.map(|setting| connect::argument(setting, setting.help(), heading)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Rules {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self(connect::flags(matches, &RULES)))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Shows or does it.
///
/// # Errors
/// When nothing could be done.
pub(crate) async fn run(
    store: &dyn Store,
    args: &Prune,
    rules: &RetentionRules,
    json: bool,
) -> anyhow::Result<Outcome> {
    let location = store.location();
    let progress = Progress::new(json);
    progress.looking("reading the catalogs");
    let theirs =
        store.time().await.with_context(|| format!("cannot ask {location} for the time"))?;
    let now = safe_now(SystemClock.now(), theirs)?;
    let keys = catalogs::list(store, None).await;
    let keys = keys.with_context(|| format!("cannot list the catalogs of {location}"))?;
    let mut report = Report::new(location, *rules, now, args.dry_run);
    let mut stems = HashSet::new();
    progress.counting(keys.len() as u64);
    let with_keeps = args.dry_run && (json || args.verbose);
    let task = Task { store, rules, now, dry_run: args.dry_run, with_keeps };
    let shards = keys.into_iter().map(|key| task.shard(key));
    let mut shards = stream::iter(shards).buffer_unordered(IN_FLIGHT);
    while let Some(shard) = shards.next().await {
        progress.one();
        let shard = shard?;
        stems.extend(shard.stems);
        report.add(&shard.key, shard.databases, shard.failed, shard.kept);
    }
    drop(shards);
    if !args.from_catalogs {
        progress.looking("listing the bucket");
        let listed = Inventory::list(store, "", None).await;
        let listed = listed.with_context(|| format!("cannot list {location}"))?;
        let listed = listed.into_databases().into_keys();
        let unknown = listed.filter(|stem| !stems.contains(&placement::key_hash(stem)));
        report.unknown = Some(unknown.collect());
    }
    progress.finish();
    report.print(args.verbose, json)?;
    Ok(report.outcome())
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
struct Task<'a> {
    store: &'a dyn Store,
    rules: &'a RetentionRules,
    now: Timestamp,
    dry_run: bool,
    with_keeps: bool,
}

/// What came of one shard.
struct Shard {
    key: ShardKey,
    /// Hashes of the stems of all its databases.
    stems: Vec<u64>,
    databases: Vec<Database>,
    /// Number of backups that stay by the rules.
    kept: u64,
    /// Why its catalog was not read or not written.
    failed: Option<String>,
}

impl Task<'_> {
    async fn shard(&self, key: ShardKey) -> anyhow::Result<Shard> {
        let mut shard =
            Shard { key, stems: Vec::new(), databases: Vec::new(), kept: 0, failed: None };
        let catalog = match catalogs::read(self.store, &shard.key).await {
            Ok(Some((catalog, _))) => catalog,
            Ok(None) => return Ok(shard),
            Err(error) => {
                shard.failed = Some(error.to_string());
                return Ok(shard);
            }
        };
        shard.stems = catalog.databases.keys().map(placement::key_hash).collect();
        let holds = Holds::list(self.store).await.context("cannot list the holds")?;
        let plan = prune::plan_shard(&catalog, self.rules, self.now, &holds);
        shard.kept = plan.databases.values().map(|plan| plan.keep.len() as u64).sum();
        let acted = if self.dry_run {
            None
        } else {
            let report = prune::act(self.store, &catalog, &plan, &holds).await;
            shard.failed = self.tell(&catalog, &report).await?;
            Some(report)
        };
        shard.databases = report::databases(&catalog, &plan, acted.as_ref(), self.with_keeps);
        Ok(shard)
    }

    /// Tells the catalog. Gives why that failed.
    async fn tell(
        &self,
        catalog: &Catalog,
        report: &ultrasimple_keeper::PruneReport,
    ) -> anyhow::Result<Option<String>> {
        if report.edits.is_empty() {
            return Ok(None);
        }
        let author = known::author(catalog.shards)?;
        let written = catalogs::update(self.store, &catalog.key, &author, &report.edits).await;
        Ok(written.err().map(|error| format!("what was done could not be written to it: {error}")))
    }
}

/// The stems that no catalog knows.
type Unknown = BTreeSet<KeyStem>;
