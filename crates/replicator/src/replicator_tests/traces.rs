//! What is told of whole cycles as spans: how they hang together, and that catalogue and emission are the same.

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::watch;
use ultrasimple_trace::catalogue::{By, ERROR_TYPE, SPANS};
use ultrasimple_trace::{Finished, Sampler, Sink, SpanId, Value};

use super::fleet::{FIRST, Member, grant};
use super::keeping::{DAY, HOUR};
use super::*;

/// Far more than any of this takes.
const DEADLINE: Duration = Duration::from_mins(1);

/// All that was told.
#[derive(Debug, Default)]
struct Told(watch::Sender<Vec<Finished>>);

impl Sink for Told {
    fn take(&self, spans: Vec<Finished>) {
        self.0.send_modify(|told| told.extend(spans));
    }
}

impl Told {
    /// All, as soon as there are so many of a name.
    async fn all_with(&self, name: &str, count: usize) -> Spans {
        let mut told = self.0.subscribe();
        let is_so =
            |told: &Vec<Finished>| told.iter().filter(|span| span.of.name == name).count() >= count;
        let all = tokio::time::timeout(DEADLINE, told.wait_for(is_so)).await;
        Spans(all.unwrap().unwrap().clone())
    }
}

struct Spans(Vec<Finished>);

impl Spans {
    fn named(&self, name: &str) -> Vec<&Finished> {
        self.0.iter().filter(|span| span.of.name == name).collect()
    }

    fn one(&self, name: &str) -> &Finished {
        let all = self.named(name);
        assert_eq!(all.len(), 1, "{name}");
        all[0]
    }

    /// The names of what is right within a span, sorted.
    fn within(&self, span: &Finished) -> Vec<&'static str> {
        let within = self.0.iter().filter(|other| {
            (other.context.trace, other.parent) == (span.context.trace, Some(span.context.span))
        });
        let mut names: Vec<_> = within.map(|span| span.of.name).collect();
        names.sort_unstable();
        names
    }

    fn parent(&self, span: &Finished) -> Option<&'static str> {
        let id: SpanId = span.parent?;
        let parent = self.0.iter().find(|other| other.context.span == id);
        assert!(parent.is_some(), "the parent of {span:?} was not told");
        parent.map(|parent| parent.of.name)
    }
}

/// What a span says, in words.
fn said(span: &Finished, name: &str) -> Option<String> {
    let said = span.attributes.iter().find(|(attribute, _)| attribute.name == name);
    said.map(|(_, value)| match value {
        Value::Text(text) => text.clone(),
        Value::Word(word) => (*word).to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Real(number) => number.to_string(),
    })
}

fn tracer(world: &World) -> (Tracer, Arc<Told>) {
    let told = Arc::new(Told::default());
    let clock = Arc::clone(&world.clock) as Arc<dyn Clock>;
    (Tracer::new(Arc::clone(&told) as _, Sampler::All, clock), told)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cycle_is_a_trace() {
    let world = World::new().await;
    drop(world.bank("a.db"));
    std::fs::write(world.data("b.db"), "not a database, but long enough").unwrap();
    let (tracer, told) = tracer(&world);
    let replicator = world.builder().build().unwrap().traced_by(tracer);
    let mut session = Session::start(replicator).await;
    session.cycle().await;
    let all = told.all_with("cycle", 1).await;
    let cycle = all.one("cycle");
    assert_eq!((cycle.parent, &cycle.failure), (None, &None));
    assert_eq!(all.within(cycle), ["backup", "backup", "dispatch", "scan"]);
    let numbers = ["databases", "changed", "stored", "pending", "failing", "children"];
    let numbers = numbers.map(|name| said(cycle, &format!("ultrasimple.{name}")).unwrap());
    assert_eq!(numbers, ["2", "2", "1", "1", "1", "2"]);
    assert_eq!(said(all.one("dispatch"), "ultrasimple.offered").unwrap(), "2");
    for backup in all.named("backup") {
        let path = said(backup, "file.path").unwrap();
        if path.ends_with("a.db") {
            assert_eq!(all.within(backup), ["capture", "commit", "compress", "put"]);
            assert_eq!(said(backup, "ultrasimple.outcome").unwrap(), "stored");
            assert_eq!(backup.failure, None);
            continue;
        }
        assert_eq!(path, world.data("b.db").to_str().unwrap());
        assert_eq!(all.within(backup), ["capture", "commit"]);
        assert_eq!(said(backup, "ultrasimple.outcome").unwrap(), "failed");
        assert_eq!(said(backup, "error.type").unwrap(), "not_a_database");
        assert!(backup.failure.is_some());
    }
    assert_eq!(all.parent(all.one("check")), Some("capture"));
    let failed: Vec<_> = all.0.iter().filter(|span| span.failure.is_some()).collect();
    assert_eq!(failed.len(), 2, "the backup of b.db, and its capture");

    // A database that does not change has no span in the next cycle.
    session.cycle().await;
    let all = told.all_with("cycle", 2).await;
    let next = all.named("cycle")[1];
    assert_ne!(next.context.trace, cycle.context.trace);
    assert_eq!(all.within(next), ["backup", "dispatch", "scan"]);
    session.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_outlasts_its_cycle_is_told_with_it() {
    let world = World::new().await;
    drop(world.bank("a.db"));
    world.fault(Fault::Hang);
    let (tracer, told) = tracer(&world);
    let replicator = world.builder().build().unwrap().traced_by(tracer);
    let mut session = Session::start(replicator).await;
    let tree = session.node.tree().await.unwrap();
    let mut news = ScanNews::default();
    for _ in 0..2 {
        let begun = session.replicator.begin_cycle(&session.running, &tree, &mut news).await;
        let begun = begun.unwrap();
        world.until_hanging(1).await;
        let Session { replicator, running, last, .. } = &mut session;
        replicator.end_cycle(running, &tree, begun, last).await.unwrap();
    }
    let all = told.all_with("cycle", 1).await;
    assert!(all.within(all.one("cycle")) == ["dispatch", "scan"], "the second is told first");
    tree.abort();
    let all = told.all_with("cycle", 2).await;
    let [second, first] = all.named("cycle")[..] else { panic!() };
    assert_eq!(all.within(first), ["backup", "dispatch", "scan"]);
    assert_eq!(all.within(second), ["dispatch", "scan"]);
    assert_eq!(said(all.one("backup"), "ultrasimple.outcome").unwrap(), "given_up");
    session.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_that_fails_says_so() {
    let world = World::new().await;
    drop(world.bank("a.db"));
    let (tracer, told) = tracer(&world);
    let replicator = world.builder().build().unwrap().traced_by(tracer);
    let session = Session::start(replicator).await;
    let tree = session.node.tree().await.unwrap();
    tree.kill();
    let mut news = ScanNews::default();
    let begun = session.replicator.begin_cycle(&session.running, &tree, &mut news).await;
    assert!(begun.is_err());
    let all = told.all_with("cycle", 1).await;
    assert_eq!(said(all.one("cycle"), "error.type").unwrap(), "no_answer");
}

/// All that the daemon does, once at least.
async fn everything() -> Spans {
    let world = World::new().await;
    world.store.location.set("s3://bucket/some/where".to_owned()).unwrap();
    let (tracer, told) = tracer(&world);
    let change = || {
        for number in 0..8 {
            drop(world.bank(&format!("t{number}.db")));
        }
    };
    change();
    // With so little memory each is compressed while it is sent.
    let builder = world.builder().memory_budget(64 << 10).retention_days(1);
    let builder = builder.verify_percent_per_day(100.0);
    let replicator = builder.build().unwrap().traced_by(tracer);
    let mut member = Member::start_with(&world, replicator).await;
    member.own(0..4, grant(FIRST, None)).await;
    for time in [HOUR, HOUR, 3 * DAY] {
        member.session.cycle_and_keep().await;
        world.clock.advance(time);
        change();
    }
    member.session.cycle_and_keep().await;
    world.clock.advance(HOUR);
    change();
    member.cycle().await;
    member.release(&[0, 1, 2, 3]).await;
    told.all_with("give_back", 1).await
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_is_catalogued_is_told_and_nothing_else() {
    let all = everything().await;
    let mut told: BTreeMap<&str, (BTreeSet<&str>, BTreeSet<&str>)> = BTreeMap::new();
    for span in &all.0 {
        let (attributes, parents) = told.entry(span.of.name).or_default();
        attributes.extend(span.attributes.iter().map(|(attribute, _)| attribute.name));
        // What goes on still is told later.
        parents.extend(span.parent.and_then(|_| all.parent(span)));
    }
    let ours = SPANS.iter().filter(|span| span.by != By::Tool);
    let tools: BTreeSet<_> =
        SPANS.iter().filter(|span| span.by == By::Tool).map(|span| span.name).collect();
    let names: BTreeSet<_> = ours.clone().map(|span| span.name).collect();
    assert_eq!(told.keys().copied().collect::<BTreeSet<_>>(), names);
    for span in ours {
        let (said, within) = &told[span.name];
        let attributes: BTreeSet<_> = span
            .attributes
            .iter()
            .map(|attribute| attribute.name)
            .filter(|name| *name != ERROR_TYPE.name || said.contains(name))
            .collect();
        assert_eq!(*said, attributes, "{}", span.name);
        let parents: BTreeSet<_> =
            span.parents.iter().copied().filter(|parent| !tools.contains(parent)).collect();
        assert_eq!(*within, parents, "{}", span.name);
        let is_root = all.0.iter().any(|told| told.of.name == span.name && told.parent.is_none());
        assert_eq!(is_root, span.is_root, "{}", span.name);
    }
}
