use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;

use super::*;

type Fleet = BTreeMap<NodeName, f64>;

fn fleet(nodes: impl IntoIterator<Item = (usize, f64)>) -> Fleet {
    nodes.into_iter().map(|(n, capacity)| (name(n), capacity)).collect()
}

fn name(n: usize) -> NodeName {
    format!("node-{n}").parse().unwrap()
}

fn owners(fleet: &Fleet, shards: u32) -> Vec<NodeName> {
    let candidates = Candidates::new(fleet.iter().map(|(node, capacity)| (node, *capacity)));
    let volume = VolumeHash::of(&"default".parse().unwrap());
    let owner = |shard| candidates.owner(volume.shard(ShardId(shard))).unwrap().clone();
    (0..shards).map(owner).collect()
}

/// Changing any of these moves shards of every installation, and makes nodes of two builds disagree.
#[test]
fn placement_never_changes() {
    let volume: VolumeName = "default".parse().unwrap();
    assert_eq!(ShardHash::of(&volume, ShardId(7)), ShardHash(6_940_436_340_608_914_329));
    let equal = fleet((0..5).map(|n| (n, 1.0)));
    let short = |owners: Vec<NodeName>| {
        let number = |owner: NodeName| owner.as_str().rsplit_once('-').unwrap().1.to_owned();
        owners.into_iter().map(number).collect::<String>()
    };
    assert_eq!(short(owners(&equal, 40)), "2004343434044033113343124002240230303442");
    let weighted = fleet([(0, 0.01), (1, 0.5), (2, 1.0), (3, 1.0), (4, 2.5), (5, 1_000.0 / 300.0)]);
    assert_eq!(short(owners(&weighted, 40)), "5525543435245535543345524252545232433442");
}

/// So that a difference in the last bit of a logarithm shows.
#[test]
fn costs_are_exact() {
    let bits = |draw| cost(draw, 3.0, None).unwrap().to_bits();
    assert_eq!(
        [bits(0), bits(1 << 63), bits(0x1234_5678_9abc_def0), bits(u64::MAX)],
        [4_623_083_278_111_274_317, 4_597_492_439_981_422_567, 4_606_112_098_356_501_949, 0]
    );
}

#[test]
fn what_is_ruled_out_could_not_have_won() {
    let fleet = fleet((0..200).map(|n| (n, 0.5 + 0.01 * f64::from(u32::try_from(n).unwrap()))));
    let candidates = Candidates::new(fleet.iter().map(|(node, capacity)| (node, *capacity)));
    let volume: VolumeName = "v".parse().unwrap();
    for shard in 0..2_000 {
        let shard = ShardHash::of(&volume, ShardId(shard));
        let costs = fleet.iter().map(|(node, capacity)| {
            let draw = mix(XxHash3_64::oneshot(node.as_str().as_bytes()) ^ shard.0);
            (cost(draw, f64::from(weight(*capacity)), None).unwrap(), node)
        });
        let best = costs.min_by(|a, b| a.partial_cmp(b).unwrap()).unwrap();
        assert_eq!(candidates.owner(shard), Some(best.1));
    }
}

#[test]
fn nobody_owns_what_nobody_mounts() {
    let none = Candidates::new(Vec::<(&NodeName, f64)>::new());
    assert_eq!(none.owner(ShardHash(1)), None);
}

#[test]
fn odd_capacities_do_no_harm() {
    for odd in [0.0, -1.0, f64::NAN, 1e-9] {
        assert_eq!(weight(odd), 1);
    }
    assert_eq!((weight(1.0), weight(0.01), weight(f64::INFINITY)), (1_000, 10, u32::MAX));
    let (a, b) = (0.1 + 0.2, 0.3);
    assert_eq!(weight(a), weight(b), "what was read from JSON may be off by a bit");
}

/// Shares within 10 % of what the capacities say, on 100,000 shards.
#[test]
fn shares_are_proportional_to_capacities() {
    for fleet in [
        fleet((0..10).map(|n| (n, 1.0))),
        fleet([(0, 0.5), (1, 1.0), (2, 1.0), (3, 2.0), (4, 5.5)]),
        fleet([(0, 300.0), (1, 700.0)]),
    ] {
        let mut counts: HashMap<NodeName, f64> = HashMap::new();
        for owner in owners(&fleet, 100_000) {
            *counts.entry(owner).or_default() += 1.0;
        }
        let all: f64 = fleet.values().sum();
        for (node, capacity) in &fleet {
            let share = counts[node] / 100_000.0 / (capacity / all);
            assert!((0.95..1.05).contains(&share), "{node} has {share} of what it should");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_change_moves_only_what_it_must(
        capacities in prop::collection::vec(prop_oneof![Just(1.0), Just(2.0), 0.2..5.0], 2..12),
        joiner in prop_oneof![Just(1.0), 0.2..5.0],
        factor in prop_oneof![0.2..0.9, 1.1..4.0],
    ) {
        const SHARDS: u32 = 20_000;
        let before = fleet(capacities.iter().copied().enumerate());
        let new = name(capacities.len());
        let mut after = before.clone();
        after.insert(new.clone(), joiner);
        let (old_owners, new_owners) = (owners(&before, SHARDS), owners(&after, SHARDS));
        let moved: Vec<_> = old_owners.iter().zip(&new_owners).filter(|(a, b)| a != b).collect();
        prop_assert!(moved.iter().all(|(_, to)| **to == new), "shards move to the joiner alone");
        let due = f64::from(SHARDS) * joiner / after.values().sum::<f64>();
        // Four standard deviations beside the tenth, for the smallest shares.
        #[expect(clippy::cast_precision_loss)]
        let off = (moved.len() as f64 - due).abs();
        prop_assert!(off < due * 0.1 + 4.0 * due.sqrt(), "{} moved, {due} should", moved.len());

        // A capacity that changes moves shards to or from that node alone.
        let mut changed = before.clone();
        *changed.get_mut(&name(0)).unwrap() *= factor;
        for (from, to) in old_owners.iter().zip(owners(&changed, SHARDS)) {
            let to_it = factor > 1.0 && to == name(0);
            let from_it = factor < 1.0 && *from == name(0);
            prop_assert!(*from == to || to_it || from_it, "{from} to {to}");
        }
    }

    #[test]
    fn the_order_of_nodes_does_not_matter(
        capacities in prop::collection::vec(prop_oneof![Just(1.0), 0.2..5.0], 1..20),
        seed: u64,
    ) {
        let fleet = fleet(capacities.iter().copied().enumerate());
        let mut shuffled: Vec<_> = fleet.iter().map(|(node, &capacity)| (node, capacity)).collect();
        shuffled.sort_by_key(|(node, _)| mix(XxHash3_64::oneshot(node.as_str().as_bytes()) ^ seed));
        let shuffled = Candidates::new(shuffled);
        let volume = VolumeHash::of(&"default".parse().unwrap());
        for (shard, owner) in (0..).zip(owners(&fleet, 500)) {
            prop_assert_eq!(shuffled.owner(volume.shard(ShardId(shard))), Some(&owner));
        }
    }
}
