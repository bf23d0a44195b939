//! Receivers: they listen, turn a protocol into payloads, and answer in its words.

mod awss3;
pub mod nop;
mod otlp;
mod prometheus;

use component::ReceiverFactory;

/// Every receiver type.
#[rustfmt::skip]
pub static ALL: &[&ReceiverFactory] = &[
    &awss3::FACTORY,
    &nop::FACTORY,
    &otlp::FACTORY,
    &prometheus::FACTORY,
];
