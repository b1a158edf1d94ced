//! Databases to be backed up: small ones, a thousand in a directory, each with a row of its own.

use std::path::Path;

use anyhow::{Context, Result};
use rusqlite::Connection;

const IN_A_DIRECTORY: u32 = 1_000;
/// Four pages.
const FILLING_BYTES: usize = 10_000;

/// Creates them below `data`, closed and in WAL mode, as applications leave them.
pub(super) fn create(data: &Path, databases: u32) -> Result<()> {
    std::fs::create_dir_all(data).with_context(|| format!("create {}", data.display()))?;
    let template = data.join("template");
    let connection = Connection::open(&template)?;
    connection.execute_batch(
        "PRAGMA journal_mode = wal; CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT)",
    )?;
    let filling = "tenant ".repeat(FILLING_BYTES / 7);
    connection.execute("INSERT INTO t (text) VALUES (?1)", [&filling])?;
    drop(connection);
    let image = std::fs::read(&template)?;
    std::fs::remove_file(&template)?;
    // One byte in the middle of the text differs from database to database: so does the content.
    let at = find(&image, filling.as_bytes().get(..70).unwrap_or_default())
        .context("no text in the image")?;
    for number in 0..databases {
        let directory = data.join(format!("{:05}", number / IN_A_DIRECTORY));
        if number % IN_A_DIRECTORY == 0 {
            std::fs::create_dir_all(&directory)?;
        }
        let mut own = image.clone();
        let name = format!("{number:09}");
        if let Some(place) = own.get_mut(at..at + name.len()) {
            place.copy_from_slice(name.as_bytes());
        }
        let path = directory.join(format!("{number}.db"));
        std::fs::write(&path, own).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

fn find(image: &[u8], text: &[u8]) -> Option<usize> {
    image.windows(text.len()).position(|window| window == text)
}
