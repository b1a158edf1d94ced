//! Writing what a walk found into the table, unless it looks like a lost mount.

use std::collections::HashSet;

use ultrasimple_core::pattern::PatternSet;
use ultrasimple_core::{FingerprintDigest, SourcePath};

use super::table::{DatabaseId, DirectoryId, Entry, NewEntries, NewEntry, Table};
use super::walk::{Findings, NewDirectory};
use super::{Problem, Scan};
use crate::heap;

/// A loss that is rather a lost mount than a deletion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Loss {
    pub(super) databases: usize,
    known: usize,
    /// The root of a pattern that is missing, if one is.
    root: Option<SourcePath>,
}

impl Loss {
    pub(super) fn problem(self) -> Problem {
        let Self { databases, known, root } = self;
        let path = root.unwrap_or_else(|| SourcePath::from_bytes(b"/"));
        let reason = format!(
            "{databases} of {known} databases are gone at once, which looks like a lost mount: they \
             are taken as still there; look at the file system"
        );
        Problem { path, reason }
    }
}

/// Tells whether so much is gone that it is not believed: half of the databases (two at least), or
/// everything below the root of a pattern.
pub(super) fn suspicious_loss(
    findings: &Findings,
    table: &Table,
    patterns: &PatternSet,
) -> Option<Loss> {
    let mut databases = 0;
    let mut root = None;
    for &missing in &findings.missing {
        let count = table.count_below(missing);
        databases += count;
        if count > 0 && is_above_a_root(&table.directory_path(missing), patterns) {
            root = Some(SourcePath::from_bytes(&table.directory_path(missing)));
        }
    }
    for relisted in &findings.relisted {
        databases += relisted.gone.iter().map(|&id| table.count_below(id)).sum::<usize>();
        if let Some((_, entries)) = &relisted.listing {
            let before = table.directory(relisted.id).map_or(0, |d| d.entries().len());
            let stay = entries.iter().filter(|entry| entry.id.is_some()).count();
            databases += before.saturating_sub(stay);
        }
    }
    let known = table.len();
    let is_suspicious = root.is_some() || (databases >= 2 && databases * 2 >= known);
    (databases > 0 && is_suspicious).then_some(Loss { databases, known, root })
}

/// Whether a directory (with a trailing slash) is a pattern's literal prefix, or above it.
fn is_above_a_root(directory: &[u8], patterns: &PatternSet) -> bool {
    patterns.includes().iter().any(|pattern| {
        let prefix = [pattern.literal_prefix().as_bytes(), b"/"].concat();
        prefix.starts_with(directory)
    })
}

/// Takes over everything but the loss: what is missing is taken as still there, and every directory is
/// listed again by the next scan.
pub(super) fn without_losses(findings: Findings, table: &mut Table, scan: &mut Scan) {
    let Findings { digests, relisted, problems, missing: _ } = findings;
    take_digests(digests, table, scan);
    scan.problems.extend(problems);
    let mut appeared = Vec::new();
    for relisted in relisted {
        if let Some((_, entries)) = relisted.listing {
            let entries = with_missing(relisted.id, entries, table);
            set_entries(relisted.id, entries, table, scan, &mut appeared);
        }
        add_directories(relisted.id, relisted.appeared, table, scan, &mut appeared);
    }
    table.find_collisions(&appeared);
    scan.appeared = appeared.len();
}

/// The entries of a listing, and those known before that are not among them.
fn with_missing(id: DirectoryId, mut entries: NewEntries, table: &Table) -> NewEntries {
    let listed: HashSet<_> = entries.iter().filter_map(|entry| entry.id).collect();
    let Some(directory) = table.directory(id) else { return entries };
    let missing = directory.entries().iter().filter(|entry| !listed.contains(&entry.id));
    for entry in missing {
        let Entry { id, digest, naming, .. } = *entry;
        let id = Some(id);
        let missing = NewEntry { digest, id, changed: false, naming, linked: None };
        entries.push(directory.name_of(entry), entry.beside(), missing);
    }
    entries.sort();
    entries
}

fn take_digests(digests: Vec<(DatabaseId, FingerprintDigest)>, table: &mut Table, scan: &mut Scan) {
    for (id, digest) in digests {
        table.set_digest(id, digest);
        scan.changed.push((id, digest));
    }
}

/// Takes over everything.
pub(super) fn all(findings: Findings, table: &mut Table, scan: &mut Scan) {
    let Findings { digests, relisted, problems, missing: mut removed } = findings;
    take_digests(digests, table, scan);
    scan.problems.extend(problems);
    let mut listings = Vec::new();
    let mut additions = Vec::new();
    for relisted in relisted {
        removed.extend(relisted.gone);
        listings.extend(relisted.listing.map(|listing| (relisted.id, listing)));
        additions.push((relisted.id, relisted.appeared));
    }
    scan.listed = listings.len();
    scan.gone.extend(table.remove_directories(&removed));
    // In one piece each: a first scan finds all that there are.
    let known = listings.iter().map(|(_, (_, entries))| entries);
    let new = additions.iter().map(|(_, directories)| databases_in(directories)).sum::<usize>()
        + known.flat_map(NewEntries::iter).filter(|entry| entry.id.is_none()).count();
    let mut appeared = Vec::with_capacity(new);
    scan.changed.reserve_exact(new);
    // Of two links to one file, the first path wins: in every run the same.
    additions.sort_by_cached_key(|&(id, _)| table.directory_path(id));
    listings.sort_by_cached_key(|&(id, _)| table.directory_path(id));
    for (id, (listed, entries)) in listings {
        let passed_over = set_entries(id, entries, table, scan, &mut appeared);
        table.set_listed(id, listed.unless(passed_over));
    }
    for (parent, directories) in additions {
        add_directories(parent, directories, table, scan, &mut appeared);
    }
    // What the walk has left behind and what comes now need not be there at once.
    if new as u64 >= heap::WORTHWHILE {
        heap::release();
    }
    if !appeared.is_empty() || !scan.gone.is_empty() {
        table.find_collisions(&appeared);
    }
    scan.appeared = appeared.len();
}

/// How many databases are in directories that no scan saw before, and in all below them.
fn databases_in(directories: &[NewDirectory]) -> usize {
    let of_one = |new: &NewDirectory| new.entries.iter().count() + databases_in(&new.children);
    directories.iter().map(of_one).sum()
}

fn add_directories(
    parent: DirectoryId,
    directories: Vec<NewDirectory>,
    table: &mut Table,
    scan: &mut Scan,
    appeared: &mut Vec<DatabaseId>,
) {
    for new in directories {
        let id = table.add_directory(Some(parent), &new.name, new.via_link, new.reach);
        let passed_over = set_entries(id, new.entries, table, scan, appeared);
        if let Some(listed) = new.listed {
            table.set_listed(id, listed.unless(passed_over));
        }
        add_directories(id, new.children, table, scan, appeared);
    }
}

/// Returns whether one was passed over.
fn set_entries(
    id: DirectoryId,
    entries: NewEntries,
    table: &mut Table,
    scan: &mut Scan,
    appeared: &mut Vec<DatabaseId>,
) -> bool {
    let news: Vec<_> = entries
        .iter()
        .filter(|entry| entry.changed)
        .filter_map(|entry| Some((entry.id?, entry.digest)))
        .collect();
    scan.changed.extend(news);
    let placed = table.set_entries(id, entries);
    scan.changed.extend(placed.appeared.iter().copied());
    appeared.extend(placed.appeared.into_iter().map(|(id, _)| id));
    scan.gone.extend(placed.gone);
    placed.passed_over
}

/// The patterns that match none of the known databases. Costs nothing when there is one pattern, which
/// is the rule.
pub(super) fn patterns_without_match(table: &Table, patterns: &PatternSet) -> Vec<String> {
    let includes = patterns.includes();
    if includes.len() <= 1 {
        let empty = includes.iter().filter(|_| table.len() == 0);
        return empty.map(|pattern| pattern.as_str().to_owned()).collect();
    }
    let mut unmatched: Vec<_> = includes.iter().collect();
    for path in table.ids().filter_map(|id| table.path(id)) {
        if unmatched.is_empty() {
            break;
        }
        unmatched.retain(|pattern| pattern.captures(path.as_bytes()).is_none());
    }
    unmatched.into_iter().map(|pattern| pattern.as_str().to_owned()).collect()
}
