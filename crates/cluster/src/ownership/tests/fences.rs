//! What the bucket knows better.

use super::super::*;
use super::world::*;

fn questions(world: &World, n: usize) -> usize {
    let asked = world.nodes[n].asked.iter();
    asked.filter(|action| matches!(action, Action::AskGeneration { .. })).count()
}

#[test]
fn a_greater_generation_is_gone_on_with() {
    let mut world = World::new(1, 4);
    world.run(TTL);
    let (shard, epoch) = world.any_of(0);
    let by = Epoch::new(5, 3);
    world.tell(0, Event::Fenced { shard: shard.clone(), epoch, by });
    assert!(!world.nodes[0].machine.assignments().contains_key(&shard), "dropped at once");
    let question = Action::AskGeneration { generation: 1, fenced_by: by };
    assert!(world.nodes[0].asked.contains(&question));
    world.tell(0, Event::Generation(6));
    world.run(TTL);
    let now = world.nodes[0].machine.assignments()[&shard].grant;
    assert_eq!((now.epoch.generation(), now.handed_over_by), (6, None));
    assert_eq!(world.owned(0).len(), 4);
    assert_eq!(questions(&world, 0), 1);
}

#[test]
fn an_owner_that_was_paused_and_replaced_does_not_raise_the_generation() {
    let mut world = World::new(2, 8);
    world.run(TTL * 2);
    let (shard, epoch) = world.any_of(0);
    world.nodes[0].is_paused = true;
    world.run(TTL * 2);
    let by = world.nodes[1].machine.assignments()[&shard].grant.epoch;
    world.nodes[0].is_paused = false;
    world.tell(0, Event::Fenced { shard, epoch, by });
    world.run(TTL * 2);
    assert_eq!(questions(&world, 0), 0);
    world.assert_settled();
}

#[test]
fn the_view_being_late_does_not_raise_the_generation_either() {
    let mut world = World::new(2, 8);
    world.run(TTL * 2);
    let (shard, epoch) = world.any_of(0);
    // Its watch tells nothing; its claim was deleted and made by another.
    world.fate = Box::new(|parcel| match parcel {
        Parcel::Reply(0, Event::Changed { .. }) => Vec::new(),
        _ => vec![std::time::Duration::ZERO],
    });
    world.is_exclusive = false;
    world.etcd.commit(vec![Change::Claim(shard.clone(), None)]);
    let created = Revision(world.etcd.revision + 1);
    let claim = Claim { node: name(9), generation: 1, lease: LeaseId(99), created };
    let by = claim.epoch();
    world.etcd.commit(vec![Change::Claim(shard.clone(), Some(claim))]);
    world.run(TTL);
    assert!(world.nodes[0].machine.assignments().contains_key(&shard));
    world.tell(0, Event::Fenced { shard: shard.clone(), epoch, by });
    world.run(TTL);
    assert_eq!(questions(&world, 0), 0);
    assert!(world.etcd.view.claims.contains_key(&shard), "another's claim is left alone");
}

#[test]
fn an_etcd_that_was_set_back_raises_the_generation() {
    let mut world = World::new(1, 4);
    world.run(TTL);
    let (shard, epoch) = world.any_of(0);
    // The bucket has an epoch of the same generation that this etcd has forgotten.
    let by = Epoch::new(1, epoch.revision() + 100);
    world.tell(0, Event::Fenced { shard: shard.clone(), epoch, by });
    world.run(TTL);
    assert_eq!(questions(&world, 0), 1);
    assert_eq!(world.nodes[0].machine.assignments()[&shard].grant.epoch.generation(), 2);
    assert_eq!(world.owned(0).len(), 4);
}

#[test]
fn a_fence_that_comes_again_and_again_is_answered_ever_more_rarely() {
    let mut world = World::new(1, 1);
    world.run(TTL);
    let begin = world.nodes[0].asked.len();
    for _ in 0..40 {
        if let Some((shard, mine)) = world.nodes[0].machine.assignments().first_key_value() {
            let epoch = mine.grant.epoch;
            let by = Epoch::new(epoch.generation() + 1, 1);
            let shard = shard.clone();
            world.tell(0, Event::Fenced { shard, epoch, by });
        }
        world.run(TTL / 10);
    }
    let asked = &world.nodes[0].asked[begin..];
    let claims = asked.iter().filter(|action| matches!(action, Action::Claim { .. }));
    assert!((5..14).contains(&claims.count()), "{asked:?}");
}

#[test]
fn an_unanswered_question_is_asked_again_and_nothing_is_claimed_meanwhile() {
    let mut world = World::new(1, 2);
    world.run(TTL);
    let (shard, epoch) = world.any_of(0);
    world.fate = Box::new(|parcel| match parcel {
        Parcel::Reply(_, Event::Generation(_)) => Vec::new(),
        _ => vec![std::time::Duration::ZERO],
    });
    world.tell(0, Event::Fenced { shard: shard.clone(), epoch, by: Epoch::new(2, 1) });
    world.run(TTL * 3);
    assert!((3..6).contains(&questions(&world, 0)));
    assert!(!world.etcd.view.claims.contains_key(&shard), "unclaimed, for whoever can");
    world.tell(0, Event::Generation(1));
    assert_eq!(world.owned(0).len(), 1, "that is no answer");
    world.tell(0, Event::Generation(2));
    world.run(TTL);
    assert_eq!(world.owned(0).len(), 2);
}

#[test]
fn a_claim_that_is_made_late_with_an_old_generation_is_not_used() {
    let mut world = World::new(1, 1);
    world.run(TTL);
    let (shard, epoch) = world.any_of(0);
    world.tell(0, Event::Fenced { shard: shard.clone(), epoch, by: Epoch::new(2, 1) });
    world.run(TTL);
    assert_eq!(world.any_of(0).1.generation(), 2);
    // A request of before is carried out now.
    let lease = world.nodes[0].machine.lease().unwrap();
    world.is_exclusive = false;
    world.etcd.commit(vec![Change::Claim(shard.clone(), None)]);
    let created = Revision(world.etcd.revision + 1);
    let late = Claim { node: name(0), generation: 1, lease, created };
    world.etcd.commit(vec![Change::Claim(shard, Some(late))]);
    world.run(TTL);
    let (_, now) = world.any_of(0);
    assert!(now.generation() == 2 && now.revision() > created.0, "{now}");
}

#[test]
fn a_node_that_sees_others_claim_under_a_later_generation_goes_on_with_that() {
    for is_listed in [false, true] {
        let mut world = World::new(1, 2);
        world.run(TTL);
        world.is_exclusive = false;
        if is_listed {
            // Its watch tells nothing.
            world.fate = Box::new(|parcel| match parcel {
                Parcel::Reply(0, Event::Changed { .. }) => Vec::new(),
                _ => vec![std::time::Duration::ZERO],
            });
        }
        let (shard, _) = world.any_of(0);
        world.etcd.commit(vec![Change::Claim(shard.clone(), None)]);
        let created = Revision(world.etcd.revision + 1);
        let claim = Claim { node: name(9), generation: 4, lease: LeaseId(99), created };
        world.etcd.commit(vec![Change::Claim(shard, Some(claim))]);
        if is_listed {
            world.tell(0, Event::WatchLost);
        }
        world.run(TTL);
        let fenced_by = Epoch::new(4, 0);
        let question = Action::AskGeneration { generation: 1, fenced_by };
        assert!(world.nodes[0].asked.contains(&question), "{is_listed}");
    }
}

#[test]
fn a_shard_that_a_later_generation_handed_over_is_not_owned_under_an_earlier_one() {
    let mut world = World::new(1, 1);
    let handover = Epoch::new(3, 7);
    world.etcd.handovers.insert(key(0), handover);
    world.run(TTL);
    let question = Action::AskGeneration { generation: 1, fenced_by: handover };
    assert!(world.nodes[0].asked.contains(&question));
    let grant = world.nodes[0].machine.assignments()[&key(0)].grant;
    assert!(grant.epoch > handover, "{grant:?}");
    assert_eq!(grant.handed_over_by, Some(handover), "what it said is still true");
}

#[test]
fn fences_and_releases_of_other_epochs_are_ignored() {
    let mut world = World::new(1, 2);
    world.run(TTL);
    let (shard, epoch) = world.any_of(0);
    let other = Epoch(epoch.0 - 1);
    let before = world.nodes[0].machine.assignments().clone();
    world.tell(0, Event::Fenced { shard: shard.clone(), epoch: other, by: Epoch::new(9, 9) });
    world.tell(0, Event::Released { shard, epoch: other, catalog: None });
    assert_eq!(*world.nodes[0].machine.assignments(), before);
    assert_eq!(questions(&world, 0), 0);
}

#[test]
fn a_list_of_before_the_fence_proves_nothing() {
    let mut world = World::new(1, 2);
    world.run(TTL);
    let (shard, epoch) = world.any_of(0);
    let sent_at = world.now;
    let (revision, view) = (Revision(world.etcd.revision), world.etcd.view.clone());
    world.run(TTL / 10);
    world.fate = Box::new(|_| Vec::new());
    let by = Epoch::new(1, epoch.revision() + 100);
    world.tell(0, Event::Fenced { shard, epoch, by });
    world.tell(0, Event::Listed { sent_at, revision, view });
    assert_eq!(questions(&world, 0), 0);
}
