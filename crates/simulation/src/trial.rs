//! A trial on a calm day: one node crashes or leaves, and nothing else goes wrong. Others must have its shards soon, each
//! exactly one; and what it had stored is there already.

use std::time::Duration;

use crate::network::NodeId;
use crate::owners::Standing;
use crate::plan::Step;
use crate::process::{Running, Stage};
use crate::world::{LOOK, World};

/// Between two looks whether others have the shards of a node that is gone.
const LOOK_FOR_OWNERS: Duration = Duration::from_millis(500);

/// A node is gone, and nothing else goes wrong.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trial {
    /// It crashed: else it left in order.
    pub(crate) is_crash: bool,
    since: Duration,
    /// How long it took until others had its shards.
    pub(crate) took: Option<Duration>,
    /// How many backups had been stored before.
    stored_before: u64,
}

impl World {
    /// On a calm day one node crashes, or leaves in order.
    pub(crate) fn begin_trial(&mut self) {
        let node = NodeId(self.random.index(self.hosts.len()));
        let is_crash = self.random.chance(500);
        let stored_before = self.kernel.lock().truth.stored;
        self.trial =
            Some(Trial { is_crash, since: self.kernel.now.get(), took: None, stored_before });
        let what = if is_crash { "crashes" } else { "leaves" };
        self.kernel.lock().tell(format_args!("==== on a calm day n{} {what}", node.0));
        if is_crash {
            self.crash(node);
        } else {
            self.leave(node);
        }
        self.schedule(LOOK_FOR_OWNERS, Step::Trial);
    }

    /// Others must have all of its shards soon.
    pub(crate) fn watch_trial(&mut self) {
        let now = self.kernel.now.get();
        let Some(Trial { is_crash, since, .. }) = self.trial else { return };
        let took = now.saturating_sub(since);
        match self.unowned() {
            None => {
                self.kernel.lock().tell(format_args!("==== all shards are owned again"));
                if let Some(trial) = &mut self.trial {
                    trial.took = Some(took);
                }
                self.calm_since = now;
                self.schedule(LOOK, Step::Look);
            }
            Some(why) if took > self.replaced_within(is_crash) => {
                let mut inner = self.kernel.lock();
                let why = format!("liveness: {} s after a node was gone {why}", took.as_secs());
                inner.truth.violation.get_or_insert(why);
            }
            Some(_) => self.schedule(LOOK_FOR_OWNERS, Step::Trial),
        }
    }

    pub(crate) fn end_trial(&mut self) {
        let mut inner = self.kernel.lock();
        let Some(trial) = &self.trial else { return };
        let again = inner.truth.stored - trial.stored_before;
        inner.counts.add_up("backups sent again because a node was gone on a calm day", again);
    }

    /// Which shard is not owned by exactly one node that runs and trusts its lease, as etcd says.
    fn unowned(&self) -> Option<String> {
        for shard in self.shards() {
            let owns = |running: &&Running| {
                let is_there = running.stage == Stage::Running && !running.is_leaving;
                let standing = running.owners.shards.get(&shard).map(|held| held.standing);
                let has_it =
                    matches!(standing, Some(Standing::New { .. } | Standing::Ready { .. }));
                is_there && has_it && running.is_trusted()
            };
            let owners: Vec<_> = self.running().filter(owns).map(|it| &it.start.node).collect();
            let inner = self.kernel.lock();
            let claim = inner.etcd.view().claims.get(&shard).map(|claim| &claim.node);
            if owners.len() != 1 || claim != owners.first().copied() {
                return Some(format!("{shard} is claimed by {claim:?} and owned by {owners:?}"));
            }
        }
        None
    }

    /// How soon others must have the shards of a node that is gone: within the time of a lease plus one cycle if it
    /// crashed, within one cycle if it left in order.
    fn replaced_within(&self, is_crash: bool) -> Duration {
        let lease = if is_crash { self.settings.lease_ttl } else { Duration::ZERO };
        lease + self.settings.interval
    }
}
