//! Bad days between the daemon and a real S3 server: nothing counts as stored that is not (R3), all is
//! stored when the day is over, and what does not change costs no request (R6).
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::time::Duration;

use ultrasimple_testkit::bank::{BankOptions, JournalMode, WriterProcess, verify};
use ultrasimple_testkit::fault_proxy::{Fault, Rule};
use ultrasimple_testkit::process::free_ports;
use ultrasimple_testkit::seaweed::{READER, STRANGER, SeaweedFs};
use ultrasimple_tests::{Bucket, Daemon, Proxy, Yard, eventually, run, unpack};

ultrasimple_testkit::bank_writer!();

const PATTERN: [&str; 4] = ["-pattern", "data/*.db", "-interval", "100ms"];
const BANKS: [(&str, JournalMode); 3] =
    [("wal", JournalMode::Wal), ("delete", JournalMode::Delete), ("persist", JournalMode::Persist)];

/// Banks whose writers commit when told, a bucket, and a proxy before it.
struct Stage {
    yard: Yard,
    writers: Vec<WriterProcess>,
    commits: Vec<i64>,
    /// Past the proxy.
    bucket: Bucket,
    proxy: Proxy,
}

impl Stage {
    fn new() -> Self {
        let yard = Yard::new();
        let server = SeaweedFs::shared();
        let writers = BANKS.map(|(name, journal_mode)| {
            let options = BankOptions { journal_mode, accounts: 60, ..BankOptions::default() };
            WriterProcess::spawn(&yard.path(format!("data/{name}.db")), &options).unwrap()
        });
        let (bucket, proxy) = (Bucket::new_in(server), Proxy::start(server.port()));
        let mut stage = Self { yard, writers: writers.into(), commits: Vec::new(), bucket, proxy };
        stage.commit();
        stage
    }

    fn daemon(&self, words: &[&str]) -> Daemon {
        let through = self.bucket.through(self.proxy.endpoint());
        Daemon::start(self.yard.daemon(&through, &[&PATTERN[..], words].concat()))
    }

    /// One that is out of step with the others.
    fn another_daemon(&self) -> Daemon {
        let through = self.bucket.through(self.proxy.endpoint());
        let words = [PATTERN[0], PATTERN[1], "-interval", "137ms"];
        Daemon::start(self.yard.daemon(&through, &words))
    }

    /// All databases change.
    fn commit(&mut self) {
        self.commits = self.writers.iter_mut().map(|writer| writer.commit(3).unwrap()).collect();
    }

    /// The bucket has the last commit of every database, as `lz4 -d` gives it.
    fn prove(&self, when: &str) {
        let folder = self.yard.path(format!("copy of {when}"));
        self.bucket.copy_to(&folder);
        let backups = self.bucket.backups();
        for ((name, _), commits) in BANKS.iter().zip(&self.commits) {
            let key = backups[*name].last().unwrap();
            let image = folder.join(format!("{name}.image"));
            unpack(&folder.join(key), &image).unwrap();
            assert_eq!(verify(&image), Ok(*commits), "R3: {name} after {when}");
        }
    }
}

#[test]
fn a_start_that_cannot_work_says_why() {
    let stage = Stage::new();
    let Bucket::S3 { endpoint, login, .. } = stage.bucket.clone() else { unreachable!() };
    let [nobody] = free_ports();
    let nobody = format!("http://127.0.0.1:{nobody}");
    let missing = Bucket::S3 { endpoint, name: "no-such-bucket".to_owned(), login };
    for (bucket, said) in [
        (stage.bucket.through(nobody.clone()), &["cannot use -bucket", &nobody][..]),
        (missing, &["no-such-bucket", "-bucket"]),
        (stage.bucket.as_user(STRANGER), &["cannot use -bucket", "-access-key"]),
        (stage.bucket.as_user(READER), &["cannot use -bucket", "403"]),
    ] {
        for words in [&PATTERN[..], &[&PATTERN[..], &["-once"]].concat()] {
            let words = [words, &["-http", "off"]].concat();
            let ran = run(stage.yard.daemon(&bucket, &words));
            ran.expect(1, said);
            let Bucket::S3 { login, .. } = &bucket else { unreachable!() };
            assert!(!ran.stderr.contains(login.secret_key), "the secret is told: {ran}");
            println!("{}", ran.stderr.lines().last().unwrap_or_default());
        }
    }
    assert_eq!(stage.bucket.keys(), Vec::<String>::new());
}

#[test]
fn nothing_counts_as_stored_while_the_store_fails_and_all_is_stored_after() {
    let mut stage = Stage::new();
    let daemon = stage.daemon(&[]);
    daemon.settled(0);
    stage.prove("the start");

    // Not carried out by the server: nothing may be counted meanwhile.
    for (name, fault) in [
        ("refused connections", Fault::Refuse),
        ("503 SlowDown", Fault::Answer(503, "SlowDown")),
        ("503", Fault::Answer(503, "ServiceUnavailable")),
        ("500", Fault::Answer(500, "InternalError")),
        ("a cut in the body", Fault::CutRequest(3_000)),
        ("expired credentials", Fault::Answer(400, "ExpiredToken")),
        ("access denied", Fault::Answer(403, "AccessDenied")),
    ] {
        let mark = daemon.mark();
        stage.proxy.set(Rule::new(fault));
        // Uploads that began before the fault may still end well.
        daemon.cycles(1);
        let stored = daemon.count("uploads_success");
        stage.commit();
        let line = daemon.says_after(mark, "Not backed up: ");
        println!("{name}: {}", line.split("Not backed up: ").nth(1).unwrap());
        daemon.until(name, |stats| stats["pending"] == 3 && stats["failing"] == 3);
        daemon.cycles(2);
        assert_eq!(daemon.count("uploads_success"), stored, "R3: {name}: {}", daemon.log());
        stage.proxy.heal();
        daemon.settled(0);
        assert_eq!(daemon.count("failing"), 0, "{name}");
        stage.prove(name);
    }

    // Carried out, perhaps: what counts as stored must be.
    for (name, rule) in [
        ("a cut before the answer", Rule::new(Fault::CutAfter).method("PUT")),
        ("an answer with another ETag", Rule::new(Fault::LieAboutEtag("00ff")).method("PUT")),
        ("every other answer cut", Rule::new(Fault::CutAfter).every(2)),
    ] {
        stage.proxy.set(rule);
        stage.commit();
        daemon.cycles(3);
        let stats = daemon.stats();
        if stats["pending"] == 0 {
            stage.prove(&format!("{name}, before it is over"));
        }
        stage.proxy.heal();
        daemon.settled(0);
        stage.prove(name);
    }
    let log = daemon.log();
    assert!(!log.contains("panic") && !log.contains("An actor failed"), "{log}");

    // R6: rest costs nothing.
    let before = stage.proxy.requests();
    let puts = stage.proxy.requests_of("PUT");
    daemon.cycles(10);
    assert_eq!(stage.proxy.requests(), before, "R6: requests without a change ({puts} PUTs)");
    daemon.stop_well();
}

#[test]
fn a_store_that_hangs_holds_up_neither_the_scans_nor_the_end() {
    let mut stage = Stage::new();
    let mut daemon = stage.daemon(&["-drain-timeout", "2s"]);
    daemon.settled(0);
    let stored = daemon.count("uploads_success");
    stage.proxy.set(Rule::new(Fault::Hang).method("PUT"));
    stage.commit();
    daemon.until("all wait", |stats| stats["pending"] == 3);
    // The tick is kept, and the exposure grows.
    daemon.cycles(5);
    assert_eq!(daemon.count("uploads_success"), stored, "R3: {}", daemon.log());
    assert_eq!(daemon.count("pending"), 3, "{}", daemon.log());
    assert!(daemon.stats()["max_exposure_seconds"].as_f64() > Some(0.5), "{}", daemon.stats());

    let (status, took) = daemon.stop();
    assert_eq!(status, Some(0), "{}", daemon.log());
    assert!(took < Duration::from_secs(15), "R10: the end took {took:?}: {}", daemon.log());
    daemon.says("Uploads did not end in time");

    stage.proxy.heal();
    let daemon = stage.daemon(&[]);
    daemon.settled(0);
    daemon.stop_well();
    stage.prove("a restart");
}

#[test]
fn an_upload_under_way_at_sigterm_is_finished() {
    let mut stage = Stage::new();
    let mut daemon = stage.daemon(&[]);
    daemon.settled(0);
    stage.proxy.set(Rule::new(Fault::Delay(1_500)).method("PUT"));
    let before = stage.proxy.requests_of("PUT");
    stage.commit();
    daemon.until("all are under way", |_| stage.proxy.requests_of("PUT") >= before + 3);
    let (status, took) = daemon.stop();
    assert_eq!(status, Some(0), "{}", daemon.log());
    println!("took {took:?}");
    stage.prove("SIGTERM");
}

#[test]
fn a_daemon_that_is_killed_in_an_upload_loses_nothing() {
    let mut stage = Stage::new();
    let daemon = stage.daemon(&[]);
    daemon.settled(0);
    stage.proxy.set(Rule::new(Fault::Hang).method("PUT"));
    let before = stage.proxy.requests_of("PUT");
    stage.commit();
    daemon.until("all are under way", |_| stage.proxy.requests_of("PUT") >= before + 3);
    drop(daemon);
    stage.proxy.heal();
    let daemon = stage.daemon(&[]);
    daemon.settled(0);
    daemon.stop_well();
    stage.prove("a kill");
    let folder = stage.yard.path("tmp/ultrasimple-0");
    let left = folder.read_dir().map_or(0, Iterator::count);
    assert_eq!(left, 0, "scratch is not cleaned up");
}

#[test]
fn of_two_daemons_on_one_bucket_the_older_stops() {
    let mut stage = Stage::new();
    let mut older = stage.daemon(&[]);
    older.settled(0);
    let newer = stage.another_daemon();
    // It stops at its first conflict.
    let status = eventually("the older one stops", || {
        stage.commit();
        newer.cycles(1);
        older.ended()
    });
    assert_eq!(status, Some(1), "{}", older.log());
    let last = older.log().lines().last().unwrap_or_default().to_owned();
    println!("{last}");
    assert!(last.starts_with("ultrasimple: "), "{last}");
    stage.commit();
    newer.settled(0);
    newer.stop_well();
    stage.prove("the end of the older");
}
