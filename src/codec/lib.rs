//! Encodings and syntaxes used by two or more components. No I/O, no clock: bytes in, bytes out.

pub mod base64;
pub mod exposition;
pub mod md5;
pub mod otlp_json;
pub mod otlp_response;
pub mod pattern;
pub mod proto;
pub mod time;
