//! What parts work on: made from numbers, so that it is the same each time.

use std::path::Path;

use anyhow::Result;
use rusqlite::Connection;
use ultrasimple_core::catalog::{Newest, StoredBackup};
use ultrasimple_core::{
    ContentHash, ETag, FileStamp, Fingerprint, FingerprintDigest, NodeName, SourcePath, Timestamp,
    VolumeName,
};

/// Rows of a database of 16 KiB.
pub(crate) const SMALL: u32 = 8;
/// Rows of a database of some 4 MiB.
pub(crate) const LARGE: u32 = 4_088;

/// A number that follows from this one, and looks like chance.
pub(crate) fn scatter(number: u64) -> u64 {
    let mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

pub(crate) fn volume() -> Result<VolumeName> {
    Ok("default".parse()?)
}

pub(crate) fn node() -> Result<NodeName> {
    Ok("node-1".parse()?)
}

/// Where the database of this number is.
pub(crate) fn path(number: u32) -> SourcePath {
    let path = format!("/data/acme/databases/users/branches/main/tenants/t{number}.db");
    SourcePath::from_bytes(path.as_bytes())
}

/// A fingerprint of its own for each number.
pub(crate) fn digest(number: u64) -> FingerprintDigest {
    let (size, time) = (16_384, 1_700_000_000_000_000_000);
    let main = FileStamp { device: 1, inode: number, size, mtime_ns: time, ctime_ns: time };
    Fingerprint { main, wal: None, journal: false }.digest()
}

/// A time so many hours after a certain one.
pub(crate) fn hours_later(hours: u32) -> Result<Timestamp> {
    Ok(Timestamp::from_second(1_700_000_000 + i64::from(hours) * 3_600)?)
}

/// A backup of its own for each database and hour.
pub(crate) fn backup(database: u32, hour: u32) -> Result<StoredBackup> {
    let number = u64::from(database) << 32 | u64::from(hour);
    let newest = Newest {
        captured_at: hours_later(hour)?,
        blake3: ContentHash::of(&number.to_le_bytes()),
        size: 16_384,
        marked: None,
    };
    let (high, low) = (scatter(number), scatter(!number));
    let etag = ETag(format!("\"{high:016x}{low:016x}\"").into());
    Ok(StoredBackup { bytes: 9_000 + number % 1_000, etag, newest })
}

/// Makes sure that there is a database of so many rows, four to a page of 4 KiB, one half of each noise. It is in WAL
/// mode, and closed.
pub(crate) fn need_database(path: &Path, rows: u32) -> Result<()> {
    if path.exists() {
        return Ok(());
    }
    let mut connection = Connection::open(path)?;
    connection.execute_batch(
        "PRAGMA page_size = 4096; PRAGMA journal_mode = wal; PRAGMA synchronous = off;
         CREATE TABLE t (id INTEGER PRIMARY KEY, content BLOB)",
    )?;
    let transaction = connection.transaction()?;
    for row in 0..rows {
        let noise = (0..63).flat_map(|at| scatter(u64::from(row) << 8 | at).to_le_bytes());
        let content: Vec<u8> = noise.chain("tenant ".bytes().cycle().take(490)).collect();
        transaction.execute("INSERT INTO t (content) VALUES (?1)", [&content])?;
    }
    transaction.commit()?;
    connection.close().map_err(|(_, error)| error)?;
    Ok(())
}

/// The image of such a database.
pub(crate) fn image(folder: &Path, rows: u32) -> Result<Vec<u8>> {
    let path = folder.join(format!("image-{rows}.db"));
    need_database(&path, rows)?;
    Ok(std::fs::read(&path)?)
}
