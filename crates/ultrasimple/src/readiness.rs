//! Whether a node backs up all that it is to back up: what `/readyz` says, decided without I/O.

use std::time::Duration;

use ultrasimple_cluster::Sighting;
use ultrasimple_cluster::ownership::Desired;
use ultrasimple_core::{NodeName, ShardId, ShardKey};
use ultrasimple_replicator::{ShardStatus, Statistics};

/// Besides three intervals: how long ago the last scan may have begun.
const SLACK: Duration = Duration::from_mins(1);

/// Whether the last scan is too long ago. `now`: milliseconds, by the wall clock.
pub(crate) fn late(statistics: &Statistics, now: i64, interval: Duration) -> Option<String> {
    let Some(last) = statistics.last_scan else {
        return Some("the first scan is not done yet".to_owned());
    };
    let age = Duration::from_millis(u64::try_from(now - last.as_millisecond()).unwrap_or(0));
    let limit = interval * 3 + Duration::from_secs_f64(statistics.last_scan_seconds) + SLACK;
    (age > limit).then(|| format!("the last scan that was finished began {} s ago", age.as_secs()))
}

/// Shards whose catalog is not read yet: nothing of them is backed up.
pub(crate) fn starting(shards: &[ShardStatus]) -> Option<String> {
    let count = shards.iter().filter(|shard| shard.phase == "starting").count();
    (count > 0).then(|| format!("{count} of {} shards are not being backed up yet", shards.len()))
}

/// Whether a change waits for longer than it may, and nothing about its own database is why.
pub(crate) fn exposed(shards: &[ShardStatus], limit: Option<Duration>) -> Option<String> {
    let limit = limit?.as_secs_f64();
    let waits = shards.iter().map(|shard| shard.waiting_seconds).fold(0.0, f64::max);
    (waits > limit).then(|| {
        format!("a change has been waiting for {waits:.0} s; -exposure-limit and -min-upload-interval allow {limit:.0} s")
    })
}

/// Shards that this node should own and does not.
pub(crate) fn lacking(seen: &Sighting, me: &NodeName) -> Option<String> {
    let volumes = &seen.view.nodes.get(me).filter(|_| seen.is_current)?.record.volumes;
    let desired = Desired::new(&seen.view, volumes.keys(), seen.shards);
    let all = volumes.keys().flat_map(|volume| {
        (0..seen.shards).map(|shard| ShardKey { volume: volume.clone(), shard: ShardId(shard) })
    });
    let is_owned =
        |key: &ShardKey| seen.view.claims.get(key).is_some_and(|claim| claim.node == *me);
    let (mut wanted, mut lacking) = (0_u64, 0_u64);
    for key in all.filter(|key| desired.owner(key) == Some(me)) {
        wanted += 1;
        lacking += u64::from(!is_owned(&key));
    }
    (lacking > 0).then(|| {
        format!("{lacking} of the {wanted} shards that this node should own are not its own yet")
    })
}

#[cfg(test)]
#[path = "readiness_tests.rs"]
mod tests;
