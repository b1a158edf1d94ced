//! What is to go wrong, and when: drawn before anything happens, so that it can be read at the top of a trace.

use std::time::Duration;

use crate::kernel::StoreMood;
use crate::network::{Direction, NodeId, Service};
use crate::random::Random;
use crate::settings::Settings;
use crate::truth::DatabaseNumber;

/// One thing that is done to the world.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    Commit(DatabaseNumber),
    /// The files are touched, and the content stays.
    Touch(DatabaseNumber),
    /// A commit brings back the content of so many states before.
    Revert(DatabaseNumber, usize),
    Vanish(DatabaseNumber),
    Appear(DatabaseNumber),
    /// A process is killed.
    Crash(NodeId),
    /// A process is started where there is none, with this capacity.
    Start(NodeId, f64),
    /// A process is asked to leave in order.
    Leave(NodeId),
    /// A process stops, and does not know it.
    Pause(NodeId),
    Resume(NodeId),
    /// A host stops, and its monotonic clock with it.
    Freeze(NodeId),
    Cut(NodeId, Service, Vec<Direction>),
    Mend(NodeId, Service),
    Mood(StoreMood),
    /// How many milliseconds a wall clock is ahead from now on.
    Clock(NodeId, i64),
    EtcdDown,
    EtcdUp,
    /// Another member of etcd leads.
    Elect,
    Compact,
    LoseWatches,
    /// What etcd has now is what it will be restored to.
    Snapshot,
    Restore,
    Drain(NodeId, bool),
    /// The bucket is compared with the catalogs, by whoever does that.
    Compare,
    /// All that went wrong ends.
    Heal,
    /// See whether all is well.
    Look,
    /// See whether a node that was missed on purpose has been replaced.
    Trial,
    /// All processes are to leave in order.
    Farewell,
}

/// Draws the steps of a world, in the order of their times.
pub(crate) fn draw(random: &mut Random, settings: &Settings) -> Vec<(Duration, Step)> {
    let mut plan = Plan { random, settings, steps: Vec::new() };
    plan.starts();
    plan.writes();
    plan.faults();
    plan.steps.push((settings.trouble, Step::Heal));
    plan.steps.sort_by_key(|(at, _)| *at);
    plan.steps
}

struct Plan<'a> {
    random: &'a mut Random,
    settings: &'a Settings,
    steps: Vec<(Duration, Step)>,
}

impl Plan<'_> {
    fn add(&mut self, at: Duration, step: Step) {
        if at < self.settings.trouble {
            self.steps.push((at, step));
        }
    }

    fn any_time(&mut self) -> Duration {
        self.random.duration(Duration::ZERO, self.settings.trouble)
    }

    fn node(&mut self) -> NodeId {
        NodeId(self.random.index(self.settings.nodes))
    }

    fn database(&mut self) -> DatabaseNumber {
        DatabaseNumber(self.random.index(self.settings.databases))
    }

    fn capacity(&mut self) -> f64 {
        *self.random.pick(&[0.5, 1.0, 1.0, 1.0, 3.0]).unwrap_or(&1.0)
    }

    /// Most nodes start at once; some join later.
    fn starts(&mut self) {
        for node in 0..self.settings.nodes {
            let is_late = node > 0 && self.random.chance(200);
            let at = if is_late { self.any_time() } else { self.random.millis(0, 3_000) };
            let capacity = self.capacity();
            self.add(at, Step::Start(NodeId(node), capacity));
        }
    }

    fn writes(&mut self) {
        let count = 10 + self.random.index(40);
        for _ in 0..count {
            let (at, database) = (self.any_time(), self.database());
            let step = match self.random.below(20) {
                0 => Step::Touch(database),
                1 | 2 => Step::Revert(database, 1 + self.random.index(3)),
                3 => {
                    let later = at + self.random.millis(1_000, 120_000);
                    self.add(later, Step::Appear(database));
                    Step::Vanish(database)
                }
                _ => Step::Commit(database),
            };
            self.add(at, step);
        }
    }

    fn faults(&mut self) {
        let count = 3 + self.random.index(12);
        for _ in 0..count {
            let at = self.any_time();
            self.fault(at);
        }
        if self.random.chance(300) {
            let at = self.any_time();
            self.add(at, Step::Compare);
        }
    }

    /// How long something lasts, measured by what matters: a lease.
    fn while_(&mut self) -> Duration {
        let ttl = self.settings.lease_ttl;
        match self.random.below(4) {
            0 => self.random.duration(Duration::from_millis(10), ttl),
            1 | 2 => self.random.duration(ttl / 2, ttl * 3),
            _ => self.random.duration(ttl, ttl * 8),
        }
    }

    fn fault(&mut self, at: Duration) {
        let (node, later) = (self.node(), at + self.while_());
        match self.random.below(25) {
            0..=3 => {
                self.add(at, Step::Crash(node));
                let capacity = self.capacity();
                self.add(later, Step::Start(node, capacity));
            }
            4..=7 => {
                self.add(at, Step::Pause(node));
                self.add(later, Step::Resume(node));
            }
            8..=12 => {
                let directions = match self.random.below(3) {
                    0 => vec![Direction::Request],
                    1 => vec![Direction::Reply],
                    _ => vec![Direction::Request, Direction::Reply],
                };
                for service in self.services() {
                    self.add(at, Step::Cut(node, service, directions.clone()));
                    self.add(later, Step::Mend(node, service));
                }
            }
            13 | 14 => {
                let fails = *self.random.pick(&[50, 300, 1_000]).unwrap_or(&50);
                let denies = self.random.chance(100);
                self.add(at, Step::Mood(StoreMood { fails, denies }));
                self.add(later, Step::Mood(StoreMood::default()));
            }
            15 | 16 => {
                self.add(at, Step::Leave(node));
                let capacity = self.capacity();
                self.add(later, Step::Start(node, capacity));
            }
            17 => {
                self.add(at, Step::Drain(node, true));
                self.add(later, Step::Drain(node, false));
            }
            18 => {
                let skew = self.settings.skew;
                let span = u64::try_from(skew * 2 + 1).unwrap_or(1);
                let ahead = i64::try_from(self.random.below(span)).unwrap_or(0) - skew;
                self.add(at, Step::Clock(node, ahead));
            }
            19 => {
                self.add(at, Step::EtcdDown);
                self.add(later, Step::EtcdUp);
            }
            20 => self.add(at, Step::Elect),
            21 => {
                self.add(at, Step::Compact);
                self.add(at, Step::LoseWatches);
            }
            22 => self.add(at, Step::LoseWatches),
            _ => self.rare_fault(at, later, node),
        }
    }

    fn rare_fault(&mut self, at: Duration, later: Duration, node: NodeId) {
        if self.random.chance(700) {
            self.add(at, Step::Freeze(node));
            self.add(later, Step::Resume(node));
            // Others go on meanwhile, and it goes on as if nothing had been.
            for _ in 0..self.random.index(8) {
                let (soon, database) = (self.random.duration(at, later), self.database());
                self.add(soon, Step::Commit(database));
                let soon = later + self.random.millis(0, 5_000);
                self.add(soon, Step::Commit(database));
            }
        } else {
            self.add(at, Step::Snapshot);
            self.add(later, Step::Restore);
        }
    }

    fn services(&mut self) -> Vec<Service> {
        match self.random.below(3) {
            0 => vec![Service::Etcd],
            1 => vec![Service::Store],
            _ => vec![Service::Etcd, Service::Store],
        }
    }
}
