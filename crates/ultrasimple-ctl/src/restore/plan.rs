//! Where each database goes: a plain value, made without I/O.
//!
//! Footers are read from the bucket, and whoever can write there can write anything into them. So the
//! plan trusts no path: what it lets through are relative paths that stay below the directory, of which
//! no two are the same and none is a directory of another.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use ultrasimple_core::{KeyStem, SourcePath, VolumeName};

/// The longest name of a file on the usual file systems.
const NAME_MAX: usize = 255;

/// A database to place.
#[derive(Debug, Clone)]
pub(crate) struct Source<'a> {
    pub(crate) stem: &'a KeyStem,
    pub(crate) volume: &'a VolumeName,
    pub(crate) path: &'a SourcePath,
}

/// Where the databases go, below the directory asked for.
#[derive(Debug, PartialEq, Eq, Default)]
pub(crate) struct Plan {
    /// `DIR/<volume>/<path>` instead of `DIR/<path>`.
    pub(crate) by_volume: bool,
    /// The relative path of each, or why it has none.
    pub(crate) places: BTreeMap<KeyStem, Result<PathBuf, String>>,
}

/// Makes the plan. Databases of several volumes are always kept apart.
pub(crate) fn plan(sources: &[Source<'_>], by_volume: bool) -> Plan {
    let volumes: BTreeSet<_> = sources.iter().map(|source| source.volume).collect();
    let by_volume = by_volume || volumes.len() > 1;
    let mut places = BTreeMap::new();
    let mut claims: BTreeMap<PathBuf, Vec<&KeyStem>> = BTreeMap::new();
    for source in sources {
        let place = relative(source.path).map(|path| {
            if by_volume { Path::new(source.volume.as_str()).join(path) } else { path }
        });
        if let Ok(path) = &place {
            claims.entry(path.clone()).or_default().push(source.stem);
        }
        places.insert(source.stem.clone(), place.map_err(|why| unsafe_path(source.path, why)));
    }
    refuse_conflicts(&mut places, &claims);
    Plan { by_volume, places }
}

fn unsafe_path(path: &SourcePath, why: &str) -> String {
    format!("its source path {path} {why}: restore it alone, with -o")
}

/// The path below the directory: the source path without its leading slash.
fn relative(path: &SourcePath) -> Result<PathBuf, &'static str> {
    let bytes = path.as_bytes().strip_prefix(b"/").ok_or("is not absolute")?;
    let mut relative = PathBuf::new();
    for component in bytes.split(|&byte| byte == b'/') {
        match component {
            b"" => return Err("has an empty part"),
            b"." | b".." => return Err("has a part '.' or '..'"),
            long if long.len() > NAME_MAX => return Err("has a part of more than 255 bytes"),
            part if part.contains(&0) => return Err("has a zero byte"),
            part => relative.push(OsStr::from_bytes(part)),
        }
    }
    // Beside the database they are named after, SQLite would take them for its own.
    let is_side_file = [&b"-wal"[..], b"-shm", b"-journal"].iter().any(|end| bytes.ends_with(end));
    if is_side_file { Err("is named like a side file of SQLite's") } else { Ok(relative) }
}

/// Two with one place, or one where another needs a directory: none of them is restored, since nobody
/// can say which is meant.
fn refuse_conflicts(
    places: &mut BTreeMap<KeyStem, Result<PathBuf, String>>,
    claims: &BTreeMap<PathBuf, Vec<&KeyStem>>,
) {
    let mut refuse = |stem: &KeyStem, other: &KeyStem| {
        let text = format!(
            "{other} has the same source path, or one above or below it: choose one with --match, or \
             restore it alone, with -o"
        );
        places.insert(stem.clone(), Err(text));
    };
    for (path, stems) in claims {
        if let [first, second, ..] = stems.as_slice() {
            refuse(first, second);
            stems.iter().skip(1).for_each(|stem| refuse(stem, first));
        }
        for above in path.ancestors().skip(1) {
            let Some(owners) = claims.get(above) else {
                continue;
            };
            for (owner, stem) in
                owners.iter().flat_map(|owner| stems.iter().map(move |s| (owner, s)))
            {
                refuse(owner, stem);
                refuse(stem, owner);
            }
        }
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
