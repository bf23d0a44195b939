//! Where data goes.

mod otlp_grpc;
mod otlp_http;

/// Every exporter type.
pub static ALL: &[&component::ExporterFactory] = &[&otlp_grpc::FACTORY, &otlp_http::FACTORY];
