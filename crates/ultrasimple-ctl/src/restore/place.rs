//! The directory that databases are restored into: what is there already, and the way to each place.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use ultrasimple_core::ContentHash;

use crate::select::Facts;

/// Creates `dir` where it is missing, and resolves links on the way to it: the operator named it.
///
/// # Errors
/// As a text for people.
pub(crate) fn root(dir: &Path) -> Result<PathBuf, String> {
    let failed = |error: io::Error| format!("cannot use --to {}: {error}", dir.display());
    fs::create_dir_all(dir).map_err(failed)?;
    dir.canonicalize().map_err(failed)
}

/// Creates the directories on the way from `root` to `root/relative`, and gives that path. Links below
/// `root` are not followed: they could lead anywhere.
///
/// # Errors
/// As a text for people.
pub(crate) fn prepare(root: &Path, relative: &Path) -> Result<PathBuf, String> {
    let target = root.join(relative);
    let mut directory = root.to_path_buf();
    for part in relative.parent().into_iter().flat_map(Path::components) {
        directory.push(part);
        match DirBuilder::new().create(&directory) {
            Ok(()) => continue,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(format!("cannot create {}: {error}", directory.display())),
        }
        let found = fs::symlink_metadata(&directory);
        let found = found.map_err(|e| format!("cannot look at {}: {e}", directory.display()))?;
        if found.is_symlink() {
            let path = directory.display();
            return Err(format!("{path} is a symbolic link, which is not followed: remove it"));
        }
        if !found.is_dir() {
            let path = directory.display();
            return Err(format!("{path} is not a directory: move it away, or choose another --to"));
        }
    }
    Ok(target)
}

/// Whether `target` already is what the backup holds, with nothing beside it that SQLite would apply.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn is_right(target: &Path, facts: &Facts) -> io::Result<bool> {
    let found = match fs::symlink_metadata(target) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    if !found.is_file() || found.len() != facts.size {
        return Ok(false);
    }
    for suffix in ["-wal", "-shm", "-journal"] {
        let mut beside = target.as_os_str().to_owned();
        beside.push(suffix);
        if fs::symlink_metadata(Path::new(&beside)).is_ok() {
            return Ok(false);
        }
    }
    Ok(hash(target)? == facts.blake3)
}

fn hash(path: &Path) -> io::Result<ContentHash> {
    let mut file = File::open(path)?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 256 * 1_024];
    loop {
        let count = match file.read(&mut buffer) {
            Ok(0) => return Ok(ContentHash(*hasher.finalize().as_bytes())),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hasher.update(buffer.get(..count).unwrap_or_default());
    }
}
