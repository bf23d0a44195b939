//! Servers and clients.

pub mod grpc;
