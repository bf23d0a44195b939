//! Attribute values: encoded `AnyValue` messages read in place, and new ones encoded.
//!
//! A [`Value`] is the bytes of one `AnyValue`; looking at it costs a tag. [`Value::as_string`] renders as Go's pdata does
//! (`AsString`), which is what processors compare and hash. Malformed bytes read as empty; they were refused at the door.

use std::io::Write as _;

use crate::field::{self, FIXED64, Fields, LEN, VARINT};
use crate::varint;

/// Values nested deeper than this are read as empty, whatever the limit at the door was.
pub const DEPTH_MAX: u32 = 256;

// Field numbers of AnyValue, as `otlp::ANY_VALUE` has them (a test compares).
const STR: u32 = 1;
const BOOL: u32 = 2;
const INT: u32 = 3;
const DOUBLE: u32 = 4;
const LIST: u32 = 5;
const MAP: u32 = 6;
const BYTES: u32 = 7;

/// One `AnyValue` message, encoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Value<'a>(&'a [u8]);

/// What a value holds.
#[derive(Clone, Copy, Debug)]
pub enum Any<'a> {
    /// Nothing set.
    Empty,
    /// Text; not necessarily UTF-8.
    Str(&'a [u8]),
    /// True or false.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A floating point number.
    Double(f64),
    /// Bytes.
    Bytes(&'a [u8]),
    /// A list of values.
    List(Values<'a>),
    /// A map; keys may stand there twice.
    Map(Entries<'a>),
}

/// A value to write.
#[derive(Clone, Copy, Debug)]
pub enum NewValue<'a> {
    /// Nothing set.
    Empty,
    /// Text.
    Str(&'a [u8]),
    /// True or false.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A floating point number.
    Double(f64),
    /// Bytes.
    Bytes(&'a [u8]),
    /// An `AnyValue` message that is encoded already.
    Encoded(&'a [u8]),
}

/// Appends the `AnyValue` message of a value, without a header of its own.
pub fn any_encode(value: NewValue<'_>, out: &mut Vec<u8>) {
    match value {
        NewValue::Empty => {}
        NewValue::Str(text) => {
            field::write_header(STR, text.len(), out);
            out.extend_from_slice(text);
        }
        NewValue::Bool(value) => out.extend_from_slice(&[(BOOL as u8) << 3, u8::from(value)]),
        NewValue::Int(value) => {
            out.push((INT as u8) << 3);
            varint::write(value as u64, out);
        }
        NewValue::Double(value) => {
            out.push((DOUBLE as u8) << 3 | FIXED64);
            out.extend_from_slice(&value.to_le_bytes());
        }
        NewValue::Bytes(bytes) => {
            field::write_header(BYTES, bytes.len(), out);
            out.extend_from_slice(bytes);
        }
        NewValue::Encoded(raw) => out.extend_from_slice(raw),
    }
}

impl NewValue<'_> {
    /// Most bytes that [`any_encode`] appends.
    pub(super) fn len_max(&self) -> usize {
        match self {
            NewValue::Str(bytes) | NewValue::Bytes(bytes) | NewValue::Encoded(bytes) => bytes.len() + 11,
            _ => 11,
        }
    }
}

impl<'a> Value<'a> {
    /// The `AnyValue` message in these bytes.
    #[inline]
    pub fn new(raw: &'a [u8]) -> Value<'a> {
        Value(raw)
    }

    /// The encoded message.
    #[inline]
    pub fn raw(&self) -> &'a [u8] {
        self.0
    }

    /// The text, if it is text.
    #[inline]
    pub fn as_str(&self) -> Option<&'a [u8]> {
        match self.any() {
            Any::Str(text) => Some(text),
            _ => None,
        }
    }

    /// What it holds. Of several members the last one counts, as for any protobuf reader.
    #[inline]
    pub fn any(&self) -> Any<'a> {
        match self.0 {
            [] => Any::Empty,
            // Text below 128 bytes, alone: nearly all values.
            [0x0a, len, text @ ..] if *len < 0x80 && *len as usize == text.len() => Any::Str(text),
            // A number, alone.
            [0x18, ..] => {
                let mut pos = 1;
                match varint::read(self.0, &mut pos) {
                    Ok(value) if pos == self.0.len() => Any::Int(value as i64),
                    _ => any_slow(self.0),
                }
            }
            raw => any_slow(raw),
        }
    }

    /// Appends what Go's `AsString` gives: text as it is, numbers and booleans in decimal, bytes in base64, lists and
    /// maps as JSON with sorted keys, nothing for an empty value.
    ///
    /// Cost: allocates only for maps (to sort). A list or map that holds NaN or an infinity gives nothing, since Go's
    /// JSON encoder refuses them.
    pub fn as_string(&self, out: &mut Vec<u8>) {
        match self.any() {
            Any::Empty => {}
            Any::Str(text) => out.extend_from_slice(text),
            Any::Bool(value) => out.extend_from_slice(if value { b"true" } else { b"false" }),
            Any::Int(value) => int(value, out),
            Any::Double(value) if value.is_nan() => out.extend_from_slice(b"NaN"),
            Any::Double(value) if value.is_infinite() => {
                out.extend_from_slice(if value > 0.0 { b"Infinity" } else { b"-Infinity" });
            }
            Any::Double(value) => double(value, out),
            Any::Bytes(bytes) => base64(bytes, out),
            Any::List(_) | Any::Map(_) => {
                let start = out.len();
                if !json(*self, out, DEPTH_MAX) {
                    out.truncate(start);
                }
            }
        }
    }
}

#[inline(never)]
fn any_slow(raw: &[u8]) -> Any<'_> {
    let mut any = Any::Empty;
    for field in Fields::new(raw, 0) {
        let Ok(field) = field else { return Any::Empty };
        let value = &raw[field.value..field.end];
        any = match (field.number, field.wire) {
            (STR, LEN) => Any::Str(value),
            (BOOL, VARINT) => Any::Bool(number(value) != 0),
            (INT, VARINT) => Any::Int(number(value) as i64),
            (DOUBLE, FIXED64) => Any::Double(f64::from_bits(fixed(value))),
            (LIST, LEN) => Any::List(Values(Fields::new(value, 0), value)),
            (MAP, LEN) => Any::Map(Entries(Fields::new(value, 0), value)),
            (BYTES, LEN) => Any::Bytes(value),
            // An index into a dictionary that logs, spans and metrics do not have.
            (8, VARINT) => Any::Empty,
            _ => any,
        };
    }
    any
}

fn number(value: &[u8]) -> u64 {
    varint::read(value, &mut 0).unwrap_or(0)
}

fn fixed(value: &[u8]) -> u64 {
    value.try_into().map(u64::from_le_bytes).unwrap_or(0)
}

/// The values of a list.
#[derive(Clone, Copy, Debug)]
pub struct Values<'a>(Fields<'a>, &'a [u8]);

impl<'a> Iterator for Values<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        loop {
            let field = self.0.next()?.ok()?;
            if field.number == 1 && field.wire == LEN {
                return Some(Value(&self.1[field.value..field.end]));
            }
        }
    }
}

/// The entries of a map.
#[derive(Clone, Copy, Debug)]
pub struct Entries<'a>(Fields<'a>, &'a [u8]);

impl<'a> Iterator for Entries<'a> {
    type Item = (&'a [u8], Value<'a>);

    fn next(&mut self) -> Option<(&'a [u8], Value<'a>)> {
        loop {
            let field = self.0.next()?.ok()?;
            if field.number == 1 && field.wire == LEN {
                return Some(key_value(&self.1[field.value..field.end]));
            }
        }
    }
}

/// Key and value of a `KeyValue` message.
fn key_value(raw: &[u8]) -> (&[u8], Value<'_>) {
    let (mut key, mut value): (&[u8], &[u8]) = (&[], &[]);
    for field in Fields::new(raw, 0) {
        let Ok(field) = field else { break };
        match (field.number, field.wire) {
            (1, LEN) => key = &raw[field.value..field.end],
            (2, LEN) => value = &raw[field.value..field.end],
            _ => {}
        }
    }
    (key, Value(value))
}

fn int(value: i64, out: &mut Vec<u8>) {
    // As many digits as u64 has, from the last to the first.
    let (mut digits, mut at, mut rest) = ([0; 20], 20, value.unsigned_abs());
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[at..]);
}

/// The shortest decimal that reads back, in the form that ECMAScript gives it.
fn double(value: f64, out: &mut Vec<u8>) {
    let size = value.abs();
    if size == 0.0 || (1e-6..1e21).contains(&size) {
        write!(out, "{value}").expect("writing to a Vec cannot fail");
        return;
    }
    let start = out.len();
    write!(out, "{value:e}").expect("writing to a Vec cannot fail");
    if let Some(e) = out[start..].iter().position(|&b| b == b'e')
        && out[start + e + 1] != b'-'
    {
        out.insert(start + e + 1, b'+');
    }
}

/// Standard base64 with padding.
fn base64(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for part in bytes.chunks(3) {
        let word = u32::from(part[0]) << 16
            | u32::from(part.get(1).copied().unwrap_or(0)) << 8
            | u32::from(part.get(2).copied().unwrap_or(0));
        for i in 0..4 {
            out.push(if i <= part.len() {
                DIGITS[(word >> (18 - 6 * i)) as usize & 63]
            } else {
                b'='
            });
        }
    }
}

/// Appends a value as Go's JSON encoder writes it, HTML left alone; false if it refuses.
fn json(value: Value<'_>, out: &mut Vec<u8>, depth: u32) -> bool {
    let Some(depth) = depth.checked_sub(1) else {
        out.extend_from_slice(b"null");
        return true;
    };
    match value.any() {
        Any::Empty => out.extend_from_slice(b"null"),
        Any::Str(text) => json_text(text, out),
        Any::Bool(value) => out.extend_from_slice(if value { b"true" } else { b"false" }),
        Any::Int(value) => int(value, out),
        Any::Double(value) if !value.is_finite() => return false,
        Any::Double(value) => double(value, out),
        Any::Bytes(bytes) => {
            out.push(b'"');
            base64(bytes, out);
            out.push(b'"');
        }
        Any::List(values) => {
            out.push(b'[');
            for (i, value) in values.enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                if !json(value, out, depth) {
                    return false;
                }
            }
            out.push(b']');
        }
        Any::Map(entries) => {
            // Sorted like Go's; the sort is stable, so of equal keys the last one stands last and wins.
            let mut entries: Vec<_> = entries.collect();
            entries.sort_by_key(|(key, _)| *key);
            out.push(b'{');
            let mut first = true;
            for (i, (key, value)) in entries.iter().enumerate() {
                if entries.get(i + 1).is_some_and(|(next, _)| next == key) {
                    continue;
                }
                if !std::mem::take(&mut first) {
                    out.push(b',');
                }
                json_text(key, out);
                out.push(b':');
                if !json(*value, out, depth) {
                    return false;
                }
            }
            out.push(b'}');
        }
    }
    true
}

fn json_text(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for part in text.utf8_chunks() {
        for c in part.valid().chars() {
            match c {
                '"' => out.extend_from_slice(b"\\\""),
                '\\' => out.extend_from_slice(b"\\\\"),
                '\n' => out.extend_from_slice(b"\\n"),
                '\r' => out.extend_from_slice(b"\\r"),
                '\t' => out.extend_from_slice(b"\\t"),
                '\x08' => out.extend_from_slice(b"\\b"),
                '\x0c' => out.extend_from_slice(b"\\f"),
                '\0'..='\x1f' | '\u{2028}' | '\u{2029}' => {
                    write!(out, "\\u{:04x}", c as u32).expect("writing to a Vec cannot fail");
                }
                c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        // Go replaces each byte that is not UTF-8 by itself.
        for _ in part.invalid() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::any_value::Value as V;
    use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList};
    use prost::Message as _;

    use super::*;
    use crate::otlp;

    fn any(value: V) -> AnyValue {
        AnyValue { value: Some(value) }
    }

    fn map(entries: &[(&str, Option<V>)]) -> V {
        V::KvlistValue(KeyValueList {
            values: entries
                .iter()
                .map(|(key, value)| KeyValue {
                    key: (*key).into(),
                    value: Some(AnyValue { value: value.clone() }),
                    ..Default::default()
                })
                .collect(),
        })
    }

    fn check(value: V, expected: &str) {
        let raw = any(value).encode_to_vec();
        let mut out = b">".to_vec();
        Value::new(&raw).as_string(&mut out);
        assert_eq!(String::from_utf8_lossy(&out[1..]), expected);
    }

    #[test]
    fn renders_as_go_does() {
        check(V::StringValue("a<b>".into()), "a<b>");
        check(V::BoolValue(false), "false");
        check(V::BoolValue(true), "true");
        check(V::IntValue(i64::MIN), "-9223372036854775808");
        check(V::BytesValue(vec![]), "");
        check(V::BytesValue(b"a".to_vec()), "YQ==");
        check(V::BytesValue(b"ab".to_vec()), "YWI=");
        check(V::BytesValue(vec![0xfb, 0xff, 0xfe]), "+//+");
        check(V::StringValueStrindex(3), "");
        for (value, expected) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-1.5, "-1.5"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (1.25e22, "1.25e+22"),
            (1e-6, "0.000001"),
            (9.9e-7, "9.9e-7"),
            (-1e-7, "-1e-7"),
            (f64::MAX, "1.7976931348623157e+308"),
            (5e-324, "5e-324"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "Infinity"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            check(V::DoubleValue(value), expected);
        }
        check(map(&[]), "{}");
        check(
            map(&[
                ("b", Some(V::IntValue(1))),
                ("a", None),
                ("b", Some(V::StringValue("x\"\\\n\u{1}\u{2028}<é".into()))),
                ("c", Some(V::BytesValue(b"a".to_vec()))),
            ]),
            r#"{"a":null,"b":"x\"\\\n\u0001\u2028<é","c":"YQ=="}"#,
        );
        check(
            V::ArrayValue(ArrayValue {
                values: vec![any(V::DoubleValue(1e21)), any(V::BoolValue(true)), any(map(&[]))],
            }),
            "[1e+21,true,{}]",
        );
        check(map(&[("a", Some(V::DoubleValue(f64::NAN)))]), "");
    }

    #[test]
    fn text_in_json_replaces_each_foreign_byte() {
        let mut out = Vec::new();
        json_text(b"a\xff\xc3(", &mut out);
        assert_eq!(out, b"\"a\\ufffd\\ufffd(\"");
    }

    #[test]
    fn numbers_are_those_of_the_table() {
        for (number, name) in [
            (STR, "string_value"),
            (BOOL, "bool_value"),
            (INT, "int_value"),
            (DOUBLE, "double_value"),
            (LIST, "array_value"),
            (MAP, "kvlist_value"),
            (BYTES, "bytes_value"),
        ] {
            assert_eq!(otlp::ANY_VALUE.named(name).unwrap().number, number);
        }
    }

    #[test]
    fn last_member_wins_and_rubbish_is_empty() {
        assert!(matches!(Value::new(&[0x0a, 1, b'a', 0x18, 5]).any(), Any::Int(5)));
        assert!(matches!(
            Value::new(&[0x18, 5, 0x0a, 1, b'a']).any(),
            Any::Str(b"a")
        ));
        assert!(matches!(Value::new(&[0x0a, 9]).any(), Any::Empty));
        assert!(matches!(Value::new(&[0xff]).any(), Any::Empty));
    }

    #[test]
    fn encodes_what_it_reads() {
        let check = |value: NewValue<'_>, expected: V| {
            let mut out = Vec::new();
            any_encode(value, &mut out);
            assert!(out.len() <= value.len_max());
            assert_eq!(AnyValue::decode(&*out).unwrap(), any(expected));
        };
        check(NewValue::Str(b""), V::StringValue(String::new()));
        check(NewValue::Str(b"abc"), V::StringValue("abc".into()));
        check(NewValue::Bool(false), V::BoolValue(false));
        check(NewValue::Int(-1), V::IntValue(-1));
        check(NewValue::Double(0.5), V::DoubleValue(0.5));
        check(NewValue::Bytes(&[1; 200]), V::BytesValue(vec![1; 200]));
        check(NewValue::Encoded(&[0x10, 1]), V::BoolValue(true));
    }

    #[test]
    fn nesting_beyond_the_bound_is_cut() {
        let mut raw = Vec::new();
        for _ in 0..DEPTH_MAX + 50 {
            let mut list = Vec::new();
            field::write_header(1, raw.len(), &mut list);
            list.append(&mut raw);
            field::write_header(LIST, list.len(), &mut raw);
            raw.append(&mut list);
        }
        let mut out = Vec::new();
        Value::new(&raw).as_string(&mut out);
        assert!(out.ends_with(b"]") && out.windows(4).any(|w| w == b"null"));
    }
}
