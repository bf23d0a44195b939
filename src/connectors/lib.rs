//! Connectors: the end of one pipeline and the start of others.

mod env;
pub mod forward;
pub mod routing;

use component::ConnectorFactory;

/// Every connector type.
pub static ALL: &[&ConnectorFactory] = &[&forward::FACTORY, &routing::FACTORY];
