//! What of a shard is shown to people: which databases are failing, how long changes wait, how one database stands.
//!
//! Small values, taken in one pass over what is active; a shard's databases at rest cost nothing.

use std::time::Duration;

use ultrasimple_core::Hour;

use super::backlog::Active;
use super::{Failing, Shard};
use crate::scan::DatabaseId;

/// Upper bounds of the ages by which waiting changes are counted.
pub(crate) const AGES: [Duration; 7] = [
    Duration::from_secs(15),
    Duration::from_mins(1),
    Duration::from_mins(5),
    Duration::from_mins(15),
    Duration::from_hours(1),
    Duration::from_hours(6),
    Duration::from_hours(24),
];

/// Numbers by age: the last is what is older than all of [`AGES`].
pub(crate) type ByAge = [u64; AGES.len() + 1];

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Portrait {
    /// Those that have been failing for longest, no more than was asked for.
    pub(crate) failing: Vec<(DatabaseId, Failing)>,
    /// Changes that wait, by age: of databases that are not failing.
    pub(crate) waiting: ByAge,
    /// The same of those that are.
    pub(crate) stuck: ByAge,
}

/// How a database stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Standing {
    /// Since when a change has been waiting (monotonic clock).
    pub(crate) waiting_since: Option<Duration>,
    pub(crate) failing: Option<Failing>,
    /// The hour of its newest backup, and when that was stored (monotonic clock).
    pub(crate) newest: Option<(Hour, Duration)>,
}

impl Shard {
    /// The shard as people see it, with no more than `most` failing databases.
    pub(crate) fn portrait(&self, now: Duration, most: usize) -> Portrait {
        let (mut waiting, mut stuck) = (ByAge::default(), ByAge::default());
        for active in self.active.values() {
            let age = now.saturating_sub(active.since);
            let counts = if active.failing.is_some() { &mut stuck } else { &mut waiting };
            if let Some(count) = counts.get_mut(AGES.partition_point(|bound| *bound < age)) {
                *count += 1;
            }
        }
        let is_failing = |(id, active): (DatabaseId, &Active)| {
            active.failing.as_ref().map(|failing| (failing.since, id))
        };
        let mut failing: Vec<_> = self.active.iter().filter_map(is_failing).collect();
        let damaged = self
            .held
            .damaged_ids()
            .filter(|id| self.active.get(*id).is_none_or(|active| active.failing.is_none()));
        let stored_at = |id| self.held.get(id).map_or(now, |held| held.backup.stored_at);
        failing.extend(damaged.map(|id| (stored_at(id), id)));
        if failing.len() > most {
            failing.select_nth_unstable(most);
            failing.truncate(most);
        }
        failing.sort_unstable();
        let told = failing.into_iter().filter_map(|(_, id)| Some((id, self.failing(id)?)));
        Portrait { failing: told.collect(), waiting, stuck }
    }

    /// How one database stands.
    pub(crate) fn standing(&self, id: DatabaseId) -> Standing {
        let newest = self.held.get(id).map(|held| (held.backup.hour, held.backup.stored_at));
        Standing {
            waiting_since: self.active.get(id).map(|active| active.since),
            failing: self.failing(id),
            newest,
        }
    }
}
