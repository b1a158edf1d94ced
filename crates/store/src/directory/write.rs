//! Writing and deleting objects of a directory store.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use rustix::fs::{
    AtFlags, FileType, RenameFlags, Stat, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, fstat,
    fsync, futimens, linkat, renameat, renameat_with, unlinkat,
};
use rustix::io::Errno;
use tokio::sync::mpsc;
use ultrasimple_core::{ObjectKey, Timestamp};

use super::errors::{failed, perhaps};
use super::tree::{Place, Temporary, Tree, check_key, is_object, object_info};
use super::{MIN_RATE, STEP, blocking};
use crate::{Body, Chunk, Condition, StoreError, Stored};

/// How long the producer of a streamed body may take for the next chunk.
const CHUNK_WAIT: Duration = Duration::from_mins(5);
/// How often a folder may be pruned away under a write before it gives up.
const TRIES: usize = 20;
/// Steps to a time that the file system tells from the one before: it may keep nanoseconds, microseconds
/// (some network file systems), seconds or two seconds (FAT).
const LATER: [Duration; 4] = [
    Duration::from_nanos(1),
    Duration::from_micros(1),
    Duration::from_secs(1),
    Duration::from_secs(2),
];

/// Stores `body` under `key`.
pub(super) async fn put(
    tree: &Arc<Tree>,
    key: &ObjectKey,
    body: Body,
    condition: Condition,
) -> Result<Stored, StoreError> {
    check_key(key)?;
    // Dropped with this future: whoever does not wait for the result does not get one.
    let waited_for = WaitedFor(Arc::new(AtomicBool::new(true)));
    let (temporary, bytes) = match body {
        Body::Bytes(bytes) => {
            let (tree, path, length) = (Arc::clone(tree), tree.path_of(key), bytes.len() as u64);
            let write = move || {
                let mut temporary = temporary(&tree)?;
                write_all(&mut temporary, &bytes, &path)?;
                Ok(temporary)
            };
            (blocking("write", length, write).await?, length)
        }
        Body::Chunks(chunks) => write_chunks(tree, key, chunks).await?,
    };
    let tree = Arc::clone(tree);
    let (key, still) = (key.clone(), Arc::clone(&waited_for.0));
    let commit = move || commit(&tree, &key, temporary, &condition, &still);
    // Syncing may have to write out all bytes.
    let limit = STEP + Duration::from_secs(bytes / MIN_RATE);
    match tokio::time::timeout(limit, tokio::task::spawn_blocking(commit)).await {
        Ok(Ok(result)) => result,
        Ok(Err(error)) => Err(StoreError::UnknownOutcome(error.to_string())),
        Err(_) => Err(StoreError::UnknownOutcome(format!(
            "the file system did not store an object within {limit:?}"
        ))),
    }
}

/// Says no more once it has been dropped.
struct WaitedFor(Arc<AtomicBool>);

impl Drop for WaitedFor {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

fn temporary(tree: &Arc<Tree>) -> Result<Temporary, StoreError> {
    tree.temporary().map_err(|error| failed("create a file in", tree.path(), &error))
}

fn write_all(temporary: &mut Temporary, bytes: &[u8], path: &Path) -> Result<(), StoreError> {
    temporary.file.write_all(bytes).map_err(|error| failed("write", path, &error))
}

async fn write_chunks(
    tree: &Arc<Tree>,
    key: &ObjectKey,
    mut chunks: mpsc::Receiver<Chunk>,
) -> Result<(Temporary, u64), StoreError> {
    let path = Arc::new(tree.path_of(key));
    let mut total = 0;
    // Made with the first bytes, so that a producer that fails at once leaves nothing to remove.
    let mut written: Option<Temporary> = None;
    loop {
        let bytes: Bytes = match tokio::time::timeout(CHUNK_WAIT, chunks.recv()).await {
            Ok(Some(Chunk::Data(bytes))) => bytes,
            Ok(Some(Chunk::End)) => break,
            Ok(None) => {
                return Err(StoreError::BodyFailed("its producer ended early".to_owned()));
            }
            Err(_) => {
                return Err(StoreError::BodyFailed(format!(
                    "its producer sent nothing for {CHUNK_WAIT:?}"
                )));
            }
        };
        total += bytes.len() as u64;
        let (tree, path) = (Arc::clone(tree), Arc::clone(&path));
        let write = move || {
            let mut file = match written {
                Some(file) => file,
                None => temporary(&tree)?,
            };
            write_all(&mut file, &bytes, &path)?;
            Ok(file)
        };
        written = Some(blocking("write", 0, write).await?);
    }
    let file = if let Some(file) = written {
        file
    } else {
        let tree = Arc::clone(tree);
        blocking("write", 0, move || temporary(&tree)).await?
    };
    Ok((file, total))
}

/// Makes a written file the object of a key, if the condition holds.
fn commit(
    tree: &Tree,
    key: &ObjectKey,
    mut temporary: Temporary,
    condition: &Condition,
    waited_for: &AtomicBool,
) -> Result<Stored, StoreError> {
    let path = tree.path_of(key);
    let before = |error: io::Error| failed("store", &path, &error);
    stamp(&temporary, tree.now(), None).map_err(before)?;
    temporary.file.sync_all().map_err(before)?;

    let lock = tree.lock(key).map_err(before)?;
    let mut renamed = Err(StoreError::Unavailable(format!(
        "store {}: its folder is removed again and again",
        path.display()
    )));
    for _ in 0..TRIES {
        let place = match tree.make_place(key) {
            Ok(place) => place,
            // Somebody prunes the folders of a deleted object.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(before(error)),
        };
        let current = place.stat().map_err(before)?;
        check(condition, current.as_ref(), &path)?;
        if let Some(current) = &current {
            ensure_later(&temporary, current).map_err(before)?;
        }
        if !waited_for.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable("the write was given up".to_owned()));
        }
        match rename(&mut temporary, &place, condition) {
            Ok(()) => {
                renamed = Ok(place);
                break;
            }
            Err(Errno::NOENT) => {}
            Err(Errno::EXIST) => return Err(StoreError::ConditionFailed),
            Err(error) => return Err(before(error.into())),
        }
    }
    let place = renamed?;
    // What it is called now; nobody changes the file itself any more.
    drop(lock);
    let after = |error: io::Error| perhaps("store", &path, &error);
    fsync(&place.folder).map_err(|error| after(error.into()))?;
    let stat = fstat(&temporary.file).map_err(|error| after(error.into()))?;
    let info = object_info(&stat)
        .ok_or_else(|| after(io::Error::other("its modification time is out of range")))?;
    Ok(Stored { etag: info.etag, size: info.size })
}

fn check(condition: &Condition, current: Option<&Stat>, path: &Path) -> Result<(), StoreError> {
    if let Some(other) = current.filter(|stat| !is_object(stat)) {
        let errno = match FileType::from_raw_mode(other.st_mode) {
            FileType::Symlink => Errno::LOOP,
            _ => Errno::ISDIR,
        };
        return Err(failed("store", path, &errno.into()));
    }
    let holds = match condition {
        Condition::Always => true,
        Condition::Absent => current.is_none(),
        Condition::Matches(etag) => {
            current.and_then(object_info).is_some_and(|info| info.etag == *etag)
        }
    };
    if holds { Ok(()) } else { Err(StoreError::ConditionFailed) }
}

fn rename(
    temporary: &mut Temporary,
    place: &Place<'_>,
    condition: &Condition,
) -> Result<(), Errno> {
    let from = temporary.folder().map_err(|_| Errno::NOENT)?;
    let (name, folder) = (&temporary.name, &place.folder);
    if *condition != Condition::Absent {
        renameat(from, name, folder, place.name)?;
        temporary.keep();
        return Ok(());
    }
    // Also keeps out whoever does not know of the lock.
    match renameat_with(from, name, folder, place.name, RenameFlags::NOREPLACE) {
        Ok(()) => temporary.keep(),
        // Some network file systems do not have it; a link never replaces either. The first name is then
        // removed with the temporary file.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            linkat(from, name, folder, place.name, AtFlags::empty())?;
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Gives the file its modification time, at least `step` after that of `after`.
fn stamp(
    temporary: &Temporary,
    now: Timestamp,
    after: Option<(Timestamp, Duration)>,
) -> io::Result<()> {
    let later = after.and_then(|(time, step)| time.checked_add(step).ok());
    let time = later.map_or(now, |later| later.max(now));
    let modified = Timespec { tv_sec: time.as_second(), tv_nsec: time.subsec_nanosecond().into() };
    let unchanged = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    let times = Timestamps { last_access: unchanged, last_modification: modified };
    Ok(futimens(&temporary.file, &times)?)
}

/// Makes the time of the new file later than that of the one it replaces, as the file system tells it.
fn ensure_later(temporary: &Temporary, current: &Stat) -> io::Result<()> {
    let time = |stat: &Stat| (stat.st_mtime, stat.st_mtime_nsec);
    let mut own = fstat(&temporary.file)?;
    if time(&own) > time(current) {
        return Ok(());
    }
    let Some(info) = object_info(current) else {
        return Ok(());
    };
    for step in LATER {
        stamp(temporary, info.modified, Some((info.modified, step)))?;
        own = fstat(&temporary.file)?;
        if time(&own) > time(current) {
            return temporary.file.sync_all();
        }
    }
    Err(io::Error::other("the file system does not keep modification times"))
}

/// What time it is by the clock of the file system, which need not be this host's.
pub(super) fn time(tree: &Arc<Tree>) -> Result<Timestamp, StoreError> {
    let temporary = temporary(tree)?;
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    let stat = futimens(&temporary.file, &Timestamps { last_access: now, last_modification: now })
        .and_then(|()| fstat(&temporary.file))
        .map_err(|error| failed("ask for the time in", tree.path(), &error.into()))?;
    object_info(&stat).map(|info| info.modified).ok_or_else(|| {
        let path = tree.path().display();
        StoreError::Untrustworthy(format!("the file system of {path} tells a time out of range"))
    })
}

/// Deletes objects, and the folders that are empty then.
pub(super) async fn delete(
    tree: &Arc<Tree>,
    keys: Vec<ObjectKey>,
) -> Result<Vec<(ObjectKey, StoreError)>, StoreError> {
    if keys.len() > 1_000 {
        let number = keys.len();
        return Err(StoreError::Invalid(format!("{number} keys to delete at once: at most 1,000")));
    }
    let tree = Arc::clone(tree);
    let work = move || Ok(delete_now(&tree, keys));
    // A deletion that was not waited for is repeated; that it was done does no harm.
    blocking("delete", 0, work).await
}

fn delete_now(tree: &Tree, keys: Vec<ObjectKey>) -> Vec<(ObjectKey, StoreError)> {
    let mut refused = Vec::new();
    let mut deleted = Vec::new();
    for key in keys {
        match delete_one(tree, &key) {
            Ok(true) => deleted.push(key),
            Ok(false) => {}
            Err(error) => refused.push((key, error)),
        }
    }
    // After all of them: the first sync writes the file system's journal for the others, too.
    for key in deleted {
        let synced = tree.place(&key).and_then(|place| match place {
            Some(place) => Ok(fsync(&place.folder)?),
            None => Ok(()),
        });
        tree.prune(&key);
        if let Err(error) = synced {
            let error = perhaps("delete", &tree.path_of(&key), &error);
            refused.push((key, error));
        }
    }
    refused
}

/// Whether there was something to delete.
fn delete_one(tree: &Tree, key: &ObjectKey) -> Result<bool, StoreError> {
    check_key(key)?;
    let path = tree.path_of(key);
    let delete = || -> io::Result<bool> {
        let Some(place) = tree.place(key)? else {
            return Ok(false);
        };
        if !place.stat()?.is_some_and(|stat| is_object(&stat)) {
            return Ok(false);
        }
        let _lock = tree.lock(key)?;
        match unlinkat(&place.folder, place.name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    };
    delete().map_err(|error| failed("delete", &path, &error))
}
