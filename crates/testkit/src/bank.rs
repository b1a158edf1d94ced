//! A bank whose money never grows or shrinks: the workload that tells a consistent image from a torn one.
//!
//! `integrity_check` proves structure only. Here every transaction moves money between accounts in several
//! tables, counts itself in a table of its own and writes a line to a journal that grows and shrinks; a
//! state that is not between two commits breaks one of these agreements, which [`verify`] checks.
//!
//! POSIX locks belong to a process: a writer in the process of the code under test sees other rules
//! than a real one. [`WriterProcess`] is a writer in a process of its own; see [`crate::bank_writer`].

mod options;
mod writer;

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

pub use options::{AutoVacuum, BankOptions, Encoding, JournalMode, LockingMode};
pub use writer::{WriterProcess, writer_main};

const TABLES: u32 = 3;
const START_BALANCE: i64 = 1_000;
/// Transfers of one transaction.
const TRANSFERS: u32 = 6;
/// The journal is cut down to `JOURNAL_KEPT` lines whenever it has this many more.
const JOURNAL_SLACK: i64 = 60;
const JOURNAL_KEPT: i64 = 20;

/// An open bank.
#[derive(Debug)]
pub struct Bank {
    connection: Connection,
    accounts: u32,
    /// State of the pseudo-random numbers: the same for the same bank, whoever opens it.
    random: u64,
    /// Commits so far.
    commits: i64,
}

type Result<T> = rusqlite::Result<T>;

impl Bank {
    /// Opens the bank at `path`, founding it where there is none.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn open(path: &Path, options: &BankOptions) -> Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(std::time::Duration::from_mins(1))?;
        connection.execute_batch(&options.pragmas())?;
        let mut bank = Self { connection, accounts: options.accounts, random: 1, commits: 0 };
        let is_new: bool = bank.connection.query_row(
            "SELECT count(*) = 0 FROM sqlite_schema WHERE name = 'counter'",
            [],
            |row| row.get(0),
        )?;
        if is_new {
            bank.found()?;
        }
        let commits = "SELECT commits FROM counter";
        bank.commits = bank.connection.query_row(commits, [], |row| row.get(0))?;
        bank.random = bank.commits.unsigned_abs().wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        Ok(bank)
    }

    fn found(&mut self) -> Result<()> {
        let transaction = self.connection.transaction()?;
        for table in 0..TABLES {
            transaction.execute_batch(&format!(
                "CREATE TABLE account_{table}(id INTEGER PRIMARY KEY, balance INTEGER NOT NULL, note TEXT);
                 CREATE INDEX rich_{table} ON account_{table}(balance, note);"
            ))?;
        }
        transaction.execute_batch(
            "CREATE TABLE journal(seq INTEGER PRIMARY KEY, moved INTEGER NOT NULL, note BLOB);
             CREATE TABLE counter(commits INTEGER NOT NULL, first INTEGER NOT NULL, accounts INTEGER);",
        )?;
        for id in 0..self.accounts {
            let sql = format!("INSERT INTO account_{} VALUES (?1, ?2, ?3)", id % TABLES);
            transaction.prepare(&sql)?.execute((id, START_BALANCE, "new".repeat(40)))?;
        }
        transaction.execute("INSERT INTO journal VALUES (1, 0, x'')", [])?;
        transaction.execute("INSERT INTO counter VALUES (1, 1, ?1)", [self.accounts])?;
        transaction.commit()
    }

    /// The connection, to do more with it.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Commits so far.
    pub fn commits(&self) -> i64 {
        self.commits
    }

    fn random(&mut self, below: u32) -> u32 {
        // xorshift64
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let (high, below) = (self.random >> 32, u64::from(below.max(1)));
        u32::try_from(high % below).unwrap_or(0)
    }

    /// One transaction: some transfers, a line in the journal, now and then a cut of the journal.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn commit(&mut self) -> Result<i64> {
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        for (id, amount) in self.transfers(TRANSFERS) {
            self.add(id, amount)?;
        }
        self.count()?;
        self.connection.execute_batch("COMMIT")?;
        Ok(self.commits)
    }

    /// Begins a transaction that takes money from half of all accounts, touching most pages, and does not
    /// give it to anyone. What sees this state sees money missing.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn begin_long(&mut self) -> Result<()> {
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        (0..self.accounts).step_by(2).try_for_each(|id| self.add(id, -7))?;
        self.connection.execute("INSERT INTO journal VALUES (-1, 0, zeroblob(100000))", [])?;
        Ok(())
    }

    /// Gives the money of [`Self::begin_long`] to the other half, and commits.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn end_long(&mut self) -> Result<i64> {
        let half = self.accounts.div_ceil(2);
        self.add(1, 7 * i64::from(half))?;
        self.connection.execute("DELETE FROM journal WHERE seq = -1", [])?;
        self.count()?;
        self.connection.execute_batch("COMMIT")?;
        Ok(self.commits)
    }

    fn add(&self, id: u32, amount: i64) -> Result<()> {
        let sql = format!(
            "UPDATE account_{} SET balance = balance + ?2, note = ?3 WHERE id = ?1",
            id % TABLES
        );
        let note = format!("{amount} at {} ", self.commits).repeat(10);
        let changed = self.connection.prepare(&sql)?.execute((id, amount, note))?;
        if changed == 1 { Ok(()) } else { Err(rusqlite::Error::StatementChangedRows(changed)) }
    }

    /// So many transfers: what each account loses or gains.
    fn transfers(&mut self, count: u32) -> Vec<(u32, i64)> {
        let mut draw = || {
            let amount = i64::from(self.random(50));
            [(self.random(self.accounts), -amount), (self.random(self.accounts), amount)]
        };
        (0..count).flat_map(|_| draw()).collect()
    }

    fn count(&mut self) -> Result<()> {
        let size = self.random(3_000);
        self.commits += 1;
        let line = "INSERT INTO journal VALUES (?1, ?2, randomblob(?3))";
        self.connection.prepare(line)?.execute((self.commits, TRANSFERS, size))?;
        let commits = "UPDATE counter SET commits = ?1";
        self.connection.prepare(commits)?.execute([self.commits])?;
        if self.commits % JOURNAL_SLACK == 0 {
            let first = self.commits - JOURNAL_KEPT;
            self.connection.execute("DELETE FROM journal WHERE seq < ?1", [first])?;
            self.connection.execute("UPDATE counter SET first = max(first, ?1)", [first])?;
        }
        Ok(())
    }
}

/// Proves that the database at `path`, which nobody has open, is a bank between two commits, and undamaged.
/// Nothing is written. Returns the number of commits it has seen.
///
/// # Errors
/// What does not agree, in words.
pub fn verify(path: &Path) -> std::result::Result<i64, String> {
    let uri = format!("file:{}?mode=ro&immutable=1", escape(path));
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let connection = Connection::open_with_flags(uri, flags).map_err(|e| e.to_string())?;
    verify_connection(&connection)
}

/// As [`verify`], of an image in memory.
///
/// # Errors
/// What does not agree, in words.
pub fn verify_image(image: &[u8]) -> std::result::Result<i64, String> {
    let file = tempfile::NamedTempFile::new().map_err(|e| e.to_string())?;
    std::fs::write(file.path(), image).map_err(|e| e.to_string())?;
    verify(file.path())
}

fn escape(path: &Path) -> String {
    use std::fmt::Write as _;
    use std::os::unix::ffi::OsStrExt as _;
    path.as_os_str().as_bytes().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "%{byte:02X}");
        text
    })
}

fn verify_connection(connection: &Connection) -> std::result::Result<i64, String> {
    let number = |sql: &str| -> std::result::Result<i64, String> {
        connection.query_row(sql, [], |row| row.get(0)).map_err(|e| format!("{sql}: {e}"))
    };
    let commits = number("SELECT commits FROM counter")?;
    let first = number("SELECT first FROM counter")?;
    let accounts = number("SELECT accounts FROM counter")?;
    let each = |what: &str| {
        (0..TABLES)
            .map(|t| number(&format!("SELECT {what} FROM account_{t}")))
            .sum::<std::result::Result<i64, String>>()
    };
    let agree = [
        ("money", each("coalesce(sum(balance), 0)")?, accounts * START_BALANCE),
        ("accounts", each("count(*)")?, accounts),
        ("last line", number("SELECT max(seq) FROM journal")?, commits),
        ("first line", number("SELECT min(seq) FROM journal")?, first),
        ("lines", number("SELECT count(*) FROM journal")?, commits - first + 1),
    ];
    for (what, found, expected) in agree {
        if found != expected {
            return Err(format!("{what}: {found} instead of {expected}, at commit {commits}"));
        }
    }
    let sql = "PRAGMA integrity_check";
    let finding: String =
        connection.query_row(sql, [], |row| row.get(0)).map_err(|e| format!("{sql}: {e}"))?;
    if finding == "ok" { Ok(commits) } else { Err(format!("{sql}: {finding}")) }
}
