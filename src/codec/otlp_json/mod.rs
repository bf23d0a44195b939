//! OTLP/JSON: export requests as JSON text, to and from the bytes of their protobuf encoding.
//!
//! [`read`] takes what the collector's pdata takes and what the protobuf JSON mapping allows beyond it; [`write`] says it
//! byte for byte as pdata does. Neither builds a message: both walk the rows of [`wire::otlp`], text on one side and
//! encoded fields on the other. Names are lowerCamelCase, ids hex, other bytes base64, 64-bit integers strings, enums
//! numbers.

mod lengths;
mod number;
mod read;
mod text;
mod write;

pub use read::{GROWTH_MAX, read, read_message};
pub use text::{Invalid, Reason};
pub use write::{quote, write, write_message, write_payload};

use wire::otlp::{Field, Kind, Message, Role};

/// Eight levels of groups, and values as deep as the door lets in: 64 levels of up to three messages.
const DEPTH_MAX: u32 = 3 * 64 + 8;

/// Fields whose presence says something: zero is not the same as absent.
fn is_optional(shape: &Message, field: &Field) -> bool {
    matches!(field.kind, Kind::Double)
        && (matches!(field.name, "min" | "max")
            || (field.name == "sum"
                && matches!(shape.name, "HistogramDataPoint" | "ExponentialHistogramDataPoint")))
}

/// Bytes that JSON shows in hex, and how many there must be if there are any.
fn hex_len(field: &Field) -> Option<usize> {
    match field.role {
        Role::TraceId => Some(16),
        Role::SpanId => Some(8),
        _ => (field.name == "profile_id").then_some(16),
    }
}

/// Bytes before the first quote, backslash or control character; all of them if there is none.
fn plain_len(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES << 7;
    // A byte that is below `n` sets its high bit; so may a greater one above it, but the lowest is right.
    let below = |word: u64, n: u64| word.wrapping_sub(ONES * n) & !word;
    let (words, rest) = bytes.as_chunks::<8>();
    for (i, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let quote = word ^ (ONES * u64::from(b'"'));
        let backslash = word ^ (ONES * u64::from(b'\\'));
        let hits = (below(word, 0x20) | below(quote, 1) | below(backslash, 1)) & HIGH;
        if hits != 0 {
            return i * 8 + hits.trailing_zeros() as usize / 8;
        }
    }
    let ends = |b: &u8| matches!(b, b'"' | b'\\' | 0..0x20);
    bytes.len() - rest.len() + rest.iter().position(ends).unwrap_or(rest.len())
}

#[cfg(test)]
mod tests;
