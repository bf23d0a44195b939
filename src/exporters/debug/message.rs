//! Reads single fields of a message by number (numbers: `wire::otlp`). Made for printing: every look walks the message.

use std::borrow::Cow;

use wire::field::{Field, Fields, LEN};
use wire::varint;
use wire::view::{Any, Value};

/// One encoded message. Malformed ends are read as absent; such bytes were refused at the door.
#[derive(Clone, Copy)]
pub(super) struct Message<'a>(pub(super) &'a [u8]);

impl<'a> Message<'a> {
    fn fields(self, number: u32) -> impl Iterator<Item = Field> + 'a {
        Fields::new(self.0, 0)
            .map_while(Result::ok)
            .filter(move |field| field.number == number)
    }

    /// True if the field is there, whatever it holds.
    pub(super) fn has(self, number: u32) -> bool {
        self.fields(number).next().is_some()
    }

    /// Every value of a repeated message or text.
    pub(super) fn each(self, number: u32) -> impl Iterator<Item = Message<'a>> {
        self.fields(number)
            .filter(|field| field.wire == LEN)
            .map(move |field| Message(&self.0[field.value..field.end]))
    }

    /// A message or bytes; empty if absent.
    pub(super) fn sub(self, number: u32) -> Message<'a> {
        self.each(number).last().unwrap_or(Message(&[]))
    }

    /// A text; empty if absent.
    pub(super) fn text(self, number: u32) -> Cow<'a, str> {
        String::from_utf8_lossy(self.sub(number).0)
    }

    /// A varint; 0 if absent.
    pub(super) fn int(self, number: u32) -> u64 {
        self.raw(number)
            .map_or(0, |value| varint::read(value, &mut 0).unwrap_or(0))
    }

    /// A zigzag varint of 32 bits; 0 if absent.
    pub(super) fn sint(self, number: u32) -> i32 {
        let zigzag = self.int(number) as u32;
        (zigzag >> 1) as i32 ^ -((zigzag & 1) as i32)
    }

    /// A fixed number of 4 or 8 bytes; 0 if absent.
    pub(super) fn fixed(self, number: u32) -> u64 {
        self.raw(number).map_or(0, fixed)
    }

    /// A double; 0 if absent.
    pub(super) fn double(self, number: u32) -> f64 {
        f64::from_bits(self.fixed(number))
    }

    /// Numbers of eight bytes each, packed or not.
    pub(super) fn fixed_list(self, number: u32) -> Vec<u64> {
        let values = self.fields(number).map(|field| &self.0[field.value..field.end]);
        values
            .flat_map(|value| value.chunks_exact(8).map(fixed))
            .collect()
    }

    /// Varints, packed or not.
    pub(super) fn int_list(self, number: u32) -> Vec<u64> {
        let mut all = Vec::new();
        for field in self.fields(number) {
            let (list, mut pos) = (&self.0[field.value..field.end], 0);
            while pos < list.len() {
                match varint::read(list, &mut pos) {
                    Ok(value) => all.push(value),
                    Err(_) => break,
                }
            }
        }
        all
    }

    /// Entries of a `KeyValue` list.
    pub(super) fn attributes(self, number: u32) -> impl Iterator<Item = (Cow<'a, str>, Value<'a>)> {
        self.each(number)
            .map(|entry| (entry.text(1), Value::new(entry.sub(2).0)))
    }

    fn raw(self, number: u32) -> Option<&'a [u8]> {
        self.fields(number)
            .last()
            .map(|field| &self.0[field.value..field.end])
    }
}

fn fixed(value: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    let len = value.len().min(8);
    bytes[..len].copy_from_slice(&value[..len]);
    u64::from_le_bytes(bytes)
}

/// The points of a metric, and what kind they are.
pub(super) enum Data<'a> {
    None,
    Gauge(Message<'a>),
    Sum(Message<'a>),
    Histogram(Message<'a>),
    ExponentialHistogram(Message<'a>),
    Summary(Message<'a>),
}

impl<'a> Data<'a> {
    pub(super) fn of(metric: Message<'a>) -> Data<'a> {
        let mut data = Data::None;
        // A one-of: the last one on the wire counts.
        for field in Fields::new(metric.0, 0)
            .map_while(Result::ok)
            .filter(|field| field.wire == LEN)
        {
            let value = Message(&metric.0[field.value..field.end]);
            data = match field.number {
                5 => Data::Gauge(value),
                7 => Data::Sum(value),
                9 => Data::Histogram(value),
                10 => Data::ExponentialHistogram(value),
                11 => Data::Summary(value),
                _ => data,
            };
        }
        data
    }
}

/// As Go's `AsString` renders it.
pub(super) fn as_string(value: Value<'_>) -> String {
    let mut out = Vec::new();
    value.as_string(&mut out);
    String::from_utf8(out).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}

/// `Str(x)`, `Int(1)`, `Map({...})`, ...
pub(super) fn typed(value: Value<'_>) -> String {
    let name = match value.any() {
        Any::Empty => "Empty",
        Any::Str(_) => "Str",
        Any::Bool(_) => "Bool",
        Any::Int(_) => "Int",
        Any::Double(_) => "Double",
        Any::Bytes(_) => "Bytes",
        Any::List(_) => "Slice",
        Any::Map(_) => "Map",
    };
    format!("{name}({})", as_string(value))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Upper bound of a bucket of an exponential histogram: `2^(index * 2^-scale)`.
pub(super) fn bound(scale: i32, index: i64) -> f64 {
    (index as f64 * f64::from(-scale).exp2()).exp2()
}
