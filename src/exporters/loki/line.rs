//! What a line holds: the record as one JSON object, as logfmt, or its body.
//!
//! Keys and their order are those of contrib's exporter; characters of HTML are left alone, which reads the same.

use wire::view::{Any, DEPTH_MAX, Value};

use super::names::json_text;
use super::record::{Attr, Record};

/// The parts of a line that all records of a scope share, each with what stands before it.
pub(super) struct Shared<'a> {
    /// Attributes of the resource that are no labels.
    pub(super) resource: &'a [Attr],
    pub(super) scope_name: &'a [u8],
    pub(super) scope_version: &'a [u8],
    /// Attributes of the scope.
    pub(super) scope: &'a [Attr],
}

/// Appends a record as contrib's JSON. `shared` is what [`json_shared`] made of its resource and scope, `order` room to
/// sort in.
pub(super) fn json(
    bytes: &[u8],
    record: &Record,
    attrs: &[Attr],
    shared: &[u8],
    order: &mut Vec<u32>,
    out: &mut Vec<u8>,
) {
    out.push(b'{');
    let start = out.len();
    let key = |key: &str, out: &mut Vec<u8>| {
        if out.len() > start {
            out.push(b',');
        }
        out.extend_from_slice(key.as_bytes());
    };
    let body = Value::new(record.body.of(bytes));
    if !matches!(body.any(), Any::Empty) {
        key("\"body\":", out);
        json_value(body, out);
    }
    for (name, id) in [
        ("\"traceid\":\"", record.trace_id),
        ("\"spanid\":\"", record.span_id),
    ] {
        if !is_zero(id.of(bytes)) {
            key(name, out);
            hex(id.of(bytes), out);
            out.push(b'"');
        }
    }
    if !record.severity_text.is_empty() {
        key("\"severity\":", out);
        json_text(record.severity_text.of(bytes), out);
    }
    if record.flags != 0 {
        key("\"flags\":", out);
        decimal(u64::from(record.flags), out);
    }
    if attrs.iter().any(|attr| !attr.is_hidden) {
        key("\"attributes\":", out);
        json_map(bytes, attrs, order, out);
    }
    if !shared.is_empty() {
        key("", out);
        out.extend_from_slice(shared);
    }
    out.push(b'}');
}

/// Appends what all lines of a scope end in, without the brace.
pub(super) fn json_shared(bytes: &[u8], shared: &Shared<'_>, order: &mut Vec<u32>, out: &mut Vec<u8>) {
    let start = out.len();
    if shared.resource.iter().any(|attr| !attr.is_hidden) {
        out.extend_from_slice(b"\"resources\":");
        json_map(bytes, shared.resource, order, out);
    }
    if !shared.scope_name.is_empty() {
        if out.len() > start {
            out.push(b',');
        }
        out.extend_from_slice(b"\"instrumentation_scope\":{\"name\":");
        json_text(shared.scope_name, out);
        if !shared.scope_version.is_empty() {
            out.extend_from_slice(b",\"version\":");
            json_text(shared.scope_version, out);
        }
        if !shared.scope.is_empty() {
            out.extend_from_slice(b",\"attributes\":");
            json_map(bytes, shared.scope, order, out);
        }
        out.push(b'}');
    }
}

/// Attributes that are not hidden, by key; of equal keys the last one counts.
fn json_map(bytes: &[u8], attrs: &[Attr], order: &mut Vec<u32>, out: &mut Vec<u8>) {
    order.clear();
    let shown = attrs.iter().enumerate().filter(|(_, attr)| !attr.is_hidden);
    order.extend(shown.map(|(at, _)| at as u32));
    let key = |at: u32| attrs[at as usize].key.of(bytes);
    order.sort_unstable_by(|a, b| key(*a).cmp(key(*b)).then(a.cmp(b)));
    out.push(b'{');
    let start = out.len();
    for (i, &at) in order.iter().enumerate() {
        if order.get(i + 1).is_some_and(|next| key(*next) == key(at)) {
            continue;
        }
        if out.len() > start {
            out.push(b',');
        }
        json_text(key(at), out);
        out.push(b':');
        json_value(Value::new(attrs[at as usize].value.of(bytes)), out);
    }
    out.push(b'}');
}

/// Appends a value as JSON; numbers that JSON does not know are null.
pub(super) fn json_value(value: Value<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    match value.any() {
        Any::Empty => {}
        Any::Str(text) => json_text(text, out),
        Any::Double(number) if !number.is_finite() => {}
        Any::Bytes(_) => {
            out.push(b'"');
            value.as_string(out);
            out.push(b'"');
        }
        _ => as_text(value, out),
    }
    if out.len() == start {
        out.extend_from_slice(b"null");
    }
}

/// Appends a value as the text that Go makes of it; what Go makes nothing of, for a number in it that JSON does not know,
/// with null for that number.
pub(super) fn as_text(value: Value<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    value.as_string(out);
    if out.len() == start && matches!(value.any(), Any::List(_) | Any::Map(_)) {
        without_numbers(value, DEPTH_MAX, out);
    }
}

/// A value that holds what JSON does not know somewhere. Allocates by map.
#[cold]
fn without_numbers(value: Value<'_>, depth: u32, out: &mut Vec<u8>) {
    match (value.any(), depth.checked_sub(1)) {
        (Any::List(values), Some(depth)) => {
            out.push(b'[');
            for (at, value) in values.enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                without_numbers(value, depth, out);
            }
            out.push(b']');
        }
        (Any::Map(entries), Some(depth)) => {
            // Sorted as Go does it; of equal keys the last one counts.
            let entries: std::collections::BTreeMap<_, _> = entries.collect();
            out.push(b'{');
            for (at, (key, value)) in entries.into_iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                json_text(key, out);
                out.push(b':');
                without_numbers(value, depth, out);
            }
            out.push(b'}');
        }
        (Any::List(_) | Any::Map(_), None) => out.extend_from_slice(b"null"),
        _ => json_value(value, out),
    }
}

/// Appends a record as contrib's logfmt; of values within maps and lists no more than there is room for in `max` bytes
/// and one of them: each repeats the keys above it.
pub(super) fn logfmt(
    bytes: &[u8],
    record: &Record,
    attrs: &[Attr],
    shared: &Shared<'_>,
    max: usize,
    out: &mut Vec<u8>,
) {
    let start = Start {
        at: out.len(),
        end: out.len().saturating_add(max),
    };
    let body = Value::new(record.body.of(bytes));
    match body.any() {
        Any::Empty | Any::Str(b"") => {}
        Any::Str(text) => match pairs(text) {
            Some(all) => {
                for pair in all {
                    space(start, out);
                    out.extend_from_slice(pair);
                }
            }
            None => pair(start, b"", b"msg", body, DEPTH_MAX, out),
        },
        Any::Map(_) => pair(start, b"", b"", body, DEPTH_MAX, out),
        Any::List(_) => pair(start, b"", b"body", body, DEPTH_MAX, out),
        _ => pair(start, b"", b"msg", body, DEPTH_MAX, out),
    }
    for (name, id) in [("traceID=", record.trace_id), ("spanID=", record.span_id)] {
        if !is_zero(id.of(bytes)) {
            space(start, out);
            out.extend_from_slice(name.as_bytes());
            hex(id.of(bytes), out);
        }
    }
    if !record.severity_text.is_empty() {
        text_pair(start, b"", b"severity", record.severity_text.of(bytes), out);
    }
    if record.flags != 0 {
        space(start, out);
        out.extend_from_slice(b"flags=");
        decimal(u64::from(record.flags), out);
    }
    for (prefix, attrs) in [(&b"attribute_"[..], attrs), (b"resource_", shared.resource)] {
        for attr in attrs.iter().filter(|attr| !attr.is_hidden) {
            let value = Value::new(attr.value.of(bytes));
            pair(start, prefix, attr.key.of(bytes), value, DEPTH_MAX, out);
        }
    }
    if !shared.scope_name.is_empty() {
        text_pair(start, b"instrumentation_scope_", b"name", shared.scope_name, out);
        if !shared.scope_version.is_empty() {
            text_pair(
                start,
                b"instrumentation_scope_",
                b"version",
                shared.scope_version,
                out,
            );
        }
        for attr in shared.scope {
            let value = Value::new(attr.value.of(bytes));
            let prefix = b"instrumentation_scope_attribute_";
            pair(start, prefix, attr.key.of(bytes), value, DEPTH_MAX, out);
        }
    }
}

/// Where a line begins, and where it is too long.
#[derive(Clone, Copy)]
struct Start {
    at: usize,
    end: usize,
}

fn space(start: Start, out: &mut Vec<u8>) {
    if out.len() > start.at {
        out.push(b' ');
    }
}

/// Whether a value has no pair at all.
fn is_nothing(value: Value<'_>) -> bool {
    match value.any() {
        Any::Empty => true,
        Any::Map(mut entries) => entries.next().is_none(),
        Any::List(mut values) => values.next().is_none(),
        _ => false,
    }
}

/// Appends a value under its key; maps and lists as a pair for each of their values.
fn pair(start: Start, prefix: &[u8], key: &[u8], value: Value<'_>, depth: u32, out: &mut Vec<u8>) {
    let Some(depth) = depth.checked_sub(1) else {
        return;
    };
    let below = |own: &[u8]| {
        let mut path = [prefix, key].concat();
        if !path.is_empty() {
            path.push(b'_');
        }
        path.extend_from_slice(own);
        path
    };
    match value.any() {
        Any::Empty => {}
        Any::Str(text) => text_pair(start, prefix, key, text, out),
        Any::Map(entries) => {
            for (own, value) in entries {
                if out.len() > start.end {
                    return;
                }
                if !is_nothing(value) {
                    pair(start, b"", &below(own), value, depth, out);
                }
            }
        }
        Any::List(values) => {
            for (at, value) in values.enumerate() {
                if out.len() > start.end {
                    return;
                }
                if !is_nothing(value) {
                    pair(start, b"", &below(at.to_string().as_bytes()), value, depth, out);
                }
            }
        }
        _ => {
            key_part(start, prefix, key, out);
            let from = out.len();
            value.as_string(out);
            // Base64 may end in what is not plain.
            if out[from..].contains(&b'=') {
                out.insert(from, b'"');
                out.push(b'"');
            }
        }
    }
}

fn text_pair(start: Start, prefix: &[u8], key: &[u8], text: &[u8], out: &mut Vec<u8>) {
    key_part(start, prefix, key, out);
    match text.iter().all(is_plain) && text != b"null" && std::str::from_utf8(text).is_ok() {
        true => out.extend_from_slice(text),
        false => json_text(text, out),
    }
}

/// What may stand in a key, and in a value without quotes.
fn is_plain(byte: &u8) -> bool {
    *byte > b' ' && !matches!(*byte, b'=' | b'"' | 0x7f)
}

/// A key and its `=`; what may not stand in a key is left out.
fn key_part(start: Start, prefix: &[u8], key: &[u8], out: &mut Vec<u8>) {
    space(start, out);
    let key_start = out.len();
    out.extend(prefix.iter().chain(key).copied().filter(is_plain));
    if out.len() == key_start {
        out.push(b'_');
    }
    out.push(b'=');
}

/// A text as its pairs and words, if it has a pair and all of it is `key=value`, `key="value"` or a word.
fn pairs(text: &[u8]) -> Option<impl Iterator<Item = &[u8]>> {
    let mut rest = text;
    let mut any = false;
    while let Some((pair, after)) = next_pair(rest)? {
        any |= pair.contains(&b'=');
        rest = after;
    }
    any.then(|| {
        let mut rest = text;
        std::iter::from_fn(move || {
            let (pair, after) = next_pair(rest).flatten()?;
            rest = after;
            Some(pair)
        })
    })
}

/// A pair or word, and what is behind it.
type Cut<'a> = (&'a [u8], &'a [u8]);

/// `Some(None)` at the end, `None` at what is no pair.
fn next_pair(text: &[u8]) -> Option<Option<Cut<'_>>> {
    let text = text.trim_ascii_start();
    if text.is_empty() {
        return Some(None);
    }
    let equals = text
        .iter()
        .position(|b| *b <= b' ' || matches!(*b, b'=' | b'"'))
        .unwrap_or(text.len());
    match text.get(equals) {
        Some(b'=') if equals > 0 => {}
        Some(b'=' | b'"') => return None,
        _ => return Some(Some((&text[..equals], &text[equals..]))),
    }
    let value = &text[equals + 1..];
    let len = match value {
        [b'"', quoted @ ..] => {
            let mut escaped = false;
            let end = quoted.iter().position(|b| {
                let is_end = *b == b'"' && !escaped;
                escaped = *b == b'\\' && !escaped;
                is_end
            });
            end? + 2
        }
        _ => {
            let len = value.iter().position(|b| *b <= b' ').unwrap_or(value.len());
            if value[..len].iter().any(|b| matches!(b, b'=' | b'"')) {
                return None;
            }
            len
        }
    };
    let end = equals + 1 + len;
    if text.get(end).is_some_and(|b| *b > b' ') {
        return None;
    }
    Some(Some((&text[..end], &text[end..])))
}

/// Whether an id is absent.
pub(super) fn is_zero(id: &[u8]) -> bool {
    id.iter().all(|byte| *byte == 0)
}

/// Appends bytes in lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.extend_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
}

/// Appends a number.
pub(super) fn decimal(mut number: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_in_logfmt_are_told_from_text() {
        let check = |text: &str, expected: Option<&[&str]>| {
            let found = pairs(text.as_bytes()).map(|all| {
                all.map(|pair| String::from_utf8_lossy(pair).into_owned())
                    .collect::<Vec<_>>()
            });
            let expected = expected.map(|all| all.iter().map(|pair| (*pair).to_owned()).collect());
            assert_eq!(found, expected, "{text}");
        };
        check("", None);
        check("hello world", None);
        check("a=1", Some(&["a=1"]));
        check(
            r#" a=1  msg="x \" = y" c= "#,
            Some(&["a=1", r#"msg="x \" = y""#, "c="]),
        );
        check("level=info it runs", Some(&["level=info", "it", "runs"]));
        check("it runs n=1", Some(&["it", "runs", "n=1"]));
        check("a=1 \"b\"", None);
        check("=1", None);
        check("a=b=c", None);
        check(r#"a="open"#, None);
        check(r#"a="x"y"#, None);
        check(r#"a"b=1"#, None);
    }

    #[test]
    fn numbers_are_decimal() {
        for number in [0, 7, 10, 1_234_567_890, u64::MAX] {
            let mut out = Vec::new();
            decimal(number, &mut out);
            assert_eq!(String::from_utf8_lossy(&out), number.to_string());
        }
    }
}
