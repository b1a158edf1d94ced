//! The driver for a node without etcd: the same [`Ownership`], with a grantor in memory that never fails. All shards
//! are its own from the start, until it leaves or is fenced.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use ultrasimple_core::{Clock, NodeName, ShardKey, Timestamp};

use crate::membership::{Controls, membership};
use crate::ownership::{Action, Change, Claim, Claimed, Event, LeaseId, Ownership};
use crate::ownership::{OwnershipOptions, RegisteredNode, Revision, View};
use crate::records::{MountRecord, NodeRecord};
use crate::{Grant, Membership, Report};

const LEASE: LeaseId = LeaseId(1);

/// The time of the machine is not that of the clock: it goes on when there is something to wait for, and at once.
const TTL: Duration = Duration::from_secs(10);

/// Reports that may come between two looks at the assignments.
const AT_ONCE: u32 = 256;

/// Far more than it takes.
const STEPS: usize = 10_000;

/// A membership that has all of these shards from the start. Its driver ends with the last clone of the result.
///
/// All have the same grant. A shard that is fenced stops the node: another one has taken the bucket.
pub fn alone(
    shards: impl IntoIterator<Item = ShardKey>,
    grant: Grant,
    clock: Arc<dyn Clock>,
) -> Membership {
    let (membership, controls) = membership(clock);
    controls.trust_until(Duration::MAX);
    if let Some(mut node) = Alone::new(shards.into_iter().collect(), grant) {
        node.settle();
        controls.assign(node.machine.assignments().clone());
        tokio::spawn(drive(controls, node));
    } else {
        controls.halt("the node has no name".to_owned());
    }
    membership
}

async fn drive(mut controls: Controls, mut node: Alone) {
    let mut unpublished = 0;
    while let Some(report) = controls.next_report().await {
        match report {
            Report::Released { shard, epoch, catalog } => {
                node.take_in(Event::Released { shard, epoch, catalog });
            }
            Report::Fenced { what, .. } => controls.halt(what),
            Report::Leave => node.take_in(Event::Leave),
            Report::Fit { is_fit } => node.take_in(Event::Fit { is_fit }),
        }
        // With thousands of shards, thousands of reports come at once: one look at all shards is for many of them.
        unpublished += 1;
        if unpublished >= AT_ONCE || !controls.has_report() {
            unpublished = 0;
            controls.assign(node.machine.assignments().clone());
        }
        if node.machine.has_left() {
            controls.left();
        }
    }
}

/// The machine, and what it takes for etcd.
struct Alone {
    machine: Ownership,
    now: Duration,
    name: NodeName,
    shards: BTreeSet<ShardKey>,
    grant: Grant,
    revision: Revision,
    events: VecDeque<Event>,
}

impl Alone {
    fn new(shards: BTreeSet<ShardKey>, grant: Grant) -> Option<Self> {
        let name: NodeName = "alone".parse().ok()?;
        let volumes = shards.iter().map(|key| (key.volume.clone(), MountRecord::default()));
        let record = NodeRecord {
            address: String::new(),
            volumes: volumes.collect(),
            capacity: 1.0,
            version: String::new(),
            since: Timestamp::UNIX_EPOCH,
            leaving: false,
            unwell: false,
        };
        let options = OwnershipOptions {
            node: name.clone(),
            record,
            shards: shards.iter().map(|key| key.shard.0 + 1).max().unwrap_or(0),
            generation: grant.epoch.generation(),
            lease_ttl: TTL,
        };
        let now = Duration::ZERO;
        let machine = Ownership::new(options, now);
        let revision = Revision(grant.epoch.revision());
        Some(Self { machine, now, name, shards, grant, revision, events: VecDeque::new() })
    }

    /// Lets time pass until the shards are its own.
    fn settle(&mut self) {
        self.take_in(Event::Tick);
        for _ in 0..STEPS {
            let is_settled = self.machine.assignments().len() == self.shards.len();
            let Some(next) = self.machine.next_wakeup().filter(|_| !is_settled) else { return };
            self.now = next;
            self.take_in(Event::Tick);
        }
    }

    fn take_in(&mut self, event: Event) {
        self.events.push_back(event);
        for _ in 0..STEPS {
            let Some(event) = self.events.pop_front() else { return };
            for action in self.machine.handle(self.now, event) {
                self.answer(action);
            }
        }
    }

    fn change(&mut self, changes: Vec<Change>) {
        let after = self.revision;
        self.revision.0 += 1;
        self.events.push_back(Event::Changed { after, revision: self.revision, changes });
    }

    /// Does what it asks for, at once.
    fn answer(&mut self, action: Action) {
        let sent_at = self.now;
        match action {
            Action::GrantLease { ttl } => {
                self.events.push_back(Event::LeaseGranted { lease: LEASE, sent_at, ttl });
            }
            Action::KeepAlive { lease } => {
                self.events.push_back(Event::LeaseKept { lease, sent_at, ttl: TTL });
            }
            Action::Register { lease, record } => {
                let node = RegisteredNode { record, lease };
                self.change(vec![Change::Node(self.name.clone(), Some(node))]);
            }
            Action::List => {
                let view = View::default();
                self.events.push_back(Event::Listed { sent_at, revision: self.revision, view });
            }
            Action::Claim { lease, generation, shards } => self.claim(lease, generation, shards),
            Action::Unclaim { shard, .. } => self.change(vec![Change::Claim(shard, None)]),
            Action::Revoke { lease } => self.events.push_back(Event::LeaseGone { lease }),
            // A fence has stopped the node already.
            Action::AskGeneration { .. } | Action::Halt { .. } => {}
        }
    }

    fn claim(&mut self, lease: LeaseId, generation: u64, shards: Vec<ShardKey>) {
        // Not the revision of this moment: each claim has the epoch that was given.
        let created = Revision(self.grant.epoch.revision());
        let node = &self.name;
        let claim = |shard: &ShardKey| {
            Change::Claim(
                shard.clone(),
                Some(Claim { node: node.clone(), generation, lease, created }),
            )
        };
        let ours: Vec<_> = shards.into_iter().filter(|key| self.shards.contains(key)).collect();
        let changes = ours.iter().map(claim).collect();
        let won = Claimed::Won { created, handed_over_by: self.grant.handed_over_by };
        let outcomes = ours.into_iter().map(|shard| (shard, won)).collect();
        self.change(changes);
        self.events.push_back(Event::Claimed { lease, generation, outcomes });
    }
}

#[cfg(test)]
mod tests {
    use ultrasimple_core::{Epoch, ShardId, SystemClock};

    use super::*;
    use crate::Phase;

    fn start(shards: u32, epoch: Epoch) -> Membership {
        let key = |shard| ShardKey { volume: "v".parse().unwrap(), shard: ShardId(shard) };
        let grant = Grant { epoch, handed_over_by: Some(Epoch(3)) };
        alone((0..shards).map(key), grant, Arc::new(SystemClock))
    }

    #[tokio::test]
    async fn all_shards_are_its_own_from_the_start() {
        for epoch in [Epoch::new(7, 0), Epoch::new(7, 30), Epoch(5)] {
            let membership = start(2_000, epoch);
            let assignments = membership.assignments();
            assert_eq!(assignments.len(), 2_000);
            let grant = Grant { epoch, handed_over_by: Some(Epoch(3)) };
            assert!(assignments.values().all(|mine| mine.grant == grant));
            assert!(assignments.values().all(|mine| mine.phase == Phase::Owned));
            assert_eq!(membership.lease().remaining(), Duration::MAX);
        }
    }

    #[tokio::test]
    async fn it_leaves_when_all_is_released() {
        let membership = start(300, Epoch::new(7, 0));
        let (mut watch, leaving) = (membership.watch(), membership.clone());
        let left = tokio::spawn(async move { leaving.leave().await });
        let is_releasing = |all: &Arc<crate::Assignments>| {
            all.values().all(|mine| mine.phase == Phase::Releasing) && all.len() == 300
        };
        let releasing = watch.wait_for(is_releasing).await.unwrap().clone();
        for (shard, mine) in releasing.iter() {
            let (shard, epoch) = (shard.clone(), mine.grant.epoch);
            membership.report(Report::Released { shard, epoch, catalog: None }).await;
        }
        left.await.unwrap();
        assert!(membership.assignments().is_empty());
    }

    #[tokio::test]
    async fn a_fence_stops_it() {
        let membership = start(2, Epoch::new(7, 0));
        let shard = membership.assignments().keys().next().unwrap().clone();
        let (epoch, by) = (Epoch::new(7, 0), Epoch::new(8, 0));
        membership.report(Report::Fenced { shard, epoch, by, what: "k has 8".into() }).await;
        assert_eq!(membership.halted().await.reason, "k has 8");
        membership.report(Report::Fit { is_fit: false }).await;
    }
}
