//! etcd loses what it knew, all of it or the last of it, while a fleet runs: the bucket is what counts.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::path::Path;
use std::process::Command;

use ultrasimple_core::Epoch;
use ultrasimple_tests::{Fleet, FleetNode, eventually, keep_clear_of_the_hour};

const SHARDS: u32 = 32;
const DATABASES: usize = 8;

fn names() -> impl Iterator<Item = String> {
    (0..DATABASES).map(|number| format!("t{number}"))
}

/// Two nodes, all databases stored.
fn stage() -> (Fleet, FleetNode, FleetNode) {
    keep_clear_of_the_hour();
    let fleet = Fleet::new(SHARDS);
    for name in names() {
        fleet.bank(&name, 1);
    }
    let (a, b) = (fleet.node("a", &[]), fleet.node("b", &[]));
    fleet.until_owned_by(&[&a, &b]);
    eventually("all is stored", || (fleet.bucket.backups().len() == DATABASES).then_some(()));
    (fleet, a, b)
}

/// Commits to each database, and waits until the newest backup of each has what it should.
#[track_caller]
fn goes_on(fleet: &Fleet, commits: i64) {
    for name in names() {
        fleet.bank(&name, 1);
    }
    for name in names() {
        fleet.until_stored(&name, commits);
    }
    fleet.recorded.never_went_back();
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").args([from, to]).status().unwrap();
    assert!(status.success());
}

#[test]
fn an_etcd_that_is_made_anew_is_joined_and_nothing_is_uploaded_again() {
    let (mut fleet, a, b) = stage();
    let uploads = fleet.recorded.backups().len();
    let marks = [a.daemon.mark(), b.daemon.mark()];
    fleet.etcd.kill(0).unwrap();
    std::fs::remove_dir_all(fleet.etcd.folder().join("0")).unwrap();
    fleet.etcd.restart(0).unwrap();
    fleet.etcd.wait_ready(0).unwrap();
    fleet.until_owned_by(&[&a, &b]);
    for (node, mark) in [&a, &b].into_iter().zip(marks) {
        node.daemon.says_after(mark, "made anew");
        node.daemon.cycles(2);
    }
    let again = fleet.recorded.backups().len() - uploads;
    assert_eq!(again, 0, "unchanged, and uploaded again");
    goes_on(&fleet, 3);
}

#[test]
fn an_etcd_that_is_set_back_is_gone_on_with_under_later_epochs() {
    let (mut fleet, a, mut b) = stage();
    let data = fleet.etcd.folder().join("0");
    let saved = fleet.etcd.folder().join("saved");
    fleet.etcd.kill(0).unwrap();
    copy(&data, &saved);
    fleet.etcd.restart(0).unwrap();
    fleet.etcd.wait_ready(0).unwrap();
    fleet.until_owned_by(&[&a, &b]);

    // What etcd is going to forget: that b has died, and that a has stored what was b's, under later epochs.
    b.daemon.kill();
    fleet.until_owned_by(&[&a]);
    goes_on(&fleet, 3);
    let (_, before) = last_epochs(&fleet);
    fleet.etcd.kill(0).unwrap();
    std::fs::remove_dir_all(&data).unwrap();
    copy(&saved, &data);
    fleet.etcd.restart(0).unwrap();
    fleet.etcd.wait_ready(0).unwrap();

    goes_on(&fleet, 4);
    let (after, _) = last_epochs(&fleet);
    assert!(after > before, "epochs went back from {before:?} to {after:?}");
    fleet.until_owned_by(&[&a]);
    let b = fleet.node("b", &[]);
    fleet.until_owned_by(&[&a, &b]);
    goes_on(&fleet, 5);
}

/// The least and the greatest epoch that the newest backups of all databases have.
fn last_epochs(fleet: &Fleet) -> (Epoch, Epoch) {
    let written = fleet.recorded.stored();
    let epochs: Vec<Epoch> = names()
        .map(|name| {
            let last = written.iter().rfind(|write| write.key.contains(&format!("{name}-")));
            last.unwrap().footer.epoch
        })
        .collect();
    (*epochs.iter().min().unwrap(), *epochs.iter().max().unwrap())
}
