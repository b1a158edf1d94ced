//! Claims, and what becomes of them.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use super::super::*;
use super::world::*;
use crate::Grant;

fn claims(world: &World, n: usize) -> Vec<Vec<u32>> {
    let asked = world.nodes[n].asked.iter();
    let claims = asked.filter_map(|action| match action {
        Action::Claim { shards, .. } => Some(shards.iter().map(|key| key.shard.0).collect()),
        _ => None,
    });
    claims.collect()
}

#[test]
fn claims_wait_until_the_membership_has_settled() {
    let mut world = World::new(1, 8);
    world.run(TTL / 10 - Duration::from_millis(1));
    assert_eq!(claims(&world, 0).len(), 0);
    let second = world.join(|_| {});
    world.run(TTL / 10 - Duration::from_millis(1));
    assert_eq!(claims(&world, 0).len() + claims(&world, second).len(), 0);
    assert_eq!(world.nodes[0].machine.unowned(), 8);
    world.run(Duration::from_millis(1));
    world.assert_settled();
    assert_eq!([0, second].map(|n| world.nodes[n].machine.unowned()), [0, 0]);
    assert!(!world.owned(0).is_empty() && !world.owned(second).is_empty());
}

#[test]
fn changes_put_claims_off_for_half_a_lease_at_most() {
    let mut world = World::new(1, 8);
    for _ in 0..6 {
        world.run(TTL / 12);
        world.join(|_| {});
    }
    world.run(Duration::from_millis(1));
    assert!(world.nodes.iter().any(|node| !node.machine.assignments().is_empty()));
}

#[test]
fn claims_are_batched_and_only_of_what_is_unowned_and_desired() {
    let mut world = World::new(2, 400);
    world.run(TTL);
    world.assert_settled();
    for n in [0, 1] {
        let claims = claims(&world, n);
        assert!(claims.iter().all(|batch| batch.len() <= CLAIMS_AT_ONCE), "{claims:?}");
        let all: Vec<u32> = claims.iter().flatten().copied().collect();
        assert_eq!(all.len(), world.owned(n).len(), "each once");
        assert_eq!(all.into_iter().collect::<BTreeSet<_>>(), world.owned(n));
    }
}

#[test]
fn nothing_is_claimed_while_the_lease_is_not_trusted() {
    let mut world = World::new(2, 16);
    world.run(TTL);
    let before = claims(&world, 0).len();
    world.fate = Box::new(|parcel| match parcel {
        Parcel::Reply(0, Event::LeaseKept { .. }) => Vec::new(),
        _ => vec![Duration::ZERO],
    });
    world.run(TTL - TTL / 5);
    let lease = world.nodes[1].machine.lease().unwrap();
    world.nodes[1].is_paused = true;
    world.is_exclusive = false;
    world.etcd.revoke(lease);
    world.run(TTL / 5);
    assert_eq!(claims(&world, 0).len(), before);
}

#[test]
fn a_claim_whose_reply_is_lost_is_ours_all_the_same() {
    let mut world = World::new(1, 4);
    for shard in 0..4 {
        world.etcd.handovers.insert(key(shard), Epoch(7));
    }
    world.fate = Box::new(|parcel| match parcel {
        Parcel::Reply(_, Event::Claimed { .. }) => Vec::new(),
        _ => vec![Duration::ZERO],
    });
    world.run(TTL / 2);
    assert_eq!(world.owned(0).len(), 0, "the reply may still come, and would say more");
    world.run(TTL);
    assert_eq!(world.owned(0).len(), 4);
    let all = world.nodes[0].machine.assignments().values();
    assert!(all.clone().all(|assignment| assignment.grant.handed_over_by.is_none()));
    assert_eq!(claims(&world, 0).len(), 1);
}

#[test]
fn a_reply_after_the_watch_still_tells_of_the_handover() {
    let mut world = World::new(1, 1);
    world.etcd.handovers.insert(key(0), Epoch(7));
    world.fate = Box::new(|parcel| match parcel {
        Parcel::Reply(_, Event::Claimed { .. }) => vec![TTL / 4],
        _ => vec![Duration::ZERO],
    });
    world.run(TTL);
    let claim = &world.etcd.view.claims[&key(0)];
    let grant = Grant { epoch: claim.epoch(), handed_over_by: Some(Epoch(7)) };
    assert_eq!(world.nodes[0].machine.assignments()[&key(0)].grant, grant);
}

#[test]
fn unknown_outcomes_are_found_out() {
    let mut world = World::new(1, 4);
    let mut is_first = true;
    world.fate = Box::new(move |parcel| match parcel {
        Parcel::Request(_, _, Action::Claim { .. }) => {
            let delay = if std::mem::take(&mut is_first) { TTL / 8 } else { Duration::ZERO };
            vec![delay]
        }
        _ => vec![Duration::ZERO],
    });
    world.run(TTL / 10);
    let lease = world.nodes[0].machine.lease().unwrap();
    let outcomes = (0..4).map(|shard| (key(shard), Claimed::Unknown)).collect();
    world.tell(0, Event::Claimed { lease, generation: 1, outcomes });
    world.run(TTL);
    world.assert_settled();
}

#[test]
fn a_claim_that_somebody_deletes_is_dropped_at_once_and_made_anew() {
    let mut world = World::new(1, 2);
    world.run(TTL);
    let (shard, epoch) = world.any_of(0);
    world.is_exclusive = false;
    world.nodes[0].releases = false;
    let revision = Revision(world.etcd.revision + 1);
    world.etcd.commit(vec![Change::Claim(shard.clone(), None)]);
    let after = Revision(revision.0 - 1);
    let changes = vec![Change::Claim(shard.clone(), None)];
    world.tell(0, Event::Changed { after, revision, changes });
    assert!(!world.nodes[0].machine.assignments().contains_key(&shard));
    world.run(TTL / 10);
    assert!(world.nodes[0].machine.assignments()[&shard].grant.epoch > epoch);
}

#[test]
fn late_and_repeated_replies_do_not_bring_a_claim_back() {
    let mut world = World::new(1, 1);
    world.run(TTL);
    let (shard, epoch) = world.any_of(0);
    let lease = world.nodes[0].machine.lease().unwrap();
    let created = Revision(epoch.revision());
    let won = || Event::Claimed {
        lease,
        generation: 1,
        outcomes: vec![(key(0), Claimed::Won { created, handed_over_by: Some(Epoch(3)) })],
    };
    let before = world.nodes[0].machine.assignments().clone();
    world.tell(0, won());
    assert_eq!(*world.nodes[0].machine.assignments(), before);
    world.fate = Box::new(|parcel| match parcel {
        Parcel::Request(_, _, Action::Claim { .. }) => Vec::new(),
        _ => vec![Duration::ZERO],
    });
    world.etcd.commit(vec![Change::Claim(shard, None)]);
    world.run(TTL / 100);
    assert_eq!(world.owned(0).len(), 0);
    world.tell(0, won());
    assert_eq!(world.owned(0).len(), 0, "the view knows better");
}

#[test]
fn a_claim_that_another_has_is_left_alone_until_it_goes() {
    let mut world = World::new(1, 1);
    let claim = Claim {
        node: name(7),
        generation: 1,
        lease: LeaseId(77),
        created: Revision(world.etcd.revision + 1),
    };
    world.etcd.commit(vec![Change::Claim(key(0), Some(claim))]);
    world.run(TTL * 3);
    assert_eq!(claims(&world, 0).len(), 0);
    world.etcd.commit(vec![Change::Claim(key(0), None)]);
    world.run(Duration::ZERO);
    assert_eq!(world.owned(0).len(), 1);
}

#[test]
fn waiting_after_failures_ends_when_another_has_had_it() {
    let mut world = World::new(1, 1);
    let late = Rc::new(Cell::new(Duration::from_secs(3)));
    let delay = Rc::clone(&late);
    world.fate = Box::new(move |parcel| match parcel {
        Parcel::Reply(_, Event::Changed { changes, .. })
            if changes.iter().any(|change| matches!(change, Change::Claim(..))) =>
        {
            vec![delay.get()]
        }
        _ => vec![Duration::ZERO],
    });
    world.run(TTL / 20);
    let created = Revision(world.etcd.revision + 1);
    let claim = Claim { node: name(7), generation: 1, lease: LeaseId(77), created };
    world.etcd.commit(vec![Change::Claim(key(0), Some(claim))]);
    world.run(Duration::from_secs(3));
    let tried = claims(&world, 0).len();
    assert!((3..=5).contains(&tried), "{tried}: it does not know, and tries ever more rarely");
    late.set(Duration::ZERO);
    world.etcd.commit(vec![Change::Claim(key(0), None)]);
    world.run(Duration::ZERO);
    assert_eq!(world.owned(0).len(), 1);
}
