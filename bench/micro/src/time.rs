//! How long parts take, as criterion sees it.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result};
use criterion::Criterion;

use crate::part::{Part, Workload};

/// Measures each for about so many seconds. Criterion tells how it compares with the last time.
pub(crate) fn run(parts: &[&Part], folder: &Path, seconds: f64) -> Result<()> {
    let within = Duration::try_from_secs_f64(seconds).context("--seconds")?;
    let within = within.max(Duration::from_millis(1));
    let mut criterion = Criterion::default()
        .without_plots()
        .sample_size(20)
        .nresamples(10_000)
        .warm_up_time(within / 4)
        .measurement_time(within);
    for part in parts {
        measure(&mut criterion, part, folder).with_context(|| format!("run {}", part.name))?;
    }
    Ok(())
}

fn measure(criterion: &mut Criterion, part: &Part, folder: &Path) -> Result<()> {
    let mut workload = (part.make)(folder)?;
    let mut failed = None;
    criterion.bench_function(part.name, |bencher| {
        bencher.iter_custom(|times| {
            run_times(&mut *workload, times).unwrap_or_else(|error| {
                failed.get_or_insert(error);
                // Of no meaning, but criterion wants one that it can divide by, and an end.
                Duration::from_secs(times)
            })
        });
    });
    failed.map_or(Ok(()), Err)
}

/// How long that takes, what is prepared in between not included.
fn run_times(workload: &mut dyn Workload, times: u64) -> Result<Duration, Error> {
    let mut took = Duration::ZERO;
    for _ in 0..times {
        workload.prepare()?;
        let start = Instant::now();
        workload.run()?;
        took += start.elapsed();
    }
    Ok(took)
}
