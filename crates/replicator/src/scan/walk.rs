//! The walk: every known directory is looked at, on all cores, and what differs is written down.
//!
//! Per directory: one `openat`, one `statx`; a listing only when its mtime moved (or was too fresh to
//! tell). Per database of this node: one `statx` relative to the directory, a second one only where the
//! listing showed a `-wal`.

use std::collections::{HashMap, HashSet};
use std::ffi::CStr;
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use ultrasimple_core::pattern::{Look, PatternSet, Reach};
use ultrasimple_core::{FileStamp, Fingerprint, FingerprintDigest, SourcePath};
use ultrasimple_sqlite::stat::{
    FileKind, FilesystemKind, Follow, Freshness, filesystem_kind, stat_at, timestamp_tick,
};

use super::table::{Beside, DatabaseId, Directory, DirectoryId, Listed, NewEntries, Table};
use super::{NameOf, Owned, Problem, listing, workers};

/// Databases that one task looks at: a large directory is shared between workers.
const CHUNK: usize = 2_048;

/// A directory that no scan saw before, with all below it.
#[derive(Debug)]
pub(crate) struct NewDirectory {
    /// With its NUL.
    pub(crate) name: Box<[u8]>,
    pub(crate) via_link: bool,
    pub(crate) reach: Reach,
    pub(crate) listed: Option<Listed>,
    pub(crate) entries: NewEntries,
    pub(crate) children: Vec<NewDirectory>,
}

/// A known directory that was listed again.
#[derive(Debug)]
pub(crate) struct Relisted {
    pub(crate) id: DirectoryId,
    /// `None` for a directory of which only names matter: its databases stay as they are.
    pub(crate) listing: Option<(Listed, NewEntries)>,
    pub(crate) appeared: Vec<NewDirectory>,
    pub(crate) gone: Vec<DirectoryId>,
}

/// Everything that differs from the table.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) digests: Vec<(DatabaseId, FingerprintDigest)>,
    pub(crate) relisted: Vec<Relisted>,
    pub(crate) missing: Vec<DirectoryId>,
    pub(crate) problems: Vec<Problem>,
}

impl Findings {
    fn merge(&mut self, other: Self) {
        self.digests.extend(other.digests);
        self.relisted.extend(other.relisted);
        self.missing.extend(other.missing);
        self.problems.extend(other.problems);
    }
}

/// What sort of file system each device is; asked once per device.
#[derive(Debug, Default)]
pub(crate) struct Filesystems(Mutex<HashMap<u64, FilesystemKind>>);

impl Filesystems {
    fn kind(&self, device: u64, path: impl FnOnce() -> Vec<u8>) -> FilesystemKind {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *known.entry(device).or_insert_with(|| {
            let path = SourcePath::from_bytes(&path());
            // Where it cannot be told, the careful way.
            filesystem_kind(path.as_path()).unwrap_or(FilesystemKind::Network)
        })
    }
}

/// One walk over everything.
pub(crate) struct Walk<'a> {
    pub(crate) table: &'a Table,
    pub(crate) patterns: &'a PatternSet,
    pub(crate) name_of: &'a NameOf,
    pub(crate) owned: &'a Owned,
    pub(crate) filesystems: &'a Filesystems,
    pub(crate) now_ns: i64,
}

enum Task {
    /// Look at a known directory, which is `name` in the open one.
    Directory(DirectoryId, Arc<OwnedFd>),
    /// Look at some of the databases of an open directory.
    Entries(DirectoryId, Arc<OwnedFd>, Range<usize>, Freshness),
}

/// An open directory and what `stat` tells of it.
pub(super) struct Opened {
    pub(super) fd: OwnedFd,
    pub(super) via_link: bool,
    pub(super) stamp: FileStamp,
    pub(super) kind: FilesystemKind,
}

impl Walk<'_> {
    /// Walks with this many threads.
    ///
    /// # Errors
    /// When `/` cannot be opened.
    pub(crate) fn run(&self, threads: usize) -> io::Result<Findings> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = Arc::new(rustix::fs::openat(CWD, c"/", flags, Mode::empty())?);
        let first = Task::Directory(Table::ROOT, root);
        let states = workers::run(threads, first, |task, own, (findings, buffers)| match task {
            Task::Directory(id, parent) => self.visit(id, &parent, own, findings, buffers),
            Task::Entries(id, fd, range, freshness) => {
                self.check_entries(id, &fd, range, freshness, findings);
            }
        });
        let mut all = Findings::default();
        for (findings, _) in states {
            all.merge(findings);
        }
        Ok(all)
    }

    /// Looks at one known directory.
    fn visit(
        &self,
        id: DirectoryId,
        parent: &OwnedFd,
        own: &mut Vec<Task>,
        findings: &mut Findings,
        buffers: &mut listing::Buffers,
    ) {
        let Some(directory) = self.table.directory(id) else { return };
        let path = || self.table.directory_path(id);
        let opened = match self.open(parent, &directory.name, directory.via_link, path) {
            Ok(Some(opened)) => opened,
            Ok(None) => return findings.missing.push(id),
            Err(error) => return self.failed(id, &error, findings),
        };
        let relisted = match self.patterns.look(&directory.reach) {
            Look::Named(names) => self.look_up(id, directory, &names, &opened, findings, buffers),
            Look::List if is_current(directory, &opened) => {
                let (fd, freshness) = (Arc::new(opened.fd), opened.kind.freshness());
                let count = directory.entries().len();
                own.extend(directory.children.iter().map(|&c| Task::Directory(c, fd.clone())));
                own.extend((0..count).step_by(CHUNK).map(|start| {
                    let range = start..count.min(start + CHUNK);
                    Task::Entries(id, fd.clone(), range, freshness)
                }));
                return;
            }
            Look::List => match self.list(Some(directory), id, &opened, findings, buffers) {
                Ok(listed) => listed.into_relisted(id, directory, self.table),
                Err(error) => return self.failed(id, &error, findings),
            },
        };
        let fd = Arc::new(opened.fd);
        let gone: HashSet<_> = relisted.gone.iter().collect();
        let stay = directory.children.iter().filter(|child| !gone.contains(child));
        own.extend(stay.map(|&child| Task::Directory(child, fd.clone())));
        let is_news = relisted.listing.is_some()
            || !relisted.appeared.is_empty()
            || !relisted.gone.is_empty();
        if is_news {
            findings.relisted.push(relisted);
        }
    }

    /// Sees which of the sub-directories that matter are new.
    fn look_up(
        &self,
        id: DirectoryId,
        directory: &Directory,
        names: &[&str],
        opened: &Opened,
        findings: &mut Findings,
        buffers: &mut listing::Buffers,
    ) -> Relisted {
        let mut relisted = Relisted { id, listing: None, appeared: Vec::new(), gone: Vec::new() };
        let children: Vec<_> =
            directory.children.iter().filter_map(|&c| self.table.directory(c)).collect();
        for name in names {
            let known = children.iter().any(|c| bare(&c.name) == name.as_bytes());
            if known {
                continue;
            }
            let name = [name.as_bytes(), b"\0"].concat();
            let path = || [&self.table.directory_path(id)[..], bare(&name)].concat();
            match self.discover(opened, &name, &directory.reach, &path, findings, buffers) {
                Ok(Some(new)) => relisted.appeared.push(new),
                Ok(None) => {}
                Err(error) => findings.problems.push(problem(&path(), &error)),
            }
        }
        relisted
    }

    /// Takes a directory that was not known, with all below it. `None` where nothing below can match,
    /// or nothing is there.
    pub(super) fn discover(
        &self,
        parent: &Opened,
        name: &[u8],
        parent_reach: &Reach,
        path: &dyn Fn() -> Vec<u8>,
        findings: &mut Findings,
        buffers: &mut listing::Buffers,
    ) -> io::Result<Option<NewDirectory>> {
        let found = stat_at(&parent.fd, c_name(name), Follow::No, Freshness::Cached)?;
        let Some(found) = found else { return Ok(None) };
        let link = found.kind == FileKind::Symlink;
        let reach = self.patterns.descend(parent_reach, bare(name), link);
        if reach.is_empty() || !(link || found.kind == FileKind::Directory) {
            return Ok(None);
        }
        let via_link = parent.via_link || link;
        let mut new = NewDirectory {
            name: name.into(),
            via_link,
            reach,
            listed: None,
            entries: NewEntries::default(),
            children: Vec::new(),
        };
        let opened = match self.open(&parent.fd, name, via_link, path) {
            Ok(Some(opened)) => opened,
            Ok(None) => return Ok(None),
            // Known from now on, so that every scan tries it again.
            Err(error) => {
                findings.problems.push(problem(&path(), &error));
                return Ok(Some(new));
            }
        };
        let with_slash = || [&path()[..], b"/"].concat();
        match self.patterns.look(&new.reach) {
            Look::Named(names) => {
                for child in names {
                    let child = [child.as_bytes(), b"\0"].concat();
                    let path = || [&with_slash()[..], bare(&child)].concat();
                    match self.discover(&opened, &child, &new.reach, &path, findings, buffers) {
                        Ok(found) => new.children.extend(found),
                        Err(error) => findings.problems.push(problem(&path(), &error)),
                    }
                }
            }
            Look::List => {
                let reach = &new.reach;
                match listing::list(self, None, reach, &opened, &with_slash, findings, buffers) {
                    Ok(listed) => {
                        new.listed = Some(listed.listed);
                        new.entries = listed.entries;
                        new.children = listed.appeared;
                    }
                    Err(error) => findings.problems.push(problem(&path(), &error)),
                }
            }
        }
        Ok(Some(new))
    }

    fn list(
        &self,
        known: Option<&Directory>,
        id: DirectoryId,
        opened: &Opened,
        findings: &mut Findings,
        buffers: &mut listing::Buffers,
    ) -> io::Result<listing::Listing> {
        let reach = known.map(|directory| directory.reach.clone()).unwrap_or_default();
        let path = || self.table.directory_path(id);
        listing::list(self, known, &reach, opened, &path, findings, buffers)
    }

    fn open(
        &self,
        parent: &OwnedFd,
        name: &[u8],
        via_link: bool,
        path: impl FnOnce() -> Vec<u8>,
    ) -> io::Result<Option<Opened>> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = match rustix::fs::openat(parent, c_name(name), flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        // `.`: an empty path would need another flag.
        let stat = stat_at(&fd, c".", Follow::No, Freshness::Cached)?;
        let Some(stat) = stat else { return Ok(None) };
        let kind = self.filesystems.kind(stat.stamp.device, path);
        let stat = match kind {
            FilesystemKind::Local => stat,
            FilesystemKind::Network => {
                stat_at(&fd, c".", Follow::No, Freshness::Revalidated)?.unwrap_or(stat)
            }
        };
        Ok(Some(Opened { fd, via_link, stamp: stat.stamp, kind }))
    }

    fn check_entries(
        &self,
        id: DirectoryId,
        fd: &OwnedFd,
        range: Range<usize>,
        freshness: Freshness,
        findings: &mut Findings,
    ) {
        let Some(directory) = self.table.directory(id) else { return };
        let mut wal = Vec::with_capacity(256);
        for entry in directory.entries().get(range).unwrap_or_default() {
            if !self.owned.has(entry.naming.place) {
                continue;
            }
            let name = directory.name_of(entry);
            let path = || {
                let directory = self.table.directory_path(id);
                [&directory[..], bare(name)].concat()
            };
            // What cannot be looked at (or is just vanishing) is a change: the capture will say why.
            let digest = look(fd, name, entry.beside(), freshness, &path, &mut wal)
                .ok()
                .flatten()
                .unwrap_or(FingerprintDigest::NONE);
            if digest != entry.digest {
                findings.digests.push((entry.id, digest));
            }
        }
    }

    fn failed(&self, id: DirectoryId, error: &io::Error, findings: &mut Findings) {
        findings.problems.push(problem(&self.table.directory_path(id), error));
    }

    /// When a directory was listed, and whether any later change will move its mtime.
    pub(super) fn listed(&self, opened: &Opened) -> Listed {
        let FileStamp { device, inode, mtime_ns, ctime_ns, .. } = opened.stamp;
        let tick = timestamp_tick(opened.kind, &opened.stamp).as_nanos();
        let tick_ns = i64::try_from(tick).unwrap_or(i64::MAX);
        // Seen from the start of the scan: what changed after it may be changing still.
        let settled = self.now_ns.saturating_sub(mtime_ns.max(ctime_ns)) > tick_ns;
        Listed { device, inode, mtime_ns, ctime_ns, settled }
    }
}

/// Whether a directory is as it was when it was listed. On network file systems a directory's mtime says
/// too little: those are always listed.
fn is_current(directory: &Directory, opened: &Opened) -> bool {
    let stamp = &opened.stamp;
    directory.listed.is_some_and(|listed| {
        listed.settled
            && opened.kind == FilesystemKind::Local
            && (listed.device, listed.inode) == (stamp.device, stamp.inode)
            && (listed.mtime_ns, listed.ctime_ns) == (stamp.mtime_ns, stamp.ctime_ns)
    })
}

/// The fingerprint of the database `name` (with its NUL) in the open directory. `None` when it is not
/// there. `path` is asked for symbolic links only, `buffer` is scratch space.
pub(super) fn look(
    fd: &OwnedFd,
    name: &[u8],
    beside: Beside,
    freshness: Freshness,
    path: &dyn Fn() -> Vec<u8>,
    buffer: &mut Vec<u8>,
) -> io::Result<Option<FingerprintDigest>> {
    if beside.link {
        let path = SourcePath::from_bytes(&path());
        return ultrasimple_sqlite::stat::fingerprint(path.as_path()).map(|f| Some(f.digest()));
    }
    let Some(main) = stat_at(fd, c_name(name), Follow::No, freshness)? else { return Ok(None) };
    let wal = if beside.wal {
        buffer.clear();
        buffer.extend_from_slice(bare(name));
        buffer.extend_from_slice(b"-wal\0");
        stat_at(fd, c_name(buffer), Follow::No, freshness)?
    } else {
        None
    };
    let (main, wal) = (main.stamp, wal.map(|wal| wal.stamp));
    Ok(Some(Fingerprint { main, wal, journal: beside.journal }.digest()))
}

/// A name without its NUL.
pub(super) fn bare(name: &[u8]) -> &[u8] {
    name.strip_suffix(b"\0").unwrap_or(name)
}

/// A name from the table as the kernel takes it. (A name without a NUL, which the table does not hold,
/// would name nothing.)
fn c_name(name: &[u8]) -> &CStr {
    CStr::from_bytes_with_nul(name).unwrap_or(c"")
}

pub(super) fn problem(path: &[u8], error: &io::Error) -> Problem {
    let reason = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            format!("{error}: the daemon's user needs read and search permission here")
        }
        _ => error.to_string(),
    };
    Problem { path: SourcePath::from_bytes(path), reason }
}
