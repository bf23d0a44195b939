//! Verdicts in OTLP's words.

use component::{Code, Outcome, Refusal};
use net::grpc::Status;
use wire::{field, varint};

use super::door::{Bad, hint};

/// An `Export*ServiceResponse`: empty, or with `partial_success` where items were rejected. The field numbers are the
/// same for every signal: `partial_success` = 1 with `rejected_*` = 1 and `error_message` = 2.
pub(super) fn response(outcome: &Outcome) -> Vec<u8> {
    if outcome.rejected.is_empty() {
        return Vec::new();
    }
    let message = outcome.message();
    let message = net::grpc::truncated(&message, 2048);
    let mut partial = Vec::with_capacity(message.len() + 16);
    let items = outcome.rejected_items();
    if items > 0 {
        varint::write(1 << 3, &mut partial);
        varint::write(items, &mut partial);
    }
    if !message.is_empty() {
        field::write_header(2, message.len(), &mut partial);
        partial.extend_from_slice(message.as_bytes());
    }
    let mut out = Vec::with_capacity(partial.len() + 6);
    field::write_header(1, partial.len(), &mut out);
    out.extend_from_slice(&partial);
    out
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

#[cfg(test)]
mod tests {
    use component::Rejection;

    use super::*;

    #[test]
    fn partial_success_is_written_as_otlp_has_it() {
        let check = |rejected: &[(u64, &str)], expected: &[u8]| {
            let outcome = Outcome {
                rejected: rejected
                    .iter()
                    .map(|(items, message)| Rejection {
                        rule: "r".into(),
                        items: *items,
                        message: (*message).into(),
                    })
                    .collect(),
            };
            assert_eq!(response(&outcome), expected);
        };
        check(&[], b"");
        check(&[(3, "no")], b"\x0a\x06\x08\x03\x12\x02no");
        check(&[(200, ""), (100, "")], b"\x0a\x03\x08\xac\x02");
        check(&[(0, "hm")], b"\x0a\x04\x12\x02hm");
        check(&[(1, "a"), (1, "b")], b"\x0a\x08\x08\x02\x12\x04a; b");
    }
}
