//! The object store's own side: what it has, and what each request does to it, all at once, when it arrives.

use std::collections::BTreeMap;

use bytes::Bytes;
use ultrasimple_core::{ContentHash, ObjectKey, Timestamp};
use ultrasimple_store::{ByteRange, Condition, ETag, ListedObject, ObjectInfo, StoreError, Stored};

/// What a node asks.
#[derive(Debug, Clone)]
pub(crate) enum Request {
    Put { key: ObjectKey, bytes: Bytes, condition: Condition },
    Get { key: ObjectKey, range: ByteRange },
    Head { key: ObjectKey },
    List { prefix: String, start_after: Option<String> },
    Delete { keys: Vec<ObjectKey> },
    Time,
}

/// What it is told.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    Put(Result<Stored, StoreError>),
    Get(Result<Option<(ObjectInfo, Bytes)>, StoreError>),
    Head(Result<Option<ObjectInfo>, StoreError>),
    List(Result<Vec<ListedObject>, StoreError>),
    Delete(Result<Vec<(ObjectKey, StoreError)>, StoreError>),
    Time(Result<Timestamp, StoreError>),
}

/// What a request changed.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    Stored { key: String, bytes: Bytes },
    Deleted { key: String },
}

impl Request {
    /// The reply that says that it failed.
    pub(crate) fn failed(&self, error: StoreError) -> Reply {
        match self {
            Self::Put { .. } => Reply::Put(Err(error)),
            Self::Get { .. } => Reply::Get(Err(error)),
            Self::Head { .. } => Reply::Head(Err(error)),
            Self::List { .. } => Reply::List(Err(error)),
            Self::Delete { .. } => Reply::Delete(Err(error)),
            Self::Time => Reply::Time(Err(error)),
        }
    }

    /// The error of a request of whose end nothing was heard.
    pub(crate) fn unheard(&self, why: &str) -> StoreError {
        match self {
            Self::Put { .. } | Self::Delete { .. } => StoreError::UnknownOutcome(why.to_owned()),
            _ => StoreError::Unavailable(why.to_owned()),
        }
    }

    /// In a word.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Put { .. } => "put",
            Self::Get { .. } => "get",
            Self::Head { .. } => "head",
            Self::List { .. } => "list",
            Self::Delete { .. } => "delete",
            Self::Time => "time",
        }
    }

    /// What it is about.
    pub(crate) fn subject(&self) -> String {
        match self {
            Self::Put { key, condition, .. } => match condition {
                Condition::Absent => format!("{key} if absent"),
                Condition::Matches(etag) => format!("{key} if {}", short(etag)),
                Condition::Always => format!("{key} always"),
            },
            Self::Get { key, .. } | Self::Head { key } => key.to_string(),
            Self::List { prefix, .. } => format!("{prefix}*"),
            Self::Delete { keys } => {
                keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
            }
            Self::Time => String::new(),
        }
    }
}

/// The beginning of a tag, for people.
pub(crate) fn short(etag: &ETag) -> &str {
    etag.0.get(1..7).unwrap_or(&etag.0)
}

impl Reply {
    /// What went wrong, if anything did.
    pub(crate) fn error(&self) -> Option<&StoreError> {
        match self {
            Self::Put(Err(error))
            | Self::Get(Err(error))
            | Self::Head(Err(error))
            | Self::List(Err(error))
            | Self::Delete(Err(error))
            | Self::Time(Err(error)) => Some(error),
            _ => None,
        }
    }
}

/// The tag of an object: a hash of its bytes, as in S3.
pub(crate) fn tag(bytes: &[u8]) -> ETag {
    let hash = ContentHash::of(bytes).0;
    let (half, _) = hash.split_first_chunk::<16>().unwrap_or((&[0; 16], &[]));
    ETag(format!("\"{:032x}\"", u128::from_be_bytes(*half)).into())
}

#[derive(Debug, Clone)]
struct Object {
    bytes: Bytes,
    info: ObjectInfo,
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bucket {
    objects: BTreeMap<String, Object>,
    /// On purpose, to see that it is found out.
    pub(crate) ignores_conditions: bool,
}

impl Bucket {
    /// Does what is asked.
    pub(crate) fn apply(&mut self, request: &Request, now: Timestamp) -> (Reply, Vec<Change>) {
        let mut changes = Vec::new();
        let reply = match request {
            Request::Put { key, bytes, condition } => {
                let put = self.put(key, bytes, condition, now);
                if put.is_ok() {
                    let (key, bytes) = (key.as_str().to_owned(), bytes.clone());
                    changes.push(Change::Stored { key, bytes });
                }
                Reply::Put(put)
            }
            Request::Get { key, range } => {
                Reply::Get(Ok(self.objects.get(key.as_str()).map(|object| {
                    let len = object.bytes.len();
                    let from = match range {
                        ByteRange::Full => 0,
                        ByteRange::Last(last) => {
                            len.saturating_sub(usize::try_from(*last).unwrap_or(usize::MAX))
                        }
                    };
                    (object.info.clone(), object.bytes.slice(from..))
                })))
            }
            Request::Head { key } => {
                Reply::Head(Ok(self.objects.get(key.as_str()).map(|object| object.info.clone())))
            }
            Request::List { prefix, start_after } => {
                Reply::List(Ok(self.list(prefix, start_after.as_deref())))
            }
            Request::Delete { keys } => {
                for key in keys {
                    if self.objects.remove(key.as_str()).is_some() {
                        changes.push(Change::Deleted { key: key.as_str().to_owned() });
                    }
                }
                Reply::Delete(Ok(Vec::new()))
            }
            Request::Time => {
                let second = Timestamp::from_second(now.as_second()).unwrap_or(now);
                Reply::Time(Ok(second))
            }
        };
        (reply, changes)
    }

    fn put(
        &mut self,
        key: &ObjectKey,
        bytes: &Bytes,
        condition: &Condition,
        now: Timestamp,
    ) -> Result<Stored, StoreError> {
        let there = self.objects.get(key.as_str()).map(|object| &object.info.etag);
        let holds = match condition {
            Condition::Absent => there.is_none(),
            Condition::Matches(etag) => there == Some(etag),
            Condition::Always => true,
        };
        if !holds && !self.ignores_conditions {
            return Err(StoreError::ConditionFailed);
        }
        let (etag, size) = (tag(bytes), bytes.len() as u64);
        let info = ObjectInfo { etag: etag.clone(), size, modified: now };
        self.objects.insert(key.as_str().to_owned(), Object { bytes: bytes.clone(), info });
        Ok(Stored { etag, size })
    }

    fn list(&self, prefix: &str, start_after: Option<&str>) -> Vec<ListedObject> {
        let from = self.objects.range(prefix.to_owned()..);
        let matching = from.take_while(|(key, _)| key.starts_with(prefix));
        let after =
            matching.filter(|(key, _)| start_after.is_none_or(|after| key.as_str() > after));
        let listed = after.map(|(key, object)| ListedObject {
            key: key.clone(),
            size: object.info.size,
            etag: object.info.etag.clone(),
            modified: object.info.modified,
        });
        listed.collect()
    }

    /// What is under a key.
    pub(crate) fn get(&self, key: &str) -> Option<(&Bytes, &ETag)> {
        self.objects.get(key).map(|object| (&object.bytes, &object.info.etag))
    }

    #[cfg(test)]
    fn keys(&self) -> impl Iterator<Item = &str> + '_ {
        self.objects.keys().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(bucket: &mut Bucket, text: &'static str, condition: Condition) -> Result<ETag, ()> {
        let key = ObjectKey::new("a/b").unwrap();
        let request = Request::Put { key, bytes: Bytes::from_static(text.as_bytes()), condition };
        match bucket.apply(&request, Timestamp::UNIX_EPOCH) {
            (Reply::Put(Ok(stored)), changes) if changes.len() == 1 => Ok(stored.etag),
            (Reply::Put(Err(StoreError::ConditionFailed)), changes) if changes.is_empty() => {
                Err(())
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn writes_are_conditional() {
        let mut bucket = Bucket::default();
        let first = put(&mut bucket, "1", Condition::Absent).unwrap();
        assert_eq!(put(&mut bucket, "2", Condition::Absent), Err(()));
        let second = put(&mut bucket, "2", Condition::Matches(first.clone())).unwrap();
        assert_eq!(put(&mut bucket, "3", Condition::Matches(first.clone())), Err(()));
        assert_eq!(put(&mut bucket, "2", Condition::Matches(second.clone())), Ok(second));
        bucket.ignores_conditions = true;
        assert_eq!(put(&mut bucket, "1", Condition::Absent), Ok(first));
    }

    #[test]
    fn listings_are_of_a_prefix_and_ranges_of_the_end() {
        let mut bucket = Bucket::default();
        for key in ["a/1", "a/2", "b/1"] {
            let key = ObjectKey::new(key).unwrap();
            let bytes = Bytes::from_static(b"0123456789");
            let request = Request::Put { key, bytes, condition: Condition::Absent };
            bucket.apply(&request, Timestamp::UNIX_EPOCH);
        }
        let mut keys = |prefix: &str, after: Option<&str>| {
            let (prefix, start_after) = (prefix.to_owned(), after.map(str::to_owned));
            let request = Request::List { prefix, start_after };
            let (Reply::List(Ok(listed)), _) = bucket.apply(&request, Timestamp::UNIX_EPOCH) else {
                panic!("no listing");
            };
            listed.into_iter().map(|object| object.key).collect::<Vec<_>>()
        };
        assert_eq!(keys("a/", None), ["a/1", "a/2"]);
        assert_eq!(keys("", Some("a/1")), ["a/2", "b/1"]);
        let key = ObjectKey::new("a/1").unwrap();
        let get = Request::Get { key: key.clone(), range: ByteRange::Last(3) };
        let (Reply::Get(Ok(Some((info, bytes)))), _) = bucket.apply(&get, Timestamp::UNIX_EPOCH)
        else {
            panic!("nothing there");
        };
        assert_eq!((info.size, &bytes[..]), (10, &b"789"[..]));
        bucket.apply(&Request::Delete { keys: vec![key] }, Timestamp::UNIX_EPOCH);
        assert_eq!(bucket.keys().collect::<Vec<_>>(), ["a/2", "b/1"]);
    }
}
