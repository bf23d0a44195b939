//! Connectors: the end of one pipeline and the start of others.

mod env;
pub mod forward;
pub mod routing;
pub mod tenant;

use component::ConnectorFactory;

/// Every connector type.
pub static ALL: &[&ConnectorFactory] = &[&forward::FACTORY, &routing::FACTORY, &tenant::FACTORY];
