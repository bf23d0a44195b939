//! Extensions: what serves the service itself.

mod basicauth;
mod bearertokenauth;
mod file_storage;
mod headers_setter;
mod health;
mod health_check;
mod healthcheckv2;
mod inert;
#[cfg(test)]
mod issuer;
mod jwt;
mod memory_limiter;
mod oauth2client;
mod oidc;
mod pprof;
mod watched;
mod zpages;

use component::ExtensionFactory;

/// Every extension type.
#[rustfmt::skip]
pub static ALL: &[&ExtensionFactory] = &[
    &basicauth::FACTORY,
    &bearertokenauth::FACTORY,
    &file_storage::FACTORY,
    &headers_setter::FACTORY,
    &health_check::FACTORY,
    &healthcheckv2::FACTORY,
    &memory_limiter::FACTORY,
    &oauth2client::FACTORY,
    &oidc::FACTORY,
    &pprof::FACTORY,
    &zpages::FACTORY,
];
