//! The fleet as a picture: which node has which shards, and how long their changes wait. Plain values, made without I/O
//! of what etcd told last, of what each node says of itself, and of this node's own shards.

use std::collections::{BTreeMap, BTreeSet};

use ultrasimple_cluster::Sighting;
use ultrasimple_core::{Epoch, NodeName, ShardId, ShardKey, VolumeName};
use ultrasimple_peers::Answer;
use ultrasimple_replicator::{ShardName, ShardStatus};

/// How it is about a shard: what its square in the picture looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// All its changes are in the bucket.
    Calm,
    /// Changes wait, none for long.
    Waiting,
    /// On its way to another node, or into service.
    Moving,
    /// Its owner does not say.
    Unknown,
    /// A change has been waiting for longer than it should.
    Late,
    /// Nobody backs it up.
    Unowned,
}

impl Level {
    /// All there are, the worst last.
    pub(super) const ALL: [Self; 6] =
        [Self::Calm, Self::Waiting, Self::Moving, Self::Unknown, Self::Late, Self::Unowned];

    /// Of a shard whose owner says this of it. `limit`: in seconds.
    fn of(phase: &str, exposure: f64, limit: f64) -> Self {
        match exposure {
            exposure if exposure > limit => Self::Late,
            _ if phase != "owned" => Self::Moving,
            exposure if exposure > 0.0 => Self::Waiting,
            _ => Self::Calm,
        }
    }

    /// Its class in the style sheet.
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Calm => "calm",
            Self::Waiting => "waiting",
            Self::Moving => "moving",
            Self::Unknown => "unknown",
            Self::Late => "late",
            Self::Unowned => "unowned",
        }
    }

    /// For people.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Calm => "nothing waits",
            Self::Waiting => "changes wait",
            Self::Moving => "moving",
            Self::Unknown => "not known",
            Self::Late => "wait too long",
            Self::Unowned => "no owner",
        }
    }
}

/// How a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Health {
    Well,
    Leaving,
    Drained,
    /// The store does not work for it.
    Unwell,
    /// It has not heard of etcd for too long.
    Suspended,
    Silent,
}

impl Health {
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::Leaving => "leaving",
            Self::Drained => "drained",
            Self::Unwell => "the store fails for it",
            Self::Suspended => "cut off from etcd",
            Self::Silent => "does not answer",
        }
    }

    /// Whether somebody should look at it.
    pub(super) fn is_trouble(self) -> bool {
        matches!(self, Self::Unwell | Self::Suspended | Self::Silent)
    }
}

/// A node and its shards.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct NodeCard {
    pub(super) name: String,
    pub(super) is_self: bool,
    /// Where its own page is.
    pub(super) link: Option<String>,
    pub(super) health: Health,
    /// Why it does not answer.
    pub(super) why: Option<String>,
    /// In the order of volumes and numbers.
    pub(super) squares: Vec<Level>,
    /// `None` of a node that does not answer.
    pub(super) sums: Option<Sums>,
}

/// What a node says of all its shards.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Sums {
    pub(super) databases: u64,
    pub(super) pending: u64,
    pub(super) failing: u64,
    pub(super) exposure: f64,
    pub(super) month_dollars: Option<f64>,
    pub(super) stored_bytes: Option<u64>,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct FleetView {
    pub(super) nodes: Vec<NodeCard>,
    /// Shards that nobody owns: how many, and the first of them.
    pub(super) unowned: u64,
    pub(super) unowned_names: Vec<String>,
    pub(super) volumes: Vec<String>,
    pub(super) shards: u64,
    /// There is an etcd.
    pub(super) is_fleet: bool,
    /// What etcd told last may be out of date.
    pub(super) is_old: bool,
    /// Why nothing can be said of the other nodes.
    pub(super) unseen: Option<String>,
    owners: BTreeMap<ShardKey, (String, Option<String>)>,
}

/// How many shards without an owner are named.
const NAMED: usize = 8;

/// This node, as it sees itself.
pub(super) struct Myself<'a> {
    pub(super) name: &'a NodeName,
    pub(super) shards: &'a [ShardStatus],
    pub(super) is_trusted: bool,
    pub(super) month_dollars: Option<f64>,
    pub(super) stored_bytes: u64,
}

impl FleetView {
    /// Of a node without etcd.
    pub(super) fn alone(me: &Myself<'_>, limit: f64) -> Self {
        let volumes: BTreeSet<&VolumeName> =
            me.shards.iter().map(|shard| &shard.key.volume).collect();
        Self {
            nodes: vec![me.card(limit)],
            volumes: volumes.into_iter().map(ToString::to_string).collect(),
            shards: me.shards.len() as u64,
            ..Self::default()
        }
    }

    /// Of a node of a fleet. `answers`: what the other nodes say.
    pub(super) fn of(
        me: &Myself<'_>,
        seen: &Sighting,
        answers: &BTreeMap<NodeName, Result<Answer, String>>,
        limit: f64,
    ) -> Self {
        let mounted = seen.view.nodes.values().flat_map(|node| node.record.volumes.keys());
        let claimed = seen.view.claims.keys().map(|key| &key.volume);
        let volumes: BTreeSet<&VolumeName> = mounted.chain(claimed).collect();
        let own = me.says();
        let mut squares: BTreeMap<&NodeName, Vec<Level>> = BTreeMap::new();
        let mut view = Self { is_fleet: true, is_old: !seen.is_current, ..Self::default() };
        let all = volumes.iter().flat_map(|volume| {
            (0..seen.shards)
                .map(|shard| ShardKey { volume: (*volume).clone(), shard: ShardId(shard) })
        });
        for key in all {
            view.shards += 1;
            let Some(claim) = seen.view.claims.get(&key) else {
                view.unowned += 1;
                if view.unowned_names.len() < NAMED {
                    view.unowned_names.push(format!("{} of {}", key.shard.0, key.volume));
                }
                continue;
            };
            let says = if claim.node == *me.name {
                own.get(&key).map(|shard| (shard.epoch, shard.phase, shard.exposure_seconds))
            } else {
                let answer = answers.get(&claim.node).and_then(|answer| answer.as_ref().ok());
                let says = answer.and_then(|answer| answer.shards.get(&key));
                says.map(|says| (says.epoch, says.phase.as_str(), says.exposure_seconds))
            };
            // What it says of an earlier claim is of the past.
            let says = says.filter(|(epoch, ..): &(Epoch, _, _)| *epoch == claim.epoch());
            let level = says
                .map_or(Level::Unknown, |(_, phase, exposure)| Level::of(phase, exposure, limit));
            squares.entry(&claim.node).or_default().push(level);
        }
        view.volumes = volumes.iter().map(ToString::to_string).collect();
        let names: BTreeSet<&NodeName> =
            seen.view.nodes.keys().chain(squares.keys().copied()).collect();
        view.nodes = names
            .into_iter()
            .map(|name| {
                let squares = squares.remove(name).unwrap_or_default();
                if name == me.name {
                    let health = me.health(registered(seen, name));
                    NodeCard { health, squares, ..me.card(limit) }
                } else {
                    other(seen, name, answers.get(name), squares)
                }
            })
            .collect();
        for (key, claim) in &seen.view.claims {
            let link = if claim.node == *me.name { None } else { link(seen, &claim.node) };
            view.owners.insert(key.clone(), (claim.node.to_string(), link));
        }
        view
    }

    /// Who has a shard, as far as is known, and where its page is.
    pub(super) fn owner(&self, key: &ShardKey) -> Option<(&str, Option<&str>)> {
        let (name, link) = self.owners.get(key)?;
        Some((name, link.as_deref()))
    }

    /// Nodes that somebody should look at.
    pub(super) fn troubled(&self) -> impl Iterator<Item = &NodeCard> {
        self.nodes.iter().filter(|node| node.health.is_trouble())
    }

    /// What all nodes say together, and how many say something.
    pub(super) fn sums(&self) -> (Sums, u64) {
        let mut all = Sums::default();
        let mut count = 0;
        for sums in self.nodes.iter().filter_map(|node| node.sums) {
            count += 1;
            all.databases += sums.databases;
            all.pending += sums.pending;
            all.failing += sums.failing;
            all.exposure = all.exposure.max(sums.exposure);
            all.month_dollars = plus(all.month_dollars, sums.month_dollars, |a, b| a + b);
            all.stored_bytes = plus(all.stored_bytes, sums.stored_bytes, u64::saturating_add);
        }
        (all, count)
    }
}

fn plus<T>(a: Option<T>, b: Option<T>, add: impl Fn(T, T) -> T) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(add(a, b)),
        (a, b) => a.or(b),
    }
}

impl Myself<'_> {
    fn says(&self) -> BTreeMap<ShardKey, &ShardStatus> {
        let key = |ShardName { volume, shard }: &ShardName| ShardKey {
            volume: volume.clone(),
            shard: *shard,
        };
        self.shards.iter().map(|shard| (key(&shard.key), shard)).collect()
    }

    fn health(&self, registered: Health) -> Health {
        if self.is_trusted { registered } else { Health::Suspended }
    }

    fn card(&self, limit: f64) -> NodeCard {
        let level = |it: &ShardStatus| Level::of(it.phase, it.exposure_seconds, limit);
        NodeCard {
            name: self.name.to_string(),
            is_self: true,
            link: None,
            health: self.health(Health::Well),
            why: None,
            squares: self.shards.iter().map(level).collect(),
            sums: Some(Sums {
                databases: self.shards.iter().map(|shard| shard.databases).sum(),
                pending: self.shards.iter().map(|shard| shard.pending).sum(),
                failing: self.shards.iter().map(|shard| shard.failing).sum(),
                exposure: self.shards.iter().map(|it| it.exposure_seconds).fold(0.0, f64::max),
                month_dollars: self.month_dollars,
                stored_bytes: Some(self.stored_bytes),
            }),
        }
    }
}

/// How a node is by what etcd says.
fn registered(seen: &Sighting, name: &NodeName) -> Health {
    match seen.view.nodes.get(name) {
        Some(node) if node.record.unwell => Health::Unwell,
        Some(node) if node.record.leaving => Health::Leaving,
        _ if seen.view.drains.contains(name) => Health::Drained,
        Some(_) => Health::Well,
        // Its lease has ended; its claims are about to.
        None => Health::Silent,
    }
}

fn other(
    seen: &Sighting,
    name: &NodeName,
    answer: Option<&Result<Answer, String>>,
    squares: Vec<Level>,
) -> NodeCard {
    let registered = registered(seen, name);
    let (health, why, sums) = match answer {
        Some(Ok(answer)) => {
            let says = &answer.node;
            let sums = Sums {
                databases: says.databases,
                pending: says.pending,
                failing: says.failing,
                exposure: says.exposure_seconds,
                month_dollars: says.month_dollars.filter(|dollars| dollars.is_finite()),
                stored_bytes: says.stored_bytes,
            };
            (if says.trusted { registered } else { Health::Suspended }, None, Some(sums))
        }
        Some(Err(why)) => (Health::Silent, Some(why.clone()), None),
        None => (Health::Silent, Some("it serves no HTTP".to_owned()), None),
    };
    let (name, link) = (name.to_string(), link(seen, name));
    NodeCard { name, is_self: false, link, health, why, squares, sums }
}

/// Where a node's page is: nothing but an address of the web becomes a link.
fn link(seen: &Sighting, name: &NodeName) -> Option<String> {
    let address = &seen.view.nodes.get(name)?.record.address;
    let is_web = address.starts_with("http://") || address.starts_with("https://");
    is_web.then(|| format!("{}/", address.trim_end_matches('/')))
}

#[cfg(test)]
#[path = "fleet_tests.rs"]
mod tests;
