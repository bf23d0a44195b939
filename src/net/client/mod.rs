//! Clients: unary gRPC on h2 with every address of a name, and HTTP posts.
//!
//! Messages go out as the buffers they are in. Nothing here retries a request that a peer may have seen, and nothing
//! waits without a bound, but for the answer itself: its time limit is the caller's.

mod balance;
mod cookies;
mod dial;
mod grpc;
mod heard;
mod http;
mod pool;

pub(crate) use grpc::authority;
pub use grpc::{GrpcClient, GrpcReply};
pub use http::{HttpClient, HttpReply, HttpStream, retry_after};

use std::sync::Arc;

use crate::grpc::Status;
use crate::proxy::Proxies;
use crate::resolve::{Resolve, System};

/// What a client takes from its surroundings.
#[derive(Clone)]
pub struct Means {
    /// Where names are looked up.
    pub resolver: Arc<dyn Resolve>,
    /// Which proxies stand in between.
    pub proxies: Proxies,
}

impl Default for Means {
    /// The system's resolver, and the proxies of this process's environment.
    fn default() -> Means {
        Means {
            resolver: Arc::new(System),
            proxies: Proxies::of_environment(),
        }
    }
}

/// Any error, with its chain.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A call that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The peer's word.
    #[error("{}: {}", .0.code, .0.message)]
    Status(Status),
    /// No answer: not connected, reset, or not understood.
    #[error("{0}")]
    Transport(#[source] BoxError),
}

impl CallError {
    fn transport(text: impl Into<String>) -> CallError {
        CallError::Transport(text.into().into())
    }
}

#[cfg(test)]
mod tests;
