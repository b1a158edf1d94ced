//! Catalogue and emission are the same, both ways.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio_util::sync::CancellationToken;
use ultrasimple_core::config::{RawSettings, Settings};
use ultrasimple_core::{Clock, SystemClock};
use ultrasimple_replicator::{ReplicatorBuilder, Witness};
use ultrasimple_store::{CountedStore, DirectoryStore, Store};
use ultrasimple_telemetry::catalogue::{Kind, Label, Values, When};
use ultrasimple_telemetry::text::{Format, encode};
use ultrasimple_telemetry::{Source, Value};

use super::*;
use crate::load;
use crate::observed::Observed;

/// The time, and more.
#[derive(Debug, Default)]
struct Later(AtomicU64);

impl Later {
    fn ahead(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::Relaxed))
    }
}

impl Clock for Later {
    fn now(&self) -> Timestamp {
        SystemClock.now() + self.ahead()
    }

    fn monotonic(&self) -> Duration {
        SystemClock.monotonic() + self.ahead()
    }
}

/// Requests a month.
const BUDGET: u64 = 100_000;

/// What a node tells after one cycle over a good and a bad database.
async fn scenario(is_in_fleet: bool, later: Duration) -> Samples {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().canonicalize().unwrap().join(name);
    for name in ["data", "scratch"] {
        std::fs::create_dir(path(name)).unwrap();
    }
    let database = rusqlite::Connection::open(path("data/a.db")).unwrap();
    database.execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (1)").unwrap();
    drop(database);
    std::fs::write(path("data/b.db"), "not a database, but long enough").unwrap();
    std::fs::create_dir(path("more")).unwrap();
    std::os::unix::fs::symlink("nowhere", path("more/c")).unwrap();
    let store = DirectoryStore::open(&path("bucket"), true).await.unwrap();
    let store = Arc::new(CountedStore::new(store, Arc::default()));
    let clock = Arc::new(Later::default());
    let distributions = Arc::new(Distributions::default());
    let replicator = ReplicatorBuilder::default()
        .pattern(path("data/*").to_str().unwrap())
        .pattern(path("more/*/sub/*.db").to_str().unwrap())
        .store(store as Arc<dyn Store>)
        .clock(Arc::clone(&clock) as Arc<dyn Clock>)
        .scratch(path("scratch"))
        .shards(4)
        .put_budget(is_in_fleet.then_some(BUDGET))
        .build()
        .unwrap()
        .watched_by(Arc::clone(&distributions) as Arc<dyn Witness>);
    let report = replicator.run_once(CancellationToken::new()).await.unwrap();
    assert_eq!((report.stored, report.failed), (1, 1));
    let (membership, controls) =
        ultrasimple_cluster::membership::membership(Arc::clone(&clock) as Arc<dyn Clock>);
    controls.trust_until(clock.monotonic() + later + Duration::from_secs(8));
    controls.unowned(3);
    if is_in_fleet {
        replicator.join(membership.clone());
    }
    clock.0.fetch_add(later.as_secs(), Ordering::Relaxed);
    let mut words = vec![("ULTRASIMPLE_BUCKET".into(), "backups".into())];
    if is_in_fleet {
        words.push(("ULTRASIMPLE_ETCD".into(), "http://127.0.0.1:2379".into()));
        words.push(("ULTRASIMPLE_PUT_BUDGET".into(), BUDGET.to_string().into()));
    }
    let raw = RawSettings::from_variables(words);
    let settings = Settings::check(&raw, &load::context().unwrap()).unwrap();
    let bucket = "backups".to_owned();
    let observed =
        Observed::new(&settings, bucket, Arc::new(replicator), clock, distributions, None);
    observed.samples()
}

fn names(samples: &Samples) -> BTreeSet<&'static str> {
    samples.iter().map(|sample| sample.instrument.name).collect()
}

fn catalogued(told_by: &[When]) -> BTreeSet<&'static str> {
    let those = c::all().filter(|instrument| told_by.contains(&instrument.when));
    those.map(|instrument| instrument.name).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_is_catalogued_is_told_and_nothing_else() {
    let samples = scenario(true, Duration::from_mins(6)).await;
    let all = catalogued(&[When::Always, When::InFleet, When::Later, When::WithBudget]);
    assert_eq!(names(&samples), all);
    let alone = scenario(false, Duration::ZERO).await;
    assert_eq!(names(&alone), catalogued(&[When::Always]));
    for instrument in c::all() {
        let told: Vec<_> = samples.of(instrument.name).collect();
        let words: BTreeSet<_> = told.iter().filter_map(|sample| sample.word).collect();
        assert_eq!(words.len(), if instrument.label.is_some() { told.len() } else { 0 });
        if let Some(Label { values: Values::Words(catalogued), .. }) = instrument.label {
            assert_eq!(words, catalogued.iter().copied().collect(), "{}", instrument.name);
        }
        let is_histogram = matches!(instrument.kind, Kind::Histogram(_));
        for sample in told {
            assert_eq!(matches!(sample.value, Value::Distribution(_)), is_histogram);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_numbers_are_those_of_what_happened() {
    let samples = scenario(true, Duration::from_mins(6)).await;
    let text = encode(&samples, Format::Prometheus);
    for line in [
        "ultrasimple_databases{state=\"clean\"} 1",
        "ultrasimple_databases{state=\"pending\"} 0",
        "ultrasimple_databases{state=\"failing\"} 1",
        "ultrasimple_changes_total 2",
        "ultrasimple_backups_stored_total 1",
        "ultrasimple_backups_failed_total{error_type=\"not_a_database\"} 1",
        "ultrasimple_upload_duration_seconds_count{outcome=\"stored\"} 1",
        "ultrasimple_upload_duration_seconds_count{outcome=\"failed\"} 1",
        "ultrasimple_exposure_seconds_count 1",
        "ultrasimple_scan_duration_seconds_count 1",
        "ultrasimple_cycle_duration_seconds_count 1",
        "ultrasimple_fences_total 0",
        "ultrasimple_shards_unowned 3",
        "ultrasimple_node_unwell 0",
        "ultrasimple_lease_ttl_seconds 10",
        "ultrasimple_cycle_interval_seconds 15",
        "ultrasimple_scan_problems 1",
        "ultrasimple_budget_requests 100000",
        "ultrasimple_budget_wait_seconds 0",
        "ultrasimple_exposure_max_seconds{state=\"pending\"} 0",
    ] {
        assert!(text.lines().any(|told| told == line), "no {line} in:\n{text}");
    }
    let number = |name: &str| {
        let value = samples.of(name).next().map(|sample| &sample.value);
        let Some(Value::Number(number)) = value else { panic!("{name}: {value:?}") };
        *number
    };
    let exposures: Vec<_> = samples.of("ultrasimple.exposure.max").collect();
    let Some(Value::Number(exposure)) = exposures.last().map(|sample| &sample.value) else {
        panic!("{exposures:?}")
    };
    assert!((360.0..400.0).contains(exposure), "the bad one's");
    assert!((0.0..=8.0).contains(&number("ultrasimple.lease.remaining")));
    assert!(number("ultrasimple.scan.timestamp") > 1.7e9 && number("ultrasimple.month.cost") > 0.0);
    assert!(number("ultrasimple.backups.sent") > 100.0);
}

/// Each word for a kind of failure that is somewhere in the code is in the catalogue.
#[test]
fn no_failure_is_another() {
    let crates = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let mut found = BTreeSet::new();
    for file in [
        "replicator/src/backup.rs",
        "replicator/src/backup/put.rs",
        "replicator/src/uploader.rs",
        "sqlite/src/error.rs",
    ] {
        let code = std::fs::read_to_string(format!("{crates}/{file}")).unwrap();
        for before in ["kind: \"", "=> \""] {
            let words = code.split(before).skip(1).filter_map(|rest| rest.split('"').next());
            let is_kind = |word: &&str| word.chars().all(|c| c.is_ascii_lowercase() || c == '_');
            found.extend(words.filter(is_kind).map(str::to_owned));
        }
    }
    found.insert("store".to_owned());
    let known: BTreeSet<_> = c::FAILURES.iter().map(|word| (*word).to_owned()).collect();
    let missing: Vec<_> = found.difference(&known).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let gone: Vec<_> = known.difference(&found).filter(|word| *word != c::OTHER).collect();
    assert!(gone.is_empty(), "{gone:?}");
    let outcomes: Vec<_> = UploadOutcome::ALL.iter().map(|outcome| outcome.word()).collect();
    let Some(Label { values: Values::Words(words), .. }) = c::UPLOAD_DURATION.label else {
        panic!("no label");
    };
    assert_eq!(outcomes, words);
}
