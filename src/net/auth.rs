//! Who may call us, and how we say who we are: the contracts between servers, clients and the extensions behind them.
//!
//! A server asks [`Middleware`]s and a [`ServerAuth`] before it reads any of a body; a client asks a [`ClientAuth`] for
//! the headers of each request. What they check, and where secrets come from, is theirs. Nothing that goes in or out
//! here may show a credential: messages of [`Denied`] are read by clients.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use http::HeaderMap;
use wire::Context;

use crate::client::BoxError;
use crate::grpc::{Code, Status};
use crate::server::Peer;

/// A future in a box that may borrow.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

// --- Servers ---

/// What an authenticator sees of a request.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// Request headers or gRPC metadata.
    pub headers: &'a HeaderMap,
    /// Query parameters that were named in `auth.request_params`, decoded, beside the headers.
    pub params: &'a [(String, String)],
    /// The other end, with its verified certificate where it showed one.
    pub peer: &'a Peer,
}

impl<'a> Caller<'a> {
    /// The parameter of a name (any case), else the header's first value.
    ///
    /// A value that is not text counts as absent.
    pub fn value(&self, name: &str) -> Option<&'a str> {
        let param = self.params.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
        let header = || self.headers.get(name).and_then(|v| v.to_str().ok());
        param.map(|(_, v)| v.as_str()).or_else(header)
    }
}

/// Who a caller is: attributes as processors and exporters see them (`wire::Context::auth`).
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// Name and value; some authenticators put the credential itself under `raw`.
    pub attributes: Vec<(String, String)>,
}

impl std::fmt::Debug for Identity {
    /// Names alone: a value may be a credential.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set()
            .entries(self.attributes.iter().map(|(name, _)| name))
            .finish()
    }
}

/// Why a caller is not let in. The text is sent to it: it says what is wrong, and nothing that helps guessing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// No credential, or a wrong one: 401, `UNAUTHENTICATED`.
    #[error("{0}")]
    Unauthenticated(String),
    /// A good one that does not suffice: 403, `PERMISSION_DENIED`.
    #[error("{0}")]
    Forbidden(String),
    /// Nobody can tell now (keys cannot be fetched, too many checks wait): 503, `UNAVAILABLE`.
    #[error("{0}")]
    Unavailable(String),
}

impl Denied {
    /// The code that says so; its HTTP twin is [`Code::http_status`].
    pub fn code(&self) -> Code {
        match self {
            Denied::Unauthenticated(_) => Code::UNAUTHENTICATED,
            Denied::Forbidden(_) => Code::PERMISSION_DENIED,
            Denied::Unavailable(_) => Code::UNAVAILABLE,
        }
    }

    /// As it is counted: `unauthenticated`, `forbidden`, `unavailable`.
    pub fn reason(&self) -> &'static str {
        match self {
            Denied::Unauthenticated(_) => "unauthenticated",
            Denied::Forbidden(_) => "forbidden",
            Denied::Unavailable(_) => "unavailable",
        }
    }
}

/// Says who a caller is.
pub trait ServerAuth: Send + Sync {
    /// Asked once for each request, before its body is read. Takes as long for a wrong credential as for a right one.
    fn authenticate<'a>(&'a self, caller: Caller<'a>) -> BoxFuture<'a, Result<Identity, Denied>>;
}

/// Decides, before the body is read, whether a server takes a request now.
pub trait Middleware: Send + Sync {
    /// `Err` = not now.
    fn admit(&self) -> Result<(), TurnedAway>;
}

/// Not now: 429, `RESOURCE_EXHAUSTED` with RetryInfo.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TurnedAway {
    /// In words, for the client.
    pub message: String,
    /// When to come again, if anybody knows.
    pub retry_after: Option<Duration>,
}

/// A request that is answered before its body is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unadmitted {
    /// By the authenticator.
    Denied(Denied),
    /// By a middleware.
    TurnedAway(TurnedAway),
}

impl Unadmitted {
    /// The answer; retryable ones say when.
    pub fn status(&self) -> Status {
        match self {
            Unadmitted::Denied(denied) => Status {
                retry_after: matches!(denied, Denied::Unavailable(_)).then_some(RETRY_AFTER),
                ..Status::new(denied.code(), denied.to_string())
            },
            Unadmitted::TurnedAway(away) => Status {
                retry_after: Some(away.retry_after.unwrap_or(RETRY_AFTER)),
                ..Status::new(Code::RESOURCE_EXHAUSTED, away.message.clone())
            },
        }
    }
}

/// When to come again, if nobody knows better.
const RETRY_AFTER: Duration = Duration::from_secs(1);

// --- Clients ---

/// Says who we are.
pub trait ClientAuth: Send + Sync {
    /// Changes the headers of one request, which are complete but for this. `context` is the payload's.
    ///
    /// Errors: nothing was sent; the request may be tried again later. The text goes to the log.
    fn authorize<'a>(
        &'a self,
        headers: &'a mut HeaderMap,
        context: &'a Context,
    ) -> BoxFuture<'a, Result<(), BoxError>>;

    /// Told when the far side says 401 or `UNAUTHENTICATED`. True = the next request will carry something else, so
    /// that it is worth sending once more at once.
    fn refused(&self) -> BoxFuture<'_, bool> {
        Box::pin(std::future::ready(false))
    }

    /// True if gRPC must not send these headers without TLS, as in the collector.
    fn needs_tls(&self) -> bool {
        false
    }
}
