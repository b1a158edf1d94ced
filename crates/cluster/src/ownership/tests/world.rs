//! Some nodes and an etcd in virtual time. Requests, replies and the watch take as long as a test says, and may get
//! lost or come twice.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ultrasimple_core::{Epoch, NodeName, ShardId, ShardKey, Timestamp};

use super::super::*;
use crate::Phase;
use crate::records::{MountRecord, NodeRecord};

pub(super) const TTL: Duration = Duration::from_secs(10);

pub(super) fn name(n: usize) -> NodeName {
    format!("n{n}").parse().unwrap()
}

pub(super) fn key(shard: u32) -> ShardKey {
    ShardKey { volume: "v".parse().unwrap(), shard: ShardId(shard) }
}

pub(super) fn record() -> NodeRecord {
    NodeRecord {
        address: String::new(),
        volumes: BTreeMap::from([("v".parse().unwrap(), MountRecord::default())]),
        capacity: 1.0,
        version: "1".into(),
        since: Timestamp::UNIX_EPOCH,
        leaving: false,
        unwell: false,
    }
}

pub(super) fn options(n: usize, shards: u32) -> OwnershipOptions {
    OwnershipOptions { node: name(n), record: record(), shards, generation: 1, lease_ttl: TTL }
}

/// How long something takes: for one copy of it, or none, or several.
pub(super) type Fate = Box<dyn FnMut(&Parcel) -> Vec<Duration>>;

#[derive(Debug, Clone)]
pub(super) enum Parcel {
    Request(usize, Duration, Action),
    Reply(usize, Event),
}

#[derive(Debug, Clone)]
struct Lease {
    ttl: Duration,
    expires: Duration,
}

#[derive(Debug, Default)]
pub(super) struct Etcd {
    pub(super) revision: u64,
    pub(super) view: View,
    pub(super) handovers: BTreeMap<ShardKey, Epoch>,
    leases: BTreeMap<LeaseId, Lease>,
    log: BTreeMap<u64, Vec<Change>>,
    next_lease: i64,
}

impl Etcd {
    pub(super) fn at(revision: u64) -> Self {
        Self { revision, ..Self::default() }
    }

    pub(super) fn commit(&mut self, changes: Vec<Change>) {
        if changes.is_empty() {
            return;
        }
        self.revision += 1;
        for change in &changes {
            self.view.apply(change.clone());
        }
        self.log.insert(self.revision, changes);
    }

    pub(super) fn has_lease(&self, lease: LeaseId) -> bool {
        self.leases.contains_key(&lease)
    }

    pub(super) fn revoke(&mut self, lease: LeaseId) {
        self.leases.remove(&lease);
        let nodes = self.view.nodes.iter().filter(|(_, node)| node.lease == lease);
        let claims = self.view.claims.iter().filter(|(_, claim)| claim.lease == lease);
        let changes = nodes.map(|(node, _)| Change::Node(node.clone(), None));
        let changes = changes.chain(claims.map(|(key, _)| Change::Claim(key.clone(), None)));
        self.commit(changes.collect());
    }

    pub(super) fn expire(&mut self, now: Duration) {
        let dead = self.leases.iter().filter(|(_, lease)| lease.expires <= now);
        for lease in dead.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.revoke(lease);
        }
    }

    fn claim(
        &mut self,
        node: &NodeName,
        lease: LeaseId,
        generation: u64,
        shard: &ShardKey,
    ) -> Claimed {
        if self.view.claims.contains_key(shard) {
            return Claimed::Held;
        }
        let created = Revision(self.revision + 1);
        let claim = Claim { node: node.clone(), generation, lease, created };
        self.commit(vec![Change::Claim(shard.clone(), Some(claim))]);
        Claimed::Won { created, handed_over_by: self.handovers.remove(shard) }
    }

    fn serve(
        &mut self,
        now: Duration,
        sent_at: Duration,
        node: &NodeName,
        action: Action,
    ) -> Event {
        match action {
            Action::GrantLease { ttl } => {
                self.next_lease += 1;
                let lease = LeaseId(self.next_lease);
                self.leases.insert(lease, Lease { ttl, expires: now + ttl });
                Event::LeaseGranted { lease, sent_at, ttl }
            }
            Action::KeepAlive { lease } => match self.leases.get_mut(&lease) {
                Some(held) => {
                    held.expires = now + held.ttl;
                    Event::LeaseKept { lease, sent_at, ttl: held.ttl }
                }
                None => Event::LeaseGone { lease },
            },
            Action::Register { lease, record } => match self.view.nodes.get(node) {
                Some(other) if other.lease != lease => Event::NameTaken { lease: other.lease },
                _ if !self.has_lease(lease) => Event::LeaseGone { lease },
                _ => {
                    let registered = RegisteredNode { record, lease };
                    self.commit(vec![Change::Node(node.clone(), Some(registered))]);
                    Event::Registered { lease }
                }
            },
            Action::List => {
                let revision = Revision(self.revision);
                Event::Listed { sent_at, revision, view: self.view.clone() }
            }
            Action::Claim { lease, .. } if !self.has_lease(lease) => Event::LeaseGone { lease },
            Action::Claim { lease, generation, shards } => {
                assert!(shards.len() <= CLAIMS_AT_ONCE);
                let claim =
                    |shard: ShardKey| (shard.clone(), self.claim(node, lease, generation, &shard));
                let outcomes = shards.into_iter().map(claim).collect();
                Event::Claimed { lease, generation, outcomes }
            }
            Action::Unclaim { shard, created, handover } => {
                if self.view.claims.get(&shard).is_some_and(|claim| claim.created == created) {
                    self.commit(vec![Change::Claim(shard.clone(), None)]);
                    if let Some(epoch) = handover {
                        self.handovers.insert(shard, epoch);
                    }
                }
                Event::Tick
            }
            Action::AskGeneration { generation, .. } => Event::Generation(generation + 1),
            Action::Revoke { lease } => {
                self.revoke(lease);
                Event::LeaseGone { lease }
            }
            Action::Halt { .. } => Event::Tick,
        }
    }
}

pub(super) struct Node {
    pub(super) machine: Ownership,
    pub(super) halted: Option<String>,
    /// What it asked for, in order.
    pub(super) asked: Vec<Action>,
    /// Nothing reaches it, not even time.
    pub(super) is_paused: bool,
    /// Up to where its watch has told it; `None` without one.
    watched: Option<u64>,
    /// It answers [`Phase::Releasing`] by itself.
    pub(super) releases: bool,
}

pub(super) struct World {
    pub(super) now: Duration,
    pub(super) etcd: Etcd,
    pub(super) nodes: Vec<Node>,
    pub(super) fate: Fate,
    parcels: BTreeMap<(Duration, u64), Parcel>,
    sequence: u64,
    /// No two nodes that trust their lease have a shard at once. Off where a test deletes claims by hand.
    pub(super) is_exclusive: bool,
    shards: u32,
}

impl World {
    pub(super) fn new(nodes: usize, shards: u32) -> Self {
        let mut world = Self {
            now: Duration::from_secs(1_000),
            etcd: Etcd::at(10),
            nodes: Vec::new(),
            fate: Box::new(|_| vec![Duration::ZERO]),
            parcels: BTreeMap::new(),
            sequence: 0,
            is_exclusive: true,
            shards,
        };
        for _ in 0..nodes {
            world.join(|_| {});
        }
        world
    }

    /// Another node, and its number.
    pub(super) fn join(&mut self, change: impl FnOnce(&mut OwnershipOptions)) -> usize {
        let n = self.nodes.len();
        let mut options = options(n, self.shards);
        change(&mut options);
        let machine = Ownership::new(options, self.now);
        let node = Node {
            machine,
            halted: None,
            asked: Vec::new(),
            is_paused: false,
            watched: None,
            releases: true,
        };
        self.nodes.push(node);
        self.tell(n, Event::Tick);
        n
    }

    fn send(&mut self, parcel: &Parcel) {
        for delay in (self.fate)(parcel) {
            self.sequence += 1;
            self.parcels.insert((self.now + delay, self.sequence), parcel.clone());
        }
    }

    /// Gives a node an event, whatever else goes on.
    pub(super) fn tell(&mut self, n: usize, event: Event) {
        if matches!(event, Event::WatchLost) {
            self.nodes[n].watched = None;
        }
        let actions = self.nodes[n].machine.handle(self.now, event);
        for action in actions {
            self.nodes[n].asked.push(action.clone());
            if let Action::Halt { reason } = action {
                self.nodes[n].halted = Some(reason);
            } else {
                self.send(&Parcel::Request(n, self.now, action));
            }
        }
        if self.nodes[n].releases {
            let releasing = |(_, assignment): &(&ShardKey, &crate::Assignment)| {
                assignment.phase == Phase::Releasing
            };
            let node = &self.nodes[n].machine;
            let released = node.assignments().iter().filter(releasing);
            let released = released.map(|(shard, assignment)| (shard.clone(), assignment.grant));
            if let Some((shard, grant)) = released.into_iter().next() {
                self.tell(
                    n,
                    Event::Released { shard, epoch: grant.epoch, catalog: Some(grant.epoch) },
                );
            }
        }
    }

    fn deliver(&mut self, parcel: Parcel) {
        match parcel {
            Parcel::Request(n, sent_at, action) => {
                if action == Action::List {
                    self.nodes[n].watched = Some(self.etcd.revision);
                }
                let node = self.nodes[n].machine.options.node.clone();
                let event = self.etcd.serve(self.now, sent_at, &node, action);
                if event != Event::Tick {
                    self.send(&Parcel::Reply(n, event));
                }
            }
            Parcel::Reply(n, _) if self.nodes[n].is_paused => {
                self.sequence += 1;
                let later = self.now + TTL / 8;
                self.parcels.insert((later, self.sequence), parcel);
            }
            Parcel::Reply(n, event) => self.tell(n, event),
        }
    }

    /// Sends what the watches have not told yet.
    fn watch(&mut self) {
        for n in 0..self.nodes.len() {
            let Some(watched) = self.nodes[n].watched else { continue };
            if watched == self.etcd.revision {
                continue;
            }
            let changes =
                self.etcd.log.range(watched + 1..).flat_map(|(_, changes)| changes.clone());
            let (after, revision) = (Revision(watched), Revision(self.etcd.revision));
            let changed = Event::Changed { after, revision, changes: changes.collect() };
            self.nodes[n].watched = Some(self.etcd.revision);
            self.send(&Parcel::Reply(n, changed));
        }
    }

    /// Goes on for so long.
    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.watch();
            self.check();
            let wakeups = self.nodes.iter().filter(|node| !node.is_paused);
            let wakeup = wakeups.filter_map(|node| node.machine.next_wakeup()).min();
            let parcel = self.parcels.first_key_value().map(|((at, _), _)| *at);
            let expiry = self.etcd.leases.values().map(|lease| lease.expires).min();
            let next = [wakeup, parcel, expiry].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(next);
            self.etcd.expire(self.now);
            if parcel.is_some_and(|at| at <= self.now) {
                let (_, parcel) = self.parcels.pop_first().unwrap();
                self.deliver(parcel);
            }
            for n in 0..self.nodes.len() {
                let node = &self.nodes[n];
                let is_due = node.machine.next_wakeup().is_some_and(|at| at <= self.now);
                if is_due && !node.is_paused {
                    self.tell(n, Event::Tick);
                }
            }
        }
    }

    fn check(&self) {
        let mut owners: BTreeMap<&ShardKey, usize> = BTreeMap::new();
        for (n, node) in self.nodes.iter().enumerate() {
            let until = node.machine.trusted_until();
            if self.now >= until {
                continue;
            }
            let lease = node.machine.lease().unwrap();
            let held = self.etcd.leases.get(&lease);
            let is_kept = held.is_some_and(|held| held.expires > until);
            assert!(is_kept || !self.is_exclusive, "n{n} trusts a lease beyond its end");
            for shard in node.machine.assignments().keys() {
                let other = owners.insert(shard, n);
                assert!(other.is_none() || !self.is_exclusive, "{shard}: n{n} and n{other:?}");
            }
        }
    }

    pub(super) fn owned(&self, n: usize) -> BTreeSet<u32> {
        self.nodes[n].machine.assignments().keys().map(|key| key.shard.0).collect()
    }

    /// The first of a node's shards.
    pub(super) fn any_of(&self, n: usize) -> (ShardKey, Epoch) {
        let (shard, assignment) = self.nodes[n].machine.assignments().first_key_value().unwrap();
        (shard.clone(), assignment.grant.epoch)
    }

    /// Each shard is owned by the node that should have it, and by it alone.
    pub(super) fn assert_settled(&self) {
        for shard in (0..self.shards).map(key) {
            let claim = self.etcd.view.claims.get(&shard);
            let desired = Desired::new(&self.etcd.view, [&shard.volume], self.shards);
            assert_eq!(claim.map(|claim| &claim.node), desired.owner(&shard), "{shard}");
            let owners = self.nodes.iter().filter(|node| {
                let assignment = node.machine.assignments().get(&shard);
                assignment.is_some_and(|mine| Some(mine.grant.epoch) == claim.map(Claim::epoch))
                    && self.now < node.machine.trusted_until()
            });
            assert_eq!(owners.count(), usize::from(claim.is_some()), "{shard}");
        }
    }
}
