//! A folder of a test's own, and the programs as they are run in it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use ultrasimple_core::{Clock, SystemClock};
use ultrasimple_testkit::bank::{Bank, BankOptions};

use crate::bucket::Bucket;
use crate::run::{clean, eventually, program};

/// A folder of a test's own: `data` for databases, `tmp` for the daemon's scratch, the rest as wanted.
#[derive(Debug)]
pub struct Yard {
    folder: TempDir,
    root: PathBuf,
}

impl Default for Yard {
    fn default() -> Self {
        Self::new()
    }
}

impl Yard {
    /// An empty one, removed on drop.
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("ultrasimple-test-").tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        for name in ["data", "tmp"] {
            std::fs::create_dir(root.join(name)).unwrap();
        }
        Self { folder, root }
    }

    /// A path in it.
    pub fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.root.join(relative)
    }

    /// A directory in it as a bucket.
    pub fn bucket(&self) -> Bucket {
        Bucket::directory(&self.path("bucket"))
    }

    /// The daemon, with this bucket and these words. It runs in this folder.
    pub fn daemon<W: AsRef<OsStr>>(&self, bucket: &Bucket, words: &[W]) -> Command {
        let mut command = self.tool("ultrasimple", words);
        command.args(bucket.words()).env("TMPDIR", self.path("tmp"));
        command
    }

    /// `ultrasimple-ctl`, with this bucket and these words. It runs in this folder.
    pub fn ctl<W: AsRef<OsStr>>(&self, bucket: &Bucket, words: &[W]) -> Command {
        let mut command = self.tool("ultrasimple-ctl", words);
        command.args(bucket.words());
        command
    }

    fn tool<W: AsRef<OsStr>>(&self, name: &str, words: &[W]) -> Command {
        let mut command = clean(program(name));
        command.current_dir(&self.root).args(words);
        command
    }

    /// Founds a bank (or goes on with it), makes so many commits and closes it. Gives its path.
    pub fn bank(&self, relative: impl AsRef<Path>, options: &BankOptions, commits: u32) -> PathBuf {
        let path = self.path(relative);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut bank = Bank::open(&path, options).unwrap();
        for _ in 0..commits {
            bank.commit().unwrap();
        }
        path
    }

    /// Keeps the folder and tells where it is: for whoever looks into a failure.
    pub fn keep(self) -> PathBuf {
        self.folder.keep()
    }
}

/// Waits, if the full hour is less than a minute away: for tests of what happens within one hour.
pub fn keep_clear_of_the_hour() {
    eventually("the hour has turned", || {
        let left = 3_600 - SystemClock.now().as_second().rem_euclid(3_600);
        (left > 60).then_some(())
    });
}
