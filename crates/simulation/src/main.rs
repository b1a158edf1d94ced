//! Runs seeds on all cores, tells what happened in them, and fails with the first seed that broke a rule.

#![expect(
    clippy::disallowed_methods,
    reason = "how fast the simulation is, only real time can tell"
)]

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ultrasimple_simulation::{Counts, Report, run};

const HELP: &str = "\
Fleets in virtual time: every fault, and the rules checked after each step.

Usage: simulation [--seeds N] [--from S] [--seed S]

  --seeds N   how many worlds, by default 20000
  --from S    the seed of the first one, by default 1
  --seed S    this one alone, and tell all that happens in it";

const SEEDS: u64 = 20_000;

enum Asked {
    Many { from: u64, seeds: u64 },
    One(u64),
    Help,
}

fn main() -> ExitCode {
    match parse(std::env::args().skip(1)) {
        Ok(Asked::Many { from, seeds }) => many(from, seeds),
        Ok(Asked::One(seed)) => one(seed),
        Ok(Asked::Help) => {
            println!("{HELP}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{why}\n\n{HELP}");
            ExitCode::from(2)
        }
    }
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<Asked, String> {
    let (mut from, mut seeds, mut seed) = (1, SEEDS, None);
    while let Some(arg) = args.next() {
        let (name, value) = match arg.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (arg, None),
        };
        let mut number = || {
            let value = value.clone().or_else(|| args.next()).unwrap_or_default();
            value.parse::<u64>().map_err(|_| format!("{name} takes a number, got {value:?}"))
        };
        match name.as_str() {
            "--seeds" => seeds = number()?,
            "--from" => from = number()?,
            "--seed" => seed = Some(number()?),
            "--help" | "-h" => return Ok(Asked::Help),
            _ => return Err(format!("unknown argument {name:?}")),
        }
    }
    Ok(seed.map_or(Asked::Many { from, seeds }, Asked::One))
}

fn one(seed: u64) -> ExitCode {
    let report = run(seed, None, true);
    for line in &report.trace {
        println!("{line}");
    }
    tell(&report.counts);
    println!(
        "seed {seed}: {} events in {:.0} s of virtual time, hash {:016x}",
        report.events,
        report.took.as_secs_f64(),
        report.hash
    );
    match report.violation {
        None => ExitCode::SUCCESS,
        Some(violation) => {
            println!("seed {seed} BROKE A RULE: {violation}");
            ExitCode::FAILURE
        }
    }
}

/// What all threads add to.
#[derive(Default)]
struct Sum {
    counts: Counts,
    virtual_time: Duration,
    slowest_recovery: Duration,
    failed: Vec<Report>,
}

fn many(from: u64, seeds: u64) -> ExitCode {
    let start = Instant::now();
    let (next, done, stop) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let sum = Mutex::new(Sum::default());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= seeds {
                        return;
                    }
                    let report = run(from + number, None, false);
                    let Ok(mut sum) = sum.lock() else { return };
                    sum.counts.add(&report.counts);
                    sum.virtual_time += report.took;
                    let recovery = report.recovery.unwrap_or_default();
                    sum.slowest_recovery = sum.slowest_recovery.max(recovery);
                    let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                    if done % 2_000 == 0 {
                        progress(done, start.elapsed());
                    }
                    if report.violation.is_some() {
                        sum.failed.push(report);
                        stop.store(sum.failed.len() >= 5, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let Ok(mut sum) = sum.into_inner() else { return ExitCode::FAILURE };
    tell(&sum.counts);
    progress(done.load(Ordering::Relaxed), start.elapsed());
    println!(
        "{:.0} hours of virtual time; everything was well again within {:.0} s after all was healed",
        sum.virtual_time.as_secs_f64() / 3_600.0,
        sum.slowest_recovery.as_secs_f64()
    );
    sum.failed.sort_by_key(|report| report.seed);
    for Report { seed, violation, .. } in &sum.failed {
        println!("seed {seed} BROKE A RULE: {}", violation.as_deref().unwrap_or_default());
    }
    match sum.failed.first() {
        None => ExitCode::SUCCESS,
        Some(first) => {
            println!("to see all that happened: cargo xtask sim --seed {}", first.seed);
            ExitCode::FAILURE
        }
    }
}

fn progress(done: u64, took: Duration) {
    let seconds = took.as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let rate = done as f64 / seconds;
    println!("{done} seeds in {seconds:.1} s, {rate:.0} a second");
}

fn tell(counts: &Counts) {
    for (name, count) in counts.iter() {
        println!("{count:>12}  {name}");
    }
}
