//! A wall clock that a test turns while a program runs: a library of 20 lines for `LD_PRELOAD`.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use ultrasimple_core::{Clock as _, SystemClock, Timestamp};

const SOURCE: &str = include_str!("turned_clock.c");

/// A clock; programs started with it see its time.
#[derive(Debug)]
pub struct TurnedClock {
    library: PathBuf,
    path: PathBuf,
    file: File,
}

impl TurnedClock {
    /// Makes one in this folder, with the C compiler that SQLite is compiled with. It tells the right time.
    ///
    /// # Errors
    /// When it cannot be compiled.
    pub fn new(folder: &Path) -> anyhow::Result<Self> {
        let [source, library, path] =
            ["turned_clock.c", "turned_clock.so", "turned_clock"].map(|name| folder.join(name));
        std::fs::write(&source, SOURCE)?;
        let mut cc = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
        cc.args(["-shared", "-fPIC", "-O1", "-o"]).args([&library, &source]);
        let ran = cc.output().with_context(|| format!("run {cc:?}"))?;
        ensure!(ran.status.success(), "{cc:?}: {}", String::from_utf8_lossy(&ran.stderr));
        let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        let clock = Self { library, path, file };
        clock.turn(0)?;
        Ok(clock)
    }

    /// Sets it (RFC 3339). It goes on from there.
    ///
    /// # Errors
    /// When that is no time, or the file cannot be written.
    pub fn set(&self, time: &str) -> anyhow::Result<()> {
        let time: Timestamp = time.parse()?;
        self.turn(time.as_second() - SystemClock.now().as_second())
    }

    /// Turns it by so many seconds from the right time.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn turn(&self, seconds: i64) -> anyhow::Result<()> {
        Ok(self.file.write_all_at(&seconds.to_ne_bytes(), 0)?)
    }

    /// Lets this command see it.
    pub fn command(&self, mut command: Command) -> Command {
        command.env("LD_PRELOAD", &self.library).env("TURNED_CLOCK", &self.path);
        command
    }
}
