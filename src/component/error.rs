//! Downstream words ([`ExportError`]), faults at build and start ([`Fault`]), and the one status mapping ([`Code`]).

use std::fmt;
use std::time::Duration;

pub use net::grpc::Code;
use wire::Payload;

use crate::Refusal;

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
        remaining: Option<Payload>,
        /// Why.
        source: BoxError,
    },
    /// Too much at once: halve and resend; a single item that does not fit is rejected.
    TooLarge {
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

impl ExportError {
    /// [`ExportError::Retry`] of everything, without a hint.
    pub fn retry(source: impl Into<BoxError>) -> ExportError {
        ExportError::Retry {
            after: None,
            remaining: None,
            source: source.into(),
        }
    }

    /// Why, for the log.
    pub fn source(&self) -> &BoxError {
        match self {
            ExportError::Retry { source, .. }
            | ExportError::TooLarge { source }
            | ExportError::Rejected { source, .. }
            | ExportError::Unauthorized { source } => source,
        }
    }
}

impl fmt::Display for ExportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExportError::Retry { .. } => f.write_str("the far side cannot take it now"),
            ExportError::TooLarge { .. } => f.write_str("too large for the far side"),
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
            ExportError::TooLarge { .. } => Refusal::Invalid(message),
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
