//! The wall clock while a daemon runs: the hour turns, the clock is set back, years pass.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::path::PathBuf;

use ultrasimple_testkit::bank::{BankOptions, JournalMode, verify};
use ultrasimple_tests::{Bucket, Daemon, TurnedClock, Yard, run, unpack};

const PATTERN: [&str; 4] = ["-pattern", "data/*.db", "-interval", "200ms"];

struct Stage {
    yard: Yard,
    bucket: Bucket,
    clock: TurnedClock,
    bank: PathBuf,
}

impl Stage {
    fn new(time: &str) -> Self {
        let yard = Yard::new();
        let (bucket, clock) = (yard.bucket(), TurnedClock::new(&yard, time));
        let mut stage = Self { bank: yard.path("data/t.db"), yard, bucket, clock };
        stage.commit();
        stage
    }

    fn daemon(&self) -> Daemon {
        Daemon::start(self.clock.command(self.yard.daemon(&self.bucket, &PATTERN)))
    }

    /// One more commit.
    fn commit(&mut self) {
        let journal_mode = JournalMode::Delete;
        let options = BankOptions { journal_mode, accounts: 30, ..BankOptions::default() };
        self.yard.bank("data/t.db", &options, 1);
    }

    /// Hours held, and the commits that each one's backup has seen.
    fn held(&self) -> Vec<(String, i64)> {
        let keys = self.bucket.backups().remove("t").unwrap_or_default();
        let prove = |key: String| {
            let image = self.yard.path("image");
            unpack(&self.yard.path("bucket").join(&key), &image).unwrap();
            (key[2..17].to_owned(), verify(&image).unwrap())
        };
        keys.into_iter().map(prove).collect()
    }

    #[track_caller]
    fn holds(&self, expected: &[(&str, i64)]) {
        let expected: Vec<_> = expected.iter().map(|(hour, n)| ((*hour).to_owned(), *n)).collect();
        assert_eq!(self.held(), expected);
    }

    /// The commits that a restore as of this time has seen, or what it says.
    fn restore(&self, at: &str) -> Result<i64, String> {
        let words = ["restore", "t", "-o", "restored.db", "--force", "--at", at];
        let ran = run(self.yard.ctl(&self.bucket, &words));
        match ran.status {
            Some(0) => Ok(verify(&self.yard.path("restored.db")).unwrap()),
            _ => Err(ran.to_string()),
        }
    }
}

#[test]
fn the_hour_turns() {
    let mut stage = Stage::new("2030-01-15T13:10:00Z");
    let daemon = stage.daemon();
    daemon.settled(0);
    stage.holds(&[("20300115-140000", 2)]);
    stage.commit();
    daemon.settled(0);
    stage.holds(&[("20300115-140000", 3)]);

    // A new hour alone changes nothing (R6).
    stage.clock.set("2030-01-15T14:10:00Z");
    daemon.cycles(3);
    stage.holds(&[("20300115-140000", 3)]);
    stage.commit();
    daemon.settled(0);
    stage.holds(&[("20300115-140000", 3), ("20300115-150000", 4)]);

    // The full hour itself belongs to the next; so does what comes after years.
    stage.clock.set("2031-12-31T23:30:00Z");
    stage.commit();
    daemon.settled(0);
    daemon.stop_well();
    let all = [("20300115-140000", 3), ("20300115-150000", 4), ("20320101-000000", 5)];
    stage.holds(&all);

    for (at, commits) in [
        ("2030-01-15T13:50:00Z", 3),
        ("2030-01-15T14:05:00Z", 3),
        ("2030-01-15T14:50:00Z", 4),
        ("2031-01-01", 4),
        ("2031-12-31T23:59:00Z", 5),
        ("2040-01-01", 5),
    ] {
        assert_eq!(stage.restore(at), Ok(commits), "{at}");
    }
    let error = stage.restore("2030-01-15T13:00:00Z").unwrap_err();
    assert!(error.contains("nothing was captured at or before"), "{error}");
}

#[test]
fn the_clock_is_set_back() {
    let mut stage = Stage::new("2030-01-15T13:30:00Z");
    let daemon = stage.daemon();
    daemon.settled(0);
    stage.clock.set("2030-01-15T14:30:00Z");
    stage.commit();
    daemon.settled(0);
    let before = [("20300115-140000", 2), ("20300115-150000", 3)];
    stage.holds(&before);

    // Within the hour: the content goes on, whatever the clock says.
    stage.clock.set("2030-01-15T14:00:10Z");
    stage.commit();
    daemon.settled(0);
    let before = [("20300115-140000", 2), ("20300115-150000", 4)];
    stage.holds(&before);

    // To before what an older hour holds: that is left alone, and said (R5).
    stage.clock.set("2030-01-15T13:05:00Z");
    stage.commit();
    let line = daemon.says("Not backed up: ");
    assert!(line.contains("has the clock been set back?"), "{line}");
    daemon.settled(1);
    stage.holds(&before);

    // When the time has come again, what waited is stored.
    stage.clock.set("2030-01-15T14:40:00Z");
    daemon.settled(0);
    daemon.says(&format!("Backed up again: {}", stage.bank.display()));
    stage.holds(&[("20300115-140000", 2), ("20300115-150000", 5)]);
    daemon.stop_well();
}

#[test]
fn a_damaged_database_is_stored_marked_from_the_next_hour_on() {
    let mut stage = Stage::new("2030-01-15T13:10:00Z");
    let daemon = stage.daemon();
    daemon.settled(0);
    let mut bytes = std::fs::read(&stage.bank).unwrap();
    let whole = bytes.clone();
    let page = bytes.len() / 2 / 4_096 * 4_096;
    bytes[page..page + 200].fill(0xA5);
    std::fs::write(&stage.bank, &bytes).unwrap();
    daemon.says("Not backed up: ");
    daemon.settled(1);
    stage.holds(&[("20300115-140000", 2)]);

    stage.clock.set("2030-01-15T14:10:00Z");
    daemon.settled(0);
    assert_eq!(daemon.count("failing"), 1, "{}", daemon.log());
    let listed = run(stage.yard.ctl(&stage.bucket, &["backups", "t", "--json"]));
    let json = listed.expect(0, &[]).json();
    let check = |n: usize| json["backups"][n]["check"]["result"].clone();
    assert_eq!((check(0), check(1)), ("failed".into(), "passed".into()), "{json}");
    // A restore does not take the damaged one unasked, and says where the good one is.
    let words = ["restore", "t", "-o", "restored.db"];
    let ran = run(stage.yard.ctl(&stage.bucket, &words));
    ran.expect(1, &["its check failed", "--or-older"]);
    run(stage.yard.ctl(&stage.bucket, &[&words[..], &["--or-older"]].concat())).expect(0, &[]);
    assert_eq!(verify(&stage.yard.path("restored.db")), Ok(2));

    // Repaired, all is well again.
    std::fs::write(&stage.bank, &whole).unwrap();
    stage.commit();
    daemon.settled(0);
    assert_eq!(daemon.count("failing"), 0, "{}", daemon.log());
    stage.holds(&[("20300115-140000", 2), ("20300115-150000", 3)]);
    daemon.stop_well();
}
