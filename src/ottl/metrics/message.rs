//! A protobuf message as a list of its fields, to take apart and put together.

use std::borrow::Cow;

use wire::field::{FIXED64, Fields, LEN, VARINT};
use wire::varint;

/// A message, its fields in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Message<'m>(Vec<Field<'m>>);

/// One field: the content of a message, text or packed list without its length, a number's bytes on the wire.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Field<'m> {
    pub(crate) number: u32,
    wire: u8,
    pub(crate) content: Cow<'m, [u8]>,
}

impl<'m> Message<'m> {
    /// The fields of a message, which is well formed.
    pub(crate) fn read(raw: &'m [u8]) -> Message<'m> {
        let fields = Fields::new(raw, 0).map_while(Result::ok).map(|f| Field {
            number: f.number,
            wire: f.wire,
            content: Cow::Borrowed(&raw[f.value..f.end]),
        });
        Message(fields.collect())
    }

    /// The content of each field with this number.
    pub(crate) fn all(&self, number: u32) -> impl Iterator<Item = &[u8]> {
        let fields = self.0.iter().filter(move |f| f.number == number);
        fields.map(|f| &*f.content)
    }

    fn last(&self, number: u32) -> Option<&[u8]> {
        self.0
            .iter()
            .rev()
            .find(|f| f.number == number)
            .map(|f| &*f.content)
    }

    /// The content of the field; empty if it is absent.
    pub(crate) fn bytes(&self, number: u32) -> &[u8] {
        self.last(number).unwrap_or(&[])
    }

    /// A `fixed64`, `sfixed64` or `double` by its bits.
    pub(crate) fn fixed(&self, number: u32) -> Option<u64> {
        self.last(number)?.try_into().ok().map(u64::from_le_bytes)
    }

    pub(crate) fn double(&self, number: u32) -> Option<f64> {
        self.fixed(number).map(f64::from_bits)
    }

    /// A varint; 0 if it is absent.
    pub(crate) fn varint(&self, number: u32) -> u64 {
        varint::read(self.bytes(number), &mut 0).unwrap_or(0)
    }

    /// A `sint32`; 0 if it is absent.
    pub(crate) fn zigzag(&self, number: u32) -> i32 {
        let bits = self.varint(number) as u32;
        (bits >> 1) as i32 ^ -((bits & 1) as i32)
    }

    /// The fields, to be changed one by one.
    pub(crate) fn fields_mut(&mut self) -> &mut [Field<'m>] {
        &mut self.0
    }

    pub(crate) fn retain(&mut self, mut keep: impl FnMut(u32) -> bool) {
        self.retain_fields(|f| keep(f.number));
    }

    pub(crate) fn retain_fields(&mut self, keep: impl FnMut(&Field<'m>) -> bool) {
        self.0.retain(keep);
    }

    fn set(&mut self, number: u32, wire: u8, content: Cow<'m, [u8]>) {
        self.retain(|n| n != number);
        self.add_field(number, wire, content);
    }

    /// Behind all fields with this or a smaller number, as encoders write them.
    fn add_field(&mut self, number: u32, wire: u8, content: Cow<'m, [u8]>) {
        let at = self.0.iter().rposition(|f| f.number <= number);
        let field = Field {
            number,
            wire,
            content,
        };
        self.0.insert(at.map_or(0, |at| at + 1), field);
    }

    /// Adds to a repeated field of texts or messages.
    pub(crate) fn add(&mut self, number: u32, content: impl Into<Cow<'m, [u8]>>) {
        self.add_field(number, LEN, content.into());
    }

    /// Sets a text, a message or a packed list; empty content removes it.
    pub(crate) fn set_bytes(&mut self, number: u32, content: impl Into<Cow<'m, [u8]>>) {
        let content = content.into();
        if content.is_empty() {
            self.retain(|n| n != number);
        } else {
            self.set(number, LEN, content);
        }
    }

    /// Sets a number of eight bytes, also if it is 0.
    pub(crate) fn set_fixed(&mut self, number: u32, bits: u64) {
        self.set(number, FIXED64, Cow::Owned(bits.to_le_bytes().to_vec()));
    }

    pub(crate) fn set_double(&mut self, number: u32, value: f64) {
        self.set_fixed(number, value.to_bits());
    }

    /// Sets a varint; 0 removes it.
    pub(crate) fn set_varint(&mut self, number: u32, value: u64) {
        if value == 0 {
            return self.retain(|n| n != number);
        }
        let mut bytes = Vec::new();
        varint::write(value, &mut bytes);
        self.set(number, VARINT, Cow::Owned(bytes));
    }

    /// The encoded message.
    pub(crate) fn write(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.0.iter().map(|f| f.content.len() + 6).sum());
        for field in &self.0 {
            varint::write(u64::from(field.number) << 3 | u64::from(field.wire), &mut out);
            if field.wire == LEN {
                varint::write(field.content.len() as u64, &mut out);
            }
            out.extend_from_slice(&field.content);
        }
        out
    }
}

impl Field<'_> {
    /// Changes the message that it holds.
    pub(crate) fn edit(&mut self, change: impl FnOnce(&mut Message<'_>)) {
        let mut message = Message::read(&self.content);
        change(&mut message);
        let written = message.write();
        self.content = Cow::Owned(written);
    }
}

/// The numbers of a packed list of eight bytes each.
pub(crate) fn fixed_list(content: &[u8]) -> Vec<u64> {
    let (chunks, _) = content.as_chunks::<8>();
    chunks.iter().map(|c| u64::from_le_bytes(*c)).collect()
}

/// The packed list.
pub(crate) fn packed(bits: impl IntoIterator<Item = u64>) -> Vec<u8> {
    bits.into_iter().flat_map(u64::to_le_bytes).collect()
}

/// The numbers of a packed list of varints.
pub(crate) fn varint_list(content: &[u8]) -> Vec<u64> {
    let mut pos = 0;
    std::iter::from_fn(|| {
        (pos < content.len())
            .then(|| varint::read(content, &mut pos).ok())
            .flatten()
    })
    .collect()
}
