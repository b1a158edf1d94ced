//! `nodes`: who takes part, and how they are.

use serde::Serialize;
use ultrasimple_core::{NodeName, Timestamp, VolumeName};
use ultrasimple_peers::Answer;

use super::drain::{Drain, Undrain};
use super::shards::warn;
use super::source::{Fleet, Found, Source};
use super::watch::{self, Shown, Watch};
use crate::show::{self, Column};
use crate::{Outcome, complain};

pub(crate) const EXAMPLES: &str = "\
A node that is drained owns no shard, unless no other mounts the volume; it stays in the fleet. 'drain' is done at
once; the shards go one after the other as their catalogs are written. Drains outlive restarts of the node.

Examples:
  ultrasimple-ctl -etcd http://10.0.0.1:2379 nodes
  ultrasimple-ctl -config /etc/ultrasimple.toml nodes drain db-3 --wait 5m
  ultrasimple-ctl -config /etc/ultrasimple.toml nodes undrain db-3

Exit status: 0 all well, whatever it shows; 1 when etcd does not answer; 3 when a node that is drained still owns
shards after --wait.";

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Nodes {
    #[command(subcommand)]
    pub(crate) change: Option<Change>,
    #[command(flatten)]
    watch: Watch,
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Change {
    /// Give a node's shards to the others, and keep it from owning any
    Drain(Drain),
    /// Let a node own shards again
    Undrain(Undrain),
}

/// How a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// It does what it is to do.
    Well,
    /// It ends, and gives its shards back.
    Leaving,
    /// An operator has drained it.
    Drained,
    /// The store does not work for it.
    Unwell,
    /// Its own HTTP does not answer. What etcd says of it holds.
    DoesNotAnswer,
    /// It answers, and says that it has not heard of etcd for too long: it backs nothing up.
    Suspended,
    /// It is not there; but it is drained, should it come back.
    Absent,
}

impl State {
    /// As in JSON.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::Leaving => "leaving",
            Self::Drained => "drained",
            Self::Unwell => "unwell",
            Self::DoesNotAnswer => "does_not_answer",
            Self::Suspended => "suspended",
            Self::Absent => "absent",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::Leaving => "leaving",
            Self::Drained => "drained",
            Self::Unwell => "unwell",
            Self::DoesNotAnswer => "does not answer",
            Self::Suspended => "suspended",
            Self::Absent => "drained, not there",
        }
    }
}

/// A row: see docs/CTL.md.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Row {
    pub(crate) node: NodeName,
    pub(crate) state: State,
    pub(crate) address: Option<String>,
    pub(crate) volumes: Vec<VolumeName>,
    pub(crate) capacity: Option<f64>,
    pub(crate) shards: u64,
    pub(crate) lease_seconds: Option<f64>,
    pub(crate) lease_ttl_seconds: Option<f64>,
    pub(crate) version: Option<String>,
    pub(crate) since: Option<Timestamp>,
    pub(crate) databases: Option<u64>,
    pub(crate) pending: Option<u64>,
    pub(crate) failing: Option<u64>,
    pub(crate) exposure_seconds: Option<f64>,
    /// Why it does not answer.
    pub(crate) reason: Option<String>,
}

impl Row {
    fn new(node: NodeName, state: State) -> Self {
        Self {
            node,
            state,
            address: None,
            volumes: Vec::new(),
            capacity: None,
            shards: 0,
            lease_seconds: None,
            lease_ttl_seconds: None,
            version: None,
            since: None,
            databases: None,
            pending: None,
            failing: None,
            exposure_seconds: None,
            reason: None,
        }
    }

    fn says(mut self, answer: &Answer) -> Self {
        let says = &answer.node;
        self.databases = Some(says.databases);
        self.pending = Some(says.pending);
        self.failing = Some(says.failing);
        self.exposure_seconds = Some(says.exposure_seconds);
        self
    }
}

/// Prints them, once or again and again.
///
/// # Errors
/// When etcd does not answer, or without `-etcd` no daemon.
pub(crate) async fn run(source: &Source, args: &Nodes, json: bool) -> anyhow::Result<Outcome> {
    watch::shown(args.watch, json, async || {
        let rows = match source.look().await? {
            Found::Fleet(fleet) => {
                warn(&fleet);
                of_fleet(&fleet)
            }
            Found::Daemon(answer) => vec![of_daemon(&answer)?],
            Found::Nobody(why) => {
                complain(&format!("no daemon answers ({why}), and there is no -etcd"));
                Vec::new()
            }
        };
        let text = if json { String::new() } else { text(&rows) };
        Ok(Shown { document: serde_json::to_value(&rows)?, text, outcome: Outcome::AllWell })
    })
    .await
}

/// A row for each node that lives, and for each that is drained.
pub(crate) fn of_fleet(fleet: &Fleet) -> Vec<Row> {
    let view = &fleet.state.view;
    let names = view.nodes.keys().chain(view.drains.iter());
    let names: std::collections::BTreeSet<&NodeName> = names.collect();
    names.into_iter().map(|node| of_node(fleet, node)).collect()
}

fn of_node(fleet: &Fleet, node: &NodeName) -> Row {
    let view = &fleet.state.view;
    let claims = view.claims.values().filter(|claim| claim.node == *node);
    let shards = claims.count() as u64;
    let Some(registered) = view.nodes.get(node) else {
        return Row { shards, ..Row::new(node.clone(), State::Absent) };
    };
    let record = &registered.record;
    let answer = fleet.answers.get(node);
    let state = match answer {
        _ if record.leaving => State::Leaving,
        _ if view.drains.contains(node) => State::Drained,
        _ if record.unwell => State::Unwell,
        Some(Err(_)) => State::DoesNotAnswer,
        Some(Ok(answer)) if !answer.node.trusted => State::Suspended,
        _ => State::Well,
    };
    let lease = fleet.state.leases.get(&registered.lease);
    let row = Row {
        address: Some(record.address.clone()).filter(|address| !address.is_empty()),
        volumes: record.volumes.keys().cloned().collect(),
        capacity: Some(record.capacity),
        shards,
        lease_seconds: lease.map(|lease| lease.remaining.as_secs_f64()),
        lease_ttl_seconds: lease.map(|lease| lease.granted.as_secs_f64()),
        version: Some(record.version.clone()),
        since: Some(record.since),
        reason: answer.and_then(|answer| answer.as_ref().err().cloned()),
        ..Row::new(node.clone(), state)
    };
    match answer {
        Some(Ok(answer)) => row.says(answer),
        _ => row,
    }
}

fn of_daemon(answer: &Answer) -> anyhow::Result<Row> {
    let volumes: std::collections::BTreeSet<_> =
        answer.shards.keys().map(|shard| shard.volume.clone()).collect();
    let state = if answer.node.trusted { State::Well } else { State::Suspended };
    let row = Row {
        volumes: volumes.into_iter().collect(),
        shards: answer.shards.len() as u64,
        version: Some(answer.node.version.clone()),
        lease_seconds: answer.node.lease_seconds,
        ..Row::new(answer.node.node.parse()?, state)
    };
    Ok(row.says(answer))
}

fn text(rows: &[Row]) -> String {
    let columns = [
        Column::long("NODE"),
        Column::text("STATE"),
        Column::long("ADDRESS"),
        Column::long("VOLUMES"),
        Column::number("CAPACITY"),
        Column::number("SHARDS"),
        Column::number("DATABASES"),
        Column::number("PENDING"),
        Column::number("EXPOSURE"),
        Column::number("LEASE"),
        Column::text("VERSION"),
        Column::text("SINCE"),
    ];
    let none = || "-".to_owned();
    let number = |number: Option<u64>| number.map_or_else(none, |number| number.to_string());
    let lease = |row: &Row| match (row.lease_seconds, row.lease_ttl_seconds) {
        (Some(left), Some(granted)) => format!("{left:.0} of {granted:.0} s"),
        (Some(left), None) => format!("{left:.0} s"),
        _ => none(),
    };
    let cells: Vec<_> = rows
        .iter()
        .map(|row| {
            let volumes: Vec<_> = row.volumes.iter().map(ToString::to_string).collect();
            vec![
                row.node.to_string(),
                row.state.text().to_owned(),
                row.address.clone().unwrap_or_else(none),
                volumes.join(" "),
                row.capacity.map_or_else(none, |capacity| capacity.to_string()),
                row.shards.to_string(),
                number(row.databases),
                number(row.pending),
                row.exposure_seconds.map_or_else(none, watch::seconds),
                lease(row),
                row.version.clone().unwrap_or_else(none),
                row.since.map_or_else(none, show::time),
            ]
        })
        .collect();
    let table = show::table(&columns, &cells, show::terminal_width());
    format!("{table}{}\n", show::count(rows.len(), "node"))
}
