//! The folder tree under a directory store's root: keys to files, without ever leaving the root.
//!
//! Every path is walked from an open root, component by component and without following symbolic links:
//! what others put into the tree cannot lead out of it, and a root that is renamed, or hidden by a mount,
//! is still the same root.

use std::collections::hash_map::RandomState;
use std::fs::File;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use md5::{Digest, Md5};
use rustix::fs::{
    AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, Stat, flock, fstat, fsync, mkdirat,
    openat, statat, unlinkat,
};
use rustix::io::Errno;
use ultrasimple_core::key::RESERVED;
use ultrasimple_core::{Clock, ObjectKey, Timestamp};

use super::errors::failed;
use crate::{ETag, ObjectInfo, StoreError};

/// Folders in [`RESERVED`] that hold no objects.
const TMP: &str = "tmp";
const LOCKS: &str = "locks";
/// Lock files; a key's is chosen by the first byte of its MD5, alike in all processes.
const STRIPES: usize = 256;
/// What an interrupted write left is removed after this time, in seconds: a day.
const LEFTOVER_AGE: i64 = 24 * 3600;
const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// An open root.
#[derive(Debug)]
pub(super) struct Tree {
    root: OwnedFd,
    path: PathBuf,
    workshop: OnceLock<Workshop>,
    /// Within this process; the lock files are between processes.
    stripes: Vec<Mutex<()>>,
    clock: Arc<dyn Clock>,
}

/// The folders that writing needs; a store that is only read may be on a read-only mount.
#[derive(Debug)]
struct Workshop {
    tmp: OwnedFd,
    locks: OwnedFd,
}

/// A key's folder, opened, and its name in it.
pub(super) struct Place<'a> {
    pub(super) folder: OwnedFd,
    pub(super) name: &'a str,
}

impl Tree {
    pub(super) fn open(path: &Path, clock: Arc<dyn Clock>) -> io::Result<Self> {
        // The root itself may be reached through a symbolic link: the operator named it.
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty())?;
        let stripes = (0..STRIPES).map(|_| Mutex::new(())).collect();
        Ok(Self { root, path: path.to_owned(), workshop: OnceLock::new(), stripes, clock })
    }

    /// Where the object of a key is, for messages.
    pub(super) fn path_of(&self, key: &ObjectKey) -> PathBuf {
        self.path.join(key.as_str())
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Opens a folder of the tree by its components. `None` when it is not there.
    pub(super) fn folder(&self, components: &[&str]) -> io::Result<Option<OwnedFd>> {
        let mut folder = openat(&self.root, ".", FOLDER, Mode::empty())?;
        for component in components {
            folder = match openat(&folder, *component, FOLDER, Mode::empty()) {
                Ok(inner) => inner,
                // A name that is too long cannot be there either; a link is as good as nothing.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG) => {
                    return Ok(None);
                }
                Err(error) => return Err(error.into()),
            };
        }
        Ok(Some(folder))
    }

    /// The place of a key that may be there. `None` when its folder is not.
    pub(super) fn place<'a>(&self, key: &'a ObjectKey) -> io::Result<Option<Place<'a>>> {
        let (components, name) = split(key);
        Ok(self.folder(&components)?.map(|folder| Place { folder, name }))
    }

    /// The place of a key that will be there: makes its folders, and makes them last.
    pub(super) fn make_place<'a>(&self, key: &'a ObjectKey) -> io::Result<Place<'a>> {
        let (components, name) = split(key);
        let mut folder = openat(&self.root, ".", FOLDER, Mode::empty())?;
        for component in components {
            folder = make_folder(&folder, component)?;
        }
        Ok(Place { folder, name })
    }

    /// What is stored under a key.
    pub(super) fn info(&self, key: &ObjectKey) -> Result<Option<ObjectInfo>, StoreError> {
        let looked = self.place(key).and_then(|place| match place {
            Some(place) => place.stat(),
            None => Ok(None),
        });
        match looked {
            Ok(stat) => Ok(stat.filter(is_object).and_then(|stat| object_info(&stat))),
            Err(error) => Err(failed("look at", &self.path_of(key), &error)),
        }
    }

    /// Opens the object of a key for reading.
    pub(super) fn open_object(
        &self,
        key: &ObjectKey,
    ) -> Result<Option<(File, ObjectInfo)>, StoreError> {
        let open = || -> io::Result<Option<(File, Stat)>> {
            let Some(place) = self.place(key)? else {
                return Ok(None);
            };
            // Not to hang on a FIFO that somebody put there.
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
            let file = match openat(&place.folder, place.name, flags, Mode::empty()) {
                Ok(file) => File::from(file),
                Err(Errno::NOENT | Errno::LOOP | Errno::NAMETOOLONG | Errno::NXIO) => {
                    return Ok(None);
                }
                Err(error) => return Err(error.into()),
            };
            let stat = fstat(&file)?;
            Ok(Some((file, stat)))
        };
        match open() {
            Ok(Some((file, stat))) if is_object(&stat) => {
                Ok(object_info(&stat).map(|info| (file, info)))
            }
            Ok(_) => Ok(None),
            Err(error) => Err(failed("open", &self.path_of(key), &error)),
        }
    }

    fn workshop(&self) -> io::Result<&Workshop> {
        if let Some(workshop) = self.workshop.get() {
            return Ok(workshop);
        }
        let reserved = make_folder(&self.root, RESERVED)?;
        let workshop =
            Workshop { tmp: make_folder(&reserved, TMP)?, locks: make_folder(&reserved, LOCKS)? };
        Ok(self.workshop.get_or_init(|| workshop))
    }

    /// A new file in the working folder, removed when it is dropped.
    pub(super) fn temporary(self: &Arc<Self>) -> io::Result<Temporary> {
        let random = RandomState::new().build_hasher().finish();
        let name = format!("{}-{random:016x}", std::process::id());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = openat(&self.workshop()?.tmp, &name, flags, mode)?;
        Ok(Temporary { tree: Arc::clone(self), name, file: File::from(file), kept: false })
    }

    /// Keeps all other writers of this key's slice out, in this process and in others.
    pub(super) fn lock(&self, key: &ObjectKey) -> io::Result<KeyLock<'_>> {
        let stripe = Md5::digest(key.as_str()).first().copied().unwrap_or_default();
        let own = self.stripes.get(usize::from(stripe)).map(|stripe| {
            // The lock guards nothing in memory that a panic could have left half done.
            stripe.lock().unwrap_or_else(PoisonError::into_inner)
        });
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = openat(&self.workshop()?.locks, format!("{stripe:02x}"), flags, mode)?;
        rustix::io::retry_on_intr(|| flock(&file, FlockOperation::LockExclusive))?;
        Ok(KeyLock { _file: file, _own: own })
    }

    /// Removes the folders of a deleted key that are empty now, the innermost first.
    pub(super) fn prune(&self, key: &ObjectKey) {
        let (components, _) = split(key);
        for depth in (0..components.len()).rev() {
            let (Some(above), Some(name)) = (components.get(..depth), components.get(depth)) else {
                return;
            };
            let Ok(Some(folder)) = self.folder(above) else {
                return;
            };
            // Not empty, mostly: then neither are those above.
            if unlinkat(&folder, *name, AtFlags::REMOVEDIR).is_err() {
                return;
            }
        }
    }

    /// Removes what writes that were interrupted long ago left behind. That it cannot is no reason not to
    /// start.
    pub(super) fn remove_leftovers(&self) {
        let remove = || -> io::Result<()> {
            let Some(tmp) = self.folder(&[RESERVED, TMP])? else {
                return Ok(());
            };
            for entry in Dir::read_from(&tmp)? {
                let entry = entry?;
                let stat = statat(&tmp, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)?;
                let age = self.now().as_second() - stat.st_mtime;
                if is_object(&stat) && age > LEFTOVER_AGE {
                    unlinkat(&tmp, entry.file_name(), AtFlags::empty())?;
                }
            }
            Ok(())
        };
        if let Err(error) = remove() {
            tracing::debug!(path = %self.path.display(), %error, "leftovers of writes not removed");
        }
    }
}

impl Place<'_> {
    /// What is there under this name, of whatever type. `None` when there is nothing.
    pub(super) fn stat(&self) -> io::Result<Option<Stat>> {
        match statat(&self.folder, self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT | Errno::NAMETOOLONG) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// A file being written.
#[derive(Debug)]
pub(super) struct Temporary {
    tree: Arc<Tree>,
    pub(super) name: String,
    pub(super) file: File,
    kept: bool,
}

impl Temporary {
    /// The folder it is in.
    pub(super) fn folder(&self) -> io::Result<&OwnedFd> {
        Ok(&self.tree.workshop()?.tmp)
    }

    /// It has been renamed.
    pub(super) fn keep(&mut self) {
        self.kept = true;
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.kept
            && let Ok(workshop) = self.tree.workshop()
        {
            // What cannot be removed now will be by a later start.
            let _ = unlinkat(&workshop.tmp, &self.name, AtFlags::empty());
        }
    }
}

/// A held lock: the file first, then the one of this process.
pub(super) struct KeyLock<'a> {
    _file: OwnedFd,
    _own: Option<MutexGuard<'a, ()>>,
}

/// Opens a folder, which is made if it is not there. New ones are synced into their parent.
fn make_folder(parent: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
    match mkdirat(parent, name, Mode::RWXU) {
        Ok(()) => fsync(parent)?,
        Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(openat(parent, name, FOLDER, Mode::empty())?)
}

/// Refuses keys among the store's own folders.
pub(super) fn check_key(key: &ObjectKey) -> Result<(), StoreError> {
    let mut components = key.as_str().split('/');
    if components.next() == Some(RESERVED) && components.next().is_some_and(is_workshop) {
        return Err(StoreError::Invalid(format!(
            "{key} is among the working folders of the directory store"
        )));
    }
    Ok(())
}

fn split(key: &ObjectKey) -> (Vec<&str>, &str) {
    let mut components: Vec<&str> = key.as_str().split('/').collect();
    let name = components.pop().unwrap_or_default();
    (components, name)
}

/// Whether a folder in [`RESERVED`] is a working folder.
pub(super) fn is_workshop(name: &str) -> bool {
    name == TMP || name == LOCKS
}

pub(super) fn is_object(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}

/// Size, tag and time. `None` for a time that no calendar has.
pub(super) fn object_info(stat: &Stat) -> Option<ObjectInfo> {
    let size = u64::try_from(stat.st_size).ok()?;
    let nanos = i32::try_from(stat.st_mtime_nsec).ok()?;
    let modified = Timestamp::new(stat.st_mtime, nanos).ok()?;
    // 32 digits, as S3's tags have: who keeps many tags keeps these in 16 bytes.
    let mtime_ns = stat.st_mtime.wrapping_mul(1_000_000_000).wrapping_add(nanos.into());
    let tag = format!("\"{size:016x}{:016x}\"", mtime_ns.cast_unsigned());
    Some(ObjectInfo { etag: ETag(tag.into()), size, modified })
}
