//! Fleets in virtual time.
//!
//! ```text
//!   plan ──faults──▶ world ──▶ hosts ─ processes: Ownership, Shard, Put, Tender … (the product's)
//!                      │          │ requests            ▲ replies, watches, time
//!                      ▼          ▼                     │
//!                   checks     kernel: time, network, etcd, bucket, truth
//! ```
//!
//! [`run`] makes a world from a seed, lets it go wrong for a while, heals it, and sees it end well; after each step
//! the rules are checked against the whole truth. What decides is the product's own code; what is simulated is what
//! it talks to, and what does real I/O: a database is a counter of commits, its capture the counter's bytes.
//!
//! One thread, one source of chance: a seed gives the same run for ever.
#![cfg_attr(test, allow(clippy::indexing_slicing))]

mod beginning;
mod bucket;
mod checks;
mod clock;
mod counts;
mod etcd;
mod kernel;
mod network;
mod owners;
mod plan;
mod process;
mod random;
mod sabotage;
mod settings;
mod store;
mod tasks;
mod trace;
mod trial;
mod truth;
mod work;
mod world;

use std::time::Duration;

pub use counts::Counts;
pub use sabotage::Sabotage;
use tokio::runtime::{Builder, Runtime};
use world::World;

/// How a run ended.
#[derive(Debug, Clone)]
pub struct Report {
    /// From which it can be repeated.
    pub seed: u64,
    /// Which rule was broken, and how.
    pub violation: Option<String>,
    /// A hash of all that happened.
    pub hash: u64,
    /// What happened, line by line, where it was asked for.
    pub trace: Vec<String>,
    /// How often what happened.
    pub counts: Counts,
    /// How many events there were.
    pub events: u64,
    /// How long it took, in virtual time.
    pub took: Duration,
    /// How long after all was healed everything was well.
    pub recovery: Option<Duration>,
    /// How long after a node crashed on a calm day others had its shards.
    pub crashed: Option<Duration>,
    /// The same of a node that left in order.
    pub left: Option<Duration>,
}

thread_local! {
    /// What the product's timers are made in. It is never run, so that they never ring: the simulation wakes whoever
    /// waits for one.
    static TIMERS: Option<Runtime> = Builder::new_current_thread().enable_time().build().ok();
}

/// Runs the world of a seed. `sabotage`: with this part of it broken.
pub fn run(seed: u64, sabotage: Option<Sabotage>, is_traced: bool) -> Report {
    TIMERS.with(|timers| {
        let _inside = timers.as_ref().map(Runtime::enter);
        run_inside(seed, sabotage, is_traced)
    })
}

fn run_inside(seed: u64, sabotage: Option<Sabotage>, is_traced: bool) -> Report {
    let Some(mut world) = World::new(seed, sabotage, is_traced) else {
        return Report {
            seed,
            violation: Some("the world could not be made".to_owned()),
            hash: 0,
            trace: Vec::new(),
            counts: Counts::default(),
            events: 0,
            took: Duration::ZERO,
            recovery: None,
            crashed: None,
            left: None,
        };
    };
    let ended = world.run();
    let healed = world.settings.trouble;
    let trial = |is_crash| world.trial.filter(|it| it.is_crash == is_crash).and_then(|it| it.took);
    let (crashed, left) = (trial(true), trial(false));
    let mut inner = world.kernel.lock();
    let violation = ended.err().or_else(|| inner.truth.violation.clone());
    if let Some(violation) = &violation {
        inner.tell(format_args!("#### {violation}"));
    }
    Report {
        seed,
        violation,
        hash: inner.trace.hash(),
        trace: inner.trace.take(),
        counts: inner.counts.clone(),
        events: world.events,
        took: inner.now(),
        recovery: world.is_well_at.map(|at| at.saturating_sub(healed)),
        crashed,
        left,
    }
}
