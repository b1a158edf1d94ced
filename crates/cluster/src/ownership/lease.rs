//! The node's lease, and its key that is bound to it.

use std::time::Duration;

use super::attempt::{Attempt, margin};
use super::messages::{Action, LeaseId};
use super::{Ownership, Stage};

/// A lease that etcd granted, and that has neither ended nor been given up.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) id: LeaseId,
    ttl: Duration,
    /// When the last request was sent that etcd confirmed.
    confirmed: Duration,
    next_beat: Duration,
    revoke: Attempt,
    is_given_back: bool,
}

impl Held {
    /// Zero when it was asked to be revoked.
    pub(super) fn trusted_until(&self) -> Duration {
        if self.is_given_back {
            return Duration::ZERO;
        }
        self.confirmed + self.ttl.saturating_sub(margin(self.ttl))
    }

    /// When it is certainly gone, whatever etcd would say.
    fn ends_at(&self) -> Duration {
        self.confirmed + self.ttl + margin(self.ttl)
    }
}

/// Everything about leases and the node's key.
#[derive(Debug, Default)]
pub(super) struct Tenure {
    pub(super) held: Option<Held>,
    grant: Attempt,
    /// When the request was sent that gave us the last lease: what was sent before is late, or a repetition.
    granted_at: Option<Duration>,
    /// A lease that we gave up and etcd may still have.
    former: Option<LeaseId>,
    register: Attempt,
    /// etcd has confirmed the key, whether or not the view shows it.
    is_confirmed: bool,
    /// Somebody else's lease that our name is bound to, and since when.
    taken: Option<(LeaseId, Duration)>,
}

impl Ownership {
    pub(super) fn lease(&self) -> Option<LeaseId> {
        self.tenure.held.as_ref().map(|held| held.id)
    }

    pub(super) fn on_lease_granted(
        &mut self,
        lease: LeaseId,
        sent_at: Duration,
        ttl: Duration,
    ) -> Option<Action> {
        let tenure = &mut self.tenure;
        if tenure.granted_at.is_some_and(|last| sent_at <= last) {
            let is_mine = tenure.held.as_ref().is_some_and(|held| held.id == lease);
            return (!is_mine).then_some(Action::Revoke { lease });
        }
        if tenure.held.is_some() || self.leaving_since.is_some() {
            return Some(Action::Revoke { lease });
        }
        let next_beat = sent_at + ttl / 4;
        let held = Held {
            id: lease,
            ttl,
            confirmed: sent_at,
            next_beat,
            revoke: Attempt::default(),
            is_given_back: false,
        };
        tenure.granted_at = Some(sent_at);
        tenure.held = Some(held);
        tenure.grant.done();
        tenure.register.done();
        None
    }

    pub(super) fn on_lease_kept(&mut self, lease: LeaseId, sent_at: Duration, ttl: Duration) {
        if let Some(held) = self.tenure.held.as_mut().filter(|held| held.id == lease)
            && sent_at >= held.confirmed
        {
            held.confirmed = sent_at;
            held.ttl = ttl;
        }
    }

    pub(super) fn on_keep_alive_failed(&mut self, now: Duration) {
        if let Some(held) = &mut self.tenure.held {
            held.next_beat = held.next_beat.min(now + held.ttl / 16);
        }
    }

    pub(super) fn on_lease_gone(&mut self, lease: LeaseId) {
        if self.tenure.former == Some(lease) {
            self.tenure.former = None;
            self.tenure.register.done();
        }
        if self.lease() == Some(lease) {
            self.give_up_lease();
            self.tenure.former = None;
        }
    }

    pub(super) fn on_registered(&mut self, now: Duration, lease: LeaseId) {
        if self.lease() != Some(lease) {
            return;
        }
        self.tenure.taken = None;
        self.tenure.is_confirmed = true;
        self.tenure.register.begin(now, self.pace);
    }

    pub(super) fn on_name_taken(&mut self, now: Duration, by: LeaseId) -> Option<Action> {
        if self.lease().is_none_or(|mine| mine == by) {
            return None;
        }
        self.tenure.register.failed(now, self.pace);
        if self.tenure.former == Some(by) {
            return Some(Action::Revoke { lease: by });
        }
        let since = match self.tenure.taken {
            Some((lease, since)) if lease == by => since,
            _ => now,
        };
        self.tenure.taken = Some((by, since));
        if now < since + self.pace.name_taken() {
            return None;
        }
        let node = &self.options.node;
        Some(
            self.halt(format!(
                "another node that lives is called {node}, too: give each its own name"
            )),
        )
    }

    /// The view shows the node's key, as it should be.
    pub(super) fn is_shown(&self) -> bool {
        let shown = self.seen.view.nodes.get(&self.options.node);
        shown.is_some_and(|shown| {
            let (theirs, ours) = (&shown.record, &self.options.record);
            // The rest never changes while the node runs; and numbers may differ in the last bit after JSON.
            Some(shown.lease) == self.lease()
                && (theirs.leaving, theirs.unwell) == (ours.leaving, ours.unwell)
        })
    }

    /// What the node says of itself has changed, or what etcd has of it.
    pub(super) fn on_key_changed(&mut self) {
        self.tenure.register.done();
        self.tenure.is_confirmed = false;
    }

    fn register_due(&self) -> Option<Duration> {
        self.lease()?;
        let wanted = !self.is_shown() && (self.seen.is_synced || !self.tenure.is_confirmed);
        wanted.then(|| self.tenure.register.due_at())
    }

    /// The lease is not ours any more, and nothing that is bound to it.
    pub(super) fn give_up_lease(&mut self) {
        if let Some(held) = self.tenure.held.take() {
            self.tenure.former = Some(held.id);
        }
        self.tenure.is_confirmed = false;
        self.tenure.register.done();
        self.forget_shards();
        if self.leaving_since.is_some() {
            self.stage = Stage::Left;
        }
    }

    pub(super) fn tend_lease(&mut self, now: Duration, actions: &mut Vec<Action>) {
        if self.tenure.held.as_ref().is_some_and(|held| held.ends_at() <= now) {
            self.give_up_lease();
        }
        if self.stage.is_over() {
            return;
        }
        let pace = self.pace;
        if let Some(held) = &mut self.tenure.held {
            if held.next_beat <= now {
                held.next_beat = now + held.ttl / 4;
                actions.push(Action::KeepAlive { lease: held.id });
            }
            let lease = held.id;
            if self.register_due().is_some_and(|at| at <= now) {
                self.tenure.register.begin(now, pace);
                let record = self.options.record.clone();
                actions.push(Action::Register { lease, record });
            }
        } else if self.tenure.grant.due_at() <= now {
            self.tenure.grant.begin(now, pace);
            actions.push(Action::GrantLease { ttl: self.options.lease_ttl });
        }
    }

    pub(super) fn lease_wakeup(&self) -> Duration {
        let Some(held) = &self.tenure.held else { return self.tenure.grant.due_at() };
        let next = held.next_beat.min(held.ends_at());
        self.register_due().map_or(next, |at| at.min(next))
    }

    pub(super) fn on_grant_failed(&mut self, now: Duration) {
        if self.tenure.held.is_none() {
            self.tenure.grant.failed(now, self.pace);
        }
    }

    pub(super) fn on_register_failed(&mut self, now: Duration) {
        self.tenure.register.failed(now, self.pace);
    }

    pub(super) fn on_revoke_failed(&mut self, now: Duration) {
        if let Some(held) = &mut self.tenure.held {
            held.revoke.failed(now, self.pace);
        }
    }

    pub(super) fn revoke_due(&self) -> Option<Duration> {
        Some(self.tenure.held.as_ref()?.revoke.due_at())
    }

    pub(super) fn revoke(&mut self, now: Duration) -> Option<Action> {
        let held = self.tenure.held.as_mut()?;
        held.revoke.begin(now, self.pace);
        held.is_given_back = true;
        Some(Action::Revoke { lease: held.id })
    }
}
