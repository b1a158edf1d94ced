//! A bucket made by hand, databases to put into it, and the tool to try on it.

#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may panic")]

pub(crate) mod node;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rusqlite::Connection;
use serde_json::Value;
use tempfile::TempDir;
use ultrasimple_core::catalog::Record;
use ultrasimple_core::cluster_file::{ClusterFile, Holder};
use ultrasimple_core::footer::FooterFields;
use ultrasimple_core::{
    BackupKey, Catalog, CheckResult, Epoch, Footer, Hour, KeyStem, ShardId, ShardKey, SourcePath,
    Timestamp, object,
};
use ultrasimple_keeper::{Author, rebuild};
use ultrasimple_store::DirectoryStore;

/// Into how many shards the volumes of a bucket with catalogs are divided.
pub(crate) const SHARDS: u32 = 4;

/// A directory store made by hand: a key's components are its path.
pub(crate) struct Bucket {
    folder: TempDir,
}

/// A backup to be; [`backup`] makes the usual one.
#[derive(Clone)]
pub(crate) struct Backup {
    pub(crate) stem: String,
    pub(crate) path: Vec<u8>,
    pub(crate) captured_at: Timestamp,
    pub(crate) volume: String,
    pub(crate) mode: u32,
    pub(crate) check: CheckResult,
    pub(crate) image: Vec<u8>,
}

/// A backup of a small database whose content tells stem and time.
pub(crate) fn backup(stem: &str, path: &str, captured_at: &str) -> Backup {
    Backup {
        stem: stem.to_owned(),
        path: path.as_bytes().to_vec(),
        captured_at: captured_at.parse().unwrap(),
        volume: "default".to_owned(),
        mode: 0o640,
        check: CheckResult::Passed,
        image: image(&format!("{stem} {captured_at}")),
    }
}

/// So many hours before now.
pub(crate) fn hours_ago(hours: i64) -> String {
    use ultrasimple_core::Clock;
    let now = ultrasimple_core::SystemClock.now().as_second();
    Timestamp::from_second(now - hours * 3_600).unwrap().to_string()
}

/// A database with one row.
pub(crate) fn image(content: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("made.db");
    let connection = Connection::open(&path).unwrap();
    let schema = "PRAGMA synchronous = OFF; BEGIN; CREATE TABLE t(x); CREATE INDEX i ON t(x)";
    connection.execute_batch(schema).unwrap();
    let insert = |row: &str| connection.execute("INSERT INTO t VALUES (?1)", [row]).unwrap();
    insert(content);
    for n in 0..200 {
        insert(&format!("row {n:05} {content}"));
    }
    connection.execute_batch("COMMIT").unwrap();
    connection.close().unwrap();
    fs::read(path).unwrap()
}

/// The first row of a restored database.
pub(crate) fn content(path: &Path) -> String {
    let connection = Connection::open(path).unwrap();
    connection.query_row("SELECT x FROM t ORDER BY rowid LIMIT 1", [], |row| row.get(0)).unwrap()
}

impl Backup {
    pub(crate) fn key(&self) -> String {
        let stem = KeyStem::try_from(self.stem.clone()).unwrap();
        let hour = Hour::of(self.captured_at);
        BackupKey { stem, hour }.to_string()
    }

    pub(crate) fn object(&self) -> (Vec<u8>, Footer) {
        let fields = FooterFields {
            volume: self.volume.parse().unwrap(),
            path: SourcePath::from_bytes(&self.path),
            shard: ShardId(3),
            mode: self.mode,
            captured_at: self.captured_at,
            node: "node-1".parse().unwrap(),
            epoch: Epoch(7),
            check: self.check.clone(),
            fingerprint: None,
        };
        object::encode(&self.image, fields).unwrap()
    }
}

impl Bucket {
    pub(crate) fn new() -> Self {
        let bucket = Self { folder: tempfile::tempdir().unwrap() };
        fs::create_dir(bucket.folder.path().join("bucket")).unwrap();
        bucket
    }

    pub(crate) fn with(backups: &[Backup]) -> Self {
        let bucket = Self::new();
        for backup in backups {
            bucket.put(backup);
        }
        bucket
    }

    /// A path beside the bucket, for what is restored.
    pub(crate) fn out(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn object_path(&self, key: &str) -> PathBuf {
        self.folder.path().join("bucket").join(key)
    }

    pub(crate) fn put(&self, backup: &Backup) {
        self.put_bytes(&backup.key(), &backup.object().0);
    }

    pub(crate) fn put_bytes(&self, key: &str, bytes: &[u8]) {
        let path = self.object_path(key);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// Damages the content of an object, but not its footer.
    pub(crate) fn damage(&self, key: &str) {
        let path = self.object_path(key);
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 3;
        bytes[middle] ^= 0xff;
        fs::write(path, bytes).unwrap();
    }

    /// Removes an object behind the back of all who know it.
    pub(crate) fn lose(&self, key: &str) {
        fs::remove_file(self.object_path(key)).unwrap();
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.object_path(key).exists()
    }

    pub(crate) fn put_cluster_file(&self) {
        let file =
            ClusterFile::first("b".into(), SHARDS, Holder::Node("node-1".parse().unwrap()), 0);
        self.put_bytes(ClusterFile::key().as_str(), &file.to_bytes().unwrap());
    }

    /// Makes the cluster file, and the catalogs of what is there now.
    pub(crate) fn with_catalogs(self) -> Self {
        self.put_cluster_file();
        let root = self.folder.path().join("bucket");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let store = DirectoryStore::open(&root, false).await.unwrap();
            let author = Author {
                node: "node-1".parse().unwrap(),
                epoch: Some(Epoch(1)),
                shards: SHARDS,
                now: "2024-01-15T15:00:00Z".parse().unwrap(),
                is_final: false,
            };
            let rebuilt = rebuild::rebuild(&store, &author, |_| true).await.unwrap();
            assert!(rebuilt.failed.is_empty(), "{rebuilt:?}");
        });
        self
    }

    pub(crate) fn catalogs(&self) -> Vec<Catalog> {
        let root = self.folder.path().join("bucket");
        let keys = files(&root).into_iter().filter_map(|key| ShardKey::parse(&key));
        let read = |key: ShardKey| {
            let bytes = fs::read(root.join(key.object_key().as_str())).unwrap();
            Catalog::parse(&bytes, &key).unwrap()
        };
        keys.map(read).collect()
    }

    /// What the catalogs say of a database.
    pub(crate) fn record(&self, stem: &str) -> Option<Record> {
        let stem = KeyStem::try_from(stem.to_owned()).unwrap();
        self.catalogs().into_iter().find_map(|mut catalog| catalog.databases.remove(&stem))
    }

    /// Changes what the catalogs say of a database.
    pub(crate) fn edit_record(&self, stem: &str, edit: impl Fn(&mut Record)) {
        let stem = KeyStem::try_from(stem.to_owned()).unwrap();
        for mut catalog in self.catalogs() {
            let Some(record) = catalog.databases.get_mut(&stem) else { continue };
            edit(record);
            let key = catalog.key.object_key();
            self.put_bytes(key.as_str(), &catalog.to_bytes().unwrap());
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("file://{}", self.folder.path().join("bucket").display())
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ultrasimple-ctl"));
        command.env_clear().current_dir(self.folder.path());
        command
    }

    /// Runs the tool on this bucket.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        Ran::of(self.command().arg("-bucket").arg(self.url()).args(args))
    }

    /// Runs the tool on a terminal of 80 columns, on which somebody types. What it says comes back as stdout.
    pub(crate) fn on_terminal(&self, args: &[&str], typed: &str) -> Ran {
        use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
        use std::io::{Read, Write};
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let size = rustix::termios::Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&master, size).unwrap();
        let terminal = || fs::File::options().read(true).write(true).open(&name).unwrap();
        let mut command = self.command();
        command.arg("-bucket").arg(self.url()).args(args).env("TERM", "xterm");
        command.stdin(terminal()).stdout(terminal()).stderr(terminal());
        let mut child = command.spawn().unwrap();
        drop(command);
        let mut master = fs::File::from(master);
        master.write_all(typed.as_bytes()).unwrap();
        let mut output = Vec::new();
        let mut buffer = [0; 4_096];
        // The end of a terminal whose other side is closed is an error.
        while let Ok(count @ 1..) = master.read(&mut buffer) {
            output.extend_from_slice(&buffer[..count]);
        }
        let status = child.wait().unwrap().code().unwrap_or(-1);
        let output = String::from_utf8(output).unwrap().replace("\r\n", "\n");
        // What is there in the end, where a progress bar was before it.
        let last = |line: &str| {
            let line = line.rsplit('\r').next().unwrap_or_default();
            line.rsplit("\x1b[2K").next().unwrap_or_default().to_owned() + "\n"
        };
        let stdout: String = output.lines().map(last).collect();
        Ran { status, stdout, stderr: String::new() }
    }

    /// Runs the tool and reads its JSON document.
    pub(crate) fn json(&self, args: &[&str]) -> (i32, Value) {
        let ran = self.run(&[args, &["--json"]].concat());
        let document = serde_json::from_str(&ran.stdout);
        (ran.status, document.unwrap_or_else(|error| panic!("{error}: {}", ran.stdout)))
    }
}

/// What came of a run.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn of(command: &mut Command) -> Self {
        let output = command.output().unwrap();
        Self {
            status: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    #[track_caller]
    pub(crate) fn failed(&self, status: i32, words: &[&str]) {
        assert_eq!(self.status, status, "{self:?}");
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is missing in {}", self.stderr);
        }
    }

    #[track_caller]
    pub(crate) fn well(&self) -> &Self {
        assert_eq!(self.status, 0, "{self:?}");
        self
    }
}

/// All files below a directory, relative to it, sorted.
pub(crate) fn files(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else {
                let path = entry.path();
                found.push(path.strip_prefix(root).unwrap().display().to_string());
            }
        }
    }
    found.sort();
    found
}
