//! Databases to be backed up: small ones, each with a row of its own, closed, as applications leave them.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::ValueEnum;
use rusqlite::Connection;

const IN_A_DIRECTORY: u32 = 1_000;
/// What tells one database from another.
const NUMBER_DIGITS: usize = 9;

/// How databases are spread over directories.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shape {
    /// A thousand in each directory.
    Thousands,
    /// All in one.
    Flat,
    /// Each in a directory of its own.
    Wide,
    /// A hundred in each directory, six levels down.
    Deep,
}

/// What a tree of databases is like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) count: u32,
    pub(crate) shape: Shape,
    pub(crate) bytes: usize,
}

/// A tree of databases.
#[derive(Debug, Clone)]
pub(crate) struct Databases {
    pub(crate) root: PathBuf,
    pub(crate) kind: Kind,
}

impl Shape {
    fn directory(self, number: u32) -> String {
        match self {
            Self::Thousands => format!("{:05}", number / IN_A_DIRECTORY),
            Self::Flat => String::new(),
            Self::Wide => format!("{number:07}"),
            Self::Deep => {
                let leaf = number / 100;
                let digit = |place: u32| leaf / 10_u32.pow(place) % 10;
                [5, 4, 3, 2, 1, 0].map(|place| digit(place).to_string()).join("/")
            }
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Thousands => "a thousand in each directory",
            Self::Flat => "all in one directory",
            Self::Wide => "each in a directory of its own",
            Self::Deep => "a hundred in each directory, six levels down",
        })
    }
}

impl Databases {
    /// Creates them below `root`, which is emptied first.
    pub(crate) fn create(root: &Path, kind: Kind) -> Result<Self> {
        if root.exists() {
            std::fs::remove_dir_all(root).with_context(|| format!("empty {}", root.display()))?;
        }
        std::fs::create_dir_all(root).with_context(|| format!("create {}", root.display()))?;
        let databases = Self { root: root.canonicalize()?, kind };
        databases.grow(0)?;
        Ok(databases)
    }

    /// Creates more of the same.
    pub(crate) fn extend(&mut self, count: u32) -> Result<()> {
        let from = self.kind.count;
        self.kind.count = count;
        self.grow(from)
    }

    fn grow(&self, from: u32) -> Result<()> {
        let Kind { count, shape, bytes } = self.kind;
        let template = Template::new(&self.root, bytes)?;
        let mut directory = None;
        for number in from..count {
            let own = shape.directory(number);
            if directory.as_ref() != Some(&own) {
                std::fs::create_dir_all(self.root.join(&own))?;
                directory = Some(own);
            }
            let path = self.path(number);
            std::fs::write(&path, template.image(number))
                .with_context(|| format!("write {}", path.display()))?;
        }
        Ok(())
    }

    /// Where one of them is.
    pub(crate) fn path(&self, number: u32) -> PathBuf {
        self.root.join(self.kind.shape.directory(number)).join(format!("{number}.db"))
    }

    /// The folders right below the root, in order.
    pub(crate) fn folders(&self) -> Result<Vec<PathBuf>> {
        let entries = std::fs::read_dir(&self.root)?.map(|entry| Ok(entry?.path()));
        let mut folders = entries.collect::<Result<Vec<_>>>()?;
        folders.sort();
        Ok(folders)
    }

    /// What matches them all.
    pub(crate) fn pattern(&self) -> PathBuf {
        let stars = match self.kind.shape {
            Shape::Flat => "*.db",
            Shape::Thousands | Shape::Wide => "*/*.db",
            Shape::Deep => "*/*/*/*/*/*/*.db",
        };
        self.root.join(stars)
    }

    /// Writes to one of them, as its application would.
    pub(crate) fn change(&self, number: u32) -> Result<()> {
        let connection = Connection::open(self.path(number))?;
        connection.execute_batch("PRAGMA synchronous = off")?;
        connection.execute("INSERT INTO t (text) VALUES (hex(randomblob(16)))", [])?;
        Ok(())
    }
}

/// An image of a database, and where in it databases differ.
struct Template {
    image: Vec<u8>,
    at: usize,
}

impl Template {
    fn new(folder: &Path, bytes: usize) -> Result<Self> {
        let path = folder.join("template");
        let connection = Connection::open(&path)?;
        connection.execute_batch(
            "PRAGMA page_size = 4096; PRAGMA journal_mode = wal;
             CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT)",
        )?;
        // One page for the schema and one for the table are there anyway.
        let mut filling = "tenant ".repeat(bytes.saturating_sub(2 * 4_096).max(100) / 7);
        filling.insert_str(0, "number 000000000 ");
        connection.execute("INSERT INTO t (text) VALUES (?1)", [&filling])?;
        drop(connection);
        let image = std::fs::read(&path)?;
        std::fs::remove_file(&path)?;
        let text = b"number 000000000";
        let at = image.windows(text.len()).position(|window| window == text);
        let at = at.context("the image of a database does not have its text")?;
        Ok(Self { image, at: at + text.len() - NUMBER_DIGITS })
    }

    fn image(&self, number: u32) -> Vec<u8> {
        let mut image = self.image.clone();
        let digits = format!("{number:0NUMBER_DIGITS$}");
        if let Some(place) = image.get_mut(self.at..self.at + NUMBER_DIGITS) {
            place.copy_from_slice(digits.as_bytes());
        }
        image
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn databases_are_where_the_pattern_finds_them_and_all_different() {
        let folder = std::env::temp_dir().join(format!("bench-databases-{}", std::process::id()));
        for shape in [Shape::Thousands, Shape::Flat, Shape::Wide, Shape::Deep] {
            let kind = Kind { count: 150, shape, bytes: 16_384 };
            let mut databases = Databases::create(&folder, kind).unwrap();
            databases.extend(250).unwrap();
            let texts: BTreeSet<String> = (0..250)
                .map(|number| {
                    let connection = Connection::open(databases.path(number)).unwrap();
                    connection.query_row("SELECT text FROM t", [], |row| row.get(0)).unwrap()
                })
                .collect();
            assert_eq!(texts.len(), 250);
            let size = std::fs::metadata(databases.path(7)).unwrap().len();
            assert!((12_000..=16_384).contains(&size), "{size}");
            let depth = |path: &Path| path.components().count();
            assert_eq!(depth(&databases.pattern()), depth(&databases.path(249)));
        }
        std::fs::remove_dir_all(folder).unwrap();
    }
}
