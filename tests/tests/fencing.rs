//! A node is paused past its lease in the middle of an upload, its shard is taken, the same database is
//! backed up again, and it wakes: whatever of it still arrives, the key does not go back (R5, R8).
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::path::Path;

use ultrasimple_testkit::fault_proxy::{Fault, Rule};
use ultrasimple_tests::{Fleet, FleetNode, Written, eventually, keep_clear_of_the_hour, sqlite3};

/// One database, and the node that will be paused, which has backed it up.
fn stage() -> (Fleet, FleetNode) {
    keep_clear_of_the_hour();
    let fleet = Fleet::new(4);
    fleet.bank("t", 1);
    let old = fleet.node("old", &[]);
    fleet.until_owned_by(&[&old]);
    fleet.until_stored("t", 2);
    (fleet, old)
}

/// Waits until the node's proxy holds a request of this kind.
fn until_held(node: &FleetNode, text: &str) {
    eventually("the upload is held", || {
        node.proxy.held().iter().any(|request| request.contains(text)).then_some(())
    });
}

/// Pauses the old node, starts a new one, waits until that owns everything, and changes the database. Gives the
/// new node, and its write.
fn take_over(fleet: &Fleet, old: &FleetNode, more: u32, commits: i64) -> (FleetNode, Written) {
    old.daemon.pause();
    let new = fleet.node("new", &[]);
    fleet.until_owned_by(&[&new]);
    fleet.bank("t", more);
    fleet.until_stored("t", commits);
    let written = eventually("the write of the new node is recorded", || {
        fleet.recorded.stored().pop().filter(|written| written.footer.node.to_string() == "new")
    });
    (new, written)
}

/// The write of the old node was refused: of an earlier epoch, and the newest version is still the new node's.
#[track_caller]
fn was_refused(fleet: &Fleet, by: &Written, commits: i64) -> Written {
    let refused = eventually("the late write is refused", || fleet.recorded.refused().pop());
    assert!(refused.footer.epoch < by.footer.epoch, "{refused:?}");
    fleet.recorded.never_went_back();
    assert_eq!(fleet.commits_of("t"), Some(commits));
    refused
}

/// The old node is awake and in the fleet again, and nothing went back.
#[track_caller]
fn is_back(fleet: &Fleet, old: &FleetNode) {
    eventually("the old node is back in the fleet", || {
        old.daemon.api("node")["trusted"].as_bool().filter(|trusted| *trusted)
    });
    fleet.recorded.never_went_back();
}

/// The old node is awake and lives on; both end well, and the bucket has the last commit.
fn all_goes_on(fleet: &Fleet, old: FleetNode, new: FleetNode, commits: i64) {
    is_back(fleet, &old);
    fleet.bank("t", 1);
    fleet.until_stored("t", commits + 1);
    old.daemon.stop_well();
    fleet.bank("t", 1);
    fleet.until_stored("t", commits + 2);
    new.daemon.stop_well();
    assert_eq!(fleet.commits_of("t"), Some(commits + 2));
    fleet.recorded.never_went_back();
}

/// The whole request is in the network when the node is stopped, and arrives after the new owner's write.
#[test]
fn a_put_that_the_network_delays_is_refused() {
    let (fleet, mut old) = stage();
    old.proxy.set(Rule::new(Fault::Hold).method("PUT").target("/t-"));
    fleet.bank("t", 1);
    until_held(&old, "/t-");
    let (new, written) = take_over(&fleet, &old, 3, 6);
    old.proxy.heal();
    // It arrives while its sender is still stopped.
    old.proxy.release();
    let refused = was_refused(&fleet, &written, 6);
    assert!(refused.condition.starts_with("If-Match"), "{refused:?}");
    old.daemon.resume();
    all_goes_on(&fleet, old, new, 6);
}

/// As above, for the first backup of a database: on condition that there is none.
#[test]
fn a_first_put_that_the_network_delays_is_refused() {
    let (fleet, mut old) = stage();
    old.proxy.set(Rule::new(Fault::Hold).method("PUT").target("/u-"));
    fleet.bank("u", 1);
    until_held(&old, "/u-");
    let (new, written) = take_over(&fleet, &old, 3, 5);
    fleet.bank("u", 1);
    fleet.until_stored("u", 3);
    old.proxy.heal();
    old.proxy.release();
    let refused = was_refused(&fleet, &written, 5);
    assert_eq!(refused.condition, "If-None-Match: *");
    assert_eq!(fleet.commits_of("u"), Some(3));
    old.daemon.resume();
    all_goes_on(&fleet, old, new, 5);
}

/// The node is stopped while it sends: far more than the sockets between hold.
#[test]
fn a_node_that_wakes_within_a_put_does_not_replace_what_is_newer() {
    let (fleet, mut old) = stage();
    grow(&fleet.yard.path("data/t.db"), 40);
    fleet.bank("t", 1);
    old.proxy.set(Rule::new(Fault::HoldBody(100_000)).method("PUT").target("/t-"));
    until_held(&old, "/t-");
    let (new, _) = take_over(&fleet, &old, 3, 6);
    old.daemon.resume();
    old.proxy.heal();
    old.proxy.release();
    is_back(&fleet, &old);
    assert_eq!(fleet.commits_of("t"), Some(6));
    all_goes_on(&fleet, old, new, 6);
}

/// All parts are there, and the word that makes them an object arrives late.
#[test]
fn a_multipart_upload_that_is_completed_late_is_refused() {
    let (fleet, mut old) = stage();
    old.proxy.set(Rule::new(Fault::Hold).method("POST").target("uploadId="));
    grow(&fleet.yard.path("data/t.db"), 70);
    fleet.bank("t", 1);
    until_held(&old, "uploadId=");
    let (new, written) = take_over(&fleet, &old, 3, 6);
    assert!(written.parts > 1, "not in parts: {written:?}");
    old.proxy.heal();
    old.proxy.release();
    let refused = was_refused(&fleet, &written, 6);
    assert!(refused.parts > 1, "{refused:?}");
    old.daemon.resume();
    all_goes_on(&fleet, old, new, 6);
}

/// The node is stopped between two parts.
#[test]
fn a_node_that_wakes_within_a_multipart_upload_does_not_replace_what_is_newer() {
    let (fleet, mut old) = stage();
    let rule = Rule::new(Fault::Hold).method("PUT").target("partNumber=2&");
    old.proxy.set(rule);
    grow(&fleet.yard.path("data/t.db"), 70);
    fleet.bank("t", 1);
    until_held(&old, "partNumber=2&");
    let (new, _) = take_over(&fleet, &old, 3, 6);
    old.daemon.resume();
    old.proxy.heal();
    old.proxy.release();
    is_back(&fleet, &old);
    all_goes_on(&fleet, old, new, 6);
}

/// Makes a bank larger by so many MiB that cannot be compressed.
fn grow(path: &Path, mib: u32) {
    let grow = format!(
        "CREATE TABLE ballast(x); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n \
         WHERE i < {mib}) INSERT INTO ballast SELECT randomblob(1048576) FROM n;"
    );
    sqlite3(path, &grow);
}
