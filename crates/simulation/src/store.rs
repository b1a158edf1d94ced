//! A node's way to the simulated bucket: each call is a message there and one back.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use ultrasimple_core::{BackupKey, ObjectKey, Timestamp};
use ultrasimple_store::{
    Body, ByteRange, Capabilities, Condition, ListedObject, Object, ObjectInfo, RequestCounts,
    Store, StoreError, Stored,
};

use crate::bucket::{Reply, Request, tag};
use crate::kernel::{Kernel, Process};
use crate::sabotage::{Sabotage, without_epoch};

/// See the module.
pub(crate) struct SimulatedStore {
    kernel: Arc<Kernel>,
    process: Process,
    sabotage: Option<Sabotage>,
}

impl SimulatedStore {
    pub(crate) fn new(kernel: Arc<Kernel>, process: Process, sabotage: Option<Sabotage>) -> Self {
        Self { kernel, process, sabotage }
    }

    async fn ask(&self, request: Request) -> Reply {
        self.kernel.ask(self.process, request).await
    }
}

impl fmt::Debug for SimulatedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedStore").field("process", &self.process).finish_non_exhaustive()
    }
}

fn confused<T>() -> Result<T, StoreError> {
    Err(StoreError::Untrustworthy("the simulation gave another request's reply".to_owned()))
}

#[async_trait]
impl Store for SimulatedStore {
    fn location(&self) -> &'static str {
        "simulated"
    }

    fn max_key_bytes(&self) -> usize {
        1_024
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { put_if_absent: true, put_if_matches: true }
    }

    fn requests(&self) -> RequestCounts {
        RequestCounts::default()
    }

    async fn put(
        &self,
        key: &ObjectKey,
        body: Body,
        condition: Condition,
    ) -> Result<Stored, StoreError> {
        let Body::Bytes(bytes) = body else {
            return Err(StoreError::Invalid("nothing is streamed here".to_owned()));
        };
        let condition = match self.sabotage {
            Some(Sabotage::NoConditions) => Condition::Always,
            _ => condition,
        };
        let as_if_stored = || Stored { etag: tag(&bytes), size: bytes.len() as u64 };
        let request = Request::Put { key: key.clone(), bytes: bytes.clone(), condition };
        match self.ask(request).await {
            Reply::Put(Err(StoreError::UnknownOutcome(_)))
                if self.sabotage == Some(Sabotage::UnknownIsStored) =>
            {
                Ok(as_if_stored())
            }
            Reply::Put(Err(StoreError::ConditionFailed))
                if self.sabotage == Some(Sabotage::AdoptBlindly) =>
            {
                Ok(as_if_stored())
            }
            Reply::Put(stored) => stored,
            _ => confused(),
        }
    }

    async fn get(&self, key: &ObjectKey, range: ByteRange) -> Result<Option<Object>, StoreError> {
        match self.ask(Request::Get { key: key.clone(), range }).await {
            Reply::Get(found) => Ok(found?.map(|(info, bytes)| {
                let is_lied_to = self.sabotage == Some(Sabotage::NoEpoch);
                let bytes = if is_lied_to { without_epoch(&bytes) } else { bytes };
                let chunks: [Result<Bytes, StoreError>; 1] = [Ok(bytes)];
                Object { info, body: stream::iter(chunks).boxed() }
            })),
            _ => confused(),
        }
    }

    async fn head(&self, key: &ObjectKey) -> Result<Option<ObjectInfo>, StoreError> {
        match self.ask(Request::Head { key: key.clone() }).await {
            Reply::Head(found) => found,
            _ => confused(),
        }
    }

    fn list(
        &self,
        prefix: &str,
        start_after: Option<&str>,
    ) -> BoxStream<'_, Result<ListedObject, StoreError>> {
        let (prefix, start_after) = (prefix.to_owned(), start_after.map(str::to_owned));
        let page = async move {
            match self.ask(Request::List { prefix, start_after }).await {
                Reply::List(listed) => listed.map(|all| stream::iter(all.into_iter().map(Ok))),
                _ => confused(),
            }
        };
        stream::once(page).try_flatten().boxed()
    }

    async fn delete(&self, keys: &[ObjectKey]) -> Result<Vec<(ObjectKey, StoreError)>, StoreError> {
        let mut keys = keys.to_vec();
        if self.sabotage == Some(Sabotage::DeleteNewest) {
            for stem in keys.clone().iter().filter_map(|key| BackupKey::parse(key.as_str())) {
                let prefix = format!("{}-", stem.stem);
                let request = Request::List { prefix, start_after: None };
                if let Reply::List(Ok(listed)) = self.ask(request).await {
                    let newest = listed.last().map(|newest| ObjectKey::new(&newest.key));
                    keys.extend(newest.and_then(Result::ok));
                }
            }
        }
        match self.ask(Request::Delete { keys }).await {
            Reply::Delete(failed) => failed,
            _ => confused(),
        }
    }

    async fn time(&self) -> Result<Timestamp, StoreError> {
        match self.ask(Request::Time).await {
            Reply::Time(time) => time,
            _ => confused(),
        }
    }
}
