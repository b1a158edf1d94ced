//! Small and read-only file systems, where this process may make them.

use std::path::{Path, PathBuf};
use std::process::Command;

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
        match run(&mut remount) {
            Ok(()) => Some(mount),
            Err(why) => {
                eprintln!("SKIPPED: no read-only mount can be had here: {why}");
                None
            }
        }
    }

    fn try_mount(words: &[&str], on: &Path) -> Option<Self> {
        if !is_root() {
            eprintln!("SKIPPED: only root may mount");
            return None;
        }
        let mut mount = Command::new("mount");
        mount.args(words).arg(on);
        let made = std::fs::create_dir_all(on).map_err(|error| error.to_string());
        match made.and_then(|()| run(&mut mount)) {
            Ok(()) => Some(Self(on.to_owned())),
            Err(why) => {
                eprintln!("SKIPPED: {words:?} cannot be mounted here: {why}");
                None
            }
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let mut umount = Command::new("umount");
        umount.arg("-l").arg(&self.0);
        // That a mount is left is no reason for a test to fail.
        let _ = run(&mut umount);
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let ran = command.output().map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&ran.stderr);
    if ran.status.success() { Ok(()) } else { Err(format!("{}: {}", ran.status, said.trim())) }
}
