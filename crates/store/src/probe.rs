//! Does the store do what backups need of it? Asked once, at the start.
//!
//! Servers differ in ways that only show when it is too late: some ignore `If-None-Match` and `If-Match`,
//! some store an upload's checksum trailer as content. So a small object is written, read back and
//! compared, overwritten where that must be refused, and deleted.

use bytes::Bytes;
use futures::TryStreamExt;
use ultrasimple_core::ObjectKey;

use crate::{Body, ByteRange, Capabilities, Condition, ETag, Store, StoreError};

/// Where probes are written, each under a name of its own.
pub const PROBE_PREFIX: &str = ".ultrasimple/v1/probe/";
/// Several times what a checksum trailer adds, so that one cannot hide.
const CONTENT_BYTES: usize = 1_500;

/// What a probe found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbeReport {
    /// What the store can do. The store knows it now, too ([`Store::learn`]).
    pub capabilities: Capabilities,
}

/// Proves that objects can be written, read back as they were, and deleted, and finds out whether the
/// conditions of writes are honoured. Costs at most 5 PUT, 1 GET and 1 DELETE. What was written is
/// deleted, also when a step fails.
///
/// # Errors
/// Why the store cannot be used, with what to do: no such bucket, access denied, no answer, or
/// [`StoreError::Untrustworthy`] when what was read is not what was written.
pub async fn probe(store: &dyn Store) -> Result<ProbeReport, StoreError> {
    let name = unique_name();
    let key = ObjectKey::new(format!("{PROBE_PREFIX}{name}"))
        .map_err(|error| StoreError::Invalid(error.to_string()))?;
    let probe = Probe { store, key: &key, name: &name };
    let first = match probe.first_write().await {
        Ok(etag) => etag,
        Err(error) => {
            // Perhaps it is there nevertheless.
            if let StoreError::UnknownOutcome(_) | StoreError::Untrustworthy(_) = error {
                let _ = probe.remove().await;
            }
            return Err(error);
        }
    };
    let probed = probe.run(first).await;
    let cleaned = probe.remove().await;
    let capabilities = probed?;
    cleaned?;
    store.learn(capabilities);
    Ok(ProbeReport { capabilities })
}

struct Probe<'a> {
    store: &'a dyn Store,
    key: &'a ObjectKey,
    name: &'a str,
}

impl Probe<'_> {
    async fn first_write(&self) -> Result<ETag, StoreError> {
        match self.put(1, Condition::Absent).await {
            // Servers that do not know the header may refuse it.
            Err(StoreError::Invalid(_)) => self.put(1, Condition::Always).await,
            other => other,
        }
    }

    async fn run(&self, first: ETag) -> Result<Capabilities, StoreError> {
        self.read_back(&content(self.name, 1)).await?;
        // There is one: must be refused.
        let absent = outcome(self.put(2, Condition::Absent).await)?;
        let put_if_absent = matches!(absent, Outcome::ConditionFailed);
        let current = match absent {
            Outcome::Stored(etag) => etag,
            Outcome::ConditionFailed | Outcome::NotSupported => first,
        };
        // No object has such a tag: must be refused.
        let other = ETag("\"00000000000000000000000000000000\"".into());
        let put_if_matches = match outcome(self.put(3, Condition::Matches(other)).await)? {
            Outcome::Stored(_) | Outcome::NotSupported => false,
            // And this must be taken.
            Outcome::ConditionFailed => {
                let matching = self.put(4, Condition::Matches(current)).await;
                matches!(outcome(matching)?, Outcome::Stored(_))
            }
        };
        Ok(Capabilities { put_if_absent, put_if_matches })
    }

    async fn put(&self, number: u8, condition: Condition) -> Result<ETag, StoreError> {
        let body = Body::Bytes(content(self.name, number));
        self.store.put(self.key, body, condition).await.map(|stored| stored.etag)
    }

    async fn read_back(&self, expected: &Bytes) -> Result<(), StoreError> {
        let (location, key) = (self.store.location(), self.key);
        let Some(object) = self.store.get(key, ByteRange::Full).await? else {
            return Err(StoreError::Untrustworthy(format!(
                "{location} confirmed the write of {key} but does not have it"
            )));
        };
        let chunks: Vec<Bytes> = object.body.try_collect().await?;
        let read = chunks.concat();
        if read == *expected {
            return Ok(());
        }
        let (read, expected) = (read.len(), expected.len());
        Err(StoreError::Untrustworthy(format!(
            "{location} gave back {read} bytes of {key} that are not the {expected} bytes written to \
             it: a server or a proxy on the way changes the content of objects"
        )))
    }

    async fn remove(&self) -> Result<(), StoreError> {
        let failed = self.store.delete(std::slice::from_ref(self.key)).await?;
        match failed.into_iter().next() {
            None => Ok(()),
            Some((_, error)) => Err(error),
        }
    }
}

/// What became of a conditional write.
enum Outcome {
    Stored(ETag),
    ConditionFailed,
    /// The store refuses the condition itself.
    NotSupported,
}

fn outcome(result: Result<ETag, StoreError>) -> Result<Outcome, StoreError> {
    match result {
        Ok(etag) => Ok(Outcome::Stored(etag)),
        Err(StoreError::ConditionFailed) => Ok(Outcome::ConditionFailed),
        Err(StoreError::Invalid(_)) => Ok(Outcome::NotSupported),
        Err(error) => Err(error),
    }
}

/// Bytes that tell which probe and which of its writes they are.
fn content(name: &str, number: u8) -> Bytes {
    let line = format!("ultrasimple probe {name}, write {number}\r\n");
    line.bytes().cycle().take(CONTENT_BYTES).collect()
}

/// Different for each call, on any host.
fn unique_name() -> String {
    use std::collections::hash_map::RandomState;
    use std::hash::{BuildHasher, Hasher};
    // Each RandomState has keys of its own, seeded by the operating system.
    let random = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", random(), random())
}
