//! The live writers: a bank that never rests, in every journal mode that leaves a file.

use std::io::Read;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use rusqlite::{Connection, TransactionBehavior, params};

use crate::{JOURNAL_MODES, Member, fleet};

const WRITERS: usize = 4;
/// Of the live databases, those with such a number are left as by a crash.
const CRASH_EVERY: usize = 8;
/// The pause of a writer between two databases.
const PAUSE: Duration = Duration::from_millis(5);

/// Moves money in the live databases until standard input closes.
pub(crate) fn write(dir: &Path) -> Result<()> {
    let (ready, all_ready) = mpsc::channel();
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let live = fleet(dir).into_iter().filter(|member| member.live);
        let mine: Vec<Member> = live.skip(writer).step_by(WRITERS).collect();
        let (keep_going, stop) = mpsc::channel();
        let ready = ready.clone();
        let thread = std::thread::spawn(move || match write_some(&mine, &ready, &stop) {
            Ok(commits) => commits,
            Err(error) => {
                eprintln!("a writer failed: {error:#}");
                std::process::exit(1)
            }
        });
        writers.push((keep_going, thread));
    }
    let databases: usize = all_ready.iter().take(WRITERS).sum();
    println!("writing to {databases} databases");
    // Its end is the signal, also when whoever started us has died.
    std::io::stdin().read_to_end(&mut Vec::new()).context("wait for standard input to close")?;
    let mut commits = 0;
    for (keep_going, thread) in writers {
        drop(keep_going);
        commits += thread.join().map_err(|_| anyhow!("a writer panicked"))?;
    }
    println!("{commits} transactions in {databases} databases, none refused");
    Ok(())
}

/// One writer: goes round its databases until `stop` is hung up; returns how often it committed.
fn write_some(
    members: &[Member],
    ready: &mpsc::Sender<usize>,
    stop: &mpsc::Receiver<()>,
) -> Result<i64> {
    let mut open = Vec::new();
    for member in members {
        let connection =
            open_live(member).with_context(|| format!("open {}", member.path.display()))?;
        open.push((member, connection));
    }
    ready.send(open.len()).context("report that a writer is ready")?;
    let mut commits = 0;
    'writing: loop {
        for (member, connection) in &mut open {
            if stop.recv_timeout(PAUSE) != Err(RecvTimeoutError::Timeout) {
                break 'writing;
            }
            transfer(connection, commits).with_context(|| member.path.display().to_string())?;
            commits += 1;
        }
    }
    for (member, connection) in open {
        if member.number % CRASH_EVERY == 0 {
            // As a crash leaves it: what was committed is in `-wal` only.
            std::mem::forget(connection);
        } else {
            connection.close().map_err(|(_, error)| error)?;
        }
    }
    Ok(commits)
}

fn open_live(member: &Member) -> Result<Connection> {
    let connection = Connection::open(&member.path)?;
    // More than any reader may hold a lock; a refusal is an error, and ends the demo.
    connection.busy_timeout(Duration::from_secs(5))?;
    let mode = JOURNAL_MODES.get(member.number % JOURNAL_MODES.len()).copied().unwrap_or("wal");
    // Checkpoints so frequent that captures meet them.
    connection.execute_batch(&format!(
        "PRAGMA journal_mode = {mode}; PRAGMA synchronous = OFF; PRAGMA wal_autocheckpoint = 40;"
    ))?;
    Ok(connection)
}

/// One transaction of a few transfers, `turn` being any number that differs from call to call.
fn transfer(connection: &mut Connection, turn: i64) -> Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let accounts: i64 =
        transaction.query_row("SELECT count(*) FROM account", [], |row| row.get(0))?;
    ensure!(accounts > 0, "there are no accounts");
    for step in 0..3 {
        let debit = (turn * 7 + step * 31) % accounts + 1;
        let credit = (turn * 13 + step * 17 + 5) % accounts + 1;
        let amount = turn % 90 + 1;
        let change = "UPDATE account SET balance = balance + ?2 WHERE id = ?1";
        transaction.execute(change, params![debit, -amount])?;
        transaction.execute(change, params![credit, amount])?;
        transaction.execute(
            "INSERT INTO transfer (debit, credit, amount, note) VALUES (?1, ?2, ?3, ?4)",
            params![debit, credit, amount, "so that an image has some pages ".repeat(4)],
        )?;
    }
    transaction.commit()?;
    Ok(())
}
