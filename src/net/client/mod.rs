//! Clients: unary gRPC on h2 with every address of a name, and HTTP posts.
//!
//! Messages go out as the buffers they are in. Nothing here retries a request that a peer may have seen, and nothing
//! waits without a bound, but for the answer itself: its time limit is the caller's.

mod grpc;
mod http;

pub use grpc::{GrpcClient, GrpcReply};
pub use http::{HttpClient, HttpReply, retry_after};

use crate::grpc::Status;

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
