//! What came of each backup, for people and as JSON (docs/CTL.md).

use serde::{Serialize, Serializer};
use ultrasimple_core::{BackupKey, Footer, SourcePath, Timestamp, VolumeName};

use crate::show::{self, Column};
use crate::{Outcome, complain};

/// How a backup is; the worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Came {
    Ok,
    Warning,
    /// It could not be looked at, which says nothing about it.
    Error,
    Failure,
}

/// A backup in the report.
#[derive(Debug, Serialize)]
pub(super) struct Line {
    #[serde(serialize_with = "as_text")]
    pub(super) key: BackupKey,
    pub(super) result: Came,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    footer: Option<Said>,
}

/// What the footer says.
#[derive(Debug, Serialize)]
struct Said {
    path: SourcePath,
    volume: VolumeName,
    captured_at: Timestamp,
    image_bytes: u64,
}

fn as_text<S: Serializer>(key: &BackupKey, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(key)
}

impl Line {
    pub(super) fn new(
        key: BackupKey,
        result: Came,
        reason: Option<String>,
        footer: Option<&Footer>,
    ) -> Self {
        let footer = footer.map(|footer| Said {
            path: footer.path.clone(),
            volume: footer.volume.clone(),
            captured_at: footer.captured_at,
            image_bytes: footer.size,
        });
        Self { key, result, reason, footer }
    }
}

/// What was asked for.
#[derive(Debug, Serialize)]
pub(super) struct Head<'a> {
    pub(super) location: &'a str,
    pub(super) all_hours: bool,
    pub(super) sample_percent: Option<f64>,
    pub(super) seed: Option<u64>,
}

/// The JSON document; see docs/CTL.md.
#[derive(Debug, Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    head: &'a Head<'a>,
    #[serde(flatten)]
    report: &'a Report,
}

/// What came of all.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    checked: u64,
    ok: u64,
    warnings: u64,
    failures: u64,
    errors: u64,
    image_bytes: u64,
    /// Results that are in the catalogs now.
    pub(super) recorded: usize,
    backups: Vec<Line>,
    #[serde(skip)]
    missing: Vec<Line>,
}

impl Report {
    pub(super) fn add(&mut self, line: Line, is_missing: bool) {
        if is_missing {
            self.missing.push(line);
            return;
        }
        self.checked += 1;
        match line.result {
            Came::Ok => self.ok += 1,
            Came::Warning => self.warnings += 1,
            Came::Failure => self.failures += 1,
            Came::Error => self.errors += 1,
        }
        let bytes = line.footer.as_ref().map_or(0, |footer| footer.image_bytes);
        self.image_bytes = self.image_bytes.saturating_add(bytes);
        self.backups.push(line);
    }

    pub(super) fn take_missing(&mut self) -> Vec<Line> {
        std::mem::take(&mut self.missing)
    }

    /// What stands beside the progress bar.
    pub(super) fn note(&self) -> String {
        let (bytes, failures) = (show::bytes(self.image_bytes), self.failures);
        format!("{bytes} read back, {failures} failures")
    }

    pub(super) fn outcome(&self) -> Outcome {
        match (self.failures, self.errors, self.warnings) {
            (0, 0, 0) => Outcome::AllWell,
            (0, 0, _) => Outcome::SomeWarned,
            (0, _, _) => Outcome::AllFailed,
            _ => Outcome::SomeFailed,
        }
    }

    pub(super) fn print(
        &mut self,
        head: &Head<'_>,
        verbose: bool,
        json: bool,
    ) -> anyhow::Result<()> {
        self.backups.sort_by(|a, b| b.result.cmp(&a.result).then_with(|| a.key.cmp(&b.key)));
        if json {
            show::print_json(&Document { head, report: self })?;
            return Ok(());
        }
        if self.checked == 0 {
            complain(&format!("there is nothing to verify in {}", head.location));
        }
        show::print(&self.text(head, verbose))?;
        Ok(())
    }

    fn text(&self, head: &Head<'_>, verbose: bool) -> String {
        let columns = [Column::text("RESULT"), Column::long("BACKUP"), Column::long("REASON")];
        let rows: Vec<_> = self
            .backups
            .iter()
            .filter(|line| verbose || line.result != Came::Ok)
            .map(|line| {
                let result = match line.result {
                    Came::Ok => "OK",
                    Came::Warning => "WARNING",
                    Came::Failure => "FAILURE",
                    Came::Error => "NOT READ",
                };
                let reason = line.reason.clone().unwrap_or_default();
                vec![result.to_owned(), line.key.to_string(), reason]
            })
            .collect();
        let table = if rows.is_empty() {
            String::new()
        } else {
            show::table(&columns, &rows, show::terminal_width())
        };
        let count = usize::try_from(self.checked).unwrap_or(usize::MAX);
        let mut text = format!(
            "{table}verified {} ({}): {} OK",
            show::count(count, "backup"),
            show::bytes(self.image_bytes),
            self.ok
        );
        for (number, what) in [
            (self.warnings, "WARNING"),
            (self.failures, "FAILURE"),
            (self.errors, "could not be looked at"),
        ] {
            if number > 0 {
                text = format!("{text}, {number} {what}");
            }
        }
        if let (Some(percent), Some(seed)) = (head.sample_percent, head.seed) {
            text = format!("{text}\na sample of {percent}%: --seed {seed} takes the same again");
        }
        text + "\n"
    }
}
