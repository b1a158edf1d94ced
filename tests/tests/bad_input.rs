//! Bad input: each gets a message with its path, nothing is lost, and the others go on (R7).
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use ultrasimple_testkit::bank::{BankOptions, WriterProcess, verify};
use ultrasimple_tests::{
    Bucket, Daemon, Mount, Ran, Yard, clean, is_root, keep_clear_of_the_hour, run, sqlite3, unpack,
};

ultrasimple_testkit::bank_writer!();

const ONCE: [&str; 3] = ["-once", "-pattern", "data/**/*.db"];

fn small() -> BankOptions {
    BankOptions {
        accounts: 60,
        journal_mode: ultrasimple_testkit::bank::JournalMode::Delete,
        ..BankOptions::default()
    }
}

/// Panics unless the log says of this path that it is not backed up, for this reason.
#[track_caller]
fn not_backed_up(ran: &Ran, path: &Path, reason: &str) {
    said_of(ran, "Not backed up", path, reason);
}

/// Panics unless the log says this of this path, for this reason.
#[track_caller]
fn said_of(ran: &Ran, what: &str, path: &Path, reason: &str) {
    let start = format!("{what}: {}: ", path.display());
    let line = ran.stderr.lines().find(|line| line.contains(&start));
    let line = line.unwrap_or_else(|| panic!("nothing of {}: {ran}", path.display()));
    assert!(line.contains(reason), "{line:?} does not say {reason:?}");
}

/// The image of the newest backup with this stem, in a file.
#[track_caller]
fn restored(yard: &Yard, bucket: &Bucket, stem: &str) -> std::path::PathBuf {
    let image = yard.path("image.db");
    let restore = ["restore", stem, "-o", "image.db", "--force"];
    run(yard.ctl(bucket, &restore)).expect(0, &[]);
    image
}

/// Changes bytes in the middle of a page in the middle of a file.
fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let page = bytes.len() / 2 / 4_096 * 4_096;
    bytes[page..page + 200].fill(0xA5);
    fs::write(path, bytes).unwrap();
}

#[test]
fn files_that_are_no_good_databases() {
    let yard = Yard::new();
    let bucket = yard.bucket();
    let good = yard.bank("data/good.db", &small(), 10);
    let write = |name: &str, bytes: &[u8]| {
        let path = yard.path("data").join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let text = write("text.db", &b"this is no database at all\n".repeat(50));
    let short = write("short.db", b"SQL");
    let empty = write("empty.db", b"");
    // An encrypted database looks like noise.
    let noise: Vec<u8> = (0u32..40_000)
        .scan(7u32, |state, _| {
            *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            Some(state.to_be_bytes()[0])
        })
        .collect();
    let encrypted = write("encrypted.db", &noise);
    let only_header = write("header.db", &fs::read(&good).unwrap()[..100]);
    let whole = fs::read(&good).unwrap();
    let truncated = write("truncated.db", &whole[..whole.len() / 2 / 4_096 * 4_096]);
    let ragged = write("ragged.db", &whole[..whole.len() / 2 + 77]);
    let corrupt = yard.bank("data/corrupt.db", &small(), 10);
    damage(&corrupt);
    run({
        let mut mkfifo = Command::new("mkfifo");
        mkfifo.arg(yard.path("data/pipe.db"));
        mkfifo
    })
    .expect(0, &[]);
    fs::create_dir(yard.path("data/folder.db")).unwrap();

    let ran = run(yard.daemon(&bucket, &ONCE));
    ran.expect(3, &[]);
    for path in [&text, &short, &encrypted] {
        not_backed_up(&ran, path, "not a SQLite database");
    }
    not_backed_up(&ran, &empty, "the file is empty");
    let marked = [("corrupt", &corrupt), ("truncated", &truncated), ("ragged", &ragged)];
    for (_, path) in marked.into_iter().chain([("header", &only_header)]) {
        said_of(&ran, "Damaged", path, "marked");
    }
    ran.expect(3, &[&format!("Cannot scan {}", yard.path("data/pipe.db").display())]);

    assert_eq!(verify(&restored(&yard, &bucket, "good")), Ok(11));
    for (stem, _) in marked {
        let listed = run(yard.ctl(&bucket, &["backups", stem, "--json"]));
        let json = listed.expect(0, &[]).json();
        assert_eq!(json["backups"][0]["check"]["result"], "failed", "{json}");
        let restore = ["restore", stem, "-o", "marked.db", "--force"];
        let refused = run(yard.ctl(&bucket, &restore));
        refused.expect(1, &["its check failed when it was taken"]);
        let words = [&restore[..], &["--marked-ok"]].concat();
        run(yard.ctl(&bucket, &words)).expect(0, &[]);
    }
    assert_eq!(fs::read(yard.path("marked.db")).unwrap().len() % 4_096, 0);
}

#[test]
fn a_damaged_database_never_replaces_the_good_copy_of_the_hour() {
    keep_clear_of_the_hour();
    let yard = Yard::new();
    let bucket = yard.bucket();
    let path = yard.bank("data/t.db", &small(), 10);
    let neighbour = yard.bank("data/neighbour.db", &small(), 10);
    run(yard.daemon(&bucket, &ONCE)).expect(0, &[]);
    let interval = ["-interval", "200ms", "-pattern", "data/*.db"];
    let daemon = Daemon::start(yard.daemon(&bucket, &interval));
    daemon.settled(0);
    damage(&path);
    yard.bank("data/neighbour.db", &small(), 10);
    let line = daemon.says(&format!("Not backed up: {}: ", path.display()));
    let kept = line.contains("the good backup of this hour is kept");
    assert!(kept, "one failure, one line: {line:?} in\n{}", daemon.log());
    daemon.settled(1);
    daemon.stop_well();
    let ran = run(yard.daemon(&bucket, &ONCE));
    ran.expect(3, &[]);
    not_backed_up(&ran, &path, "the good backup of this hour is kept");
    assert_eq!(verify(&restored(&yard, &bucket, "t")), Ok(11));
    assert_eq!(verify(&restored(&yard, &bucket, "neighbour")), Ok(21));

    // Repaired (from its backup), it goes on.
    fs::remove_file(&path).unwrap();
    let restore = ["restore", "t", "-o", "data/t.db"];
    run(yard.ctl(&bucket, &restore)).expect(0, &[]);
    yard.bank("data/t.db", &small(), 5);
    run(yard.daemon(&bucket, &ONCE)).expect(0, &[]);
    assert_eq!(verify(&restored(&yard, &bucket, "t")), Ok(16));
    assert!(neighbour.exists());
}

#[test]
fn files_and_directories_that_may_not_be_read() {
    use std::os::unix::fs::PermissionsExt as _;
    let yard = Yard::new();
    let bucket = yard.bucket();
    yard.bank("data/a/good.db", &small(), 10);
    let file = yard.bank("data/a/secret.db", &small(), 10);
    yard.bank("data/closed/inside.db", &small(), 10);
    let (directory, nothing) = (yard.path("data/closed"), fs::Permissions::from_mode(0o000));
    fs::set_permissions(&file, nothing.clone()).unwrap();
    fs::set_permissions(&directory, nothing).unwrap();

    let mut command = yard.daemon(&bucket, &ONCE);
    if is_root() {
        // Root without the right to pass over permissions.
        let mut less = clean("setpriv");
        less.args(["--bounding-set", "-dac_override,-dac_read_search", "--inh-caps=-all"]);
        less.arg(command.get_program()).args(command.get_args());
        less.current_dir(yard.path("")).env("TMPDIR", yard.path("tmp"));
        command = less;
    }
    let ran = run(command);
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
    if is_root() && ran.stderr.contains("setpriv") {
        eprintln!("SKIPPED: capabilities cannot be dropped here: {ran}");
        return;
    }
    ran.expect(3, &[]);
    not_backed_up(&ran, &file, "permission denied");
    ran.expect(3, &[&format!("Cannot scan {}", directory.display())]);
    assert_eq!(verify(&restored(&yard, &bucket, "a/good")), Ok(11));
    assert_eq!(bucket.backups().len(), 1);
}

#[test]
fn links_that_lead_nowhere_or_in_circles() {
    let yard = Yard::new();
    let bucket = yard.bucket();
    yard.bank("data/good.db", &small(), 10);
    let data = yard.path("data");
    symlink("nowhere.db", data.join("dangling.db")).unwrap();
    symlink("other.db", data.join("one.db")).unwrap();
    symlink("one.db", data.join("other.db")).unwrap();
    fs::create_dir(data.join("sub")).unwrap();
    symlink("..", data.join("sub/up")).unwrap();
    symlink("up", data.join("sub/up2")).unwrap();
    // The same file once more.
    symlink("good.db", data.join("again.db")).unwrap();

    let ran = run(yard.daemon(&bucket, &ONCE));
    ran.expect(3, &[]);
    for name in ["dangling.db", "one.db", "other.db"] {
        not_backed_up(&ran, &data.join(name), "link");
    }
    assert_eq!(bucket.backups().keys().collect::<Vec<_>>(), ["good"]);
}

#[test]
fn keys_that_cannot_be() {
    let yard = Yard::new();
    let bucket = yard.bucket();
    yard.bank("data/tenants/good/a.db", &small(), 10);
    let long = "x".repeat(200);
    let long = yard.bank(format!("data/tenants/{long}/long.db"), &small(), 10);
    let six_times = ["{{tenant}}"; 6].join("/");
    let ran = run(yard.daemon(&bucket, &[&ONCE[..], &["-path", &six_times]].concat()));
    ran.expect(3, &[]);
    not_backed_up(&ran, &long, "the store takes at most 1024");
    assert_eq!(bucket.backups().keys().collect::<Vec<_>>(), ["good/good/good/good/good/good/a"]);

    let other = Bucket::directory(&yard.path("other"));
    let (one, two) = (
        yard.bank("data/tenants/same/1/t.db", &small(), 1),
        yard.bank("data/tenants/same/2/t.db", &small(), 1),
    );
    let homeless = yard.bank("data/homeless.db", &small(), 1);
    let words = [&ONCE[..], &["-path", "{{tenant}}", "-exclude", "data/tenants/x*"]].concat();
    let ran = run(yard.daemon(&other, &words));
    ran.expect(3, &[]);
    not_backed_up(&ran, &one, two.to_str().unwrap());
    not_backed_up(&ran, &two, one.to_str().unwrap());
    not_backed_up(&ran, &homeless, "{{tenant}}");
    assert_eq!(other.backups().keys().collect::<Vec<_>>(), ["good/a"]);

    // The other of the two comes when the first has a backup: it does not replace that.
    let third = Bucket::directory(&yard.path("third"));
    let words = |only: &str| {
        ["-once", "-path", "{{tenant}}", "-pattern"]
            .map(str::to_owned)
            .into_iter()
            .chain([only.to_owned()])
            .collect::<Vec<_>>()
    };
    run(yard.daemon(&third, &words(one.to_str().unwrap()))).expect(0, &[]);
    let ran = run(yard.daemon(&third, &words(two.to_str().unwrap())));
    ran.expect(3, &[]);
    not_backed_up(&ran, &two, one.to_str().unwrap());
    let listed = run(yard.ctl(&third, &["databases", "--paths"]));
    assert!(listed.expect(0, &[]).stdout.contains(one.to_str().unwrap()), "{listed}");
}

#[test]
fn databases_that_vanish_appear_and_grow_while_cycles_run() {
    let yard = Yard::new();
    let bucket = yard.bucket();
    yard.bank("data/still.db", &small(), 10);
    let mut grows = WriterProcess::spawn(&yard.path("data/grows.db"), &small()).unwrap();
    grows.run().unwrap();
    let template = yard.bank("template", &small(), 3);
    let words = ["-pattern", "data/*.db", "-interval", "100ms", "-min-upload-interval", "0s"];
    let daemon = Daemon::start(yard.daemon(&bucket, &words));
    let others = |round: u32| {
        for number in 0..20 {
            let path = yard.path(format!("data/{number}.db"));
            match (round + number) % 4 {
                0 => drop(fs::remove_file(&path)),
                1 => drop(fs::copy(&template, &path).unwrap()),
                2 => {
                    fs::copy(&template, yard.path("new")).unwrap();
                    fs::rename(yard.path("new"), &path).unwrap();
                }
                _ => {}
            }
        }
    };
    for round in 0..40 {
        others(round);
        if round % 8 == 0 {
            daemon.cycles(1);
        }
    }
    let commits = grows.pause().unwrap();
    yard.bank("data/still.db", &small(), 10);
    daemon.until("all that is there is stored", |stats| stats["pending"] == 0);
    daemon.settled(0);
    let log = daemon.log();
    assert!(!log.contains("panic") && !log.contains("An actor failed"), "{log}");
    daemon.stop_well();
    assert_eq!(verify(&restored(&yard, &bucket, "still")), Ok(21));
    assert_eq!(verify(&restored(&yard, &bucket, "grows")), Ok(commits));
    for stem in bucket.backups().keys().filter(|stem| stem.parse::<u32>().is_ok()) {
        assert_eq!(verify(&restored(&yard, &bucket, stem)), Ok(4), "{stem}");
    }
}

#[test]
fn a_full_scratch_disk_costs_only_what_needs_it() {
    let yard = Yard::new();
    let bucket = yard.bucket();
    yard.bank("data/good.db", &small(), 10);
    // More than an eighth of the memory budget: it goes through scratch.
    let large = yard.path("data/large.db");
    let fill =
        "CREATE TABLE t(x); INSERT INTO t SELECT randomblob(1000) FROM generate_series(1, 6000)";
    sqlite3(&large, fill);
    let scratch = yard.path("scratch");
    let words = [&ONCE[..], &["-memory-budget", "16MiB", "-scratch", "scratch"]].concat();
    if let Some(_mount) = Mount::tmpfs(&scratch, 1 << 20) {
        let ran = run(yard.daemon(&bucket, &words));
        ran.expect(3, &[]);
        not_backed_up(&ran, &large, &scratch.display().to_string());
        not_backed_up(&ran, &large, "No space left on device");
        assert_eq!(verify(&restored(&yard, &bucket, "good")), Ok(11));
        assert_eq!(bucket.backups().len(), 1);
        assert_eq!(left_in(&scratch), 0, "scratch is not cleaned up");
    }
    // With room it is stored.
    run(yard.daemon(&bucket, &words)).expect(0, &[]);
    let key = bucket.backups()["large"].last().unwrap().clone();
    unpack(&yard.path("bucket").join(key), &yard.path("large.db")).unwrap();
    assert_eq!(sqlite3(&yard.path("large.db"), "SELECT count(*) FROM t").trim(), "6000");
    assert_eq!(left_in(&scratch), 0, "scratch is not cleaned up");
}

fn left_in(folder: &Path) -> usize {
    folder.read_dir().unwrap().count()
}
