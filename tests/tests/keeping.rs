//! What is in the bucket, over months and restarts: what a start costs, what retention deletes and never deletes,
//! and what is done behind the daemon's back. (An S3 server refuses hosts whose clock is not its own: where the
//! clock is turned, the bucket is a directory.)
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::time::Duration;

use ultrasimple_core::{Clock as _, SystemClock, Timestamp};
use ultrasimple_testkit::bank::{BankOptions, JournalMode, verify};
use ultrasimple_testkit::seaweed::SeaweedFs;
use ultrasimple_tests::{Bucket, Daemon, Proxy, TurnedClock, Yard, run, unpack};

const PATTERN: [&str; 4] = ["-pattern", "data/*.db", "-interval", "200ms"];
const DAY: Duration = Duration::from_hours(24);

fn commit(yard: &Yard, name: &str) {
    let journal_mode = JournalMode::Delete;
    let options = BankOptions { journal_mode, accounts: 30, ..BankOptions::default() };
    yard.bank(format!("data/{name}.db"), &options, 1);
}

/// So many days before now, a little after the full hour.
fn days_ago(days: u32) -> Timestamp {
    let now = SystemClock.now().as_second() / 3_600 * 3_600;
    Timestamp::from_second(now - i64::from(days) * 86_400 + 60).unwrap()
}

fn once(yard: &Yard, bucket: &Bucket, clock: &TurnedClock, words: &[&str]) {
    let words = [&["-once", "-pattern", "data/*.db"], words].concat();
    run(clock.command(yard.daemon(bucket, &words))).expect(0, &[]);
}

#[test]
fn months_pass_and_the_newest_of_each_stays() {
    let yard = Yard::new();
    let bucket = yard.bucket();
    let start = days_ago(77);
    let clock = TurnedClock::new(&yard, &start.to_string());
    for name in ["hot", "idle", "gone", "held"] {
        commit(&yard, name);
    }
    once(&yard, &bucket, &clock, &[]);
    run(yard.ctl(&bucket, &["hold", "held"])).expect(0, &[]);
    std::fs::remove_file(yard.path("data/gone.db")).unwrap();
    // Keys like ours, which are not: retention must not touch them, however old.
    let stranger = "hot-20200101-000000.db.lz4";
    bucket.put(stranger, b"a stranger's".to_vec());
    for week in 1..=11 {
        clock.set(&(start + week * 7 * DAY).to_string());
        commit(&yard, "hot");
        commit(&yard, "held");
        once(&yard, &bucket, &clock, &[]);
    }
    let backups = bucket.backups();
    let count = |name: &str| backups[name].len();
    assert_eq!((count("idle"), count("gone"), count("held")), (1, 1, 12), "{backups:?}");
    // Those of the last four weeks and today, the one in force when the 30 days began, and the stranger's.
    assert_eq!(count("hot"), 5 + 1 + 1, "{backups:?}");
    assert!(backups["hot"].contains(&stranger.to_owned()));

    // What is left restores, as of then.
    for (weeks_ago, commits) in [(0, 13), (2, 11), (4, 9)] {
        let at = (start + (11 - weeks_ago) * 7 * DAY + Duration::from_mins(30)).to_string();
        let words = ["restore", "hot", "-o", "restored.db", "--force", "--at", &at];
        run(yard.ctl(&bucket, &words)).expect(0, &[]);
        assert_eq!(verify(&yard.path("restored.db")), Ok(commits), "{at}");
    }
    run(yard.ctl(&bucket, &["restore", "gone", "-o", "gone.db"])).expect(0, &[]);
    assert_eq!(verify(&yard.path("gone.db")), Ok(2));

    // Shorter, and the hold released: more goes, but never the last.
    run(yard.ctl(&bucket, &["release", "held"])).expect(0, &[]);
    once(&yard, &bucket, &clock, &["-retention-days", "1"]);
    let backups = bucket.backups();
    assert_eq!((backups["idle"].len(), backups["gone"].len()), (1, 1));
    assert_eq!((backups["held"].len(), backups["hot"].len()), (2, 2 + 1), "{backups:?}");
}

#[test]
fn a_clock_that_jumped_ahead_deletes_nothing() {
    let yard = Yard::new();
    let bucket = yard.bucket();
    let clock = TurnedClock::new(&yard, &days_ago(2).to_string());
    commit(&yard, "t");
    once(&yard, &bucket, &clock, &[]);
    clock.set(&days_ago(1).to_string());
    commit(&yard, "t");
    once(&yard, &bucket, &clock, &[]);
    let before = bucket.backups();
    clock.set(&(SystemClock.now() + 400 * DAY).to_string());
    let words = ["-once", "-pattern", "data/*.db"];
    let ran = run(clock.command(yard.daemon(&bucket, &words)));
    ran.expect(0, &["retention deletes nothing while this host is more than 15 minutes ahead"]);
    assert_eq!(bucket.backups(), before, "{ran}");
}

#[test]
fn old_backups_are_deleted_from_a_real_server() {
    let yard = Yard::new();
    let bucket = Bucket::new_in(SeaweedFs::shared());
    for name in ["a", "b"] {
        commit(&yard, name);
    }
    let once = || run(yard.daemon(&bucket, &["-once", "-pattern", "data/*.db"]));
    once().expect(0, &[]);
    let now = bucket.backups();
    let old = |name: &str, days: u32| {
        let time = days_ago(days).to_string();
        let digits: String = time.chars().filter(char::is_ascii_digit).collect();
        format!("{name}-{}-{}0000.db.lz4", &digits[..8], &digits[8..10])
    };
    for days in 25..60 {
        bucket.put(&old("a", days), bucket.get(&now["a"][0]));
        // One database's backup under another's name is none.
        bucket.put(&old("b", days), bucket.get(&now["a"][0]));
    }
    let stranger = old("a", 99);
    bucket.put(&stranger, b"a stranger's".to_vec());
    run(yard.ctl(&bucket, &["catalog", "rebuild"])).expect(0, &[]);
    once().expect(0, &["Retention deleted", "it is left alone"]);
    let backups = bucket.backups();
    // Those of 25 to 30 days ago, perhaps the one in force when these began, today's, and the stranger's.
    let left = backups["a"].len();
    assert!((8..=9).contains(&left) && backups["a"].contains(&stranger), "{backups:?}");
    assert!(!backups["a"].contains(&old("a", 33)) && backups["a"].contains(&old("a", 29)));
    assert_eq!(backups["b"].len(), 36, "{backups:?}");
    assert_eq!((&backups["a"].last(), &backups["b"].last()), (&now["a"].last(), &now["b"].last()));
}

#[test]
fn a_start_over_unchanged_databases_costs_its_catalogs_and_no_put() {
    let yard = Yard::new();
    let server = SeaweedFs::shared();
    let (bucket, proxy) = (Bucket::new_in(server), Proxy::start(server.port()));
    let through = bucket.through(proxy.endpoint());
    let count = |words: &[&str], cycles| {
        let before = ["PUT", "GET", "HEAD"].map(|method| proxy.requests_of(method));
        let daemon = Daemon::start(yard.daemon(&through, words));
        daemon.cycles(cycles);
        daemon.settled(0);
        daemon.stop_well();
        let after = ["PUT", "GET", "HEAD"].map(|method| proxy.requests_of(method));
        [0, 1, 2].map(|n| after[n] - before[n])
    };
    // What a start costs where there is nothing to do.
    count(&["-pattern", "none/*.db", "-interval", "200ms"], 2);
    let nothing = count(&["-pattern", "none/*.db", "-interval", "200ms"], 2);
    for n in 0..40 {
        commit(&yard, &format!("t{n}"));
    }
    count(&PATTERN, 5);
    let backups = bucket.backups();
    let keys = bucket.keys();
    let catalogs = keys.iter().filter(|key| key.contains("/catalog/")).count() as u64;
    assert!(catalogs > 20, "{keys:?}");
    for cycles in [2, 20] {
        let again = count(&PATTERN, cycles);
        assert_eq!(again, [nothing[0], nothing[1] + catalogs, nothing[2]], "{cycles} cycles");
    }
    assert_eq!(bucket.backups(), backups);
}

#[test]
fn what_is_done_behind_the_back_is_found_within_a_day_and_mended() {
    let yard = Yard::new();
    let bucket = yard.bucket();
    let clock = TurnedClock::new(&yard, &days_ago(3).to_string());
    for name in ["deleted", "replaced", "left"] {
        commit(&yard, name);
    }
    once(&yard, &bucket, &clock, &[]);
    let key = |name: &str| bucket.backups()[name].last().unwrap().clone();
    let (deleted, replaced, left) = (key("deleted"), key("replaced"), key("left"));
    bucket.delete(&deleted);
    bucket.put(&replaced, b"not a backup".to_vec());
    bucket.put("unknown-20200101-000000.db.lz4", b"not one either".to_vec());

    clock.set(&days_ago(1).to_string());
    let daemon = Daemon::start(clock.command(yard.daemon(&bucket, &PATTERN)));
    daemon.says(&format!("The backup {deleted} is gone from the bucket"));
    daemon.says(&format!("The object {replaced} is not a backup of its database"));
    daemon.says("The object unknown-20200101-000000.db.lz4 is not a backup of its database");
    daemon.until("both are backed up again", |stats| stats["uploads_success"] == 2);
    daemon.settled(0);
    daemon.stop_well();
    for (name, count) in [("deleted", 1), ("replaced", 2), ("left", 1)] {
        let keys = bucket.backups()[name].clone();
        assert_eq!(keys.len(), count, "{keys:?}");
        let folder = yard.path(format!("copy of {name}"));
        bucket.copy_to(&folder);
        let image = yard.path("image");
        unpack(&folder.join(keys.last().unwrap()), &image).unwrap();
        assert_eq!(verify(&image), Ok(2));
    }
    assert_eq!(key("left"), left);
}

#[test]
fn runs_of_one_cycle_keep_the_least_interval_and_back_up_when_it_is_over() {
    let yard = Yard::new();
    let bucket = yard.bucket();
    let start = days_ago(2);
    let clock = TurnedClock::new(&yard, &start.to_string());
    let newest = |minutes: u64| {
        clock.set(&(start + Duration::from_mins(minutes)).to_string());
        commit(&yard, "t");
        once(&yard, &bucket, &clock, &["-min-upload-interval", "5m"]);
        let key = bucket.backups()["t"].last().unwrap().clone();
        let image = yard.path("image");
        unpack(&yard.path("bucket").join(key), &image).unwrap();
        verify(&image).unwrap()
    };
    assert_eq!([newest(0), newest(2), newest(10)], [2, 2, 4]);
}
