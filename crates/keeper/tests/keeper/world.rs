//! A bucket in a directory, and the backups that are put there.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures::TryStreamExt;
use tempfile::TempDir;
use ultrasimple_core::catalog::{Change, Edit, HeldHour, Newest, Record, StoredBackup};
use ultrasimple_core::footer::FooterFields;
use ultrasimple_core::{
    BackupKey, Catalog, CheckResult, ContentHash, Epoch, FingerprintDigest, Footer, Hour, KeyStem,
    ObjectKey, RetentionRules, ShardId, ShardKey, SourcePath, Timestamp, VolumeName, object,
    placement,
};
use ultrasimple_keeper::{Author, Holds, catalogs};
use ultrasimple_store::{Body, Condition, CountedStore, DirectoryStore, ETag, Store};

use crate::faulty::{Faults, Faulty};

/// Into how many shards volumes are divided here.
pub(crate) const SHARDS: u32 = 4;

pub(crate) struct World {
    pub(crate) dir: TempDir,
    pub(crate) store: CountedStore<Faulty>,
}

/// One object, whole and true.
#[derive(Debug, Clone)]
pub(crate) struct Backup {
    pub(crate) stem: KeyStem,
    pub(crate) volume: VolumeName,
    pub(crate) path: SourcePath,
    pub(crate) captured_at: Timestamp,
    pub(crate) content: Vec<u8>,
    pub(crate) check: CheckResult,
    pub(crate) tells_fingerprint: bool,
}

pub(crate) fn volume() -> VolumeName {
    "v1".parse().unwrap()
}

pub(crate) fn stem(text: &str) -> KeyStem {
    KeyStem::try_from(text.to_owned()).unwrap()
}

pub(crate) fn path(text: &str) -> SourcePath {
    SourcePath::from_bytes(text.as_bytes())
}

/// The middle of an hour: captures of then belong to [`hour`] of the same number.
pub(crate) fn at(number: i64) -> Timestamp {
    let begin: Timestamp = "2024-01-15T00:30:00Z".parse().unwrap();
    Timestamp::from_second(begin.as_second() + number * 3_600).unwrap()
}

pub(crate) fn hour(number: i64) -> Hour {
    Hour::of(at(number))
}

pub(crate) fn key(stem_text: &str, number: i64) -> BackupKey {
    stem(stem_text).at(hour(number))
}

/// The rules of most tests: a day.
pub(crate) fn a_day() -> RetentionRules {
    RetentionRules::days(1).unwrap()
}

pub(crate) fn owner(epoch: u64) -> Author {
    let node = format!("n{epoch}").parse().unwrap();
    Author { node, epoch: Some(Epoch(epoch)), shards: SHARDS, now: at(100), is_final: false }
}

pub(crate) fn tool() -> Author {
    Author { node: "tool".parse().unwrap(), epoch: None, is_final: true, ..owner(0) }
}

pub(crate) fn catalog_key(volume: &VolumeName, path: &SourcePath) -> ShardKey {
    ShardKey { volume: volume.clone(), shard: placement::shard_of(volume, path, SHARDS) }
}

pub(crate) fn empty_catalog() -> Catalog {
    let key = ShardKey { volume: volume(), shard: ShardId(0) };
    Catalog::new(key, SHARDS, Epoch(1), "n1".parse().unwrap(), at(0))
}

/// The `t1` at `/data/t1.db`, and so on.
pub(crate) fn backup(name: &str, number: i64) -> Backup {
    Backup {
        stem: stem(name),
        volume: volume(),
        path: path(&format!("/data/{name}.db")),
        captured_at: at(number),
        content: format!("{name} at {number}").into_bytes(),
        check: CheckResult::Passed,
        tells_fingerprint: false,
    }
}

impl Backup {
    pub(crate) fn of(mut self, path_text: &str) -> Self {
        self.path = path(path_text);
        self
    }

    pub(crate) fn on(mut self, volume: &str) -> Self {
        self.volume = volume.parse().unwrap();
        self
    }

    pub(crate) fn marked(mut self) -> Self {
        self.check = CheckResult::Failed("page 2 is damaged".to_owned());
        self
    }

    pub(crate) fn telling_its_fingerprint(mut self) -> Self {
        self.tells_fingerprint = true;
        self
    }

    pub(crate) fn containing(mut self, content: &[u8]) -> Self {
        self.content = content.to_vec();
        self
    }

    pub(crate) fn key(&self) -> BackupKey {
        self.stem.at(Hour::of(self.captured_at))
    }

    pub(crate) fn object(&self) -> (Vec<u8>, Footer) {
        let fields = FooterFields {
            volume: self.volume.clone(),
            path: self.path.clone(),
            shard: placement::shard_of(&self.volume, &self.path, SHARDS),
            mode: 0o600,
            captured_at: self.captured_at,
            node: "n1".parse().unwrap(),
            epoch: Epoch(1),
            check: self.check.clone(),
            fingerprint: self.tells_fingerprint.then(|| self.fingerprint()),
        };
        object::encode(&self.content, fields).unwrap()
    }

    pub(crate) fn fingerprint(&self) -> FingerprintDigest {
        let text = format!("\"{:016x}\"", ContentHash::of(&self.content).0[0]);
        serde_json::from_str(&text).unwrap()
    }
}

/// As a program of the future would write it.
pub(crate) fn newer(object: &[u8]) -> Vec<u8> {
    let (_, frame_bytes) = Footer::from_suffix(object).unwrap();
    let begin = object.len() - usize::try_from(frame_bytes).unwrap();
    let json = String::from_utf8(object[begin + 8..object.len() - 16].to_vec()).unwrap();
    let json = json.replace("\"version\":1", "\"version\":2");
    let hash = twox_hash::XxHash3_64::oneshot(json.as_bytes());
    let mut bytes = object[..begin + 8].to_vec();
    bytes.extend_from_slice(json.as_bytes());
    bytes.extend_from_slice(&hash.to_le_bytes());
    bytes.extend_from_slice(&object[object.len() - 8..]);
    bytes
}

impl World {
    pub(crate) async fn new() -> Self {
        let memory = std::path::Path::new("/dev/shm");
        let dir = if memory.is_dir() {
            tempfile::tempdir_in(memory).unwrap()
        } else {
            tempfile::tempdir().unwrap()
        };
        Self::over(dir).await
    }

    pub(crate) async fn over(dir: TempDir) -> Self {
        let inner = DirectoryStore::open(dir.path(), true).await.unwrap();
        Self { dir, store: CountedStore::new(Faulty::new(inner), std::sync::Arc::default()) }
    }

    /// Another world that has the same objects, with the same tags.
    pub(crate) async fn copy(&self) -> Self {
        let copy = Self::new().await;
        let from = format!("{}/.", self.dir.path().display());
        let mut copying = std::process::Command::new("cp");
        copying.arg("-a").arg(from).arg(copy.dir.path());
        assert!(copying.status().unwrap().success());
        copy
    }

    pub(crate) fn faults(&self) -> std::sync::MutexGuard<'_, Faults> {
        self.store.inner().faults()
    }

    /// All requests so far.
    pub(crate) fn requests(&self) -> u64 {
        let counts = self.store.requests();
        counts.puts + counts.gets + counts.heads + counts.lists + counts.deletes
    }

    /// Puts any bytes under a key, whatever is there.
    pub(crate) async fn put_bytes(&self, key: &ObjectKey, bytes: Vec<u8>) -> HeldHour {
        let body = Body::Bytes(Bytes::from(bytes));
        let directory = DirectoryStore::open(self.dir.path(), false).await.unwrap();
        let stored = directory.put(key, body, Condition::Always).await.unwrap();
        let hour = BackupKey::parse(key.as_str()).map_or(hour(0), |key| key.hour);
        HeldHour::new(hour, stored.size, stored.etag)
    }

    pub(crate) async fn put(&self, backup: &Backup) -> HeldHour {
        self.put_bytes(&backup.key().object_key(), backup.object().0).await
    }

    /// Puts a backup as its owner would. What the owner learned.
    pub(crate) async fn store(&self, backup: &Backup) -> Edit {
        let HeldHour { bytes, etag, .. } = self.put(backup).await;
        let newest = Newest::of(&backup.object().1);
        let content = newest.blake3;
        Edit::Change(Change {
            stem: backup.stem.clone(),
            path: backup.path.clone(),
            stored: vec![StoredBackup { bytes, etag, newest }],
            fingerprint: Some((backup.fingerprint(), content.short())),
            failed_check: None,
            gone_since: None,
        })
    }

    /// Puts backups, and writes them into the catalogs of their shards.
    pub(crate) async fn store_and_write(&self, backups: &[Backup]) {
        let mut edits = BTreeMap::<ShardKey, Vec<Edit>>::new();
        for backup in backups {
            let edit = self.store(backup).await;
            edits.entry(catalog_key(&backup.volume, &backup.path)).or_default().push(edit);
        }
        for (key, edits) in edits {
            self.update(&key, &owner(1), &edits).await;
        }
    }

    pub(crate) async fn update(&self, key: &ShardKey, author: &Author, edits: &[Edit]) {
        catalogs::update(&self.store, key, author, edits).await.unwrap();
    }

    pub(crate) async fn remove(&self, key: &BackupKey) {
        let directory = DirectoryStore::open(self.dir.path(), false).await.unwrap();
        assert_eq!(directory.delete(&[key.object_key()]).await.unwrap().len(), 0);
    }

    /// The keys of all objects but the replicator's own.
    pub(crate) async fn keys(&self) -> BTreeSet<String> {
        let keys = self.store.list("", None).map_ok(|object| object.key);
        let keys: BTreeSet<_> = keys.try_collect().await.unwrap();
        keys.into_iter().filter(|key| !key.starts_with(".ultrasimple/")).collect()
    }

    pub(crate) async fn catalogs(&self) -> BTreeMap<ShardKey, Catalog> {
        let loaded = catalogs::read_all(&self.store, None).await.unwrap();
        assert!(loaded.unusable.is_empty(), "{:?}", loaded.unusable);
        loaded.catalogs
    }

    /// What all catalogs say of the databases: each is in one only.
    pub(crate) async fn records(&self) -> BTreeMap<KeyStem, Record> {
        let mut records = BTreeMap::new();
        for catalog in self.catalogs().await.into_values() {
            for (stem, record) in catalog.databases {
                assert_eq!(records.insert(stem.clone(), record), None, "{stem} is in two catalogs");
            }
        }
        records
    }

    pub(crate) async fn holds(&self) -> Holds {
        Holds::list(&self.store).await.unwrap()
    }
}

pub(crate) fn numbers(record: &Record) -> Vec<i64> {
    let first = i64::from(hour(0).index());
    record.hours.iter().map(|held| i64::from(held.hour.index()) - first).collect()
}

pub(crate) fn etag(text: &str) -> ETag {
    ETag(text.into())
}
