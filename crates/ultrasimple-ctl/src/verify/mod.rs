//! `verify`: reads backups back and proves that they can be restored.
//!
//! Choose ([`choice`]), look at many at once ([`look`]), look again at what seems to be missing, record in the
//! catalogs, report ([`report`]). Memory: some hundred bytes for each database and each backup looked at, and a
//! few MiB for each of those looked at at once.

mod choice;
mod look;
mod report;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use futures::StreamExt;
use tokio::sync::mpsc;
use ultrasimple_core::{BackupKey, Clock, SystemClock};
use ultrasimple_sqlite::{CaptureOptions, Capturer};
use ultrasimple_store::Store;

use crate::filter::Filter;
use crate::find::{self, Wanted};
use crate::known::{Edits, Known};
use crate::progress::Progress;
use crate::{Outcome, complain};
use choice::{Chosen, Percent, Sieve};
use look::Look;
use report::{Head, Report};

pub(crate) const EXAMPLES: &str = "\
Each backup is downloaded, decompressed, compared with its BLAKE3 and checked with SQLite's integrity_check:

  OK       it can be restored, and is what it says
  WARNING  it can be restored, but something about it is worth knowing: it is marked, say
  FAILURE  it cannot be restored, is missing, or is not what its key says

What was found is recorded in the catalogs: a database whose newest backup is not good loses none of its older
ones to retention.

Examples:
  ultrasimple-ctl -bucket my-backups verify
  ultrasimple-ctl -bucket my-backups verify --all-hours --sample 1% --json
  ultrasimple-ctl -bucket my-backups verify --match '/data/acme/*' --all-hours
  ultrasimple-ctl -bucket my-backups verify acme/users/main/t1/t1

Exit status: 0 all OK, 4 the worst is a WARNING, 3 there is a FAILURE, 1 some could not be looked at.";

/// Backups that wait to be looked at.
const WAITING: usize = 1_000;
/// Results that are recorded in the catalogs at once: what an interruption may lose.
const RECORD_AT: usize = 10_000;

#[derive(Debug, clap::Args)]
pub(crate) struct Verify {
    /// Only these: source paths, key stems, or keys of backups [default: all databases]
    #[arg(value_name = "DB")]
    pub(crate) databases: Vec<OsString>,
    /// Only databases whose key stem or source path matches as a whole; '*' also matches '/'
    #[arg(long, value_name = "GLOB", conflicts_with = "databases", value_parser = Filter::parse)]
    pub(crate) r#match: Option<Filter>,
    /// Every backup, not only the newest of each database
    #[arg(long)]
    pub(crate) all_hours: bool,
    /// A random part of these: about P percent, at least one
    #[arg(long, value_name = "P%", value_parser = Percent::parse)]
    pub(crate) sample: Option<Percent>,
    /// Take the same sample again [default: another one each time; it is printed]
    #[arg(long, value_name = "N", requires = "sample")]
    pub(crate) seed: Option<u64>,
    /// Backups looked at at once [default: 4 per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=512))]
    pub(crate) parallel: Option<u16>,
    /// Where images are put while they are checked [default: $TMPDIR or /tmp]
    #[arg(long, value_name = "DIR")]
    pub(crate) scratch: Option<PathBuf>,
    /// Do not record the results in the catalogs
    #[arg(long)]
    pub(crate) no_record: bool,
    /// Show the backups that are OK, too
    #[arg(long)]
    pub(crate) verbose: bool,
}

impl Verify {
    /// Backups looked at at once.
    pub(crate) fn parallel(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        self.parallel.map_or_else(|| (cores * 4).min(256), usize::from)
    }
}

/// Verifies what was asked for.
///
/// # Errors
/// When nothing could be done.
pub(crate) async fn run(store: &dyn Store, args: &Verify, json: bool) -> anyhow::Result<Outcome> {
    let capturer = capturer(args.scratch.as_deref())?;
    let progress = Progress::new(json);
    progress.looking("reading the catalogs");
    let known = Known::load_or_warn(store, args.all_hours).await;
    let chosen = choose(store, args).await?;
    let seed = args.sample.map(|_| args.seed.unwrap_or_else(new_seed));
    progress.looking("listing the bucket");
    let (sender, receiver) = mpsc::channel(WAITING);
    let sieve = Sieve::new(sender, args.sample.zip(seed));
    let choosing = choice::choose(store, &chosen, args.all_hours, &known, sieve, &progress);
    let look = Look { store, capturer: &capturer, known: &known };
    let mut work = Work { store, known: &known, edits: Edits::default(), record: !args.no_record };
    let looking = work.look_at(&look, receiver, args.parallel(), &progress);
    let (chosen, report) = tokio::join!(choosing, looking);
    progress.finish();
    let mut report = report?;
    chosen?;
    work.look_again(&look, &mut report).await;
    report.recorded += work.flush().await?;
    let head = Head {
        location: store.location(),
        all_hours: args.all_hours,
        sample_percent: args.sample.map(|percent| percent.0),
        seed,
    };
    report.print(&head, args.verbose, json)?;
    Ok(report.outcome())
}

/// Scratch that takes all but a tenth of what the disk has left.
fn capturer(scratch: Option<&Path>) -> anyhow::Result<Arc<Capturer>> {
    let scratch = scratch.map_or_else(std::env::temp_dir, Path::to_path_buf);
    let mut options = CaptureOptions::new(&scratch);
    let capturer = Capturer::new(options.clone());
    let capturer =
        capturer.with_context(|| format!("cannot use --scratch {}", scratch.display()))?;
    let Ok(disk) = rustix::fs::statvfs(&scratch) else { return Ok(Arc::new(capturer)) };
    drop(capturer);
    options.spool_limit = disk.f_bavail.saturating_mul(disk.f_frsize) / 10 * 9;
    Ok(Arc::new(Capturer::new(options)?))
}

async fn choose<'a>(store: &dyn Store, args: &'a Verify) -> anyhow::Result<Chosen<'a>> {
    if args.databases.is_empty() {
        return Ok(Chosen::All(args.r#match.as_ref()));
    }
    let mut chosen = Vec::new();
    for word in &args.databases {
        let wanted = Wanted::parse(word, store.location())?;
        chosen.push(match wanted {
            Wanted::Key(key) => choice::One::Backup(key),
            wanted => choice::One::Database(find::stem(store, &wanted).await?),
        });
    }
    Ok(Chosen::These(chosen))
}

/// Another one each time; no secret.
fn new_seed() -> u64 {
    let nanoseconds = SystemClock.now().as_nanosecond();
    u64::try_from(nanoseconds & i128::from(u32::MAX)).unwrap_or_default()
}

/// What is found, on its way into the catalogs and the report.
struct Work<'a> {
    store: &'a dyn Store,
    known: &'a Known,
    edits: Edits,
    record: bool,
}

impl Work<'_> {
    async fn look_at(
        &mut self,
        look: &Look<'_>,
        keys: mpsc::Receiver<BackupKey>,
        parallel: usize,
        progress: &Progress,
    ) -> anyhow::Result<Report> {
        let mut report = Report::default();
        let keys = futures::stream::unfold(keys, |mut keys| async {
            keys.recv().await.map(|key| (key, keys))
        });
        let mut looks = keys.map(|key| look.at(key)).buffer_unordered(parallel).boxed_local();
        let mut no_room = Vec::new();
        while let Some(seen) = looks.next().await {
            progress.one();
            if seen.no_room {
                // Alone it may find room.
                no_room.push(seen.line.key);
                continue;
            }
            self.take(seen, &mut report);
            progress.note(report.note());
            if self.edits.count() >= RECORD_AT {
                report.recorded += self.flush().await?;
            }
        }
        drop(looks);
        for key in no_room {
            let seen = look.at(key).await;
            self.take(seen, &mut report);
        }
        Ok(report)
    }

    fn take(&mut self, seen: look::Seen, report: &mut Report) {
        if let Some(edit) = seen.edit {
            self.edits.add(self.known, &seen.line.key.stem, edit);
        }
        report.add(seen.line, seen.is_missing);
    }

    /// What was deleted while this ran, as retention does, is not missing.
    async fn look_again(&mut self, look: &Look<'_>, report: &mut Report) {
        for (line, edit) in look.again(report.take_missing()).await {
            if let Some(edit) = edit {
                self.edits.add(self.known, &line.key.stem, edit);
            }
            report.add(line, false);
        }
    }

    async fn flush(&mut self) -> anyhow::Result<usize> {
        let edits = std::mem::take(&mut self.edits);
        if !self.record {
            return Ok(0);
        }
        let written = edits.write(self.store).await?;
        if let Some((key, why)) = written.failed.first_key_value() {
            let (key, number) = (key.object_key(), written.failed.len());
            complain(&format!(
                "the results could not be recorded in {number} catalogs, {key} for one: {why} \
                 (--no-record does without)"
            ));
        }
        Ok(written.done)
    }
}
