//! Watches who owns what, in etcd and as the nodes say of themselves, all the while.
//!
//! etcd is asked past all faults. A shard is owned by whom its claim names; a node that says, with a lease
//! it trusts, that it owns a shard which etcd gives to another, before and after it was asked, is wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use ultrasimple_core::{Clock as _, SystemClock};
use ultrasimple_testkit::etcd::{KeyValue, range};
use ultrasimple_testkit::http;

use crate::check::Violation;

/// Where the fleet keeps its records.
pub(crate) const PREFIX: &str = "/ultrasimple/default/";
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Nodes are asked at every so many-th look.
const NODES_EVERY: u64 = 4;
const ANSWER_WITHIN: Duration = Duration::from_millis(500);

/// A claim: whose, and the revision that created it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Claim {
    pub(crate) node: String,
    pub(crate) created: u64,
}

/// All claims at one moment, by `volume/shard`.
pub(crate) type Claims = BTreeMap<String, Claim>;

/// What was seen of ownership.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// The claims at the last look that succeeded.
    pub(crate) claims: Claims,
    /// When that was.
    pub(crate) at: Duration,
    /// How often a shard's owner was another than the one before.
    pub(crate) hand_overs: u64,
    /// How often a claim was made anew by the node that had it before.
    pub(crate) renewed: u64,
    /// Since when shards have no owner.
    unowned: BTreeMap<String, Duration>,
    /// The longest time that a shard had no owner.
    pub(crate) longest_unowned: Duration,
    /// Which shard that was, and until when, by the machine's monotonic clock.
    pub(crate) longest_of: String,
    /// Looks that got an answer, and such that did not.
    pub(crate) looks: u64,
    pub(crate) blind: u64,
    /// Answers of nodes that were compared.
    pub(crate) compared: u64,
    last_owner: BTreeMap<String, Claim>,
    pub(crate) violations: Vec<Violation>,
}

impl Seen {
    /// Takes in all claims of one moment.
    pub(crate) fn look(&mut self, now: Duration, claims: Claims, shards: &BTreeSet<String>) {
        self.looks += 1;
        for shard in shards {
            let Some(claim) = claims.get(shard) else {
                self.unowned.entry(shard.clone()).or_insert(now);
                continue;
            };
            if let Some(since) = self.unowned.remove(shard) {
                let gap = now.saturating_sub(since);
                if gap > self.longest_unowned {
                    (self.longest_unowned, self.longest_of) =
                        (gap, format!("{shard}, until {now:?}"));
                }
            }
            match self.last_owner.insert(shard.clone(), claim.clone()) {
                Some(before) if before.node != claim.node => self.hand_overs += 1,
                Some(before) if before.created != claim.created => self.renewed += 1,
                _ => {}
            }
            if let Some(before) = self.claims.get(shard)
                && before.created > claim.created
            {
                let what = format!("the claim of {shard} went back: {before:?}, then {claim:?}");
                self.violations.push(Violation::new("R8", what));
            }
        }
        let strange = claims.keys().filter(|shard| !shards.contains(*shard));
        for shard in strange {
            let what = format!("{shard} is claimed, and there is no such shard");
            self.violations.push(Violation::new("R8", what));
        }
        (self.claims, self.at) = (claims, now);
    }

    /// Whether every shard has an owner.
    pub(crate) fn all_owned(&self, shards: &BTreeSet<String>) -> bool {
        self.claims.len() == shards.len() && self.unowned.is_empty()
    }

    /// Compares what a node said between two looks.
    pub(crate) fn compare(&mut self, node: &str, said: &Said, before: &Claims, after: &Claims) {
        self.compared += 1;
        let Some(owned) = said.trusted.then_some(&said.owned) else { return };
        for shard in owned {
            let (Some(first), Some(last)) = (before.get(shard), after.get(shard)) else { continue };
            if first == last && first.node != node {
                let owner = &first.node;
                let what = format!("{node} says that it owns {shard}, whose owner is {owner}");
                self.violations.push(Violation::new("R8", what));
            }
        }
    }
}

/// What a node says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Said {
    /// Its lease holds, as far as it knows. Asked after the shards.
    pub(crate) trusted: bool,
    /// The shards that it owns and is not letting go of.
    pub(crate) owned: BTreeSet<String>,
    /// How many databases wait for a backup.
    pub(crate) pending: u64,
}

impl Said {
    /// Asks a node.
    pub(crate) fn ask(port: u16) -> Result<Self> {
        let get = |path: &str| -> Result<Value> {
            let answer = http::request(port, "GET", path, "", ANSWER_WITHIN)?;
            Ok(serde_json::from_str(&answer.body)?)
        };
        let shards = get("/api/v1/shards")?;
        let node = get("/api/v1/node")?;
        Self::of(&shards, &node).context("an answer is not what it should be")
    }

    fn of(shards: &Value, node: &Value) -> Option<Self> {
        let mut owned = BTreeSet::new();
        for shard in shards.as_array()? {
            if shard.get("phase")?.as_str()? == "owned" {
                let number = shard.get("shard")?.as_u64()?;
                owned.insert(format!("{}/{number}", shard.get("volume")?.as_str()?));
            }
        }
        let trusted = node.get("trusted")?.as_bool()?;
        Some(Self { trusted, owned, pending: node.get("pending")?.as_u64()? })
    }
}

/// Reads the claims out of what etcd has.
fn claims(found: Vec<KeyValue>) -> Claims {
    let claim = |found: KeyValue| {
        let (volume, shard) =
            found.key.strip_prefix(PREFIX)?.strip_prefix("shards/")?.split_once('/')?;
        // Written with zeros before it.
        let shard = format!("{volume}/{}", shard.parse::<u32>().ok()?);
        let record: Value = serde_json::from_str(&found.value).ok()?;
        let node = record.get("node")?.as_str()?.to_owned();
        Some((shard, Claim { node, created: found.created }))
    };
    found.into_iter().filter_map(claim).collect()
}

/// Asks etcd, whichever member answers; that one is asked first the next time.
pub(crate) fn look(etcd: &mut [u16]) -> Result<Claims> {
    let prefix = format!("{PREFIX}shards/");
    let mut last = None;
    for _ in 0..etcd.len() {
        let Some(port) = etcd.first() else { break };
        match range(*port, &prefix) {
            Ok((_, found)) => return Ok(claims(found)),
            Err(error) => last = Some(error),
        }
        etcd.rotate_left(1);
    }
    Err(last.context("no etcd to ask")?)
}

/// What is not as etcd has it, of what all nodes said of themselves at rest.
pub(crate) fn disagreements(claims: &Claims, said: &[(String, Option<Said>)]) -> Vec<String> {
    let mut found = Vec::new();
    for (node, said) in said {
        let of_node = claims.iter().filter(|(_, claim)| claim.node == *node);
        let owned: BTreeSet<String> = of_node.map(|(shard, _)| shard.clone()).collect();
        match said {
            None => found.push(format!("{node} does not answer")),
            Some(said) if !said.trusted => found.push(format!("{node} does not trust its lease")),
            Some(said) if said.owned != owned => {
                found.push(format!("{node} says that it owns {:?}, not {owned:?}", said.owned));
            }
            Some(_) => {}
        }
    }
    found
}

/// A thread that looks. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Watcher {
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Whom to ask, and about what.
#[derive(Debug, Clone)]
pub(crate) struct Watched {
    pub(crate) etcd: Vec<u16>,
    pub(crate) nodes: Vec<(String, u16)>,
    pub(crate) shards: BTreeSet<String>,
}

impl Watcher {
    pub(crate) fn start(mut watched: Watched) -> Self {
        let (seen, stop) =
            (Arc::new(Mutex::new(Seen::default())), Arc::new(AtomicBool::new(false)));
        let (shared, stopped) = (Arc::clone(&seen), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut turn = 0;
            while !stopped.load(Ordering::Relaxed) {
                turn += 1;
                watch_once(&mut watched, &shared, turn % NODES_EVERY == 0);
                #[expect(
                    clippy::disallowed_methods,
                    reason = "looks at other processes, again and again"
                )]
                std::thread::sleep(LOOK_EVERY);
            }
        });
        Self { seen, stop, thread: Some(thread) }
    }

    /// What was seen so far.
    pub(crate) fn seen(&self) -> Seen {
        lock(&self.seen).clone()
    }

    /// Begins anew to measure how long shards have no owner: the fleet has started.
    pub(crate) fn measure(&self) {
        lock(&self.seen).longest_unowned = Duration::ZERO;
    }

    /// Ends it.
    pub(crate) fn finish(mut self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It does not panic.
            let _ = thread.join();
        }
        self.seen()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

fn watch_once(watched: &mut Watched, seen: &Mutex<Seen>, with_nodes: bool) {
    let Ok(before) = look(&mut watched.etcd) else {
        lock(seen).blind += 1;
        return;
    };
    lock(seen).look(SystemClock.monotonic(), before.clone(), &watched.shards);
    if !with_nodes {
        return;
    }
    let asked: Vec<_> = watched
        .nodes
        .iter()
        .cloned()
        .map(|(node, port)| (node, std::thread::spawn(move || Said::ask(port))))
        .collect();
    let said: Vec<_> = asked
        .into_iter()
        .filter_map(|(node, asked)| Some((node, asked.join().ok()?.ok()?)))
        .collect();
    let Ok(after) = look(&mut watched.etcd) else { return };
    let mut seen = lock(seen);
    for (node, said) in said {
        seen.compare(&node, &said, &before, &after);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shards() -> BTreeSet<String> {
        ["v/0", "v/1"].map(str::to_owned).into()
    }

    fn owners(owners: &[(&str, &str, u64)]) -> Claims {
        let claim = |(shard, node, created): &(&str, &str, u64)| {
            ((*shard).to_owned(), Claim { node: (*node).to_owned(), created: *created })
        };
        owners.iter().map(claim).collect()
    }

    #[test]
    fn hand_overs_and_gaps_are_seen() {
        let mut seen = Seen::default();
        let second = Duration::from_secs;
        seen.look(second(1), owners(&[("v/0", "a", 1), ("v/1", "a", 2)]), &shards());
        assert!(seen.all_owned(&shards()));
        seen.look(second(2), owners(&[("v/0", "a", 1)]), &shards());
        assert!(!seen.all_owned(&shards()));
        seen.look(second(5), owners(&[("v/0", "a", 1), ("v/1", "b", 3)]), &shards());
        seen.look(second(6), owners(&[("v/0", "a", 4), ("v/1", "b", 3)]), &shards());
        assert_eq!((seen.hand_overs, seen.renewed, seen.longest_unowned), (1, 1, second(3)));
        assert_eq!(seen.violations, []);
        seen.look(second(7), owners(&[("v/0", "a", 2), ("v/9", "b", 5)]), &shards());
        let rules: Vec<_> = seen.violations.iter().map(|violation| &violation.what).collect();
        assert!(rules[0].contains("went back") && rules[1].contains("no such shard"), "{rules:?}");
    }

    #[test]
    fn a_node_that_thinks_it_owns_what_another_does_is_found() {
        let is_b = owners(&[("v/0", "b", 7)]);
        let said = |trusted| Said { trusted, owned: ["v/0".to_owned()].into(), pending: 0 };
        let wrong = |node: &str, said: &Said, before: &Claims, after: &Claims| {
            let mut seen = Seen::default();
            seen.compare(node, said, before, after);
            seen.violations.len()
        };
        assert_eq!(wrong("a", &said(true), &is_b, &is_b), 1);
        // It knows that it does not know; or it was just handed over; or it is right.
        assert_eq!(wrong("a", &said(false), &is_b, &is_b), 0);
        assert_eq!(wrong("a", &said(true), &owners(&[("v/0", "a", 6)]), &is_b), 0);
        assert_eq!(wrong("b", &said(true), &is_b, &is_b), 0);
    }

    #[test]
    fn nodes_that_do_not_agree_with_etcd_are_found() {
        let claims = owners(&[("v/0", "a", 1), ("v/1", "b", 2)]);
        let says = |trusted, shards: &[&str]| {
            let owned = shards.iter().map(|shard| (*shard).to_owned()).collect();
            Some(Said { trusted, owned, pending: 0 })
        };
        let found = |a, b| disagreements(&claims, &[("a".to_owned(), a), ("b".to_owned(), b)]);
        let fine = says(true, &["v/1"]);
        assert_eq!(found(says(true, &["v/0"]), fine.clone()), Vec::<String>::new());
        for wrong in [None, says(false, &["v/0"]), says(true, &[]), says(true, &["v/0", "v/1"])] {
            assert_eq!(found(wrong, fine.clone()).len(), 1);
        }
    }

    #[test]
    fn what_nodes_and_etcd_say_is_read() {
        let shards = json!([
            {"volume": "v", "shard": 0, "epoch": 1, "phase": "owned"},
            {"volume": "v", "shard": 1, "epoch": 1, "phase": "releasing"},
        ]);
        let said = Said::of(&shards, &json!({"trusted": true, "pending": 3})).unwrap();
        assert_eq!(said, Said { trusted: true, owned: ["v/0".to_owned()].into(), pending: 3 });
        let found = KeyValue {
            key: format!("{PREFIX}shards/v/0001"),
            value: r#"{"node":"a"}"#.to_owned(),
            created: 5,
            modified: 5,
        };
        assert_eq!(claims(vec![found]), owners(&[("v/1", "a", 5)]));
    }
}
