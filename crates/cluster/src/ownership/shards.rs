//! What is under way with each shard, and how it is brought together with what the view says.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ultrasimple_core::{Epoch, ShardKey};

use super::attempt::Attempt;
use super::messages::{Action, Claimed, LeaseId, Request, Revision};
use super::view::Claim;
use super::{Ownership, RELEASE_LIMIT};
use crate::{Assignment, Grant, Phase};

/// A shard with which something is under way.
#[derive(Debug, Clone, Copy)]
pub(super) enum Slot {
    /// Its claim was asked for. A claim that shows in the view before the reply waits for it: the reply knows more.
    Claiming { until: Duration },
    /// It is assigned.
    Owned { created: Revision },
    /// It is assigned, and the replicator was told to let go.
    Releasing { created: Revision, until: Duration },
    /// The bucket has a later epoch, of a claim that etcd should know of: whether it does, a list will tell.
    Doubted { created: Revision, by: Epoch, since: Duration },
    /// It is not assigned any more, and its claim is to go.
    LettingGo { created: Revision, handover: Option<Epoch>, attempt: Attempt },
}

impl Slot {
    fn created(self) -> Option<Revision> {
        match self {
            Self::Claiming { .. } => None,
            Self::Owned { created }
            | Self::Releasing { created, .. }
            | Self::Doubted { created, .. }
            | Self::LettingGo { created, .. } => Some(created),
        }
    }

    fn is_assigned(self) -> bool {
        matches!(self, Self::Owned { .. } | Self::Releasing { .. })
    }

    fn due_at(self) -> Option<Duration> {
        match self {
            Self::Claiming { until } | Self::Releasing { until, .. } => Some(until),
            Self::LettingGo { attempt, .. } => Some(attempt.due_at()),
            Self::Owned { .. } | Self::Doubted { .. } => None,
        }
    }
}

/// A shard that could not be had, or not be kept, and is to be left alone for a while.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    failures: u32,
    not_before: Duration,
}

/// All shards with which something is under way.
#[derive(Debug, Default)]
pub(super) struct Shards {
    pub(super) slots: BTreeMap<ShardKey, Slot>,
    pub(super) claiming: usize,
    patience: BTreeMap<ShardKey, Patience>,
    /// One at most per shard: when to look at it again.
    timers: BTreeSet<(Duration, ShardKey)>,
    timer_of: BTreeMap<ShardKey, Duration>,
    /// Unowned, and this node should own them.
    pub(super) wanted: BTreeSet<ShardKey>,
    /// Owned, and another node should.
    pub(super) unwanted: BTreeSet<ShardKey>,
}

impl Shards {
    fn set_timer(&mut self, shard: &ShardKey, at: Option<Duration>) {
        if let Some(before) = self.timer_of.remove(shard) {
            self.timers.remove(&(before, shard.clone()));
        }
        if let Some(at) = at {
            self.timer_of.insert(shard.clone(), at);
            self.timers.insert((at, shard.clone()));
        }
    }

    pub(super) fn next_timer(&self) -> Option<Duration> {
        self.timers.first().map(|(at, _)| *at)
    }

    fn next_due(&mut self, now: Duration) -> Option<ShardKey> {
        let (at, _) = self.timers.first()?;
        if *at > now {
            return None;
        }
        let (_, shard) = self.timers.pop_first()?;
        self.timer_of.remove(&shard);
        Some(shard)
    }

    /// What failed before does not matter any more.
    fn forgive(&mut self, shard: &ShardKey) {
        if self.patience.remove(shard).is_some() && !self.slots.contains_key(shard) {
            self.set_timer(shard, None);
        }
    }

    fn set(&mut self, shard: &ShardKey, slot: Option<Slot>) {
        let is_claiming = |slot: Option<Slot>| matches!(slot, Some(Slot::Claiming { .. }));
        let before = match slot {
            Some(slot) => self.slots.insert(shard.clone(), slot),
            None => self.slots.remove(shard),
        };
        self.claiming += usize::from(is_claiming(slot));
        self.claiming -= usize::from(is_claiming(before));
        let at = match slot {
            Some(slot) => slot.due_at(),
            None => self.patience.get(shard).map(|patience| patience.not_before),
        };
        self.set_timer(shard, at);
    }
}

impl Ownership {
    /// The claim in the view, if it is ours under our lease.
    fn mine(&self, shard: &ShardKey) -> Option<&Claim> {
        let claim = self.seen.view.claims.get(shard)?;
        let is_mine = claim.node == self.options.node && Some(claim.lease) == self.lease();
        is_mine.then_some(claim)
    }

    pub(super) fn set_slot(&mut self, shard: &ShardKey, slot: Option<Slot>) {
        self.shards.set(shard, slot);
        if !slot.is_some_and(Slot::is_assigned) {
            self.assignments.remove(shard);
        }
        self.sort(shard);
    }

    /// Whether the shard is to be claimed or given away.
    pub(super) fn sort(&mut self, shard: &ShardKey) {
        let slot = self.shards.slots.get(shard);
        let owner = self.desired.owner(shard);
        let is_for_me = owner == Some(&self.options.node);
        let rests = self.shards.patience.get(shard).is_some_and(|rest| rest.not_before > self.now);
        let is_unowned = !self.seen.view.claims.contains_key(shard);
        let is_wanted = is_for_me && slot.is_none() && is_unowned && !rests;
        let is_unwanted = owner.is_some() && !is_for_me && matches!(slot, Some(Slot::Owned { .. }));
        set_member(&mut self.shards.wanted, shard, is_wanted);
        set_member(&mut self.shards.unwanted, shard, is_unwanted);
    }

    fn own(&mut self, shard: &ShardKey, grant: Grant, created: Revision) {
        // A request of before the generation was raised may be carried out late: its epoch is of no use any more.
        let is_late = grant.epoch.generation() < self.generation;
        // The owner before had a later generation: ours would be of no use either.
        let is_early = grant.handed_over_by.filter(|&before| before > grant.epoch);
        if let Some(before) = is_early {
            self.ask_generation(before);
        }
        if self.leaving_since.is_some() || is_late || is_early.is_some() {
            // Nothing was done under it: what the owner before left is still final.
            return self.let_go(shard, created, grant.handed_over_by);
        }
        self.note_grant(shard, grant.epoch);
        self.set_slot(shard, Some(Slot::Owned { created }));
        self.assignments.insert(shard.clone(), Assignment { grant, phase: Phase::Owned });
    }

    pub(super) fn let_go(&mut self, shard: &ShardKey, created: Revision, handover: Option<Epoch>) {
        let attempt = Attempt::default();
        self.set_slot(shard, Some(Slot::LettingGo { created, handover, attempt }));
    }

    /// Brings what is under way with a shard together with what the view says of it.
    pub(super) fn reconcile(&mut self, shard: &ShardKey) {
        let revision = self.seen.revision;
        let mine = self.mine(shard).map(|claim| (claim.created, claim.epoch()));
        let slot = self.shards.slots.get(shard).copied();
        let created = slot.and_then(Slot::created);
        if let Some(created) = created
            && mine.is_none_or(|(seen, _)| seen != created)
        {
            if created > revision {
                // The view is not there yet.
                return self.sort(shard);
            }
            self.set_slot(shard, None);
        }
        if mine.is_none() && self.seen.view.claims.contains_key(shard) {
            // Nothing here can go round in circles: it is somebody else's turn.
            self.shards.forgive(shard);
        }
        match (self.shards.slots.get(shard), mine) {
            (None, Some((created, epoch))) => {
                self.own(shard, Grant { epoch, handed_over_by: None }, created);
            }
            _ => self.sort(shard),
        }
    }

    pub(super) fn on_claimed(
        &mut self,
        now: Duration,
        lease: LeaseId,
        generation: u64,
        outcomes: Vec<(ShardKey, Claimed)>,
    ) {
        if self.lease() != Some(lease) {
            return;
        }
        for (shard, outcome) in outcomes {
            let slot = self.shards.slots.get(&shard).copied();
            let is_asked = matches!(slot, Some(Slot::Claiming { .. }));
            match outcome {
                Claimed::Won { created, handed_over_by } if is_asked => {
                    let is_still_there = created > self.seen.revision
                        || self.mine(&shard).is_some_and(|claim| claim.created == created);
                    if is_still_there {
                        let epoch = Epoch::new(generation, created.0);
                        self.own(&shard, Grant { epoch, handed_over_by }, created);
                    } else {
                        self.give_up_claiming(now, &shard);
                    }
                }
                Claimed::Held | Claimed::Unknown if is_asked => {
                    self.give_up_claiming(now, &shard);
                }
                Claimed::Won { .. } | Claimed::Held | Claimed::Unknown => {}
            }
        }
    }

    /// No reply, or no use. If the claim is there after all, it shows in the view.
    fn give_up_claiming(&mut self, now: Duration, shard: &ShardKey) {
        self.rest(now, shard);
        self.set_slot(shard, None);
        self.reconcile(shard);
    }

    /// Leaves a shard alone for a while: longer each time.
    fn rest(&mut self, now: Duration, shard: &ShardKey) {
        let before = self.shards.patience.get(shard);
        let before = before.filter(|before| now < before.not_before + self.pace.forgets_failures());
        let failures = before.map_or(0, |before| before.failures).saturating_add(1);
        let not_before = now + self.pace.pause(failures);
        self.shards.patience.insert(shard.clone(), Patience { failures, not_before });
    }

    /// All shards whose time has come.
    pub(super) fn look_at_due(&mut self, now: Duration, actions: &mut Vec<Action>) {
        while let Some(shard) = self.shards.next_due(now) {
            match self.shards.slots.get(&shard).copied() {
                Some(Slot::Claiming { .. }) => self.give_up_claiming(now, &shard),
                Some(Slot::Releasing { created, .. }) => self.let_go(&shard, created, None),
                Some(Slot::LettingGo { created, handover, mut attempt }) => {
                    attempt.begin(now, self.pace);
                    self.shards.set(&shard, Some(Slot::LettingGo { created, handover, attempt }));
                    actions.push(Action::Unclaim { shard, created, handover });
                }
                Some(Slot::Owned { .. } | Slot::Doubted { .. }) => {}
                None => self.sort(&shard),
            }
        }
    }

    pub(super) fn on_unclaim_failed(&mut self, now: Duration, shard: &ShardKey) {
        if let Some(Slot::LettingGo { created, handover, mut attempt }) =
            self.shards.slots.get(shard).copied()
        {
            attempt.failed(now, self.pace);
            self.shards.set(shard, Some(Slot::LettingGo { created, handover, attempt }));
        }
    }

    pub(super) fn on_released(&mut self, shard: &ShardKey, epoch: Epoch, catalog: Option<Epoch>) {
        let is_it = self.assignments.get(shard).is_some_and(|mine| mine.grant.epoch == epoch);
        if let (true, Some(created)) =
            (is_it, self.shards.slots.get(shard).copied().and_then(Slot::created))
        {
            self.let_go(shard, created, catalog);
        }
    }

    pub(super) fn on_fenced(&mut self, now: Duration, shard: &ShardKey, epoch: Epoch, by: Epoch) {
        let is_it = self.assignments.get(shard).is_some_and(|mine| mine.grant.epoch == epoch);
        let created = self.shards.slots.get(shard).copied().and_then(Slot::created);
        let (true, Some(created)) = (is_it, created) else { return };
        self.rest(now, shard);
        if by.generation() == epoch.generation() && by > epoch {
            // It is by a claim of the same etcd, and later than ours. Most likely ours is gone, and we have not heard.
            self.set_slot(shard, Some(Slot::Doubted { created, by, since: now }));
            self.seen.lost(now, self.pace);
        } else {
            self.let_go(shard, created, None);
            if by.generation() > self.generation {
                self.ask_generation(by);
            }
        }
    }

    /// After a list: claims that are still there although the bucket has a later epoch of the same generation. etcd
    /// has lost that later one, so its history was set back.
    pub(super) fn settle_doubts(&mut self, listed: Duration) {
        let doubts = self.shards.slots.iter().filter_map(|(shard, slot)| match *slot {
            Slot::Doubted { created, by, since } if since <= listed => {
                Some((shard.clone(), created, by))
            }
            _ => None,
        });
        for (shard, created, by) in doubts.collect::<Vec<_>>() {
            self.let_go(&shard, created, None);
            if by.generation() >= self.generation {
                self.ask_generation(by);
            }
        }
    }

    pub(super) fn begin_claims(&mut self, now: Duration, shards: &[ShardKey]) {
        for shard in shards {
            let until = now + self.pace.patience();
            self.set_slot(shard, Some(Slot::Claiming { until }));
        }
    }

    pub(super) fn begin_release(&mut self, now: Duration, shard: &ShardKey) {
        if let Some(Slot::Owned { created }) = self.shards.slots.get(shard).copied()
            && let Some(assignment) = self.assignments.get_mut(shard)
        {
            assignment.phase = Phase::Releasing;
            let until = now + RELEASE_LIMIT;
            self.set_slot(shard, Some(Slot::Releasing { created, until }));
        }
    }

    /// Nothing is under way any more: the lease is gone.
    pub(super) fn forget_shards(&mut self) {
        self.assignments.clear();
        self.shards = Shards::default();
        self.is_dirty = true;
    }

    pub(super) fn failed(&mut self, now: Duration, request: &Request) {
        match request {
            Request::Grant => self.on_grant_failed(now),
            Request::KeepAlive => self.on_keep_alive_failed(now),
            Request::Register => self.on_register_failed(now),
            Request::List => {
                // An earlier one may have been answered meanwhile: no watch follows that any more.
                self.seen.lost(now, self.pace);
                self.seen.list.failed(now, self.pace);
            }
            Request::Unclaim(shard) => self.on_unclaim_failed(now, shard),
            Request::Revoke => self.on_revoke_failed(now),
            Request::Generation => self.generation_attempt.failed(now, self.pace),
        }
    }
}

fn set_member(set: &mut BTreeSet<ShardKey>, shard: &ShardKey, is_member: bool) {
    if is_member {
        if !set.contains(shard) {
            set.insert(shard.clone());
        }
    } else {
        set.remove(shard);
    }
}
