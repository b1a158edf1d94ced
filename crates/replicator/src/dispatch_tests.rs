//! Who is served when, in tables and short scenes.

use super::*;
use crate::budget::Begin;
use crate::scan::test_id;
use crate::shard::{Failure, Past};

const S: fn(u64) -> Duration = Duration::from_secs;
const NO_LIMIT: Option<u64> = None;

fn offer(id: u32, since: u64, has_failed: bool) -> Offer {
    Offer::new(test_id(id), S(since), Past { has_failed, ..Past::default() })
}

fn failed(kind: &'static str) -> Outcome {
    Outcome::Failed(Failure { kind, reason: String::new() })
}

fn unchanged() -> Outcome {
    Outcome::Unchanged { digest: ultrasimple_core::FingerprintDigest::NONE, settled: true }
}

/// A dispatcher, its budget, and what it was told.
struct Scene {
    dispatcher: Dispatcher<()>,
    budget: PutBudget,
}

impl Scene {
    fn new(concurrent: usize, per_month: Option<u64>) -> Self {
        let budget = PutBudget::new(per_month, Begin::First, 0, S(0));
        Self { dispatcher: Dispatcher::new(concurrent), budget }
    }

    fn offer(&mut self, offers: &[(u32, u64, bool)]) {
        let offers = offers.iter().map(|&(id, since, has_failed)| offer(id, since, has_failed));
        self.dispatcher.offer(&(), offers.collect());
    }

    fn begin(&mut self) -> Option<(Ticket, DatabaseId)> {
        match self.dispatcher.next(&self.budget) {
            Next::Begin(ticket, (), offer) => Some((ticket, offer.id)),
            _ => None,
        }
    }

    fn end(&mut self, ticket: Ticket, outcome: &Outcome, sent: bool) -> bool {
        self.dispatcher.ended(ticket, Ended::of(outcome, sent), &mut self.budget)
    }

    /// Begins and ends one after the other, those in `bad` with a failure, and tells the order.
    fn served(&mut self, bad: &[u32]) -> Vec<DatabaseId> {
        let mut order = Vec::new();
        while let Some((ticket, id)) = self.begin() {
            order.push(id);
            let is_bad = bad.iter().any(|&bad| test_id(bad) == id);
            let outcome = if is_bad { failed("busy") } else { unchanged() };
            self.end(ticket, &outcome, true);
        }
        order
    }
}

fn ids(ids: impl IntoIterator<Item = u32>) -> Vec<DatabaseId> {
    ids.into_iter().map(test_id).collect()
}

#[test]
fn the_largest_exposure_is_served_first_then_who_came_first() {
    let mut scene = Scene::new(1, NO_LIMIT);
    scene.offer(&[(1, 30, false), (2, 10, false), (3, 20, false), (4, 10, false)]);
    assert_eq!(scene.served(&[]), ids([2, 4, 3, 1]));
}

#[test]
fn what_keeps_failing_gets_an_eighth_and_the_rest_comes_last() {
    let mut scene = Scene::new(1, NO_LIMIT);
    scene.offer(&[(100, 0, true), (101, 0, true), (102, 0, true)]);
    let good: Vec<_> = (0..10).map(|id| (id, 5, false)).collect();
    scene.offer(&good);
    let expected = ids([100].into_iter().chain(0..7).chain([101]).chain(7..10).chain([102]));
    assert_eq!(scene.served(&[100, 101, 102]), expected);
}

#[test]
fn what_works_again_is_followed_by_the_next_of_its_line() {
    let mut scene = Scene::new(1, NO_LIMIT);
    scene.offer(&[(1, 9, false), (2, 9, false)]);
    scene.offer(&[(101, 3, true), (100, 1, true), (102, 2, true)]);
    assert_eq!(scene.served(&[]), ids([101, 100, 102, 1, 2]), "in the order they were tried last");
}

#[test]
fn a_failure_that_costs_much_waits_long() {
    let mut scene = Scene::new(1, NO_LIMIT);
    scene.offer(&[(100, 0, true), (101, 0, true)]);
    let good: Vec<_> = (0..80).map(|id| (id, 5, false)).collect();
    scene.offer(&good);
    let (ticket, id) = scene.begin().unwrap();
    assert_eq!(id, test_id(100));
    // It was sent in 8 parts, in vain.
    scene.budget.meter(10, S(1));
    scene.end(ticket, &failed("unavailable"), true);
    let mut counted = 10;
    for _ in 0..70 {
        let (ticket, id) = scene.begin().unwrap();
        assert!(id < test_id(80));
        counted += 1;
        scene.budget.meter(counted, S(1));
        scene.end(ticket, &unchanged(), true);
    }
    assert_eq!(scene.begin().unwrap().1, test_id(101));
}

#[test]
fn no_more_begin_than_are_allowed_and_half_when_the_store_asks() {
    let mut scene = Scene::new(4, NO_LIMIT);
    let offers: Vec<_> = (0..20).map(|id| (id, 0, false)).collect();
    scene.offer(&offers);
    let mut flying: Vec<_> = std::iter::from_fn(|| scene.begin()).collect();
    assert_eq!(flying.len(), 4);
    assert!(matches!(scene.dispatcher.next(&scene.budget), Next::Nothing));
    let (ticket, _) = flying.pop().unwrap();
    scene.end(ticket, &failed("slow_down"), true);
    assert!(scene.begin().is_none(), "three are in flight, two are allowed");
    for (ticket, _) in flying.drain(1..) {
        scene.end(ticket, &unchanged(), false);
    }
    assert!(scene.begin().is_some());
}

#[test]
fn a_store_that_is_down_defers_the_rest_until_the_next_cycle() {
    let mut scene = Scene::new(1, NO_LIMIT);
    let offers: Vec<_> = (0..30).map(|id| (id, 0, false)).collect();
    scene.offer(&offers);
    for attempt in 1..=FAILURES_IN_A_ROW {
        let (ticket, _) = scene.begin().unwrap();
        let broken = scene.end(ticket, &failed("unavailable"), true);
        assert_eq!(broken, attempt == FAILURES_IN_A_ROW, "told once");
    }
    scene.offer(&[(100, 0, true)]);
    for _ in 0..11 {
        assert!(matches!(scene.dispatcher.next(&scene.budget), Next::Defer((), _)));
    }
    assert!(matches!(scene.dispatcher.next(&scene.budget), Next::Nothing));
    assert!(scene.dispatcher.is_idle());
    scene.offer(&[(1, 0, true)]);
    scene.dispatcher.new_cycle();
    assert!(scene.begin().is_some());
}

#[test]
fn a_failure_of_a_database_says_nothing_of_the_store_and_a_success_does() {
    let mut scene = Scene::new(1, NO_LIMIT);
    for round in 0..4 * FAILURES_IN_A_ROW {
        scene.offer(&[(round, 0, false)]);
        let (ticket, _) = scene.begin().unwrap();
        let outcome = if round % 2 == 0 { failed("busy") } else { failed("denied") };
        let broken = scene.end(ticket, &outcome, false);
        assert_eq!(broken, round + 1 == 2 * FAILURES_IN_A_ROW, "the 20th of the store");
        if broken {
            return;
        }
    }
    panic!("never told");
}

#[test]
fn draining_begins_nothing_and_ends_idle() {
    let mut scene = Scene::new(1, NO_LIMIT);
    scene.offer(&[(1, 0, false), (2, 0, false), (3, 0, true)]);
    let (ticket, _) = scene.begin().unwrap();
    scene.dispatcher.drain();
    for _ in 0..2 {
        assert!(matches!(scene.dispatcher.next(&scene.budget), Next::Defer(..)));
    }
    assert!(matches!(scene.dispatcher.next(&scene.budget), Next::Nothing));
    assert!(!scene.dispatcher.is_idle(), "one is in flight");
    scene.end(ticket, &unchanged(), true);
    assert!(scene.dispatcher.is_idle());
}

#[test]
fn attempts_that_send_nothing_cost_no_budget() {
    let mut scene = Scene::new(8, Some(64));
    let offers: Vec<_> = (0..20).map(|id| (id, 0, false)).collect();
    scene.offer(&offers);
    for _ in 0..18 {
        let (ticket, _) = scene.begin().unwrap();
        scene.end(ticket, &unchanged(), false);
    }
    let both = [scene.begin().unwrap(), scene.begin().unwrap()];
    scene.offer(&[(99, 0, false)]);
    let Next::Wait(wait) = scene.dispatcher.next(&scene.budget) else { panic!() };
    for (ticket, _) in both {
        scene.end(ticket, &unchanged(), true);
    }
    assert!(scene.begin().is_none(), "two a day are spent");
    scene.budget.meter(2, wait);
    assert!(scene.begin().is_some());
}

/// A million may wait in a first cycle.
#[test]
fn what_waits_is_small() {
    let mut dispatcher = Dispatcher::new(1);
    for owner in 0..2_u32 {
        let alike = (0..5_000).map(|id| offer(id, owner.into(), false));
        dispatcher.offer(&[owner; 4], alike.collect());
    }
    let alike = dispatcher.first.iter().filter_map(|queued| queued.alike.as_deref());
    let bytes: usize = alike.map(|alike| alike.0.capacity() * size_of::<DatabaseId>()).sum();
    assert_eq!((dispatcher.first.len(), bytes), (2, 2 * 4_999 * 8));
    assert!(size_of::<Queued<[u32; 4]>>() <= 64);
}

/// Those that are alike are kept in one piece, and treated as if each were there by itself.
#[test]
fn those_that_are_alike_come_in_their_order_and_go_with_their_owner() {
    let order = |dispatcher: &mut Dispatcher<char>| {
        let budget = PutBudget::new(None, Begin::First, 0, S(0));
        let mut order = Vec::new();
        while let Next::Begin(_ticket, owner, offer) = dispatcher.next(&budget) {
            order.push(format!("{owner}{}", offer.id.test_number()));
        }
        order.join(" ")
    };
    let offers =
        |ids: &[(u32, u64)]| ids.iter().map(|&(id, since)| offer(id, since, false)).collect();
    let mut dispatcher = Dispatcher::new(100);
    dispatcher.offer(&'a', offers(&[(1, 5), (2, 5), (3, 5), (4, 9), (5, 9)]));
    dispatcher.offer(&'b', offers(&[(1, 5), (2, 3), (3, 5), (4, 5)]));
    assert_eq!(dispatcher.waiting(), 9);
    let mut other = Dispatcher::new(100);
    assert_eq!(order(&mut dispatcher), "b2 a1 a2 a3 b1 b3 b4 a4 a5");
    assert_eq!(dispatcher.waiting(), 0);

    other.offer(&'a', offers(&[(1, 5), (2, 5), (3, 5)]));
    other.offer(&'b', offers(&[(1, 5), (2, 5), (3, 5)]));
    let Next::Begin(_ticket, 'a', _) = other.next(&PutBudget::new(None, Begin::First, 0, S(0)))
    else {
        panic!()
    };
    let withdrawn: Vec<_> =
        other.withdraw(|&owner| owner == 'a').iter().map(|(_, id)| id.test_number()).collect();
    assert_eq!((withdrawn, other.waiting()), (vec![2, 3], 3));
    assert_eq!(order(&mut other), "b1 b2 b3");
}
