//! etcd's own side: one history of revisions, leases, transactions and watches.
//!
//! It knows the keys of the fleet by what they are, not as text. Each request is one transaction: all of it happens
//! at once, when it arrives.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ultrasimple_cluster::ownership::{
    Change, Claim, Claimed, LeaseId, RegisteredNode, Revision, View,
};
use ultrasimple_cluster::records::NodeRecord;
use ultrasimple_core::{Epoch, NodeName, ShardKey};

/// What a node asks.
#[derive(Debug, Clone)]
pub(crate) enum Request {
    Grant { ttl: Duration },
    KeepAlive { lease: LeaseId },
    Register { node: NodeName, lease: LeaseId, record: NodeRecord },
    List,
    Claim { node: NodeName, lease: LeaseId, generation: u64, shards: Vec<ShardKey> },
    Unclaim { shard: ShardKey, created: Revision, handover: Option<Epoch> },
    Revoke { lease: LeaseId },
}

/// What it is told.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    Granted { lease: LeaseId, ttl: Duration },
    Kept { lease: LeaseId, ttl: Duration },
    Gone { lease: LeaseId },
    Registered { lease: LeaseId },
    NameTaken { lease: LeaseId },
    Listed { revision: Revision, view: View },
    Claimed { lease: LeaseId, generation: u64, outcomes: Vec<(ShardKey, Claimed)> },
    Done,
}

impl Request {
    /// In a few words.
    pub(crate) fn brief(&self) -> String {
        match self {
            Self::Grant { .. } => "asks for a lease".to_owned(),
            Self::KeepAlive { lease } => format!("keeps lease {}", lease.0),
            Self::Register { lease, record, .. } => {
                let leaving = if record.leaving { ", leaving" } else { "" };
                format!("registers under lease {}{leaving}", lease.0)
            }
            Self::List => "lists".to_owned(),
            Self::Claim { lease, generation, shards, .. } => {
                let shards: Vec<_> = shards.iter().map(ToString::to_string).collect();
                let shards = shards.join(" ");
                format!("claims {shards} under lease {}, generation {generation}", lease.0)
            }
            Self::Unclaim { shard, created, handover } => {
                format!("gives back {shard} of {}, hands over {handover:?}", created.0)
            }
            Self::Revoke { lease } => format!("revokes lease {}", lease.0),
        }
    }
}

impl Reply {
    /// In a few words.
    pub(crate) fn brief(&self) -> String {
        match self {
            Self::Granted { lease, .. } => format!("lease {}", lease.0),
            Self::Kept { .. } => "kept".to_owned(),
            Self::Gone { lease } => format!("there is no lease {}", lease.0),
            Self::Registered { .. } => "registered".to_owned(),
            Self::NameTaken { lease } => format!("the name is that of lease {}", lease.0),
            Self::Listed { revision, view } => {
                let nodes: Vec<_> = view.nodes.keys().map(NodeName::as_str).collect();
                let claims = view.claims.len();
                format!("revision {}, {} and {claims} claims", revision.0, nodes.join(" "))
            }
            Self::Claimed { outcomes, .. } => {
                let said = outcomes.iter().map(|(shard, outcome)| match outcome {
                    Claimed::Won { created, handed_over_by: None } => {
                        format!("{shard} won at {}", created.0)
                    }
                    Claimed::Won { created, handed_over_by: Some(by) } => {
                        format!("{shard} won at {}, handed over by {by}", created.0)
                    }
                    Claimed::Held | Claimed::Unknown => format!("{shard} held"),
                });
                said.collect::<Vec<_>>().join(", ")
            }
            Self::Done => "done".to_owned(),
        }
    }
}

#[derive(Debug, Clone)]
struct Lease {
    ttl: Duration,
    ends: Duration,
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub(crate) struct Etcd {
    revision: u64,
    compacted: u64,
    view: View,
    handovers: BTreeMap<ShardKey, Epoch>,
    leases: BTreeMap<LeaseId, Lease>,
    last_lease: i64,
    log: Vec<(u64, Change)>,
}

impl Etcd {
    /// Does what is asked.
    pub(crate) fn apply(&mut self, request: &Request, now: Duration) -> Reply {
        match request {
            Request::Grant { ttl } => {
                self.last_lease += 1;
                let lease = LeaseId(self.last_lease);
                self.leases.insert(lease, Lease { ttl: *ttl, ends: now + *ttl });
                Reply::Granted { lease, ttl: *ttl }
            }
            Request::KeepAlive { lease } => match self.leases.get_mut(lease) {
                Some(kept) => {
                    kept.ends = now + kept.ttl;
                    Reply::Kept { lease: *lease, ttl: kept.ttl }
                }
                None => Reply::Gone { lease: *lease },
            },
            Request::Register { node, lease, record } => self.register(node, *lease, record),
            Request::List => {
                Reply::Listed { revision: Revision(self.revision), view: self.view.clone() }
            }
            Request::Claim { node, lease, generation, shards } => {
                self.claim(node, *lease, *generation, shards)
            }
            Request::Unclaim { shard, created, handover } => {
                let is_it = self.view.claims.get(shard).is_some_and(|it| it.created == *created);
                if is_it {
                    self.revision += 1;
                    self.change(Change::Claim(shard.clone(), None));
                    if let Some(epoch) = handover {
                        self.handovers.insert(shard.clone(), *epoch);
                    }
                }
                Reply::Done
            }
            Request::Revoke { lease } => {
                self.end(*lease);
                Reply::Gone { lease: *lease }
            }
        }
    }

    fn register(&mut self, node: &NodeName, lease: LeaseId, record: &NodeRecord) -> Reply {
        if !self.leases.contains_key(&lease) {
            return Reply::Gone { lease };
        }
        if let Some(there) = self.view.nodes.get(node).filter(|there| there.lease != lease) {
            return Reply::NameTaken { lease: there.lease };
        }
        self.revision += 1;
        let registered = RegisteredNode { record: record.clone(), lease };
        self.change(Change::Node(node.clone(), Some(registered)));
        Reply::Registered { lease }
    }

    fn claim(
        &mut self,
        node: &NodeName,
        lease: LeaseId,
        generation: u64,
        shards: &[ShardKey],
    ) -> Reply {
        if !self.leases.contains_key(&lease) {
            return Reply::Gone { lease };
        }
        let revision = Revision(self.revision + 1);
        let mut outcomes = Vec::new();
        for shard in shards {
            if self.view.claims.contains_key(shard) {
                outcomes.push((shard.clone(), Claimed::Held));
                continue;
            }
            self.revision = revision.0;
            let handed_over_by = self.handovers.remove(shard);
            outcomes.push((shard.clone(), Claimed::Won { created: revision, handed_over_by }));
            let claim = Claim { node: node.clone(), generation, lease, created: revision };
            self.change(Change::Claim(shard.clone(), Some(claim)));
        }
        Reply::Claimed { lease, generation, outcomes }
    }

    /// An operator says that a node is to own nothing, or that it may again.
    pub(crate) fn drain(&mut self, node: &NodeName, is_drained: bool) {
        if self.view.drains.contains(node) != is_drained {
            self.revision += 1;
            self.change(Change::Drain(node.clone(), is_drained));
        }
    }

    fn change(&mut self, change: Change) {
        self.view.apply(change.clone());
        self.log.push((self.revision, change));
    }

    /// When a lease ends, as things are.
    pub(crate) fn ends(&self, lease: LeaseId) -> Option<Duration> {
        self.leases.get(&lease).map(|lease| lease.ends)
    }

    /// A lease ends, and all that is bound to it. Tells whether there was one.
    pub(crate) fn end(&mut self, lease: LeaseId) -> bool {
        if self.leases.remove(&lease).is_none() {
            return false;
        }
        let nodes = self.view.nodes.iter().filter(|(_, node)| node.lease == lease);
        let nodes: Vec<_> = nodes.map(|(name, _)| Change::Node(name.clone(), None)).collect();
        let claims = self.view.claims.iter().filter(|(_, claim)| claim.lease == lease);
        let claims: Vec<_> = claims.map(|(shard, _)| Change::Claim(shard.clone(), None)).collect();
        if nodes.len() + claims.len() > 0 {
            self.revision += 1;
            nodes.into_iter().chain(claims).for_each(|change| self.change(change));
        }
        true
    }

    /// Another member leads: every lease begins anew.
    pub(crate) fn elect(&mut self, now: Duration) {
        for lease in self.leases.values_mut() {
            lease.ends = now + lease.ttl;
        }
    }

    /// Forgets what led to the present state.
    pub(crate) fn compact(&mut self) {
        self.compacted = self.revision;
        self.log.clear();
    }

    /// Goes back to what it was, as when it is restored from a snapshot. Leases begin anew.
    pub(crate) fn restore(&mut self, snapshot: &Self, now: Duration) {
        let last_lease = self.last_lease;
        self.clone_from(snapshot);
        // Their numbers are random.
        self.last_lease = last_lease;
        self.elect(now);
        self.compact();
    }

    /// What changed after a revision. `None`: that is not known any more.
    pub(crate) fn since(&self, after: Revision) -> Option<(Revision, Vec<Change>)> {
        if after.0 < self.compacted || after.0 > self.revision {
            return None;
        }
        let from = self.log.partition_point(|(revision, _)| *revision <= after.0);
        let changes = self.log.iter().skip(from).map(|(_, change)| change.clone()).collect();
        Some((Revision(self.revision), changes))
    }

    /// Whether the last owner of a shard let go of it in order.
    pub(crate) fn is_handed_over(&self, shard: &ShardKey) -> bool {
        self.handovers.contains_key(shard)
    }

    pub(crate) fn revision(&self) -> Revision {
        Revision(self.revision)
    }

    pub(crate) fn view(&self) -> &View {
        &self.view
    }

    /// The leases that there are.
    pub(crate) fn leases(&self) -> BTreeSet<LeaseId> {
        self.leases.keys().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use ultrasimple_core::{ShardId, Timestamp};

    use super::*;

    const TTL: Duration = Duration::from_secs(10);

    fn shard(number: u32) -> ShardKey {
        ShardKey { volume: "v".parse().unwrap(), shard: ShardId(number) }
    }

    fn record() -> NodeRecord {
        NodeRecord {
            address: String::new(),
            volumes: BTreeMap::new(),
            capacity: 1.0,
            version: "1".into(),
            since: Timestamp::UNIX_EPOCH,
            leaving: false,
            unwell: false,
        }
    }

    fn grant(etcd: &mut Etcd) -> LeaseId {
        match etcd.apply(&Request::Grant { ttl: TTL }, Duration::ZERO) {
            Reply::Granted { lease, .. } => lease,
            other => panic!("{other:?}"),
        }
    }

    fn claim(etcd: &mut Etcd, node: &str, lease: LeaseId, shards: &[u32]) -> Vec<Claimed> {
        let shards = shards.iter().map(|number| shard(*number)).collect();
        let request = Request::Claim { node: node.parse().unwrap(), lease, generation: 1, shards };
        match etcd.apply(&request, Duration::ZERO) {
            Reply::Claimed { outcomes, .. } => outcomes.into_iter().map(|(_, what)| what).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_claim_is_had_by_one_and_consumes_the_handover() {
        let mut etcd = Etcd::default();
        let (a, b) = (grant(&mut etcd), grant(&mut etcd));
        let created = Revision(1);
        let won = Claimed::Won { created, handed_over_by: None };
        assert_eq!(claim(&mut etcd, "a", a, &[0, 1]), [won, won]);
        assert_eq!(claim(&mut etcd, "b", b, &[1]), [Claimed::Held]);
        let handover = Some(Epoch::new(1, 1));
        let other = Request::Unclaim { shard: shard(1), created: Revision(9), handover };
        etcd.apply(&other, Duration::ZERO);
        assert_eq!(claim(&mut etcd, "b", b, &[1]), [Claimed::Held]);
        etcd.apply(&Request::Unclaim { shard: shard(1), created, handover }, Duration::ZERO);
        let won = Claimed::Won { created: Revision(3), handed_over_by: handover };
        assert_eq!(claim(&mut etcd, "b", b, &[1]), [won]);
        etcd.end(a);
        let won = Claimed::Won { created: Revision(5), handed_over_by: None };
        assert_eq!(claim(&mut etcd, "b", b, &[0]), [won]);
    }

    #[test]
    fn a_lease_takes_with_it_all_that_is_bound_to_it() {
        let mut etcd = Etcd::default();
        let (a, b) = (grant(&mut etcd), grant(&mut etcd));
        let node: NodeName = "n".parse().unwrap();
        let mut register = |lease| {
            let request = Request::Register { node: node.clone(), lease, record: record() };
            (etcd.apply(&request, Duration::ZERO), etcd.clone())
        };
        assert!(matches!(register(a).0, Reply::Registered { .. }));
        assert!(matches!(register(a).0, Reply::Registered { .. }));
        let (reply, mut etcd) = register(b);
        assert!(matches!(reply, Reply::NameTaken { lease } if lease == a));
        claim(&mut etcd, "n", a, &[0]);
        let before = etcd.revision();
        assert_eq!(etcd.ends(a), Some(TTL));
        let kept = etcd.apply(&Request::KeepAlive { lease: a }, TTL / 2);
        assert!(matches!(kept, Reply::Kept { .. }));
        assert_eq!(etcd.ends(a), Some(TTL + TTL / 2));
        assert!(etcd.end(a) && !etcd.end(a));
        assert_eq!(etcd.view(), &View::default());
        let (revision, changes) = etcd.since(before).unwrap();
        assert_eq!((revision.0, changes.len()), (before.0 + 1, 2));
        let kept = etcd.apply(&Request::KeepAlive { lease: a }, TTL);
        assert!(matches!(kept, Reply::Gone { .. }));
    }

    #[test]
    fn a_watch_gets_what_changed_unless_it_was_compacted() {
        let mut etcd = Etcd::default();
        let lease = grant(&mut etcd);
        claim(&mut etcd, "a", lease, &[0]);
        claim(&mut etcd, "a", lease, &[1, 2]);
        let (revision, changes) = etcd.since(Revision(1)).unwrap();
        assert_eq!((revision, changes.len()), (Revision(2), 2));
        let mut view = View::default();
        etcd.since(Revision(0)).unwrap().1.into_iter().for_each(|change| view.apply(change));
        assert_eq!(&view, etcd.view());
        let snapshot = etcd.clone();
        etcd.compact();
        assert!(etcd.since(Revision(1)).is_none() && etcd.since(Revision(2)).is_some());
        claim(&mut etcd, "a", lease, &[3]);
        etcd.restore(&snapshot, TTL);
        assert_eq!((etcd.revision(), etcd.ends(lease)), (Revision(2), Some(TTL * 2)));
        assert!(etcd.since(Revision(3)).is_none(), "that revision is not there (yet)");
    }
}
