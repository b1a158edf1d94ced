//! Carries faults out, and mends them.

use std::time::Duration;

use anyhow::Result;
use tokio::task::block_in_place;
use ultrasimple_core::{Clock as _, SystemClock};
use ultrasimple_testkit::etcd;
use ultrasimple_testkit::fault_proxy::{Fault as Answer, Rule};
use ultrasimple_testkit::link::Mode;

use crate::node::Node;
use crate::schedule::{Fault, Way};
use crate::stage::{MEMBERS, Stage};
use crate::watcher::PREFIX;

/// A node with databases that change sends something within this.
const WRITES_WITHIN: Duration = Duration::from_secs(2);

/// How often it is tried to undo a drain: more than a new leader of etcd takes.
const UNDRAIN_TRIES: u32 = 10;

/// What a fault needs to know when it is mended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begun {
    /// The fault says it all.
    AsSaid,
    /// It was this member of etcd.
    Member(usize),
    /// It could not be begun: there was no leader.
    Not,
}

/// Begins a fault.
pub(crate) async fn begin(stage: &mut Stage, fault: Fault) -> Result<Begun> {
    match fault {
        Fault::Kill { node } => stage.node(node)?.kill(),
        Fault::Pause { node } => stage.node(node)?.pause(),
        Fault::Leave { node } => stage.node(node)?.leave(),
        Fault::Capacity { node, percent } => {
            restart(stage.node(node)?, percent).await?;
        }
        Fault::Drain { node } => {
            let (key, since) = (drain_key(stage, node)?, SystemClock.now().to_string());
            let value = format!("{{\"since\":\"{since}\"}}");
            if !block_in_place(|| any(stage, |port| etcd::put(port, &key, &value))) {
                return Ok(Begun::Not);
            }
        }
        // Made of others.
        Fault::RollingRestart => {}
        Fault::EtcdCut { node, way } => set_etcd(stage.node(node)?, mode(way)),
        Fault::StoreCut { node, way } => stage.node(node)?.store.set(mode(way)),
        Fault::BothCut { node, way } => {
            let node = stage.node(node)?;
            set_etcd(node, mode(way));
            node.store.set(mode(way));
        }
        Fault::EtcdSlow { node, millis } => {
            set_etcd(stage.node(node)?, Mode::Delay(Duration::from_millis(millis)));
        }
        Fault::StoreSlow { node, bytes_a_second } => {
            stage.node(node)?.store.set(Mode::Throttle(bytes_a_second));
        }
        Fault::StoreClosing { node, bytes } => stage.node(node)?.store.set(Mode::CloseAfter(bytes)),
        Fault::StoreErrors { node, status, every } => {
            let code = if status == 503 { "SlowDown" } else { "InternalError" };
            let rule = Rule::new(Answer::Answer(status, code)).every(every);
            stage.node(node)?.answers.set_rule(rule).await?;
        }
        Fault::LostAnswers { node, every } => {
            let rule = Rule::new(Answer::CutAfter).every(every);
            stage.node(node)?.answers.set_rule(rule).await?;
        }
        Fault::LateWrites { node } => {
            let rule = Rule::new(Answer::Hold).method("PUT");
            stage.node(node)?.answers.set_rule(rule).await?;
        }
        Fault::StaleWriter { node } => {
            let node = stage.node(node)?;
            node.answers.set_rule(Rule::new(Answer::Hold).method("PUT")).await?;
            let start = SystemClock.monotonic();
            while node.answers.held().is_empty()
                && SystemClock.monotonic().saturating_sub(start) < WRITES_WITHIN
            {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            node.pause();
        }
        Fault::StoreDown => stage.nodes.iter().for_each(|node| node.store.set(Mode::Refuse)),
        Fault::StoreFrozen => stage.store.pause()?,
        Fault::LeaderKilled | Fault::LeaderPaused | Fault::LeaderCutOff | Fault::MajorityLost => {
            let Ok(leader) = block_in_place(|| stage.etcd.leader()) else { return Ok(Begun::Not) };
            match fault {
                Fault::LeaderKilled => block_in_place(|| stage.etcd.kill(leader))?,
                Fault::LeaderPaused => stage.etcd.pause(leader)?,
                Fault::LeaderCutOff => stage.set_member(leader, Mode::Cut),
                _ => {
                    stage.etcd.pause(leader)?;
                    stage.etcd.pause((leader + 1) % MEMBERS)?;
                }
            }
            return Ok(Begun::Member(leader));
        }
        Fault::MemberRestarted { member } => block_in_place(|| stage.etcd.stop(member))?,
        Fault::ScratchFull { node } => stage.node(node)?.fill_scratch(),
        Fault::ClockTurned { node, seconds } => {
            stage.node(node)?.turn_clock(seconds)?;
        }
    }
    Ok(Begun::AsSaid)
}

/// Mends what [`begin`] broke. Gives what was strange.
pub(crate) async fn end(stage: &mut Stage, fault: Fault, begun: Begun) -> Result<Option<String>> {
    let mut strange = None;
    match (fault, begun) {
        (Fault::Kill { node }, _) => stage.node(node)?.start()?,
        (Fault::Pause { node }, _) => stage.node(node)?.resume(),
        (Fault::Leave { node }, _) => {
            let node = stage.node(node)?;
            strange = node.has_ended().await;
            node.start()?;
        }
        (Fault::Drain { node }, _) => undrain(stage, node).await?,
        (Fault::Capacity { node, .. }, _) => strange = restart(stage.node(node)?, 100).await?,
        (Fault::EtcdCut { node, .. } | Fault::EtcdSlow { node, .. }, _) => {
            set_etcd(stage.node(node)?, Mode::Pass);
        }
        (
            Fault::StoreCut { node, .. }
            | Fault::StoreSlow { node, .. }
            | Fault::StoreClosing { node, .. },
            _,
        ) => stage.node(node)?.store.set(Mode::Pass),
        (Fault::BothCut { node, .. }, _) => {
            let node = stage.node(node)?;
            set_etcd(node, Mode::Pass);
            node.store.set(Mode::Pass);
        }
        (
            Fault::StoreErrors { node, .. }
            | Fault::LostAnswers { node, .. }
            | Fault::LateWrites { node },
            _,
        ) => answer_again(stage.node(node)?).await?,
        (Fault::StaleWriter { node }, _) => {
            let node = stage.node(node)?;
            answer_again(node).await?;
            // What was held arrives before it can take it back.
            tokio::time::sleep(Duration::from_millis(300)).await;
            node.resume();
        }
        (Fault::StoreDown, _) => stage.nodes.iter().for_each(|node| node.store.set(Mode::Pass)),
        (Fault::StoreFrozen, _) => stage.store.resume()?,
        (Fault::LeaderKilled, Begun::Member(leader)) => stage.etcd.restart(leader)?,
        (Fault::LeaderPaused, Begun::Member(leader)) => stage.etcd.resume(leader)?,
        (Fault::LeaderCutOff, Begun::Member(leader)) => stage.set_member(leader, Mode::Pass),
        (Fault::MajorityLost, Begun::Member(leader)) => {
            stage.etcd.resume(leader)?;
            stage.etcd.resume((leader + 1) % MEMBERS)?;
        }
        (Fault::MemberRestarted { member }, _) => stage.etcd.restart(member)?,
        (Fault::ScratchFull { node }, _) => stage.node(node)?.free_scratch(),
        (Fault::ClockTurned { node, .. }, _) => stage.node(node)?.turn_clock(0)?,
        (Fault::RollingRestart, _) | (_, Begun::Not | Begun::AsSaid) => {}
    }
    Ok(strange)
}

fn drain_key(stage: &mut Stage, node: usize) -> Result<String> {
    Ok(format!("{PREFIX}drains/{}", stage.node(node)?.name))
}

/// Lets a node own shards again, as soon as etcd has a majority.
pub(crate) async fn undrain(stage: &mut Stage, node: usize) -> Result<()> {
    let key = drain_key(stage, node)?;
    for _ in 0..UNDRAIN_TRIES {
        if block_in_place(|| any(stage, |port| etcd::delete(port, &key))) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // Once more when all is healed.
    Ok(())
}

/// Whether one of etcd's members does it.
fn any(stage: &Stage, ask: impl Fn(u16) -> Result<()>) -> bool {
    let mut ports = (0..MEMBERS).filter_map(|member| Some(stage.etcd.ports(member).ok()?.client));
    ports.any(|port| ask(port).is_ok())
}

async fn answer_again(node: &mut Node) -> Result<()> {
    let always = node.always();
    node.answers.set(always).await?;
    node.answers.release();
    Ok(())
}

fn mode(way: Way) -> Mode {
    match way {
        Way::Both => Mode::Cut,
        Way::Out => Mode::CutToServer,
        Way::In => Mode::CutToClient,
        Way::Refused => Mode::Refuse,
    }
}

fn set_etcd(node: &Node, mode: Mode) {
    node.etcd.iter().for_each(|link| link.set(mode));
}

async fn restart(node: &mut Node, capacity_percent: u32) -> Result<Option<String>> {
    node.leave();
    let strange = node.has_ended().await;
    node.capacity_percent = capacity_percent;
    node.start()?;
    Ok(strange)
}
