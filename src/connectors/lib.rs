//! Connectors: the end of one pipeline and the start of others.

pub mod forward;

use component::ConnectorFactory;

/// Every connector type.
pub static ALL: &[&ConnectorFactory] = &[
    &forward::FACTORY, //
];
