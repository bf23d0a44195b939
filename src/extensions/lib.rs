//! Extensions: what serves the service itself.

pub mod health_check;

use component::ExtensionFactory;

/// Every extension type.
#[rustfmt::skip]
pub static ALL: &[&ExtensionFactory] = &[
    &health_check::FACTORY,
];
