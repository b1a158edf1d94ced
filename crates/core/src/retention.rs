//! The retention plan: which backups of one database are kept, which go, and why.
//!
//! A pure function of the rules, the time and what is known of one database: so that it can be printed
//! (`prune --dry-run`), tested and simulated. It deletes nothing itself, and knows no keys.
//!
//! What the rules promise is a *recovery window*. A backup is not old because it was taken long ago, but
//! because another took its place long ago: the only backup of a tenant that was idle for months must
//! not go an hour after a change that its owner wants undone.

mod rules;

use std::fmt;

use jiff::{SignedDuration, Timestamp};

use crate::Hour;
pub use rules::{
    DEFAULT_RETENTION_DAYS, InvalidRetention, Keep, MAX_RETENTION_DAYS, Period, RetentionRules,
};

/// How far this host's clock may be ahead of the store's: what S3 itself allows between the two.
pub const MAX_SKEW: SignedDuration = SignedDuration::from_mins(15);

/// What retention has to know of one database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct History<'a> {
    /// The hours of its backups, in any order. Duplicates count once.
    pub hours: &'a [Hour],
    /// Why the newest backup is no good (stored marked, or found corrupt).
    pub newest_is_bad: Option<&'a str>,
    /// Why the last check of the database itself failed.
    pub last_check_failed: Option<&'a str>,
    /// Whether the operator holds its backups.
    pub is_held: bool,
}

/// Why nothing of a database is deleted, whatever the rules say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Block {
    /// The operator holds its backups.
    Held,
    /// The newest backup is no good, for this reason: an older one may be the last good one.
    NewestIsBad(String),
    /// The last check of the database failed, for this reason: it may be damaged for longer than that.
    LastCheckFailed(String),
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held => f.write_str("the database is held"),
            Self::NewestIsBad(why) => write!(f, "the newest backup is bad: {why}"),
            Self::LastCheckFailed(why) => write!(f, "the database's last check failed: {why}"),
        }
    }
}

/// Why a backup is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepReason {
    /// It is the newest.
    Newest,
    /// Its hour has not begun yet.
    Future,
    /// A rule wants it.
    Rule {
        /// The rule that wants it longest.
        period: Period,
        /// When that ends, if the history stays as it is.
        until: Timestamp,
    },
    /// No rule wants it, but nothing of this database is deleted now: see [`Plan::block`].
    Blocked,
}

impl fmt::Display for KeepReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Newest => f.write_str("the newest"),
            Self::Future => f.write_str("its hour has not begun"),
            Self::Rule { period, until } => write!(f, "{period}, until {until}"),
            Self::Blocked => f.write_str("in no rule, but deletion is blocked"),
        }
    }
}

/// Why a backup is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeleteReason {
    /// The next newer backup, which took its place.
    pub replaced_by: Hour,
    /// Since when no rule wants it.
    pub since: Timestamp,
}

impl fmt::Display for DeleteReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "replaced by {}, in no rule since {}", self.replaced_by, self.since)
    }
}

/// What is to be done with the backups of one database.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// What stays, the oldest first.
    pub keep: Vec<(Hour, KeepReason)>,
    /// What goes, the oldest first. Never the newest; nothing while there is a block.
    pub delete: Vec<(Hour, DeleteReason)>,
    /// Why nothing may be deleted now.
    pub block: Option<Block>,
    /// When there will be more to delete; `None`: never, while the history stays as it is. A newer
    /// backup, or the end of a block, makes another history and needs another plan (a newer backup
    /// alone: [`RetentionRules::wanted_until`] of the one that was the newest says what it adds).
    pub next: Option<Timestamp>,
}

/// Decides about each backup of one database.
///
/// In every combination: the newest is kept, and so is what lies in the future; nothing is deleted while
/// the newest is bad, while the last check failed, or while the database is held.
pub fn plan(rules: &RetentionRules, now: Timestamp, history: &History<'_>) -> Plan {
    let mut hours = history.hours.to_vec();
    hours.sort_unstable();
    hours.dedup();
    let mut plan = Plan { block: history.block(), ..Plan::default() };
    let newer = hours.iter().skip(1).map(Some).chain([None]);
    for (&hour, next) in hours.iter().zip(newer) {
        let Some(&next) = next else {
            plan.keep.push((hour, KeepReason::Newest));
            continue;
        };
        let (until, period) = rules.wanted_until(hour, next);
        if until <= now && plan.block.is_none() {
            plan.delete.push((hour, DeleteReason { replaced_by: next, since: until }));
        } else if until <= now {
            plan.keep.push((hour, KeepReason::Blocked));
        } else {
            // What lies in the future is always among these: nothing is unwanted before the hour of
            // the one that replaces it.
            let is_future = hour.start() > now;
            let rule = KeepReason::Rule { period, until };
            plan.keep.push((hour, if is_future { KeepReason::Future } else { rule }));
            let has_end = plan.block.is_none() && until < Timestamp::MAX;
            let sooner = plan.next.is_none_or(|next| until < next);
            plan.next = if has_end && sooner { Some(until) } else { plan.next };
        }
    }
    plan
}

impl History<'_> {
    fn block(&self) -> Option<Block> {
        if self.is_held {
            return Some(Block::Held);
        }
        let bad = self.newest_is_bad.map(|why| Block::NewestIsBad(why.to_owned()));
        bad.or_else(|| self.last_check_failed.map(|why| Block::LastCheckFailed(why.to_owned())))
    }
}

/// This host's clock cannot be believed: no retention now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this host's clock says {local} and the store's {store}: retention deletes nothing while this host \
     is more than {} minutes ahead",
    MAX_SKEW.as_mins()
)]
pub struct ClockAhead {
    /// What this host says.
    pub local: Timestamp,
    /// What the store says.
    pub store: Timestamp,
}

/// The time that retention goes by: the earlier of this host's and the store's.
///
/// # Errors
/// When this host is ahead of the store by more than [`MAX_SKEW`]. (Behind does no harm: too early a
/// time keeps more.)
pub fn safe_now(local: Timestamp, store: Timestamp) -> Result<Timestamp, ClockAhead> {
    if local.duration_since(store) > MAX_SKEW {
        return Err(ClockAhead { local, store });
    }
    Ok(local.min(store))
}

#[cfg(test)]
#[path = "retention_tests.rs"]
mod tests;
