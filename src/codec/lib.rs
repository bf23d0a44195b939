//! Encodings used by two or more components. No I/O, no clock: bytes in, bytes out.

pub mod otlp_json;
pub mod otlp_response;
pub mod proto;
pub mod time;
