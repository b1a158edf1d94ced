//! What lies between the nodes and the two services: delays, losses, copies, and directions that are cut.

use std::time::Duration;

use crate::random::Random;

/// A node, by its place in the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NodeId(pub(crate) usize);

/// The other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Service {
    Etcd,
    Store,
}

/// Which way a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Direction {
    Request,
    Reply,
}

/// How good the network is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quality {
    /// The usual delay.
    pub(crate) least: Duration,
    pub(crate) most: Duration,
    /// In a thousand: messages that take much longer, up to `late`.
    pub(crate) slow: u32,
    pub(crate) late: Duration,
    /// In a thousand: messages that never arrive.
    pub(crate) lost: u32,
    /// In a thousand: messages that arrive twice.
    pub(crate) twice: u32,
}

impl Quality {
    /// Nothing is lost, and nothing is late.
    pub(crate) const GOOD: Self = Self {
        least: Duration::from_millis(1),
        most: Duration::from_millis(20),
        slow: 0,
        late: Duration::ZERO,
        lost: 0,
        twice: 0,
    };
}

/// What becomes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delivery {
    After(Duration),
    Twice(Duration, Duration),
    Lost,
    /// The way is cut: what was sent arrives when it is whole again.
    Held,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) quality: Quality,
    cuts: Vec<(NodeId, Service, Direction)>,
}

impl Network {
    pub(crate) fn new(quality: Quality) -> Self {
        Self { quality, cuts: Vec::new() }
    }

    pub(crate) fn cut(&mut self, node: NodeId, service: Service, direction: Direction) {
        if !self.is_cut(node, service, direction) {
            self.cuts.push((node, service, direction));
        }
    }

    pub(crate) fn mend(&mut self, node: NodeId, service: Service) {
        self.cuts.retain(|cut| (cut.0, cut.1) != (node, service));
    }

    pub(crate) fn mend_all(&mut self) {
        self.cuts.clear();
    }

    pub(crate) fn is_cut(&self, node: NodeId, service: Service, direction: Direction) -> bool {
        self.cuts.contains(&(node, service, direction))
    }

    /// What becomes of a message that is sent now.
    pub(crate) fn send(
        &self,
        random: &mut Random,
        node: NodeId,
        service: Service,
        direction: Direction,
    ) -> Delivery {
        if self.is_cut(node, service, direction) {
            // A kernel goes on sending what a process gave it, for a while.
            return if random.chance(500) { Delivery::Held } else { Delivery::Lost };
        }
        let Quality { lost, twice, .. } = self.quality;
        if random.chance(lost) {
            return Delivery::Lost;
        }
        let first = self.delay(random);
        if random.chance(twice) {
            return Delivery::Twice(first, first + self.delay(random));
        }
        Delivery::After(first)
    }

    pub(crate) fn delay(&self, random: &mut Random) -> Duration {
        let Quality { least, most, slow, late, .. } = self.quality;
        let most = if random.chance(slow) { late.max(most) } else { most };
        random.duration(least, most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId(1);

    #[test]
    fn a_cut_direction_lets_nothing_through_and_the_others_do() {
        let mut network = Network::new(Quality::GOOD);
        let mut random = Random::new(1);
        network.cut(NODE, Service::Etcd, Direction::Reply);
        for _ in 0..100 {
            let sent = network.send(&mut random, NODE, Service::Etcd, Direction::Reply);
            assert!(matches!(sent, Delivery::Held | Delivery::Lost), "{sent:?}");
            for (node, service, direction) in [
                (NODE, Service::Etcd, Direction::Request),
                (NODE, Service::Store, Direction::Reply),
                (NodeId(0), Service::Etcd, Direction::Reply),
            ] {
                let sent = network.send(&mut random, node, service, direction);
                assert!(matches!(sent, Delivery::After(_)), "{sent:?}");
            }
        }
        network.mend(NODE, Service::Etcd);
        assert!(!network.is_cut(NODE, Service::Etcd, Direction::Reply));
    }

    #[test]
    fn messages_are_lost_late_and_doubled_as_often_as_asked() {
        let quality = Quality {
            slow: 100,
            late: Duration::from_mins(1),
            lost: 100,
            twice: 100,
            ..Quality::GOOD
        };
        let (network, mut random) = (Network::new(quality), Random::new(2));
        let (mut lost, mut twice, mut late) = (0, 0, 0);
        for _ in 0..10_000 {
            match network.send(&mut random, NODE, Service::Store, Direction::Request) {
                Delivery::Lost => lost += 1,
                Delivery::Twice(first, second) => {
                    assert!(second > first);
                    twice += 1;
                }
                Delivery::After(delay) => late += usize::from(delay > quality.most),
                Delivery::Held => panic!("nothing is cut"),
            }
        }
        for count in [lost, twice, late] {
            assert!((700..1_300).contains(&count), "{lost} {twice} {late}");
        }
    }
}
