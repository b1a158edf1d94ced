//! What a run was: for people, and as JSON.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

use crate::check::Violation;

/// How many ends of daemons are printed; the JSON has all.
const ENDS_SHOWN: usize = 6;

/// All that a run tells.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) seed: u64,
    pub(crate) nodes: usize,
    pub(crate) faults: BTreeMap<String, u64>,
    pub(crate) databases: usize,
    pub(crate) vanished: usize,
    pub(crate) commits: usize,
    pub(crate) uploads: usize,
    pub(crate) repeated: u64,
    pub(crate) refused: u64,
    pub(crate) unknown: u64,
    pub(crate) requests: BTreeMap<String, u64>,
    pub(crate) hand_overs: u64,
    pub(crate) renewed: u64,
    pub(crate) looks: u64,
    pub(crate) blind: u64,
    pub(crate) compared: u64,
    pub(crate) starts: u64,
    pub(crate) longest_unowned: Duration,
    pub(crate) longest_exposure: Option<(Duration, String)>,
    /// From the end of the last fault until every shard was owned, and until all was stored.
    pub(crate) owned_after: Duration,
    pub(crate) stored_after: Duration,
    /// Stored hours that were read back and proved; databases that were restored as they were in the end.
    pub(crate) proved: usize,
    pub(crate) restored: usize,
    /// How often `ultrasimple-ctl shards` ended with 0, and otherwise; how long it took at most; what it said.
    pub(crate) shown: u64,
    pub(crate) not_shown: u64,
    pub(crate) shown_within: Duration,
    pub(crate) ctl_said: BTreeSet<String>,
    /// Daemons that ended by themselves or not well, with their last words. No violation: a supervisor
    /// starts them again.
    pub(crate) ends: Vec<String>,
    pub(crate) violations: Vec<Violation>,
}

impl Report {
    pub(crate) fn json(&self) -> Value {
        let exposure = self.longest_exposure.as_ref();
        let violation = |it: &Violation| json!({"rule": it.rule, "what": it.what});
        json!({
            "seed": self.seed,
            "nodes": self.nodes,
            "faults": self.faults,
            "databases": self.databases,
            "vanished": self.vanished,
            "commits": self.commits,
            "uploads": self.uploads,
            "uploads_repeated": self.repeated,
            "writes_refused": self.refused,
            "writes_unknown": self.unknown,
            "requests": self.requests,
            "hand_overs": self.hand_overs,
            "claims_renewed": self.renewed,
            "looks": self.looks,
            "looks_without_answer": self.blind,
            "answers_compared": self.compared,
            "daemon_starts": self.starts,
            "longest_unowned_seconds": self.longest_unowned.as_secs_f64(),
            "longest_exposure_seconds": exposure.map(|(time, _)| time.as_secs_f64()),
            "longest_exposure_of": exposure.map(|(_, name)| name),
            "owned_after_seconds": self.owned_after.as_secs_f64(),
            "stored_after_seconds": self.stored_after.as_secs_f64(),
            "hours_proved": self.proved,
            "databases_restored": self.restored,
            "ctl_shards": self.shown,
            "ctl_shards_failed": self.not_shown,
            "ctl_shards_longest_seconds": self.shown_within.as_secs_f64(),
            "ctl_shards_said": self.ctl_said,
            "ends": self.ends,
            "violations": self.violations.iter().map(violation).collect::<Vec<_>>(),
        })
    }

    pub(crate) fn print(&self) {
        println!("\nseed {}, {} nodes", self.seed, self.nodes);
        let faults: Vec<_> = self.faults.iter().map(|(kind, n)| format!("{kind} {n}")).collect();
        println!("faults: {}", faults.join(", "));
        println!(
            "{} databases ({} of them vanished), {} commits, {} uploads ({} of what was stored \
             already), {} writes refused, {} without an answer",
            self.databases,
            self.vanished,
            self.commits,
            self.uploads,
            self.repeated,
            self.refused,
            self.unknown
        );
        println!(
            "{} hand-overs, {} claims made anew, {} starts of daemons, {} looks at etcd ({} without \
             an answer), {} answers of nodes compared",
            self.hand_overs, self.renewed, self.starts, self.looks, self.blind, self.compared
        );
        let exposure = self.longest_exposure.as_ref();
        println!(
            "longest without an owner: {:.1} s; longest exposure: {:.1} s ({}); after the last \
             fault every shard was owned within {:.1} s, and all was stored within {:.1} s",
            self.longest_unowned.as_secs_f64(),
            exposure.map_or(0.0, |(time, _)| time.as_secs_f64()),
            exposure.map_or("none", |(_, name)| name),
            self.owned_after.as_secs_f64(),
            self.stored_after.as_secs_f64()
        );
        println!(
            "{} stored hours read back and proved; {} databases restored as they were in the end",
            self.proved, self.restored
        );
        println!(
            "`ultrasimple-ctl shards` ran {} times, failed {} times, and took {:.1} s at most",
            self.shown + self.not_shown,
            self.not_shown,
            self.shown_within.as_secs_f64()
        );
        self.ctl_said.iter().for_each(|said| println!("  it said: {said}"));
        if !self.ends.is_empty() {
            println!("daemons that ended by themselves, or not well: {}", self.ends.len());
            self.ends.iter().take(ENDS_SHOWN).for_each(|end| println!("  {end}"));
        }
        if self.violations.is_empty() {
            println!("no rule was broken");
        }
        for violation in &self.violations {
            println!("VIOLATION {violation}");
        }
    }
}
