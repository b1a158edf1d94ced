//! From what `-bucket` says to a store that is ready to be asked.

use std::sync::Arc;

use crate::{CountedStore, DirectoryStore, Location, S3Options, S3Store, Store, StoreError};

/// Opens the store at `location`. All its requests are counted in `s3.counters`.
///
/// For a bucket, `s3` says how to reach it (its `bucket` and `prefix` are taken from `location`), and
/// nothing is sent yet: [`crate::probe()`] finds out whether it works. A directory is created when
/// `create` says so.
///
/// # Errors
/// [`StoreError::Invalid`] when an option cannot work; for a directory also what the file system says.
pub async fn open(
    location: &Location,
    s3: S3Options,
    create: bool,
) -> Result<Arc<dyn Store>, StoreError> {
    match location {
        Location::S3 { bucket, prefix } => {
            let options = S3Options { bucket: bucket.clone(), prefix: prefix.clone(), ..s3 };
            Ok(Arc::new(S3Store::connect(options).await?))
        }
        Location::Directory(path) => {
            let directory = DirectoryStore::open(path, create).await?;
            Ok(Arc::new(CountedStore::new(directory, s3.counters)))
        }
    }
}
