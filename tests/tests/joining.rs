//! What a node refuses to join, and what it says (R12).
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use ultrasimple_testkit::fault_proxy::{Fault, Rule};
use ultrasimple_tests::{Fleet, run};

/// A node of this fleet with these words refuses to start with this status, and says this.
#[track_caller]
fn refuses(fleet: &Fleet, node: &str, words: &[&str], status: i32, said: &[&str]) {
    let proxy = fleet.proxy();
    let words = [words, &["-http", "off"]].concat();
    let ran = run(fleet.command(node, &proxy, &words));
    println!("{}", ran.stderr.lines().last().unwrap_or_default());
    ran.expect(status, said);
}

#[test]
fn a_node_that_does_not_agree_with_the_others_refuses_to_start() {
    let fleet = Fleet::new(16);
    fleet.bank("t", 1);
    let first = fleet.node("a", &[]);
    fleet.until_owned_by(&[&first]);
    fleet.until_stored("t", 2);
    let owners = fleet.owners();
    refuses(&fleet, "b", &["-shards", "32"], 1, &["-shards", "16", "32"]);
    refuses(&fleet, "b", &["-path", "other/{{name}}"], 1, &["-path", "other/{{name}}"]);
    // It runs already.
    refuses(&fleet, "a", &[], 1, &["-node", "a"]);
    assert_eq!(fleet.owners(), owners);
    first.daemon.stop_well();
}

#[test]
fn a_template_that_names_the_node_is_refused_in_a_fleet() {
    let fleet = Fleet::new(16);
    refuses(&fleet, "a", &["-path", "{{node}}/{{name}}"], 2, &["-path", "{{node}}"]);
    assert_eq!(fleet.bucket.keys(), Vec::<String>::new());
}

#[test]
fn an_etcd_that_does_not_answer_is_named() {
    let mut fleet = Fleet::new(16);
    let endpoint = fleet.etcd.endpoints().remove(0);
    fleet.etcd.kill(0).unwrap();
    refuses(&fleet, "a", &[], 1, &["etcd", &endpoint]);
}

#[test]
fn a_store_that_ignores_conditions_is_refused_unless_that_is_allowed() {
    let fleet = Fleet::new(16);
    fleet.bank("t", 1);
    let mut proxy = fleet.proxy();
    proxy.set(Rule::new(Fault::HideRefusals));
    let ran = run(fleet.command("a", &proxy, &["-http", "off"]));
    println!("{}", ran.stderr.lines().last().unwrap_or_default());
    ran.expect(1, &["-allow-unfenced", "condition"]);
    assert!(fleet.owners().is_empty());

    let command = fleet.command("a", &proxy, &["-allow-unfenced"]);
    let daemon = ultrasimple_tests::Daemon::start(command);
    fleet.until_stored("t", 2);
    daemon.stop_well();
}
