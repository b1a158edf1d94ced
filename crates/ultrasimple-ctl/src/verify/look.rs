//! Looking at one backup, and again at one that seems to be missing.

use std::collections::BTreeMap;
use std::sync::Arc;

use ultrasimple_core::catalog::{Edit, Record};
use ultrasimple_core::{BackupKey, Catalog, Clock, ETag, ShardKey, SystemClock};
use ultrasimple_keeper::verify::{Expected, VerifyError, verify};
use ultrasimple_keeper::{Verdict, Verified, catalogs};
use ultrasimple_sqlite::Capturer;
use ultrasimple_store::Store;

use super::report::{Came, Line};
use crate::known::Known;

/// What is needed to look.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look<'a> {
    pub(super) store: &'a dyn Store,
    pub(super) capturer: &'a Arc<Capturer>,
    pub(super) known: &'a Known,
}

/// What was seen.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) line: Line,
    /// What is to be recorded.
    pub(super) edit: Option<Edit>,
    /// There is no such object: somebody may have deleted it for a good reason.
    pub(super) is_missing: bool,
    /// Scratch had no room for it.
    pub(super) no_room: bool,
}

impl Look<'_> {
    pub(super) async fn at(&self, key: BackupKey) -> Seen {
        let seen = |line, edit| Seen { line, edit, is_missing: false, no_room: false };
        match self.verify(&key).await {
            Ok(verified) => {
                let is_failure = matches!(verified.verdict, Verdict::Failure(_));
                let is_missing = is_failure && verified.etag.is_none();
                let edit = edit(&key, &verified);
                Seen { is_missing, ..seen(Line::of(key, verified), edit) }
            }
            Err(error) => {
                let no_room = matches!(error, VerifyError::Scratch(_));
                Seen { no_room, ..seen(Line::error(key, error.to_string()), None) }
            }
        }
    }

    async fn verify(&self, key: &BackupKey) -> Result<Verified, VerifyError> {
        let entry = self.known.get(&key.stem);
        let place = entry.and_then(|entry| Some((self.known.volume(entry)?, &entry.path)));
        let record = place.map(|(volume, path)| (volume, Record::new(path.clone())));
        let expected = record.as_ref().map(|(volume, record)| Expected { volume, record });
        verify(self.store, self.capturer, key, expected).await
    }

    /// Of those that are missing, the ones that the catalogs still have, or never had; and what is to be
    /// recorded of them. The others were deleted, and their catalogs know.
    pub(super) async fn again(&self, missing: Vec<Line>) -> Vec<(Line, Option<Edit>)> {
        let mut read: BTreeMap<ShardKey, Option<Catalog>> = BTreeMap::new();
        let mut still = Vec::new();
        for line in missing {
            let entry = self.known.get(&line.key.stem);
            let Some(head) = entry.and_then(|entry| self.known.head(entry)) else {
                still.push((line, None));
                continue;
            };
            if !read.contains_key(&head.key) {
                let catalog = catalogs::read(self.store, &head.key).await.ok().flatten();
                read.insert(head.key.clone(), catalog.map(|(catalog, _)| catalog));
            }
            let Some(catalog) = read.get(&head.key).and_then(Option::as_ref) else {
                still.push((line, None));
                continue;
            };
            let record = catalog.databases.get(&line.key.stem);
            if let Some(held) = record.and_then(|record| record.hour(line.key.hour)) {
                let edit = verified(&line.key, held.etag.clone(), line.reason.clone());
                still.push((line, Some(edit)));
            }
        }
        still
    }
}

/// What the catalog is to say. Nothing of what could not be judged.
fn edit(key: &BackupKey, found: &Verified) -> Option<Edit> {
    let etag = found.etag.clone()?;
    let is_marked = found.footer.as_ref().is_some_and(|footer| footer.check.is_marked());
    match &found.verdict {
        Verdict::Ok => Some(verified(key, etag, None)),
        Verdict::Warning(_) if is_marked => Some(verified(key, etag, None)),
        Verdict::Warning(_) => None,
        Verdict::Failure(why) => Some(verified(key, etag, Some(why.clone()))),
    }
}

fn verified(key: &BackupKey, etag: ETag, fault: Option<String>) -> Edit {
    let BackupKey { stem, hour } = key.clone();
    let fault = fault.map(String::into_boxed_str);
    Edit::Verified { stem, hour, etag, at: SystemClock.now(), fault }
}

impl Line {
    fn of(key: BackupKey, found: Verified) -> Self {
        let (came, reason) = match found.verdict {
            Verdict::Ok => (Came::Ok, None),
            Verdict::Warning(why) => (Came::Warning, Some(why)),
            Verdict::Failure(why) => (Came::Failure, Some(why)),
        };
        Self::new(key, came, reason, found.footer.as_ref())
    }

    fn error(key: BackupKey, why: String) -> Self {
        Self::new(key, Came::Error, Some(why), None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Memory, hour, stem};
    use ultrasimple_core::catalog::HeldHour;
    use ultrasimple_core::{Epoch, ShardId, SourcePath, Timestamp};
    use ultrasimple_sqlite::CaptureOptions;

    /// A catalog with t1 and these hours.
    fn put(memory: &mut Memory, hours: &[u32]) {
        let key = ShardKey { volume: "default".parse().unwrap(), shard: ShardId(0) };
        let node = "n".parse().unwrap();
        let mut catalog = Catalog::new(key, 1, Epoch(1), node, Timestamp::UNIX_EPOCH);
        let mut record = Record::new(SourcePath::from_bytes(b"/t1.db"));
        for &index in hours {
            record.put_hour(HeldHour::new(hour(index), 1, ETag("e".into())));
        }
        catalog.databases.insert(stem("t1"), record);
        memory.put_bytes(catalog.key.object_key().as_str(), catalog.to_bytes().unwrap());
    }

    #[tokio::test]
    async fn what_was_deleted_meanwhile_is_not_missing() {
        let mut memory = Memory::default();
        put(&mut memory, &[1, 2]);
        let known = Known::load(&memory, true).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let capturer = Arc::new(Capturer::new(CaptureOptions::new(folder.path())).unwrap());
        // Retention deletes the first; the second is lost.
        put(&mut memory, &[2]);
        let look = Look { store: &memory, capturer: &capturer, known: &known };
        let mut missing = Vec::new();
        for (name, index) in [("t1", 1), ("t1", 2), ("unknown", 1)] {
            let seen = look.at(stem(name).at(hour(index))).await;
            assert!(seen.is_missing && seen.edit.is_none(), "{seen:?}");
            missing.push(seen.line);
        }
        let still = look.again(missing).await;
        let keys: Vec<_> = still.iter().map(|(line, _)| line.key.clone()).collect();
        assert_eq!(keys, [stem("t1").at(hour(2)), stem("unknown").at(hour(1))]);
        assert!(matches!(&still[0].1, Some(Edit::Verified { fault: Some(_), .. })), "{still:?}");
        assert!(still[1].1.is_none());
    }
}
