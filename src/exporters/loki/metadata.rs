//! Structured metadata: names and values beside the line, as Loki makes them of OTLP itself.

use wire::field::write_header;
use wire::varint;
use wire::view::{Any, DEPTH_MAX, Value};

use super::line::{as_text, decimal, hex, is_zero};
use super::names;
use super::record::{Attr, Record, Span};

/// What pairs come to, as Loki counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) entries: usize,
    /// Of names and values.
    pub(super) bytes: usize,
}

/// Names that were made for attributes at the same place of earlier records: those of one kind have the same ones.
#[derive(Debug, Default)]
pub(super) struct Names {
    known: Vec<Known>,
}

#[derive(Debug, Default)]
struct Known {
    is_made: bool,
    key: Vec<u8>,
    /// Empty = the attribute is left out.
    name: Vec<u8>,
}

impl Names {
    /// The name, with the tag and length that it has in a pair; empty for an attribute that is left out.
    #[inline]
    fn of(&mut self, at: usize, key: &[u8], dropped: &[Vec<u8>]) -> &[u8] {
        if self.known.len() <= at {
            self.known.resize_with(at + 1, Known::default);
        }
        let known = &mut self.known[at];
        if !known.is_made || known.key != key {
            known.is_made = true;
            known.key.clear();
            known.key.extend_from_slice(key);
            match is_dropped(key, dropped) {
                true => known.name.clear(),
                false => head(&mut known.name, |out| names::sanitize(key, out)),
            }
        }
        &known.name
    }
}

fn is_dropped(key: &[u8], dropped: &[Vec<u8>]) -> bool {
    dropped.iter().any(|dropped| dropped == key)
}

/// The most attributes whose names are kept.
const NAMES_MAX: usize = 256;

fn head(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    out.clear();
    write(out);
    wire::write::frame(1, 0, out);
}

/// Appends pairs of an entry.
pub(super) struct Writer<'a> {
    pub(super) out: &'a mut Vec<u8>,
    pub(super) tally: &'a mut Tally,
    /// Beyond this nothing more is written: the record is refused, and nested maps repeat the names above them.
    pub(super) most: Tally,
    /// Room for values that are no text, and for names.
    pub(super) room: &'a mut (Vec<u8>, Vec<u8>),
}

impl Writer<'_> {
    /// `name` as in [`Names::of`].
    #[inline]
    fn pair(&mut self, name: &[u8], value: &[u8]) {
        if value.is_empty() {
            return;
        }
        let len = name.len() + 1 + varint::len(value.len() as u64) + value.len();
        write_header(3, len, self.out);
        self.out.extend_from_slice(name);
        write_header(2, value.len(), self.out);
        self.out.extend_from_slice(value);
        self.tally.entries += 1;
        // A name is long enough for two bytes of length only beyond 127.
        self.tally.bytes += name.len() - 1 - varint::len(name.len() as u64 - 2) + value.len();
    }

    #[inline]
    fn value(&mut self, name: &[u8], value: Value<'_>) {
        match value.any() {
            Any::Str(text) => self.pair(name, text),
            Any::Map(_) => {}
            _ => {
                let mut text = std::mem::take(&mut self.room.0);
                text.clear();
                as_text(value, &mut text);
                self.pair(name, &text);
                self.room.0 = text;
            }
        }
    }

    /// A pair whose name is known to be one.
    fn field(&mut self, name: &str, write: impl FnOnce(&mut Vec<u8>)) {
        let (mut text, mut named) = std::mem::take(self.room);
        text.clear();
        write(&mut text);
        named.clear();
        // None of them is so long that its length takes two bytes.
        named.extend_from_slice(&[0x0a, name.len() as u8]);
        named.extend_from_slice(name.as_bytes());
        self.pair(&named, &text);
        *self.room = (text, named);
    }

    /// Attributes that are not hidden; maps as a pair for each value in them.
    pub(super) fn attributes(
        &mut self,
        bytes: &[u8],
        attrs: &[Attr],
        dropped: &[Vec<u8>],
        names: Option<&mut Names>,
    ) {
        let mut names = names;
        for (at, attr) in attrs.iter().enumerate() {
            if attr.is_hidden {
                continue;
            }
            let (key, value) = (attr.key.of(bytes), Value::new(attr.value.of(bytes)));
            if let Some(names) = names.as_deref_mut().filter(|_| at < NAMES_MAX) {
                let name = names.of(at, key, dropped);
                match value.any() {
                    _ if name.is_empty() => {}
                    Any::Map(_) => self.map(key, value, DEPTH_MAX),
                    _ => self.value(name, value),
                }
            } else if !is_dropped(key, dropped) {
                if let Any::Map(_) = value.any() {
                    self.map(key, value, DEPTH_MAX);
                    continue;
                }
                let mut named = std::mem::take(&mut self.room.1);
                head(&mut named, |out| names::sanitize(key, out));
                self.value(&named, value);
                self.room.1 = named;
            }
        }
    }

    /// Allocates by entry: maps among attributes are rare.
    fn map(&mut self, path: &[u8], value: Value<'_>, depth: u32) {
        let (Any::Map(entries), Some(depth)) = (value.any(), depth.checked_sub(1)) else {
            return;
        };
        let mut base = Vec::new();
        names::sanitize(path, &mut base);
        for (key, value) in entries {
            if self.tally.entries > self.most.entries || self.tally.bytes > self.most.bytes {
                return;
            }
            match value.any() {
                Any::Empty | Any::Str(b"") | Any::Bytes(b"") => {}
                Any::Map(entries) if entries.into_iter().next().is_none() => {}
                Any::Map(_) => self.map(&[&base[..], b"_", key].concat(), value, depth),
                _ => {
                    let mut named = Vec::new();
                    head(&mut named, |out| {
                        names::sanitize(&[&base[..], b"_", key].concat(), out)
                    });
                    self.value(&named, value);
                }
            }
        }
    }

    /// The fields of a record.
    pub(super) fn record(&mut self, bytes: &[u8], record: &Record) {
        if record.time != 0 && record.observed != 0 {
            self.field("observed_timestamp", |out| decimal(record.observed, out));
        }
        if record.severity != 0 {
            self.field("severity_number", |out| decimal(record.severity, out));
        }
        self.field("severity_text", |out| {
            out.extend_from_slice(record.severity_text.of(bytes))
        });
        if record.dropped != 0 {
            self.field("dropped_attributes_count", |out| decimal(record.dropped, out));
        }
        if record.flags != 0 {
            self.field("flags", |out| decimal(u64::from(record.flags), out));
        }
        for (name, id) in [("trace_id", record.trace_id), ("span_id", record.span_id)] {
            if !is_zero(id.of(bytes)) {
                self.field(name, |out| hex(id.of(bytes), out));
            }
        }
        self.field("event_name", |out| {
            out.extend_from_slice(record.event_name.of(bytes))
        });
    }

    /// Name, version and what was dropped of a scope, whose message is in `span`.
    pub(super) fn scope(&mut self, bytes: &[u8], span: Span) {
        for (name, number) in [("scope_name", 1), ("scope_version", 2)] {
            let text = super::record::first(bytes, span, number);
            self.field(name, |out| out.extend_from_slice(text.of(bytes)));
        }
        let dropped = super::record::number(bytes, span, 4);
        if dropped != 0 {
            self.field("scope_dropped_attributes_count", |out| decimal(dropped, out));
        }
    }
}
