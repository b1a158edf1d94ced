//! Proving a backup: reading it back, decompressing it, comparing its BLAKE3, and `integrity_check`.

use std::sync::Arc;

use ultrasimple_core::catalog::Record;
use ultrasimple_core::{BackupKey, CheckLevel, CheckResult, ETag, Footer, VolumeName};
use ultrasimple_sqlite::{CaptureError, Capturer, CheckError, ScratchFile};
use ultrasimple_store::{ByteRange, FetchError, Store, StoreError, fetch};
use ultrasimple_trace::catalogue::{DOWNLOAD, OUTCOME, VERIFICATION};
use ultrasimple_trace::{child, here};

use crate::identity::{Identity, other_hour};

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

impl Verdict {
    fn word(&self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning(_) => "warning",
            Self::Failure(_) => "failure",
        }
    }
}

/// What was found, and of which object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// How it is.
    pub verdict: Verdict,
    /// The tag of the object that was read, also of a damaged one; none when there was none.
    pub etag: Option<ETag>,
    /// Its footer, where the image is what that says.
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

/// Reads a backup back and checks it. One that is damaged is read once more before that is said: what flipped a
/// bit may have been the way, not the place. Memory is bounded; the image goes to scratch for as long as it is
/// checked, and counts against its spool limit.
///
/// # Errors
/// When the store or scratch cannot be used.
pub async fn verify(
    store: &dyn Store,
    capturer: &Arc<Capturer>,
    key: &BackupKey,
    expected: Option<Expected<'_>>,
) -> Result<Verified, VerifyError> {
    let mut span = child(&VERIFICATION);
    span.object(store.location(), key);
    let once = || verify_once(store, capturer, key, expected);
    let verified = span.within(async {
        match once().await? {
            Verified { verdict: Verdict::Failure(_), etag: Some(_), footer: None } => once().await,
            first => Ok(first),
        }
    });
    let verified = verified.await;
    match &verified {
        Ok(Verified { verdict, .. }) => {
            span.set(&OUTCOME, verdict.word());
            if let Verdict::Failure(why) = verdict {
                span.fail("corrupt", why);
            }
        }
        Err(error @ VerifyError::Store(_)) => span.fail("store", error),
        Err(error @ VerifyError::Scratch(_)) => span.fail("scratch", error),
    }
    verified
}

async fn verify_once(
    store: &dyn Store,
    capturer: &Arc<Capturer>,
    key: &BackupKey,
    expected: Option<Expected<'_>>,
) -> Result<Verified, VerifyError> {
    let mut span = child(&DOWNLOAD);
    span.object(store.location(), key);
    let object = store.get(&key.object_key(), ByteRange::Full).await;
    let Some(object) = object.inspect_err(|error| span.fail("store", error))? else {
        span.fail("missing", &"it is missing");
        let verdict = Verdict::Failure("it is missing".to_owned());
        return Ok(Verified { verdict, etag: None, footer: None });
    };
    let etag = Some(object.info.etag.clone());
    let scratch = Arc::clone(capturer);
    let file = blocking(move || scratch.scratch_file()).await??;
    let read = fetch::read(object, file).await.inspect_err(|error| span.fail("fetch", error));
    drop(span);
    let (footer, file) = match read {
        Ok((footer, _, file)) => (footer, file),
        Err(FetchError::Store(error)) => return Err(error.into()),
        Err(FetchError::Write(error)) => return Err(VerifyError::Scratch(error.to_string())),
        Err(FetchError::Newer(error)) => {
            let verdict = Verdict::Warning(format!("it cannot be judged: {error}"));
            return Ok(Verified { verdict, etag, footer: None });
        }
        Err(error) => {
            let verdict = Verdict::Failure(error.to_string());
            return Ok(Verified { verdict, etag, footer: None });
        }
    };
    let verdict = match mismatch(key, &footer, expected) {
        Some(why) => Verdict::Failure(format!("it {why}")),
        None => integrity(file, &footer).await?,
    };
    Ok(Verified { verdict, etag, footer: Some(footer) })
}

/// What the footer says that the key, or the catalog, does not: a backup that stands in another's place.
fn mismatch(key: &BackupKey, footer: &Footer, expected: Option<Expected<'_>>) -> Option<String> {
    let Footer { path, volume, .. } = footer;
    if let Some(Expected { volume, record }) = expected {
        let identity = Identity { volume, path: &record.path, hour: key.hour };
        return identity.mismatch(footer);
    }
    if !key.stem.is_of(path) {
        return Some(format!("is the backup of another database: {path} (volume {volume})"));
    }
    other_hour(key.hour, footer)
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
        Err(error @ CheckError::Timeout { .. }) => {
            Verdict::Warning(format!("its content is right, but unchecked: {error}"))
        }
        Err(error) => return Err(VerifyError::Scratch(error.to_string())),
    })
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, VerifyError> {
    let here = here();
    let done = tokio::task::spawn_blocking(move || here.enter(work)).await;
    done.map_err(|error| VerifyError::Scratch(format!("the check was given up: {error}")))
}
