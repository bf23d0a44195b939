//! Servers and clients, what they say to each other, and how it is compressed and encrypted.
//!
//! Nothing here knows OTLP: a [`server::Service`] gets requests, [`grpc`] reads and writes unary calls, [`client`] sends
//! buffers as they are. The config blocks carry the collector's keys (configgrpc, confighttp, configtls) and defaults.

pub mod auth;
pub mod blocks;
pub mod body;
pub mod client;
pub mod compression;
mod cors;
pub mod grpc;
pub mod names;
pub mod observe;
pub mod proxy;
pub mod resolve;
pub mod server;
pub mod tls;

pub use blocks::{Compression, GrpcClientConfig, GrpcServerConfig, HttpClientConfig, HttpServerConfig};

#[cfg(test)]
mod tests;
