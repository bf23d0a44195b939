//! OTLP payloads as bytes, and what is inside them.
//!
//! In: encoded `Export*ServiceRequest` messages. Out: the same bytes, or the same with the touched parts spliced.
//! Nothing here knows a clock, a socket, a configuration or a rule; a payload is validated once at the door
//! ([`validate`]), seen through a [`view`] inside a segment, and cut or joined as bytes ([`split`], [`join`]).
//! Field numbers stand in one table, [`otlp`] (opentelemetry-proto v1.9 and later).

pub mod payload;
pub mod scan;
pub mod view;

pub use payload::{Chunk, Context, Encoding, Origin, Payload, Shape, Signal, Twin};
