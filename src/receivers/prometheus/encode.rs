//! The pieces of OTLP metrics that a scrape is written with.
//!
//! Fields are appended in the order of their numbers by the caller; what is zero or empty is left out where protobuf
//! takes it for the default.

use codec::exposition::{Exemplar, Label};
use wire::field::{FIXED64, VARINT, framed_len, write_header};
use wire::varint;

/// A framed `Exemplar`. Ids of the right width become trace and span id, other labels filtered attributes.
pub(super) fn write_exemplar(
    number: u32,
    exemplar: Exemplar,
    labels: &[Label<'_>],
    at_ms: i64,
    out: &mut Vec<u8>,
) {
    let mut body = Vec::new();
    write_fixed(2, nanos(exemplar.timestamp_ms.unwrap_or(at_ms)), &mut body);
    write_double(3, exemplar.value, &mut body);
    let id = |wanted: &str, bytes: usize| {
        let label = labels.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        label.and_then(|(_, value)| hex(value, bytes))
    };
    let (span, trace) = (id("span_id", 8), id("trace_id", 16));
    write_bytes_if(4, span.as_deref(), &mut body);
    write_bytes_if(5, trace.as_deref(), &mut body);
    for (name, value) in labels {
        let is_id = (span.is_some() && name.eq_ignore_ascii_case("span_id"))
            || (trace.is_some() && name.eq_ignore_ascii_case("trace_id"));
        if !is_id && !value.is_empty() {
            write_attribute(7, name, value, &mut body);
        }
    }
    write_bytes(number, &body, out);
}

/// So many bytes in hexadecimal, not all zero.
fn hex(text: &str, bytes: usize) -> Option<Vec<u8>> {
    if text.len() != 2 * bytes || !text.is_ascii() {
        return None;
    }
    let read: Option<Vec<u8>> = (0..bytes)
        .map(|i| {
            let pair = &text[2 * i..2 * i + 2];
            pair.bytes()
                .all(|c| c.is_ascii_hexdigit())
                .then(|| u8::from_str_radix(pair, 16).ok())?
        })
        .collect();
    read.filter(|id| id.iter().any(|byte| *byte != 0))
}

pub(super) fn nanos(ms: i64) -> u64 {
    u64::try_from(ms).unwrap_or(0).saturating_mul(1_000_000)
}

pub(super) fn seconds(s: f64) -> u64 {
    let whole = s.trunc();
    ((whole as u64).saturating_mul(1_000_000_000)).saturating_add(((s - whole) * 1e9) as u64)
}

/// OpenMetrics' words for units in UCUM; others stay as they are.
pub(super) fn unit_of(word: &str) -> &str {
    match word {
        "days" => "d",
        "hours" => "h",
        "minutes" => "min",
        "seconds" => "s",
        "milliseconds" => "ms",
        "microseconds" => "us",
        "nanoseconds" => "ns",
        "bytes" => "By",
        "kibibytes" => "KiBy",
        "mebibytes" => "MiBy",
        "gibibytes" => "GiBy",
        "tebibytes" => "TiBy",
        "kilobytes" => "KBy",
        "megabytes" => "MBy",
        "gigabytes" => "GBy",
        "terabytes" => "TBy",
        "meters" => "m",
        "volts" => "V",
        "amperes" => "A",
        "joules" => "J",
        "watts" => "W",
        "grams" => "g",
        "celsius" => "Cel",
        "hertz" => "Hz",
        "ratio" => "1",
        "percent" => "%",
        other => other,
    }
}

// --- Protobuf ---

pub(super) fn write_bytes(number: u32, bytes: &[u8], out: &mut Vec<u8>) {
    write_header(number, bytes.len(), out);
    out.extend_from_slice(bytes);
}

fn write_bytes_if(number: u32, bytes: Option<&[u8]>, out: &mut Vec<u8>) {
    if let Some(bytes) = bytes {
        write_bytes(number, bytes, out);
    }
}

/// As the three below, nothing for the default value.
pub(super) fn write_text(number: u32, text: &str, out: &mut Vec<u8>) {
    if !text.is_empty() {
        write_bytes(number, text.as_bytes(), out);
    }
}

pub(super) fn write_number(number: u32, value: u64, out: &mut Vec<u8>) {
    if value != 0 {
        varint::write(u64::from(number) << 3 | u64::from(VARINT), out);
        varint::write(value, out);
    }
}

pub(super) fn write_fixed(number: u32, value: u64, out: &mut Vec<u8>) {
    if value != 0 {
        varint::write(u64::from(number) << 3 | u64::from(FIXED64), out);
        out.extend_from_slice(&value.to_le_bytes());
    }
}

/// Zero too: where it is called, presence tells.
pub(super) fn write_double(number: u32, value: f64, out: &mut Vec<u8>) {
    varint::write(u64::from(number) << 3 | u64::from(FIXED64), out);
    out.extend_from_slice(&value.to_le_bytes());
}

/// A `KeyValue` with a text.
pub(super) fn write_attribute(number: u32, key: &str, value: &str, out: &mut Vec<u8>) {
    let any = framed_len(1, value.len());
    write_header(number, framed_len(1, key.len()) + framed_len(2, any), out);
    write_bytes(1, key.as_bytes(), out);
    write_header(2, any, out);
    write_bytes(1, value.as_bytes(), out);
}
