//! The figures as files, and the page that shows them: `docs/performance/*.json` → `docs/PERFORMANCE.md`.
//!
//! The page is a pure function of the figures, the charts and the remarks that people wrote beside them
//! (`docs/performance/<bench>.md`), so a test tells when it is out of date.

mod chart;
mod page;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::figures::Figures;

/// What one run of a bench found, and where.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) bench: String,
    /// What was asked for: `rest --databases 100000`.
    pub(crate) order: String,
    pub(crate) source: String,
    /// What compiled it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) built_by: Option<String>,
    pub(crate) machine: Value,
    #[serde(flatten)]
    pub(crate) figures: Figures,
}

impl Record {
    /// Keeps it below `docs`. Gives its place.
    pub(crate) fn write(&self, docs: &Path) -> Result<PathBuf> {
        let folder = docs.join(FOLDER);
        std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        let path = folder.join(format!("{}.json", self.bench));
        put(&path, &format!("{}\n", serde_json::to_string_pretty(self)?))?;
        Ok(path)
    }

    /// The one that is kept below `docs`, if there is one.
    pub(crate) fn read(docs: &Path, bench: &str) -> Result<Option<Self>> {
        let path = docs.join(FOLDER).join(format!("{bench}.json"));
        if !path.exists() {
            return Ok(None);
        }
        let record = serde_json::from_str(&get(&path)?);
        record.with_context(|| format!("{} is not what a bench wrote", path.display())).map(Some)
    }
}

const FOLDER: &str = "performance";
const PAGE: &str = "PERFORMANCE.md";

/// Writes the page and its charts. Gives its place.
pub(crate) fn write(docs: &Path) -> Result<PathBuf> {
    let files = render(docs)?;
    for (name, text) in &files {
        put(&docs.join(name), text)?;
    }
    Ok(docs.join(PAGE))
}

/// All files that are made of the figures, by their path below `docs`.
fn render(docs: &Path) -> Result<BTreeMap<PathBuf, String>> {
    let folder = docs.join(FOLDER);
    let mut sections = Vec::new();
    for about in page::BENCHES {
        let Some(record) = Record::read(docs, about.bench)? else { continue };
        let remarks = folder.join(format!("{}.md", about.bench));
        let remarks = if remarks.exists() { get(&remarks)? } else { String::new() };
        sections.push(page::Section { about, record, remarks });
    }
    let mut files = BTreeMap::new();
    for section in &sections {
        for (number, shown) in section.record.figures.charts.iter().enumerate() {
            let name = section.chart(number);
            files.insert(Path::new(FOLDER).join(name), chart::svg(shown));
        }
    }
    files.insert(PAGE.into(), page::text(&sections));
    Ok(files)
}

fn get(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}

fn put(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_says_what_the_figures_say() {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
        for (name, text) in render(&docs).unwrap() {
            let is = get(&docs.join(&name)).unwrap_or_default();
            assert!(
                is == text,
                "docs/{} is out of date: run `cargo xtask bench report`",
                name.display()
            );
        }
    }
}
