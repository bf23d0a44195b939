//! A record that is not indexed: a few of its fields and attributes, found in one walk over its bytes.
//!
//! In: what is looked for, once, and each record's message. Out: the same as a [`View`](super::View) of it would say.
//! Worth it where most records are not looked at a second time.

use super::{Kind, Value, short_entry};
use crate::field::{self, Field, LEN, Malformed};
use crate::{Signal, otlp};

/// What is looked for in log records or spans.
#[derive(Clone, Debug)]
pub struct Glance {
    attributes: u32,
    tag: u8,
    texts: Vec<u32>,
    keys: Vec<Vec<u8>>,
    /// Lengths of keys below 128; a longer one is not in the usual form.
    lengths: u128,
}

impl Glance {
    /// Looks for text fields by their number, and for attributes by their key, in records of one kind.
    pub fn new(signal: Signal, kind: Kind, texts: &[u32], keys: Vec<Vec<u8>>) -> Glance {
        let message = otlp::node(signal, kind);
        Glance {
            attributes: message.with_role(otlp::Role::Attributes).map_or(0, |f| f.number),
            tag: message.attributes_tag(),
            texts: texts.to_vec(),
            lengths: (keys.iter().filter(|key| key.len() < 128)).fold(0, |all, key| all | 1 << key.len()),
            keys,
        }
    }

    /// The keys, in the order of what is found.
    pub fn keys(&self) -> &[Vec<u8>] {
        &self.keys
    }

    /// Finds texts (empty if absent) and the first value of each key. What was in `texts` and `values` is forgotten; they
    /// are as long as the lists of what is looked for, or less is looked for.
    ///
    /// Errors: the record cannot be read.
    /// Cost: about that of validating the record; nothing is allocated.
    pub fn look<'a>(
        &self,
        record: &'a [u8],
        texts: &mut [&'a [u8]],
        values: &mut [Option<Value<'a>>],
    ) -> Result<(), Malformed> {
        texts.fill(&[]);
        values.fill(None);
        let mut pos = 0;
        while pos < record.len() {
            if record[pos] == self.tag
                && let Some((key_len, value)) = short_entry(record, pos, self.tag)
            {
                let key = pos + 4..pos + 4 + key_len;
                pos = key.end + value.len();
                if self.lengths >> key_len & 1 != 0 {
                    self.found(&record[key], &value[2..], values);
                }
                continue;
            }
            let field = field::next(record, &mut pos)?;
            if field.number == self.attributes {
                self.entry(record, &field, values)?;
            } else if field.wire == LEN {
                for (number, text) in self.texts.iter().zip(&mut *texts) {
                    if *number == field.number {
                        *text = &record[field.value..field.end];
                    }
                }
            }
        }
        Ok(())
    }

    /// An entry of any form.
    fn entry<'a>(
        &self,
        record: &'a [u8],
        field: &Field,
        values: &mut [Option<Value<'a>>],
    ) -> Result<(), Malformed> {
        let buf = &record[..field.end];
        let (mut key, mut value): (&[u8], &[u8]) = (&[], &[]);
        let mut pos = field.value;
        while pos < buf.len() {
            let part = field::next(buf, &mut pos)?;
            match part.number {
                1 => key = &buf[part.value..part.end],
                2 => value = &buf[part.value..part.end],
                _ => {}
            }
        }
        self.found(key, value, values);
        Ok(())
    }

    fn found<'a>(&self, key: &[u8], value: &'a [u8], values: &mut [Option<Value<'a>>]) {
        for (wanted, slot) in self.keys.iter().zip(values) {
            if wanted == key && slot.is_none() {
                *slot = Some(Value::new(value));
            }
        }
    }
}
