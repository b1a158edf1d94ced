//! Joins, leaves, drains, capacities, health.

use std::time::Duration;

use super::super::*;
use super::world::*;
use crate::Phase;

#[test]
fn a_join_moves_only_what_the_new_node_should_have() {
    let mut world = World::new(3, 200);
    world.run(TTL * 2);
    world.assert_settled();
    let before: Vec<_> = (0..3).map(|n| world.nodes[n].machine.assignments().clone()).collect();
    let new = world.join(|_| {});
    world.run(TTL / 2 - Duration::from_millis(1));
    assert_eq!(world.owned(new).len(), 0, "moves wait until the membership has settled");
    world.run(TTL);
    world.assert_settled();
    let joined = world.owned(new);
    assert!((30..70).contains(&joined.len()), "{joined:?}");
    for (n, before) in before.iter().enumerate() {
        for (shard, grant) in before {
            let now = world.nodes[n].machine.assignments().get(shard);
            assert!(now == Some(grant) || joined.contains(&shard.shard.0), "{shard}");
        }
    }
    let grants = world.nodes[new].machine.assignments();
    for (shard, assignment) in grants {
        let before = before.iter().find_map(|before| before.get(shard)).unwrap();
        assert_eq!(assignment.grant.handed_over_by, Some(before.grant.epoch));
    }
}

#[test]
fn a_crash_is_taken_over_within_the_lease_and_a_tenth() {
    let mut world = World::new(3, 60);
    world.run(TTL * 2);
    world.nodes[1].is_paused = true;
    world.run(TTL + TTL / 10);
    let claims = world.etcd.view.claims.values();
    assert!(claims.clone().all(|claim| claim.node != name(1)));
    assert_eq!(claims.count(), 60);
    assert_eq!(world.owned(0).len() + world.owned(2).len(), 60);
    world.nodes[1].is_paused = false;
    world.run(TTL * 2);
    world.assert_settled();
    assert_ne!(world.owned(1).len(), 0, "it is back");
}

#[test]
fn a_leaving_node_hands_all_over_and_is_gone() {
    let mut world = World::new(3, 60);
    world.run(TTL * 2);
    world.nodes[0].releases = false;
    let mine = world.nodes[0].machine.assignments().clone();
    world.tell(0, Event::Leave);
    world.run(TTL / 100);
    assert!(world.etcd.view.nodes[&name(0)].record.leaving);
    let all = world.nodes[0].machine.assignments().values();
    assert!(all.clone().all(|assignment| assignment.phase == Phase::Releasing));
    world.nodes[0].releases = true;
    world.tell(0, Event::Tick);
    world.run(TTL / 10);
    assert!(world.nodes[0].machine.has_left());
    assert!(!world.etcd.view.nodes.contains_key(&name(0)));
    assert_eq!(world.nodes[0].machine.next_wakeup(), None);
    assert_eq!(world.nodes[0].machine.trusted_until(), Duration::ZERO);
    world.assert_settled();
    for (shard, before) in mine {
        let now = world.nodes.iter().find_map(|node| node.machine.assignments().get(&shard));
        assert_eq!(now.unwrap().grant.handed_over_by, Some(before.grant.epoch));
    }
}

#[test]
fn the_last_node_to_leave_leaves_its_notes() {
    let mut world = World::new(1, 4);
    world.run(TTL);
    world.tell(0, Event::Leave);
    world.run(TTL / 10);
    assert!(world.nodes[0].machine.has_left());
    assert_eq!((world.etcd.handovers.len(), world.etcd.view.claims.len()), (4, 0));
    let next = world.join(|_| {});
    world.run(TTL);
    let all = world.nodes[next].machine.assignments().values();
    assert!(all.clone().all(|assignment| assignment.grant.handed_over_by.is_some()));
}

#[test]
fn a_node_leaves_even_when_etcd_is_out_of_reach() {
    let mut world = World::new(1, 4);
    world.run(TTL);
    world.fate = Box::new(|_| Vec::new());
    world.tell(0, Event::Leave);
    world.run(TTL / 2 - Duration::from_millis(1));
    assert_eq!(world.owned(0).len(), 4);
    world.run(Duration::from_millis(1));
    assert_eq!(world.owned(0).len(), 0, "it has told the replicator");
    world.run(TTL);
    assert!(world.nodes[0].machine.has_left());
}

#[test]
fn a_node_that_has_not_joined_leaves_at_once() {
    let mut machine = Ownership::new(options(0, 1), Duration::ZERO);
    machine.handle(Duration::ZERO, Event::Leave);
    assert!(machine.has_left() && machine.next_wakeup().is_none());
}

#[test]
fn a_claim_that_comes_while_leaving_is_handed_on() {
    let mut world = World::new(1, 1);
    world.etcd.handovers.insert(key(0), Epoch(9));
    world.fate = Box::new(|parcel| match parcel {
        Parcel::Request(_, _, Action::Claim { .. }) => vec![TTL / 20],
        _ => vec![Duration::ZERO],
    });
    world.run(TTL / 10);
    world.tell(0, Event::Leave);
    world.run(TTL / 10);
    assert!(world.nodes[0].machine.has_left());
    assert_eq!(world.etcd.handovers[&key(0)], Epoch(9), "nothing was done in between");
}

#[test]
fn a_drained_node_gives_all_away_unless_nobody_else_could_have_it() {
    let mut world = World::new(2, 20);
    world.run(TTL * 2);
    world.etcd.commit(vec![Change::Drain(name(0), true)]);
    world.run(TTL);
    assert_eq!((world.owned(0).len(), world.owned(1).len()), (0, 20));
    world.etcd.commit(vec![Change::Drain(name(1), true)]);
    world.run(TTL);
    world.assert_settled();
    assert_ne!(world.owned(0).len(), 0, "both are drained: being backed up beats being drained");
    world.etcd.commit(vec![Change::Drain(name(0), false)]);
    world.run(TTL);
    assert_eq!((world.owned(0).len(), world.owned(1).len()), (20, 0));
}

#[test]
fn an_unwell_node_gives_all_away_unless_all_are() {
    let mut world = World::new(2, 20);
    world.run(TTL * 2);
    world.tell(0, Event::Fit { is_fit: false });
    world.run(TTL);
    assert_eq!((world.owned(0).len(), world.owned(1).len()), (0, 20));
    world.tell(1, Event::Fit { is_fit: false });
    world.run(TTL);
    world.assert_settled();
    assert_ne!(world.owned(0).len(), 0);
    world.tell(0, Event::Fit { is_fit: true });
    world.tell(1, Event::Fit { is_fit: true });
    world.run(TTL);
    world.assert_settled();
}

#[test]
fn candidates_are_ranked() {
    let mut view = View::default();
    let mut add = |n: usize, change: fn(&mut crate::records::NodeRecord)| {
        let mut registered = RegisteredNode { record: record(), lease: LeaseId(1) };
        change(&mut registered.record);
        view.nodes.insert(name(n), registered);
    };
    add(0, |_| {});
    add(1, |_| {});
    add(2, |record| record.unwell = true);
    add(3, |record| record.leaving = true);
    add(4, |record| record.volumes.clear());
    view.drains.insert(name(1));
    let owners = |view: &View| {
        let volume = "v".parse().unwrap();
        let desired = Desired::new(view, [&volume], 100);
        let owners = (0..100).filter_map(|shard| desired.owner(&key(shard)).cloned());
        owners.collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>()
    };
    let mut remaining = Vec::new();
    for gone in 0..4 {
        remaining.push(owners(&view));
        view.nodes.remove(&name(gone));
    }
    assert_eq!(remaining, [vec![name(0)], vec![name(1)], vec![name(2)], vec![]]);
}

#[test]
fn volumes_are_owned_by_those_that_mount_them() {
    let mut world = World::new(1, 8);
    let other = world.join(|options| {
        let mount = crate::records::MountRecord::default();
        options.record.volumes = [("w".parse().unwrap(), mount)].into();
    });
    world.run(TTL);
    assert_eq!((world.owned(0).len(), world.owned(other).len()), (8, 8));
    let all = world.nodes[other].machine.assignments().keys();
    assert!(all.clone().all(|key| key.volume.as_str() == "w"));
}

#[test]
fn capacity_decides_about_shares() {
    let mut world = World::new(1, 400);
    let big = world.join(|options| options.record.capacity = 3.0);
    world.run(TTL * 2);
    world.assert_settled();
    assert!((250..350).contains(&world.owned(big).len()), "{}", world.owned(big).len());
}

#[test]
fn a_release_that_never_ends_is_ended() {
    let mut world = World::new(2, 8);
    world.run(TTL * 2);
    world.nodes[0].releases = false;
    world.etcd.commit(vec![Change::Drain(name(0), true)]);
    world.run(TTL / 2 + RELEASE_LIMIT - Duration::from_millis(1));
    assert_ne!(world.owned(0).len(), 0);
    world.run(Duration::from_millis(1));
    assert_eq!((world.owned(0).len(), world.owned(1).len()), (0, 8));
    assert!(world.etcd.handovers.is_empty());
}

#[test]
fn nothing_is_given_away_while_the_view_may_be_old() {
    let mut world = World::new(2, 8);
    world.run(TTL * 2);
    world.etcd.commit(vec![Change::Drain(name(0), true)]);
    world.run(TTL / 4);
    world.fate = Box::new(|parcel| match parcel {
        Parcel::Request(0, _, Action::List) => Vec::new(),
        _ => vec![Duration::ZERO],
    });
    world.nodes[0].releases = false;
    world.tell(0, Event::WatchLost);
    world.run(TTL);
    let all = world.nodes[0].machine.assignments();
    assert!(!all.is_empty() && all.values().all(|mine| mine.phase == Phase::Owned));
}

#[test]
fn a_node_that_comes_and_goes_does_not_stop_a_drain() {
    let mut world = World::new(2, 8);
    world.run(TTL * 2);
    world.etcd.commit(vec![Change::Drain(name(0), true)]);
    for round in 0..8 {
        let mut registered = RegisteredNode { record: record(), lease: LeaseId(99) };
        // It mounts the volume, and gets nothing of it.
        registered.record.capacity = 0.0;
        let comes = (round % 2 == 0).then_some(registered);
        world.etcd.commit(vec![Change::Node(name(9), comes)]);
        world.run(TTL / 3);
    }
    assert_eq!((world.owned(0).len(), world.owned(1).len()), (0, 8));
}

#[test]
fn a_node_that_leaves_waits_until_its_notes_are_there() {
    let mut world = World::new(1, 4);
    world.run(TTL);
    world.fate = Box::new(|parcel| match parcel {
        Parcel::Request(_, _, Action::Unclaim { .. }) => vec![TTL / 4],
        _ => vec![Duration::ZERO],
    });
    world.tell(0, Event::Leave);
    world.run(TTL);
    assert!(world.nodes[0].machine.has_left());
    assert_eq!(world.etcd.handovers.len(), 4);
}
