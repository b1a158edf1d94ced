//! What is true: of each database every state it ever had, of each key every version it ever had. The rules that
//! can be told from these alone are checked with each change of the bucket.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use ultrasimple_core::key::KeyStem;
use ultrasimple_core::retention::{MAX_SKEW, RetentionRules};
use ultrasimple_core::{
    BackupKey, ContentHash, Epoch, FileStamp, Fingerprint, FingerprintDigest, Footer, Hour,
    ShardKey, SourcePath, Timestamp, VolumeName, placement,
};

use crate::bucket::Change;

/// A database, by its place in the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct DatabaseNumber(pub(crate) usize);

/// A state of a database between two commits.
#[derive(Debug, Clone)]
pub(crate) struct State {
    pub(crate) digest: FingerprintDigest,
    /// How many commits led to it.
    pub(crate) commit: u32,
    pub(crate) content: ContentHash,
    /// Which of its contents that is: an earlier one may come again.
    pub(crate) text: u32,
}

#[derive(Debug, Clone)]
pub(crate) struct Database {
    pub(crate) path: SourcePath,
    pub(crate) stem: KeyStem,
    pub(crate) shard: ShardKey,
    pub(crate) is_there: bool,
    states: Vec<State>,
}

impl Database {
    /// As it is now.
    pub(crate) fn state(&self) -> Option<&State> {
        self.states.last()
    }
}

/// The bytes of a database.
pub(crate) fn image(database: DatabaseNumber, text: u32) -> Vec<u8> {
    format!("database {} text {text}", database.0).into_bytes()
}

/// A backup in the bucket.
#[derive(Debug, Clone)]
pub(crate) struct Version {
    pub(crate) commit: u32,
    pub(crate) content: ContentHash,
    pub(crate) epoch: Epoch,
    pub(crate) captured_at: Timestamp,
}

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Truth {
    pub(crate) databases: Vec<Database>,
    stems: HashMap<KeyStem, DatabaseNumber>,
    digests: HashMap<FingerprintDigest, (DatabaseNumber, usize)>,
    /// What each key had last.
    last: HashMap<String, Version>,
    /// What is there now.
    there: Vec<BTreeMap<Hour, Version>>,
    /// Objects that are nobody's backups.
    foreign: Vec<String>,
    rules: RetentionRules,
    /// Databases whose newest backup is another one since it was last asked.
    pub(crate) moved: Vec<DatabaseNumber>,
    /// How often a backup was stored.
    pub(crate) stored: u64,
    /// Shards that an owner lost because the bucket had something of a later one.
    pub(crate) fenced: BTreeSet<ShardKey>,
    /// The first rule that was broken, and how.
    pub(crate) violation: Option<String>,
}

impl Truth {
    pub(crate) fn new(rules: RetentionRules) -> Self {
        Self {
            databases: Vec::new(),
            stems: HashMap::new(),
            digests: HashMap::new(),
            last: HashMap::new(),
            there: Vec::new(),
            foreign: Vec::new(),
            rules,
            moved: Vec::new(),
            stored: 0,
            fenced: BTreeSet::new(),
            violation: None,
        }
    }

    /// A database begins to exist.
    pub(crate) fn create(&mut self, volume: &VolumeName, shards: u32) -> Option<DatabaseNumber> {
        let number = DatabaseNumber(self.databases.len());
        let name = format!("data/{volume}/t{}", number.0);
        let path = SourcePath::from_bytes(format!("/{name}.db").as_bytes());
        let stem = KeyStem::new(name, 1_024).ok()?;
        let shard = placement::shard_of(volume, &path, shards);
        let shard = ShardKey { volume: volume.clone(), shard };
        self.stems.insert(stem.clone(), number);
        let database = Database { path, stem, shard, is_there: true, states: Vec::new() };
        self.databases.push(database);
        self.there.push(BTreeMap::new());
        self.advance(number, Some(0));
        Some(number)
    }

    /// An object that is not ours.
    pub(crate) fn put_foreign(&mut self, key: String) {
        self.foreign.push(key);
    }

    pub(crate) fn database(&self, number: DatabaseNumber) -> Option<&Database> {
        self.databases.get(number.0)
    }

    /// A commit: to new content.
    pub(crate) fn commit(&mut self, number: DatabaseNumber) {
        let text = self.databases.get(number.0).and_then(Database::state).map_or(0, |now| {
            // Contents that were there before are not new.
            now.commit + 1
        });
        self.advance(number, Some(text));
    }

    /// A commit that brings back what was there some commits ago.
    pub(crate) fn revert(&mut self, number: DatabaseNumber, back: usize) {
        let Some(database) = self.databases.get(number.0) else { return };
        let text = database.states.iter().rev().nth(back).map(|state| state.text);
        self.advance(number, text.or(Some(0)));
    }

    /// The files are touched, and the content stays.
    pub(crate) fn touch(&mut self, number: DatabaseNumber) {
        self.advance(number, None);
    }

    fn advance(&mut self, number: DatabaseNumber, text: Option<u32>) {
        let Some(database) = self.databases.get_mut(number.0) else { return };
        let last = database.states.last();
        let commit = last.map_or(0, |last| last.commit + u32::from(text.is_some()));
        let text = text.or(last.map(|last| last.text)).unwrap_or(0);
        let stamp = database.states.len();
        let digest = Self::digest(number.0 as u64, i64::try_from(stamp).unwrap_or(i64::MAX));
        let content = ContentHash::of(&image(number, text));
        self.digests.insert(digest, (number, stamp));
        database.states.push(State { digest, commit, content, text });
    }

    /// What stands for a file that was modified then.
    pub(crate) fn digest(inode: u64, mtime_ns: i64) -> FingerprintDigest {
        let main = FileStamp { device: 1, inode, size: 4_096, mtime_ns, ctime_ns: 0 };
        Fingerprint { main, wal: None, journal: false }.digest()
    }

    /// The bytes of a database as it is now.
    pub(crate) fn read(&self, number: DatabaseNumber) -> Option<(State, Vec<u8>)> {
        let database = self.databases.get(number.0).filter(|database| database.is_there)?;
        let state = database.state()?.clone();
        let bytes = image(number, state.text);
        Some((state, bytes))
    }

    /// The newest backup of a database.
    pub(crate) fn newest(&self, number: DatabaseNumber) -> Option<(Hour, &Version)> {
        self.there.get(number.0)?.last_key_value().map(|(&hour, version)| (hour, version))
    }

    /// All backups of a database.
    pub(crate) fn backups(&self, number: DatabaseNumber) -> &BTreeMap<Hour, Version> {
        static NONE: BTreeMap<Hour, Version> = BTreeMap::new();
        self.there.get(number.0).unwrap_or(&NONE)
    }

    /// Whether the bucket's newest backup has all that a database with this fingerprint held (R3).
    pub(crate) fn check_clean(&self, digest: FingerprintDigest) -> Result<(), String> {
        let Some(&(number, stamp)) = self.digests.get(&digest) else { return Ok(()) };
        let Some(database) = self.database(number) else { return Ok(()) };
        let Some(state) = database.states.get(stamp) else { return Ok(()) };
        let Some((hour, newest)) = self.newest(number) else {
            return Err(format!("R3: {} counts as stored, and has no backup", database.stem));
        };
        // A fingerprint is older than what was captured with it.
        let mut since = database.states.iter().skip(stamp);
        if newest.commit >= state.commit || since.any(|it| it.content == newest.content) {
            return Ok(());
        }
        Err(format!(
            "R3: {} counts as stored with commit {}, and its newest backup, {hour}, has commit {} (epoch {})",
            database.stem, state.commit, newest.commit, newest.epoch
        ))
    }

    /// Whether the last state of a database is in its newest backup.
    pub(crate) fn is_backed_up(&self, number: DatabaseNumber) -> bool {
        let state = self.database(number).and_then(Database::state);
        let newest = self.newest(number);
        state.zip(newest).is_some_and(|(state, (_, newest))| newest.content == state.content)
    }

    /// Takes in what changed in the bucket. `now` is the store's clock.
    pub(crate) fn take_in(&mut self, change: &Change, now: Timestamp) {
        let broken = match change {
            Change::Stored { key, bytes } => self.stored(key, bytes),
            Change::Deleted { key } => self.deleted(key, now),
        };
        if let Err(why) = broken {
            self.violation.get_or_insert(why);
        }
    }

    fn stored(&mut self, key: &str, bytes: &Bytes) -> Result<(), String> {
        if self.foreign.iter().any(|foreign| foreign == key) {
            return Err(format!("R11: {key} is not ours and was overwritten"));
        }
        let Some(backup) = BackupKey::parse(key) else { return Ok(()) };
        let Some(&number) = self.stems.get(&backup.stem) else {
            return Err(format!("R11: {key} is the key of no database"));
        };
        let (footer, _) = Footer::from_suffix(bytes).map_err(|error| format!("{key}: {error}"))?;
        let Footer { mode: commit, blake3: content, epoch, captured_at, .. } = footer;
        let version = Version { commit, content, epoch, captured_at };
        let before = self.last.insert(key.to_owned(), version.clone());
        if let Some(there) = self.there.get_mut(number.0) {
            there.insert(backup.hour, version.clone());
        }
        self.moved.push(number);
        self.stored += 1;
        let Some(before) = before else { return Ok(()) };
        if version.epoch < before.epoch {
            return Err(format!(
                "R8: {key} was written under epoch {}, and then under epoch {}",
                before.epoch, version.epoch
            ));
        }
        if version.commit < before.commit && version.content != before.content {
            return Err(format!(
                "R5: {key} had commit {} (epoch {}, captured {}), and then commit {} (epoch {}, captured {})",
                before.commit,
                before.epoch,
                before.captured_at,
                version.commit,
                version.epoch,
                version.captured_at
            ));
        }
        Ok(())
    }

    fn deleted(&mut self, key: &str, now: Timestamp) -> Result<(), String> {
        if self.foreign.iter().any(|foreign| foreign == key) {
            return Err(format!("R11: {key} is not ours and was deleted"));
        }
        let Some(backup) = BackupKey::parse(key) else {
            return Err(format!("R11: {key} was deleted"));
        };
        let Some(there) = self.stems.get(&backup.stem).and_then(|at| self.there.get_mut(at.0))
        else {
            return Err(format!("R11: {key} was deleted and is the key of no database"));
        };
        there.remove(&backup.hour);
        let next = there.range(backup.hour..).next();
        let Some((&next, _)) = next else {
            return Err(format!("R4: {key} was deleted, and was the newest"));
        };
        let (until, _) = self.rules.wanted_until(backup.hour, next);
        if until.duration_since(now) > MAX_SKEW {
            return Err(format!("R4: {key} was deleted, and is wanted until {until}"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ultrasimple_core::footer::FooterFields;
    use ultrasimple_core::{CheckResult, object};

    use super::*;

    fn truth() -> Truth {
        let mut truth = Truth::new(RetentionRules::default());
        truth.create(&"v".parse().unwrap(), 4).unwrap();
        truth
    }

    const ONE: DatabaseNumber = DatabaseNumber(0);

    fn store(truth: &mut Truth, at: &str, epoch: u64) -> String {
        let (state, bytes) = truth.read(ONE).unwrap();
        let database = truth.database(ONE).unwrap();
        let captured_at = at.parse().unwrap();
        let fields = FooterFields {
            volume: database.shard.volume.clone(),
            path: database.path.clone(),
            shard: database.shard.shard,
            mode: state.commit,
            captured_at,
            node: "n".parse().unwrap(),
            epoch: Epoch(epoch),
            check: CheckResult::Passed,
            fingerprint: Some(state.digest),
        };
        let key = database.stem.at(Hour::of(captured_at)).to_string();
        let bytes = object::encode(&bytes, fields).unwrap().0.into();
        truth.take_in(&Change::Stored { key: key.clone(), bytes }, captured_at);
        key
    }

    #[test]
    fn a_key_that_goes_back_is_found_out() {
        let mut world = truth();
        let back = world.clone();
        store(&mut world, "2024-01-15T12:10:00Z", 2);
        world.commit(ONE);
        store(&mut world, "2024-01-15T12:20:00Z", 2);
        assert_eq!(world.violation, None);
        let mut older = world.clone();
        store(&mut older, "2024-01-15T12:30:00Z", 1);
        assert!(older.violation.unwrap().starts_with("R8"));
        world.databases.clone_from(&back.databases);
        store(&mut world, "2024-01-15T12:30:00Z", 3);
        assert!(world.violation.unwrap().starts_with("R5"));
    }

    #[test]
    fn what_counts_as_stored_must_be_the_newest() {
        let mut truth = truth();
        let digest = |truth: &Truth| truth.database(ONE).unwrap().state().unwrap().digest;
        let first = digest(&truth);
        assert!(truth.check_clean(first).is_err());
        store(&mut truth, "2024-01-15T12:10:00Z", 1);
        assert_eq!(truth.check_clean(first), Ok(()));
        truth.touch(ONE);
        assert_eq!(truth.check_clean(digest(&truth)), Ok(()));
        truth.commit(ONE);
        let second = digest(&truth);
        assert!(truth.check_clean(second).is_err() && !truth.is_backed_up(ONE));
        store(&mut truth, "2024-01-15T13:10:00Z", 1);
        assert!(truth.check_clean(second).is_ok() && truth.is_backed_up(ONE));
        truth.revert(ONE, 1);
        assert!(truth.check_clean(digest(&truth)).is_err(), "the content of before is not there");
        assert_eq!(truth.check_clean(first), Ok(()), "newer will do");
    }

    #[test]
    fn the_newest_and_what_is_wanted_may_not_be_deleted() {
        let mut truth = truth();
        let old = store(&mut truth, "2024-01-15T12:10:00Z", 1);
        let new = store(&mut truth, "2024-01-15T13:10:00Z", 1);
        let delete = |truth: &Truth, key: &str, at: &str| {
            let mut truth = truth.clone();
            truth.take_in(&Change::Deleted { key: key.to_owned() }, at.parse().unwrap());
            truth.violation.map(|why| why.get(..2).unwrap().to_owned())
        };
        assert_eq!(delete(&truth, &new, "2024-06-15T13:10:00Z").as_deref(), Some("R4"));
        assert_eq!(delete(&truth, &old, "2024-01-15T14:10:00Z").as_deref(), Some("R4"));
        assert_eq!(delete(&truth, &old, "2024-06-15T13:10:00Z"), None);
        assert_eq!(delete(&truth, "notes.txt", "2024-06-15T13:10:00Z").as_deref(), Some("R1"));
    }
}
