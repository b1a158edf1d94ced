//! Our own small checks of the files in the repository.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::process::output;
use crate::workspace::Workspace;

/// A production file longer than this many lines is two files.
pub(crate) const LONG: usize = 450;

/// Lines that name a path which exists on one machine only, as `file:line: text`.
pub(crate) fn machine_paths(workspace: &Workspace) -> Result<Vec<String>> {
    // Written in pieces, so that this file passes its own check.
    let mut prefixes: Vec<String> =
        ["root", "work"].iter().map(|directory| format!("/{directory}/")).collect();
    for place in [std::env::var("HOME").ok(), workspace.root.to_str().map(str::to_owned)] {
        prefixes.extend(place.filter(|path| path.len() > 1).map(|path| format!("{path}/")));
    }
    let mut found = Vec::new();
    for file in files(workspace)? {
        // What is not text holds no path that a person wrote.
        let Ok(text) = fs::read_to_string(workspace.root.join(&file)) else {
            continue;
        };
        for (number, line) in text.lines().enumerate() {
            if prefixes.iter().any(|prefix| names_path(line, prefix)) {
                found.push(format!("{}:{}: {}", file.display(), number + 1, line.trim()));
            }
        }
    }
    Ok(found)
}

/// Production files of more than [`LONG`] lines, as `file: lines`.
pub(crate) fn long_files(workspace: &Workspace) -> Result<Vec<String>> {
    let mut long = Vec::new();
    for file in files(workspace)?.into_iter().filter(|file| is_production(file)) {
        let text = fs::read_to_string(workspace.root.join(&file))
            .with_context(|| format!("read {}", file.display()))?;
        let lines = text.lines().count();
        if lines > LONG {
            long.push(format!("{}: {lines}", file.display()));
        }
    }
    Ok(long)
}

/// The files of the repository below a folder of it.
pub(crate) fn files_below(workspace: &Workspace, folder: &str) -> Result<Vec<PathBuf>> {
    Ok(files(workspace)?.into_iter().filter(|file| file.starts_with(folder)).collect())
}

/// The files of the repository: tracked, or new and not ignored.
fn files(workspace: &Workspace) -> Result<Vec<PathBuf>> {
    let mut git = Command::new("git");
    git.current_dir(&workspace.root);
    git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let names = output(&mut git).context("list the files of the repository")?;
    let files = names.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from);
    // A file that was removed and not yet committed is still listed.
    Ok(files.filter(|file| workspace.root.join(file).is_file()).collect())
}

/// Whether `line` has an absolute path that starts with `prefix`, not one that contains it.
fn names_path(line: &str, prefix: &str) -> bool {
    line.match_indices(prefix).any(|(at, _)| {
        let before = line.get(..at).and_then(|text| text.chars().next_back());
        !before.is_some_and(|c| c.is_alphanumeric() || "_-.*?}])~".contains(c))
    })
}

fn is_production(file: &Path) -> bool {
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let in_tests = file.components().any(|part| part.as_os_str() == "tests");
    let is_rust = file.extension().is_some_and(|extension| extension == "rs");
    is_rust && !name.ends_with("tests.rs") && !in_tests
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_absolute_paths_are_of_one_machine() {
        for line in ["/srv/x/y", "open(\"/srv/x/y\")", "file:///srv/x/", "see `/srv/x/`"] {
            assert!(names_path(line, "/srv/x/"), "{line}");
        }
        for line in ["a/srv/x/y", "/data/*/srv/x/y", "../srv/x/y", "/srv/xyz"] {
            assert!(!names_path(line, "/srv/x/"), "{line}");
        }
    }

    #[test]
    fn tests_may_be_long() {
        assert!(is_production(Path::new("crates/core/src/key.rs")));
        assert!(!is_production(Path::new("crates/core/src/key_tests.rs")));
        assert!(!is_production(Path::new("tests/tests/restore.rs")));
        assert!(!is_production(Path::new("README.md")));
    }
}
