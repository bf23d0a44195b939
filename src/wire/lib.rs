//! OTLP payloads as bytes, and what is inside them.
//!
//! In: encoded `Export*ServiceRequest` messages. Out: the same bytes, or the same with the touched parts spliced.
//! Nothing here knows a clock, a socket, a configuration or a rule; a payload is validated once at the door
//! ([`validate`]), seen through a [`view`] inside a segment, and cut or joined as bytes ([`split`], [`join`],
//! [`divide`]).
//! Field numbers stand in one table, [`otlp`] (opentelemetry-proto v1.10).

mod divide;
pub mod field;
mod join;
mod normal;
pub mod otlp;
pub mod payload;
pub mod scan;
mod split;
#[cfg(any(test, feature = "test-kit"))]
pub mod test_kit;
mod validate;
pub mod varint;
pub mod view;
pub mod write;

pub use divide::{NOWHERE, Part, Sorted, divide};
pub use field::{Malformed, Reason};
pub use join::join;
pub use normal::normalize;
pub use payload::{CertificateNames, Chunk, Context, Encoding, Origin, Payload, Shape, Signal, Twin};
pub use split::{Cut, count_items, slice, split, split_chunk};
pub use validate::{Limits, validate};

#[cfg(test)]
mod oracle;
