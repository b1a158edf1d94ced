//! Runs a part so that nothing but its work is counted, by whoever counts what one function does.

use std::hint::black_box;
use std::path::Path;

use anyhow::Result;

use crate::part::{Part, Workload};

/// Runs it once for what is made once, and then so many times in [`counted`].
pub(crate) fn run(part: &Part, folder: &Path, times: u32) -> Result<()> {
    let mut workload = (part.make)(folder)?;
    workload.prepare()?;
    workload.run()?;
    for _ in 0..times {
        workload.prepare()?;
        counted(&mut *workload)?;
    }
    Ok(())
}

/// Callgrind is told to count what is done in here, by this name: `*::count::counted*`.
#[inline(never)]
fn counted(workload: &mut dyn Workload) -> Result<()> {
    let done = workload.run();
    // Something is left to do here, so that it is a call, and not a jump out of this function.
    black_box(&done);
    done
}
