//! Extensions: what serves the service itself.

mod basicauth;
mod bearertokenauth;
mod headers_setter;
pub mod health_check;
mod watched;

use component::ExtensionFactory;

/// Every extension type.
#[rustfmt::skip]
pub static ALL: &[&ExtensionFactory] = &[
    &basicauth::FACTORY,
    &bearertokenauth::FACTORY,
    &headers_setter::FACTORY,
    &health_check::FACTORY,
];
