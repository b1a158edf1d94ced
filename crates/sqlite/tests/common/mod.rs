//! What the tests of this crate share: a source directory apart from scratch, and one capturer.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its share")]

use std::path::{Path, PathBuf};

use tempfile::TempDir;
use ultrasimple_core::CheckResult;
use ultrasimple_sqlite::{Capture, CaptureError, CaptureOptions, Capturer, CheckLevel, Method};
use ultrasimple_testkit::bank::{self, BankOptions, WriterProcess};
use ultrasimple_testkit::tree::Snapshot;

pub const MEMORY: u64 = 64 << 20;

/// A source directory and a capturer.
pub struct Place {
    pub source: TempDir,
    pub scratch: TempDir,
    pub capturer: Capturer,
}

impl Place {
    pub fn new() -> Self {
        Self::with(|_| ())
    }

    pub fn with(change: impl FnOnce(&mut CaptureOptions)) -> Self {
        let (source, scratch) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let mut options = CaptureOptions::new(scratch.path());
        change(&mut options);
        let capturer = Capturer::new(options).unwrap();
        Self { source, scratch, capturer }
    }

    pub fn path(&self) -> PathBuf {
        self.source.path().join("bank.db")
    }

    pub fn writer(&self, options: &BankOptions) -> WriterProcess {
        WriterProcess::spawn(&self.path(), options).unwrap()
    }

    pub fn capture(&self) -> Result<Capture, CaptureError> {
        self.capturer.capture(&self.path(), MEMORY, CheckLevel::Full)
    }

    /// Captures as long as it is busy; a writer in between is not at the mercy of our timing.
    pub fn capture_patiently(&self, memory: u64) -> Capture {
        for _ in 0..1_000 {
            match self.capturer.capture(&self.path(), memory, CheckLevel::Quick) {
                Err(CaptureError::Busy { .. }) => {}
                other => return other.unwrap(),
            }
        }
        panic!("busy a thousand times");
    }

    /// Captures, and proves that nothing in the source directory moved (R1).
    pub fn capture_untraced(&self) -> Capture {
        let before = Snapshot::take(self.source.path()).unwrap();
        let capture = self.capture();
        before.assert_unchanged(self.source.path());
        capture.unwrap()
    }

    /// What is in scratch beside the capturer's own directory (which has nothing in it).
    pub fn scratch_files(&self) -> Vec<PathBuf> {
        files_below(self.scratch.path())
    }
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files_below(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found
}

pub fn bytes(capture: &Capture) -> Vec<u8> {
    let mut bytes = Vec::new();
    capture.image.write_to(&mut bytes).unwrap();
    assert_eq!(bytes.len() as u64, capture.image.len());
    bytes
}

/// The number of commits in the image, which must be a bank between two of them.
pub fn commits(capture: &Capture) -> i64 {
    assert_eq!(capture.check, CheckResult::Passed, "{:?}", capture.method);
    bank::verify_image(&bytes(capture)).unwrap_or_else(|e| panic!("R2: {e} ({:?})", capture.method))
}

pub fn assert_method(capture: &Capture, method: Method) {
    assert_eq!(capture.method, method);
}
