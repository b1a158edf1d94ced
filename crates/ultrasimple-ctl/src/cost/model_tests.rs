use proptest::prelude::*;

use super::*;
use crate::cost::assume::{Nature, halved};
use crate::cost::class::kept;
use crate::cost::prices::{choose, load};

fn aws() -> Prices {
    choose(load(None).unwrap(), None).unwrap()
}

fn provider(name: &str) -> Prices {
    choose(load(None).unwrap(), Some(name)).unwrap()
}

/// Of 36 KiB, stored in a third.
fn workload(databases: f64, hot: f64, changes_per_day: f64) -> Workload {
    Workload {
        databases,
        hot,
        changes_per_day,
        image_bytes: 36_864.0,
        compression: 1.0 / 3.0,
        ..Workload::default()
    }
}

/// The daemon's defaults, without what is not uploads.
fn bare() -> Policy {
    Policy {
        interval: Duration::from_secs(15),
        min_upload_interval: Duration::ZERO,
        put_budget: None,
        retention_days: Some(30.0),
        keep: None,
        shards: 256.0,
        verify_percent_per_day: 0.0,
        reconcile_requests: 0.0,
        restarts_per_month: 0.0,
    }
}

fn of(bill: &Bill, cause: Cause, kind: Kind) -> (f64, f64) {
    let lines = bill.lines.iter().filter(|line| (line.cause, line.kind) == (cause, kind));
    lines.fold((0.0, 0.0), |(n, cost), line| (n + line.requests, cost + line.cost))
}

#[track_caller]
fn assert_near(found: f64, expected: f64) {
    assert!((found - expected).abs() <= 1e-9 * expected.abs().max(1.0), "{found}, not {expected}");
}

/// The second fact of S3 in the design: the hourly name caps objects, not requests.
#[test]
fn what_always_changing_databases_cost() {
    let minutes = |minutes| Policy { min_upload_interval: Duration::from_mins(minutes), ..bare() };
    let budget = Policy { put_budget: Some(2_160_000.0), ..bare() };
    for (hot, policy, puts, cost, gap) in [
        (1.0, bare(), 172_800.0, 0.864, 15.0),
        (250.0, bare(), 43_200_000.0, 216.0, 15.0),
        (250.0, minutes(5), 2_160_000.0, 10.8, 300.0),
        (250.0, budget, 2_160_000.0, 10.8, 300.0),
        (250.0, minutes(60), 180_000.0, 0.9, 3_600.0),
    ] {
        let bill = bill(&workload(hot, hot, 0.0), &policy, &aws());
        let (requests, paid) = of(&bill, Cause::Hot, Kind::Put);
        assert_near(requests, puts);
        assert_near(paid, cost);
        assert_near(bill.hot_gap.unwrap(), gap);
        // An object an hour, whatever the number of requests, and the one before the first of them.
        assert_near(bill.storage.objects, hot * 721.0);
    }
}

#[test]
fn an_unchanged_database_costs_its_storage_alone() {
    let bill = bill(&workload(100_000.0, 0.0, 0.0), &bare(), &aws());
    assert_eq!(bill.lines, []);
    assert_near(bill.storage.objects, 100_000.0);
    assert_near(bill.total(), 100_000.0 * 12_288.0 / 1_073_741_824.0 * 0.023);
}

#[test]
fn uploads_begin_in_cycles() {
    for (interval, least, gap) in [(15, 0, 15.0), (15, 10, 15.0), (15, 20, 30.0), (60, 90, 120.0)] {
        let policy = Policy {
            interval: Duration::from_secs(interval),
            min_upload_interval: Duration::from_secs(least),
            ..bare()
        };
        assert_near(bill(&workload(1.0, 1.0, 0.0), &policy, &aws()).hot_gap.unwrap(), gap);
    }
}

#[test]
fn a_budget_is_shared_by_need() {
    let policy = |budget| Policy { put_budget: Some(budget), ..bare() };
    // 10 that change all the time, 990 once a day: 29,700 uploads that all get through.
    let uploads = |budget| {
        let bill = bill(&workload(1_000.0, 10.0, 1.0), &policy(budget), &aws());
        let of = |cause| of(&bill, cause, Kind::Put).0;
        (of(Cause::Hot), of(Cause::Others), bill.is_budgeted)
    };
    let (hot, others, is_budgeted) = uploads(100_000.0);
    assert_near(hot, 70_300.0);
    assert_near(others, 29_700.0);
    assert!(is_budgeted);
    // Less than one each: all alike.
    let (hot, others, _) = uploads(10_000.0);
    assert_near(hot, 100.0);
    assert_near(others, 9_900.0);
    // More than anybody wants.
    assert_eq!(uploads(10_000_000.0), (1_728_000.0, 29_700.0, false));
}

#[test]
fn large_databases_are_sent_in_parts() {
    let sized = |image_bytes| Workload { image_bytes, compression: 1.0, ..workload(1.0, 0.0, 1.0) };
    let puts = |bytes| of(&bill(&sized(bytes), &bare(), &aws()), Cause::Others, Kind::Put).0;
    let mib = 1_048_576.0;
    assert_near(puts(64.0 * mib), 30.0);
    // 7 parts of 16 MiB, the beginning and the completion.
    assert_near(puts(100.0 * mib), 30.0 * 9.0);
}

#[test]
fn what_is_done_besides_uploads() {
    let policy = Policy {
        verify_percent_per_day: 1.0,
        reconcile_requests: 5_000.0,
        restarts_per_month: 4.0,
        ..bare()
    };
    let bill = bill(&workload(100_000.0, 0.0, 1.0), &policy, &aws());
    let requests = |cause, kind| of(&bill, cause, kind).0;
    assert_near(bill.storage.objects, 3_100_000.0);
    assert_near(requests(Cause::Catalogs, Kind::Put), 256.0 * 720.0);
    assert_near(requests(Cause::Catalogs, Kind::Get), 256.0 * 720.0);
    assert_near(requests(Cause::Starts, Kind::Put), 4.0 * 262.0);
    assert_near(requests(Cause::Starts, Kind::Get), 4.0 * 258.0);
    assert_near(requests(Cause::Reconciling, Kind::List), 30.0 * 3_100.0);
    assert_near(requests(Cause::Reconciling, Kind::Get), 30.0 * 512.0);
    assert_near(requests(Cause::Verifying, Kind::Get), 0.01 * 100_000.0 * 30.0);
    // Two for each that goes, and one for each database and pass.
    assert_near(requests(Cause::Retention, Kind::Get), 9_000_000.0);
    assert_near(requests(Cause::Retention, Kind::Delete), 3_000.0);
    let cost = |cause, kind| of(&bill, cause, kind).1;
    assert_near(cost(Cause::Reconciling, Kind::List), 0.465);
    assert_near(cost(Cause::Retention, Kind::Get), 3.6);
    assert_near(cost(Cause::Retention, Kind::Delete), 0.0);
}

#[test]
fn comparing_keeps_to_its_budget() {
    // A pass over a full history: 72,100 pages and 512 catalogs.
    let policy = Policy { reconcile_requests: 5_000.0, ..bare() };
    let bill = bill(&workload(100_000.0, 100_000.0, 0.0), &policy, &aws());
    let (lists, gets) =
        (of(&bill, Cause::Reconciling, Kind::List), of(&bill, Cause::Reconciling, Kind::Get));
    assert_near(lists.0 + gets.0, 150_000.0);
    assert!(lists.0 > 140_000.0);
}

#[test]
fn catalogs_of_few_changes_are_written_rarely() {
    let bill = bill(&workload(1_000.0, 0.0, 0.1), &bare(), &aws());
    assert_near(of(&bill, Cause::Catalogs, Kind::Put).0, 3_000.0);
}

#[test]
fn what_the_rules_keep() {
    for (days, keep, per_day, expected) in [
        (30.0, None, 24.0, 720.0),
        (30.0, None, 0.5, 15.0),
        (30.0, Some("daily=90"), 24.0, 720.0 + 60.0),
        (30.0, Some("hourly=48"), 24.0, 48.0),
        (30.0, Some("hourly=48,daily=30"), 24.0, 48.0 + 28.0),
        (30.0, Some("hourly=48,daily=30"), 0.5, 1.0 + 14.0),
        (30.0, Some("hourly=24,daily=7,weekly=5"), 24.0, 24.0 + 6.0 + 4.0),
        (30.0, Some("hourly=24,daily=30,monthly=12"), 24.0, 24.0 + 29.0 + 12.0 - 30.0 / 30.4375),
    ] {
        let keep: Option<Keep> = keep.map(|rules| rules.parse().unwrap());
        let policy = Policy { retention_days: Some(days), keep, ..bare() };
        assert_near(kept(&policy, per_day), expected);
    }
}

#[test]
fn what_is_overwritten_is_billed_where_there_is_a_least_time() {
    let hot = workload(1.0, 1.0, 0.0);
    let wasabi = bill(&hot, &bare(), &provider("wasabi"));
    // 172,080 versions that are gone within the hour, for 90 days; 720 that go after 30, for 60 more.
    let gone = (172_080.0 * 90.0 + 720.0 * 60.0) / 30.0 * 12_288.0;
    assert_near(wasabi.storage.gone_bytes, gone);
    let gib = 1_073_741_824.0;
    assert_near(wasabi.storage.billed_gb, 1_024.0);
    let larger = Workload { image_bytes: 36_864_000.0, ..hot.clone() };
    let larger = bill(&larger, &bare(), &provider("wasabi")).storage;
    assert_near(larger.billed_gb, 1_000.0 * (gone + 721.0 * 12_288.0) / gib);
    assert_near(bill(&hot, &bare(), &aws()).storage.gone_bytes, 0.0);
    assert_near(bill(&hot, &bare(), &provider("self-hosted")).total(), 0.0);
}

#[test]
fn what_decides_is_named() {
    let deciding = |workload: &Workload, policy: &Policy, nature| {
        let all = halved(workload, policy, &aws(), &[]);
        let given = bill(workload, policy, &aws()).total();
        assert!(all.iter().all(|halved| (halved.total - given - halved.change).abs() < 1e-9));
        let most = all.iter().find(|halved| halved.nature == nature).unwrap();
        (most.flag, most.change)
    };
    let hot = workload(250.0, 250.0, 0.0);
    let (flag, change) = deciding(&hot, &bare(), Nature::Assumption);
    assert_eq!(flag, "--hot");
    assert!((-109.0..-108.0).contains(&change), "{change}");
    assert_eq!(deciding(&hot, &bare(), Nature::Setting).0, "-interval");
    let calm = Policy { min_upload_interval: Duration::from_mins(5), ..bare() };
    assert_eq!(deciding(&hot, &calm, Nature::Setting).0, "-min-upload-interval");
    let budget = Policy { put_budget: Some(2_160_000.0), ..bare() };
    assert_eq!(deciding(&hot, &budget, Nature::Setting).0, "-put-budget");
    let many = workload(100_000.0, 0.0, 5.0);
    assert_eq!(deciding(&many, &bare(), Nature::Assumption).0, "--changes-per-day");
    let large = Workload { image_bytes: 1e8, ..workload(1_000.0, 0.0, 1.0) };
    assert_eq!(deciding(&large, &bare(), Nature::Assumption).0, "--size");
    assert_eq!(deciding(&large, &bare(), Nature::Setting).0, "-retention-days");
}

proptest! {
    /// Whatever is given, the numbers are numbers, and more of anything is not cheaper.
    #[test]
    fn more_is_never_cheaper(
        databases in 1u32..1_000_000, hot in 0.0..=1.0_f64, changes in 0.0..10_000.0_f64,
        bytes in 1e3..1e12_f64,
        interval in 1u64..3_600, least in 0u64..7_200, budget in proptest::option::of(1.0..1e9_f64),
        verify in 0.0..=100.0_f64, reconcile in 0.0..1e6_f64,
    ) {
        let databases = f64::from(databases);
        let workload = Workload {
            databases, hot: (databases * hot).floor(), changes_per_day: changes, image_bytes: bytes,
            compression: 0.4, ..Workload::default()
        };
        let policy = Policy {
            interval: Duration::from_secs(interval),
            min_upload_interval: Duration::from_secs(least),
            put_budget: budget,
            verify_percent_per_day: verify,
            reconcile_requests: reconcile,
            restarts_per_month: 1.0,
            ..bare()
        };
        let given = bill(&workload, &policy, &aws());
        prop_assert!(given.total().is_finite() && given.total() >= 0.0);
        prop_assert!(given.lines.iter().all(|line| line.requests.is_finite() && line.requests > 0.0));
        if let Some(budget) = budget {
            let prices = aws();
            let model = Model::new(&workload, &policy, &prices);
            let uploads = model.hot.all_uploads() + model.others.all_uploads();
            prop_assert!(uploads <= budget * (1.0 + 1e-9), "{} of {}", uploads, budget);
        }
        let more = Workload { image_bytes: bytes * 2.0, ..workload.clone() };
        prop_assert!(bill(&more, &policy, &aws()).total() >= given.total());
        let longer = Policy { retention_days: Some(60.0), ..policy.clone() };
        prop_assert!(bill(&workload, &longer, &aws()).storage.cost >= given.storage.cost);
    }
}

#[test]
fn what_is_held_stands_instead_of_what_would_be() {
    let given = workload(1_000.0, 0.0, 1.0);
    let steady = bill(&given, &bare(), &aws()).storage;
    assert_near(steady.objects, 31_000.0);
    let held = Some(Held { objects: 0.5, bytes: 0.25 });
    let young = Workload { held, ..given.clone() };
    let policy = Policy { verify_percent_per_day: 1.0, reconcile_requests: 5_000.0, ..bare() };
    let young_bill = bill(&young, &policy, &aws());
    assert_near(young_bill.storage.objects, 15_500.0);
    assert_near(young_bill.storage.object_bytes, 6_144.0);
    assert_near(young_bill.storage.cost, steady.cost / 4.0);
    assert!(young_bill.storage.arithmetic.contains("15,500 backups held"));
    assert_near(of(&young_bill, Cause::Reconciling, Kind::List).0, 30.0 * 16.0);
    assert_near(of(&young_bill, Cause::Verifying, Kind::Get).0, 300.0);
    // Uploads are no others.
    assert_eq!(young_bill.lines[0], bill(&given, &policy, &aws()).lines[0]);
    // Half the days make half of the past.
    let halved = halved(&young, &bare(), &aws(), &["--size"]);
    let by = |flag| halved.iter().find(|halved| halved.flag == flag).unwrap();
    let total = bill(&young, &bare(), &aws()).total();
    assert_near(by("-retention-days").change, -steady.cost / 4.0 * 15.0 / 31.0);
    assert!((by("--size").total - (total - steady.cost / 8.0)).abs() < 1e-9);
    assert_eq!(by("--size").nature, Nature::Fact);
    assert_eq!(by("--compression").nature, Nature::Assumption);
}

#[test]
fn what_is_gone_costs_its_storage_alone() {
    let with = bill(&Workload { gone: 50.0, ..workload(100.0, 0.0, 1.0) }, &bare(), &aws());
    let without = bill(&workload(100.0, 0.0, 1.0), &bare(), &aws());
    assert_eq!(with.lines, without.lines);
    assert_near(with.storage.objects, without.storage.objects + 50.0);
    let all = bill(&Workload { gone: 50.0, ..workload(0.0, 0.0, 1.0) }, &bare(), &aws());
    assert_eq!((all.lines, all.storage.objects), (vec![], 50.0));
}

#[test]
fn catalogs_that_were_counted_are_not_guessed() {
    let counted = Workload { catalogs: Some(7.0), ..workload(1_000.0, 10.0, 1.0) };
    let policy = Policy { restarts_per_month: 1.0, ..bare() };
    let bill = bill(&counted, &policy, &aws());
    assert_near(of(&bill, Cause::Catalogs, Kind::Put).0, 7.0 * 720.0);
    assert_near(of(&bill, Cause::Starts, Kind::Get).0, 9.0);
    let halved = halved(&counted, &policy, &aws(), &[]);
    assert!(halved.iter().any(|halved| halved.flag == "-shards" && halved.change < 0.0));
}
