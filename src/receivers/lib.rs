//! Where data comes in.

mod otlp;

/// Every receiver type.
pub static ALL: &[&component::ReceiverFactory] = &[&otlp::FACTORY];
