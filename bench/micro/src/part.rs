//! What a part is: what it is called, and how it is run again and again.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

/// A part that is measured.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Part {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    /// How many of what a run works on: figures are for one of them.
    pub(crate) items: u32,
    pub(crate) item: &'static str,
    /// Whether its instructions can be counted.
    pub(crate) is_counted: bool,
    /// Makes what it works on, some of it in a folder in which other parts find theirs.
    #[serde(skip)]
    pub(crate) make: fn(&Path) -> Result<Box<dyn Workload>>,
}

/// A part at work.
pub(crate) trait Workload {
    /// Makes what the next run takes, and throws away what the last one gave. This is not measured.
    fn prepare(&mut self) -> Result<()>;

    /// What is measured.
    fn run(&mut self) -> Result<()>;
}

/// A workload of two functions: what one prepares, the other takes.
struct Pair<P, R, I, O> {
    prepare: P,
    run: R,
    input: Option<I>,
    output: Option<O>,
}

impl<P, R, I, O> Workload for Pair<P, R, I, O>
where
    P: FnMut() -> Result<I>,
    R: FnMut(I) -> Result<O>,
{
    fn prepare(&mut self) -> Result<()> {
        self.output = None;
        self.input = Some((self.prepare)()?);
        Ok(())
    }

    fn run(&mut self) -> Result<()> {
        let input = self.input.take().context("a run that was not prepared")?;
        self.output = Some((self.run)(input)?);
        Ok(())
    }
}

/// A workload whose runs use up what was prepared.
pub(crate) fn prepared<I: 'static, O: 'static>(
    prepare: impl FnMut() -> Result<I> + 'static,
    run: impl FnMut(I) -> Result<O> + 'static,
) -> Box<dyn Workload> {
    Box::new(Pair { prepare, run, input: None, output: None })
}

/// A workload whose runs need nothing but what they have.
pub(crate) fn repeated<O: 'static>(
    mut run: impl FnMut() -> Result<O> + 'static,
) -> Box<dyn Workload> {
    prepared(|| Ok(()), move |()| run())
}
