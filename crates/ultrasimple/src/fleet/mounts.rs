//! What this node says of the volumes that it mounts, so that two which do not share a storage, although they call it
//! by the same name, find that out: half of the databases of each would not be backed up.
//!
//! Local file systems are told apart by the kernel that has mounted them, the device, and the volume's directory.
//! What lies on a network file system may be the same on all hosts, and has nothing that tells it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, bail};
use ultrasimple_cluster::records::MountRecord;
use ultrasimple_core::pattern::{Pattern, PatternSet};
use ultrasimple_core::{Volume, VolumeName, Volumes};
use ultrasimple_sqlite::{FilesystemKind, filesystem_kind};

/// A random name of the kernel that runs, the same in all its containers. Not that of the host, which images of
/// virtual machines take with them.
const KERNEL: &str = "/proc/sys/kernel/random/boot_id";
/// Digits of a hash that are kept: enough that two different ones differ.
const DIGITS: usize = 16;

/// What this node mounts. It blocks.
///
/// # Errors
/// When the directory of a volume is not there, or cannot be looked at.
pub(super) fn of(
    volumes: &Volumes,
    patterns: &PatternSet,
) -> anyhow::Result<BTreeMap<VolumeName, MountRecord>> {
    let kernel = fs::read_to_string(KERNEL).with_context(|| format!("cannot read {KERNEL}"))?;
    let mount = |volume: &Volume| {
        let failed = || format!("-volume {volume}: cannot look at its directory");
        let filesystem = match &volume.root {
            Some(root) => of_directory(volume, root.as_path())?,
            None => of_patterns(patterns).with_context(failed)?,
        };
        let filesystem = filesystem.map(|it| digest(&format!("{}\n{it}", kernel.trim())));
        let record = MountRecord { filesystem, patterns: of_words(volume, patterns) };
        Ok((volume.name.clone(), record))
    };
    volumes.iter().map(mount).collect()
}

/// A volume with a directory of its own: that one must be the same. `None` on a network file system.
fn of_directory(volume: &Volume, root: &Path) -> anyhow::Result<Option<String>> {
    let metadata = match fs::metadata(root) {
        Ok(metadata) if metadata.is_dir() => metadata,
        Ok(_) => bail!("-volume {volume}: this is not a directory"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            bail!("-volume {volume}: there is no such directory: mount or create it first")
        }
        Err(error) => {
            return Err(error)
                .with_context(|| format!("-volume {volume}: cannot look at its directory"));
        }
    };
    if filesystem_kind(root)? == FilesystemKind::Network {
        return Ok(None);
    }
    Ok(Some(format!("{} {}", metadata.dev(), metadata.ino())))
}

/// A volume for all the rest: the devices on which its patterns begin. Directories may come later, devices seldom do.
fn of_patterns(patterns: &PatternSet) -> io::Result<Option<String>> {
    let mut devices = BTreeSet::new();
    for pattern in patterns.includes() {
        let prefix = pattern.literal_prefix();
        let prefix = Path::new(if prefix.is_empty() { "/" } else { &prefix });
        let there = prefix.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
        if filesystem_kind(there)? == FilesystemKind::Local {
            devices.insert(fs::metadata(there)?.dev());
        }
    }
    let devices: Vec<_> = devices.iter().map(ToString::to_string).collect();
    Ok(Some(devices.join(" ")).filter(|devices| !devices.is_empty()))
}

/// Which files are databases there.
fn of_words(volume: &Volume, patterns: &PatternSet) -> String {
    let words = |patterns: &[Pattern]| {
        let words: BTreeSet<_> = patterns.iter().map(Pattern::as_str).collect();
        words.into_iter().collect::<Vec<_>>().join("\n")
    };
    let root = volume.root.as_ref().map_or_else(String::new, ToString::to_string);
    let (includes, excludes) = (words(patterns.includes()), words(patterns.excludes()));
    digest(&format!("{root}\n\n{includes}\n\n{excludes}"))
}

fn digest(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex().chars().take(DIGITS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(words: &[&str]) -> PatternSet {
        let parse = |word: &&str| Pattern::parse(word).unwrap();
        PatternSet::new(words.iter().map(parse).collect(), Vec::new())
    }

    fn volumes(words: &[String]) -> Volumes {
        Volumes::new(words.iter().map(|word| word.parse().unwrap()).collect(), 4).unwrap()
    }

    #[test]
    fn a_directory_is_told_from_another_and_known_again() {
        let tree = tempfile::tempdir().unwrap();
        let (a, b) = (tree.path().join("a"), tree.path().join("b"));
        fs::create_dir(&a).unwrap();
        fs::create_dir(&b).unwrap();
        let record = |path: &Path| {
            let volumes = volumes(&[format!("v={}", path.display())]);
            let all = of(&volumes, &patterns(&["/**/*.db"])).unwrap();
            all.into_values().next().unwrap()
        };
        assert_eq!(record(&a), record(&a));
        assert_ne!(record(&a).filesystem, record(&b).filesystem);
        assert_ne!(record(&a).patterns, record(&b).patterns, "databases are known by their paths");
        std::os::unix::fs::symlink(&a, tree.path().join("link")).unwrap();
        assert_eq!(record(&tree.path().join("link")).filesystem, record(&a).filesystem);
        assert_eq!(record(&a).filesystem.unwrap().len(), DIGITS);
    }

    #[test]
    fn a_directory_that_is_not_there_is_refused_by_name() {
        let tree = tempfile::tempdir().unwrap();
        let word = format!("v={}/none", tree.path().display());
        let error =
            of(&volumes(std::slice::from_ref(&word)), &patterns(&["/**/*.db"])).unwrap_err();
        assert!(format!("{error:#}").contains(&format!("-volume {word}: there is no such")));
        fs::write(tree.path().join("none"), "").unwrap();
        let error = of(&volumes(&[word]), &patterns(&["/**/*.db"])).unwrap_err();
        assert!(format!("{error:#}").contains("not a directory"), "{error:#}");
    }

    #[test]
    fn what_comes_later_does_not_change_the_volume_for_the_rest() {
        let tree = tempfile::tempdir().unwrap();
        let word = format!("{}/later/*/x.db", tree.path().display());
        let record = || {
            let all = of(&volumes(&["v".to_owned()]), &patterns(&[&word])).unwrap();
            all.into_values().next().unwrap()
        };
        let before = record();
        fs::create_dir_all(tree.path().join("later/y")).unwrap();
        assert_eq!(record(), before);
        let order = |words| of_words(&"v".parse().unwrap(), &patterns(words));
        assert_eq!(order(&["/a/*", "/b/*"]), order(&["/b/*", "/a/*"]));
        assert_ne!(order(&["/a/*", "/b/*"]), order(&["/a/*"]));
    }
}
