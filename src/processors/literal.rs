//! A value as a user writes it in YAML, for attributes.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};
use wire::field::write_header;
use wire::view::{NewValue, any_encode};

/// A YAML scalar, list or map; the type is the one that YAML gives it.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    /// `true`, `false`.
    Bool(bool),
    /// `12`.
    Int(i64),
    /// `1.5`.
    Double(f64),
    /// Anything else.
    Str(String),
    /// A sequence.
    List(Vec<Literal>),
    /// A mapping, in the order in which it was written.
    Map(Vec<(String, Literal)>),
    /// Null within a list or map.
    Null,
}

impl Literal {
    /// Appends the `AnyValue` message.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Literal::Null => any_encode(NewValue::Empty, out),
            Literal::Bool(b) => any_encode(NewValue::Bool(*b), out),
            Literal::Int(i) => any_encode(NewValue::Int(*i), out),
            Literal::Double(d) => any_encode(NewValue::Double(*d), out),
            Literal::Str(s) => any_encode(NewValue::Str(s.as_bytes()), out),
            Literal::List(values) => {
                let mut list = Vec::new();
                for value in values {
                    message(1, &mut list, |out| value.encode(out));
                }
                message(5, out, |out| out.extend_from_slice(&list));
            }
            Literal::Map(entries) => {
                let mut map = Vec::new();
                for (key, value) in entries {
                    message(1, &mut map, |out| {
                        message(1, out, |out| out.extend_from_slice(key.as_bytes()));
                        message(2, out, |out| value.encode(out));
                    });
                }
                message(6, out, |out| out.extend_from_slice(&map));
            }
        }
    }
}

fn message(number: u32, out: &mut Vec<u8>, content: impl FnOnce(&mut Vec<u8>)) {
    let mut inner = Vec::new();
    content(&mut inner);
    write_header(number, inner.len(), out);
    out.extend_from_slice(&inner);
}

impl<'de> Deserialize<'de> for Literal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

impl Serialize for Literal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Literal::Bool(value) => serializer.serialize_bool(*value),
            Literal::Int(value) => serializer.serialize_i64(*value),
            Literal::Double(value) => serializer.serialize_f64(*value),
            Literal::Str(text) => serializer.serialize_str(text),
            Literal::List(values) => serializer.collect_seq(values),
            Literal::Map(entries) => serializer.collect_map(entries.iter().map(|(key, value)| (key, value))),
            Literal::Null => serializer.serialize_unit(),
        }
    }
}

impl JsonSchema for Literal {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Literal".into()
    }

    /// Anything.
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        true.into()
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Literal;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a scalar, a list or a map")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Literal, E> {
        Ok(Literal::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Literal, E> {
        Ok(Literal::Int(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Literal, E> {
        let value =
            i64::try_from(value).map_err(|_| E::custom("number is too large for 64 bits with a sign"))?;
        Ok(Literal::Int(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Literal, E> {
        Ok(Literal::Double(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Literal, E> {
        Ok(Literal::Str(value.to_owned()))
    }

    fn visit_unit<E: Error>(self) -> Result<Literal, E> {
        Ok(Literal::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Literal, E> {
        Ok(Literal::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Literal, D::Error> {
        Literal::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Literal, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = seq.next_element()? {
            values.push(value);
        }
        Ok(Literal::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Literal, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Literal::Map(entries))
    }
}
