//! One log record and its attributes, as places in the bytes of its request: read in one walk.

use wire::field::{FIXED32, FIXED64, Fields, LEN, VARINT};
use wire::varint;

/// A place in the bytes of a chunk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    pub(super) fn new(start: usize, end: usize) -> Span {
        Span {
            start: start as u32,
            end: end as u32,
        }
    }

    #[inline]
    pub(super) fn of(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.start as usize..self.end as usize]
    }

    pub(super) fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// An attribute: key, and the value's message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attr {
    pub(super) key: Span,
    pub(super) value: Span,
    /// It is a label, or a hint, and shown nowhere else.
    pub(super) is_hidden: bool,
}

/// What a log record says beside its attributes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Record {
    pub(super) time: u64,
    pub(super) observed: u64,
    pub(super) severity: u64,
    pub(super) severity_text: Span,
    pub(super) body: Span,
    pub(super) dropped: u64,
    pub(super) flags: u32,
    pub(super) trace_id: Span,
    pub(super) span_id: Span,
    pub(super) event_name: Span,
}

impl Record {
    /// Nanoseconds since 1970: its time, else when it was observed, else `now`.
    pub(super) fn time_or(&self, now: u64) -> u64 {
        match (self.time, self.observed) {
            (0, 0) => now,
            (0, observed) => observed,
            (time, _) => time,
        }
    }
}

/// Reads the record in `span` and appends its attributes.
pub(super) fn read(bytes: &[u8], span: Span, attrs: &mut Vec<Attr>) -> Record {
    let mut record = Record::default();
    let message = &bytes[..span.end as usize];
    for field in Fields::new(message, span.start as usize).map_while(Result::ok) {
        let at = Span::new(field.value, field.end);
        match (field.number, field.wire) {
            (6, LEN) => attrs.push(attribute(bytes, at)),
            (1, FIXED64) => record.time = fixed(at.of(bytes)),
            (2, VARINT) => record.severity = varint::read(bytes, &mut { field.value }).unwrap_or(0),
            (3, LEN) => record.severity_text = at,
            (5, LEN) => record.body = at,
            (7, VARINT) => record.dropped = varint::read(bytes, &mut { field.value }).unwrap_or(0),
            (8, FIXED32) => record.flags = fixed(at.of(bytes)) as u32,
            (9, LEN) => record.trace_id = at,
            (10, LEN) => record.span_id = at,
            (11, FIXED64) => record.observed = fixed(at.of(bytes)),
            (12, LEN) => record.event_name = at,
            _ => {}
        }
    }
    record
}

/// Appends the attributes of a resource or scope, which has them under this number.
pub(super) fn attributes(bytes: &[u8], span: Span, number: u32, attrs: &mut Vec<Attr>) {
    for at in each(bytes, span, number) {
        attrs.push(attribute(bytes, at));
    }
}

/// Every message, text or bytes of this number, in order.
pub(super) fn each(bytes: &[u8], span: Span, number: u32) -> impl Iterator<Item = Span> {
    Fields::new(&bytes[..span.end as usize], span.start as usize)
        .map_while(Result::ok)
        .filter(move |field| field.number == number && field.wire == LEN)
        .map(|field| Span::new(field.value, field.end))
}

/// The first of this number; empty if there is none. A canonical message has but one.
pub(super) fn first(bytes: &[u8], span: Span, number: u32) -> Span {
    each(bytes, span, number).next().unwrap_or_default()
}

/// A number of this name; 0 if there is none.
pub(super) fn number(bytes: &[u8], span: Span, number: u32) -> u64 {
    Fields::new(&bytes[..span.end as usize], span.start as usize)
        .map_while(Result::ok)
        .find(|field| field.number == number && field.wire == VARINT)
        .map_or(0, |field| varint::read(bytes, &mut { field.value }).unwrap_or(0))
}

#[inline]
fn attribute(bytes: &[u8], span: Span) -> Attr {
    // Key and value below 128 bytes, in their order: nearly all.
    if let [0x0a, key, rest @ ..] = span.of(bytes)
        && *key < 0x80
        && let Some([0x12, len, value @ ..]) = rest.get(usize::from(*key)..)
        && *len < 0x80
        && usize::from(*len) == value.len()
    {
        let start = span.start + 2;
        let end = start + u32::from(*key);
        return Attr {
            key: Span { start, end },
            value: Span {
                start: end + 2,
                end: span.end,
            },
            is_hidden: false,
        };
    }
    let (mut key, mut value) = (Span::default(), Span::default());
    let message = &bytes[..span.end as usize];
    for field in Fields::new(message, span.start as usize).map_while(Result::ok) {
        match (field.number, field.wire) {
            (1, LEN) => key = Span::new(field.value, field.end),
            (2, LEN) => value = Span::new(field.value, field.end),
            _ => {}
        }
    }
    Attr {
        key,
        value,
        is_hidden: false,
    }
}

fn fixed(value: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    let len = value.len().min(8);
    bytes[..len].copy_from_slice(&value[..len]);
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Appends a field with a text.
    fn field(number: u32, text: &str, out: &mut Vec<u8>) {
        wire::field::write_header(number, text.len(), out);
        out.extend_from_slice(text.as_bytes());
    }

    #[test]
    fn attributes_are_read_whatever_their_form() {
        let check = |fields: &[(u32, &str)], expected: (&str, &str)| {
            let mut bytes = b"before".to_vec();
            let start = bytes.len();
            fields
                .iter()
                .for_each(|(number, text)| field(*number, text, &mut bytes));
            let end = bytes.len();
            bytes.extend_from_slice(b"\x12\x01behind");
            let read = attribute(&bytes, Span::new(start, end));
            let found = (read.key.of(&bytes), read.value.of(&bytes));
            assert_eq!(
                found,
                (expected.0.as_bytes(), expected.1.as_bytes()),
                "{fields:?}"
            );
        };
        let (long, longer) = ("k".repeat(127), "v".repeat(128));
        check(&[], ("", ""));
        check(&[(1, "k"), (2, "v")], ("k", "v"));
        check(&[(1, ""), (2, "")], ("", ""));
        check(&[(1, "k")], ("k", ""));
        check(&[(2, "v")], ("", "v"));
        check(&[(2, "v"), (1, "k")], ("k", "v"));
        check(&[(1, "k"), (2, "v"), (2, "last")], ("k", "last"));
        check(&[(1, "k"), (2, "v"), (7, "new")], ("k", "v"));
        check(&[(7, "new"), (1, "k"), (2, "v")], ("k", "v"));
        check(&[(1, &long), (2, &long)], (&long, &long));
        check(&[(1, &longer), (2, &longer)], (&longer, &longer));
        check(&[(1, "k"), (2, &longer)], ("k", &longer));
    }
}
