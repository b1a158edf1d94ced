//! The view, and what makes it current.

use std::time::Duration;

use super::super::*;
use super::world::*;

fn lists(world: &World, n: usize) -> usize {
    world.nodes[n].asked.iter().filter(|action| **action == Action::List).count()
}

#[test]
fn after_the_watch_is_lost_all_is_listed_again() {
    let mut world = World::new(2, 8);
    world.run(TTL * 2);
    let before = lists(&world, 0);
    let (shard, _) = world.any_of(0);
    world.tell(0, Event::WatchLost);
    world.is_exclusive = false;
    world.etcd.commit(vec![Change::Claim(shard.clone(), None)]);
    world.run(Duration::ZERO);
    assert_eq!(lists(&world, 0), before + 1);
    world.run(TTL);
    world.assert_settled();
    assert_eq!(lists(&world, 0), before + 1);
}

#[test]
fn a_list_that_fails_after_an_earlier_one_was_answered_is_asked_for_again() {
    let mut world = World::new(1, 8);
    world.run(TTL);
    let before = lists(&world, 0);
    // Its driver gave up the watch of the earlier one when it began this.
    world.tell(0, Event::Failed(Request::List));
    world.run(TTL);
    assert_eq!(lists(&world, 0), before + 1);
}

#[test]
fn a_watch_that_always_ends_does_not_cause_a_storm_of_lists() {
    let mut world = World::new(1, 8);
    world.run(TTL);
    let before = lists(&world, 0);
    for _ in 0..1_000 {
        world.tell(0, Event::WatchLost);
        world.run(TTL / 100);
    }
    assert!((50..=101).contains(&(lists(&world, 0) - before)), "{}", lists(&world, 0) - before);
}

#[test]
fn a_gap_in_what_is_told_is_noticed() {
    let mut world = World::new(1, 8);
    world.run(TTL);
    let before = lists(&world, 0);
    let revision = world.etcd.revision;
    let changed = |after, revision| Event::Changed {
        after: Revision(after),
        revision: Revision(revision),
        changes: Vec::new(),
    };
    world.tell(0, changed(revision, revision));
    world.tell(0, changed(revision - 3, revision - 1));
    world.run(TTL / 100);
    assert_eq!(lists(&world, 0), before, "a repetition is no gap");
    world.tell(0, changed(revision + 1, revision + 2));
    world.run(TTL / 10);
    assert_eq!(lists(&world, 0), before + 1);
}

#[test]
fn stale_lists_and_changes_are_ignored() {
    let mut world = World::new(1, 2);
    world.run(TTL / 20);
    let (stale, revision, early) =
        (world.etcd.view.clone(), Revision(world.etcd.revision), world.now);
    world.run(TTL);
    assert_eq!(world.owned(0).len(), 2);
    world.tell(0, Event::Listed { sent_at: early, revision, view: stale });
    assert_eq!(world.owned(0).len(), 2);
    let (shard, _) = world.any_of(0);
    let changes = vec![Change::Claim(shard, None)];
    world.tell(0, Event::Changed { after: Revision(0), revision, changes });
    assert_eq!(world.owned(0).len(), 2);
    assert_eq!(world.nodes[0].machine.view(), &world.etcd.view);
}

#[test]
fn changes_that_overlap_what_is_known_are_taken_in() {
    let mut world = World::new(1, 2);
    world.run(TTL);
    let last = world.etcd.revision;
    let drain = Change::Drain(name(5), true);
    world.etcd.commit(vec![drain.clone()]);
    let changed = Event::Changed {
        after: Revision(last - 2),
        revision: Revision(last + 1),
        changes: vec![Change::Drain(name(5), false), drain],
    };
    world.tell(0, changed);
    assert_eq!(world.nodes[0].machine.view(), &world.etcd.view);
}

#[test]
fn a_list_that_was_sent_before_the_watch_was_lost_is_not_enough() {
    let mut world = World::new(1, 2);
    world.run(TTL);
    let (early, lists_before) = (world.now, lists(&world, 0));
    world.run(TTL / 10);
    world.fate = Box::new(|parcel| match parcel {
        Parcel::Request(_, _, Action::List) => Vec::new(),
        _ => vec![Duration::ZERO],
    });
    world.tell(0, Event::WatchLost);
    let (revision, view) = (Revision(world.etcd.revision), world.etcd.view.clone());
    world.tell(0, Event::Listed { sent_at: early, revision, view });
    world.run(TTL / 100);
    assert_eq!(lists(&world, 0), lists_before + 2, "nothing watches from there on");
}

#[test]
fn an_etcd_whose_history_went_back_is_joined_anew_with_another_generation() {
    let mut world = World::new(1, 4);
    world.run(TTL);
    let epochs = |world: &World| {
        let all = world.nodes[0].machine.assignments().values();
        all.map(|assignment| assignment.grant.epoch).collect::<Vec<_>>()
    };
    let before = epochs(&world);
    world.etcd = Etcd::at(11);
    world.is_exclusive = false;
    world.tell(0, Event::WatchLost);
    world.run(TTL * 2);
    let now = epochs(&world);
    assert_eq!(now.len(), 4);
    assert!(now.iter().all(|epoch| epoch.generation() == 2), "{before:?}, {now:?}");
}

/// Ticks at the wakeups alone are enough, and each is of use.
#[test]
fn wakeups_are_exact() {
    let mut machine = Ownership::new(options(0, 4), Duration::ZERO);
    let mut now = Duration::ZERO;
    machine.handle(now, Event::Tick);
    for _ in 0..200 {
        let wakeup = machine.next_wakeup().unwrap();
        let before = wakeup.checked_sub(Duration::from_nanos(1)).unwrap();
        if before > now {
            assert_eq!(machine.handle(before, Event::Tick), [], "nothing is to be done before");
            assert_eq!(machine.next_wakeup(), Some(wakeup));
        }
        now = wakeup;
        let actions = machine.handle(now, Event::Tick);
        assert!(!actions.is_empty(), "something is to be done at {now:?}");
    }
}
