//! `shards`: who owns what, and how it is about it.

use anyhow::Context;
use serde::Serialize;
use ultrasimple_core::config::StoreSettings;
use ultrasimple_core::{NodeName, ShardId, ShardKey, Timestamp, VolumeName};
use ultrasimple_peers::{Answer, ShardSays};

use super::source::{Fleet, Found, Source};
use super::watch::{self, Shown};
use crate::known::Known;
use crate::show::{self, Column};
use crate::{Outcome, Usage, complain, connect, find};

pub(crate) const EXAMPLES: &str = "\
With -etcd: what etcd says of every shard of every volume, and what its owner says of it; blanks where a node does
not answer. Without: what the daemon at -http says, and where none answers what the bucket's catalogs say.

Examples:
  ultrasimple-ctl -etcd http://10.0.0.1:2379 shards --moving
  ultrasimple-ctl -config /etc/ultrasimple.toml shards --watch 5
  ultrasimple-ctl -config /etc/ultrasimple.toml shards --json --unowned

Exit status: 0 whatever it shows; 1 when etcd does not answer.";

#[derive(Debug, Default, clap::Args)]
pub(crate) struct Shards {
    /// Only those that this node owns or should own
    #[arg(long, value_name = "NODE")]
    node: Option<NodeName>,
    /// Only those of this volume
    #[arg(long, value_name = "VOLUME")]
    volume: Option<VolumeName>,
    /// Only those that are on their way: to another owner, or into service
    #[arg(long)]
    moving: bool,
    /// Only those that nobody owns
    #[arg(long)]
    unowned: bool,
    #[command(flatten)]
    watch: watch::Watch,
}

/// A row: see docs/CTL.md.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Row {
    pub(crate) volume: VolumeName,
    pub(crate) shard: ShardId,
    pub(crate) owner: Option<NodeName>,
    pub(crate) desired: Option<NodeName>,
    pub(crate) epoch: Option<u64>,
    pub(crate) phase: Option<String>,
    pub(crate) since: Option<Timestamp>,
    pub(crate) databases: Option<u64>,
    pub(crate) pending: Option<u64>,
    pub(crate) failing: Option<u64>,
    pub(crate) exposure_seconds: Option<f64>,
}

impl Row {
    fn new(key: &ShardKey) -> Self {
        Self {
            volume: key.volume.clone(),
            shard: key.shard,
            owner: None,
            desired: None,
            epoch: None,
            phase: None,
            since: None,
            databases: None,
            pending: None,
            failing: None,
            exposure_seconds: None,
        }
    }

    fn says(mut self, says: &ShardSays) -> Self {
        self.epoch = Some(says.epoch.0);
        self.phase = Some(says.phase.clone());
        self.since = Some(says.since);
        self.databases = Some(says.databases);
        self.pending = Some(says.pending);
        self.failing = Some(says.failing);
        self.exposure_seconds = Some(says.exposure_seconds);
        self
    }

    /// On its way to another owner, or into service.
    pub(crate) fn is_moving(&self) -> bool {
        let is_under_way = self.phase.as_deref().is_some_and(|phase| phase != "owned");
        is_under_way || (self.desired.is_some() && self.owner != self.desired)
    }
}

/// Prints them, once or again and again.
///
/// # Errors
/// When etcd does not answer, or without `-etcd` neither a daemon nor the bucket.
pub(crate) async fn run(
    source: &Source,
    settings: &StoreSettings,
    args: &Shards,
    json: bool,
) -> anyhow::Result<Outcome> {
    watch::shown(args.watch, json, async || {
        let rows = rows(source.look().await?, settings).await?;
        let rows: Vec<_> = rows.into_iter().filter(|row| args.wants(row)).collect();
        let text = if json { String::new() } else { text(&rows) };
        Ok(Shown { document: serde_json::to_value(&rows)?, text, outcome: Outcome::AllWell })
    })
    .await
}

impl Shards {
    fn wants(&self, row: &Row) -> bool {
        let is_of = |node: &NodeName| {
            row.owner.as_ref() == Some(node) || row.desired.as_ref() == Some(node)
        };
        self.node.as_ref().is_none_or(is_of)
            && self.volume.as_ref().is_none_or(|volume| row.volume == *volume)
            && (!self.moving || row.is_moving())
            && (!self.unowned || row.owner.is_none())
    }
}

/// Whatever can be told.
async fn rows(found: Found, settings: &StoreSettings) -> anyhow::Result<Vec<Row>> {
    match found {
        Found::Fleet(fleet) => {
            warn(&fleet);
            Ok(of_fleet(&fleet))
        }
        Found::Daemon(answer) => Ok(of_daemon(&answer)),
        Found::Nobody(why) if settings.bucket.is_none() => Err(Usage(format!(
            "no daemon answers ({why}), and there is no -etcd and no -bucket that could tell more"
        ))
        .into()),
        Found::Nobody(why) => {
            complain(&format!("no daemon answers ({why}): this is what the bucket's catalogs say"));
            let store = connect::open(settings, find::LOOKS_IN_FLIGHT).await?;
            let known = Known::load(store.as_ref(), false).await;
            Ok(of_bucket(
                &known
                    .with_context(|| format!("cannot list the catalogs in {}", store.location()))?,
            ))
        }
    }
}

/// Says on stderr what leaves blanks.
pub(crate) fn warn(fleet: &Fleet) {
    for (node, answer) in &fleet.answers {
        if let Err(why) = answer {
            complain(&format!("{node} does not answer: {why}"));
        }
    }
}

/// A row for every shard of every volume.
pub(crate) fn of_fleet(fleet: &Fleet) -> Vec<Row> {
    let desired = fleet.state.desired();
    let row = |key: ShardKey| {
        let mut row = Row::new(&key);
        row.desired = desired.owner(&key).cloned();
        let Some(claim) = fleet.state.view.claims.get(&key) else { return row };
        row.owner = Some(claim.node.clone());
        row.epoch = Some(claim.epoch().0);
        let answer = fleet.answers.get(&claim.node).and_then(|answer| answer.as_ref().ok());
        match answer.and_then(|answer| answer.shards.get(&key)) {
            // What it says of an earlier claim is of the past.
            Some(says) if says.epoch == claim.epoch() => row.says(says),
            _ => row,
        }
    };
    fleet.all_shards().into_iter().map(row).collect()
}

/// A daemon without etcd owns all that it has.
pub(crate) fn of_daemon(answer: &Answer) -> Vec<Row> {
    let node: Option<NodeName> = answer.node.node.parse().ok();
    let row = |(key, says): (&ShardKey, &ShardSays)| {
        let row = Row { owner: node.clone(), desired: node.clone(), ..Row::new(key) };
        row.says(says)
    };
    answer.shards.iter().map(row).collect()
}

/// Who owns what is not in the bucket; what its owners have written is.
fn of_bucket(known: &Known) -> Vec<Row> {
    let mut databases = vec![0; known.catalogs.len()];
    for entry in known.databases().values().filter(|entry| entry.gone_since.is_none()) {
        if let Some(count) = databases.get_mut(entry.catalog()) {
            *count += 1;
        }
    }
    let heads = known.catalogs.iter().zip(databases);
    let mut rows: Vec<_> = heads
        .map(|(head, databases)| Row {
            epoch: Some(head.epoch.0),
            since: Some(head.written_at),
            databases: Some(databases),
            ..Row::new(&head.key)
        })
        .collect();
    rows.sort_by(|a, b| (&a.volume, a.shard).cmp(&(&b.volume, b.shard)));
    rows
}

fn text(rows: &[Row]) -> String {
    let columns = [
        Column::long("VOLUME"),
        Column::number("SHARD"),
        Column::long("OWNER"),
        Column::long("DESIRED"),
        Column::number("EPOCH"),
        Column::text("PHASE"),
        Column::number("DATABASES"),
        Column::number("PENDING"),
        Column::number("EXPOSURE"),
        Column::text("SINCE"),
    ];
    let node = |node: &Option<NodeName>| node.as_ref().map_or("-".to_owned(), ToString::to_string);
    let number = |number: Option<u64>| number.map_or("-".to_owned(), |number| number.to_string());
    let cells: Vec<_> = rows
        .iter()
        .map(|row| {
            vec![
                row.volume.to_string(),
                row.shard.0.to_string(),
                node(&row.owner),
                node(&row.desired),
                number(row.epoch),
                row.phase.clone().unwrap_or_else(|| "-".to_owned()),
                number(row.databases),
                number(row.pending),
                row.exposure_seconds.map_or("-".to_owned(), watch::seconds),
                row.since.map_or("-".to_owned(), show::time),
            ]
        })
        .collect();
    let unowned = rows.iter().filter(|row| row.owner.is_none()).count();
    let moving = rows.iter().filter(|row| row.is_moving()).count();
    let table = show::table(&columns, &cells, show::terminal_width());
    let count = show::count(rows.len(), "shard");
    format!("{table}{count}, {unowned} without an owner, {moving} moving\n")
}
