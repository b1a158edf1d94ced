//! What a directory tree looks like to `stat`: proves that nobody has written in it.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Everything below a directory, less what is known to change.
#[derive(Debug)]
pub(crate) struct Snapshot(BTreeMap<PathBuf, Facts>);

/// What changes when a file is written, replaced, or has its mode changed, or when something is
/// created in a directory.
#[derive(Debug, PartialEq, Eq)]
struct Facts {
    inode: u64,
    mode: u32,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl From<Metadata> for Facts {
    fn from(metadata: Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            mode: metadata.mode(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl Snapshot {
    /// Takes one of all below `root`. The `live` databases, what lies beside them, and the
    /// directories that they are in, are written by others and left out.
    pub(crate) fn take(root: &Path, live: &[PathBuf]) -> Result<Self> {
        let mut facts = BTreeMap::new();
        let mut directories = vec![root.to_owned()];
        while let Some(directory) = directories.pop() {
            let entries = fs::read_dir(&directory)
                .with_context(|| format!("list {}", directory.display()))?;
            for entry in entries {
                let path = entry?.path();
                let metadata = fs::symlink_metadata(&path)
                    .with_context(|| format!("look at {}", path.display()))?;
                if metadata.is_dir() {
                    directories.push(path.clone());
                    if live.iter().any(|live| live.parent() == Some(path.as_path())) {
                        continue;
                    }
                } else if live.iter().any(|live| belongs_to(&path, live)) {
                    continue;
                }
                facts.insert(path, Facts::from(metadata));
            }
        }
        Ok(Self(facts))
    }

    /// How many files and directories it has.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// What is new, gone or different in `later`.
    pub(crate) fn differences(&self, later: &Self) -> Vec<String> {
        let mut found = Vec::new();
        for (path, facts) in &self.0 {
            match later.0.get(path) {
                None => found.push(format!("gone: {}", path.display())),
                Some(now) if now != facts => {
                    found.push(format!("changed: {}: {facts:?}, now {now:?}", path.display()));
                }
                Some(_) => {}
            }
        }
        let new = later.0.keys().filter(|path| !self.0.contains_key(*path));
        found.extend(new.map(|path| format!("new: {}", path.display())));
        found
    }
}

/// Whether `path` is the database, or its `-wal`, `-shm` or `-journal`.
fn belongs_to(path: &Path, database: &Path) -> bool {
    let (path, database) = (path.as_os_str().as_encoded_bytes(), database.as_os_str());
    match path.strip_prefix(database.as_encoded_bytes()) {
        Some(rest) => rest.is_empty() || rest.starts_with(b"-"),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_beside_a_database_belongs_to_it() {
        let database = Path::new("/t/a.db");
        for file in ["/t/a.db", "/t/a.db-wal", "/t/a.db-journal"] {
            assert!(belongs_to(Path::new(file), database), "{file}");
        }
        for file in ["/t/a.dbx", "/t/b.db", "/t/a.db.lz4", "/u/a.db-wal"] {
            assert!(!belongs_to(Path::new(file), database), "{file}");
        }
    }
}
