//! Downstream words ([`ExportError`]), faults at build and start ([`Fault`]), and the one status mapping ([`Code`]).

use std::fmt;
use std::time::Duration;

use net::client::CallError;
pub use net::grpc::Code;
use wire::Payload;

use crate::{Refusal, Rejection};

/// Any error, with its chain.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why an export did not happen. Retryability is a property of the error, never of the caller.
#[derive(Debug)]
pub enum ExportError {
    /// The far side is unwell or unreachable; only what is still owed is sent again.
    Retry {
        /// What the far side asked for (`Retry-After`, RetryInfo).
        after: Option<Duration>,
        /// What is still owed; `None` = all of it.
        remaining: Option<Remaining>,
        /// Why.
        source: BoxError,
    },
    /// Too much at once: halve and resend; a single item that does not fit is rejected.
    TooLarge {
        /// Why.
        source: BoxError,
    },
    /// Nothing was sent: these pieces of the batch, which are all of it, do not go together. Each is sent for itself.
    Apart {
        /// Two or more, cut out of its chunks ([`wire::slice`], [`wire::split`]), each with at least one item.
        pieces: Vec<Payload>,
        /// Why.
        source: BoxError,
    },
    /// This batch never, whole. (Partly rejected is `Ok(Outcome)`.)
    Rejected {
        /// The far side's own word, told to the caller where one still waits.
        code: Code,
        /// Why.
        source: BoxError,
    },
    /// A configuration state, not data loss: long backoff, error status, `Unavailable` upstream.
    Unauthorized {
        /// Why.
        source: BoxError,
    },
}

/// What a batch still owes after an attempt that took a part of it.
#[derive(Debug)]
pub struct Remaining {
    /// Pieces of the batch, cut out of its chunks.
    pub owed: Payload,
    /// Of the rest: what the far side took the batch without.
    pub rejected: Vec<Rejection>,
    /// The items that `rejected` counts, where the far side says which: a dead letter gets them.
    pub refused: Option<Box<Payload>>,
}

impl ExportError {
    /// [`ExportError::Retry`] of everything, without a hint.
    pub fn retry(source: impl Into<BoxError>) -> ExportError {
        ExportError::Retry {
            after: None,
            remaining: None,
            source: source.into(),
        }
    }

    /// What a gRPC peer's status, or the lack of one, means for the batch, by OTLP's rules.
    pub fn from_call(error: CallError) -> ExportError {
        match error {
            CallError::Transport(source) => ExportError::retry(source),
            CallError::Status(status) => {
                let source = format!("{}: {}", status.code, status.message).into();
                let after = status.retry_after;
                match status.code {
                    Code::UNAUTHENTICATED | Code::PERMISSION_DENIED => ExportError::Unauthorized { source },
                    code if code.is_retryable(after.is_some()) => ExportError::Retry {
                        after: after.filter(|d| !d.is_zero()),
                        remaining: None,
                        source,
                    },
                    // Without a hint it is what servers say to a message over their limit, or over a quota.
                    Code::RESOURCE_EXHAUSTED if speaks_of_size(&status.message) => {
                        ExportError::TooLarge { source }
                    }
                    code => ExportError::Rejected { code, source },
                }
            }
        }
    }

    /// What an HTTP status other than 2xx means for the batch. `after` is the answer's `Retry-After`, which counts for
    /// 429 and 503; `source` says the rest.
    pub fn from_http(status: u16, after: Option<Duration>, source: impl Into<BoxError>) -> ExportError {
        let source = source.into();
        match status {
            401 | 403 => ExportError::Unauthorized { source },
            413 => ExportError::TooLarge { source },
            429 | 502..=504 => ExportError::Retry {
                after: after.filter(|d| matches!(status, 429 | 503) && !d.is_zero()),
                remaining: None,
                source,
            },
            status => ExportError::Rejected {
                code: Code::from_http(status),
                source,
            },
        }
    }

    /// Why, for the log.
    pub fn source(&self) -> &BoxError {
        match self {
            ExportError::Retry { source, .. }
            | ExportError::TooLarge { source }
            | ExportError::Apart { source, .. }
            | ExportError::Rejected { source, .. }
            | ExportError::Unauthorized { source } => source,
        }
    }
}

fn speaks_of_size(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    let words = [
        "larger than",
        "too large",
        "too big",
        "exceeds",
        "message length",
        "message size",
    ];
    words.iter().any(|words| message.contains(words))
}

impl fmt::Display for ExportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExportError::Retry { .. } => f.write_str("the far side cannot take it now"),
            ExportError::TooLarge { .. } => f.write_str("too large for the far side"),
            ExportError::Apart { .. } => f.write_str("its parts do not go together"),
            ExportError::Rejected { code, .. } => write!(f, "rejected by the far side ({code})"),
            ExportError::Unauthorized { .. } => f.write_str("not authorized at the far side"),
        }
    }
}

impl std::error::Error for ExportError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(self.source().as_ref())
    }
}

/// A component could not be built or started.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] config::Diags),
    /// The world is not as needed (a port is taken, a file cannot be opened).
    #[error("{0}")]
    World(String),
}

/// What a downstream said beside its code.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StatusDetails {
    /// In words.
    pub message: String,
    /// When to come again.
    pub retry_after: Option<Duration>,
}

impl From<&ExportError> for Refusal {
    /// What a caller that still waits is told about a failed export.
    fn from(error: &ExportError) -> Refusal {
        let message = error.source().to_string();
        match error {
            ExportError::Retry { after, .. } => Refusal::Unavailable {
                retry_after: *after,
                message,
            },
            ExportError::Unauthorized { .. } => Refusal::Unavailable {
                retry_after: None,
                message,
            },
            ExportError::TooLarge { .. } | ExportError::Apart { .. } => Refusal::Invalid(message),
            ExportError::Rejected { code, .. } => Refusal::Status(
                *code,
                Box::new(StatusDetails {
                    message,
                    retry_after: None,
                }),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use net::grpc::Status;

    use super::*;

    fn name(error: &ExportError) -> String {
        match error {
            ExportError::Retry { after, .. } => format!("retry {:?}", after.map(|d| d.as_millis())),
            ExportError::TooLarge { .. } => "too large".into(),
            ExportError::Apart { .. } => "apart".into(),
            ExportError::Rejected { code, .. } => format!("rejected {code}"),
            ExportError::Unauthorized { .. } => "unauthorized".into(),
        }
    }

    #[test]
    fn classifies_grpc_answers() {
        let check = |code: u8, message: &str, after_ms: Option<u64>, expected: &str| {
            let mut status = Status::new(Code(code), message);
            status.retry_after = after_ms.map(Duration::from_millis);
            let error = ExportError::from_call(CallError::Status(status));
            assert_eq!(name(&error), expected, "{code} {message}");
        };
        for code in [1, 4, 10, 11, 14, 15] {
            check(code, "x", None, "retry None");
            check(code, "x", Some(500), "retry Some(500)");
            check(code, "x", Some(0), "retry None");
        }
        check(8, "quota", None, "rejected RESOURCE_EXHAUSTED");
        check(8, "quota", Some(2000), "retry Some(2000)");
        check(
            8,
            "grpc: received message larger than max (5 vs. 4)",
            None,
            "too large",
        );
        check(16, "", None, "unauthorized");
        check(7, "", None, "unauthorized");
        check(3, "", None, "rejected INVALID_ARGUMENT");
        check(12, "", None, "rejected UNIMPLEMENTED");
        check(13, "", None, "rejected INTERNAL");
        check(2, "", None, "rejected UNKNOWN");
        let broken = ExportError::from_call(CallError::Transport("reset".into()));
        assert_eq!(name(&broken), "retry None");
    }

    #[test]
    fn classifies_http_answers() {
        let check = |status: u16, after: Option<u64>, expected: &str| {
            let error = ExportError::from_http(status, after.map(Duration::from_secs), "x");
            assert_eq!(name(&error), expected, "{status}");
        };
        check(429, Some(3), "retry Some(3000)");
        check(503, Some(3), "retry Some(3000)");
        check(503, Some(0), "retry None");
        check(502, Some(3), "retry None");
        check(504, None, "retry None");
        check(413, None, "too large");
        check(401, None, "unauthorized");
        check(403, None, "unauthorized");
        check(400, Some(3), "rejected INVALID_ARGUMENT");
        check(404, None, "rejected UNIMPLEMENTED");
        check(500, None, "rejected UNKNOWN");
        check(302, None, "rejected UNKNOWN");
    }
}
