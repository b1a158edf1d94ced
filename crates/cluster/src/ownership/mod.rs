//! The decision: what a node asks of etcd and which shards it takes for its own, as a pure state machine.
//!
//! Time comes in with each event; I/O goes out as [`Action`]s, whose ends come back as [`Event`]s. The driver may
//! lose, delay or repeat an end: whatever the machine needs to know it can learn from the view of etcd that
//! [`Event::Listed`] and [`Event::Changed`] give.
//!
//! ```text
//! lease:  asked for ──▶ held, kept alive ──▶ (not trusted) ──▶ given up: all shards are dropped
//! key:    put under the lease, again whenever the view does not show it as it should be
//! shard:  wanted ──▶ claiming ──▶ owned ──▶ releasing ──▶ letting go ──▶ another's
//!                                   └─ fenced: doubted ────▲
//! ```
//!
//! `lease` has the first two, `shards` what is under way with each shard, `desired` who should own what and whether
//! that has settled, `plan` what is to be done about all of it, `view` what is known of etcd.

mod attempt;
mod desired;
mod lease;
mod messages;
mod plan;
mod shards;
mod view;

use std::time::Duration;

use attempt::{Attempt, Pace};
use desired::Settling;
use lease::Tenure;
use shards::Shards;
use ultrasimple_core::{Epoch, NodeName, ShardKey, VolumeName};
use view::{Freshness, Seen};

use crate::Assignments;

pub use desired::Desired;
pub use messages::{Action, Claimed, Event, LeaseId, OwnershipOptions, Request, Revision};
pub use view::{Change, Claim, RegisteredNode, View};

/// Claims in one [`Action::Claim`], at most: each is an operation of one transaction, and etcd takes 128 of them.
pub const CLAIMS_AT_ONCE: usize = 64;

/// Claims that are given back in one transaction, at most.
pub const UNCLAIMS_AT_ONCE: usize = 64;

/// How long the replicator may take to let go of a shard before it is taken away from it.
pub const RELEASE_LIMIT: Duration = Duration::from_mins(2);

/// Where the node is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It takes part.
    Joined,
    /// It has left in order.
    Left,
    /// It must stop.
    Halted,
}

impl Stage {
    fn is_over(self) -> bool {
        self != Self::Joined
    }
}

/// See the module.
#[derive(Debug)]
pub struct Ownership {
    options: OwnershipOptions,
    /// The volumes that this node mounts.
    volumes: Vec<VolumeName>,
    pace: Pace,
    now: Duration,
    stage: Stage,
    leaving_since: Option<Duration>,
    /// When a leaving node had let go of its last shard.
    let_go_at: Option<Duration>,
    generation: u64,
    /// The latest epoch that fenced this node, while the generation to go on with is not known.
    fenced_by: Option<Epoch>,
    generation_attempt: Attempt,
    tenure: Tenure,
    seen: Seen,
    settling: Settling,
    /// As of the last time that it mattered; not up to date when it is dirty.
    desired: Desired,
    is_dirty: bool,
    shards: Shards,
    assignments: Assignments,
    #[cfg(debug_assertions)]
    granted: std::collections::BTreeMap<ShardKey, Epoch>,
}

impl Ownership {
    /// A machine that begins to join at `now` (monotonic clock): give it a [`Event::Tick`].
    pub fn new(options: OwnershipOptions, now: Duration) -> Self {
        Self {
            volumes: options.record.volumes.keys().cloned().collect(),
            pace: Pace::new(options.lease_ttl),
            now,
            stage: Stage::Joined,
            leaving_since: None,
            let_go_at: None,
            generation: options.generation,
            fenced_by: None,
            generation_attempt: Attempt::default(),
            tenure: Tenure::default(),
            seen: Seen::default(),
            settling: Settling::default(),
            desired: Desired::default(),
            is_dirty: true,
            shards: Shards::default(),
            assignments: Assignments::default(),
            options,
            #[cfg(debug_assertions)]
            granted: std::collections::BTreeMap::new(),
        }
    }

    /// Takes in what happened, and says what to do. Time never goes back.
    pub fn handle(&mut self, now: Duration, event: Event) -> Vec<Action> {
        self.now = self.now.max(now);
        let now = self.now;
        let mut actions = Vec::new();
        if self.stage.is_over() {
            return actions;
        }
        actions.extend(self.take_in(now, event));
        self.plan(now, &mut actions);
        #[cfg(debug_assertions)]
        self.check(now);
        actions
    }

    fn take_in(&mut self, now: Duration, event: Event) -> Option<Action> {
        match event {
            Event::Tick => {}
            Event::LeaseGranted { lease, sent_at, ttl } => {
                return self.on_lease_granted(lease, sent_at, ttl);
            }
            Event::LeaseKept { lease, sent_at, ttl } => self.on_lease_kept(lease, sent_at, ttl),
            Event::LeaseGone { lease } => self.on_lease_gone(lease),
            Event::Registered { lease } => self.on_registered(now, lease),
            Event::NameTaken { lease } => return self.on_name_taken(now, lease),
            Event::Listed { sent_at, revision, view } => {
                self.on_listed(now, sent_at, revision, view);
            }
            Event::Changed { after, revision, changes } => {
                self.on_changed(now, after, revision, changes);
            }
            Event::WatchLost => self.seen.lost(now, self.pace),
            Event::Claimed { lease, generation, outcomes } => {
                self.on_claimed(now, lease, generation, outcomes);
            }
            Event::Failed(request) => self.failed(now, &request),
            Event::Released { shard, epoch, catalog } => self.on_released(&shard, epoch, catalog),
            Event::Fenced { shard, epoch, by } => self.on_fenced(now, &shard, epoch, by),
            Event::Generation(generation) => self.on_generation(generation),
            Event::Fit { is_fit } => {
                if self.options.record.unwell == is_fit {
                    self.options.record.unwell = !is_fit;
                    self.on_key_changed();
                }
            }
            Event::Leave => self.on_leave(now),
        }
        None
    }

    fn on_listed(&mut self, now: Duration, sent_at: Duration, revision: Revision, view: View) {
        match self.seen.freshness(sent_at, revision) {
            Freshness::Stale => return,
            Freshness::Current => {}
            Freshness::WentBack => {
                // The same revisions come again: the same epochs must not.
                self.ask_generation(Epoch::new(self.generation, self.seen.revision.0));
                self.give_up_lease();
            }
        }
        let node = &self.options.node;
        let is_other_key = self.seen.view.nodes.get(node) != view.nodes.get(node);
        self.seen.replace(now, sent_at, revision, view);
        let claims = self.seen.view.claims.values();
        self.heed(claims.map(|claim| claim.generation).max());
        if is_other_key {
            self.on_key_changed();
        }
        let lease = self.lease();
        let mine = self.seen.view.claims.iter().filter(|(_, claim)| Some(claim.lease) == lease);
        let mut shards: Vec<ShardKey> = mine.map(|(shard, _)| shard.clone()).collect();
        shards.extend(self.shards.slots.keys().cloned());
        self.shards.take_seen(revision);
        for shard in shards {
            self.reconcile(&shard);
        }
        self.settle_doubts(sent_at);
        self.is_dirty = true;
        self.settling.observe(now, self.pace, &self.seen.view, &self.volumes);
    }

    fn on_changed(
        &mut self,
        now: Duration,
        after: Revision,
        revision: Revision,
        changes: Vec<Change>,
    ) {
        if revision <= self.seen.revision {
            return;
        }
        if after > self.seen.revision {
            return self.seen.lost(now, self.pace);
        }
        let (mut shards, mut latest) = (Vec::new(), None);
        let mut is_membership = false;
        for change in changes {
            match &change {
                Change::Node(node, _) => {
                    is_membership = true;
                    if *node == self.options.node {
                        self.on_key_changed();
                    }
                }
                Change::Drain(..) => is_membership = true,
                Change::Claim(shard, claim) => {
                    shards.push(shard.clone());
                    latest = latest.max(claim.as_ref().map(|claim| claim.generation));
                }
            }
            self.seen.view.apply(change);
        }
        self.heed(latest);
        self.seen.known(now, revision);
        for (created, shard) in self.shards.take_seen(revision) {
            if !shards.contains(&shard) {
                // It was made, and etcd never heard of it: its history was set back.
                self.ask_generation(Epoch::new(self.generation, created.0));
                shards.push(shard);
            }
        }
        for shard in shards {
            self.reconcile(&shard);
        }
        if is_membership && self.settling.observe(now, self.pace, &self.seen.view, &self.volumes) {
            self.is_dirty = true;
        }
    }

    fn on_generation(&mut self, generation: u64) {
        // One that is not greater answers an earlier question.
        if generation > self.generation {
            self.generation = generation;
            self.fenced_by = None;
            self.generation_attempt.done();
        }
    }

    /// Others claim under a later generation: what we claimed from now on would be older than theirs.
    fn heed(&mut self, generation: Option<u64>) {
        if let Some(later) = generation.filter(|&generation| generation > self.generation) {
            self.ask_generation(Epoch::new(later, 0));
        }
    }

    fn ask_generation(&mut self, fenced_by: Epoch) {
        if self.fenced_by.is_none() {
            self.generation_attempt.done();
        }
        self.fenced_by = self.fenced_by.max(Some(fenced_by));
    }

    fn on_leave(&mut self, now: Duration) {
        if self.leaving_since.is_none() {
            self.leaving_since = Some(now);
            self.options.record.leaving = true;
            self.on_key_changed();
            if self.lease().is_none() {
                self.stage = Stage::Left;
            }
        }
    }

    fn halt(&mut self, reason: String) -> Action {
        self.forget_shards();
        self.stage = Stage::Halted;
        Action::Halt { reason }
    }

    /// The shards of this node. Ones that may not be acted upon are here as long as the lease may still be kept.
    ///
    /// A shard that is to be released stays so until it is gone, even if this node should have it again by then.
    pub fn assignments(&self) -> &Assignments {
        &self.assignments
    }

    /// Until when they may be acted upon (monotonic clock). Zero without a lease.
    pub fn trusted_until(&self) -> Duration {
        let held = self.tenure.held.as_ref().filter(|_| !self.stage.is_over());
        held.map_or(Duration::ZERO, lease::Held::trusted_until)
    }

    /// How many shards of the volumes that this node mounts have no claim in etcd, as far as it was told. None before
    /// it was told anything.
    pub fn unowned(&self) -> u64 {
        if self.seen.revision == Revision::default() {
            return 0;
        }
        let claimed = |volume: &VolumeName| {
            let of_volume = self.seen.view.claims.keys().filter(|shard| shard.volume == *volume);
            of_volume.count() as u64
        };
        let all = u64::from(self.options.shards);
        self.volumes.iter().map(|volume| all.saturating_sub(claimed(volume))).sum()
    }

    /// Whether etcd has the node's key, bound to the node's lease.
    pub fn is_registered(&self) -> bool {
        let shown = self.seen.view.nodes.get(&self.options.node);
        self.lease().is_some() && shown.is_some_and(|shown| Some(shown.lease) == self.lease())
    }

    /// Whether the node has left: it has no shard and no lease.
    pub fn has_left(&self) -> bool {
        self.stage == Stage::Left
    }

    /// What it knows of etcd.
    pub fn view(&self) -> &View {
        &self.seen.view
    }

    /// Whether a watch tells it of every change in etcd.
    pub fn is_synced(&self) -> bool {
        self.seen.is_synced
    }

    /// Who should own a shard, as far as this node knows.
    pub fn desired(&self, shard: &ShardKey) -> Option<NodeName> {
        let candidates = desired::candidates(&self.seen.view, &shard.volume);
        let hash = crate::placement::ShardHash::of(&shard.volume, shard.shard);
        (shard.shard.0 < self.options.shards).then(|| candidates.owner(hash).cloned())?
    }

    #[cfg(not(debug_assertions))]
    #[expect(clippy::unused_self, reason = "has something to do in debug builds")]
    fn note_grant(&mut self, _: &ShardKey, _: Epoch) {}

    /// No epoch is ever granted twice.
    #[cfg(debug_assertions)]
    fn note_grant(&mut self, shard: &ShardKey, epoch: Epoch) {
        let before = self.granted.insert(shard.clone(), epoch);
        assert!(before.is_none_or(|before| before < epoch), "{shard}: {epoch} after {before:?}");
    }

    /// What holds after each event.
    #[cfg(debug_assertions)]
    fn check(&self, now: Duration) {
        use crate::Phase;
        use shards::Slot;

        let lease = self.lease();
        assert!(lease.is_some() || self.assignments.is_empty(), "shards without a lease");
        for (shard, assignment) in &self.assignments {
            let (created, phase) = match self.shards.slots.get(shard) {
                Some(Slot::Owned { created }) => (*created, Phase::Owned),
                Some(Slot::Releasing { created, .. }) => (*created, Phase::Releasing),
                other => unreachable!("{shard} is assigned, but {other:?}"),
            };
            let epoch = assignment.grant.epoch;
            assert_eq!((epoch.revision(), assignment.phase), (created.0, phase), "{shard}");
            let claim = self.seen.view.claims.get(shard);
            let is_mine =
                claim.is_some_and(|claim| Some(claim.lease) == lease && claim.epoch() == epoch);
            assert!(is_mine || created > self.seen.revision, "{shard} is not ours: {claim:?}");
        }
        let wakeup = self.next_wakeup();
        assert!(wakeup.is_none_or(|at| at > now), "would spin: {wakeup:?} at {now:?}");
    }
}

#[cfg(test)]
mod tests;
