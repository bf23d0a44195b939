//! What an answer of S3 means for the caller.
//!
//! The code in the answer decides, and the status where there is no code (a HEAD has no body) or one that is not known
//! here. Whatever came of a write without an answer is not known: such errors may pass, and the same write again finds
//! out.

use std::error::Error;
use std::time::Duration;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use crate::error::{Class, StoreError};

const RETRY: Class = Class::Retry { after: None };
/// A store that asks for more is asked again all the same.
const WAIT_SECONDS_MAX: u64 = 3600;
/// An object that must be restored before it is read.
pub(super) const ASLEEP: &str = "InvalidObjectState";
/// Bytes of the store's own message that are kept where ours follows.
const THEIRS_BYTES_MAX: usize = 240;

/// The error of an operation, classified.
pub(super) fn fault<E>(operation: &'static str, error: &SdkError<E, HttpResponse>) -> StoreError
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let Some(answer) = error.raw_response() else {
        return unanswered(operation, error);
    };
    let header = |name: &str| answer.headers().get(name);
    let (status, code) = (answer.status().as_u16(), error.code().unwrap_or_default());
    let after = wait(header("x-amz-retry-after"), header("retry-after"));
    let class = match classify(status, code, error.message().unwrap_or_default()) {
        RETRY => Class::Retry { after },
        // Only who can be asked again names a time.
        _ if header("x-amz-retry-after").is_some() => Class::Retry { after },
        class => class,
    };
    let mut message = error.message().unwrap_or_default().to_owned();
    message.truncate(message.floor_char_boundary(THEIRS_BYTES_MAX));
    let mut add = |text: String| {
        if !message.is_empty() {
            message.push_str("; ");
        }
        message.push_str(&text);
    };
    if class == Class::Denied {
        add(format!("the credentials need {}", permissions(operation)));
    }
    if class == Class::Config
        && let Some(region) = header("x-amz-bucket-region")
    {
        add(format!("the bucket is in region {region}"));
    }
    if matches!(status, 200..=299) {
        add("the answer cannot be read".into());
    }
    StoreError::new(class, operation, message)
        .with_code(code)
        .with_status(status)
}

fn unanswered<E>(operation: &'static str, error: &SdkError<E, HttpResponse>) -> StoreError
where
    E: Error + Send + Sync + 'static,
{
    // The chain's innermost cause says what happened; the outer ones only where.
    let mut causes: Vec<&(dyn Error + 'static)> = Vec::new();
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(cause) = next {
        causes.push(cause);
        next = cause.source();
    }
    let credentials = causes
        .iter()
        .find_map(|cause| cause.downcast_ref::<CredentialsError>());
    let class = match (error, credentials) {
        (_, Some(CredentialsError::ProviderTimedOut(_))) => RETRY,
        (_, Some(_)) => Class::Unauthorized,
        (SdkError::ConstructionFailure(_), None) => Class::Config,
        _ => RETRY,
    };
    let mut message = String::new();
    for cause in causes.iter().skip(1) {
        let text = cause.to_string();
        // Many of them only repeat the next.
        if !message.contains(&text) {
            if !message.is_empty() {
                message.push_str(": ");
            }
            message.push_str(&text);
        }
    }
    if message.is_empty() {
        message = error.to_string();
    }
    if matches!(error, SdkError::TimeoutError(_)) {
        message = format!("no answer in time: {message}");
    }
    StoreError::new(class, operation, message)
}

fn classify(status: u16, code: &str, message: &str) -> Class {
    match code {
        "SlowDown"
        | "ServiceUnavailable"
        | "InternalError"
        | "RequestTimeout"
        | "RequestTimeoutException"
        | "RequestExpired"
        | "Throttling"
        | "ThrottlingException"
        | "RequestLimitExceeded"
        | "TooManyRequestsException"
        | "OperationAborted"
        | "ConditionalRequestConflict"
        | "BadDigest"
        | "InvalidDigest"
        | "XAmzContentSHA256Mismatch"
        | "XAmzContentChecksumMismatch"
        | "IncompleteBody"
        | "RequestTimeTooSkewed"
        | "SlowDownWrite"
        | "SlowDownRead" => RETRY,
        "ExpiredToken"
        | "ExpiredTokenException"
        | "TokenRefreshRequired"
        | "InvalidToken"
        | "InvalidAccessKeyId"
        | "SignatureDoesNotMatch"
        | "InvalidSecurity"
        | "NotSignedUp"
        | "AccountProblem" => Class::Unauthorized,
        "AccessDenied" | "AllAccessDisabled" | "ObjectLocked" => Class::Denied,
        code if code.starts_with("KMS.") => Class::Denied,
        "PermanentRedirect"
        | "TemporaryRedirect"
        | "Redirect"
        | "AuthorizationHeaderMalformed"
        | "IllegalLocationConstraintException"
        | "NoSuchBucket"
        | "InvalidBucketName"
        | "InvalidBucketState"
        | "NotImplemented"
        | "ObjectLockConfigurationNotFoundError"
        | "NoSuchObjectLockConfiguration" => Class::Config,
        // How MinIO says that a lock holds.
        "InvalidRequest" if message.contains("WORM protected") => Class::Denied,
        // A bucket without locks, asked for one.
        "InvalidRequest" if message.contains("Object Lock") || message.contains("ObjectLock") => {
            Class::Config
        }
        "NoSuchKey" | "NoSuchVersion" | "NotFound" | "MethodNotAllowed" => Class::NotFound,
        "EntityTooLarge" => Class::TooLarge,
        // It lies in a class from which nothing is read; no permission changes that.
        ASLEEP => Class::Rejected,
        _ => match status {
            300..=399 => Class::Config,
            401 => Class::Unauthorized,
            403 => Class::Denied,
            // A version that is a delete marker answers 405.
            404 | 405 => Class::NotFound,
            408 | 429 => RETRY,
            413 => Class::TooLarge,
            501 => Class::Config,
            // Also a success that cannot be read.
            200..=299 | 500.. => RETRY,
            _ => Class::Rejected,
        },
    }
}

/// What can be done about an object that cannot be read where it lies: its class, the tier within a class that has
/// several, and what the store says of a copy that was asked for.
pub(super) fn asleep(class: &str, tier: &str, copy: Option<&str>) -> String {
    let place = match (class, tier) {
        ("", "") => "a storage class".to_owned(),
        (class, "") => format!("storage class {class}"),
        (class, tier) => format!("storage class {class}, tier {tier}"),
    };
    let copy = match copy {
        Some(copy) if copy.contains("ongoing-request=\"true\"") => {
            "a copy is being restored, which takes minutes to days: try again then"
        }
        Some(_) => "a copy was restored, and cannot be read either: try again",
        None => {
            "ask for a copy of this version (s3:RestoreObject, restore-object), and try again once it is there"
        }
    };
    format!("it lies in {place}, from which nothing is read; {copy}")
}

/// How long a store asks to wait: Amazon's header is in milliseconds, HTTP's in seconds.
fn wait(amazon: Option<&str>, http: Option<&str>) -> Option<Duration> {
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let milliseconds = amazon.and_then(number).map(Duration::from_millis);
    let wait = milliseconds.or_else(|| http.and_then(number).map(Duration::from_secs))?;
    Some(wait.min(Duration::from_secs(WAIT_SECONDS_MAX)))
}

/// What an operation needs of whoever does it; a refusal does not say which of them was missing.
fn permissions(operation: &str) -> &'static str {
    match operation {
        "PutObject" => {
            "s3:PutObject, with locks s3:PutObjectRetention (and s3:PutObjectLegalHold), with aws:kms \
             kms:GenerateDataKey and kms:Decrypt"
        }
        "GetObject" => "s3:GetObject, s3:GetObjectVersion, with aws:kms kms:Decrypt",
        "HeadObject" => {
            "s3:GetObject, s3:GetObjectVersion, s3:GetObjectRetention, s3:GetObjectLegalHold, and s3:ListBucket (without \
             it what is not there is denied)"
        }
        "ListObjectsV2" => "s3:ListBucket",
        "ListObjectVersions" => "s3:ListBucketVersions",
        "PutObjectLegalHold" => "s3:PutObjectLegalHold",
        "PutObjectRetention" => "s3:PutObjectRetention",
        "DeleteObject" => "s3:DeleteObjectVersion",
        "GetBucketVersioning" => "s3:GetBucketVersioning",
        _ => "s3:GetBucketObjectLockConfiguration",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_decide_and_statuses_where_there_is_none() {
        let check =
            |status, code, expected| assert_eq!(classify(status, code, ""), expected, "{status} {code}");
        check(503, "SlowDown", RETRY);
        check(500, "InternalError", RETRY);
        check(502, "", RETRY);
        check(503, "", RETRY);
        check(504, "", RETRY);
        check(429, "", RETRY);
        check(400, "RequestTimeout", RETRY);
        check(409, "OperationAborted", RETRY);
        check(409, "ConditionalRequestConflict", RETRY);
        check(403, "RequestTimeTooSkewed", RETRY);
        check(400, "BadDigest", RETRY);
        check(400, "XAmzContentSHA256Mismatch", RETRY);
        check(400, "XAmzContentChecksumMismatch", RETRY);
        check(200, "", RETRY);
        check(400, "ExpiredToken", Class::Unauthorized);
        check(403, "InvalidAccessKeyId", Class::Unauthorized);
        check(403, "SignatureDoesNotMatch", Class::Unauthorized);
        check(401, "", Class::Unauthorized);
        check(403, "AccessDenied", Class::Denied);
        check(403, "", Class::Denied);
        check(400, "KMS.DisabledException", Class::Denied);
        check(301, "PermanentRedirect", Class::Config);
        check(301, "", Class::Config);
        check(400, "AuthorizationHeaderMalformed", Class::Config);
        check(404, "NoSuchBucket", Class::Config);
        check(404, "ObjectLockConfigurationNotFoundError", Class::Config);
        check(501, "NotImplemented", Class::Config);
        check(501, "", Class::Config);
        check(404, "NoSuchKey", Class::NotFound);
        check(404, "NoSuchVersion", Class::NotFound);
        check(404, "", Class::NotFound);
        check(405, "", Class::NotFound);
        check(400, "EntityTooLarge", Class::TooLarge);
        check(413, "", Class::TooLarge);
        check(403, "InvalidObjectState", Class::Rejected);
        check(400, "InvalidArgument", Class::Rejected);
        check(400, "", Class::Rejected);
        let message = "Bucket is missing Object Lock Configuration";
        assert_eq!(classify(400, "InvalidRequest", message), Class::Config);
        assert_eq!(classify(400, "InvalidRequest", "something else"), Class::Rejected);
        let message = "Object is WORM protected and cannot be overwritten";
        assert_eq!(classify(400, "InvalidRequest", message), Class::Denied);
    }

    #[test]
    fn what_lies_in_an_archive_says_what_to_do() {
        let check = |class, tier, copy, expected: &str| assert_eq!(asleep(class, tier, copy), expected);
        let ask = "ask for a copy of this version (s3:RestoreObject, restore-object), and try again once it is there";
        let nothing = "from which nothing is read";
        check(
            "GLACIER",
            "",
            None,
            &format!("it lies in storage class GLACIER, {nothing}; {ask}"),
        );
        check(
            "INTELLIGENT_TIERING",
            "ARCHIVE_ACCESS",
            None,
            &format!("it lies in storage class INTELLIGENT_TIERING, tier ARCHIVE_ACCESS, {nothing}; {ask}"),
        );
        check(
            "",
            "",
            None,
            &format!("it lies in a storage class, {nothing}; {ask}"),
        );
        check(
            "DEEP_ARCHIVE",
            "",
            Some("ongoing-request=\"true\""),
            &format!(
                "it lies in storage class DEEP_ARCHIVE, {nothing}; a copy is being restored, which takes minutes to \
                 days: try again then"
            ),
        );
        check(
            "GLACIER",
            "",
            Some("ongoing-request=\"false\", expiry-date=\"Fri, 21 Dec 2012 00:00:00 GMT\""),
            &format!(
                "it lies in storage class GLACIER, {nothing}; a copy was restored, and cannot be read either: try \
                 again"
            ),
        );
    }

    #[test]
    fn a_wait_is_bounded() {
        let check = |amazon, http, expected: Option<u64>| {
            assert_eq!(wait(amazon, http), expected.map(Duration::from_millis));
        };
        check(None, None, None);
        check(Some("1500"), Some("9"), Some(1500));
        check(None, Some("9"), Some(9000));
        check(Some("soon"), Some("9"), Some(9000));
        check(None, Some("-1"), None);
        check(None, Some("99999999"), Some(3_600_000));
    }
}
