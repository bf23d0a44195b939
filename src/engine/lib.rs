//! The engine: pipelines between receivers and exporters, and the harness around every exporter.
//!
//! [`pipeline`] turns a [`pipeline::GraphSpec`] into a running [`pipeline::Graph`]: edges, segments, fan-out, plan.
//! [`harness`] stands in front of each exporter: queue, batch, retry, timeout. The harness knows nothing of pipelines,
//! and neither knows a component by name.

pub mod harness;
pub mod pipeline;

#[cfg(test)]
mod test_kit;
