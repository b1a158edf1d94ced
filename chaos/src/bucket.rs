//! The bucket as it is, past recorder and faults; and what was in it before any node came.

use anyhow::{Context, Result};
use futures::TryStreamExt as _;
use ultrasimple_core::{BackupKey, Catalog, ObjectKey, ShardKey, object};
use ultrasimple_store::{Body, ByteRange, Condition, S3Options, S3Store, Store as _};
use ultrasimple_testkit::bank;
use ultrasimple_testkit::seaweed::{ADMIN, SeaweedFs};

use crate::check::{Listing, Violation};
use crate::stage::BUCKET;

/// What is in the name of an object that only its lack of a footer tells from a backup.
pub(crate) const LIKE_OURS: &str = "elsewhere/foreign";
/// Objects of others that look almost like ours, some of them old enough for retention.
const FOREIGN: [(&str, &str); 4] = [
    ("readme.txt", "not a backup"),
    ("t1/t1-20200101-000000.db.lz4.bak", "not a backup"),
    ("t1/t1-20200101-003000.db.lz4", "no full hour"),
    ("elsewhere/foreign-20200101-000000.db.lz4", "no footer"),
];

/// A client of the store that meets no fault.
#[derive(Debug)]
pub(crate) struct Bucket(S3Store);

impl Bucket {
    pub(crate) async fn open(server: &SeaweedFs) -> Result<Self> {
        let options = S3Options {
            bucket: BUCKET.to_owned(),
            endpoint_url: Some(server.endpoint()),
            access_key: Some(ADMIN.access_key.to_owned()),
            secret_key: Some(ADMIN.secret_key.to_owned()),
            ..S3Options::default()
        };
        Ok(Self(S3Store::connect(options).await?))
    }

    /// Puts objects of others there; gives what the bucket then has.
    pub(crate) async fn put_foreign(&self) -> Result<Listing> {
        for (key, text) in FOREIGN {
            let body = Body::Bytes(text.as_bytes().into());
            self.0.put(&ObjectKey::new(key)?, body, Condition::Always).await?;
        }
        self.list().await
    }

    pub(crate) async fn list(&self) -> Result<Listing> {
        let objects: Vec<_> = self.0.list("", None).try_collect().await?;
        let entry = |object: ultrasimple_store::ListedObject| {
            let etag = object.etag.0.trim_matches('"').to_owned();
            (object.key, (etag, object.size))
        };
        Ok(objects.into_iter().map(entry).collect())
    }

    pub(crate) async fn get(&self, key: &str) -> Result<Vec<u8>> {
        let found = self.0.get(&ObjectKey::new(key)?, ByteRange::Full).await?;
        let object = found.with_context(|| format!("{key} is gone"))?;
        Ok(object.bytes(u64::MAX).await?.to_vec())
    }

    /// Reads every stored hour back and proves its bank. Gives how many there are, and what is wrong.
    pub(crate) async fn prove(&self, listing: &Listing) -> Result<(usize, Vec<Violation>)> {
        let is_backup =
            |key: &&String| BackupKey::parse(key).is_some() && !key.starts_with(LIKE_OURS);
        let (mut proved, mut wrong) = (0, Vec::new());
        for key in listing.keys().filter(is_backup) {
            let mut image = Vec::new();
            let object = self.get(key).await?;
            let decoded = object::decode(object.as_slice(), &mut image);
            let held = decoded.map_err(|error| error.to_string());
            match held.and_then(|_| bank::verify_image(&image)) {
                Ok(_) => proved += 1,
                Err(why) => wrong.push(Violation::new("R2", format!("{key}: {why}"))),
            }
        }
        Ok((proved, wrong))
    }

    /// All catalogs of this listing.
    pub(crate) async fn catalogs(&self, listing: &Listing) -> Result<Vec<Catalog>> {
        let mut catalogs = Vec::new();
        for (key, shard) in listing.keys().filter_map(|key| Some((key, ShardKey::parse(key)?))) {
            catalogs.push(Catalog::parse(&self.get(key).await?, &shard)?);
        }
        Ok(catalogs)
    }
}
