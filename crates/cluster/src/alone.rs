//! The driver for a node without etcd: all shards are its own from the start, until it leaves or is fenced.

use std::sync::Arc;
use std::time::Duration;

use ultrasimple_core::{Clock, ShardKey};

use crate::membership::{Controls, membership};
use crate::{Assignment, Grant, Membership, Phase, Report};

/// A membership that has all of these shards. Its driver ends with the last clone of the result.
pub fn alone(
    shards: impl IntoIterator<Item = ShardKey>,
    grant: Grant,
    clock: Arc<dyn Clock>,
) -> Membership {
    let (membership, controls) = membership(clock);
    let owned = Assignment { grant, phase: Phase::Owned };
    controls.trust_until(Duration::MAX);
    controls.assign(shards.into_iter().map(|shard| (shard, owned)).collect());
    tokio::spawn(drive(controls, membership.assignments().as_ref().clone()));
    membership
}

async fn drive(mut controls: Controls, mut assignments: crate::Assignments) {
    let mut is_leaving = false;
    while let Some(report) = controls.next_report().await {
        match report {
            Report::Released { shard, epoch, .. } => {
                if assignments.get(&shard).is_some_and(|mine| mine.grant.epoch == epoch) {
                    assignments.remove(&shard);
                }
            }
            Report::Fenced { what, .. } => controls.halt(what),
            Report::Leave => {
                is_leaving = true;
                for assignment in assignments.values_mut() {
                    assignment.phase = Phase::Releasing;
                }
            }
            Report::Fit { .. } => {}
        }
        controls.assign(assignments.clone());
        if is_leaving && assignments.is_empty() {
            controls.left();
        }
    }
}
