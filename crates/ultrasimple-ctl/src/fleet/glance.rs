//! What `status` says of the fleet, or of the one daemon.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;
use ultrasimple_core::VolumeName;
use ultrasimple_peers::Answer;

use super::nodes::{self, State};
use super::shards;
use super::source::Fleet;
use super::watch;

/// Things that are named for people, of each kind.
const NAMED: usize = 10;

/// How it is about the fleet: `fleet` or `daemon` in the JSON document, see docs/CTL.md.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Glance {
    nodes: usize,
    /// By state.
    states: BTreeMap<&'static str, usize>,
    volumes: Vec<VolumeName>,
    shards: usize,
    owned: usize,
    unowned: usize,
    moving: usize,
    /// Of which their owners say nothing.
    unknown: usize,
    databases: u64,
    pending: u64,
    failing: u64,
    /// Of those shards of which something is known.
    max_exposure_seconds: f64,
    exposure_limit_seconds: f64,
    pub(crate) attention: Vec<String>,
}

impl Glance {
    /// Of a fleet.
    pub(crate) fn of_fleet(fleet: &Fleet, limit: Duration) -> Self {
        let rows = shards::of_fleet(fleet);
        let nodes = nodes::of_fleet(fleet);
        let mut glance = Self::of_shards(&rows, limit);
        glance.nodes = nodes.iter().filter(|node| node.state != State::Absent).count();
        glance.volumes = fleet.state.volumes();
        for node in &nodes {
            let name: &'static str = node.state.name();
            *glance.states.entry(name).or_default() += 1;
            let why = node.reason.as_deref().unwrap_or_default();
            match node.state {
                State::DoesNotAnswer => {
                    glance.attention.push(format!("{} does not answer: {why}", node.node));
                }
                State::Unwell => {
                    glance.attention.push(format!("{}: the store does not work for it", node.node));
                }
                State::Suspended => glance.attention.push(format!(
                    "{}: it has not heard of etcd for too long, and backs nothing up",
                    node.node
                )),
                _ => {}
            }
        }
        if glance.nodes == 0 {
            glance.attention.insert(0, "no node is in the fleet".to_owned());
        }
        glance
    }

    /// Of a daemon without etcd.
    pub(crate) fn of_daemon(answer: &Answer, limit: Duration) -> Self {
        let rows = shards::of_daemon(answer);
        let mut glance = Self::of_shards(&rows, limit);
        glance.nodes = 1;
        let volumes: std::collections::BTreeSet<_> =
            rows.into_iter().map(|row| row.volume).collect();
        glance.volumes = volumes.into_iter().collect();
        glance
    }

    fn of_shards(rows: &[shards::Row], limit: Duration) -> Self {
        let exposures = || rows.iter().filter_map(|row| row.exposure_seconds);
        let unowned: Vec<_> = rows.iter().filter(|row| row.owner.is_none()).collect();
        let unknown =
            rows.iter().filter(|row| row.owner.is_some() && row.exposure_seconds.is_none());
        let unknown = unknown.count();
        let limit = limit.as_secs_f64();
        let mut late: Vec<_> =
            rows.iter().filter(|row| row.exposure_seconds.is_some_and(|it| it > limit)).collect();
        late.sort_by(|a, b| {
            b.exposure_seconds.unwrap_or(0.0).total_cmp(&a.exposure_seconds.unwrap_or(0.0))
        });
        let mut attention = Vec::new();
        for row in unowned.iter().take(NAMED) {
            attention.push(format!("nobody owns shard {} of {}", row.shard.0, row.volume));
        }
        more(&mut attention, unowned.len(), "without an owner");
        for row in late.iter().take(NAMED) {
            let owner = row.owner.as_ref().map_or("-", |owner| owner.as_str());
            let exposure = watch::seconds(row.exposure_seconds.unwrap_or(0.0));
            attention.push(format!(
                "shard {} of {} ({owner}): a change has been waiting for {exposure}",
                row.shard.0, row.volume
            ));
        }
        more(&mut attention, late.len(), "with a change that waits too long");
        if unknown > 0 {
            attention.push(format!("of {unknown} shards it is not known how long changes wait"));
        }
        Self {
            nodes: 0,
            states: BTreeMap::new(),
            volumes: Vec::new(),
            shards: rows.len(),
            owned: rows.len() - unowned.len(),
            unowned: unowned.len(),
            moving: rows.iter().filter(|row| row.is_moving()).count(),
            unknown,
            databases: rows.iter().filter_map(|row| row.databases).sum(),
            pending: rows.iter().filter_map(|row| row.pending).sum(),
            failing: rows.iter().filter_map(|row| row.failing).sum(),
            max_exposure_seconds: exposures().fold(0.0, f64::max),
            exposure_limit_seconds: limit,
            attention,
        }
    }

    /// Volumes that the bucket has databases of, by how many are not gone: some node should mount them.
    pub(crate) fn compare_volumes(&mut self, in_bucket: &BTreeMap<VolumeName, u64>) {
        for (volume, databases) in in_bucket {
            if *databases > 0 && !self.volumes.contains(volume) {
                self.attention.push(format!(
                    "no node mounts the volume {volume}, of which the bucket knows {databases} databases"
                ));
            }
        }
    }

    /// Lines for people, as those of the bucket.
    pub(crate) fn text(&self) -> String {
        let volumes: Vec<_> = self.volumes.iter().map(ToString::to_string).collect();
        let states: Vec<_> = self
            .states
            .iter()
            .map(|(state, count)| format!("{count} {}", state.replace('_', " ")))
            .collect();
        let Self { shards, owned, unowned, moving, unknown, .. } = self;
        let unknown = if *unknown == 0 { String::new() } else { format!(", {unknown} UNKNOWN") };
        let lines = [
            (
                "nodes",
                match states.as_slice() {
                    [] => self.nodes.to_string(),
                    states => format!("{}: {}", self.nodes, states.join(", ")),
                },
            ),
            ("mounted", if volumes.is_empty() { "none".to_owned() } else { volumes.join(", ") }),
            (
                "shards",
                format!(
                    "{shards}, {owned} owned, {unowned} without an owner, {moving} moving{unknown}"
                ),
            ),
            (
                "backed up",
                format!(
                    "{} databases, {} pending, {} failing",
                    self.databases, self.pending, self.failing
                ),
            ),
            (
                "exposure",
                format!(
                    "{} at most, the limit is {}",
                    watch::seconds(self.max_exposure_seconds),
                    watch::seconds(self.exposure_limit_seconds)
                ),
            ),
        ];
        let mut text = String::new();
        for (name, value) in lines {
            let _ = writeln!(text, "{name:<14}{value}");
        }
        for attention in &self.attention {
            let _ = writeln!(text, "ATTENTION: {attention}");
        }
        text
    }
}

fn more(attention: &mut Vec<String>, count: usize, what: &str) {
    if count > NAMED {
        attention.push(format!("and {} more shards {what}", count - NAMED));
    }
}
