//! Leases, trust, and the node's key.

use std::time::Duration;

use super::super::*;
use super::world::*;

#[test]
fn a_node_joins_and_keeps_its_lease() {
    let mut world = World::new(1, 8);
    world.run(TTL);
    world.assert_settled();
    assert_eq!(world.owned(0).len(), 8);
    world.run(TTL * 20);
    let asked = &world.nodes[0].asked;
    let grants = asked.iter().filter(|action| matches!(action, Action::GrantLease { .. }));
    assert_eq!(grants.count(), 1);
    let beats = asked.iter().filter(|action| matches!(action, Action::KeepAlive { .. }));
    assert_eq!(beats.count(), 21 * 4);
    assert_eq!(asked.len(), 84 + 4, "and one grant, list, registration and claim");
}

#[test]
fn trust_ends_before_the_lease_and_shards_a_margin_after_it() {
    let mut world = World::new(1, 4);
    world.run(TTL);
    let kept_at = world.now;
    assert_eq!(world.nodes[0].machine.trusted_until(), kept_at + TTL - TTL / 5);
    world.fate = Box::new(|_| Vec::new());
    world.run(TTL + TTL / 5 - Duration::from_millis(1));
    assert_eq!(world.nodes[0].machine.trusted_until(), kept_at + TTL - TTL / 5);
    assert_eq!(world.owned(0).len(), 4, "the lease may still be kept");
    world.run(Duration::from_millis(1));
    assert_eq!(world.owned(0).len(), 0);
    assert_eq!(world.nodes[0].machine.next_wakeup().unwrap(), world.now + TTL);
    world.fate = Box::new(|_| vec![Duration::ZERO]);
    world.run(TTL);
    world.assert_settled();
}

#[test]
fn the_margin_is_between_half_a_second_and_half_the_lease() {
    let seconds = Duration::from_secs;
    let margins = [1, 2, 10, 60].map(|ttl| attempt::margin(seconds(ttl)));
    let millis = Duration::from_millis;
    assert_eq!(margins, [millis(500), millis(500), seconds(2), seconds(12)]);
    assert_eq!(attempt::margin(millis(600)), millis(300));
}

#[test]
fn trust_counts_from_when_the_request_was_sent() {
    let mut machine = Ownership::new(options(0, 1), Duration::ZERO);
    let at = |seconds| Duration::from_secs(seconds);
    let granted = |lease, sent_at| Event::LeaseGranted { lease: LeaseId(lease), sent_at, ttl: TTL };
    let kept = |lease, sent_at| Event::LeaseKept { lease: LeaseId(lease), sent_at, ttl: TTL };
    machine.handle(at(3), granted(1, at(1)));
    assert_eq!(machine.trusted_until(), at(9));
    machine.handle(at(8), kept(1, at(4)));
    assert_eq!(machine.trusted_until(), at(12));
    machine.handle(at(8), kept(1, at(2)));
    assert_eq!(machine.trusted_until(), at(12), "a late reply takes nothing away");
    machine.handle(at(9), kept(2, at(9)));
    assert_eq!(machine.trusted_until(), at(12), "another lease");
    machine.handle(at(9), Event::LeaseGone { lease: LeaseId(2) });
    assert_eq!(machine.trusted_until(), at(12), "another lease");
    machine.handle(at(10), Event::LeaseGone { lease: LeaseId(1) });
    assert_eq!(machine.trusted_until(), Duration::ZERO);
    machine.handle(at(10), kept(1, at(10)));
    machine.handle(at(10), granted(1, at(1)));
    assert_eq!(machine.trusted_until(), Duration::ZERO, "what is gone is gone");
    machine.handle(at(11), granted(3, at(10)));
    assert_eq!(machine.trusted_until(), at(18));
    let actions = machine.handle(at(11), granted(4, at(11)));
    assert_eq!(actions, [Action::Revoke { lease: LeaseId(4) }], "one is enough");
    assert_eq!(machine.trusted_until(), at(18));
}

#[test]
fn a_lease_that_took_too_long_to_get_is_not_taken() {
    let mut machine = Ownership::new(options(0, 1), Duration::ZERO);
    let event = Event::LeaseGranted { lease: LeaseId(1), sent_at: Duration::ZERO, ttl: TTL };
    machine.handle(Duration::from_secs(12), event);
    assert_eq!(machine.trusted_until(), Duration::ZERO);
}

#[test]
fn a_failed_keep_alive_is_tried_again_soon() {
    let mut world = World::new(1, 1);
    world.run(TTL);
    let before = world.nodes[0].machine.next_wakeup().unwrap();
    assert_eq!(before, world.now + TTL / 4);
    world.tell(0, Event::Failed(Request::KeepAlive));
    assert_eq!(world.nodes[0].machine.next_wakeup().unwrap(), world.now + TTL / 16);
}

#[test]
fn requests_that_fail_or_vanish_are_made_again() {
    let mut machine = Ownership::new(options(0, 1), Duration::ZERO);
    let mut asked = Vec::new();
    let mut now = Duration::ZERO;
    for round in 0..40 {
        let actions = machine.handle(now, Event::Tick);
        for action in &actions {
            asked.push((now, action.clone()));
            // Every second one vanishes.
            if round % 2 == 0 && matches!(action, Action::GrantLease { .. }) {
                machine.handle(now, Event::Failed(Request::Grant));
            }
            if matches!(action, Action::List) {
                machine.handle(now, Event::Failed(Request::List));
            }
        }
        now = machine.next_wakeup().unwrap();
    }
    let grants: Vec<_> = asked.iter().filter(|(_, action)| *action != Action::List).collect();
    assert!(grants.len() > 5 && grants.len() < 40, "{grants:?}");
    let pauses = grants.windows(2).map(|two| two[1].0 - two[0].0);
    assert!(pauses.clone().all(|pause| pause >= TTL / 40 && pause <= TTL), "{grants:?}");
}

#[test]
fn a_restarted_node_waits_for_its_former_self() {
    let mut world = World::new(1, 4);
    world.run(TTL);
    world.nodes[0].is_paused = true;
    let again = world.join(|options| options.node = name(0));
    world.run(TTL / 2);
    assert_eq!(world.owned(again).len(), 0);
    world.run(TTL);
    assert_eq!(world.owned(again).len(), 4);
    assert_eq!(world.nodes[again].halted, None);
}

#[test]
fn two_nodes_of_one_name_do_not_both_live() {
    let mut world = World::new(1, 4);
    world.run(TTL);
    let twin = world.join(|options| options.node = name(0));
    world.run(TTL * 3);
    let reason = world.nodes[twin].halted.clone().unwrap();
    assert!(reason.contains("n0"), "{reason}");
    assert_eq!((world.owned(0).len(), world.owned(twin).len()), (4, 0));
    assert_eq!(world.nodes[twin].machine.next_wakeup(), None);
}

#[test]
fn a_lease_of_its_own_that_it_gave_up_is_revoked_to_have_the_name_back() {
    let mut world = World::new(1, 4);
    world.run(TTL);
    let lease = world.nodes[0].machine.lease().unwrap();
    // Requests reach etcd, replies don't come.
    world.fate = Box::new(|parcel| match parcel {
        Parcel::Reply(_, Event::LeaseKept { .. }) => Vec::new(),
        _ => vec![Duration::ZERO],
    });
    world.run(TTL + TTL / 5 + TTL / 100);
    assert!(!world.etcd.has_lease(lease), "it was kept until now, and would be for a while");
    assert!(world.etcd.view.nodes.contains_key(&name(0)));
    assert_ne!(world.nodes[0].machine.lease(), Some(lease));
    world.fate = Box::new(|_| vec![Duration::ZERO]);
    world.run(TTL * 2);
    world.assert_settled();
}

#[test]
fn a_key_that_somebody_deleted_is_put_again() {
    let mut world = World::new(2, 8);
    world.run(TTL);
    world.etcd.commit(vec![Change::Node(name(0), None)]);
    world.run(TTL / 100);
    assert!(world.nodes[0].machine.is_registered());
    world.run(TTL);
    world.assert_settled();
}
