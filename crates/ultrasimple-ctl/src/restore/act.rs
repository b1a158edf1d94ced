//! Restoring one backup: download, prove, install.
//!
//! The image goes into a temporary file beside the target, is compared with the footer's BLAKE3 on the
//! way, passes `integrity_check`, and only then gets its name (`ultrasimple_sqlite::Installation`).
//! Memory is bounded whatever the size. Until the end, nothing but the temporary file has changed.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use ultrasimple_core::{CheckResult, Footer, KeyStem, ObjectKey};
use ultrasimple_sqlite::{CheckLevel, InstallOptions, Installation, check_file, sync_directory};
use ultrasimple_store::{FetchError, Store};
use ultrasimple_trace::catalogue::{DOWNLOAD, FILE_PATH, IMAGE_SIZE, RESTORE};
use ultrasimple_trace::{child, here};

use crate::progress::Progress;
use crate::select::{Facts, NoPick, Pick, Rule, Search, Verdict};

const BUFFER: usize = 256 * 1_024;
/// The current hour's object may be replaced while it is being read: then it is read again.
const ATTEMPTS: usize = 4;

/// What the flags say about restoring.
#[derive(Debug, Clone, Copy)]
pub(crate) struct How {
    /// Replace what is there.
    pub(crate) force: bool,
    /// Run `integrity_check` before the file gets its name.
    pub(crate) check: bool,
}

/// Why a backup was not restored.
#[derive(Debug)]
enum Failure {
    /// It is not good; an older one may be.
    Bad(String),
    /// The object at its key is a later capture by now, too late for what was asked for.
    TooLate,
    /// An older one would not fare better.
    Other(String),
}

/// Restores `pick`, or with `--or-older` the first older one that turns out good, to `target`. Gives the
/// backup that was restored. Its name is durable when the directory is: `ultrasimple_sqlite::sync_directory`.
///
/// # Errors
/// When there is none.
pub(crate) async fn restore(
    store: &dyn Store,
    search: &mut Search,
    pick: Pick,
    target: &PathBuf,
    how: How,
    progress: &Progress,
) -> Result<Pick, NoPick> {
    let mut span = child(&RESTORE);
    span.say(&FILE_PATH, &target.display());
    span.set(&IMAGE_SIZE, pick.facts.size);
    let at = search.rule().at;
    let restored =
        span.within(search_and_restore(store, search, pick, target, how, progress)).await;
    restored.inspect_err(|error| span.fail(error.word(), &super::report::explain(error, at)))
}

async fn search_and_restore(
    store: &dyn Store,
    search: &mut Search,
    mut pick: Pick,
    target: &PathBuf,
    how: How,
    progress: &Progress,
) -> Result<Pick, NoPick> {
    let path = pick.facts.path.clone();
    loop {
        let hour = pick.hour;
        let job = Job { store, stem: &search.stem, rule: search.rule(), target, how, progress };
        match job.run(&pick).await {
            Ok(facts) => return Ok(Pick { hour, facts }),
            Err(Failure::Other(reason)) => return Err(NoPick::Bad(reason)),
            Err(Failure::Bad(reason)) => search.refuse(store, hour, reason).await?,
            Err(Failure::TooLate) => {}
        }
        pick = search.next(store).await?;
        if pick.facts.path != path {
            let (key, other) = (search.stem.at(pick.hour), &pick.facts.path);
            return Err(NoPick::Bad(format!("{key}: it is a backup of another database, {other}")));
        }
    }
}

struct Job<'a> {
    store: &'a dyn Store,
    stem: &'a KeyStem,
    rule: Rule,
    target: &'a PathBuf,
    how: How,
    progress: &'a Progress,
}

impl Job<'_> {
    async fn run(&self, pick: &Pick) -> Result<Facts, Failure> {
        let key = self.stem.at(pick.hour).object_key();
        let mut expected = pick.facts.clone();
        for _ in 0..ATTEMPTS {
            let (installation, result) = self.download(&key, expected.size).await?;
            let reason = match result {
                // It is whole and true, and what is there now, expected or not.
                Ok(footer) => {
                    self.judge(pick, &Facts::from(&footer))?;
                    return self.install(installation, footer).await;
                }
                Err(FetchError::Write(error)) if !is_too_long(&error) => {
                    let target = self.target.display();
                    return Err(Failure::Other(format!("cannot write {target}: {error}")));
                }
                Err(FetchError::Write(_)) => "it has more content than its footer says".to_owned(),
                Err(error) if error.is_loss() => error.to_string(),
                Err(error) => return Err(Failure::Other(format!("{key}: {error}"))),
            };
            // Was it replaced meanwhile, or is it really damaged? Its footer tells.
            let facts = match ultrasimple_store::footer(self.store, &key).await {
                Ok((footer, _)) => Facts::from(&footer),
                Err(lost) if lost.is_loss() => return Err(Failure::Bad(lost.to_string())),
                Err(other) => return Err(Failure::Other(format!("{key}: {other}"))),
            };
            if facts == expected {
                return Err(Failure::Bad(reason));
            }
            self.judge(pick, &facts)?;
            expected = facts;
        }
        Err(Failure::Other(format!("{key} changes each time it is read: try again later")))
    }

    /// Whether what is at the key may be restored instead of what was expected there.
    fn judge(&self, pick: &Pick, facts: &Facts) -> Result<(), Failure> {
        if facts.path != pick.facts.path {
            return Err(Failure::Bad(format!(
                "it is by now a backup of {}: restore it alone, with -o, or try again after \
                 'ultrasimple-ctl catalog rebuild'",
                facts.path
            )));
        }
        match self.rule.judge(facts) {
            Verdict::Take => Ok(()),
            Verdict::TooLate => Err(Failure::TooLate),
            Verdict::Bad(reason) => Err(Failure::Bad(reason)),
        }
    }

    /// Downloads an image of at most `size` bytes.
    async fn download(
        &self,
        key: &ObjectKey,
        size: u64,
    ) -> Result<(Installation, Result<Footer, FetchError>), Failure> {
        let target = self.target.clone();
        let options = InstallOptions { force: self.how.force, create_parents: false };
        let (installation, file) = blocking(move || {
            let mut installation = Installation::begin(&target, options).map_err(|e| chain(&e))?;
            let file = installation.file().try_clone().map_err(|e| chain(&e))?;
            Ok((installation, file))
        })
        .await
        .map_err(Failure::Other)?;
        let capped = Capped { file, left: size, progress: self.progress.clone() };
        let writer = BufWriter::with_capacity(BUFFER, capped);
        let mut span = child(&DOWNLOAD);
        span.object(self.store.location(), key);
        let result = ultrasimple_store::fetch(self.store, key, writer).await;
        let result = result.inspect_err(|error| span.fail("fetch", error));
        Ok((installation, result.map(|(footer, ..)| footer)))
    }

    async fn install(&self, installation: Installation, footer: Footer) -> Result<Facts, Failure> {
        // A marked backup is known to be damaged: that it may be restored has been said.
        let check = self.how.check && !footer.check.is_marked();
        blocking(move || {
            if check && let Some(finding) = check_image(&installation)? {
                return Ok(Err(finding));
            }
            // Never more than permissions: a footer must not make a file setuid.
            installation.commit(footer.mode & 0o777).map_err(|error| chain(&error))?;
            Ok(Ok(Facts::from(&footer)))
        })
        .await
        .map_err(Failure::Other)?
        .map_err(Failure::Bad)
    }
}

/// What `integrity_check` finds, if anything.
fn check_image(installation: &Installation) -> Result<Option<String>, String> {
    let path = installation.temporary_path();
    match check_file(path, CheckLevel::Full) {
        Ok(CheckResult::Failed(finding)) => Ok(Some(format!(
            "integrity_check of the restored file finds: {finding} (--no-check restores it as it is)"
        ))),
        Ok(_) => Ok(None),
        Err(error) => Err(format!("{} (--no-check does without)", chain(&error))),
    }
}

/// Makes the names in a directory durable.
///
/// # Errors
/// As a text for people.
pub(crate) fn sync(directory: &Path) -> Result<(), String> {
    sync_directory(directory).map_err(|error| chain(&error))
}

/// An error and what caused it, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Runs `work` on a thread that may block.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let here = here();
    match tokio::task::spawn_blocking(move || here.enter(work)).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err("the program is stopping".to_owned()),
        },
    }
}

/// A file that takes only so many bytes: an object that unpacks to more than its footer says must not
/// fill the disk.
#[derive(Debug)]
struct Capped {
    file: File,
    left: u64,
    progress: Progress,
}

#[derive(Debug)]
struct TooLong;

impl std::fmt::Display for TooLong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("more content than announced")
    }
}

impl std::error::Error for TooLong {}

fn is_too_long(error: &io::Error) -> bool {
    matches!(error.get_ref(), Some(inner) if inner.is::<TooLong>())
}

impl Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() as u64 > self.left {
            return Err(io::Error::other(TooLong));
        }
        let count = self.file.write(bytes)?;
        self.left -= count as u64;
        self.progress.bytes(count as u64);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
#[path = "act_tests.rs"]
mod tests;
