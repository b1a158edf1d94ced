//! Runs seeds on all cores, tells what happened in them, and fails with the first seed that broke a rule. Before that it
//! shows that the rules notice when a part of what protects the backups is taken out.

#![expect(
    clippy::disallowed_methods,
    reason = "how fast the simulation is, only real time can tell"
)]

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mimalloc::MiMalloc;
use ultrasimple_simulation::{Counts, Report, Sabotage, run};

/// Worlds are made and forgotten by the thousand: with the system's allocator they take a third longer.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

const HELP: &str = "\
Fleets in virtual time: every fault, and the rules checked after each step.

Usage: simulation [--seeds N] [--from S]
       simulation --seed S [--without PART]

  --seeds N       how many worlds, by default 20000. First, each part of what protects the
                  backups is taken out once, to see that the rules notice
  --from S        the seed of the first one, by default 1
  --seed S        this one alone, and tell all that happens in it
  --without PART  with this part taken out: no-conditions, no-epoch, endless-trust,
                  unknown-is-stored, delete-newest, stale-handover, adopt-blindly, adopt-content";

const SEEDS: u64 = 20_000;
/// So many seeds must be enough to notice that something is broken.
const NOTICED_WITHIN: u64 = 2_000;

enum Asked {
    Many { from: u64, seeds: u64 },
    One(u64, Option<Sabotage>),
    Help,
}

fn main() -> ExitCode {
    match parse(std::env::args().skip(1)) {
        Ok(Asked::Many { from, seeds }) => {
            let (notices, is_well) = (notices(), many(from, seeds));
            if notices && is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Ok(Asked::One(seed, sabotage)) => one(seed, sabotage),
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
    let (mut from, mut seeds, mut seed, mut sabotage) = (1, SEEDS, None, None);
    while let Some(arg) = args.next() {
        let (name, value) = match arg.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (arg, None),
        };
        let mut text = || value.clone().or_else(|| args.next()).unwrap_or_default();
        let number = |text: String| {
            text.parse::<u64>().map_err(|_| format!("{name} takes a number, got {text:?}"))
        };
        match name.as_str() {
            "--seeds" => seeds = number(text())?,
            "--from" => from = number(text())?,
            "--seed" => seed = Some(number(text())?),
            "--without" => {
                let part = text();
                let found = Sabotage::ALL.into_iter().find(|one| one.name() == part);
                sabotage = Some(found.ok_or_else(|| format!("there is no part {part:?}"))?);
            }
            "--help" | "-h" => return Ok(Asked::Help),
            _ => return Err(format!("unknown argument {name:?}")),
        }
    }
    match (seed, sabotage) {
        (Some(seed), sabotage) => Ok(Asked::One(seed, sabotage)),
        (None, None) => Ok(Asked::Many { from, seeds }),
        (None, Some(_)) => Err("--without needs --seed".to_owned()),
    }
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Whether each sabotage is noticed, in worlds in which nothing is wrong without it.
fn notices() -> bool {
    let next = AtomicU64::new(0);
    let found: Mutex<Vec<(usize, Option<Report>)>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..threads() {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let number = usize::try_from(number).unwrap_or(usize::MAX);
                    let Some(&sabotage) = Sabotage::ALL.get(number) else { return };
                    let seeds = 1..=NOTICED_WITHIN;
                    let mut reports = seeds.map(|seed| run(seed, Some(sabotage), false));
                    let caught = reports.find(|report| report.violation.is_some());
                    let caught = caught.filter(|it| run(it.seed, None, false).violation.is_none());
                    let Ok(mut found) = found.lock() else { return };
                    found.push((number, caught));
                }
            });
        }
    });
    let Ok(mut found) = found.into_inner() else { return false };
    found.sort_by_key(|(number, _)| *number);
    let mut all = found.len() == Sabotage::ALL.len();
    for (sabotage, (_, caught)) in Sabotage::ALL.iter().zip(&found) {
        let name = sabotage.name();
        if let Some(Report { seed, violation, .. }) = caught {
            let violation = violation.as_deref().unwrap_or_default();
            println!("{name} is noticed by seed {seed}: {violation}");
        } else {
            println!("{name} is NOT NOTICED by the seeds up to {NOTICED_WITHIN} alone");
            all = false;
        }
    }
    all
}

fn one(seed: u64, sabotage: Option<Sabotage>) -> ExitCode {
    let report = run(seed, sabotage, true);
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
    events: u64,
    slowest_recovery: Duration,
    crashed: Slowest,
    left: Slowest,
    failed: Vec<Report>,
}

/// How long others took to have the shards of a node that was gone on a calm day.
#[derive(Default)]
struct Slowest {
    nodes: u32,
    sum: Duration,
    most: Duration,
}

impl Slowest {
    fn take_in(&mut self, took: Option<Duration>) {
        let Some(took) = took else { return };
        self.nodes += 1;
        self.sum += took;
        self.most = self.most.max(took);
    }

    fn tell(&self, what: &str) {
        let mean = self.sum.checked_div(self.nodes).unwrap_or_default().as_secs_f64();
        let most = self.most.as_secs_f64();
        println!(
            "{} nodes {what} on a calm day; others had their shards after {mean:.1} s, {most:.1} s at most",
            self.nodes
        );
    }
}

fn many(from: u64, seeds: u64) -> bool {
    let start = Instant::now();
    let (next, done, stop) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let sum = Mutex::new(Sum::default());
    std::thread::scope(|scope| {
        for _ in 0..threads() {
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
                    sum.events += report.events;
                    sum.crashed.take_in(report.crashed);
                    sum.left.take_in(report.left);
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
    let Ok(mut sum) = sum.into_inner() else { return false };
    tell(&sum.counts);
    progress(done.load(Ordering::Relaxed), start.elapsed());
    println!(
        "{:.0} hours of virtual time, {} million events; everything was well again within {:.0} s after \
         all was healed",
        sum.virtual_time.as_secs_f64() / 3_600.0,
        sum.events / 1_000_000,
        sum.slowest_recovery.as_secs_f64()
    );
    sum.crashed.tell("crashed");
    sum.left.tell("left in order");
    sum.failed.sort_by_key(|report| report.seed);
    for Report { seed, violation, .. } in &sum.failed {
        println!("seed {seed} BROKE A RULE: {}", violation.as_deref().unwrap_or_default());
    }
    if let Some(first) = sum.failed.first() {
        println!("to see all that happened: cargo xtask sim --seed {}", first.seed);
    }
    sum.failed.is_empty()
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
