//! Fields of encoded messages, read where they lie: no look copies or allocates.
//!
//! The bytes were validated at the door; what cannot be read is absent here. Numbers: `wire::otlp`.

use wire::field::{Field, Fields, LEN, VARINT};
use wire::varint;
use wire::view::Value;

/// One encoded message.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Message<'a>(pub(super) &'a [u8]);

impl<'a> Message<'a> {
    /// Number, wire type and bytes of each field, in order.
    pub(super) fn fields(self) -> impl Iterator<Item = (u32, u8, &'a [u8])> + use<'a> {
        let raw = self.0;
        Fields::new(raw, 0).map_while(Result::ok).map(
            move |Field {
                      number,
                      wire,
                      value,
                      end,
                      ..
                  }| (number, wire, &raw[value..end]),
        )
    }

    /// Every value of a repeated message, or bytes or text.
    pub(super) fn each(self, number: u32) -> impl Iterator<Item = Message<'a>> + use<'a> {
        self.fields()
            .filter(move |(n, wire, _)| *n == number && *wire == LEN)
            .map(|(.., value)| Message(value))
    }

    /// A message, bytes or text; empty if absent.
    pub(super) fn sub(self, number: u32) -> Message<'a> {
        self.each(number).last().unwrap_or_default()
    }

    /// A number of any kind, as it lies; 0 if absent.
    pub(super) fn number(self, number: u32) -> u64 {
        let last = self.fields().filter(|(n, ..)| *n == number).last();
        last.map_or(0, |(_, wire, value)| read_number(wire, value))
    }

    /// A double; none if absent.
    pub(super) fn double(self, number: u32) -> Option<f64> {
        let last = self.fields().filter(|(n, ..)| *n == number).last();
        last.map(|(_, wire, value)| f64::from_bits(read_number(wire, value)))
    }

    /// A zigzag number of 32 bits; 0 if absent.
    pub(super) fn sint(self, number: u32) -> i32 {
        let zigzag = self.number(number) as u32;
        (zigzag >> 1) as i32 ^ -((zigzag & 1) as i32)
    }

    /// Entries of a list of attributes.
    pub(super) fn attributes(self, number: u32) -> impl Iterator<Item = (&'a [u8], Value<'a>)> + use<'a> {
        self.each(number).map(Message::entry)
    }

    /// Of a list of attributes the first with this key, as it is looked up in the collector.
    pub(super) fn attribute(self, number: u32, key: &[u8]) -> Option<Value<'a>> {
        self.attributes(number)
            .find(|(k, _)| *k == key)
            .map(|(_, value)| value)
    }

    /// Key and value of an entry.
    #[inline]
    pub(super) fn entry(self) -> (&'a [u8], Value<'a>) {
        let (mut key, mut value): (&[u8], &[u8]) = (&[], &[]);
        for (number, wire, content) in self.fields() {
            match (number, wire) {
                (1, LEN) => key = content,
                (2, LEN) => value = content,
                _ => {}
            }
        }
        (key, Value::new(value))
    }

    /// Numbers of eight bytes each, packed or not.
    pub(super) fn fixed_list(self, number: u32) -> impl Iterator<Item = u64> + use<'a> {
        self.fields()
            .filter(move |(n, ..)| *n == number)
            .flat_map(|(.., value)| value.chunks_exact(8))
            .map(|eight| eight.try_into().map_or(0, u64::from_le_bytes))
    }

    /// Varints, packed or not.
    pub(super) fn int_list(self, number: u32) -> impl Iterator<Item = u64> + use<'a> {
        self.fields()
            .filter(move |(n, ..)| *n == number)
            .flat_map(|(.., list)| {
                let mut pos = 0;
                std::iter::from_fn(move || match pos < list.len() {
                    true => varint::read(list, &mut pos).ok(),
                    false => None,
                })
            })
    }
}

/// A number as it lies: a varint, or four or eight bytes.
#[inline]
pub(super) fn read_number(wire: u8, value: &[u8]) -> u64 {
    if wire == VARINT {
        return varint::read(value, &mut 0).unwrap_or(0);
    }
    match value.len() {
        8 => value.try_into().map_or(0, u64::from_le_bytes),
        4 => value
            .try_into()
            .map_or(0, |four| u64::from(u32::from_le_bytes(four))),
        _ => 0,
    }
}

/// Whether an id is one: not absent, not zeros alone.
pub(super) fn is_id(id: &[u8]) -> bool {
    id.iter().any(|byte| *byte != 0)
}
