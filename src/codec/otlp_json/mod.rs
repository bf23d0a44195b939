//! Writes OTLP protobuf as OTLP/JSON, byte for byte as the collector's pdata does.
//!
//! In: one encoded export request. Out: one JSON object without line breaks. Names are lowerCamelCase, ids hex, other
//! bytes base64, 64-bit integers strings, enums numbers, doubles that JSON lacks the strings `NaN`, `Infinity` and
//! `-Infinity`; zero values are left out, but `resource`, `scope`, `body`, `status` and an attribute's `value` always
//! stand there. Unknown fields are skipped, of a singular field given twice the last one counts. What the messages
//! look like is taken from [`wire::otlp`].

use std::io::Write;

use wire::Signal;
use wire::field::{Fields, LEN, Malformed, Reason};
use wire::otlp::{self, Kind, Message, Role, Rule};
use wire::varint;

/// Appends one request.
///
/// Errors: the bytes are no such message, or nested deeper than any validated payload; `out` is then as it was.
/// Cost: each message's fields are looked at twice, nothing is allocated but room in `out`.
pub fn write(signal: Signal, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let start = out.len();
    let written = message(otlp::request(signal), bytes, DEPTH_MAX, out);
    if written.is_err() {
        out.truncate(start);
    }
    written
}

/// Eight levels of groups, and values as deep as the door lets in: 64 levels of up to three messages.
const DEPTH_MAX: u32 = 3 * 64 + 8;

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
                name(field.name, start, out);
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
                if rule == Rule::Single && !optional(shape, field.name) && is_zero(field.kind, value) {
                    continue;
                }
                name(field.name, start, out);
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
            name(field.name, start, out);
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
        Kind::Fixed64 | Kind::Double => 8,
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
        Kind::Bytes if matches!(field.role, Role::TraceId | Role::SpanId) || field.name == "profile_id" => {
            hex(value, out);
        }
        Kind::Bytes => base64(value, out),
        Kind::Bool => out.extend_from_slice(if number(value) == 0 { b"false" } else { b"true" }),
        Kind::Int => match INTEGERS.iter().find(|(name, _)| *name == field.name) {
            Some((_, Width::Signed)) => print(out, format_args!("\"{}\"", number(value) as i64)),
            Some((_, Width::Unsigned)) => print(out, format_args!("\"{}\"", number(value))),
            // Enums and counts; a negative enum is sign-extended on the wire.
            None if field.name.ends_with("_count") || field.name == "flags" => {
                print(out, format_args!("{}", number(value) as u32));
            }
            None => print(out, format_args!("{}", number(value) as i32)),
        },
        Kind::Sint => {
            let zigzag = number(value) as u32;
            print(
                out,
                format_args!("{}", (zigzag >> 1) as i32 ^ -((zigzag & 1) as i32)),
            );
        }
        Kind::Fixed32 => print(out, format_args!("{}", fixed(value) as u32)),
        Kind::Fixed64 if field.name == "as_int" => print(out, format_args!("\"{}\"", fixed(value) as i64)),
        Kind::Fixed64 => print(out, format_args!("\"{}\"", fixed(value))),
        Kind::Double => double(f64::from_bits(fixed(value)), out),
    }
    Ok(())
}

enum Width {
    Signed,
    Unsigned,
}

/// Varints of 64 bits, which JSON shows as strings; all others are enums and numbers of 32 bits.
const INTEGERS: &[(&str, Width)] = &[
    ("int_value", Width::Signed),
    ("bucket_counts", Width::Unsigned),
    // profiles
    ("values", Width::Signed),
    ("period", Width::Signed),
    ("line", Width::Signed),
    ("column", Width::Signed),
    ("start_line", Width::Signed),
    ("duration_nano", Width::Unsigned),
    ("address", Width::Unsigned),
    ("memory_start", Width::Unsigned),
    ("memory_limit", Width::Unsigned),
    ("file_offset", Width::Unsigned),
];

/// Messages that pdata holds by value, so that its JSON always shows them.
fn always(name: &str, kind: Kind) -> bool {
    matches!(kind, Kind::Message(_)) && matches!(name, "resource" | "scope" | "status" | "body" | "value")
}

/// Fields whose presence says something: zero is not the same as absent.
fn optional(shape: &Message, name: &str) -> bool {
    matches!(name, "min" | "max")
        || (name == "sum" && matches!(shape.name, "HistogramDataPoint" | "ExponentialHistogramDataPoint"))
}

fn is_zero(kind: Kind, value: &[u8]) -> bool {
    match kind {
        Kind::Message(_) => false,
        Kind::Text | Kind::Bytes => value.is_empty(),
        Kind::Bool | Kind::Int | Kind::Sint => number(value) == 0,
        // Negative zero is not the default of a double.
        Kind::Fixed32 | Kind::Fixed64 | Kind::Double => fixed(value) == 0,
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

/// `time_unix_nano` as `"timeUnixNano":`, with a comma unless the object has just begun at `start`.
fn name(snake: &str, start: usize, out: &mut Vec<u8>) {
    if out.len() > start + 1 {
        out.push(b',');
    }
    out.push(b'"');
    let mut upper = false;
    for b in snake.bytes() {
        match b {
            b'_' => upper = true,
            b if std::mem::take(&mut upper) => out.push(b.to_ascii_uppercase()),
            b => out.push(b),
        }
    }
    out.extend_from_slice(b"\":");
}

fn text(bytes: &[u8], out: &mut Vec<u8>) {
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
    while let Some(at) = rest.iter().position(|b| matches!(b, b'"' | b'\\' | 0..0x20)) {
        out.extend_from_slice(&rest[..at]);
        match rest[at] {
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            control @ 0..0x20 => print(out, format_args!("\\u{control:04x}")),
            quoted => out.extend_from_slice(&[b'\\', quoted]),
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
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
mod tests;
