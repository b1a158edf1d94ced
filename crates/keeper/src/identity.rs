//! Whose backup an object is, by its footer: the one way in which it is told here.

use ultrasimple_core::{Footer, Hour, KeyStem, SourcePath, VolumeName};
use ultrasimple_store::{FetchError, Store, StoreError, footer};

/// Of a database whose newest backup cannot be read, so many are tried.
const TRIES: usize = 4;

/// What the footer of a backup has to say.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Identity<'a> {
    pub(crate) volume: &'a VolumeName,
    pub(crate) path: &'a SourcePath,
    pub(crate) hour: Hour,
}

impl Identity<'_> {
    /// What the object is instead, if it is another database's backup, or another hour's.
    pub(crate) fn mismatch(&self, footer: &Footer) -> Option<String> {
        let Footer { volume, path, .. } = footer;
        if (self.volume, self.path) != (volume, path) {
            return Some(format!("is the backup of another database: {path} (volume {volume})"));
        }
        other_hour(self.hour, footer)
    }
}

/// What the object is instead, if it is another hour's backup: a copy under a key that is not its own. Under a
/// later hour's, an old state would pass for a new one.
pub(crate) fn other_hour(hour: Hour, footer: &Footer) -> Option<String> {
    let captured_at = footer.captured_at;
    let own = Hour::of(captured_at);
    (own != hour).then(|| {
        format!("is the backup of another hour: captured {captured_at}, which belongs to {own}")
    })
}

/// Whose backups the objects of one stem are, by the newest footer that can be read.
#[derive(Debug)]
pub(crate) struct Owner {
    pub(crate) footer: Footer,
    /// Whether that is the newest backup's, and stands under its own hour.
    pub(crate) is_newest: bool,
}

/// Reads the footer of the newest backup that has one: of the last [`TRIES`] at most. `Err` within `Ok`: why the
/// newest cannot be read, when none can.
pub(crate) async fn identify(
    store: &dyn Store,
    stem: &KeyStem,
    hours: impl DoubleEndedIterator<Item = Hour>,
) -> Result<Result<Owner, String>, StoreError> {
    let mut first_error = None;
    for (tried, hour) in hours.rev().take(TRIES).enumerate() {
        match footer(store, &stem.at(hour).object_key()).await {
            Ok((footer, _)) => {
                let is_newest = tried == 0 && other_hour(hour, &footer).is_none();
                return Ok(Ok(Owner { footer, is_newest }));
            }
            Err(FetchError::Store(error)) => return Err(error),
            Err(error) => drop(first_error.get_or_insert(error.to_string())),
        }
    }
    Ok(Err(first_error.unwrap_or_else(|| "there is none".to_owned())))
}
