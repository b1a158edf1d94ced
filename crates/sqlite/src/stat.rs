//! What the file system tells: stamps, fingerprints, and how far they can be trusted.
//!
//! Called 100,000 times a cycle by the scanner: one system call each, no allocation in [`stat_at`].

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, FileType, Statx, StatxFlags};
use rustix::io::Errno;
use ultrasimple_core::{FileStamp, Fingerprint};

/// What one file is, and when it last changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// Identity, size and times.
    pub stamp: FileStamp,
    /// What sort of file it is.
    pub kind: FileKind,
    /// Permission bits (the lowest 12 bits of the mode).
    pub mode: u32,
    /// Number of hard links.
    pub links: u32,
}

/// The sorts of files that matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link (only where links are not followed).
    Symlink,
    /// A device, socket or pipe.
    Other,
}

/// Whether a symbolic link at the end of a path is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follow {
    /// Look at the link itself.
    No,
    /// Look at what it points to.
    Yes,
}

/// How fresh the answer has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// What the kernel knows. Exact on a local file system.
    Cached,
    /// Ask the server: on network file systems attributes may be seconds old.
    Revalidated,
}

/// Looks at `name` relative to `dir`. `None` where there is no such file (or none can exist: a parent is
/// no directory, or the name is too long).
///
/// # Errors
/// Whatever `statx` reports otherwise, permission denied above all.
pub fn stat_at<Fd: AsFd, P: rustix::path::Arg>(
    dir: Fd,
    name: P,
    follow: Follow,
    freshness: Freshness,
) -> io::Result<Option<Stat>> {
    let mut flags = match freshness {
        Freshness::Cached => AtFlags::STATX_DONT_SYNC,
        Freshness::Revalidated => AtFlags::STATX_FORCE_SYNC,
    };
    if follow == Follow::No {
        flags |= AtFlags::SYMLINK_NOFOLLOW;
    }
    let mask = StatxFlags::TYPE
        | StatxFlags::MODE
        | StatxFlags::NLINK
        | StatxFlags::INO
        | StatxFlags::SIZE
        | StatxFlags::MTIME
        | StatxFlags::CTIME;
    match rustix::fs::statx(dir, name, flags, mask) {
        Ok(statx) => Ok(Some(Stat::from_statx(&statx))),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

impl Stat {
    fn from_statx(statx: &Statx) -> Self {
        let nanoseconds = |time: &rustix::fs::StatxTimestamp| {
            time.tv_sec.saturating_mul(1_000_000_000).saturating_add(i64::from(time.tv_nsec))
        };
        Self {
            stamp: FileStamp {
                device: rustix::fs::makedev(statx.stx_dev_major, statx.stx_dev_minor),
                inode: statx.stx_ino,
                size: statx.stx_size,
                mtime_ns: nanoseconds(&statx.stx_mtime),
                ctime_ns: nanoseconds(&statx.stx_ctime),
            },
            kind: match FileType::from_raw_mode(u32::from(statx.stx_mode)) {
                FileType::RegularFile => FileKind::Regular,
                FileType::Directory => FileKind::Directory,
                FileType::Symlink => FileKind::Symlink,
                _ => FileKind::Other,
            },
            mode: u32::from(statx.stx_mode) & 0o7777,
            links: statx.stx_nlink,
        }
    }
}

/// `path` with `suffix` appended to its last component: `-wal`, `-shm` or `-journal`.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::with_capacity(path.as_os_str().len() + suffix.len());
    name.push(path);
    name.push(suffix);
    PathBuf::from(name)
}

/// Where the database is that `path` names: SQLite puts `-wal` beside the *target* of a symbolic link.
pub(crate) fn resolve(path: &Path) -> io::Result<PathBuf> {
    match stat_at(CWD, path, Follow::No, Freshness::Cached)? {
        Some(Stat { kind: FileKind::Symlink, .. }) => std::fs::canonicalize(path),
        _ => std::path::absolute(path),
    }
}

/// All that `stat` tells of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Observed {
    pub(crate) main: Stat,
    pub(crate) wal: Option<FileStamp>,
    pub(crate) shm: bool,
    pub(crate) journal: Option<FileStamp>,
}

impl Observed {
    /// Looks at the database at `path` (resolved). `None` where there is no main file.
    ///
    /// The order matters: main first. When `-wal` and `-journal` are absent *after* that, and the main
    /// file's stamp is still the same later, then its content was a committed state at that moment.
    pub(crate) fn of(path: &Path, freshness: Freshness) -> io::Result<Option<Self>> {
        let look = |path: &Path| stat_at(CWD, path, Follow::Yes, freshness);
        let Some(main) = look(path)? else {
            return Ok(None);
        };
        let wal = look(&beside(path, "-wal"))?;
        let shm = wal.is_some() && look(&beside(path, "-shm"))?.is_some();
        let journal = look(&beside(path, "-journal"))?;
        Ok(Some(Self { main, wal: wal.map(|s| s.stamp), shm, journal: journal.map(|s| s.stamp) }))
    }

    pub(crate) fn fingerprint(&self) -> Fingerprint {
        Fingerprint { main: self.main.stamp, wal: self.wal, journal: self.journal.is_some() }
    }
}

/// The fingerprint of the database at `path`; of the link's target where `path` is a symbolic link.
/// A `-journal` of no bytes counts as present.
///
/// # Errors
/// `NotFound` where there is no such file; whatever else `statx` reports.
pub fn fingerprint(path: &Path) -> io::Result<Fingerprint> {
    let path = resolve(path)?;
    let observed = Observed::of(&path, Freshness::Cached)?;
    let observed = observed.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    Ok(observed.fingerprint())
}

/// Where a file system keeps its files, and so how far its attributes and locks can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FilesystemKind {
    /// On this host.
    Local,
    /// On a server, or in a process (FUSE): attributes may be stale, locks may not reach other hosts, and
    /// a WAL's shared memory never does.
    Network,
}

impl FilesystemKind {
    /// How fresh `stat` must be asked to be here.
    pub fn freshness(self) -> Freshness {
        match self {
            Self::Local => Freshness::Cached,
            Self::Network => Freshness::Revalidated,
        }
    }
}

/// `f_type` of file systems that are not wholly on this host (`statfs(2)`, linux/magic.h).
const NETWORK_MAGIC: [u64; 16] = [
    0x6969,      // NFS
    0x517B,      // SMB
    0xFF53_4D42, // CIFS
    0xFE53_4D42, // SMB2
    0x0102_1997, // 9p
    0x6573_5546, // FUSE: sshfs, s3fs, gcsfuse, GlusterFS
    0x00C3_6400, // Ceph
    0x0BD0_0BD0, // Lustre
    0x0116_1970, // GFS2
    0x7461_636F, // OCFS2
    0x5346_414F, // AFS
    0x6B41_4653, // kAFS
    0x7375_7245, // Coda
    0x564C,      // NCP
    0x1983_0326, // BeeGFS
    0x4750_4653, // GPFS
];

/// What sort of file system `path` is on.
///
/// # Errors
/// Whatever `statfs` reports.
pub fn filesystem_kind(path: &Path) -> io::Result<FilesystemKind> {
    let magic = rustix::fs::statfs(path)?.f_type;
    // The kernel's values are 32 bits wide; some platforms sign-extend them.
    let magic = magic.cast_unsigned() & 0xFFFF_FFFF;
    Ok(if NETWORK_MAGIC.contains(&magic) { FilesystemKind::Network } else { FilesystemKind::Local })
}

/// How far apart two changes of a file must be for its times to differ for certain: 20 ms on a local file
/// system (a jiffy is at most 10 ms before Linux 6.13), 2.5 s on a network file system or where times
/// have whole (or, on FAT, even) seconds only.
pub fn timestamp_tick(kind: FilesystemKind, stamp: &FileStamp) -> Duration {
    let whole = |ns: i64| ns % 1_000_000_000 == 0;
    if kind == FilesystemKind::Network || (whole(stamp.mtime_ns) && whole(stamp.ctime_ns)) {
        Duration::from_millis(2_500)
    } else {
        Duration::from_millis(20)
    }
}
