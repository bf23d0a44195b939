//! JSON as Elasticsearch wants it: what is written into documents, piece by piece.
//!
//! Out: one line without breaks. Doubles always have a point or an exponent, so that a field that is first seen with a
//! whole number is mapped as a double; what JSON cannot say (NaN, infinities) is null. Of keys that are given twice the
//! last one counts: Elasticsearch refuses documents with both.

use std::io::Write;

use codec::otlp_json::quote;
use codec::time::Civil;
use wire::view::{Any, DEPTH_MAX, Value};

/// A key, with the comma before it if something stands before it.
#[inline]
pub(super) fn key(name: &[u8], out: &mut Vec<u8>) {
    comma(out);
    quote(name, out);
    out.push(b':');
}

/// The same for a name that needs no escapes.
#[inline]
pub(super) fn plain_key(name: &str, out: &mut Vec<u8>) {
    comma(out);
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

/// A comma unless an object or an array has just begun.
#[inline]
pub(super) fn comma(out: &mut Vec<u8>) {
    if !matches!(out.last(), Some(b'{' | b'[') | None) {
        out.push(b',');
    }
}

/// A text, if it is not empty.
#[inline]
pub(super) fn text_field(name: &str, text: &[u8], out: &mut Vec<u8>) {
    if !text.is_empty() {
        plain_key(name, out);
        quote(text, out);
    }
}

/// A number, if it is not 0.
#[inline]
pub(super) fn number_field(name: &str, number: u64, out: &mut Vec<u8>) {
    if number != 0 {
        plain_key(name, out);
        unsigned(number, out);
    }
}

/// An id in lower-case hex, if it is one.
#[inline]
pub(super) fn id_field(name: &str, id: &[u8], out: &mut Vec<u8>) {
    if super::fields::is_id(id) {
        plain_key(name, out);
        hex(id, out);
    }
}

/// Milliseconds since 1970 with all digits of a nanosecond, as text: `"1721314113467.654123"`.
pub(super) fn epoch_millis(nanos: u64, out: &mut Vec<u8>) {
    out.push(b'"');
    unsigned(nanos / 1_000_000, out);
    match nanos % 1_000_000 {
        0 => out.extend_from_slice(b".0"),
        rest => {
            out.push(b'.');
            padded(rest, 6, out);
        }
    }
    out.push(b'"');
}

/// `"2006-01-02T15:04:05.000000000Z"`.
pub(super) fn rfc3339(nanos: u64, out: &mut Vec<u8>) {
    let time = Civil::from_unix_nanos(nanos);
    out.push(b'"');
    padded(time.year as u64, 4, out);
    for (before, part) in [
        (b'-', time.month),
        (b'-', time.day),
        (b'T', time.hour),
        (b':', time.minute),
    ] {
        out.push(before);
        padded(u64::from(part), 2, out);
    }
    out.push(b':');
    padded(u64::from(time.second), 2, out);
    out.push(b'.');
    padded(u64::from(time.nanos), 9, out);
    out.extend_from_slice(b"Z\"");
}

/// With zeros before it up to this width.
pub(super) fn padded(number: u64, width: usize, out: &mut Vec<u8>) {
    let digits = number.checked_ilog10().unwrap_or(0) as usize + 1;
    out.extend(std::iter::repeat_n(b'0', width.saturating_sub(digits)));
    unsigned(number, out);
}

#[inline]
pub(super) fn unsigned(mut number: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return out.extend_from_slice(&digits[at..]);
        }
    }
}

#[inline]
pub(super) fn signed(number: i64, out: &mut Vec<u8>) {
    if number < 0 {
        out.push(b'-');
    }
    unsigned(number.unsigned_abs(), out);
}

pub(super) fn hex(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    for b in bytes {
        out.extend_from_slice(&[DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]]);
    }
    out.push(b'"');
}

pub(super) fn double(value: f64, out: &mut Vec<u8>) {
    if !value.is_finite() {
        return out.extend_from_slice(b"null");
    }
    let (size, start) = (value.abs(), out.len());
    let written = match size == 0.0 || (1e-6..1e21).contains(&size) {
        true => write!(out, "{value}"),
        false => write!(out, "{value:e}"),
    };
    written.expect("writing to a Vec cannot fail");
    if !out[start..].iter().any(|b| matches!(b, b'.' | b'e')) {
        out.extend_from_slice(b".0");
    }
}

/// A value of any kind. Bytes are hex, as in the collector's exporter.
pub(super) fn value<'a>(value: Value<'a>, pairs: &mut Pairs<'a>, out: &mut Vec<u8>) {
    nested(value, pairs, DEPTH_MAX, out);
}

fn nested<'a>(value: Value<'a>, pairs: &mut Pairs<'a>, depth: u32, out: &mut Vec<u8>) {
    let Some(depth) = depth.checked_sub(1) else {
        return out.extend_from_slice(b"null");
    };
    match value.any() {
        Any::Empty => out.extend_from_slice(b"null"),
        Any::Str(text) => quote(text, out),
        Any::Bool(true) => out.extend_from_slice(b"true"),
        Any::Bool(false) => out.extend_from_slice(b"false"),
        Any::Int(number) => signed(number, out),
        Any::Double(number) => double(number, out),
        Any::Bytes(bytes) => hex(bytes, out),
        Any::List(values) => {
            out.push(b'[');
            for value in values {
                comma(out);
                nested(value, pairs, depth, out);
            }
            out.push(b']');
        }
        Any::Map(entries) => {
            let from = pairs.all.len();
            pairs.all.extend(entries.map(|(key, value)| Some((key, value))));
            pairs.last_counts(from);
            out.push(b'{');
            for at in from..pairs.all.len() {
                if let Some((name, value)) = pairs.all[at] {
                    key(name, out);
                    nested(value, pairs, depth, out);
                }
            }
            out.push(b'}');
            pairs.all.truncate(from);
        }
    }
}

/// Keys and values of the maps that are being written, one behind the other; kept between records.
#[derive(Default)]
pub(super) struct Pairs<'a> {
    pub(super) all: Vec<Option<(&'a [u8], Value<'a>)>>,
    order: Vec<u32>,
}

/// Up to so many keys are compared with each other where they may be alike; more are sorted.
const COMPARED_MAX: usize = 64;

impl Pairs<'_> {
    /// Of pairs from here on that have the same key the last one stays.
    pub(super) fn last_counts(&mut self, from: usize) {
        let pairs = &mut self.all[from..];
        let is_same = |a: &Option<(&[u8], Value<'_>)>, b: &Option<(&[u8], Value<'_>)>| match (a, b) {
            (Some((a, _)), Some((b, _))) => a == b,
            _ => false,
        };
        if pairs.len() <= COMPARED_MAX {
            let mut seen = 0u64;
            for at in 0..pairs.len() {
                let Some((key, _)) = pairs[at] else { continue };
                let bit = 1 << (digest(key) & 63);
                if seen & bit != 0 {
                    let (before, rest) = pairs.split_at_mut(at);
                    if let Some(twin) = before.iter_mut().find(|pair| is_same(pair, &rest[0])) {
                        *twin = None;
                    }
                }
                seen |= bit;
            }
            return;
        }
        self.order.clear();
        self.order.extend(0..pairs.len() as u32);
        let key = |at: u32| pairs[at as usize].map(|(key, _)| key);
        self.order
            .sort_unstable_by(|a, b| key(*a).cmp(&key(*b)).then(a.cmp(b)));
        for two in self.order.windows(2) {
            let (before, after) = (two[0] as usize, two[1] as usize);
            if is_same(&pairs[before], &pairs[after]) {
                pairs[before] = None;
            }
        }
    }
}

/// Something of a key that tells most keys of one record apart.
#[inline]
fn digest(key: &[u8]) -> u64 {
    let at = |i: usize| u64::from(key.get(i).copied().unwrap_or(0));
    let len = key.len();
    let word = len as u64
        | at(len / 2) << 8
        | at(len.wrapping_sub(1)) << 16
        | at(len.wrapping_sub(2)) << 24
        | at(0) << 32;
    word.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::any_value::Value as V;
    use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList};
    use prost::Message as _;

    use super::*;

    fn any(value: V) -> AnyValue {
        AnyValue { value: Some(value) }
    }

    fn map(entries: &[(&str, V)]) -> V {
        let entry = |(key, value): &(&str, V)| KeyValue {
            key: (*key).into(),
            value: Some(any(value.clone())),
            ..KeyValue::default()
        };
        V::KvlistValue(KeyValueList {
            values: entries.iter().map(entry).collect(),
        })
    }

    #[test]
    fn values() {
        let check = |given: V, expected: &str| {
            let raw = any(given).encode_to_vec();
            let (mut out, mut pairs) = (Vec::new(), Pairs::default());
            value(Value::new(&raw), &mut pairs, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
            assert!(pairs.all.is_empty());
        };
        check(
            V::StringValue("a\"b\\c\n\u{1}é<".into()),
            r#""a\"b\\c\n\u0001é<""#,
        );
        check(V::IntValue(i64::MIN), "-9223372036854775808");
        check(V::IntValue(0), "0");
        check(V::BoolValue(true), "true");
        check(V::BytesValue(vec![0, 255]), r#""00ff""#);
        for (number, expected) in [
            (1.0, "1.0"),
            (-0.5, "-0.5"),
            (0.0, "0.0"),
            (1e21, "1e21"),
            (2.5e-7, "2.5e-7"),
            (f64::NAN, "null"),
            (f64::INFINITY, "null"),
        ] {
            check(V::DoubleValue(number), expected);
        }
        let list = V::ArrayValue(ArrayValue {
            values: vec![any(V::IntValue(1)), AnyValue::default(), any(map(&[]))],
        });
        check(list, "[1,null,{}]");
        check(
            map(&[
                ("a", V::IntValue(1)),
                ("b", map(&[("x", V::IntValue(2))])),
                ("a", V::IntValue(3)),
            ]),
            r#"{"b":{"x":2},"a":3}"#,
        );
    }

    #[test]
    fn of_keys_given_twice_the_last_counts_however_many_there_are() {
        for count in [2usize, 60, 64, 65, 500] {
            let names: Vec<String> = (0..count)
                .map(|i| format!("key{}", i % (count / 2).max(1)))
                .collect();
            let entries: Vec<(&str, V)> = names
                .iter()
                .enumerate()
                .map(|(i, name)| (name.as_str(), V::IntValue(i as i64)))
                .collect();
            let raw = any(map(&entries)).encode_to_vec();
            let mut out = Vec::new();
            value(Value::new(&raw), &mut Pairs::default(), &mut out);
            let read: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&out).unwrap();
            assert_eq!(
                out.iter().filter(|b| **b == b':').count(),
                read.len(),
                "{count}: a key twice"
            );
            assert_eq!(read.len(), (count / 2).max(1));
            for (name, number) in read {
                let last = names.iter().rposition(|n| *n == name).unwrap();
                assert_eq!(number, last, "{name} of {count}");
            }
        }
    }

    #[test]
    fn times() {
        let check = |nanos: u64, millis: &str, text: &str| {
            let mut out = Vec::new();
            epoch_millis(nanos, &mut out);
            assert_eq!(
                String::from_utf8(std::mem::take(&mut out)).unwrap(),
                format!("\"{millis}\"")
            );
            rfc3339(nanos, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), format!("\"{text}\""));
        };
        check(0, "0.0", "1970-01-01T00:00:00.000000000Z");
        check(1_000_000_123, "1000.000123", "1970-01-01T00:00:01.000000123Z");
        check(
            1_710_273_641_123_456_789,
            "1710273641123.456789",
            "2024-03-12T20:00:41.123456789Z",
        );
        check(
            u64::MAX,
            "18446744073709.551615",
            "2554-07-21T23:34:33.709551615Z",
        );
    }
}
