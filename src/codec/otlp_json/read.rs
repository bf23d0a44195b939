//! From OTLP/JSON to protobuf: fields as they come, values by the type that the table says.
//!
//! Taken beyond the names that OTLP gives: names in snake_case, integers in quotes and out of them, enums by name,
//! numbers for doubles in quotes, base64 of both alphabets with or without padding, null for anything. Unknown fields
//! are skipped, text behind the object is not looked at. A field given twice stands twice in the outcome, where
//! protobuf's rules choose: the collector's are the same.

use wire::Signal;
use wire::field::LEN;
use wire::otlp::{self, Field, Kind, Message, Rule};
use wire::varint;

use super::lengths::Lengths;
use super::number;
use super::text::{Invalid, Quoted, Reason, Text};
use super::{DEPTH_MAX, hex_len, is_optional};

/// Bytes of protobuf that one byte of JSON text can become: a list of one-digit doubles.
pub const GROWTH_MAX: usize = 4;

/// Appends one request, in canonical form but for what the text gives twice.
///
/// Errors: the text is no JSON, or a value is not of its field's type; `out` is then as it was. An empty text is an
/// error, while no bytes at all are a request in protobuf. Cost: one pass, and one over `out`; nothing is allocated by
/// record. `out` grows by at most [`GROWTH_MAX`] bytes for each byte of text.
pub fn read(signal: Signal, json: &[u8], out: &mut Vec<u8>) -> Result<(), Invalid> {
    read_message(otlp::request(signal), json, out)
}

/// [`read`] for any message of the table.
pub fn read_message(shape: &'static Message, json: &[u8], out: &mut Vec<u8>) -> Result<(), Invalid> {
    let start = out.len();
    let mut reader = Reader {
        text: Text::new(json),
        to: Lengths::new(out),
        scratch: Vec::new(),
    };
    let done = match reader.text.null() {
        Ok(true) => Ok(()),
        Ok(false) => reader.object(shape, DEPTH_MAX),
        Err(invalid) => Err(invalid),
    };
    match done {
        Ok(()) => reader.to.finish(),
        Err(_) => out.truncate(start),
    }
    done
}

struct Reader<'a, 'o> {
    text: Text<'a>,
    to: Lengths<'o>,
    /// For strings with escapes that are no text.
    scratch: Vec<u8>,
}

impl Reader<'_, '_> {
    fn object(&mut self, shape: &'static Message, depth: u32) -> Result<(), Invalid> {
        let Some(depth) = depth.checked_sub(1) else {
            return Err(self.text.fault(Reason::Depth));
        };
        if !self.text.take(b'{') {
            return Err(self.text.expected("an object"));
        }
        if self.text.take(b'}') {
            return Ok(());
        }
        let mut seen = 0u32;
        let mut next = 0;
        loop {
            let key = self.text.key()?;
            match self.slot(shape, key, next) {
                Some(slot) => {
                    let field = &shape.fields[slot];
                    let again = seen >> slot & 1 == 1;
                    self.field(shape, field, again, depth).map_err(|mut invalid| {
                        invalid.field.get_or_insert(field.camel.as_str());
                        invalid
                    })?;
                    seen |= 1 << slot;
                    next = slot + 1;
                }
                None => self.text.skip()?,
            }
            if self.text.take(b'}') {
                return Ok(());
            }
            if !self.text.take(b',') {
                return Err(self.text.expected("',' or '}'"));
            }
        }
    }

    #[inline]
    fn slot(&mut self, shape: &'static Message, key: Quoted<'_>, from: usize) -> Option<usize> {
        if !key.escaped
            && let Some(slot) = shape.json_slot(key.raw, from)
        {
            return Some(slot);
        }
        self.unusual_slot(shape, key)
    }

    /// Keys with escapes, and names that only JSON has.
    #[cold]
    fn unusual_slot(&mut self, shape: &'static Message, key: Quoted<'_>) -> Option<usize> {
        self.scratch.clear();
        key.unescape(&mut self.scratch);
        let known = |(json, _): &&(&str, &str)| json.as_bytes() == self.scratch;
        let name = match ALIASES.iter().find(known) {
            Some((_, name)) => name.as_bytes(),
            None => &self.scratch,
        };
        shape.json_slot(name, 0)
    }

    /// The value behind a key.
    fn field(
        &mut self,
        shape: &'static Message,
        field: &'static Field,
        again: bool,
        depth: u32,
    ) -> Result<(), Invalid> {
        if field.rule != Rule::Repeated {
            // Where a zero must overrule what stood there before, it is written.
            let zero_counts = again || field.rule == Rule::Oneof;
            return self.single(Some(shape).filter(|_| !zero_counts), field, depth);
        }
        if self.text.null()? {
            return Ok(());
        }
        if !self.text.take(b'[') {
            return Err(self.text.expected("an array"));
        }
        if self.text.take(b']') {
            return Ok(());
        }
        let is_packed = field.kind.wire() != LEN;
        let list = is_packed.then(|| {
            self.tag(field.number, LEN);
            self.to.open()
        });
        loop {
            if is_packed {
                self.number(field.kind)?.append(self.to.out);
            } else {
                self.single(None, field, depth)?;
            }
            if self.text.take(b']') {
                break;
            }
            if !self.text.take(b',') {
                return Err(self.text.expected("',' or ']'"));
            }
        }
        if let Some(list) = list {
            self.to.close(list);
        }
        Ok(())
    }

    /// One value with its tag. Zero values of a message's own fields (`within` it) are left out.
    #[inline]
    fn single(&mut self, within: Option<&Message>, field: &'static Field, depth: u32) -> Result<(), Invalid> {
        match field.kind {
            Kind::Message(nested) => {
                let is_null = self.text.null()?;
                if is_null && field.rule == Rule::Single {
                    return Ok(());
                }
                self.tag(field.number, LEN);
                let open = self.to.open();
                if !is_null {
                    self.object(nested, depth)?;
                }
                self.to.close(open);
            }
            Kind::Text | Kind::Bytes => {
                let string = match self.text.null()? {
                    true => Quoted::default(),
                    false => self.text.string()?,
                };
                if string.raw.is_empty() && within.is_some() {
                    return Ok(());
                }
                self.tag(field.number, LEN);
                if matches!(field.kind, Kind::Text) {
                    self.string(string);
                } else {
                    self.bytes(field, string)?;
                }
            }
            kind => {
                if self.text.null()? {
                    return Ok(());
                }
                let number = self.number(kind)?;
                if !number.is_zero() || within.is_none_or(|shape| is_optional(shape, field)) {
                    self.tag(field.number, kind.wire());
                    number.append(self.to.out);
                }
            }
        }
        Ok(())
    }

    #[inline(always)]
    fn tag(&mut self, number: u32, wire: u8) {
        varint::write(u64::from(number) << 3 | u64::from(wire), self.to.out);
    }

    #[inline]
    fn string(&mut self, string: Quoted<'_>) {
        if string.escaped {
            let open = self.to.open();
            string.unescape(self.to.out);
            self.to.close(open);
        } else {
            varint::write(string.raw.len() as u64, self.to.out);
            self.to.out.extend_from_slice(string.raw);
        }
    }

    /// Ids and other bytes, with their length.
    fn bytes(&mut self, field: &Field, string: Quoted<'_>) -> Result<(), Invalid> {
        let end = self.text.position();
        let open = self.to.open();
        let text = plain(string, &mut self.scratch);
        let done = match hex_len(field) {
            Some(len) => hex(text, len, self.to.out),
            None => base64(text, self.to.out).ok_or(Reason::Base64),
        };
        self.to.close(open);
        let start = end - (string.raw.len() + 2).min(end);
        done.map_err(|reason| Invalid::at(start, reason))
    }

    /// A number, enum or bool.
    fn number(&mut self, kind: Kind) -> Result<Number, Invalid> {
        if matches!(kind, Kind::Bool) {
            return self.text.bool().map(|value| Number::Varint(u64::from(value)));
        }
        let is_quoted = self.text.peek() == Some(b'"');
        let start = self.text.position();
        let text = match is_quoted {
            true => {
                let string = self.text.string()?;
                plain(string, &mut self.scratch)
            }
            false => self.text.number()?,
        };
        let found = match kind {
            Kind::Double => number::double(text)
                .map(|value| Number::Eight(value.to_bits()))
                .ok_or(Reason::Double),
            Kind::Enum(names) if is_quoted => {
                let named = names.iter().find(|(name, _)| name.as_bytes() == text);
                named
                    .map(|(_, number)| Number::Varint(*number as u64))
                    .ok_or(Reason::EnumName)
            }
            kind => number::integer(text)
                .and_then(|value| integer(kind, value))
                .ok_or(Reason::Integer),
        };
        found.map_err(|reason| Invalid::at(start, reason))
    }
}

/// Names in JSON that are not the table's: what pdata calls field 1000 of the groups, and what was within it before.
const ALIASES: &[(&str, &str)] = &[
    ("deprecatedScopeLogs", "instrumentation_library_logs"),
    ("deprecated_scope_logs", "instrumentation_library_logs"),
    ("deprecatedScopeSpans", "instrumentation_library_spans"),
    ("deprecated_scope_spans", "instrumentation_library_spans"),
    ("deprecatedScopeMetrics", "instrumentation_library_metrics"),
    ("deprecated_scope_metrics", "instrumentation_library_metrics"),
    ("instrumentationLibrary", "scope"),
    ("instrumentation_library", "scope"),
];

/// The text of a string that is no text field.
fn plain<'t>(string: Quoted<'t>, scratch: &'t mut Vec<u8>) -> &'t [u8] {
    if !string.escaped {
        return string.raw;
    }
    scratch.clear();
    string.unescape(scratch);
    scratch
}

/// A number as it stands on the wire.
#[derive(Clone, Copy)]
enum Number {
    Varint(u64),
    Four(u32),
    Eight(u64),
}

impl Number {
    fn is_zero(self) -> bool {
        matches!(self, Number::Varint(0) | Number::Four(0) | Number::Eight(0))
    }

    #[inline]
    fn append(self, out: &mut Vec<u8>) {
        match self {
            Number::Varint(value) => varint::write(value, out),
            Number::Four(value) => out.extend_from_slice(&value.to_le_bytes()),
            Number::Eight(value) => out.extend_from_slice(&value.to_le_bytes()),
        }
    }
}

/// An integer in the range of its type; 32 bits with a sign are 64 on the wire.
fn integer(kind: Kind, value: i128) -> Option<Number> {
    Some(match kind {
        Kind::Int32 | Kind::Enum(_) => Number::Varint(i64::from(i32::try_from(value).ok()?) as u64),
        Kind::Uint32 => Number::Varint(u64::from(u32::try_from(value).ok()?)),
        Kind::Int64 => Number::Varint(i64::try_from(value).ok()? as u64),
        Kind::Uint64 => Number::Varint(u64::try_from(value).ok()?),
        Kind::Sint32 => {
            let value = i32::try_from(value).ok()?;
            Number::Varint(u64::from((value << 1 ^ value >> 31) as u32))
        }
        Kind::Fixed32 => Number::Four(u32::try_from(value).ok()?),
        Kind::Fixed64 => Number::Eight(u64::try_from(value).ok()?),
        Kind::Sfixed64 => Number::Eight(i64::try_from(value).ok()? as u64),
        Kind::Bool | Kind::Double | Kind::Text | Kind::Bytes | Kind::Message(_) => return None,
    })
}

/// An id of `len` bytes; none at all is "absent".
fn hex(text: &[u8], len: usize, out: &mut Vec<u8>) -> Result<(), Reason> {
    if text.is_empty() {
        return Ok(());
    }
    if text.len() != 2 * len {
        return Err(Reason::IdLength);
    }
    let (pairs, _) = text.as_chunks::<2>();
    for [high, low] in pairs {
        let digit = |b: u8| char::from(b).to_digit(16).ok_or(Reason::Hex);
        out.push((digit(*high)? << 4 | digit(*low)?) as u8);
    }
    Ok(())
}

/// Base64 as Go reads it (line breaks are nothing) and as protobuf's JSON mapping allows it.
fn base64(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut word = 0u32;
    let mut digits = 0;
    let mut padding = 0;
    for byte in text {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            b'\n' | b'\r' => continue,
            b'=' if digits >= 2 && digits + padding < 4 => {
                padding += 1;
                continue;
            }
            _ => return None,
        };
        if padding > 0 {
            return None;
        }
        word = word << 6 | u32::from(digit);
        digits += 1;
        if digits == 4 {
            out.extend_from_slice(&word.to_be_bytes()[1..]);
            (word, digits) = (0, 0);
        }
    }
    match (digits, padding) {
        (0, 0) => {}
        (2, 0 | 2) => out.push((word >> 4) as u8),
        (3, 0 | 1) => out.extend_from_slice(&((word >> 2) as u16).to_be_bytes()),
        _ => return None,
    }
    Some(())
}
