//! How a world begins: databases that were backed up for some hours, or a bucket that has nothing.

use bytes::Bytes;
use ultrasimple_core::catalog::{Change, Edit, Newest, StoredBackup};
use ultrasimple_core::cluster_file::ClusterFile;
use ultrasimple_core::footer::FooterFields;
use ultrasimple_core::{
    Catalog, CheckResult, Epoch, Hour, ObjectKey, ShardId, ShardKey, Timestamp, VolumeName, object,
};
use ultrasimple_store::Condition;

use crate::bucket::{Bucket, Request, tag};
use crate::clock::BEGINNING;
use crate::random::Random;
use crate::settings::Settings;
use crate::truth::{DatabaseNumber, Truth};
use crate::work::holder;

const HOUR: i64 = 3_600;
/// The bucket's generation: nothing before the fleet reached it.
const GENERATION: u64 = 3;

/// Makes the bucket and the databases of a world.
pub(crate) fn make(
    random: &mut Random,
    settings: &Settings,
    volumes: &[VolumeName],
) -> Option<(Bucket, Truth)> {
    let mut making = Making { bucket: Bucket::default(), truth: Truth::new(settings.rules) };
    let file = ClusterFile::first("bucket".into(), settings.shards, holder(), GENERATION - 1);
    making.put(&ClusterFile::key(), file.to_bytes().ok()?.into(), 0);
    let mut numbers = Vec::new();
    for at in 0..settings.databases {
        // Three of four are on the volume that all mount.
        let volume = volumes.get(usize::from(at % 4 == 3))?;
        numbers.push(making.truth.create(volume, settings.shards)?);
    }
    if random.chance(150) {
        // The first start ever.
        return Some((making.bucket, making.truth));
    }
    making.foreign(numbers.first().copied()?)?;
    let mut stored = Vec::new();
    for &number in &numbers {
        stored.push((number, making.history(random, number)?));
    }
    for volume in volumes {
        for shard in 0..settings.shards {
            let key = ShardKey { volume: volume.clone(), shard: ShardId(shard) };
            // Some catalogs are lost.
            if !random.chance(100) {
                making.catalog(&key, settings.shards, &stored)?;
            }
        }
    }
    // What changed while nobody looked.
    for number in numbers {
        if random.chance(300) {
            making.truth.commit(number);
        }
    }
    making.truth.moved.clear();
    Some((making.bucket, making.truth))
}

struct Making {
    bucket: Bucket,
    truth: Truth,
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap_or(Timestamp::UNIX_EPOCH)
}

impl Making {
    fn put(&mut self, key: &ObjectKey, bytes: Bytes, second: i64) {
        let put = Request::Put { key: key.clone(), bytes, condition: Condition::Absent };
        let (_, changes) = self.bucket.apply(&put, at(second));
        for change in &changes {
            self.truth.take_in(change, at(second));
        }
    }

    /// Objects that only look like ours, or not even that.
    fn foreign(&mut self, like: DatabaseNumber) -> Option<()> {
        let stem = self.truth.database(like)?.stem.clone();
        let old = stem.at(Hour::of(at(BEGINNING - 40 * HOUR))).object_key();
        for key in [old, ObjectKey::new("notes.txt").ok()?] {
            let bytes = Bytes::from_static(b"not ours");
            let put = Request::Put { key: key.clone(), bytes, condition: Condition::Absent };
            self.bucket.apply(&put, at(0));
            self.truth.put_foreign(key.as_str().to_owned());
        }
        Some(())
    }

    /// Backups of some of the last hours.
    fn history(
        &mut self,
        random: &mut Random,
        number: DatabaseNumber,
    ) -> Option<Vec<StoredBackup>> {
        let mut stored = Vec::new();
        for hours in (1..=4).rev() {
            let is_last = hours == 1;
            if !is_last && random.chance(500) {
                continue;
            }
            let second = BEGINNING - hours * HOUR;
            let (state, image) = self.truth.read(number)?;
            let database = self.truth.database(number)?;
            let fields = FooterFields {
                volume: database.shard.volume.clone(),
                path: database.path.clone(),
                shard: database.shard.shard,
                mode: state.commit,
                captured_at: at(second),
                node: "before".parse().ok()?,
                epoch: Epoch::new(GENERATION - 1, 1),
                check: CheckResult::Passed,
                fingerprint: Some(state.digest),
            };
            let key = database.stem.at(Hour::of(at(second))).object_key();
            let (bytes, footer) = object::encode(&image, fields).ok()?;
            let bytes = Bytes::from(bytes);
            let (size, etag, newest) = (bytes.len() as u64, tag(&bytes), Newest::of(&footer));
            stored.push(StoredBackup { bytes: size, etag, newest });
            self.put(&key, bytes, second);
            if !is_last {
                self.truth.commit(number);
            }
        }
        Some(stored)
    }

    fn catalog(
        &mut self,
        key: &ShardKey,
        shards: u32,
        stored: &[(DatabaseNumber, Vec<StoredBackup>)],
    ) -> Option<()> {
        let (epoch, second) = (Epoch::new(GENERATION - 1, 1), BEGINNING - HOUR);
        let mut catalog =
            Catalog::new(key.clone(), shards, epoch, "before".parse().ok()?, at(second));
        for (number, stored) in stored {
            let database = self.truth.database(*number)?;
            let state = database.state()?;
            if database.shard == *key {
                catalog.edit(Edit::Change(Change {
                    stem: database.stem.clone(),
                    path: database.path.clone(),
                    stored: stored.clone(),
                    fingerprint: Some((state.digest, state.content.short())),
                    failed_check: None,
                    gone_since: None,
                }));
            }
        }
        let bytes = catalog.to_bytes().ok()?.into();
        self.put(&key.object_key(), bytes, second);
        Some(())
    }
}
