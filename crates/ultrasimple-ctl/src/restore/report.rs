//! What came of each database, for people and as JSON (docs/CTL.md).

use std::path::Path;

use serde::Serialize;
use ultrasimple_core::{KeyStem, SourcePath, Timestamp, VolumeName};

use crate::select::{NoPick, PassedOver, Pick};
use crate::show;

/// What came of one database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Result {
    /// It is there, and was not before.
    Restored,
    /// It was there already, and is right.
    Skipped,
    /// It has no backup that is early enough.
    NothingEarlyEnough,
    /// It is not there, for a reason.
    Failed,
}

/// A database in the report.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Line {
    pub(crate) stem: KeyStem,
    pub(crate) result: Result,
    /// The backup that was restored, or was to be.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub(crate) backup: Option<Backup>,
    /// Where it is now. Percent-encoded like a source path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) target: Option<SourcePath>,
    /// Newer backups that were not good.
    pub(crate) passed_over: Vec<PassedOver>,
    /// Why it failed, or why there is nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
}

/// The backup that a line is about.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Backup {
    pub(crate) key: String,
    pub(crate) path: SourcePath,
    pub(crate) volume: VolumeName,
    pub(crate) captured_at: Timestamp,
    pub(crate) image_bytes: u64,
}

impl Backup {
    pub(crate) fn of(stem: &KeyStem, pick: &Pick) -> Self {
        let facts = &pick.facts;
        Self {
            key: stem.at(pick.hour).to_string(),
            path: facts.path.clone(),
            volume: facts.volume.clone(),
            captured_at: facts.captured_at,
            image_bytes: facts.size,
        }
    }
}

impl Line {
    /// A database that is where it should be.
    pub(crate) fn done(
        stem: KeyStem,
        result: Result,
        pick: &Pick,
        target: &Path,
        passed_over: &[PassedOver],
    ) -> Self {
        let backup = Some(Backup::of(&stem, pick));
        let (target, passed_over) = (Some(SourcePath::new(target)), passed_over.to_vec());
        Self { stem, result, backup, target, passed_over, reason: None }
    }

    /// A database that is not.
    pub(crate) fn not_done(
        stem: KeyStem,
        backup: Option<Backup>,
        error: &NoPick,
        at: Option<Timestamp>,
        passed_over: &[PassedOver],
    ) -> Self {
        let result = match error {
            NoPick::NothingEarlyEnough(_) => Result::NothingEarlyEnough,
            NoPick::Bad(_) | NoPick::Store(_) => Result::Failed,
        };
        let reason = Some(explain(error, at));
        Self { stem, result, backup, target: None, passed_over: passed_over.to_vec(), reason }
    }

    /// A database that failed.
    pub(crate) fn failed(stem: KeyStem, backup: Option<Backup>, reason: String) -> Self {
        Self::not_done(stem, backup, &NoPick::Bad(reason), None, &[])
    }
}

/// Why there is nothing to restore, and what to do.
pub(crate) fn explain(error: &NoPick, at: Option<Timestamp>) -> String {
    match (error, at) {
        (NoPick::Bad(reason), _) => reason.clone(),
        (NoPick::Store(reason), _) => format!("the store could not be read: {reason}: try again"),
        (NoPick::NothingEarlyEnough(Some(oldest)), Some(at)) => {
            format!(
                "nothing was captured at or before {at}; the oldest backup there is was captured \
                     at {oldest}: give that as --at, or a later time"
            )
        }
        (NoPick::NothingEarlyEnough(_), _) => "it has no backup".to_owned(),
    }
}

/// The numbers of a run over many databases.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Counts {
    pub(crate) restored: usize,
    pub(crate) skipped: usize,
    pub(crate) nothing_early_enough: usize,
    pub(crate) failed: usize,
    pub(crate) restored_bytes: u64,
}

impl Counts {
    pub(crate) fn of(lines: &[Line]) -> Self {
        let mut counts = Self::default();
        for line in lines {
            counts.add(line);
        }
        counts
    }

    pub(crate) fn add(&mut self, line: &Line) {
        match line.result {
            Result::Restored => {
                self.restored += 1;
                let bytes = line.backup.as_ref().map_or(0, |backup| backup.image_bytes);
                self.restored_bytes = self.restored_bytes.saturating_add(bytes);
            }
            Result::Skipped => self.skipped += 1,
            Result::NothingEarlyEnough => self.nothing_early_enough += 1,
            Result::Failed => self.failed += 1,
        }
    }

    /// One line for people.
    pub(crate) fn summary(&self) -> String {
        let (databases, bytes) =
            (show::count(self.restored, "database"), show::bytes(self.restored_bytes));
        let mut text = format!("restored {databases} ({bytes})");
        for (number, what) in [
            (self.skipped, "were already there and right"),
            (self.nothing_early_enough, "have no backup that is early enough"),
            (self.failed, "FAILED"),
        ] {
            if number > 0 {
                text = format!("{text}, {number} {what}");
            }
        }
        text
    }
}
