//! A wall clock that a test turns while a program runs: a library of 20 lines for `LD_PRELOAD`.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::process::Command;

use ultrasimple_core::{Clock as _, SystemClock, Timestamp};

use crate::run::run;
use crate::yard::Yard;

const SOURCE: &str = include_str!("turned_clock.c");

/// A clock; programs started with it see its time.
#[derive(Debug)]
pub struct TurnedClock {
    library: PathBuf,
    path: PathBuf,
    file: File,
}

impl TurnedClock {
    /// Makes one in this folder, with the C compiler that SQLite is compiled with.
    ///
    /// # Panics
    /// When it cannot be compiled.
    pub fn new(yard: &Yard, time: &str) -> Self {
        let [source, library, path] =
            ["turned_clock.c", "turned_clock.so", "turned_clock"].map(|name| yard.path(name));
        std::fs::write(&source, SOURCE).unwrap();
        let mut cc = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
        cc.args(["-shared", "-fPIC", "-O1", "-o"]).args([&library, &source]);
        let ran = run(cc);
        assert_eq!(ran.status, Some(0), "{ran}");
        let file = OpenOptions::new().write(true).create_new(true).open(&path).unwrap();
        let clock = Self { library, path, file };
        clock.set(time);
        clock
    }

    /// Sets it (RFC 3339). It goes on from there.
    pub fn set(&self, time: &str) {
        let time: Timestamp = time.parse().unwrap();
        let seconds = time.as_second() - SystemClock.now().as_second();
        self.file.write_all_at(&seconds.to_ne_bytes(), 0).unwrap();
    }

    /// Lets this command see it.
    pub fn command(&self, mut command: Command) -> Command {
        command.env("LD_PRELOAD", &self.library).env("TURNED_CLOCK", &self.path);
        command
    }
}
