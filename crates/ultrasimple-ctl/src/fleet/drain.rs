//! `nodes drain` and `nodes undrain`: the operator's word on who may own shards.

use std::time::Duration;

use serde::Serialize;
use ultrasimple_cluster::etcd::FleetState;
use ultrasimple_core::{Clock, NodeName, SystemClock};

use super::source::Source;
use super::watch::time_span;
use crate::{Outcome, complain, show};

/// From one look at etcd to the next, while shards are awaited.
const LOOK: Duration = Duration::from_millis(500);

#[derive(Debug, clap::Args)]
pub(crate) struct Drain {
    /// Which
    #[arg(value_name = "NODE")]
    node: NodeName,
    /// Wait for so long until its shards are gone, such as 5m
    #[arg(long, value_name = "TIME", value_parser = time_span)]
    wait: Option<Duration>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Undrain {
    /// Which
    #[arg(value_name = "NODE")]
    node: NodeName,
}

/// The JSON document; see docs/CTL.md.
#[derive(Debug, Serialize)]
struct Done {
    node: NodeName,
    drained: bool,
    changed: bool,
    /// That it owns now.
    shards: usize,
    /// Of these, those that stay: no other node mounts their volume.
    stay: usize,
}

/// Drains a node, and waits where that was asked for.
///
/// # Errors
/// When there is no such node, or etcd does not answer.
pub(crate) async fn drain(source: &Source, args: &Drain, json: bool) -> anyhow::Result<Outcome> {
    let etcd = source.etcd()?;
    let before = etcd.state().await?;
    known(&before, &args.node)?;
    let changed = !before.view.drains.contains(&args.node);
    if changed {
        etcd.drain(&args.node, SystemClock.now()).await?;
    }
    let begun = SystemClock.monotonic();
    let (owned, stay) = loop {
        let (owned, stay) = left(&etcd.state().await?, &args.node);
        let waited = SystemClock.monotonic().saturating_sub(begun);
        if owned == stay || args.wait.is_none_or(|wait| waited >= wait) {
            break (owned, stay);
        }
        tokio::time::sleep(LOOK).await;
    };
    let done = Done { node: args.node.clone(), drained: true, changed, shards: owned, stay };
    if stay > 0 {
        let (count, node) = (show::count(stay, "shard"), &args.node);
        complain(&format!(
            "{count} stay with {node}: no other node that may own them mounts their volume"
        ));
    }
    tell(&done, json, || match (changed, owned) {
        (_, 0) => format!("{} is drained: it owns no shards\n", args.node),
        (true, owned) => {
            format!(
                "{} is being drained: it still owns {}\n",
                args.node,
                show::count(owned, "shard")
            )
        }
        (false, owned) => format!(
            "{} was being drained already: it still owns {}\n",
            args.node,
            show::count(owned, "shard")
        ),
    })?;
    let is_in_time = args.wait.is_none() || owned == 0;
    Ok(if is_in_time { Outcome::AllWell } else { Outcome::SomeFailed })
}

/// Takes a drain back.
///
/// # Errors
/// When etcd does not answer.
pub(crate) async fn undrain(
    source: &Source,
    args: &Undrain,
    json: bool,
) -> anyhow::Result<Outcome> {
    let etcd = source.etcd()?;
    let changed = etcd.undrain(&args.node).await?;
    let state = etcd.state().await?;
    if !changed {
        // Mistyped, or it is so already.
        known(&state, &args.node)?;
    }
    let (owned, _) = left(&state, &args.node);
    let done = Done { node: args.node.clone(), drained: false, changed, shards: owned, stay: 0 };
    tell(&done, json, || {
        let was = if changed { "may own shards again" } else { "was not drained" };
        format!("{} {was}\n", args.node)
    })?;
    Ok(Outcome::AllWell)
}

fn tell(done: &Done, json: bool, text: impl FnOnce() -> String) -> anyhow::Result<()> {
    if json {
        show::print_json(done)?;
    } else {
        show::print(&text())?;
    }
    Ok(())
}

fn known(state: &FleetState, node: &NodeName) -> anyhow::Result<()> {
    let view = &state.view;
    if view.nodes.contains_key(node) || view.drains.contains(node) {
        return Ok(());
    }
    let there: Vec<_> = view.nodes.keys().map(ToString::to_string).collect();
    let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
    anyhow::bail!("there is no node {node}; there are: {there}")
}

/// How many shards a node owns, and how many of these it keeps for want of another.
fn left(state: &FleetState, node: &NodeName) -> (usize, usize) {
    let desired = state.desired();
    let claims = state.view.claims.iter().filter(|(_, claim)| claim.node == *node);
    let owned: Vec<_> = claims.map(|(shard, _)| shard).collect();
    let stay = owned.iter().filter(|shard| desired.owner(shard) == Some(node)).count();
    (owned.len(), stay)
}
