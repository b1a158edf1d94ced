//! Which fault comes when: a pure function of the seed, so that a run can be repeated.
//!
//! Knows nothing of processes and proxies; `faults` carries it out.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use crate::random::Random;

/// What goes wrong. Nodes and members of etcd are numbers from 0 on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// A daemon is killed, and started again when it is over.
    Kill { node: usize },
    /// A daemon is stopped where it stands, and goes on when it is over.
    Pause { node: usize },
    /// A daemon leaves in order, and joins again when it is over.
    Leave { node: usize },
    /// A daemon is restarted with another capacity (in percent), and with the old one when it is over.
    Capacity { node: usize, percent: u32 },
    /// A node is drained, and may own shards again when it is over.
    Drain { node: usize },
    /// All daemons leave in order and join again, one after the other.
    RollingRestart,
    /// A node and etcd do not reach each other.
    EtcdCut { node: usize, way: Way },
    /// A node and the store do not reach each other.
    StoreCut { node: usize, way: Way },
    /// A node reaches neither etcd nor the store.
    BothCut { node: usize, way: Way },
    /// All is late between a node and etcd.
    EtcdSlow { node: usize, millis: u64 },
    /// All is slow between a node and the store.
    StoreSlow { node: usize, bytes_a_second: u32 },
    /// A node's connections to the store are closed after so many bytes.
    StoreClosing { node: usize, bytes: u64 },
    /// The store answers a node that it is busy, or failing: each so many-th request.
    StoreErrors { node: usize, status: u16, every: u64 },
    /// The store does what a node asks for, and each so many-th answer is lost.
    LostAnswers { node: usize, every: u64 },
    /// A node's writes arrive late, after it has given up.
    LateWrites { node: usize },
    /// A node is paused while its writes are under way, which arrive before it wakes.
    StaleWriter { node: usize },
    /// Nobody reaches the store.
    StoreDown,
    /// The store's process stands still.
    StoreFrozen,
    /// The leader of etcd is killed, and started again when it is over.
    LeaderKilled,
    /// The leader of etcd stands still.
    LeaderPaused,
    /// The leader of etcd is cut off from the other members, not from the nodes.
    LeaderCutOff,
    /// A member of etcd is restarted.
    MemberRestarted { member: usize },
    /// Two of three members of etcd stand still.
    MajorityLost,
    /// The scratch file system of a node is full.
    ScratchFull { node: usize },
    /// A node's wall clock is wrong by so many seconds.
    ClockTurned { node: usize, seconds: i64 },
}

/// Which way nothing gets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    /// Neither.
    Both,
    /// From the node.
    Out,
    /// To the node.
    In,
    /// Connections are refused.
    Refused,
}

/// What two faults must not both work on at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Process(usize),
    Drain(usize),
    EtcdLink(usize),
    StoreLink(usize),
    Answers(usize),
    Scratch(usize),
    Clock(usize),
    Store,
    Etcd,
}

impl Fault {
    /// What it is, without where and how: for counting.
    pub(crate) fn kind(self) -> String {
        let text = format!("{self:?}");
        text.split(' ').next().unwrap_or_default().to_owned()
    }

    fn parts(self, nodes: usize) -> Vec<Part> {
        match self {
            Self::Kill { node }
            | Self::Pause { node }
            | Self::Leave { node }
            | Self::Capacity { node, .. } => vec![Part::Process(node)],
            Self::Drain { node } => vec![Part::Drain(node)],
            Self::RollingRestart => (0..nodes).map(Part::Process).collect(),
            Self::EtcdCut { node, .. } | Self::EtcdSlow { node, .. } => vec![Part::EtcdLink(node)],
            Self::StoreCut { node, .. }
            | Self::StoreSlow { node, .. }
            | Self::StoreClosing { node, .. } => vec![Part::StoreLink(node)],
            Self::BothCut { node, .. } => vec![Part::EtcdLink(node), Part::StoreLink(node)],
            Self::StoreErrors { node, .. }
            | Self::LostAnswers { node, .. }
            | Self::LateWrites { node } => vec![Part::Answers(node)],
            Self::StaleWriter { node } => vec![Part::Process(node), Part::Answers(node)],
            Self::StoreDown => (0..nodes).map(Part::StoreLink).chain([Part::Store]).collect(),
            Self::StoreFrozen => vec![Part::Store],
            Self::LeaderKilled
            | Self::LeaderPaused
            | Self::LeaderCutOff
            | Self::MemberRestarted { .. }
            | Self::MajorityLost => vec![Part::Etcd],
            Self::ScratchFull { node } => vec![Part::Scratch(node)],
            Self::ClockTurned { node, .. } => vec![Part::Clock(node)],
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// One fault of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Event {
    /// When it begins, from the start of the faults.
    pub(crate) at: Duration,
    /// How long it lasts.
    pub(crate) lasts: Duration,
    /// What it is.
    pub(crate) fault: Fault,
}

/// What a schedule is made for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    pub(crate) seed: u64,
    pub(crate) nodes: usize,
    pub(crate) members: usize,
    /// How long a lease lasts: faults are shorter and longer than that.
    pub(crate) lease: Duration,
    /// When all is over.
    pub(crate) until: Duration,
    /// Whether nodes' clocks can be turned, and their scratch be filled.
    pub(crate) can_turn: bool,
    pub(crate) can_fill: bool,
}

/// Between two faults, in milliseconds.
const GAP: std::ops::Range<u64> = 200..2_500;
/// After so many faults nothing begins until most are over.
const CALM_EVERY: usize = 12;
/// What goes on for so many leases more is not waited for.
const LONG: u32 = 5;
/// How often another fault is drawn when one meets a part that is broken already.
const DRAWS: usize = 20;

/// All faults of a run, in their order. Each kind comes once before any comes twice, where there is time.
pub(crate) fn schedule(terms: &Terms) -> Vec<Event> {
    let mut random = Random::new(terms.seed);
    let mut events: Vec<Event> = Vec::new();
    let mut kinds: Vec<u32> = Vec::new();
    let mut at = Duration::ZERO;
    loop {
        at += Duration::from_millis(random.between(GAP.start, GAP.end));
        if events.len() % CALM_EVERY == CALM_EVERY - 1 {
            // The few that last very long are not waited for.
            let over = events.iter().map(|event| event.at + event.lasts);
            let over = over.filter(|over| *over < at + terms.lease * LONG).max();
            at = at.max(over.unwrap_or_default() + terms.lease);
        }
        if at >= terms.until {
            return events;
        }
        for _ in 0..DRAWS {
            if kinds.is_empty() {
                kinds = (0..KINDS).collect();
                random.shuffle(&mut kinds);
            }
            let Some(kind) = kinds.pop() else { break };
            let Some(fault) = draw(kind, terms, &mut random) else { continue };
            let lasts = length(fault, terms, &mut random).min(terms.until.saturating_sub(at));
            if is_free(&events, fault, at, terms) {
                events.push(Event { at, lasts, fault });
                break;
            }
            // Its turn comes later.
            kinds.insert(0, kind);
        }
    }
}

/// By how much clocks differ at most in the course of these: from the one that is turned back the furthest to the one
/// that is turned forward the furthest.
pub(crate) fn clocks_apart(events: &[Event]) -> Duration {
    let turned = |event: &Event| match event.fault {
        Fault::ClockTurned { seconds, .. } => seconds,
        _ => 0,
    };
    let ahead = events.iter().map(turned).max().unwrap_or_default().max(0);
    let behind = events.iter().map(turned).min().unwrap_or_default().min(0);
    Duration::from_secs((ahead - behind).unsigned_abs())
}

fn is_free(events: &[Event], fault: Fault, at: Duration, terms: &Terms) -> bool {
    // What a fault broke may take a moment to be mended.
    let mending = Duration::from_millis(500);
    let open = events.iter().filter(|event| event.at + event.lasts + mending > at);
    let taken: BTreeSet<Part> = open.flat_map(|event| event.fault.parts(terms.nodes)).collect();
    !fault.parts(terms.nodes).iter().any(|part| taken.contains(part))
}

fn length(fault: Fault, terms: &Terms, random: &mut Random) -> Duration {
    let percent = match fault {
        // Takes as long as it takes.
        Fault::RollingRestart => 400,
        Fault::MemberRestarted { .. } => 10,
        // Long enough for others to take over and write.
        Fault::StaleWriter { .. } => random.between(250, 400),
        // Until the node gives its shards away.
        Fault::StoreCut { .. } if random.below(4) == 0 => 1_500,
        // Shorter than a lease, and longer.
        _ if random.below(3) == 0 => random.between(20, 80),
        _ => random.between(120, 400),
    };
    terms.lease * u32::try_from(percent).unwrap_or(100) / 100
}

const KINDS: u32 = 26;

fn draw(kind: u32, terms: &Terms, random: &mut Random) -> Option<Fault> {
    let number = |random: &mut Random, end: usize| {
        usize::try_from(random.below(end as u64)).unwrap_or_default()
    };
    let node = number(random, terms.nodes);
    let way = *random.pick(&[Way::Both, Way::Out, Way::In, Way::Refused])?;
    let every = random.between(1, 4);
    Some(match kind {
        0 => Fault::Kill { node },
        1 | 22 => Fault::Pause { node },
        2 => Fault::Leave { node },
        3 => Fault::Capacity { node, percent: *random.pick(&[10, 30, 300, 1_000])? },
        4 => Fault::RollingRestart,
        5 => Fault::EtcdCut { node, way },
        6 => Fault::StoreCut { node, way },
        7 => Fault::BothCut { node, way },
        8 => Fault::EtcdSlow { node, millis: random.between(20, 600) },
        9 => {
            let bytes_a_second = *random.pick(&[2_000, 20_000, 200_000])?;
            Fault::StoreSlow { node, bytes_a_second }
        }
        10 => Fault::StoreClosing { node, bytes: random.between(100, 60_000) },
        11 => {
            let status = *random.pick(&[500, 503, 503])?;
            Fault::StoreErrors { node, status, every }
        }
        12 => Fault::LostAnswers { node, every },
        13 => Fault::LateWrites { node },
        14 => Fault::StoreDown,
        15 => Fault::StoreFrozen,
        16 => Fault::LeaderKilled,
        17 => Fault::LeaderPaused,
        18 => Fault::LeaderCutOff,
        19 => Fault::MemberRestarted { member: number(random, terms.members) },
        20 => Fault::MajorityLost,
        21 if random.below(2) == 0 && terms.can_fill => Fault::ScratchFull { node },
        21 if terms.can_turn => {
            let seconds = i64::try_from(random.between(2, 20)).ok()?;
            let seconds = if random.below(2) == 0 { seconds } else { -seconds };
            Fault::ClockTurned { node, seconds }
        }
        23 | 24 => Fault::StaleWriter { node },
        25 => Fault::Drain { node },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: Terms = Terms {
        seed: 7,
        nodes: 3,
        members: 3,
        lease: Duration::from_secs(3),
        until: Duration::from_mins(3),
        can_turn: true,
        can_fill: true,
    };

    #[test]
    fn a_seed_repeats_its_schedule_and_another_makes_another() {
        assert_eq!(schedule(&TERMS), schedule(&TERMS));
        assert_ne!(schedule(&TERMS), schedule(&Terms { seed: 8, ..TERMS }));
    }

    #[test]
    fn all_is_over_in_time_and_no_part_is_broken_twice_at_once() {
        for seed in 0..200 {
            let terms = Terms { seed, ..TERMS };
            let events = schedule(&terms);
            assert!(events.len() > 30, "{}", events.len());
            for (index, event) in events.iter().enumerate() {
                assert!(event.at + event.lasts <= terms.until, "{event:?}");
                let before = &events[..index];
                assert!(is_free(before, event.fault, event.at, &terms), "{seed}: {event:?}");
            }
        }
    }

    #[test]
    fn a_long_run_has_every_kind() {
        let kinds: BTreeSet<String> = schedule(&Terms { until: Duration::from_mins(10), ..TERMS })
            .iter()
            .map(|event| event.fault.kind())
            .collect();
        assert_eq!(kinds.len(), 25, "{kinds:?}");
    }

    #[test]
    fn what_cannot_be_done_is_not_asked_for() {
        let events = schedule(&Terms { can_turn: false, can_fill: false, ..TERMS });
        let impossible = |event: &Event| {
            matches!(event.fault, Fault::ClockTurned { .. } | Fault::ScratchFull { .. })
        };
        assert!(!events.iter().any(impossible));
    }
}
