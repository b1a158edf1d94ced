//! Compares databases, and proves the bank in them.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use rusqlite::Connection;
use rusqlite::types::ValueRef;

use crate::{Member, OPENING_BALANCE, fleet};

/// Whether two databases hold the same.
pub(crate) fn same(a: &Path, b: &Path) -> Result<()> {
    let (left, right) = (Content::read(a)?, Content::read(b)?);
    ensure!(left.rows == right.rows, "{} and {} differ", a.display(), b.display());
    println!("{} rows, the same in both", right.rows.len());
    Ok(())
}

/// Proves the bank in every database below `dir`.
pub(crate) fn check(dir: &Path) -> Result<()> {
    let (mut databases, mut transfers, mut faults) = (0, 0, Vec::new());
    let mut directories = vec![dir.to_owned()];
    while let Some(directory) = directories.pop() {
        let entries =
            fs::read_dir(&directory).with_context(|| format!("list {}", directory.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "db") {
                databases += 1;
                match Content::read(&path) {
                    Ok(content) => transfers += content.transfers,
                    Err(error) => faults.push(format!("{error:#}")),
                }
            }
        }
    }
    report(&faults)?;
    println!("the bank holds in {databases} databases, after {transfers} transfers");
    Ok(())
}

/// Compares every database of the fleet with its restored copy.
pub(crate) fn compare(dir: &Path, restored: &Path) -> Result<()> {
    let (mut rows, mut to_the_byte, mut faults) = (0, 0, Vec::new());
    let members = fleet(dir);
    for member in &members {
        match compare_one(member, restored) {
            Ok((content, identical)) => {
                rows += content.rows.len();
                to_the_byte += usize::from(identical);
            }
            Err(error) => faults.push(format!("{error:#}")),
        }
    }
    report(&faults)?;
    println!(
        "{} databases, {rows} rows: all as in the source, {to_the_byte} files to the byte; \
         the bank holds in each",
        members.len()
    );
    Ok(())
}

fn compare_one(member: &Member, restored: &Path) -> Result<(Content, bool)> {
    let copy = restored_path(&member.path, restored)?;
    let source = Content::read(&member.path)?;
    let content = Content::read(&copy)?;
    ensure!(
        source.rows == content.rows,
        "{} differs from its restored copy",
        member.path.display()
    );
    let identical = fs::read(&member.path)? == fs::read(&copy)?;
    Ok((content, identical))
}

/// Where `restore --all --to` puts a database: below its source path.
fn restored_path(source: &Path, restored: &Path) -> Result<PathBuf> {
    let source = source.canonicalize().with_context(|| format!("find {}", source.display()))?;
    let copy = restored.join(source.strip_prefix("/").unwrap_or(&source));
    ensure!(copy.is_file(), "{} was not restored", source.display());
    Ok(copy)
}

fn report(faults: &[String]) -> Result<()> {
    for fault in faults.iter().take(10) {
        eprintln!("{fault}");
    }
    if !faults.is_empty() {
        bail!("{} databases are not as they should be", faults.len());
    }
    Ok(())
}

/// All that a database holds; it exists only where the bank holds.
struct Content {
    /// The schema's statements and every table's rows, in order.
    rows: Vec<String>,
    transfers: i64,
}

impl Content {
    fn read(database: &Path) -> Result<Self> {
        Self::read_copy(database).with_context(|| database.display().to_string())
    }

    /// Reads a copy of the database and of what lies beside it.
    fn read_copy(database: &Path) -> Result<Self> {
        let scratch = tempfile::tempdir().context("make a scratch directory")?;
        let copy = scratch.path().join("copy.db");
        fs::copy(database, &copy).context("copy")?;
        for suffix in ["-wal", "-journal"] {
            let with = |path: &Path| {
                let mut name = path.as_os_str().to_owned();
                name.push(suffix);
                PathBuf::from(name)
            };
            if with(database).exists() {
                fs::copy(with(database), with(&copy))
                    .with_context(|| format!("copy its {suffix}"))?;
            }
        }
        let connection = Connection::open(&copy)?;
        prove(&connection)?;
        let mut rows = all_rows(&connection, "SELECT type, name, sql FROM sqlite_schema")?;
        for table in ["account", "transfer"] {
            rows.extend(all_rows(&connection, &format!("SELECT * FROM {table} ORDER BY id"))?);
        }
        let count = "SELECT count(*) FROM transfer";
        let transfers = connection.query_row(count, [], |row| row.get(0))?;
        Ok(Self { rows, transfers })
    }
}

/// Proves the structure, and the invariants of the bank.
fn prove(connection: &Connection) -> Result<()> {
    let structure: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    ensure!(structure == "ok", "integrity_check: {structure}");
    let (accounts, money): (i64, i64) =
        connection.query_row("SELECT count(*), sum(balance) FROM account", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    let expected = accounts * OPENING_BALANCE;
    ensure!(money == expected, "the bank holds {money} in place of {expected}");
    let wrong: i64 = connection.query_row(
        "SELECT count(*) FROM account AS a WHERE balance <> ?1
             + coalesce((SELECT sum(amount) FROM transfer WHERE credit = a.id), 0)
             - coalesce((SELECT sum(amount) FROM transfer WHERE debit = a.id), 0)",
        [OPENING_BALANCE],
        |row| row.get(0),
    )?;
    ensure!(wrong == 0, "{wrong} balances are not the sums of their transfers");
    Ok(())
}

fn all_rows(connection: &Connection, query: &str) -> Result<Vec<String>> {
    let mut statement = connection.prepare(query)?;
    let columns = statement.column_count();
    let mut rows = statement.query([])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        let mut text = String::new();
        for column in 0..columns {
            let value: ValueRef<'_> = row.get_ref(column)?;
            write!(text, "{value:?}|").context("format a value")?;
        }
        all.push(text);
    }
    Ok(all)
}
