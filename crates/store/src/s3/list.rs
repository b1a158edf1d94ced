//! Listing a bucket, and deleting many of its objects at once.

use std::collections::HashMap;

use aws_sdk_s3::types::{Delete, EncodingType, ObjectIdentifier};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use percent_encoding::percent_decode_str;
use ultrasimple_core::ObjectKey;

use super::errors::{Effect, Said, classify, store_error};
use super::read::info;
use super::{Shared, digest};
use crate::counted::{LIST_PAGE, RequestKind};
use crate::{ListedObject, StoreError};

/// Where a listing goes on.
enum Position {
    Start(Option<String>),
    Token(String),
    End,
}

/// All objects under `prefix`, page by page.
pub(super) fn list<'a>(
    shared: &'a Shared,
    prefix: &str,
    start_after: Option<&str>,
) -> BoxStream<'a, Result<ListedObject, StoreError>> {
    let prefix = format!("{}{prefix}", shared.prefix);
    let start = Position::Start(start_after.map(|key| format!("{}{key}", shared.prefix)));
    stream::try_unfold((start, prefix), move |(position, prefix)| async move {
        let page = list_page(shared, &prefix, position).await?;
        let page = page.map(|(objects, next)| {
            (stream::iter(objects.into_iter().map(Ok::<_, StoreError>)), (next, prefix))
        });
        Ok::<_, StoreError>(page)
    })
    .try_flatten()
    .boxed()
}

type Page = (Vec<ListedObject>, Position);

async fn list_page(
    shared: &Shared,
    prefix: &str,
    position: Position,
) -> Result<Option<Page>, StoreError> {
    let (start_after, token) = match position {
        Position::Start(start_after) => (start_after, None),
        Position::Token(token) => (None, Some(token)),
        Position::End => return Ok(None),
    };
    let what = format!("list {prefix}");
    let lies = |reason: &str| {
        let endpoint = &shared.endpoint;
        StoreError::Untrustworthy(format!("{what}: the answer of {endpoint} {reason}"))
    };
    let request = shared
        .client
        .list_objects_v2()
        .bucket(&shared.bucket)
        .prefix(prefix)
        .max_keys(i32::try_from(LIST_PAGE).unwrap_or(i32::MAX))
        // Keys may contain what XML cannot.
        .encoding_type(EncodingType::Url)
        .set_start_after(start_after)
        .set_continuation_token(token.clone())
        .send();
    let answer = shared
        .send(RequestKind::List, 0, request)
        .await
        .map_err(|failure| store_error(shared, &what, Effect::None, failure))?;
    let encoded = answer.encoding_type() == Some(&EncodingType::Url);
    let mut objects = Vec::with_capacity(answer.contents().len());
    for object in answer.contents() {
        let key = object.key().ok_or_else(|| lies("has an object without a key"))?;
        let key = if encoded { decode(key) } else { key.to_owned() };
        let Some(relative) = key.strip_prefix(&shared.prefix) else {
            return Err(lies(&format!("has a key outside the prefix: {key:?}")));
        };
        let size = object.size().and_then(|size| u64::try_from(size).ok());
        let info = info(shared, &what, object.e_tag(), size, object.last_modified())?;
        objects.push(ListedObject {
            key: relative.to_owned(),
            size: info.size,
            etag: info.etag,
            modified: info.modified,
        });
    }
    let next = match answer.next_continuation_token() {
        _ if answer.is_truncated() != Some(true) => Position::End,
        Some(next) if token.as_deref() == Some(next) => {
            return Err(lies("goes on where this page began"));
        }
        Some(next) => Position::Token(next.to_owned()),
        None => return Err(lies("is cut off without saying where to go on")),
    };
    Ok(Some((objects, next)))
}

/// The encoding of a listing: of a query string, in which a plus is a space.
fn decode(key: &str) -> String {
    let spaced = key.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
}

/// Deletes up to 1,000 objects by one request.
pub(super) async fn delete(
    shared: &Shared,
    keys: &[ObjectKey],
) -> Result<Vec<(ObjectKey, StoreError)>, StoreError> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    if keys.len() as u64 > LIST_PAGE {
        let number = keys.len();
        return Err(StoreError::Invalid(format!("{number} keys to delete at once: at most 1,000")));
    }
    let what = format!("delete {} objects", keys.len());
    let mut by_name = HashMap::with_capacity(keys.len());
    let mut delete = Delete::builder().quiet(true);
    for key in keys {
        let full = shared.full_key(key)?;
        let identifier = ObjectIdentifier::builder().key(&full).build();
        delete = delete.objects(identifier.map_err(|error| invalid(&what, &error))?);
        by_name.insert(full, key);
    }
    let delete = delete.build().map_err(|error| invalid(&what, &error))?;
    let request = shared
        .client
        .delete_objects()
        .bucket(&shared.bucket)
        .delete(delete)
        .customize()
        // The SDK adds a CRC32; servers older than that insist on this one.
        .mutate_request(|request| {
            if let Some(body) = request.body().bytes() {
                let sum = digest::Md5Digest::of_now(body).base64();
                request.headers_mut().insert("content-md5", sum);
            }
        })
        .send();
    let answer = shared
        .send(RequestKind::Delete, 0, request)
        .await
        .map_err(|failure| store_error(shared, &what, Effect::Write, failure))?;
    let mut failed = Vec::new();
    for error in answer.errors() {
        let name = error.key().unwrap_or_default();
        let Some(key) = by_name.get(name) else {
            return Err(StoreError::Untrustworthy(format!(
                "{what}: {} could not delete {name:?}, which it was not asked to",
                shared.endpoint
            )));
        };
        let code = error.code().unwrap_or_default();
        // Deleting what is not there is a success.
        if code == "NoSuchKey" {
            continue;
        }
        let status = if code == "AccessDenied" { 403 } else { 500 };
        let message = error.message().unwrap_or_default();
        let said = Said { status, code, message, region: None, request: "of many" };
        let what = format!("delete {name}");
        let error = classify(&said, &what, Effect::Write, &shared.bucket, &shared.endpoint);
        failed.push(((*key).clone(), error));
    }
    Ok(failed)
}

fn invalid(what: &str, error: &dyn std::error::Error) -> StoreError {
    StoreError::Invalid(format!("{what}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_a_listing_are_decoded() {
        assert_eq!(decode("a+b%2Bc%25d/%C3%A9~-_."), "a b+c%d/é~-_.");
    }
}
