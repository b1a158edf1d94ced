//! Proving a backup: reading it back, decompressing it, comparing its BLAKE3, and `integrity_check`.

use std::sync::Arc;

use ultrasimple_core::catalog::Record;
use ultrasimple_core::{BackupKey, CheckLevel, CheckResult, ETag, Footer, Hour, VolumeName};
use ultrasimple_sqlite::{CaptureError, Capturer, ScratchFile};
use ultrasimple_store::{FetchError, Store, StoreError, fetch};

/// How a backup is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It can be restored, and is what it says.
    Ok,
    /// It can be restored, but something about it is worth knowing.
    Warning(String),
    /// It cannot be restored, or is not what its key says.
    Failure(String),
}

/// What was found, and of which object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// How it is.
    pub verdict: Verdict,
    /// The tag of the object that was read; none when there was no whole one.
    pub etag: Option<ETag>,
    /// Its footer, where it has one and the image is what that says.
    pub footer: Option<Footer>,
}

/// What is known of the database whose backup is looked at.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The volume.
    pub volume: &'a VolumeName,
    /// What the catalog says.
    pub record: &'a Record,
}

/// Why a backup could not be looked at. Says nothing about the backup.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The store could not be read.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// Scratch could not be used.
    #[error("{0}")]
    Scratch(String),
}

impl From<CaptureError> for VerifyError {
    fn from(error: CaptureError) -> Self {
        Self::Scratch(error.to_string())
    }
}

/// Reads a backup back and checks it. Memory is bounded; the image goes to scratch for as long as it is
/// checked.
///
/// # Errors
/// When the store or scratch cannot be used.
pub async fn verify(
    store: &dyn Store,
    capturer: &Arc<Capturer>,
    key: &BackupKey,
    expected: Option<Expected<'_>>,
) -> Result<Verified, VerifyError> {
    let scratch = Arc::clone(capturer);
    let file = blocking(move || scratch.scratch_file()).await??;
    let failure =
        |why: String| Verified { verdict: Verdict::Failure(why), etag: None, footer: None };
    let (footer, info, file) = match fetch(store, &key.object_key(), file).await {
        Ok(fetched) => fetched,
        Err(FetchError::Store(error)) => return Err(error.into()),
        Err(FetchError::Write(error)) => return Err(VerifyError::Scratch(error.to_string())),
        Err(FetchError::Newer(error)) => {
            let verdict = Verdict::Warning(format!("it cannot be judged: {error}"));
            return Ok(Verified { verdict, etag: None, footer: None });
        }
        Err(FetchError::Missing) => return Ok(failure("it is missing".to_owned())),
        Err(error) => return Ok(failure(error.to_string())),
    };
    let verdict = match mismatch(key, &footer, expected) {
        Some(why) => Verdict::Failure(why),
        None => integrity(file, &footer).await?,
    };
    Ok(Verified { verdict, etag: Some(info.etag), footer: Some(footer) })
}

/// What the footer says that the key, or the catalog, does not: a backup that stands in another's place.
fn mismatch(key: &BackupKey, footer: &Footer, expected: Option<Expected<'_>>) -> Option<String> {
    let Footer { path, volume, captured_at, .. } = footer;
    let other = || format!("it is the backup of another database: {path} (volume {volume})");
    if let Some(Expected { volume: expected_volume, record }) = expected {
        if (expected_volume, &record.path) != (volume, path) {
            return Some(other());
        }
    } else if !key.stem.is_of(path) {
        return Some(other());
    }
    let hour = Hour::of(*captured_at);
    (hour != key.hour).then(|| {
        format!("it is the backup of another hour: captured {captured_at}, which belongs to {hour}")
    })
}

async fn integrity(mut file: ScratchFile, footer: &Footer) -> Result<Verdict, VerifyError> {
    let found = blocking(move || file.check(CheckLevel::Full)).await?;
    let marked = footer.check.is_marked();
    Ok(match found {
        Ok(CheckResult::Failed(finding)) if marked => Verdict::Warning(format!(
            "it is what was captured, but marked: the database was damaged then ({finding})"
        )),
        Ok(CheckResult::Failed(finding)) => {
            Verdict::Failure(format!("integrity_check finds: {finding}"))
        }
        Ok(_) if marked => Verdict::Warning(
            "it is marked as damaged, but integrity_check finds nothing".to_owned(),
        ),
        Ok(_) => Verdict::Ok,
        Err(error) => Verdict::Warning(format!("its content is right, but unchecked: {error}")),
    })
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, VerifyError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| VerifyError::Scratch(format!("the check was given up: {error}")))
}
