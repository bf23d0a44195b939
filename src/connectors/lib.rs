//! Connectors: the end of one pipeline and the start of others.

pub mod count;
pub mod failover;
pub mod forward;
pub mod routing;
pub mod span_metrics;
pub mod tenant;

use component::ConnectorFactory;

/// Every connector type.
pub static ALL: &[&ConnectorFactory] = &[
    &count::FACTORY,
    &failover::FACTORY,
    &forward::FACTORY,
    &routing::FACTORY,
    &span_metrics::FACTORY,
    &tenant::FACTORY,
];
