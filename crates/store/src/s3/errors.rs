//! From what the SDK and the server say to what the caller is to do.
//!
//! "Certainly failed" is not "perhaps done": a write is [`StoreError::Unavailable`] only when it was
//! never sent, or when the server's own words say that it did not do it. A 500, 502 or 504 is no such
//! word (a proxy says it of a server that may have done it), nor is a deadline that passed.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use hyper_util::client::legacy::Error as ClientError;

use super::Shared;
use crate::StoreError;

/// Whether a request may change something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// It does not: nothing about its outcome can be unknown.
    None,
    /// It does.
    Write,
}

/// A request that got no success, by what is known of it.
#[derive(Debug)]
pub(super) enum Failure<E> {
    /// The SDK's or the server's error.
    Sdk(Box<SdkError<E, HttpResponse>>),
    /// The call's deadline passed.
    Deadline(std::time::Duration),
}

impl<E> Failure<E> {
    /// The answer's HTTP status, when there was an answer.
    pub(super) fn status(&self) -> Option<u16> {
        match self {
            Self::Sdk(error) => error.raw_response().map(|raw| raw.status().as_u16()),
            Self::Deadline(_) => None,
        }
    }
}

impl<E: ProvideErrorMetadata> Failure<E> {
    /// The S3 error code of the answer.
    pub(super) fn code(&self) -> Option<&str> {
        match self {
            Self::Sdk(error) => error.as_service_error().and_then(ProvideErrorMetadata::code),
            Self::Deadline(_) => None,
        }
    }
}

/// What the caller is to do about `failure` of a request that was to do `what`.
pub(super) fn store_error<E>(
    shared: &Shared,
    what: &str,
    effect: Effect,
    failure: Failure<E>,
) -> StoreError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let error = match failure {
        Failure::Sdk(error) => error,
        Failure::Deadline(limit) => {
            let endpoint = &shared.endpoint;
            return perhaps(effect, format!("{what}: no answer from {endpoint} within {limit:?}"));
        }
    };
    let Some(raw) = error.raw_response() else {
        return not_answered(shared, what, effect, &error);
    };
    let status = raw.status().as_u16();
    let (code, message) = match error.as_service_error() {
        Some(service) => {
            (service.code().unwrap_or_default(), service.message().unwrap_or_default())
        }
        // An answer that the SDK could not read to its end.
        None if raw.status().is_success() => {
            return perhaps(effect, format!("{what}: {}", chain(&*error)));
        }
        None => ("", ""),
    };
    let region = raw.headers().get("x-amz-bucket-region");
    let request = raw.headers().get("x-amz-request-id").unwrap_or("none");
    let said = Said { status, code, message, region, request };
    classify(&said, what, effect, &shared.bucket, &shared.endpoint)
}

/// What a server said in refusal.
#[derive(Debug, Clone, Copy)]
pub(super) struct Said<'a> {
    pub(super) status: u16,
    pub(super) code: &'a str,
    pub(super) message: &'a str,
    pub(super) region: Option<&'a str>,
    pub(super) request: &'a str,
}

/// The table of S3's error codes, and of statuses for servers that give none.
pub(super) fn classify(
    said: &Said<'_>,
    what: &str,
    effect: Effect,
    bucket: &str,
    endpoint: &str,
) -> StoreError {
    let Said { status, code, message, region, request } = *said;
    let answer = match (code, message) {
        ("", "") => format!("{what}: {endpoint} answered {status} (request {request})"),
        _ => format!("{what}: {endpoint} answered {status} {code}: {message} (request {request})"),
    };
    let denied = |advice: String| StoreError::Denied(format!("{answer}; {advice}"));
    match code {
        "PreconditionFailed" => return StoreError::ConditionFailed,
        "NoSuchBucket" => {
            return denied(format!(
                "create the bucket {bucket}, or correct -bucket or -endpoint-url"
            ));
        }
        "ExpiredToken"
        | "ExpiredTokenException"
        | "TokenRefreshRequired"
        | "InvalidToken"
        | "RequestExpired" => {
            return denied(
                "the credentials have expired: renew them where they come from".to_owned(),
            );
        }
        "RequestTimeTooSkewed" => {
            return denied("the clock of this host differs from the store's: set it".to_owned());
        }
        "InvalidAccessKeyId" | "SignatureDoesNotMatch" => {
            return denied(
                "check -access-key and -secret-key, or the credentials they come from".into(),
            );
        }
        "PermanentRedirect"
        | "TemporaryRedirect"
        | "AuthorizationHeaderMalformed"
        | "IllegalLocationConstraintException" => return denied(region_advice(bucket, region)),
        // Said before or instead of storing: certainly not done.
        "SlowDown"
        | "RequestLimitExceeded"
        | "TooManyRequests"
        | "Throttling"
        | "ThrottlingException"
        | "ServiceUnavailable" => return StoreError::SlowDown(answer),
        "BadDigest"
        | "IncompleteBody"
        | "RequestTimeout"
        | "XAmzContentSHA256Mismatch"
        | "ConditionalRequestConflict"
        | "OperationAborted"
        | "NoSuchUpload"
        | "XMinioStorageFull" => {
            return StoreError::Unavailable(answer);
        }
        _ => {}
    }
    match status {
        412 => StoreError::ConditionFailed,
        429 | 503 => StoreError::SlowDown(answer),
        409 | 507 => StoreError::Unavailable(answer),
        401 | 403 => denied(format!(
            "allow these credentials s3:GetObject, s3:PutObject, s3:DeleteObject, s3:ListBucket and \
             s3:AbortMultipartUpload on {bucket} (without s3:ListBucket, AWS says 403 of what is not \
             there)"
        )),
        301 | 307 | 308 => denied(region_advice(bucket, region)),
        // A 200 with an error inside it, or a failure on the way.
        200..=299 | 408 | 500 | 502 | 504 => perhaps(effect, answer),
        400..=499 | 501 => StoreError::Invalid(answer),
        _ => perhaps(effect, answer),
    }
}

fn region_advice(bucket: &str, region: Option<&str>) -> String {
    match region {
        Some(region) => format!("the bucket {bucket} is in {region}: set -region {region}"),
        None => format!("the bucket {bucket} is elsewhere: check -region and -endpoint-url"),
    }
}

/// There was no answer: had the request been sent?
fn not_answered<E>(
    shared: &Shared,
    what: &str,
    effect: Effect,
    error: &SdkError<E, HttpResponse>,
) -> StoreError
where
    E: Error + 'static,
{
    let endpoint = &shared.endpoint;
    let causes = chain(error);
    if let Some(credentials) = find::<CredentialsError>(error) {
        let said = format!("{what}: no credentials: {causes}");
        return match credentials {
            // Their source did not answer; it may at the next cycle.
            CredentialsError::ProviderTimedOut(_) | CredentialsError::ProviderError(_) => {
                StoreError::Unavailable(said)
            }
            _ => StoreError::Denied(format!(
                "{said}; set -access-key and -secret-key, or one of the sources of the AWS SDKs"
            )),
        };
    }
    if causes.contains("invalid peer certificate") {
        return StoreError::Denied(format!(
            "{what}: the certificate of {endpoint} is not trusted ({causes}); if it is right, name its \
             authority's file in AWS_CA_BUNDLE or SSL_CERT_FILE"
        ));
    }
    match error {
        SdkError::ConstructionFailure(_) => StoreError::Invalid(format!("{what}: {causes}")),
        _ if find::<ClientError>(error).is_some_and(ClientError::is_connect) => {
            StoreError::Unavailable(format!("{what}: cannot connect to {endpoint}: {causes}"))
        }
        _ => perhaps(effect, format!("{what}: the connection to {endpoint} failed: {causes}")),
    }
}

/// An outcome that only a write can leave unknown.
fn perhaps(effect: Effect, what: String) -> StoreError {
    match effect {
        Effect::Write => StoreError::UnknownOutcome(what),
        Effect::None => StoreError::Unavailable(what),
    }
}

/// The error and its causes, each once.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        if !parts.iter().any(|part| part.contains(&text)) {
            parts.push(text);
        }
        next = error.source();
    }
    parts.join(": ")
}

fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(status: u16, code: &str, effect: Effect) -> &'static str {
        let said = Said { status, code, message: "text", region: Some("eu-west-1"), request: "id" };
        let error = classify(&said, "put k", effect, "bucket", "endpoint");
        let text = error.to_string();
        match error {
            StoreError::ConditionFailed => "condition",
            StoreError::SlowDown(_) => "slow",
            StoreError::Unavailable(_) => "unavailable",
            StoreError::UnknownOutcome(_) => "unknown",
            StoreError::Denied(_) => {
                assert!(text.contains("; "), "a denial says what to do: {text}");
                "denied"
            }
            StoreError::Invalid(_) => "invalid",
            other => panic!("{other}"),
        }
    }

    #[test]
    fn each_answer_by_what_the_caller_is_to_do() {
        for (status, code, write, read) in [
            (412, "PreconditionFailed", "condition", "condition"),
            (412, "", "condition", "condition"),
            (409, "ConditionalRequestConflict", "unavailable", "unavailable"),
            (503, "SlowDown", "slow", "slow"),
            (503, "", "slow", "slow"),
            (429, "", "slow", "slow"),
            (200, "SlowDown", "slow", "slow"),
            (200, "InternalError", "unknown", "unavailable"),
            (500, "InternalError", "unknown", "unavailable"),
            (500, "", "unknown", "unavailable"),
            (502, "", "unknown", "unavailable"),
            (504, "", "unknown", "unavailable"),
            (507, "XMinioStorageFull", "unavailable", "unavailable"),
            (400, "BadDigest", "unavailable", "unavailable"),
            (400, "RequestTimeout", "unavailable", "unavailable"),
            (400, "ExpiredToken", "denied", "denied"),
            (403, "ExpiredToken", "denied", "denied"),
            (403, "AccessDenied", "denied", "denied"),
            (403, "", "denied", "denied"),
            (401, "", "denied", "denied"),
            (403, "SignatureDoesNotMatch", "denied", "denied"),
            (403, "RequestTimeTooSkewed", "denied", "denied"),
            (404, "NoSuchBucket", "denied", "denied"),
            (301, "PermanentRedirect", "denied", "denied"),
            (400, "AuthorizationHeaderMalformed", "denied", "denied"),
            (400, "KeyTooLongError", "invalid", "invalid"),
            (400, "EntityTooLarge", "invalid", "invalid"),
            (501, "NotImplemented", "invalid", "invalid"),
            (404, "NoSuchUpload", "unavailable", "unavailable"),
        ] {
            assert_eq!(kind(status, code, Effect::Write), write, "write: {status} {code}");
            assert_eq!(kind(status, code, Effect::None), read, "read: {status} {code}");
        }
    }

    #[test]
    fn another_region_is_named() {
        let said = Said {
            status: 301,
            code: "PermanentRedirect",
            message: "",
            region: Some("eu-west-1"),
            request: "id",
        };
        let error = classify(&said, "put k", Effect::Write, "bucket", "AWS (us-east-1)");
        assert!(error.to_string().contains("set -region eu-west-1"), "{error}");
    }
}
