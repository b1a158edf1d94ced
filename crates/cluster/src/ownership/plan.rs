//! What is to be done now, and when to look again. Each thing to do says when it is due; the next wakeup is the
//! least of these.

use std::time::Duration;

use ultrasimple_core::{ShardId, ShardKey};

use super::messages::Action;
use super::shards::Slot;
use super::{CLAIMS_AT_ONCE, Desired, Ownership, Stage};

/// Shards whose claims are under way, at most.
const CLAIMING: usize = 16 * CLAIMS_AT_ONCE;

impl Ownership {
    /// Does all that is due.
    pub(super) fn plan(&mut self, now: Duration, actions: &mut Vec<Action>) {
        if self.stage.is_over() {
            return;
        }
        self.tend_lease(now, actions);
        if self.stage.is_over() {
            return;
        }
        let is_due = |at: Option<Duration>| at.is_some_and(|at| at <= now);
        if is_due(self.list_due()) {
            self.seen.list.begin(now, self.pace);
            actions.push(Action::List);
        }
        if is_due(self.generation_due())
            && let Some(fenced_by) = self.fenced_by
        {
            self.generation_attempt.begin(now, self.pace);
            actions.push(Action::AskGeneration { generation: self.generation, fenced_by });
        }
        self.look_at_due(now, actions);
        if is_due(self.sorting_due()) {
            self.sort_all();
        }
        if is_due(self.claims_due()) {
            self.claim(now, actions);
        }
        if is_due(self.moves_due()) {
            for shard in std::mem::take(&mut self.shards.unwanted) {
                self.begin_release(now, &shard);
            }
        }
        if is_due(self.farewell_due()) {
            let owned = self.shards.slots.iter();
            let owned = owned.filter(|(_, slot)| matches!(slot, Slot::Owned { .. }));
            for shard in owned.map(|(shard, _)| shard.clone()).collect::<Vec<_>>() {
                self.begin_release(now, &shard);
            }
        }
        self.look_at_due(now, actions);
        if self.leaving_since.is_some() && self.assignments.is_empty() {
            self.let_go_at.get_or_insert(now);
        }
        if is_due(self.parting_due()) {
            actions.extend(self.revoke(now));
        }
    }

    /// When [`super::Event::Tick`] is due at the latest: before that nothing is to be done unless something happens.
    /// `None` when nothing ever will be, because the node has left or must stop.
    pub fn next_wakeup(&self) -> Option<Duration> {
        let all = [
            Some(self.lease_wakeup()),
            self.list_due(),
            self.generation_due(),
            self.shards.next_timer(),
            self.sorting_due(),
            self.claims_due(),
            self.moves_due(),
            self.farewell_due(),
            self.parting_due(),
        ];
        let next = all.into_iter().flatten().min();
        next.filter(|_| self.stage == Stage::Joined)
    }

    fn list_due(&self) -> Option<Duration> {
        (!self.seen.is_synced).then(|| self.seen.list.due_at())
    }

    fn generation_due(&self) -> Option<Duration> {
        self.fenced_by.map(|_| self.generation_attempt.due_at())
    }

    /// Whether shards may be claimed or given away at all, and until when.
    fn may_act_until(&self) -> Option<Duration> {
        let may = self.seen.is_synced && self.is_registered() && self.leaving_since.is_none();
        may.then(|| self.trusted_until())
    }

    fn not_after(&self, at: Duration) -> Option<Duration> {
        // At a time that has passed already, it is due now.
        let at = at.max(self.now);
        self.may_act_until().filter(|&end| at < end).map(|_| at)
    }

    /// Who should own what is worked out when the answer is needed: it may change many times while a fleet starts.
    fn sorting_due(&self) -> Option<Duration> {
        self.is_dirty.then(|| self.not_after(self.settling.claims_at(self.pace)))?
    }

    fn claims_due(&self) -> Option<Duration> {
        let may = self.fenced_by.is_none() && !self.is_dirty && self.shards.claiming < CLAIMING;
        let wants = may && !self.shards.wanted.is_empty();
        wants.then(|| self.not_after(self.settling.claims_at(self.pace)))?
    }

    fn moves_due(&self) -> Option<Duration> {
        let wants = !self.is_dirty && !self.shards.unwanted.is_empty();
        wants.then(|| self.not_after(self.settling.moves_at(self.pace)))?
    }

    /// When a leaving node lets go of its shards: others are to know first, so that none comes back to it.
    fn farewell_due(&self) -> Option<Duration> {
        let since = self.leaving_since?;
        let is_owned = |slot: &Slot| matches!(slot, Slot::Owned { .. });
        self.shards.slots.values().any(is_owned).then(|| {
            let patience = since + self.pace.farewell();
            if self.is_shown() { self.now } else { patience.max(self.now) }
        })
    }

    /// When a node that has let go of all gives up its lease.
    fn parting_due(&self) -> Option<Duration> {
        let let_go_at = self.let_go_at.filter(|_| self.assignments.is_empty())?;
        let revoke = self.revoke_due()?;
        let all_are_gone = self.shards.slots.is_empty();
        // Without the claims' handovers, if need be.
        Some(if all_are_gone { revoke } else { revoke.max(let_go_at + self.pace.farewell()) })
    }

    fn sort_all(&mut self) {
        self.desired = Desired::new(&self.seen.view, &self.volumes, self.options.shards);
        self.is_dirty = false;
        self.shards.wanted.clear();
        self.shards.unwanted.clear();
        for volume in self.volumes.clone() {
            for shard in 0..self.options.shards {
                self.sort(&ShardKey { volume: volume.clone(), shard: ShardId(shard) });
            }
        }
    }

    fn claim(&mut self, now: Duration, actions: &mut Vec<Action>) {
        let Some(lease) = self.lease() else { return };
        let room = CLAIMING.saturating_sub(self.shards.claiming);
        let wanted: Vec<ShardKey> = self.shards.wanted.iter().take(room).cloned().collect();
        for shards in wanted.chunks(CLAIMS_AT_ONCE) {
            self.begin_claims(now, shards);
            let (generation, shards) = (self.generation, shards.to_vec());
            actions.push(Action::Claim { lease, generation, shards });
        }
    }
}
