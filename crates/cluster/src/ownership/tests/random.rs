//! Anything may happen, in any order; and when it stops, all comes right.

use std::time::Duration;

use proptest::prelude::*;

use super::super::*;
use super::world::*;

#[derive(Debug, Clone, Copy)]
enum Trouble {
    Join,
    Leave(usize),
    Pause(usize),
    Resume(usize),
    Drain(usize, bool),
    Fit(usize, bool),
    WatchLost(usize),
    RevokeLease(usize),
    DeleteKey(usize),
    Fence(usize, u64),
    Failed(usize, u8),
    Repeat(usize),
}

fn trouble() -> impl Strategy<Value = Trouble> {
    let node = 0..4_usize;
    prop_oneof![
        1 => Just(Trouble::Join),
        1 => node.clone().prop_map(Trouble::Leave),
        2 => node.clone().prop_map(Trouble::Pause),
        3 => node.clone().prop_map(Trouble::Resume),
        2 => (node.clone(), any::<bool>()).prop_map(|(n, on)| Trouble::Drain(n, on)),
        2 => (node.clone(), any::<bool>()).prop_map(|(n, is_fit)| Trouble::Fit(n, is_fit)),
        2 => node.clone().prop_map(Trouble::WatchLost),
        1 => node.clone().prop_map(Trouble::RevokeLease),
        1 => node.clone().prop_map(Trouble::DeleteKey),
        2 => (node.clone(), 0..3_u64).prop_map(|(n, by)| Trouble::Fence(n, by)),
        2 => (node.clone(), 0..6_u8).prop_map(|(n, request)| Trouble::Failed(n, request)),
        2 => node.prop_map(Trouble::Repeat),
    ]
}

impl World {
    fn suffer(&mut self, trouble: Trouble) {
        let index = |n: usize| n % self.nodes.len();
        match trouble {
            Trouble::Join if self.nodes.len() < 6 => {
                self.join(|_| {});
            }
            // Its replicator would be paused, too: nothing happens to a node that is.
            Trouble::Pause(n) => {
                let n = index(n);
                self.nodes[n].is_paused = true;
            }
            Trouble::Resume(n) => {
                let n = index(n);
                self.nodes[n].is_paused = false;
                self.tell(n, Event::Tick);
            }
            Trouble::Drain(n, on) => self.etcd.commit(vec![Change::Drain(name(n), on)]),
            Trouble::RevokeLease(n) => {
                // An operator's doing; a node may trust it until it hears.
                if let Some(lease) = self.nodes[index(n)].machine.lease() {
                    self.etcd.revoke(lease);
                }
            }
            Trouble::DeleteKey(n) => self.etcd.commit(vec![Change::Node(name(n), None)]),
            Trouble::Join | Trouble::Leave(0) => {}
            other => self.suffer_at_node(other),
        }
    }

    fn suffer_at_node(&mut self, trouble: Trouble) {
        let (Trouble::Leave(n)
        | Trouble::Fit(n, _)
        | Trouble::WatchLost(n)
        | Trouble::Fence(n, _)
        | Trouble::Failed(n, _)
        | Trouble::Repeat(n)) = trouble
        else {
            return;
        };
        let n = n % self.nodes.len();
        let machine = &self.nodes[n].machine;
        let event = match trouble {
            _ if self.nodes[n].is_paused => return,
            Trouble::Leave(_) => Event::Leave,
            Trouble::Fit(_, is_fit) => Event::Fit { is_fit },
            Trouble::WatchLost(_) => Event::WatchLost,
            Trouble::Fence(_, by) => {
                let Some((shard, mine)) = machine.assignments().first_key_value() else { return };
                let epoch = mine.grant.epoch;
                let by = Epoch::new(epoch.generation() + by, epoch.revision() + 1);
                Event::Fenced { shard: shard.clone(), epoch, by }
            }
            Trouble::Failed(_, request) => Event::Failed(match request {
                0 => Request::Grant,
                1 => Request::KeepAlive,
                2 => Request::Register,
                3 => Request::List,
                4 => Request::Revoke,
                _ => Request::Generation,
            }),
            _ => {
                let Some((shard, mine)) = machine.assignments().first_key_value() else { return };
                let created = Revision(mine.grant.epoch.revision());
                let won = Claimed::Won { created, handed_over_by: None };
                let (lease, generation) = (machine.lease().unwrap(), mine.grant.epoch.generation());
                Event::Claimed { lease, generation, outcomes: vec![(shard.clone(), won)] }
            }
        };
        self.tell(n, event);
    }
}

/// A cheap source of chance.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// A parcel in ten gets lost, one in ten comes twice, one in ten takes up to two leases.
fn rough(seed: u64) -> Fate {
    let mut dice = Dice(seed);
    Box::new(move |_| {
        let short = Duration::from_millis(dice.roll(50));
        let long = Duration::from_millis(dice.roll(20_000));
        match dice.roll(10) {
            0 => Vec::new(),
            1 => vec![short, long],
            2 => vec![long],
            _ => vec![short],
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn all_comes_right_when_the_trouble_ends(
        seed: u64,
        troubles in prop::collection::vec((trouble(), 0..6_000_u64), 0..40),
    ) {
        let mut world = World::new(3, 12);
        world.fate = rough(seed);
        // While an operator revokes leases, nodes may trust longer than they should.
        world.is_exclusive =
            !troubles.iter().any(|(trouble, _)| matches!(trouble, Trouble::RevokeLease(_)));
        for (trouble, pause) in troubles {
            world.suffer(trouble);
            world.run(Duration::from_millis(pause));
        }
        world.fate = Box::new(|_| vec![Duration::from_millis(2)]);
        for n in 0..world.nodes.len() {
            world.nodes[n].is_paused = false;
            world.tell(n, Event::Tick);
            // What got lost of the watch shows when its connection does.
            world.tell(n, Event::WatchLost);
        }
        world.run(TTL * 8);
        world.assert_settled();
    }
}
