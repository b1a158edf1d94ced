//! Scans of real directories. File times are set far into the past where a test is not about raciness,
//! so that nothing depends on how fast the machine is.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use tempfile::TempDir;
use ultrasimple_core::pattern::Pattern;
use ultrasimple_core::{KeyStem, Volumes};

use super::*;

/// Later than all file times that [`Fleet::age`] sets, by far.
const NOW_NS: i64 = 4_000_000_000_000_000_000;

struct Fleet {
    folder: TempDir,
    root: PathBuf,
    scanner: VolumeScanner,
}

impl Fleet {
    fn new(patterns: &[&str]) -> Self {
        Self::with_excludes(patterns, &[])
    }

    fn with_excludes(patterns: &[&str], excludes: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let parse = |texts: &[&str]| -> Vec<Pattern> {
            let full = |text: &&str| format!("{}/{text}", root.display());
            texts.iter().map(|text| Pattern::parse(&full(text)).unwrap()).collect()
        };
        let patterns = PatternSet::new(parse(patterns), parse(excludes));
        let name_of = |path: &SourcePath| {
            // As the default template does within one directory: `.db` at the end does not count.
            let text = path.to_string();
            let stem = text.strip_suffix(".db").unwrap_or(&text);
            let stem = KeyStem::new(stem.trim_start_matches('/'), 1_024).ok();
            let hash = stem.map(|stem| ultrasimple_core::placement::key_hash(&stem));
            let volumes = Volumes::one("v".parse().unwrap(), 16);
            Naming { key: hash.map(NonZeroKey::new), place: volumes.place(path) }
        };
        let scanner = VolumeScanner::new(patterns, Box::new(name_of), 2);
        Self { folder, root, scanner }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn write(&self, name: &str, content: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
    }

    /// Puts a file's mtime at so many seconds after 1970.
    fn age(&self, name: &str, seconds: u64) {
        let file = fs::File::open(self.path(name)).unwrap();
        file.set_modified(UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
    }

    fn scan(&mut self) -> Scan {
        self.scanner.scan(NOW_NS, &Owned::All, &HashSet::new()).unwrap()
    }

    /// The names (relative to the root) of databases that are new or changed, sorted.
    fn changed(&mut self) -> Vec<String> {
        let scan = self.scan();
        assert_eq!(scan.problems, [], "unexpected problems");
        self.names(&scan)
    }

    fn names(&self, scan: &Scan) -> Vec<String> {
        let table = self.scanner.table();
        let table = table.read().unwrap();
        let root = format!("{}/", self.root.display());
        let name = |id| table.path(id).unwrap().to_string().strip_prefix(&root).unwrap().to_owned();
        let mut names: Vec<_> = scan.changed.iter().map(|&(id, _)| name(id)).collect();
        names.sort();
        names
    }
}

const NOTHING: [&str; 0] = [];

#[test]
fn databases_appear_change_and_vanish() {
    let mut fleet = Fleet::new(&["*/t*.db"]);
    for name in ["a/t1.db", "a/t2.db", "b/t3.db", "b/x.db", "b/t4.db-wal", "c/d/t5.db"] {
        fleet.write(name, "1");
    }
    assert_eq!(fleet.changed(), ["a/t1.db", "a/t2.db", "b/t3.db"]);
    assert_eq!(fleet.changed(), NOTHING);
    fleet.write("a/t2.db", "22");
    fleet.write("a/t9.db", "1");
    assert_eq!(fleet.changed(), ["a/t2.db", "a/t9.db"]);
    fs::remove_file(fleet.path("a/t1.db")).unwrap();
    let scan = fleet.scan();
    assert_eq!((scan.gone.len(), scan.databases, scan.changed.len()), (1, 3, 0));
    fleet.write("a/t1.db", "1");
    assert_eq!(fleet.changed(), ["a/t1.db"], "it is new again");
}

#[test]
fn every_part_of_the_fingerprint_counts() {
    let mut fleet = Fleet::new(&["*.db"]);
    fleet.write("t.db", "1234");
    fleet.write("t.db-wal", "wal");
    assert_eq!(fleet.changed(), ["t.db"]);
    // A commit after a WAL reset: neither size nor anything of the main file moves, and the mtime may
    // even go back.
    fleet.age("t.db-wal", 1_000);
    assert_eq!(fleet.changed(), ["t.db"], "WAL mtime");
    fleet.age("t.db-wal", 999);
    assert_eq!(fleet.changed(), ["t.db"], "WAL mtime, back");
    fleet.write("t.db-journal", "j");
    assert_eq!(fleet.changed(), ["t.db"], "journal appeared");
    fs::remove_file(fleet.path("t.db-journal")).unwrap();
    assert_eq!(fleet.changed(), ["t.db"], "journal vanished");
    fs::remove_file(fleet.path("t.db-wal")).unwrap();
    assert_eq!(fleet.changed(), ["t.db"], "WAL vanished");
    let before = fs::metadata(fleet.path("t.db")).unwrap().modified().unwrap();
    fleet.write("other", "abcd");
    fs::File::open(fleet.path("other")).unwrap().set_modified(before).unwrap();
    fs::rename(fleet.path("other"), fleet.path("t.db")).unwrap();
    assert_eq!(fleet.changed(), ["t.db"], "replaced by a rename, same size and mtime");
    fs::File::options().write(true).open(fleet.path("t.db")).unwrap().set_len(2).unwrap();
    assert_eq!(fleet.changed(), ["t.db"], "truncated");
    assert_eq!(fleet.changed(), NOTHING);
}

#[test]
fn a_change_whose_mtime_was_put_back_is_seen() {
    let mut fleet = Fleet::new(&["*.db"]);
    fleet.write("t.db", "1234");
    fleet.age("t.db", 1_000);
    fleet.changed();
    fleet.write("t.db", "5678");
    fleet.age("t.db", 1_000);
    assert_eq!(fleet.changed(), ["t.db"]);
}

/// A directory whose times have not moved is not listed again.
#[test]
fn an_unmoved_directory_is_not_listed_and_a_racy_one_is() {
    let mut fleet = Fleet::new(&["d/*.db"]);
    fleet.write("d/a.db", "1");
    fleet.scan();
    fleet.write("d/a.db", "22");
    let scan = fleet.scan();
    assert_eq!((scan.changed.len(), scan.listed), (1, 0));
    fleet.write("d/b.db", "1");
    let scan = fleet.scan();
    assert_eq!((scan.changed.len(), scan.listed), (1, 1));
    // New files, and the mtime put back, as `tar` and `rsync` do.
    let mtime = fs::metadata(fleet.path("d")).unwrap().modified().unwrap();
    fleet.write("d/c.db", "1");
    fs::File::open(fleet.path("d")).unwrap().set_modified(mtime).unwrap();
    assert_eq!(fleet.changed(), ["d/c.db"]);
    // Listed within a tick of its last change, or changed after the scan began: a further change might
    // not move its times.
    fleet.write("d/e.db", "1");
    let metadata = fs::metadata(fleet.path("d")).unwrap();
    let ctime_ns = metadata.ctime() * 1_000_000_000 + metadata.ctime_nsec();
    for now in [ctime_ns + 1_000_000, ctime_ns - 5_000_000_000] {
        assert_eq!(fleet.scanner.scan(now, &Owned::All, &HashSet::new()).unwrap().listed, 1);
    }
    assert_eq!((fleet.scan().listed, fleet.scan().listed), (1, 0));
}

#[test]
fn patterns_captures_and_excludes() {
    let mut fleet = Fleet::with_excludes(
        &["{{region}}/[ab]?/**/x*.db", "eu/a1/x1.db", "only/this.db"],
        &["*/a1/cache", "**/x9.db"],
    );
    for name in [
        "eu/a1/x1.db",
        "eu/a1/x/y/x2.db",
        "us/b2/x3.db",
        "us/c2/x3.db",
        "us/b2/y3.db",
        "eu/a1/cache/x4.db",
        "eu/a1/x9.db",
        "only/this.db",
        "only/that.db",
    ] {
        fleet.write(name, "1");
    }
    let expected = ["eu/a1/x/y/x2.db", "eu/a1/x1.db", "only/this.db", "us/b2/x3.db"];
    assert_eq!(fleet.changed(), expected);
    assert_eq!(fleet.changed(), NOTHING);
}

#[test]
fn links_are_resolved_and_no_file_is_taken_twice() {
    let mut fleet = Fleet::new(&["t/*.db", "l/*/x.db"]);
    fleet.write("t/real.db", "1");
    fleet.write("away/far.db", "1");
    fleet.write("away/dir/x.db", "1");
    symlink(fleet.path("t/real.db"), fleet.path("t/same.db")).unwrap();
    symlink(fleet.path("away/far.db"), fleet.path("t/far1.db")).unwrap();
    symlink(fleet.path("away/far.db"), fleet.path("t/far2.db")).unwrap();
    fs::create_dir(fleet.path("l")).unwrap();
    symlink(fleet.path("away/dir"), fleet.path("l/one")).unwrap();
    symlink(fleet.path("away/dir"), fleet.path("l/two")).unwrap();
    symlink(fleet.path("l"), fleet.path("l/loop")).unwrap();
    assert_eq!(fleet.changed(), ["l/one/x.db", "t/far1.db", "t/real.db"]);
    // The WAL is beside the target.
    fleet.write("away/far.db-wal", "w");
    assert_eq!(fleet.changed(), ["t/far1.db"]);
    fleet.write("away/far.db-wal", "ww");
    fleet.write("away/dir/x.db-wal", "w");
    assert_eq!(fleet.changed(), ["l/one/x.db", "t/far1.db"]);
    // When the first link goes, the second takes over.
    fs::remove_file(fleet.path("t/far1.db")).unwrap();
    assert_eq!(fleet.changed(), ["t/far2.db"]);
}

/// The numbers of files below a link are used again by the file system.
#[test]
fn a_replaced_file_below_a_link_leaves_nothing_behind() {
    let mut fleet = Fleet::new(&["l/*.db"]);
    fleet.write("away/a.db", "1");
    fleet.write("away/b.db", "1");
    symlink(fleet.path("away"), fleet.path("l")).unwrap();
    assert_eq!(fleet.changed(), ["l/a.db", "l/b.db"]);
    for _ in 0..20 {
        for name in ["away/a.db", "away/b.db"] {
            fs::remove_file(fleet.path(name)).unwrap();
        }
        fleet.write("away/b.db", "2");
        fleet.write("away/a.db", "2");
        fleet.scan();
        let scan = fleet.scan();
        assert_eq!(scan.databases, 2, "one was taken for the other");
    }
}

#[test]
fn a_directory_that_could_not_be_read_at_first_is_found_later() {
    let mut fleet = Fleet::new(&["*/sub/*.db", "v/*.db"]);
    fleet.write("a/sub/t.db", "1");
    // To be mounted later.
    symlink(fleet.path("far/off/mnt"), fleet.path("v")).unwrap();
    symlink(fleet.path("far/off/mnt2"), fleet.path("w")).unwrap();
    let scan = fleet.scan();
    assert_eq!(fleet.names(&scan), ["a/sub/t.db"]);
    assert!(scan.problems.iter().any(|p| p.path.to_string().ends_with("/w")), "{scan:?}");
    assert!(!fleet.scan().problems.is_empty(), "it is told as long as it lasts");
    fleet.write("far/off/mnt/t.db", "1");
    fleet.write("far/off/mnt2/sub/t.db", "1");
    assert_eq!(fleet.changed(), ["v/t.db", "w/sub/t.db"]);
}

#[test]
fn double_star_ends_in_spite_of_loops() {
    let mut fleet = Fleet::new(&["**/*.db"]);
    fleet.write("a/b/x.db", "1");
    symlink(&fleet.root, fleet.path("a/up")).unwrap();
    symlink(fleet.path("a"), fleet.path("a/b/round")).unwrap();
    symlink("self", fleet.path("a/self")).unwrap();
    assert_eq!(fleet.changed(), ["a/b/x.db"]);
}

#[test]
fn dangling_links_and_special_files_are_told() {
    let mut fleet = Fleet::new(&["*.db"]);
    symlink(fleet.path("nowhere"), fleet.path("dangling.db")).unwrap();
    symlink("loop.db", fleet.path("loop.db")).unwrap();
    fs::create_dir(fleet.path("directory.db")).unwrap();
    let pipe = fleet.path("pipe.db");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    let scan = fleet.scan();
    // Taken as databases: the capture says what is wrong with them.
    assert_eq!(fleet.names(&scan), ["dangling.db", "loop.db"]);
    assert_eq!(scan.problems.len(), 1);
    assert!(scan.problems[0].path.to_string().ends_with("pipe.db"), "{:?}", scan.problems);
    fleet.write("nowhere", "1");
    let scan = fleet.scan();
    assert_eq!(fleet.names(&scan), ["dangling.db"]);
}

#[test]
fn auxiliary_files_are_no_databases_unless_alone() {
    let mut fleet = Fleet::new(&["*"]);
    for name in ["a", "a-wal", "a-shm", "a-journal", "great-wal", "-wal"] {
        fleet.write(name, "1");
    }
    assert_eq!(fleet.changed(), ["-wal", "a", "great-wal"]);
}

#[test]
fn a_lost_mount_is_not_a_deletion() {
    let mut fleet = Fleet::new(&["data/*/*.db"]);
    for i in 0..10 {
        fleet.write(&format!("data/{i}/t.db"), "1");
    }
    assert_eq!(fleet.changed().len(), 10);
    // The root is gone.
    fs::rename(fleet.path("data"), fleet.path("away")).unwrap();
    let scan = fleet.scan();
    assert_eq!((scan.gone.len(), scan.databases, scan.problems.len()), (0, 10, 1));
    // An empty mount point is left.
    fs::create_dir(fleet.path("data")).unwrap();
    let scan = fleet.scan();
    assert_eq!((scan.gone.len(), scan.databases, scan.problems.len()), (0, 10, 1));
    // What appears and changes elsewhere is seen nonetheless.
    fleet.write("data/new/t.db", "1");
    let scan = fleet.scan();
    assert_eq!((fleet.names(&scan), scan.databases), (vec!["data/new/t.db".to_owned()], 11));
    fs::remove_dir_all(fleet.path("data/new")).unwrap();
    // It is back: nothing has changed.
    fs::remove_dir(fleet.path("data")).unwrap();
    fs::rename(fleet.path("away"), fleet.path("data")).unwrap();
    let scan = fleet.scan();
    assert_eq!((scan.changed.len(), scan.databases), (0, 10));
    // Less than half is believed at once.
    for i in 0..4 {
        fs::remove_file(fleet.path(&format!("data/{i}/t.db"))).unwrap();
    }
    assert_eq!(fleet.scan().gone.len(), 4);
    // More is believed when it lasts.
    for i in 4..9 {
        fs::remove_dir_all(fleet.path(&format!("data/{i}"))).unwrap();
    }
    for _ in 0..SCANS_TO_BELIEVE_A_LOSS {
        assert_eq!(fleet.scan().databases, 6);
    }
    let scan = fleet.scan();
    assert_eq!((scan.gone.len(), scan.databases), (5, 1));
}

#[test]
fn what_cannot_be_read_is_told_and_not_forgotten() {
    if rustix::process::geteuid().is_root() {
        // Root reads everything; a name too long for the kernel cannot be made either. A directory
        // replaced by a file is what is left to test here.
        let mut fleet = Fleet::new(&["*/t.db"]);
        for name in ["a/t.db", "b/t.db", "c/t.db"] {
            fleet.write(name, "1");
        }
        fleet.changed();
        fs::remove_dir_all(fleet.path("a")).unwrap();
        fleet.write("a", "now a file");
        assert_eq!(fleet.scan().gone.len(), 1);
        return;
    }
    let mut fleet = Fleet::new(&["*/t.db"]);
    for name in ["a/t.db", "b/t.db"] {
        fleet.write(name, "1");
    }
    fleet.changed();
    let closed = fleet.path("a");
    let permissions =
        |mode| fs::set_permissions(&closed, std::os::unix::fs::PermissionsExt::from_mode(mode));
    permissions(0o000).unwrap();
    let scan = fleet.scan();
    permissions(0o755).unwrap();
    assert_eq!((scan.databases, scan.gone.len()), (2, 0));
    assert!(!scan.problems.is_empty() || !scan.changed.is_empty());
}

#[test]
fn two_databases_with_one_key_know_of_each_other() {
    let mut fleet = Fleet::new(&["*"]);
    fleet.write("t", "1");
    fleet.write("u", "1");
    fleet.write("v", "1");
    fleet.changed();
    fleet.write("t.db", "1");
    let scan = fleet.scan();
    let table = fleet.scanner.table();
    let sharing = |id| {
        let table = table.read().unwrap();
        table.sharing_key(id).into_iter().map(|id| table.path(id).unwrap()).collect::<Vec<_>>()
    };
    let new = scan.changed[0].0;
    assert_eq!(sharing(new), [SourcePath::new(&fleet.path("t"))]);
    fs::remove_file(fleet.path("t")).unwrap();
    fleet.scan();
    assert_eq!(sharing(new), []);
}

/// A journal comes and goes, so that every change is found by a listing, even while half is gone.
#[test]
fn changes_are_seen_while_a_loss_is_not_believed() {
    let mut fleet = Fleet::new(&["*.db"]);
    for name in ["a.db", "b.db", "c.db", "d.db"] {
        fleet.write(name, "1");
    }
    fleet.changed();
    for name in ["a.db", "b.db", "d.db"] {
        fs::remove_file(fleet.path(name)).unwrap();
    }
    for i in 0..3 {
        fleet.write("c.db", &"c".repeat(i + 2));
        fleet.write(&format!("{i}.db"), "1");
        let scan = fleet.scan();
        assert_eq!(scan.problems.len(), 1);
        assert_eq!(fleet.names(&scan), [format!("{i}.db"), "c.db".to_owned()]);
    }
}

#[test]
fn odd_names_are_found() {
    use std::os::unix::ffi::OsStrExt;
    let mut fleet = Fleet::new(&["*.db"]);
    let long = format!("{}.db", "n".repeat(252));
    let odd = [&b"\xff.db"[..], b"a\nb.db", b"sp ace.db", b"q'\"{{x}}.db", long.as_bytes()];
    for name in odd {
        fs::write(fleet.root.join(Path::new(std::ffi::OsStr::from_bytes(name))), "1").unwrap();
    }
    assert_eq!(fleet.changed().len(), odd.len());
    assert_eq!(fleet.changed(), NOTHING);
}

#[test]
fn a_pattern_without_a_match_says_so() {
    let mut fleet = Fleet::new(&["*.db", "nothing/*.db"]);
    fleet.write("t.db", "1");
    let scan = fleet.scan();
    assert_eq!(scan.empty_patterns.len(), 1);
    assert!(scan.empty_patterns[0].ends_with("nothing/*.db"));
}

/// All trees give the same, whatever was known before: a scanner that saw every step knows what a new
/// one finds.
#[test]
fn a_long_history_ends_in_what_is_there() {
    let mut fleet = Fleet::new(&["**/*.db"]);
    let mut seed = 1u64;
    for step in 0..300 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (a, b) = ((seed >> 33) % 5, (seed >> 40) % 7);
        let name = format!("{a}/{b}/t{}.db", (seed >> 50) % 4);
        match (seed >> 60) % 6 {
            0 => drop(fs::remove_file(fleet.path(&name))),
            1 => drop(fs::remove_dir_all(fleet.path(&format!("{a}/{b}")))),
            2 => drop(fs::rename(fleet.path(&format!("{a}")), fleet.path(&format!("{b}")))),
            _ => fleet.write(&name, &format!("{step}")),
        }
        fleet.scan();
    }
    for _ in 0..=SCANS_TO_BELIEVE_A_LOSS {
        fleet.scan();
    }
    let known: Vec<_> = {
        let table = fleet.scanner.table();
        let table = table.read().unwrap();
        let mut known: Vec<_> = table.ids().map(|id| table.path(id).unwrap()).collect();
        known.sort();
        known
    };
    let mut there = Vec::new();
    let mut folders = vec![fleet.folder.path().canonicalize().unwrap()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { there.push(SourcePath::new(&path)) }
        }
    }
    there.sort();
    assert_eq!(known, there);
}
