//! Small and read-only file systems, where this process may make them.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::run;

/// Whether this process is root's, and so free of permissions.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A mount, undone on drop.
#[derive(Debug)]
pub struct Mount(PathBuf);

impl Mount {
    /// A file system of so many bytes in memory. `None`, and a line that says so, where that cannot be had.
    pub fn tmpfs(on: &Path, bytes: u64) -> Option<Self> {
        let size = format!("size={bytes},mode=700");
        Self::try_mount(&["-t", "tmpfs", "-o", &size, "tmpfs"], on)
    }

    /// `folder` once more, read-only. `None`, and a line that says so, where that cannot be had.
    pub fn read_only(folder: &Path, on: &Path) -> Option<Self> {
        let mount = Self::try_mount(&["--bind", folder.to_str()?], on)?;
        let mut remount = Command::new("mount");
        remount.args(["-o", "remount,ro,bind"]).arg(on);
        let ran = run(remount);
        if ran.status == Some(0) {
            return Some(mount);
        }
        eprintln!("SKIPPED: no read-only mount can be had here: {ran}");
        None
    }

    fn try_mount(words: &[&str], on: &Path) -> Option<Self> {
        std::fs::create_dir_all(on).unwrap();
        if !is_root() {
            eprintln!("SKIPPED: only root may mount");
            return None;
        }
        let mut mount = Command::new("mount");
        mount.args(words).arg(on);
        let ran = run(mount);
        if ran.status == Some(0) {
            return Some(Self(on.to_owned()));
        }
        eprintln!("SKIPPED: {words:?} cannot be mounted here: {ran}");
        None
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let mut umount = Command::new("umount");
        umount.arg("-l").arg(&self.0);
        let _ = run(umount);
    }
}
