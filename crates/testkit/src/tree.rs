//! What a directory tree looks like, to the last timestamp: proof that nobody has written to it (R1).

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A picture of a directory tree. Times of access are left out: reading may move them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot(BTreeMap<PathBuf, Entry>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    inode: u64,
    mode: u32,
    owner: (u32, u32),
    links: u64,
    size: u64,
    mtime: (i64, i64),
    ctime: (i64, i64),
    /// Of the bytes of a regular file.
    hash: u64,
}

impl Snapshot {
    /// Takes a picture of `directory` and all below it.
    ///
    /// It reads the files, which drops the POSIX locks that *this* process has on them: keep writers in
    /// other processes.
    ///
    /// # Errors
    /// Those of reading.
    pub fn take(directory: &Path) -> io::Result<Self> {
        let mut entries = BTreeMap::new();
        let mut pending = vec![directory.to_path_buf()];
        while let Some(path) = pending.pop() {
            let metadata = std::fs::symlink_metadata(&path)?;
            let mut hasher = DefaultHasher::new();
            if metadata.is_file() {
                hasher.write(&std::fs::read(&path)?);
            } else if metadata.is_dir() {
                for entry in std::fs::read_dir(&path)? {
                    pending.push(entry?.path());
                }
            }
            let entry = Entry {
                inode: metadata.ino(),
                mode: metadata.mode(),
                owner: (metadata.uid(), metadata.gid()),
                links: metadata.nlink(),
                size: metadata.size(),
                mtime: (metadata.mtime(), metadata.mtime_nsec()),
                ctime: (metadata.ctime(), metadata.ctime_nsec()),
                hash: hasher.finish(),
            };
            entries.insert(path, entry);
        }
        Ok(Self(entries))
    }

    /// What is different now, a line for each path; none when nothing is.
    pub fn diff(&self, now: &Self) -> Vec<String> {
        let paths: std::collections::BTreeSet<_> = self.0.keys().chain(now.0.keys()).collect();
        let line = |path: &PathBuf| match (self.0.get(path), now.0.get(path)) {
            (Some(before), Some(after)) if before == after => None,
            (Some(before), Some(after)) => {
                Some(format!("{}: {before:?} became {after:?}", path.display()))
            }
            (None, _) => Some(format!("{} was created", path.display())),
            (_, None) => Some(format!("{} was removed", path.display())),
        };
        paths.into_iter().filter_map(line).collect()
    }

    /// Panics unless the tree at `directory` still looks so.
    ///
    /// # Panics
    /// When something changed, or can't be read.
    #[expect(clippy::panic, reason = "an assertion for tests")]
    pub fn assert_unchanged(&self, directory: &Path) {
        match Self::take(directory) {
            Ok(now) if now == *self => {}
            Ok(now) => panic!("R1: the source was written:\n{}", self.diff(&now).join("\n")),
            Err(error) => panic!("cannot look at {}: {error}", directory.display()),
        }
    }
}
