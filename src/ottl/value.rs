//! Values while a statement runs: what a path or a function gives.
//!
//! Scalars and texts are borrowed from the view or from the program where they can be; lists and maps are encoded
//! `AnyValue` messages, or a node's attributes where they stand. So reading allocates nothing, and what is written goes
//! to the view as bytes.

use std::borrow::Cow;
use std::io::Write as _;

use wire::field::write_header;
use wire::view::{Any, NewValue, NodeId, Value, View, any_encode};

use crate::error::{Error, Result};
use crate::table::Table;
use crate::time::Time;

/// Numbers of the list and the map in `AnyValue`.
const LIST: u32 = 5;
const MAP: u32 = 6;

/// A value of any type.
#[derive(Clone, Debug)]
pub(crate) enum Val<'v> {
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// Text; as in Go not necessarily UTF-8.
    Str(Cow<'v, [u8]>),
    Bytes(Cow<'v, [u8]>),
    Time(Time),
    /// Nanoseconds.
    Duration(i64),
    TraceId([u8; 16]),
    SpanId([u8; 8]),
    ProfileId([u8; 16]),
    Map(Map<'v>),
    /// An encoded `AnyValue` that holds a list.
    List(Cow<'v, [u8]>),
    Opaque(Opaque<'v>),
}

/// A map.
#[derive(Clone, Debug)]
pub(crate) enum Map<'v> {
    /// An encoded `AnyValue` that holds it.
    Encoded(Cow<'v, [u8]>),
    /// The attributes of a node.
    Node(&'v View<'v>, NodeId),
    /// The scratch map of an item.
    Table(&'v Table),
}

/// Something that can be counted, compared, and perhaps set as a whole.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Opaque<'v> {
    pub(crate) kind: OpaqueKind,
    /// The message; for slices the message of which they are a part.
    pub(crate) raw: Cow<'v, [u8]>,
    /// How many it holds; none for what is no slice.
    pub(crate) len: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OpaqueKind {
    Status,
    Events,
    Links,
    DataPoints,
    Exemplars,
    Buckets,
    Quantiles,
}

impl<'v> Val<'v> {
    /// What an `AnyValue` holds.
    pub(crate) fn from_any(value: Value<'v>) -> Val<'v> {
        match value.any() {
            Any::Empty => Val::Nil,
            Any::Str(text) => Val::Str(Cow::Borrowed(text)),
            Any::Bool(b) => Val::Bool(b),
            Any::Int(i) => Val::Int(i),
            Any::Double(f) => Val::Float(f),
            Any::Bytes(bytes) => Val::Bytes(Cow::Borrowed(bytes)),
            Any::List(_) => Val::List(Cow::Borrowed(value.raw())),
            Any::Map(_) => Val::Map(Map::Encoded(Cow::Borrowed(value.raw()))),
        }
    }

    /// The text, or what was made for this value alone.
    pub(crate) fn text(text: impl Into<Vec<u8>>) -> Val<'v> {
        Val::Str(Cow::Owned(text.into()))
    }

    pub(crate) fn str(text: &'v [u8]) -> Val<'v> {
        Val::Str(Cow::Borrowed(text))
    }

    /// The same value, borrowed from this one.
    pub(crate) fn reborrow(&self) -> Val<'_> {
        match self {
            Val::Str(s) => Val::Str(Cow::Borrowed(s)),
            Val::Bytes(b) => Val::Bytes(Cow::Borrowed(b)),
            Val::List(l) => Val::List(Cow::Borrowed(l)),
            Val::Map(Map::Encoded(m)) => Val::Map(Map::Encoded(Cow::Borrowed(m))),
            other => other.clone(),
        }
    }

    /// The same value, owing nothing to anybody.
    pub(crate) fn into_static(self) -> Val<'static> {
        let own = |bytes: Cow<'v, [u8]>| Cow::Owned(bytes.into_owned());
        match self {
            Val::Nil => Val::Nil,
            Val::Bool(b) => Val::Bool(b),
            Val::Int(i) => Val::Int(i),
            Val::Float(f) => Val::Float(f),
            Val::Str(s) => Val::Str(own(s)),
            Val::Bytes(b) => Val::Bytes(own(b)),
            Val::Time(t) => Val::Time(t),
            Val::Duration(d) => Val::Duration(d),
            Val::TraceId(id) => Val::TraceId(id),
            Val::SpanId(id) => Val::SpanId(id),
            Val::ProfileId(id) => Val::ProfileId(id),
            Val::Map(map) => Val::Map(Map::Encoded(Cow::Owned(map.encoded().into_owned()))),
            Val::List(list) => Val::List(own(list)),
            Val::Opaque(Opaque { kind, raw, len }) => Val::Opaque(Opaque {
                kind,
                raw: own(raw),
                len,
            }),
        }
    }

    /// The same value with its bytes copied to `room`, which is emptied first.
    pub(crate) fn store<'b>(&self, room: &'b mut Vec<u8>) -> Val<'b> {
        room.clear();
        let copy = |bytes: &[u8], room: &'b mut Vec<u8>| -> Cow<'b, [u8]> {
            room.extend_from_slice(bytes);
            Cow::Borrowed(room)
        };
        match self {
            Val::Nil => Val::Nil,
            Val::Bool(b) => Val::Bool(*b),
            Val::Int(i) => Val::Int(*i),
            Val::Float(f) => Val::Float(*f),
            Val::Str(s) => Val::Str(copy(s, room)),
            Val::Bytes(b) => Val::Bytes(copy(b, room)),
            Val::Time(t) => Val::Time(t.clone()),
            Val::Duration(d) => Val::Duration(*d),
            Val::TraceId(id) => Val::TraceId(*id),
            Val::SpanId(id) => Val::SpanId(*id),
            Val::ProfileId(id) => Val::ProfileId(*id),
            Val::Map(map) => {
                map.encode(room);
                Val::Map(Map::Encoded(Cow::Borrowed(room)))
            }
            Val::List(list) => Val::List(copy(list, room)),
            Val::Opaque(opaque) => Val::Opaque(Opaque {
                raw: copy(&opaque.raw, room),
                ..*opaque
            }),
        }
    }

    pub(crate) fn is_nil(&self) -> bool {
        matches!(self, Val::Nil)
    }

    /// For messages.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Val::Nil => "nil",
            Val::Bool(_) => "bool",
            Val::Int(_) => "int64",
            Val::Float(_) => "float64",
            Val::Str(_) => "string",
            Val::Bytes(_) => "bytes",
            Val::Time(_) => "time",
            Val::Duration(_) => "duration",
            Val::TraceId(_) => "trace id",
            Val::SpanId(_) => "span id",
            Val::ProfileId(_) => "profile id",
            Val::Map(_) => "map",
            Val::List(_) => "list",
            Val::Opaque(opaque) => match opaque.kind {
                OpaqueKind::Status => "status",
                OpaqueKind::Events => "span events",
                OpaqueKind::Links => "span links",
                OpaqueKind::DataPoints => "data points",
                OpaqueKind::Exemplars => "exemplars",
                OpaqueKind::Buckets => "buckets",
                OpaqueKind::Quantiles => "quantile values",
            },
        }
    }

    /// As a value of an attribute. Errors: a type that attributes do not have.
    pub(crate) fn new_value(&self) -> Result<NewValue<'_>> {
        Ok(match self {
            Val::Nil => NewValue::Empty,
            Val::Bool(b) => NewValue::Bool(*b),
            Val::Int(i) => NewValue::Int(*i),
            Val::Float(f) => NewValue::Double(*f),
            Val::Str(s) => NewValue::Str(s),
            Val::Bytes(b) => NewValue::Bytes(b),
            Val::List(raw) | Val::Map(Map::Encoded(raw)) => NewValue::Encoded(raw),
            Val::Map(_) => return Err(Error::new("the map must be copied before it is written")),
            other => {
                let message = format!("unsupported type {} for an attribute's value", other.type_name());
                return Err(Error::text(message));
            }
        })
    }

    /// Appends the `AnyValue` message. Errors: a type that attributes do not have.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) -> Result<()> {
        match self {
            Val::Map(map) => map.encode(out),
            other => any_encode(other.new_value()?, out),
        }
        Ok(())
    }

    /// Text as it is, bytes in hexadecimal, all else as JSON. None for nil.
    pub(crate) fn string_like(&self) -> Result<Option<Cow<'_, [u8]>>> {
        let mut out = Vec::new();
        match self {
            Val::Nil => return Ok(None),
            Val::Str(text) => return Ok(Some(Cow::Borrowed(text))),
            Val::Bytes(bytes) => hex(bytes, &mut out),
            Val::Float(f) if !f.is_finite() => {
                return Err(Error::new(
                    "a number that is not finite cannot be written as JSON",
                ));
            }
            Val::Bool(_) | Val::Int(_) | Val::Float(_) | Val::List(_) => self.as_string(&mut out)?,
            Val::Map(map) => Value::new(&map.encoded()).as_string(&mut out),
            Val::Time(time) => write!(out, "\"{}\"", time.rfc3339_nano()).unwrap_or_default(),
            Val::Duration(nanos) => write!(out, "{nanos}").unwrap_or_default(),
            Val::TraceId(id) | Val::ProfileId(id) => byte_list(id, &mut out),
            Val::SpanId(id) => byte_list(id, &mut out),
            Val::Opaque(_) => out.extend_from_slice(b"{}"),
        }
        Ok(Some(Cow::Owned(out)))
    }

    /// Appends what Go's `AsString` gives for an attribute's value.
    pub(crate) fn as_string(&self, out: &mut Vec<u8>) -> Result<()> {
        match self {
            Val::Str(text) => out.extend_from_slice(text),
            Val::List(raw) => Value::new(raw).as_string(out),
            other => {
                let mut raw = Vec::new();
                other.encode(&mut raw)?;
                Value::new(&raw).as_string(out);
            }
        }
        Ok(())
    }

    /// The values of a list; none for all else.
    pub(crate) fn items(&self) -> Option<wire::view::Values<'_>> {
        match self {
            Val::List(raw) => match Value::new(raw).any() {
                Any::List(values) => Some(values),
                _ => None,
            },
            _ => None,
        }
    }
}

/// Appends lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for b in bytes {
        out.extend_from_slice(&[DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]]);
    }
}

/// An array of bytes, as Go's JSON has it: numbers.
fn byte_list(bytes: &[u8], out: &mut Vec<u8>) {
    for (i, b) in bytes.iter().enumerate() {
        write!(out, "{}{b}", if i == 0 { '[' } else { ',' }).unwrap_or_default();
    }
    out.push(b']');
}

impl<'v> Map<'v> {
    /// How many entries.
    pub(crate) fn len(&self) -> usize {
        match self {
            Map::Encoded(_) => self.entries().map_or(0, Iterator::count),
            Map::Node(view, n) => view.attrs(*n),
            Map::Table(table) => table.0.len(),
        }
    }

    /// The value of the first entry with this key.
    pub(crate) fn get(&self, key: &[u8]) -> Option<Value<'_>> {
        match self {
            Map::Encoded(_) => self.entries()?.find(|(k, _)| *k == key).map(|(_, value)| value),
            Map::Node(view, n) => view.get(*n, key),
            Map::Table(table) => table.get(key).map(Value::new),
        }
    }

    /// Calls `found` for each entry, in order.
    pub(crate) fn each(&self, mut found: impl FnMut(&[u8], Value<'_>)) {
        match self {
            Map::Encoded(_) => self
                .entries()
                .into_iter()
                .flatten()
                .for_each(|(key, value)| found(key, value)),
            Map::Node(view, n) => {
                for i in 0..view.attrs(*n) {
                    found(view.key(*n, i), view.value(*n, i));
                }
            }
            Map::Table(table) => {
                for (key, value) in &table.0 {
                    found(key, Value::new(value));
                }
            }
        }
    }

    fn entries(&self) -> Option<wire::view::Entries<'_>> {
        match self {
            Map::Encoded(raw) => match Value::new(raw).any() {
                Any::Map(entries) => Some(entries),
                _ => None,
            },
            _ => None,
        }
    }

    /// Appends the `AnyValue` message.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Map::Encoded(raw) => out.extend_from_slice(raw),
            _ => {
                let mut map = MapBuilder::default();
                self.each(|key, value| map.put_raw(key, value.raw()));
                out.extend_from_slice(&map.finish());
            }
        }
    }

    /// The `AnyValue` message.
    pub(crate) fn encoded(&self) -> Cow<'_, [u8]> {
        match self {
            Map::Encoded(raw) => Cow::Borrowed(raw),
            _ => {
                let mut out = Vec::new();
                self.encode(&mut out);
                Cow::Owned(out)
            }
        }
    }
}

/// A list under construction.
#[derive(Debug, Default)]
pub(crate) struct ListBuilder(Vec<u8>);

impl ListBuilder {
    /// Appends an encoded `AnyValue`.
    pub(crate) fn push_raw(&mut self, raw: &[u8]) {
        write_header(1, raw.len(), &mut self.0);
        self.0.extend_from_slice(raw);
    }

    pub(crate) fn push(&mut self, value: &Val<'_>) -> Result<()> {
        let mut raw = Vec::new();
        value.encode(&mut raw)?;
        self.push_raw(&raw);
        Ok(())
    }

    pub(crate) fn push_str(&mut self, text: &[u8]) {
        let mut raw = Vec::with_capacity(text.len() + 6);
        any_encode(NewValue::Str(text), &mut raw);
        self.push_raw(&raw);
    }

    /// The `AnyValue` message.
    pub(crate) fn finish(self) -> Vec<u8> {
        framed(LIST, self.0)
    }

    pub(crate) fn value(self) -> Val<'static> {
        Val::List(Cow::Owned(self.finish()))
    }
}

/// A map under construction. Keys are not compared.
#[derive(Debug, Default)]
pub(crate) struct MapBuilder(Vec<u8>);

impl MapBuilder {
    /// Appends an entry with an encoded `AnyValue`.
    pub(crate) fn put_raw(&mut self, key: &[u8], raw: &[u8]) {
        let len = wire::field::framed_len(1, key.len()) + wire::field::framed_len(2, raw.len());
        write_header(1, len, &mut self.0);
        write_header(1, key.len(), &mut self.0);
        self.0.extend_from_slice(key);
        write_header(2, raw.len(), &mut self.0);
        self.0.extend_from_slice(raw);
    }

    pub(crate) fn put(&mut self, key: &[u8], value: &Val<'_>) -> Result<()> {
        let mut raw = Vec::new();
        value.encode(&mut raw)?;
        self.put_raw(key, &raw);
        Ok(())
    }

    pub(crate) fn put_str(&mut self, key: &str, text: &[u8]) {
        let mut raw = Vec::with_capacity(text.len() + 6);
        any_encode(NewValue::Str(text), &mut raw);
        self.put_raw(key.as_bytes(), &raw);
    }

    /// The `AnyValue` message.
    pub(crate) fn finish(self) -> Vec<u8> {
        framed(MAP, self.0)
    }

    pub(crate) fn value(self) -> Val<'static> {
        Val::Map(Map::Encoded(Cow::Owned(self.finish())))
    }
}

fn framed(number: u32, content: Vec<u8>) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len() + 6);
    write_header(number, content.len(), &mut out);
    out.extend_from_slice(&content);
    out
}
