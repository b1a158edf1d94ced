//! The databases of `cargo xtask demo`: makes them, writes to some of them, compares restores.
//!
//! ```text
//! demo-fleet make DIR             1,000 databases in DIR/data/*/databases/*/branches/*/tenants/
//! demo-fleet write DIR            live writers on some of them until standard input closes
//! demo-fleet same A B             whether two databases hold the same
//! demo-fleet check DIR            whether the bank holds in every database below DIR
//! demo-fleet compare DIR RESTORED whether RESTORED holds every database of DIR, and the same
//! ```
//!
//! Every database is a bank: money moves and is never made, and each balance is the sum of its
//! transfers. An image that mixes two commits breaks that, whatever `integrity_check` says.
//! Databases are read from a copy: nothing here writes beside what it looks at.

mod compare;
mod write;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use rusqlite::{Connection, params};

const PROJECTS: [&str; 10] = [
    "acme", "globex", "hooli", "initech", "oscorp", "soylent", "stark", "tyrell", "umbrella",
    "wayne",
];
/// The project of which every [`LIVE_EVERY`]th database is written to.
const LIVE_PROJECT: &str = "acme";
const LIVE_EVERY: usize = 3;
const DATABASES: [&str; 2] = ["orders", "users"];
const BRANCHES: [&str; 2] = ["dev", "main"];
const TENANTS: usize = 25;
/// What live databases are switched to, in turn.
const JOURNAL_MODES: [&str; 4] = ["wal", "delete", "truncate", "persist"];
const OPENING_BALANCE: i64 = 1_000;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["make", dir] => make(Path::new(dir)),
        ["write", dir] => write::write(Path::new(dir)),
        ["same", a, b] => compare::same(Path::new(a), Path::new(b)),
        ["check", dir] => compare::check(Path::new(dir)),
        ["compare", dir, restored] => compare::compare(Path::new(dir), Path::new(restored)),
        _ => {
            eprintln!("usage: demo-fleet make DIR | write DIR | same A B | check DIR");
            eprintln!("       demo-fleet compare DIR RESTORED");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A database of the fleet.
struct Member {
    path: PathBuf,
    /// Its number, from 0.
    number: usize,
    live: bool,
}

/// The whole fleet below `dir`, without looking at the disk.
fn fleet(dir: &Path) -> Vec<Member> {
    let mut members = Vec::new();
    for project in PROJECTS {
        for database in DATABASES {
            for branch in BRANCHES {
                let tenants = dir
                    .join("data")
                    .join(project)
                    .join("databases")
                    .join(database)
                    .join("branches")
                    .join(branch)
                    .join("tenants");
                for tenant in 0..TENANTS {
                    let path = tenants.join(format!("t{tenant:02}.db"));
                    let live = project == LIVE_PROJECT && tenant % LIVE_EVERY == 0;
                    members.push(Member { path, number: members.len(), live });
                }
            }
        }
    }
    members
}

/// Makes the fleet; prints `live PATH` for each database that `write` writes to.
fn make(dir: &Path) -> Result<()> {
    let mut rows = 0;
    let members = fleet(dir);
    for member in &members {
        let parent = member.path.parent().context("a database has a directory")?;
        fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
        rows += make_one(member).with_context(|| format!("make {}", member.path.display()))?;
    }
    for member in members.iter().filter(|member| member.live) {
        println!("live {}", member.path.display());
    }
    println!("made {} databases, {rows} rows", members.len());
    Ok(())
}

fn make_one(member: &Member) -> Result<i64> {
    let mut connection = Connection::open(&member.path)?;
    let mode = JOURNAL_MODES.get(member.number % 2).copied().unwrap_or("delete");
    // Speed: what a crash would leave of a demo nobody needs.
    connection
        .execute_batch(&format!("PRAGMA synchronous = OFF; PRAGMA journal_mode = {mode};"))?;
    let accounts: i64 = if member.live { 100 } else { 4 };
    let transaction = connection.transaction()?;
    transaction.execute_batch(
        "CREATE TABLE account (id INTEGER PRIMARY KEY, owner TEXT NOT NULL, balance INTEGER NOT NULL);
         CREATE TABLE transfer (id INTEGER PRIMARY KEY, debit INTEGER NOT NULL REFERENCES account,
             credit INTEGER NOT NULL REFERENCES account, amount INTEGER NOT NULL, note TEXT NOT NULL);
         CREATE INDEX transfer_by_debit ON transfer (debit);",
    )?;
    for id in 1..=accounts {
        transaction.execute(
            "INSERT INTO account VALUES (?1, ?2, ?3)",
            params![id, format!("owner {id} of {}", member.number), OPENING_BALANCE],
        )?;
    }
    transaction.commit()?;
    connection.close().map_err(|(_, error)| error)?;
    Ok(accounts)
}
