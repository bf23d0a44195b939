//! Verdicts in OTLP's words.

use codec::otlp_response::Partial;
use component::{Code, Outcome, Refusal};
use net::grpc::Status;

use super::door::{Bad, hint};

/// What an `Export*ServiceResponse` says: nothing, or `partial_success` where items were rejected.
pub(super) fn partial(outcome: &Outcome) -> Partial {
    if outcome.rejected.is_empty() {
        return Partial::default();
    }
    Partial {
        rejected: outcome.rejected_items(),
        message: outcome.message(),
    }
}

/// What the client is told about a refusal.
pub(super) fn refused(refusal: &Refusal) -> Status {
    let code = refusal.code();
    let known = refusal.retry_after();
    Status {
        code,
        message: refusal.message(),
        // Retryable answers say when; others stay without a hint, which is what makes them final.
        retry_after: refusal.is_retryable().then(|| hint(known)),
    }
}

/// A `google.rpc.Status` by protobuf's JSON mapping, with the hint as `RetryInfo`.
pub(super) fn json_status(status: &Status) -> String {
    let mut json = serde_json::json!({ "code": status.code.0, "message": status.message });
    if let Some(after) = status.retry_after {
        let millis = after.as_millis();
        json["details"] = serde_json::json!([{
            "@type": net::grpc::RETRY_INFO_TYPE,
            "retryDelay": format!("{}.{:03}s", millis / 1000, millis % 1000),
        }]);
    }
    json.to_string()
}

/// What the client is told about a request that reached no pipeline.
pub(super) fn bad(bad: &Bad) -> Status {
    let again = |message: &str| Status {
        code: Code::UNAVAILABLE,
        message: message.to_owned(),
        retry_after: Some(hint(None)),
    };
    match bad {
        Bad::Malformed(message) => Status::new(Code::INVALID_ARGUMENT, message.clone()),
        Bad::TooLarge(message) => Status::new(Code::RESOURCE_EXHAUSTED, message.clone()),
        Bad::Busy => again("busy: the memory budget is full"),
        Bad::Slow => again("the request took too long to arrive"),
        Bad::Broken(message) => Status::new(Code::CANCELLED, message.clone()),
    }
}
