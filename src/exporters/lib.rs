//! Exporters: they push one batch and say how it went. The engine puts queue, retry and timeout around them.

pub mod debug;
pub mod file;
pub mod nop;
mod otlp_grpc;
mod otlp_http;

use component::ExporterFactory;

/// Every exporter type.
#[rustfmt::skip]
pub static ALL: &[&ExporterFactory] = &[
    &debug::FACTORY,
    &file::FACTORY,
    &nop::FACTORY,
    &otlp_grpc::FACTORY,
    &otlp_http::FACTORY,
];
