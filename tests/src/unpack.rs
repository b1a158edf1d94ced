//! Backups without our tools: `lz4`, `sqlite3` and `cp`.

use std::path::Path;
use std::process::Command;

use crate::run::run;

/// Unpacks an object with `lz4 -d`, and asks `sqlite3` whether the result is whole.
///
/// # Errors
/// What either of them says.
pub fn unpack(object: &Path, to: &Path) -> Result<(), String> {
    let mut lz4 = Command::new("lz4");
    let ran = run({
        lz4.args(["-d", "-q", "-f"]).args([object, to]);
        lz4
    });
    if ran.status != Some(0) {
        return Err(format!("lz4 -d {}: {ran}", object.display()));
    }
    match sqlite3(to, "PRAGMA integrity_check").trim() {
        "ok" => Ok(()),
        finding => Err(format!("integrity_check of {}: {finding}", object.display())),
    }
}

/// What `sqlite3` prints for this.
///
/// # Panics
/// When it fails.
pub fn sqlite3(file: &Path, statement: &str) -> String {
    let mut sqlite3 = Command::new("sqlite3");
    sqlite3.arg("-batch").arg(file).arg(statement);
    let ran = run(sqlite3);
    assert!(ran.status == Some(0) && ran.stderr.is_empty(), "{}: {ran}", file.display());
    ran.stdout
}

/// The whole content as SQL: what is compared where bytes may differ.
pub fn dump(file: &Path) -> String {
    sqlite3(file, ".dump")
}

/// `cp -r from to`, `to` being new.
pub fn copy_tree(from: &Path, to: &Path) {
    let mut cp = Command::new("cp");
    cp.arg("-r").args([from, to]);
    let ran = run(cp);
    assert_eq!(ran.status, Some(0), "{ran}");
}
