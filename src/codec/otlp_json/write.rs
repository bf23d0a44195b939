//! From protobuf to OTLP/JSON, byte for byte as the collector's pdata writes it.
//!
//! One JSON object without line breaks. Zero values are left out, but `resource`, `scope`, `body`, `status`, an
//! attribute's `value` and `partialSuccess` always stand there. Doubles that JSON lacks are the strings `NaN`,
//! `Infinity` and `-Infinity`. Unknown fields are skipped, of a singular field given twice the last one counts.

use std::io::Write;

use wire::field::{Fields, LEN, Malformed, Reason, VARINT};
use wire::otlp::{self, Kind, Message, Role, Rule};
use wire::varint;
use wire::{Payload, Signal};

use super::{DEPTH_MAX, hex_len, is_optional, plain_len};

/// Appends one request.
///
/// Errors: the bytes are no such message, or nested deeper than any validated payload; `out` is then as it was.
/// Cost: each message's fields are looked at twice, nothing is allocated but room in `out`.
pub fn write(signal: Signal, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    write_message(otlp::request(signal), bytes, out)
}

/// [`write`] for any message of the table.
pub fn write_message(shape: &'static Message, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let start = out.len();
    let written = message(shape, bytes, DEPTH_MAX, out);
    if written.is_err() {
        out.truncate(start);
    }
    written
}

/// A whole payload as one request: its chunks laid end to end, each in canonical form.
///
/// Errors: as [`write`], which no payload that passed the door gives.
pub fn write_payload(payload: &Payload) -> Result<Vec<u8>, Malformed> {
    let request = if payload.chunks.iter().any(|chunk| chunk.shape.non_canonical) {
        let mut request = Vec::with_capacity(payload.len());
        for chunk in &payload.chunks {
            request.extend_from_slice(&wire::normalize(payload.signal, &chunk.bytes(), false)?);
        }
        request.into()
    } else {
        payload.to_bytes()
    };
    let mut out = Vec::with_capacity(request.len() * 2 + otlp::request(payload.signal).name.len());
    write(payload.signal, &request, &mut out)?;
    Ok(out)
}

fn message(shape: &'static Message, bytes: &[u8], depth: u32, out: &mut Vec<u8>) -> Result<(), Malformed> {
    let Some(depth) = depth.checked_sub(1) else {
        return Err(Malformed::new(0, Reason::Depth));
    };
    let found = Found::scan(shape, bytes)?;
    let start = out.len();
    out.push(b'{');
    for (slot, field) in shape.fields.iter().enumerate() {
        let Some(last) = found.places[slot] else {
            if always(field.name, field.kind) {
                name(field, start, out);
                out.extend_from_slice(b"{}");
            }
            continue;
        };
        match field.rule {
            Rule::Repeated => repeated(
                field,
                &bytes[..last.end as usize],
                last.first as usize,
                start,
                depth,
                out,
            )?,
            Rule::Oneof if found.chosen != Some(slot) => {}
            rule => {
                let value = &bytes[last.value as usize..last.end as usize];
                if rule == Rule::Single && is_zero(field.kind, value) && !is_optional(shape, field) {
                    continue;
                }
                name(field, start, out);
                single(field, value, depth, out)?;
            }
        }
    }
    out.push(b'}');
    Ok(())
}

/// Where the fields of one message lie.
struct Found {
    /// By place in the table.
    places: [Option<Place>; FIELDS_MAX],
    /// Which member of the one-of counts: the last.
    chosen: Option<usize>,
}

/// Small, because as many of these as messages are nested lie on the stack.
#[derive(Clone, Copy)]
struct Place {
    /// Begin of the first occurrence.
    first: u32,
    /// Value of the last one.
    value: u32,
    /// End of the last one.
    end: u32,
}

/// No message of OTLP has more fields (a test holds the table to it).
const FIELDS_MAX: usize = 24;

impl Found {
    fn scan(shape: &Message, bytes: &[u8]) -> Result<Found, Malformed> {
        if u32::try_from(bytes.len()).is_err() {
            return Err(Malformed::new(0, Reason::Size));
        }
        let mut found = Found {
            places: [None; FIELDS_MAX],
            chosen: None,
        };
        for field in Fields::new(bytes, 0) {
            let field = field?;
            let Some(slot) = shape.slot(field.number).filter(|slot| *slot < FIELDS_MAX) else {
                continue;
            };
            let known = &shape.fields[slot];
            let packed = known.rule == Rule::Repeated && field.wire == LEN;
            if known.role == Role::Deprecated || (field.wire != known.kind.wire() && !packed) {
                continue;
            }
            if known.rule == Rule::Oneof {
                found.chosen = Some(slot);
            }
            found.places[slot] = Some(Place {
                first: found.places[slot].map_or(field.start as u32, |place| place.first),
                value: field.value as u32,
                end: field.end as u32,
            });
        }
        Ok(found)
    }
}

fn repeated(
    field: &otlp::Field,
    bytes: &[u8],
    from: usize,
    start: usize,
    depth: u32,
    out: &mut Vec<u8>,
) -> Result<(), Malformed> {
    let mut open = false;
    let mut next = |out: &mut Vec<u8>| {
        if std::mem::replace(&mut open, true) {
            out.push(b',');
        } else {
            name(field, start, out);
            out.push(b'[');
        }
    };
    for found in Fields::new(bytes, from) {
        let found = found?;
        if found.number != field.number {
            continue;
        }
        let mut value = &bytes[found.value..found.end];
        if found.wire == field.kind.wire() {
            next(out);
            single(field, value, depth, out)?;
        } else if found.wire == LEN {
            while !value.is_empty() {
                let (one, rest) = value.split_at(packed_len(field.kind, value)?);
                value = rest;
                next(out);
                single(field, one, depth, out)?;
            }
        }
    }
    if open {
        out.push(b']');
    }
    Ok(())
}

/// Bytes of the first number of a packed list.
fn packed_len(kind: Kind, list: &[u8]) -> Result<usize, Malformed> {
    let len = match kind {
        Kind::Fixed64 | Kind::Sfixed64 | Kind::Double => 8,
        Kind::Fixed32 => 4,
        _ => {
            let mut pos = 0;
            varint::read(list, &mut pos)?;
            pos
        }
    };
    if len > list.len() {
        Err(Malformed::new(0, Reason::Packed))
    } else {
        Ok(len)
    }
}

/// One value, known to be of the field's wire type.
fn single(field: &otlp::Field, value: &[u8], depth: u32, out: &mut Vec<u8>) -> Result<(), Malformed> {
    match field.kind {
        Kind::Message(shape) => return message(shape, value, depth, out),
        Kind::Text => text(value, out),
        Kind::Bytes if hex_len(field).is_some() => hex(value, out),
        Kind::Bytes => base64(value, out),
        Kind::Bool => out.extend_from_slice(if number(value) == 0 { b"false" } else { b"true" }),
        Kind::Int64 => print(out, format_args!("\"{}\"", number(value) as i64)),
        Kind::Uint64 => print(out, format_args!("\"{}\"", number(value))),
        Kind::Int32 | Kind::Enum(_) => print(out, format_args!("{}", number(value) as i32)),
        Kind::Uint32 => print(out, format_args!("{}", number(value) as u32)),
        Kind::Sint32 => {
            let zigzag = number(value) as u32;
            print(
                out,
                format_args!("{}", (zigzag >> 1) as i32 ^ -((zigzag & 1) as i32)),
            );
        }
        Kind::Fixed32 => print(out, format_args!("{}", fixed(value) as u32)),
        Kind::Sfixed64 => print(out, format_args!("\"{}\"", fixed(value) as i64)),
        Kind::Fixed64 => print(out, format_args!("\"{}\"", fixed(value))),
        Kind::Double => double(f64::from_bits(fixed(value)), out),
    }
    Ok(())
}

/// Messages that pdata holds by value, so that its JSON always shows them.
pub(super) fn always(name: &str, kind: Kind) -> bool {
    matches!(kind, Kind::Message(_))
        && matches!(
            name,
            "resource" | "scope" | "status" | "body" | "value" | "partial_success"
        )
}

fn is_zero(kind: Kind, value: &[u8]) -> bool {
    match kind {
        Kind::Message(_) => false,
        Kind::Text | Kind::Bytes => value.is_empty(),
        // Negative zero is not the default of a double.
        _ if kind.wire() != VARINT => fixed(value) == 0,
        _ => number(value) == 0,
    }
}

fn number(value: &[u8]) -> u64 {
    varint::read(value, &mut 0).unwrap_or(0)
}

fn fixed(value: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    let len = value.len().min(8);
    bytes[..len].copy_from_slice(&value[..len]);
    u64::from_le_bytes(bytes)
}

fn print(out: &mut Vec<u8>, what: std::fmt::Arguments<'_>) {
    out.write_fmt(what).expect("writing to a Vec cannot fail");
}

/// The key, with a comma unless the object has just begun at `start`.
fn name(field: &otlp::Field, start: usize, out: &mut Vec<u8>) {
    if out.len() > start + 1 {
        out.push(b',');
    }
    out.push(b'"');
    out.extend_from_slice(field.camel.as_bytes());
    out.extend_from_slice(b"\":");
}

/// Appends a text as a JSON string. What is not UTF-8 becomes U+FFFD.
pub fn quote(bytes: &[u8], out: &mut Vec<u8>) {
    text(bytes, out);
}

pub(crate) fn text(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for part in bytes.utf8_chunks() {
        escaped(part.valid().as_bytes(), out);
        if !part.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    out.push(b'"');
}

fn escaped(bytes: &[u8], out: &mut Vec<u8>) {
    let mut rest = bytes;
    loop {
        let (plain, special) = rest.split_at(plain_len(rest));
        out.extend_from_slice(plain);
        let Some((special, after)) = special.split_first() else {
            return;
        };
        match special {
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            control @ 0..0x20 => print(out, format_args!("\\u{control:04x}")),
            quoted => out.extend_from_slice(&[b'\\', *quoted]),
        }
        rest = after;
    }
}

fn hex(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    for b in bytes {
        out.extend_from_slice(&[DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]]);
    }
    out.push(b'"');
}

fn base64(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    out.push(b'"');
    for part in bytes.chunks(3) {
        let word = (0..3).fold(0u32, |word, i| {
            word << 8 | u32::from(part.get(i).copied().unwrap_or(0))
        });
        for i in 0..4 {
            let digit = DIGITS[(word >> (18 - 6 * i)) as usize & 63];
            out.push(if i <= part.len() { digit } else { b'=' });
        }
    }
    out.push(b'"');
}

fn double(value: f64, out: &mut Vec<u8>) {
    let size = value.abs();
    if value.is_nan() {
        out.extend_from_slice(b"\"NaN\"");
    } else if value.is_infinite() {
        out.extend_from_slice(if value > 0. {
            b"\"Infinity\""
        } else {
            b"\"-Infinity\""
        });
    } else if size != 0. && !(1e-6..1e21).contains(&size) {
        print(out, format_args!("{value:e}"));
    } else {
        print(out, format_args!("{value}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_fits() {
        for signal in Signal::ALL {
            fits(otlp::request(signal), 12);
        }

        fn fits(shape: &Message, depth: u32) {
            assert!(shape.fields.len() <= FIELDS_MAX, "{}", shape.name);
            for field in shape.fields {
                if let (Kind::Message(inner), Some(depth)) = (field.kind, depth.checked_sub(1)) {
                    fits(inner, depth);
                }
            }
        }
    }
}
