//! Listing a folder tree in the order of the keys' bytes.
//!
//! In that order `a-b` comes before `a/b` and `a.b`, after `a` and after `a!`, because it is the slash
//! that is compared. So a folder is sorted by its name *with* the slash, and walked depth first: then all
//! keys come out sorted. Held in memory are the names of the folders on the way, no objects.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, openat, statat};
use rustix::io::Errno;
use ultrasimple_core::key::RESERVED;

use super::blocking;
use super::errors::failed;
use super::tree::{Tree, is_object, is_workshop, object_info};
use crate::{ListedObject, StoreError};

/// Objects looked at in one go on a blocking thread.
const BATCH: usize = 1_000;

/// All objects whose key begins with `prefix`, after the key `start_after`.
pub(super) fn list(
    tree: Arc<Tree>,
    prefix: &str,
    start_after: Option<&str>,
) -> BoxStream<'static, Result<ListedObject, StoreError>> {
    let wanted = Wanted {
        prefix: prefix.as_bytes().to_vec(),
        start_after: start_after.map(|key| key.as_bytes().to_vec()),
    };
    stream::try_unfold(Walk::Start(wanted), move |walk| {
        let tree = Arc::clone(&tree);
        async move {
            let step = move || {
                let root = tree.path().to_owned();
                walk.step(&tree).map_err(|error| failed("list", &root, &error))
            };
            let (objects, walk) = blocking("list", 0, step).await?;
            let Some(walk) = walk else { return Ok(None) };
            Ok(Some((stream::iter(objects.into_iter().map(Ok::<_, StoreError>)), walk)))
        }
    })
    .try_flatten()
    .boxed()
}

/// Which keys are listed.
#[derive(Debug)]
struct Wanted {
    prefix: Vec<u8>,
    start_after: Option<Vec<u8>>,
}

impl Wanted {
    fn object(&self, key: &[u8]) -> bool {
        key.starts_with(&self.prefix)
            && self.start_after.as_deref().is_none_or(|start_after| key > start_after)
    }

    /// Whether a folder, by what the keys in it begin with (its slash included), may hold such.
    fn folder(&self, folder: &[u8]) -> bool {
        let in_prefix = folder.starts_with(&self.prefix) || self.prefix.starts_with(folder);
        in_prefix
            && self
                .start_after
                .as_deref()
                .is_none_or(|start_after| folder > start_after || start_after.starts_with(folder))
    }
}

/// A walk that can pause after each batch.
enum Walk {
    Start(Wanted),
    /// Folders on the way, the innermost last.
    Inside(Wanted, Vec<Folder>),
    End,
}

struct Folder {
    handle: OwnedFd,
    /// What the keys in it begin with.
    prefix: Vec<u8>,
    /// Still to be visited, in reverse order.
    entries: Vec<Entry>,
}

struct Entry {
    /// What it is sorted by: a folder has a slash behind its name.
    sorted_by: Vec<u8>,
    name: CString,
    is_folder: bool,
}

impl Walk {
    /// The next objects. No walk is left after the last.
    fn step(self, tree: &Tree) -> io::Result<(Vec<ListedObject>, Option<Self>)> {
        let (wanted, mut folders) = match self {
            Self::End => return Ok((Vec::new(), None)),
            Self::Inside(wanted, folders) => (wanted, folders),
            Self::Start(wanted) => {
                let root = tree.folder(&[])?.map(|root| Folder::read(root, Vec::new(), &wanted));
                (wanted, root.transpose()?.into_iter().collect())
            }
        };
        let mut objects = Vec::new();
        while objects.len() < BATCH {
            let Some(folder) = folders.last_mut() else {
                return Ok((objects, Some(Self::End)));
            };
            let Some(entry) = folder.entries.pop() else {
                folders.pop();
                continue;
            };
            if entry.is_folder {
                if let Some(inner) = folder.enter(&entry, &wanted)? {
                    folders.push(inner);
                }
            } else if let Some(object) = folder.look_at(&entry)? {
                objects.push(object);
            }
        }
        Ok((objects, Some(Self::Inside(wanted, folders))))
    }
}

impl Folder {
    fn read(handle: OwnedFd, prefix: Vec<u8>, wanted: &Wanted) -> io::Result<Self> {
        let mut entries = Vec::new();
        for entry in Dir::read_from(&handle)? {
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let kind = match entry.file_type() {
                // Some file systems do not tell.
                FileType::Unknown => match stat(&handle, name)? {
                    Some(stat) => FileType::from_raw_mode(stat.st_mode),
                    None => continue,
                },
                kind => kind,
            };
            let is_folder = match kind {
                FileType::Directory => true,
                FileType::RegularFile => false,
                _ => continue,
            };
            let mut sorted_by = name.to_bytes().to_vec();
            if is_folder {
                sorted_by.push(b'/');
            }
            let key = [prefix.as_slice(), &sorted_by].concat();
            let listed = if is_folder {
                wanted.folder(&key) && !is_working_folder(&key)
            } else {
                wanted.object(&key)
            };
            if listed {
                entries.push(Entry { sorted_by, name: name.to_owned(), is_folder });
            }
        }
        entries.sort_unstable_by(|a, b| b.sorted_by.cmp(&a.sorted_by));
        Ok(Self { handle, prefix, entries })
    }

    /// `None` when the folder has gone.
    fn enter(&self, entry: &Entry, wanted: &Wanted) -> io::Result<Option<Self>> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat(&self.handle, &entry.name, flags, Mode::empty()) {
            Ok(handle) => {
                let prefix = [self.prefix.as_slice(), &entry.sorted_by].concat();
                Self::read(handle, prefix, wanted).map(Some)
            }
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// `None` when the file has gone.
    fn look_at(&self, entry: &Entry) -> io::Result<Option<ListedObject>> {
        let Some(stat) = stat(&self.handle, &entry.name)?.filter(is_object) else {
            return Ok(None);
        };
        let Some(info) = object_info(&stat) else {
            return Ok(None);
        };
        let key = [self.prefix.as_slice(), entry.name.to_bytes()].concat();
        let key = String::from_utf8_lossy(&key).into_owned();
        Ok(Some(ListedObject { key, size: info.size, etag: info.etag, modified: info.modified }))
    }
}

fn stat(folder: &OwnedFd, name: &CStr) -> io::Result<Option<rustix::fs::Stat>> {
    match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// `.ultrasimple/tmp/` and the like.
fn is_working_folder(folder: &[u8]) -> bool {
    let Some(name) = folder.strip_prefix(RESERVED.as_bytes()) else {
        return false;
    };
    let name = name.strip_prefix(b"/").and_then(|name| name.strip_suffix(b"/"));
    name.is_some_and(|name| str::from_utf8(name).is_ok_and(is_workshop))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_that_cannot_hold_wanted_keys_are_not_entered() {
        let wanted = |prefix: &str, start_after: Option<&str>| Wanted {
            prefix: prefix.into(),
            start_after: start_after.map(Into::into),
        };
        let all = wanted("", None);
        assert!(all.folder(b"a/") && all.object(b"a"));
        let some = wanted("a/b", None);
        assert!(some.folder(b"a/") && some.folder(b"a/b/") && some.folder(b"a/bc/"));
        assert!(!some.folder(b"a/c/") && !some.folder(b"b/") && !some.object(b"a/c"));
        let later = wanted("", Some("m/k"));
        assert!(later.folder(b"m/") && later.folder(b"n/") && later.folder(b"m/k/"));
        assert!(!later.folder(b"l/") && !later.folder(b"m-a/") && !later.folder(b"m/j/"));
        assert!(!later.object(b"m/k") && later.object(b"m/k-"));
    }

    #[test]
    fn working_folders_are_hidden_and_nothing_else() {
        assert!(
            is_working_folder(b".ultrasimple/tmp/") && is_working_folder(b".ultrasimple/locks/")
        );
        for shown in [".ultrasimple/", ".ultrasimple/v1/", ".ultrasimple/tmp2/", "tmp/", "x/tmp/"] {
            assert!(!is_working_folder(shown.as_bytes()), "{shown}");
        }
    }
}
