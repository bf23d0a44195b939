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
