//! The one interface between components: take responsibility for a payload, or refuse it whole.
//!
//! Acknowledgement and backpressure are the return value; who awaits knows.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use wire::{Payload, Signal};

use crate::error::{Code, StatusDetails};

/// A future in a box, for traits that are used as objects.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A future that is there already.
pub fn ready<'a, T: Send + 'a>(value: T) -> BoxFuture<'a, T> {
    Box::pin(std::future::ready(value))
}

/// What stands at the far end of every edge.
pub trait Consumer: Send + Sync {
    /// Takes responsibility for the payload, or refuses it whole and keeps nothing of it.
    ///
    /// `Ok`: delivered, or held as `weir plan` says. The future is never dropped half way: the receiver runs it in a
    /// task of its own; whatever waits inside looks at `payload.context.deadline`.
    fn consume(&self, payload: Payload) -> BoxFuture<'_, Result<Outcome, Refusal>>;
}

/// Accepted, perhaps but for some items.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Items that will never be delivered, by rule. Becomes OTLP's `partial_success`.
    pub rejected: Vec<Rejection>,
}

impl Outcome {
    /// Everything was taken.
    pub fn all() -> Outcome {
        Outcome::default()
    }

    /// What a peer's partial success comes to, said in the log as the collector says it; a message without a count is
    /// a warning and nothing more.
    pub fn of_partial(component: &str, signal: Signal, items: u64, message: String) -> Outcome {
        if items == 0 && message.is_empty() {
            return Outcome::all();
        }
        let kind = signal.items_name();
        tracing::warn!(
            component,
            message,
            dropped = items,
            kind,
            "Partial success response"
        );
        let rejected = Rejection {
            rule: "rejected_by_peer".into(),
            items,
            message,
        };
        Outcome {
            rejected: if items > 0 { vec![rejected] } else { Vec::new() },
        }
    }

    /// Items rejected by all rules together.
    pub fn rejected_items(&self) -> u64 {
        self.rejected.iter().map(|r| r.items).sum()
    }

    /// The messages of all rejections, for `error_message`.
    pub fn message(&self) -> String {
        let parts: Vec<&str> = self
            .rejected
            .iter()
            .map(|r| r.message.as_str())
            .filter(|m| !m.is_empty())
            .collect();
        parts.join("; ")
    }
}

/// Items refused for good out of a payload that was otherwise taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The rule as the ledger names it.
    pub rule: String,
    /// How many log records, spans, data points or samples.
    pub items: u64,
    /// For the client.
    pub message: String,
}

/// A payload was refused whole; nothing of it was kept.
#[derive(Clone, Debug, PartialEq)]
pub enum Refusal {
    /// Full or over a limit: slow down.
    Busy {
        /// When to come again, if we know.
        retry_after: Option<Duration>,
    },
    /// Cannot deliver now: try again.
    Unavailable {
        /// When to come again, if we know.
        retry_after: Option<Duration>,
        /// For the client and the log.
        message: String,
    },
    /// Never going to work: do not retry.
    Invalid(String),
    /// Unauthenticated, not allowed, or a downstream's own word.
    Status(Code, Box<StatusDetails>),
}

impl Refusal {
    /// Try again, without a hint.
    pub fn unavailable(message: impl Into<String>) -> Refusal {
        Refusal::Unavailable {
            retry_after: None,
            message: message.into(),
        }
    }

    /// Whether the same bytes may be taken later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Refusal::Busy { .. } | Refusal::Unavailable { .. } => true,
            Refusal::Invalid(_) => false,
            Refusal::Status(code, details) => code.is_retryable(details.retry_after.is_some()),
        }
    }

    /// When to come again, if known.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Refusal::Busy { retry_after } | Refusal::Unavailable { retry_after, .. } => *retry_after,
            Refusal::Invalid(_) => None,
            Refusal::Status(_, details) => details.retry_after,
        }
    }

    /// What the client is told, in the words of gRPC: see the table in ARCHITECTURE.md.
    pub fn code(&self) -> Code {
        match self {
            Refusal::Busy { .. } | Refusal::Unavailable { .. } => Code::UNAVAILABLE,
            Refusal::Invalid(_) => Code::INVALID_ARGUMENT,
            Refusal::Status(code, _) => *code,
        }
    }

    /// What the client is told.
    pub fn message(&self) -> String {
        match self {
            Refusal::Busy { .. } => "busy: a queue or the memory budget is full".into(),
            Refusal::Unavailable { message, .. } => message.clone(),
            Refusal::Invalid(message) => message.clone(),
            Refusal::Status(_, details) => details.message.clone(),
        }
    }
}
