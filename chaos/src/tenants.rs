//! The tenants: databases with an invariant that are written to all the while, and the ledger of what
//! was committed to them and when.
//!
//! Writers are threads of this process; the daemons are others, so that locks are real. Some databases
//! rest, some are opened for each commit, some appear, and some vanish.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use ultrasimple_core::{Clock as _, SystemClock};
use ultrasimple_testkit::bank::{Bank, BankOptions, JournalMode};

use crate::random::Random;

const WRITERS: u64 = 2;
/// Between two commits of a writer, in milliseconds.
const PAUSE: std::ops::Range<u64> = 5..60;
/// A writer makes a database come or go once in so many commits.
const CHURN_EVERY: u64 = 120;
/// Of so many databases, one rests from the start.
const RESTING_EVERY: u64 = 4;

/// What was committed to a database.
#[derive(Debug, Clone, Default)]
pub(crate) struct Account {
    /// When commit number `index + 1` had been made, by the machine's monotonic clock.
    pub(crate) commits: Vec<Duration>,
    /// Since when it is gone.
    pub(crate) gone: Option<Duration>,
    /// It is not written to after it was founded.
    pub(crate) rests: bool,
}

/// What was committed to all databases, by their names.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger(Arc<Mutex<BTreeMap<String, Account>>>);

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Account>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All accounts as they are now.
    pub(crate) fn read(&self) -> BTreeMap<String, Account> {
        self.lock().clone()
    }

    fn committed(&self, name: &str, commits: i64) {
        let now = SystemClock.monotonic();
        let mut accounts = self.lock();
        let account = accounts.entry(name.to_owned()).or_default();
        account.commits.resize(usize::try_from(commits).unwrap_or_default(), now);
    }
}

/// Writers at work. Dropping them ends them.
#[derive(Debug)]
pub(crate) struct Tenants {
    ledger: Ledger,
    stop: Arc<AtomicBool>,
    writers: Vec<JoinHandle<Result<()>>>,
}

impl Tenants {
    /// Founds so many databases in this folder and begins to write to most of them.
    pub(crate) fn start(folder: &Path, databases: u64, seed: u64) -> Result<Self> {
        let (ledger, stop) = (Ledger::default(), Arc::new(AtomicBool::new(false)));
        let mut members: Vec<Vec<Member>> = (0..WRITERS).map(|_| Vec::new()).collect();
        for number in 0..databases {
            let mut member = Member::new(folder, number);
            member.commit(&ledger)?;
            if number % RESTING_EVERY == 0 {
                ledger.lock().entry(member.name.clone()).or_default().rests = true;
                member.open = None;
                continue;
            }
            let writer = usize::try_from(number % WRITERS).unwrap_or_default();
            members.get_mut(writer).context("a writer")?.push(member);
        }
        let writers = members.into_iter().zip(0..).map(|(members, number)| {
            let writer = Writer {
                folder: folder.to_owned(),
                ledger: ledger.clone(),
                members,
                // Numbers of databases that no other writer makes.
                next: 1_000 * (number + 1),
                random: Random::new(seed ^ (number + 1)),
            };
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || writer.run(&stop))
        });
        let writers = writers.collect();
        Ok(Self { ledger, stop, writers })
    }

    /// What is committed.
    pub(crate) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Ends the writers; all databases are closed. Gives the final ledger.
    pub(crate) fn finish(mut self) -> Result<BTreeMap<String, Account>> {
        self.stop.store(true, Ordering::Relaxed);
        for writer in self.writers.drain(..) {
            writer.join().map_err(|_| anyhow!("a writer panicked"))??;
        }
        Ok(self.ledger.read())
    }
}

impl Drop for Tenants {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// One database and how it is written to.
#[derive(Debug)]
struct Member {
    name: String,
    path: PathBuf,
    options: BankOptions,
    /// It is closed after each commit.
    closes: bool,
    open: Option<Bank>,
}

impl Member {
    fn new(folder: &Path, number: u64) -> Self {
        let journal_mode = match number % 5 {
            0..=2 => JournalMode::Wal,
            3 => JournalMode::Delete,
            _ => JournalMode::Persist,
        };
        let accounts = [30, 60, 400].get(usize::try_from(number % 3).unwrap_or_default());
        let accounts = accounts.copied().unwrap_or(30);
        let name = format!("t{number}");
        let options =
            BankOptions { accounts, journal_mode, checkpoint_frames: 60, ..BankOptions::default() };
        let closes = number % 7 == 3;
        Self { path: folder.join(format!("{name}.db")), name, options, closes, open: None }
    }

    fn commit(&mut self, ledger: &Ledger) -> Result<()> {
        let about = || format!("write to {}", self.path.display());
        let mut bank = match self.open.take() {
            Some(bank) => bank,
            None => Bank::open(&self.path, &self.options).with_context(about)?,
        };
        let commits = bank.commit().with_context(about)?;
        ledger.committed(&self.name, commits);
        self.open = Some(bank).filter(|_| !self.closes);
        Ok(())
    }

    /// Deletes it with what lies beside it.
    fn vanish(mut self, ledger: &Ledger) -> Result<()> {
        let now = SystemClock.monotonic();
        ledger.lock().entry(self.name.clone()).or_default().gone = Some(now);
        self.open = None;
        for suffix in ["", "-wal", "-shm", "-journal"] {
            let mut path = self.path.clone().into_os_string();
            path.push(suffix);
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).context("remove a database");
                }
                _ => {}
            }
        }
        Ok(())
    }
}

struct Writer {
    folder: PathBuf,
    ledger: Ledger,
    members: Vec<Member>,
    next: u64,
    random: Random,
}

impl Writer {
    fn run(mut self, stop: &AtomicBool) -> Result<()> {
        let mut turn: u64 = 0;
        while !stop.load(Ordering::Relaxed) {
            turn += 1;
            // Some are written to far more often than others.
            let low = self.random.below(self.members.len() as u64);
            let index = usize::try_from(self.random.below(low + 1)).unwrap_or_default();
            if let Some(member) = self.members.get_mut(index) {
                member.commit(&self.ledger)?;
            }
            if turn.is_multiple_of(CHURN_EVERY) {
                self.churn(turn)?;
            }
            let pause = Duration::from_millis(self.random.between(PAUSE.start, PAUSE.end));
            #[expect(clippy::disallowed_methods, reason = "an application has its own pace")]
            std::thread::sleep(pause);
        }
        Ok(())
    }

    /// A database comes, or goes.
    fn churn(&mut self, turn: u64) -> Result<()> {
        if (turn / CHURN_EVERY).is_multiple_of(2) && self.members.len() > 4 {
            let index = usize::try_from(self.random.below(self.members.len() as u64))?;
            return self.members.remove(index).vanish(&self.ledger);
        }
        let mut member = Member::new(&self.folder, self.next);
        self.next += 1;
        member.commit(&self.ledger)?;
        self.members.push(member);
        Ok(())
    }
}

/// What may lie in the folder beside these databases: all else was made by somebody else.
pub(crate) fn strangers(
    folder: &Path,
    accounts: &BTreeMap<String, Account>,
) -> Result<Vec<String>> {
    let mut known = BTreeSet::new();
    for name in accounts.iter().filter(|(_, account)| account.gone.is_none()).map(|(name, _)| name)
    {
        known.extend(["", "-wal", "-shm", "-journal"].map(|end| format!("{name}.db{end}")));
    }
    let mut strangers = Vec::new();
    for entry in folder.read_dir().context("list the databases")? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !known.contains(&name) {
            strangers.push(name);
        }
    }
    Ok(strangers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ledger_says_what_was_committed_and_strangers_are_seen() {
        let folder = tempfile::tempdir().unwrap();
        let tenants = Tenants::start(folder.path(), 8, 1).unwrap();
        let enough = |ledger: &Ledger| {
            ledger.read().values().map(|account| account.commits.len()).sum::<usize>() > 40
        };
        while !enough(tenants.ledger()) {
            std::thread::yield_now();
        }
        let accounts = tenants.finish().unwrap();
        for (name, account) in &accounts {
            let path = folder.path().join(format!("{name}.db"));
            let found = ultrasimple_testkit::bank::verify(&path).unwrap();
            assert_eq!(usize::try_from(found).unwrap(), account.commits.len(), "{name}");
        }
        assert!(accounts["t0"].rests && !accounts["t1"].rests);
        assert_eq!(strangers(folder.path(), &accounts).unwrap(), Vec::<String>::new());
        std::fs::write(folder.path().join("t1.db-temp"), "").unwrap();
        assert_eq!(strangers(folder.path(), &accounts).unwrap(), ["t1.db-temp"]);
    }
}
