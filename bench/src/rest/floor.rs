//! The calls that cannot be done without: what the file system is asked, and nothing else.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use rustix::fs::{AtFlags, StatxFlags, statx};

use crate::databases::Databases;

/// Open directories and the names in them, divided among threads.
#[derive(Debug)]
pub(super) struct Floor {
    directories: Vec<(File, Vec<CString>)>,
    threads: usize,
}

/// What a thread takes at a time.
const CHUNK: usize = 2_048;

impl Floor {
    pub(super) fn new(databases: &Databases) -> Result<Self> {
        let mut directories: Vec<(PathBuf, Vec<CString>)> = Vec::new();
        for number in 0..databases.kind.count {
            let path = databases.path(number);
            let directory = path.parent().unwrap_or(Path::new("/"));
            let name = CString::new(path.file_name().unwrap_or(OsStr::new("")).as_bytes())?;
            match directories.last_mut().filter(|(last, _)| last == directory) {
                Some((_, names)) => names.push(name),
                None => directories.push((directory.to_owned(), vec![name])),
            }
        }
        let open = |(path, names): (PathBuf, _)| {
            let file = File::open(&path).with_context(|| format!("open {}", path.display()))?;
            Ok((file, names))
        };
        let directories = directories.into_iter().map(open).collect::<Result<_>>()?;
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self { directories, threads })
    }

    /// So many times, in milliseconds each.
    pub(super) fn run(&self, runs: usize) -> Result<Vec<f64>> {
        (0..runs).map(|_| self.once()).collect()
    }

    fn once(&self) -> Result<f64> {
        let chunks = self.directories.iter().flat_map(|(directory, names)| {
            names.chunks(CHUNK).map(move |names| (directory.as_fd(), names))
        });
        let chunks: Vec<_> = chunks.collect();
        let share = chunks.len().div_ceil(self.threads).max(1);
        let start = Instant::now();
        std::thread::scope(|scope| {
            let threads: Vec<_> = chunks
                .chunks(share)
                .map(|chunks| scope.spawn(|| chunks.iter().try_for_each(|one| look(*one))))
                .collect();
            threads.into_iter().try_for_each(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|_| anyhow::bail!("a thread of the bare calls panicked"))
            })
        })?;
        Ok(1e3 * start.elapsed().as_secs_f64())
    }
}

fn look((directory, names): (BorrowedFd<'_>, &[CString])) -> Result<()> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    let stat = |name| std::hint::black_box(statx(directory, name, flags, StatxFlags::BASIC_STATS));
    stat(c".")?;
    for name in names {
        stat(name)?;
    }
    Ok(())
}
