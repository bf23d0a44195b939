//! Exporters: they push one batch and say how it went. The engine puts queue, retry and timeout around them.

mod archive;
mod archiver;
mod awss3;
pub mod debug;
pub mod elasticsearch;
pub mod file;
pub mod loadbalancing;
pub mod loki;
pub mod nop;
mod otlp_grpc;
mod otlp_http;

use component::ExporterFactory;

/// Every exporter type.
#[rustfmt::skip]
pub static ALL: &[&ExporterFactory] = &[
    &archive::FACTORY,
    &awss3::FACTORY,
    &debug::FACTORY,
    &elasticsearch::FACTORY,
    &file::FACTORY,
    &loadbalancing::FACTORY,
    &loki::FACTORY,
    &nop::FACTORY,
    &otlp_grpc::FACTORY,
    &otlp_http::FACTORY,
];

/// An exporter that another one sends through, by one of its names.
fn named(name: &str) -> Option<&'static ExporterFactory> {
    ALL.iter()
        .copied()
        .find(|f| f.kind == name || f.aliases.contains(&name))
}
