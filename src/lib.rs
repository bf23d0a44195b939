//! Weir: a telemetry gateway that runs OpenTelemetry Collector configs.
//!
//! This package is the roof: [`cli`] turns arguments into an exit code, [`service`] turns a configuration into a
//! running gateway and back down. Everything else stands on the floors below, one crate a noun, and knows nothing of
//! what is here:
//!
//! ```text
//! 5 roof        cli  service
//! 4 components  receivers  processors  connectors  exporters  extensions   | engine
//! 3 contracts   component
//! 2 machinery   net  storage  objects  telemetry
//! 1 languages   config  ottl  codec  evidence
//! 0 ground      wire
//! ```
//!
//! Data's way: `receivers -> engine (segments, fan-out, harness) -> exporters`, as bytes. See ARCHITECTURE.md.

pub mod cli;
pub mod service;
