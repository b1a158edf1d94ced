//! Reading a directory: which of its files are databases, what is beside them, which directories lead
//! on.

use std::collections::HashSet;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use rustix::fs::{FileType, Mode, OFlags, RawDir};
use ultrasimple_core::pattern::Reach;
use ultrasimple_core::{FingerprintDigest, SourcePath};
use ultrasimple_sqlite::stat::{FileKind, Follow, Freshness, stat_at};

use super::table::{
    Beside, Directory, DirectoryId, Entry, Listed, MAX_NAMES_BYTES, NewEntries, NewEntry, Table,
};
use super::walk::{Findings, NewDirectory, Opened, Relisted, Walk, bare, look, problem};

const DIRENT_BUFFER: usize = 64 * 1_024;
const AUXILIARY: [&[u8]; 3] = [b"-wal", b"-shm", b"-journal"];

/// What a worker uses again from directory to directory.
#[derive(Default)]
pub(super) struct Buffers {
    dirents: Vec<MaybeUninit<u8>>,
}

/// A directory as it was just read.
pub(super) struct Listing {
    pub(super) listed: Listed,
    pub(super) entries: NewEntries,
    pub(super) appeared: Vec<NewDirectory>,
    /// Names (with NUL) of the sub-directories that were known before and still are there.
    stay: Vec<Box<[u8]>>,
}

impl Listing {
    pub(super) fn into_relisted(
        self,
        id: DirectoryId,
        directory: &Directory,
        table: &Table,
    ) -> Relisted {
        let stays = |child: &DirectoryId| {
            let name = table.directory(*child).map(|child| &child.name);
            name.is_some_and(|name| self.stay.binary_search(name).is_ok())
        };
        let gone = directory.children.iter().copied().filter(|child| !stays(child)).collect();
        let listing = Some((self.listed, self.entries));
        Relisted { id, listing, appeared: self.appeared, gone }
    }
}

/// The names in a directory that matter, by what they are. Each with its NUL.
#[derive(Default)]
struct Names {
    files: Vec<Box<[u8]>>,
    links: Vec<Box<[u8]>>,
    directories: Vec<Box<[u8]>>,
    /// Sorted: everything called like a WAL, shared memory or journal.
    auxiliary: Vec<Box<[u8]>>,
}

/// Lists an open directory and looks at its databases. `path` gives the directory's path with a
/// trailing slash.
pub(super) fn list(
    walk: &Walk<'_>,
    known: Option<&Directory>,
    reach: &Reach,
    opened: &Opened,
    path: &dyn Fn() -> Vec<u8>,
    findings: &mut Findings,
    buffers: &mut Buffers,
) -> io::Result<Listing> {
    let mut names = read(walk, reach, opened, path, findings, buffers)?;
    let mut listing = Listing {
        listed: walk.listed(opened),
        entries: NewEntries::default(),
        appeared: Vec::new(),
        stay: Vec::new(),
    };
    let all_resolved = resolve_links(walk, reach, opened, path, &mut names, findings);
    // A link may lead somewhere later, without this directory moving.
    listing.listed.settled &= all_resolved;
    if opened.via_link {
        drop_found_elsewhere(walk, path, &mut names.files);
    }
    let known_children: HashSet<&[u8]> = known
        .into_iter()
        .flat_map(|known| &known.children)
        .filter_map(|&child| walk.table.directory(child))
        .map(|child| &child.name[..])
        .collect();
    // A directory that changes while it is read may give a name twice.
    names.directories.sort_unstable();
    names.directories.dedup();
    for name in std::mem::take(&mut names.directories) {
        let child_path = || [&path()[..], bare(&name)].concat();
        if known_children.contains(&name[..]) {
            listing.stay.push(name);
            continue;
        }
        match walk.discover(opened, &name, reach, &child_path, findings, buffers) {
            Ok(new) => listing.appeared.extend(new),
            Err(error) => {
                // Not even looked at: this directory is listed until it can be.
                listing.listed.settled = false;
                findings.problems.push(problem(&child_path(), &error));
            }
        }
    }
    listing.stay.sort_unstable();
    let mut all: Vec<_> = names.files.iter().map(|name| (name, false)).collect();
    all.extend(names.links.iter().map(|name| (name, true)));
    all.sort_unstable();
    all.dedup_by(|a, b| a.0 == b.0);
    let bytes = all.iter().map(|(name, _)| name.len()).sum();
    if bytes > MAX_NAMES_BYTES {
        let reason = "more databases than one directory may have: spread them over several";
        return Err(io::Error::other(reason));
    }
    listing.entries = NewEntries::with_capacity(all.len(), bytes);
    let mut buffer = Vec::with_capacity(256);
    for (name, link) in all {
        let beside = Beside {
            wal: names.has(name, b"-wal\0"),
            journal: names.has(name, b"-journal\0"),
            link,
        };
        let old = known.and_then(|known| find_entry(known, name));
        if let Some(new) = take(walk, name, beside, old, opened, path, &mut buffer) {
            listing.entries.push(name, beside, new);
        }
    }
    Ok(listing)
}

/// Looks at one database. `None` when it vanished since the directory was read.
fn take(
    walk: &Walk<'_>,
    name: &[u8],
    beside: Beside,
    old: Option<&Entry>,
    opened: &Opened,
    directory: &dyn Fn() -> Vec<u8>,
    buffer: &mut Vec<u8>,
) -> Option<NewEntry> {
    let path = || [&directory()[..], bare(name)].concat();
    let naming = match old {
        Some(old) => old.naming,
        None => (walk.name_of)(&SourcePath::from_bytes(&path())),
    };
    let digest = if walk.owned.has(naming.place) {
        match look(&opened.fd, name, beside, opened.kind.freshness(), &path, buffer) {
            Ok(Some(digest)) => digest,
            Ok(None) => return None,
            // A dangling link, no permission: kept, so that the capture says what is wrong.
            Err(_) => FingerprintDigest::NONE,
        }
    } else {
        // Whoever owns it looks at it.
        old.map_or(FingerprintDigest::NONE, |old| old.digest)
    };
    let linked = if beside.link || opened.via_link {
        let stat = stat_at(&opened.fd, bare(name), Follow::Yes, Freshness::Cached);
        stat.ok().flatten().map(|stat| Box::new((stat.stamp.device, stat.stamp.inode)))
    } else {
        None
    };
    let id = old.map(|old| old.id);
    let changed = old.is_some_and(|old| old.digest != digest);
    Some(NewEntry { digest, id, changed, naming, linked })
}

/// Reads the names of a directory and keeps those that matter.
fn read(
    walk: &Walk<'_>,
    reach: &Reach,
    opened: &Opened,
    path: &dyn Fn() -> Vec<u8>,
    findings: &mut Findings,
    buffers: &mut Buffers,
) -> io::Result<Names> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(&opened.fd, c".", flags, Mode::empty())?;
    buffers.dirents.resize(DIRENT_BUFFER, MaybeUninit::uninit());
    let mut names = Names::default();
    let mut dirents = RawDir::new(&fd, &mut buffers.dirents);
    while let Some(dirent) = dirents.next() {
        let dirent = dirent?;
        let name = dirent.file_name().to_bytes_with_nul();
        if matches!(name, b".\0" | b"..\0") {
            continue;
        }
        let is_auxiliary = AUXILIARY.iter().any(|suffix| bare(name).ends_with(suffix));
        if is_auxiliary {
            names.auxiliary.push(name.into());
        }
        let matches_file = walk.patterns.matches_file(reach, bare(name));
        let leads_on = |link| !walk.patterns.descend(reach, bare(name), link).is_empty();
        let kind = match dirent.file_type() {
            FileType::Unknown => kind_of(&opened.fd, dirent.file_name())?,
            FileType::RegularFile => FileKind::Regular,
            FileType::Directory => FileKind::Directory,
            FileType::Symlink => FileKind::Symlink,
            _ => FileKind::Other,
        };
        match kind {
            FileKind::Regular if matches_file => names.files.push(name.into()),
            FileKind::Directory if leads_on(false) => names.directories.push(name.into()),
            FileKind::Symlink if matches_file || leads_on(true) => names.links.push(name.into()),
            FileKind::Other if matches_file => findings.problems.push(super::Problem {
                path: SourcePath::from_bytes(&[&path()[..], bare(name)].concat()),
                reason: "it matches the pattern but is a pipe, socket or device; exclude it".into(),
            }),
            _ => {}
        }
    }
    names.auxiliary.sort_unstable();
    if !names.auxiliary.is_empty() {
        drop_auxiliary(&opened.fd, &mut names.files);
    }
    Ok(names)
}

fn kind_of(fd: &OwnedFd, name: &std::ffi::CStr) -> io::Result<FileKind> {
    let stat = stat_at(fd, name, Follow::No, Freshness::Cached)?;
    Ok(stat.map_or(FileKind::Other, |stat| stat.kind))
}

/// Takes out what belongs to a database: `a-wal` where there is an `a`. (A database may well be *called*
/// `x-wal`; without an `x` beside it, it is taken as one.)
fn drop_auxiliary(fd: &OwnedFd, files: &mut Vec<Box<[u8]>>) {
    files.retain(|name| {
        let base = AUXILIARY.iter().find_map(|suffix| bare(name).strip_suffix(*suffix));
        let Some(base) = base.filter(|base| !base.is_empty()) else { return true };
        !matches!(stat_at(fd, base, Follow::No, Freshness::Cached), Ok(Some(_)))
    });
}

/// Tells links to directories from links to files, and drops links to what is found without them.
/// Returns whether all of them led somewhere.
fn resolve_links(
    walk: &Walk<'_>,
    reach: &Reach,
    opened: &Opened,
    path: &dyn Fn() -> Vec<u8>,
    names: &mut Names,
    findings: &mut Findings,
) -> bool {
    let mut all_resolved = true;
    for name in std::mem::take(&mut names.links) {
        let link_path = SourcePath::from_bytes(&[&path()[..], bare(&name)].concat());
        let target = stat_at(&opened.fd, bare(&name), Follow::Yes, Freshness::Cached);
        if let Ok(Some(stat)) = &target {
            if stat.kind == FileKind::Directory {
                let reach = walk.patterns.descend(reach, bare(&name), true);
                if !reach.is_empty() && !is_walked_anyway(walk, &link_path, Some(&reach)) {
                    names.directories.push(name);
                }
                continue;
            }
            if stat.kind != FileKind::Regular {
                findings.problems.push(super::Problem {
                    path: link_path,
                    reason: "it is a link to a pipe, socket or device; exclude it".into(),
                });
                continue;
            }
        }
        let matches = walk.patterns.matches_file(reach, bare(&name));
        if !matches {
            all_resolved = false;
            let reason = "its symbolic link leads nowhere (a volume that is not mounted?)".into();
            findings.problems.push(super::Problem { path: link_path, reason });
            continue;
        }
        if !is_walked_anyway(walk, &link_path, None) {
            names.links.push(name);
        }
    }
    all_resolved
}

/// Whether the walk finds what a link leads to under its own path as well: the same file is not taken
/// twice.
fn is_walked_anyway(walk: &Walk<'_>, link: &SourcePath, reach: Option<&Reach>) -> bool {
    let Ok(target) = std::fs::canonicalize(link.as_path()) else { return false };
    let target = SourcePath::new(&target);
    match reach {
        None => walk.patterns.find(target.as_bytes()).is_some(),
        // A directory: only if the walk, there, looks for all that it would look for here.
        Some(reach) => {
            let names = target.as_bytes().split(|&b| b == b'/').filter(|name| !name.is_empty());
            let root = walk.patterns.root();
            let there = names.fold(root, |reach, name| walk.patterns.descend(&reach, name, false));
            reach.is_within(&there)
        }
    }
}

/// In a directory reached through a link: takes out the files that the walk finds under their own path.
fn drop_found_elsewhere(walk: &Walk<'_>, path: &dyn Fn() -> Vec<u8>, files: &mut Vec<Box<[u8]>>) {
    let path = SourcePath::from_bytes(&path());
    let Ok(real) = std::fs::canonicalize(path.as_path()) else { return };
    let real = SourcePath::new(&real);
    files
        .retain(|name| walk.patterns.find(&[real.as_bytes(), b"/", bare(name)].concat()).is_none());
}

fn find_entry<'a>(directory: &'a Directory, name: &[u8]) -> Option<&'a Entry> {
    let entries = directory.entries();
    let index = entries.binary_search_by(|entry| directory.name_of(entry).cmp(name)).ok()?;
    entries.get(index)
}

impl Names {
    fn has(&self, name: &[u8], suffix: &[u8]) -> bool {
        if self.auxiliary.is_empty() {
            return false;
        }
        let wanted = [bare(name), suffix].concat();
        self.auxiliary.binary_search_by(|auxiliary| (**auxiliary).cmp(&wanted)).is_ok()
    }
}
