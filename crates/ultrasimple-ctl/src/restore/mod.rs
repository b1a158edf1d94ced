//! `restore`: one database, or all of them.
//!
//! Plan, act, report. Which backup is [`crate::select`]'s decision, where it goes [`plan`]'s; both are
//! values. [`act`] downloads, proves and installs one; [`one`] and [`all`] put these together.

mod act;
mod all;
mod one;
mod place;
mod plan;
mod report;

use ultrasimple_core::Timestamp;
use ultrasimple_store::Store;

use crate::args::Restore;
use crate::select::Rule;
use crate::{Outcome, Usage, at};

/// Which backups are good enough, from the flags.
///
/// # Errors
/// When `--at` is not a time.
pub(crate) fn rule(args: &Restore, now: Timestamp) -> Result<Rule, Usage> {
    let read = |text: &String| at::parse(text, now).map_err(|why| Usage(format!("--at: {why}")));
    let at = args.at.as_ref().map(read).transpose()?;
    Ok(Rule { at, or_older: args.or_older, marked_ok: args.marked_ok })
}

/// Restores what was asked for.
///
/// # Errors
/// When nothing could be done.
pub(crate) async fn run(
    store: &dyn Store,
    args: &Restore,
    rule: Rule,
    parallel: usize,
    json: bool,
) -> anyhow::Result<Outcome> {
    let how = act::How { force: args.force, check: !args.no_check };
    match (&args.database, &args.output, &args.to) {
        (Some(database), Some(output), _) => {
            one::run(store, database, output, rule, how, json).await
        }
        (_, _, Some(to)) => {
            let task = all::Task {
                to,
                filter: args.r#match.as_ref(),
                by_volume: args.by_volume,
                rule,
                how,
                parallel,
                json,
            };
            all::run(store, &task).await
        }
        // clap has seen to it that one of the two is there.
        _ => Err(Usage("give DB and -o FILE, or --all and --to DIR".to_owned()).into()),
    }
}
