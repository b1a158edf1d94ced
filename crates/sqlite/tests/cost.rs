//! What a capture costs: CPU time. Not a test: run it with
//! `cargo test --release -p ultrasimple-sqlite --test cost -- --ignored --nocapture cost`.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::time::Duration;

use common::{MEMORY, Place};
use ultrasimple_sqlite::CheckLevel;
use ultrasimple_testkit::bank::BankOptions;

ultrasimple_testkit::bank_writer!();

/// How long this thread has been on a CPU: what others do on this machine does not count.
fn cpu_time() -> Duration {
    let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(schedstat.split(' ').next().unwrap().parse().unwrap())
}

fn since(start: Duration) -> Duration {
    cpu_time().saturating_sub(start)
}

#[test]
#[ignore = "a measurement"]
fn cost() {
    let place = Place::new();
    let mut writer = place.writer(&BankOptions::default());
    for (mode, rounds) in [("WAL", 5_000), ("DELETE", 5_000)] {
        let path = place.source.path().join(mode);
        // Four pages of 4 KiB, held open by another process.
        let sql = format!(
            "ATTACH '{}' AS small; PRAGMA small.journal_mode={mode}; \
             CREATE TABLE small.t(x); CREATE INDEX small.i ON t(x); CREATE TABLE small.u(x); \
             INSERT INTO small.t VALUES (1); INSERT INTO small.u VALUES (2);",
            path.display()
        );
        writer.sql(&sql).unwrap();
        for level in [CheckLevel::Off, CheckLevel::Quick] {
            let start = cpu_time();
            for _ in 0..rounds {
                let capture = place.capturer.capture(&path, MEMORY, level).unwrap();
                assert_eq!(capture.image.len(), 16_384);
            }
            let each = since(start) / rounds;
            println!("16 KiB, {mode}, {level:?}: {each:?} per capture");
        }
        writer.sql("DETACH small").unwrap();
        if mode == "WAL" {
            let start = cpu_time();
            for _ in 0..rounds {
                place.capturer.capture(&path, MEMORY, CheckLevel::Quick).unwrap();
            }
            let each = since(start) / rounds;
            println!("16 KiB, {mode} closed, Quick: {each:?} per capture");
        }
    }
    let big = place.path();
    let start = cpu_time();
    for _ in 0..200 {
        place.capturer.capture(&big, MEMORY, CheckLevel::Quick).unwrap();
    }
    let size = place.capturer.capture(&big, MEMORY, CheckLevel::Off).unwrap().image.len();
    println!("{size} bytes, WAL, Quick: {:?} per capture", since(start) / 200);
}
