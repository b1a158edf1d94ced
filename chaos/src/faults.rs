//! Carries faults out, and mends them.

use std::time::Duration;

use anyhow::{Result, bail};
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

/// How often each member is asked to undo a drain: more than a new leader of etcd takes.
const UNDRAIN_TRIES: u32 = 10;
/// Looks, a tenth of a second apart, that have to find no drain.
const CALM_LOOKS: u32 = 5;

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
        Fault::Capacity { node, percent } => restart(stage.node(node)?, percent),
        Fault::Drain { node } => {
            let (key, since) = (drain_key(stage, node)?, SystemClock.now().to_string());
            let value = format!("{{\"since\":\"{since}\"}}");
            // When nobody answers it may be done all the same, or not.
            let mut ports = stage.etcd_ports().into_iter();
            block_in_place(|| ports.any(|port| etcd::put(port, &key, &value).is_ok()));
        }
        // Made of others.
        Fault::RollingRestart => {}
        Fault::EtcdCut { node, way } => set_etcd(stage.node(node)?, mode(way)),
        Fault::StoreCut { node, way } => stage.node(node)?.store.set(mode(way)),
        Fault::BothCut { node, way } => {
            let node = stage.node(node)?;
            set_etcd(node, mode(way));
            node.store.set(mode(way));
            if way == Way::Both {
                node.connect(false);
            }
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

/// Mends what [`begin`] broke.
pub(crate) async fn end(stage: &mut Stage, fault: Fault, begun: Begun) -> Result<()> {
    match (fault, begun) {
        (Fault::Kill { node }, _) => stage.node(node)?.start()?,
        (Fault::Pause { node }, _) => stage.node(node)?.resume(),
        (Fault::Leave { node }, _) => stage.node(node)?.come_back(),
        (Fault::Drain { node }, _) => undrain(stage, node)?,
        (Fault::Capacity { node, .. }, _) => restart(stage.node(node)?, 100),
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
            node.connect(true);
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
    Ok(())
}

fn drain_key(stage: &mut Stage, node: usize) -> Result<String> {
    Ok(format!("{PREFIX}drains/{}", stage.node(node)?.name))
}

/// Lets a node own shards again, as soon as etcd has a majority; does not wait for that.
fn undrain(stage: &mut Stage, node: usize) -> Result<()> {
    let (key, ports) = (drain_key(stage, node)?, stage.etcd_ports());
    std::thread::spawn(move || {
        let mut tries = (0..UNDRAIN_TRIES).flat_map(|_| &ports);
        tries.any(|port| etcd::delete(*port, &key).is_ok())
    });
    Ok(())
}

/// Lets all nodes own shards, however late a drain arrives that nobody answered.
pub(crate) async fn undrain_all(stage: &Stage) -> Result<()> {
    let prefix = format!("{PREFIX}drains/");
    let mut calm = 0;
    for _ in 0..UNDRAIN_TRIES * 10 {
        let drained = stage.etcd_ports().iter().find_map(|port| {
            let (_, drained) = block_in_place(|| etcd::range(*port, &prefix)).ok()?;
            for drain in &drained {
                // What was not deleted is found again.
                let _ = block_in_place(|| etcd::delete(*port, &drain.key));
            }
            Some(drained.len())
        });
        calm = if drained == Some(0) { calm + 1 } else { 0 };
        if calm == CALM_LOOKS {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bail!("etcd does not answer although all is healed")
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

fn restart(node: &mut Node, capacity_percent: u32) {
    node.leave();
    node.capacity_percent = capacity_percent;
    node.come_back();
}
