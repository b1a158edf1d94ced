//! The scratch directory, before anything is put into it: it must be there, ours, and writable.
//!
//! What is in it, and the sweeping of what a crash left there, is the capture's.

use std::fs::{self, DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use anyhow::{Context, bail};

const OTHERS_MAY_WRITE: u32 = 0o022;
const STICKY: u32 = 0o1000;

/// Creates the directory where it is missing and tries it out.
///
/// # Errors
/// When copies of databases could not be written there, or others could get at them.
pub(crate) fn prepare(scratch: &Path) -> anyhow::Result<()> {
    let shown = scratch.display();
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(scratch)
        .with_context(|| format!("-scratch {shown}: cannot create this directory"))?;
    let metadata = fs::metadata(scratch)
        .with_context(|| format!("-scratch {shown}: cannot look at this directory"))?;
    let user = rustix::process::geteuid().as_raw();
    if metadata.uid() != user && metadata.uid() != 0 {
        let owner = metadata.uid();
        bail!(
            "-scratch {shown}: it belongs to another user ({owner}), who could change copies of \
             databases in it: choose another directory"
        );
    }
    if metadata.mode() & OTHERS_MAY_WRITE != 0 && metadata.mode() & STICKY == 0 {
        bail!(
            "-scratch {shown}: other users may write in it and could change copies of databases: \
             choose another directory, or take their right away (chmod go-w)"
        );
    }
    let trial = scratch.join(format!(".trial-{}", std::process::id()));
    let opened =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&trial);
    opened
        .and_then(|_| fs::remove_file(&trial))
        .with_context(|| format!("-scratch {shown}: cannot write there"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn it_is_created_private_and_left_empty() {
        let parent = tempfile::tempdir().unwrap();
        let scratch = parent.path().join("a/b");
        prepare(&scratch).unwrap();
        prepare(&scratch).unwrap();
        assert_eq!(fs::metadata(&scratch).unwrap().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(&scratch).unwrap().count(), 0);
    }

    #[test]
    fn what_cannot_serve_is_refused_by_name() {
        let parent = tempfile::tempdir().unwrap();
        let file = parent.path().join("file");
        fs::write(&file, "").unwrap();
        let shared = parent.path().join("shared");
        fs::create_dir(&shared).unwrap();
        fs::set_permissions(&shared, Permissions::from_mode(0o777)).unwrap();
        for (path, said) in [(&file, "cannot create"), (&shared, "other users may write")] {
            let error = format!("{:#}", prepare(path).unwrap_err());
            assert!(error.contains(&format!("-scratch {}", path.display())), "{error}");
            assert!(error.contains(said), "{error}");
        }
        fs::set_permissions(&shared, Permissions::from_mode(0o1777)).unwrap();
        prepare(&shared).unwrap();
    }
}
