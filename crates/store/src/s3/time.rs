//! What time it is by the server's clock.

use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::primitives::{DateTime, DateTimeFormat};
use ultrasimple_core::Timestamp;
use ultrasimple_core::cluster_file::ClusterFile;

use super::Shared;
use super::errors::{Effect, store_error};
use super::read::{is_missing, timestamp};
use crate::StoreError;
use crate::counted::RequestKind;

/// The `Date` of the answer to a HEAD of the cluster file, whether that is there or not.
pub(super) async fn time(shared: &Shared) -> Result<Timestamp, StoreError> {
    let key = shared.full_key(&ClusterFile::key())?;
    let what = format!("ask for the time (head {key})");
    let date = SeenDate::default();
    let request = shared
        .client
        .head_object()
        .bucket(&shared.bucket)
        .key(key)
        .customize()
        .interceptor(date.clone())
        .send();
    match shared.send(RequestKind::Head, 0, request).await {
        Ok(_) => {}
        Err(failure) if is_missing(&failure) => {}
        Err(failure) => return Err(store_error(shared, &what, Effect::None, failure)),
    }
    let said = date.take();
    said.as_deref().and_then(parse).ok_or_else(|| {
        let endpoint = &shared.endpoint;
        StoreError::Untrustworthy(match said {
            Some(said) => format!("{what}: the answer of {endpoint} has the Date {said:?}"),
            None => format!("{what}: the answer of {endpoint} has no Date"),
        })
    })
}

fn parse(date: &str) -> Option<Timestamp> {
    timestamp(&DateTime::from_str(date, DateTimeFormat::HttpDate).ok()?)
}

/// Keeps the `Date` header of an answer, which the SDK's own types leave out.
#[derive(Debug, Clone, Default)]
struct SeenDate(Arc<Mutex<Option<String>>>);

impl SeenDate {
    fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Intercept for SeenDate {
    fn name(&self) -> &'static str {
        "SeenDate"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.response().headers().get("date").map(str::to_owned);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = date;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_http_date_is_a_time() {
        let time = parse("Mon, 15 Jan 2024 13:05:07 GMT").unwrap();
        assert_eq!(time.to_string(), "2024-01-15T13:05:07Z");
        for bad in ["", "now", "1705323907", "2024-01-15T13:05:07Z", "Mon, 15 Jan 2024"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
