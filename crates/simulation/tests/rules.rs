//! The simulation itself: a seed repeats exactly, and what is broken is noticed.

#![allow(clippy::panic, reason = "tests fail by panicking")]

use ultrasimple_simulation::{Report, Sabotage, run};

#[test]
fn a_seed_is_the_same_each_time() {
    for seed in 1..=5 {
        let (first, again) = (run(seed, None, false), run(seed, None, true));
        assert_eq!((first.hash, first.events), (again.hash, again.events), "seed {seed}");
        assert_eq!((first.took, first.recovery), (again.took, again.recovery), "seed {seed}");
    }
    assert_ne!(run(1, None, false).hash, run(2, None, false).hash);
}

#[test]
fn what_is_right_breaks_no_rule() {
    for seed in 1..=10 {
        assert_eq!(run(seed, None, false).violation, None, "seed {seed}");
    }
}

/// The first seed that finds it.
#[track_caller]
fn caught(sabotage: Sabotage) -> Report {
    let mut found = (1..=100).map(|seed| run(seed, Some(sabotage), false));
    let found = found.find(|report| report.violation.is_some());
    let found = found.unwrap_or_else(|| panic!("{sabotage:?} is not noticed in 100 seeds"));
    println!(
        "{sabotage:?}: seed {}: {}",
        found.seed,
        found.violation.as_deref().unwrap_or_default()
    );
    // And that very seed is well without it.
    assert_eq!(run(found.seed, None, false).violation, None);
    found
}

#[test]
fn believing_a_stale_catalog_is_noticed() {
    caught(Sabotage::StaleHandover);
}

/// A database goes from one content to another and back, and a write of the one in between arrives late.
#[test]
fn adopting_a_backup_because_of_its_content_is_noticed() {
    caught(Sabotage::AdoptContent);
}
