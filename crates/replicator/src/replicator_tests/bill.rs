//! What the requests of whole cycles cost, and what `-put-budget` allows of them.

use ultrasimple_core::ObjectKey;
use ultrasimple_store::{Body, Condition};

use super::world::{Session, World};
use super::*;

/// Offers what has changed, lets what may begin end, and gives the rest back.
async fn what_the_budget_allows(session: &Session) {
    let tree = session.node.tree().await.unwrap();
    tree.scan_and_offer().await.unwrap();
    tree.drain(Duration::from_mins(1)).await.unwrap();
    tree.kill();
    while Arc::ptr_eq(&tree, &session.node.tree().await.unwrap()) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_put_budget_is_spent_by_all_requests_and_once_only() {
    let world = World::new().await;
    for i in 0..40 {
        drop(world.bank(&format!("t{i}.db")));
    }
    let builder = || world.builder().put_budget(Some(640));
    // Twenty a day: somebody else's, those of the start, and backups.
    let key = ObjectKey::new("other").unwrap();
    let body = Body::Bytes(bytes::Bytes::new());
    world.store.put(&key, body, Condition::Absent).await.unwrap();
    let session = Session::start(builder().build().unwrap()).await;
    let before = world.requests().put_class();
    assert!(before > 1);
    let uploads = || session.replicator.statistics().uploads_success;
    let wait = loop {
        what_the_budget_allows(&session).await;
        assert!(uploads() <= 20 - before, "{} after {before}", uploads());
        // A request that is counted before its upload has ended holds up one more for a moment.
        let wait = session.replicator.budget_wait().unwrap();
        if !wait.is_zero() {
            break wait;
        }
    };
    assert!(uploads() > 0);
    assert!(wait > Duration::from_mins(1) && wait < Duration::from_hours(24), "{wait:?}");
    // Actors that are made anew have no more to spend.
    what_the_budget_allows(&session).await;
    assert!(uploads() <= 20 - before, "{} after {before}", uploads());
    let first = uploads();
    // A day later: what others have sent meanwhile is paid first.
    // (What is there already is looked at first, or last: a day may go by with nothing else.)
    for day in 1..=5 {
        world.clock.advance(Duration::from_hours(24));
        what_the_budget_allows(&session).await;
        assert!(uploads() <= first + 20 * day, "{} after {first}", uploads());
    }
    assert!(uploads() > first);
    world.clock.advance(Duration::from_hours(36));
    assert_eq!(session.replicator.budget_wait(), Some(Duration::ZERO), "without an upload");
    session.stop().await;
    // The next start gives less than one.
    let session = Session::start(builder().build().unwrap()).await;
    what_the_budget_allows(&session).await;
    assert_eq!(session.replicator.statistics().uploads_success, 0);
    session.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn statistics_tell_the_requests_and_what_a_month_of_them_costs() {
    let world = World::new().await;
    drop(world.bank("a.db"));
    let mut session = world.session().await;
    session.cycle().await;
    let statistics = session.replicator.statistics();
    assert_eq!((statistics.requests, statistics.projected_month), (world.requests(), None));
    assert!(statistics.requests.puts >= 2, "the start's and the backup's");
    world.clock.advance(Duration::from_hours(1));
    let month = session.replicator.statistics().projected_month.unwrap();
    assert_eq!(month.put_class, world.requests().put_class() * 720);
    assert_eq!(month.get_class, world.requests().get_class() * 720);
    session.stop().await;
}
