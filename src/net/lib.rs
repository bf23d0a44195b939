//! Servers and clients.

pub mod compression;
pub mod grpc;
