//! From what the file system says to what the caller is to do.

use std::io;
use std::path::Path;

use rustix::io::Errno;

use crate::StoreError;

/// What an error means that certainly left everything as it was.
pub(super) fn failed(action: &str, path: &Path, error: &io::Error) -> StoreError {
    let said = format!("{action} {}: {error}", path.display());
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    match errno {
        Some(Errno::NOSPC) => StoreError::Unavailable(format!(
            "{said}; the disk of the backups is full: make room, or shorten -retention-days"
        )),
        Some(Errno::DQUOT) => StoreError::Unavailable(format!(
            "{said}; the disk quota is used up: raise it or make room"
        )),
        Some(Errno::MFILE | Errno::NFILE) => {
            StoreError::Unavailable(format!("{said}; raise the limit of open files (ulimit -n)"))
        }
        Some(Errno::ACCESS | Errno::PERM) => {
            StoreError::Denied(format!("{said}; give this user read and write access"))
        }
        Some(Errno::ROFS) => {
            StoreError::Denied(format!("{said}; the file system is mounted read-only: remount it"))
        }
        Some(Errno::NAMETOOLONG) => StoreError::Invalid(format!(
            "{said}; a component of a key may have at most 255 bytes in a directory store"
        )),
        Some(Errno::NOTDIR | Errno::ISDIR | Errno::LOOP) => StoreError::Invalid(format!(
            "{said}; in a directory store a name is a file or a folder, not both, and symbolic links \
             are not followed"
        )),
        Some(Errno::FBIG) => {
            StoreError::Invalid(format!("{said}; the file system cannot hold a file so large"))
        }
        _ => StoreError::Unavailable(said),
    }
}

/// An error after the point of no return: the object may be there.
pub(super) fn perhaps(action: &str, path: &Path, error: &io::Error) -> StoreError {
    StoreError::UnknownOutcome(format!("{action} {}: {error}", path.display()))
}

/// The store's directory cannot be opened.
pub(super) fn missing_root(path: &Path, error: &io::Error) -> StoreError {
    let path = path.display();
    match error.kind() {
        io::ErrorKind::NotFound => {
            StoreError::Denied(format!("{path} does not exist: create it, or correct -bucket"))
        }
        io::ErrorKind::NotADirectory => {
            StoreError::Denied(format!("{path} is not a directory: correct -bucket"))
        }
        _ => StoreError::Denied(format!("open {path}: {error}; give this user access to it")),
    }
}

/// A read that brought less than the file had when it was opened: objects are never shortened in place.
pub(super) fn broken_read(path: &Path, error: &io::Error) -> StoreError {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        let path = path.display();
        return StoreError::Untrustworthy(format!("{path} became shorter while it was read"));
    }
    failed("read", path, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_by_what_the_caller_is_to_do_and_with_the_path() {
        for (errno, kind, advice) in [
            (Errno::NOSPC, "Unavailable", "make room"),
            (Errno::DQUOT, "Unavailable", "quota"),
            (Errno::IO, "Unavailable", "/srv/b/key"),
            (Errno::MFILE, "Unavailable", "ulimit"),
            (Errno::ACCESS, "Denied", "access"),
            (Errno::ROFS, "Denied", "read-only"),
            (Errno::NAMETOOLONG, "Invalid", "255"),
            (Errno::ISDIR, "Invalid", "not both"),
            (Errno::LOOP, "Invalid", "symbolic links"),
            (Errno::FBIG, "Invalid", "so large"),
        ] {
            let error = failed("write", Path::new("/srv/b/key"), &io::Error::from(errno));
            assert!(format!("{error:?}").starts_with(kind), "{errno}: {error:?}");
            let text = error.to_string();
            assert!(text.contains(advice) && text.contains("/srv/b/key"), "{text}");
        }
    }
}
