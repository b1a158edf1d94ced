//! Traces, as a sink gets them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use ultrasimple_core::{SystemClock, Timestamp};

use super::*;
use crate::catalogue::{
    BACKUP, CAPTURE, CHILDREN, COMMIT, CYCLE, FAILED_LEFT_OUT, LEFT_OUT, SCAN, TAKE_OVER, TEND,
};
use crate::{MOST_FAILED, MOST_RANDOM, MOST_SLOW, Value, child, context, here};

#[derive(Debug, Default)]
struct Told(Mutex<Vec<Finished>>);

impl Sink for Told {
    fn take(&self, spans: Vec<Finished>) {
        self.0.lock().unwrap().extend(spans);
    }
}

impl Told {
    fn all(&self) -> Vec<Finished> {
        self.0.lock().unwrap().clone()
    }

    fn names(&self) -> Vec<&'static str> {
        self.0.lock().unwrap().iter().map(|span| span.of.name).collect()
    }
}

/// Goes on by a millisecond with each look.
#[derive(Debug, Default)]
struct Steps(Mutex<u64>);

impl Clock for Steps {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(1_000_000).unwrap()
    }

    fn monotonic(&self) -> Duration {
        let mut steps = self.0.lock().unwrap();
        *steps += 1;
        Duration::from_millis(*steps)
    }
}

fn tracer(sampler: Sampler) -> (Tracer, Arc<Told>) {
    let told = Arc::new(Told::default());
    (Tracer::new(Arc::clone(&told) as _, sampler, Arc::new(Steps::default())), told)
}

fn number(span: &Finished, attribute: &'static crate::catalogue::Attribute) -> i64 {
    let said = span.attributes.iter().find(|(said, _)| *said == attribute);
    let Some((_, Value::Number(number))) = said else { panic!("{said:?}") };
    *number
}

#[tokio::test]
async fn spans_hang_together_across_functions_threads_and_tasks() {
    let (tracer, told) = tracer(Sampler::All);
    let cycle = tracer.root(&CYCLE);
    let ids = cycle.within(async { context() }).await.unwrap();
    let of_cycle = cycle.here();
    cycle.within(async { drop(child(&SCAN)) }).await;
    let backup = of_cycle.child(&BACKUP);
    backup
        .within(async {
            assert_ne!(context().unwrap().span, ids.span);
            let here = here();
            let work = move || here.enter(|| drop(child(&CAPTURE)));
            tokio::task::spawn_blocking(work).await.unwrap();
            assert!(tokio::spawn(async { context() }).await.unwrap().is_none());
        })
        .await;
    backup.enter(|| drop(child(&COMMIT)));
    drop(cycle);
    assert_eq!(told.names(), ["scan"], "the cycle waits for its upload");
    drop(backup);
    assert_eq!(told.names(), ["scan", "capture", "commit", "backup", "cycle"]);
    let all = told.all();
    assert!(all.iter().all(|span| span.context.trace == ids.trace));
    let parents: BTreeMap<_, _> =
        all.iter().map(|span| (span.of.name, (span.context.span, span.parent))).collect();
    assert_eq!(parents["cycle"], (ids.span, None));
    assert_eq!(parents["backup"].1, Some(ids.span));
    assert_eq!(parents["capture"].1, Some(parents["backup"].0));
    let (cycle, scan) = (&all[4], &all[0]);
    assert!(scan.start > cycle.start && scan.took > Duration::ZERO);
    assert!(scan.start + scan.took < cycle.start + cycle.took);
}

#[test]
fn ten_thousand_uploads_do_not_flood() {
    let (tracer, told) = tracer(Sampler::All);
    let cycle = tracer.root(&CYCLE);
    let here = cycle.here();
    // One that goes on for longer than all others: the clock moves with each look.
    let slowest = here.child(&BACKUP);
    let mut failed = 0;
    for number in 0..10_000 {
        let mut backup = here.child(&BACKUP);
        backup.enter(|| drop(child(&CAPTURE)));
        if number % 500 == 3 {
            backup.fail("busy", &"it was locked");
            failed += 1;
        }
    }
    drop(cycle);
    let ids = slowest.enter(context).unwrap();
    drop(slowest);
    let all = told.all();
    let backups: Vec<_> = all.iter().filter(|span| span.of.name == "backup").collect();
    assert_eq!(backups.iter().filter(|span| span.failure.is_some()).count(), failed);
    assert!(failed < MOST_FAILED);
    assert!(backups.iter().any(|span| span.context == ids), "the slowest is kept");
    // It ended after the cycle, and so beside the slowest of those that ended within.
    assert_eq!(backups.len(), failed + MOST_SLOW + MOST_RANDOM + 1);
    let captures = all.iter().filter(|span| span.of.name == "capture").count();
    assert_eq!(captures, backups.len() - 1);
    let cycle = all.last().unwrap();
    assert_eq!((cycle.of.name, number(cycle, &CHILDREN)), ("cycle", 10_001));
    assert_eq!(number(cycle, &LEFT_OUT), 10_001 - i64::try_from(backups.len()).unwrap());
    assert_eq!(number(cycle, &FAILED_LEFT_OUT), 0);
}

#[tokio::test]
async fn what_is_off_makes_nothing() {
    let (off, told) = tracer(Sampler::None);
    assert!(!off.is_on() && !Tracer::off().is_on());
    let mut cycle = off.root(&CYCLE);
    cycle.say(&ERROR, &"");
    cycle.fail("busy", &"");
    assert!(!cycle.is_on() && !cycle.here().child(&BACKUP).is_on() && !child(&SCAN).is_on());
    assert!(cycle.within(async { context() }).await.is_none());
    assert!(cycle.enter(context).is_none());
    drop(cycle);
    assert!(told.all().is_empty());
    assert_eq!(size_of::<Span>(), size_of::<usize>());
}

/// One that no span has: nothing is said of a span that is off.
static ERROR: crate::catalogue::Attribute =
    crate::catalogue::Attribute { name: "no", meaning: "." };

#[test]
fn a_part_of_all_traces_is_made() {
    let ids: Vec<_> = (0..1_000).map(|_| Ids::default().trace().trace).collect();
    let taken =
        |part| ids.iter().filter(|id| Sampler::Part(part).takes(**id)).collect::<BTreeSet<_>>();
    let (quarter, half) = (taken(0.25), taken(0.5));
    assert!((150..350).contains(&quarter.len()), "{}", quarter.len());
    assert!(quarter.is_subset(&half) && half.len() > 350);
    assert_eq!((taken(0.0).len(), taken(1.0).len()), (0, 1_000));
    let (none, told) = tracer(Sampler::Part(0.0));
    assert!(none.is_on() && !none.root(&CYCLE).is_on() && told.all().is_empty());
}

#[tokio::test]
async fn what_begins_within_another_is_its_child() {
    let (tracer, told) = tracer(Sampler::All);
    let outer = tracer.begin(&TAKE_OVER);
    outer.within(async { drop(tracer.begin(&TEND)) }).await;
    drop(outer);
    let all = told.all();
    assert_eq!((all[0].parent, all[1].parent), (Some(all[1].context.span), None));
    assert_eq!(all[0].context.trace, all[1].context.trace);
}

#[test]
fn the_first_failure_counts_and_its_words_are_bounded() {
    let (tracer, told) = tracer(Sampler::All);
    let mut span = tracer.root(&SCAN);
    span.fail("io", &"ä".repeat(10_000));
    span.fail("other", &"later");
    drop(span);
    let [told] = &told.all()[..] else { panic!() };
    assert_eq!(told.failure.as_ref().map(String::len), Some(1_024));
    assert_eq!(told.attributes, [(&crate::catalogue::ERROR_TYPE, Value::Word("io"))]);
}

#[test]
fn objects_are_told_as_amazon_knows_them() {
    use crate::catalogue::PUT;
    let said = |location| {
        let (tracer, told) = tracer(Sampler::All);
        let mut span = tracer.root(&PUT);
        span.object(location, &"a/b.lz4");
        drop(span);
        let told = told.all().remove(0).attributes.into_iter();
        let words = told.map(|(attribute, value)| match value {
            Value::Text(text) => format!("{} {text}", attribute.name),
            value => panic!("{value:?}"),
        });
        words.collect::<Vec<_>>()
    };
    let whole = "ultrasimple.key a/b.lz4";
    assert_eq!(said("s3://b/p/q"), [whole, "aws.s3.bucket b", "aws.s3.key p/q/a/b.lz4"]);
    assert_eq!(said("s3://b"), [whole, "aws.s3.bucket b", "aws.s3.key a/b.lz4"]);
    assert_eq!(said("file:///b"), [whole]);
}

#[test]
fn the_system_clock_gives_the_time_of_day() {
    let told = Arc::new(Told::default());
    let tracer = Tracer::new(Arc::clone(&told) as _, Sampler::All, Arc::new(SystemClock));
    let before = SystemTime::from(SystemClock.now());
    drop(tracer.root(&SCAN));
    let start = told.all()[0].start;
    let after = SystemTime::from(SystemClock.now());
    let slack = Duration::from_millis(5);
    assert!(before - slack <= start && start <= after + slack, "{before:?} {start:?} {after:?}");
}
