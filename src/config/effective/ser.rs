//! Any value that serde can take apart, as an [`Effective`].

use std::collections::BTreeMap;
use std::fmt::{self, Display};

use serde::ser::{
    self, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

use super::Effective;
use crate::types::marker;

/// Why there is no value: a key that is no scalar, or what a type itself says.
#[derive(Debug)]
pub(super) struct Error(String);

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

impl ser::Error for Error {
    fn custom<T: Display>(message: T) -> Self {
        Error(message.to_string())
    }
}

pub(super) struct ToEffective;

/// Items of a list; with a name, of a variant that holds one.
pub(super) struct List {
    items: Vec<Effective>,
    variant: Option<&'static str>,
}

/// Entries of a map; with a name, of a variant that holds one.
pub(super) struct Map {
    entries: BTreeMap<String, Effective>,
    key: String,
    variant: Option<&'static str>,
}

impl Map {
    fn new(variant: Option<&'static str>) -> Self {
        Map {
            entries: BTreeMap::new(),
            key: String::new(),
            variant,
        }
    }
}

fn within(variant: Option<&'static str>, value: Effective) -> Effective {
    match variant {
        Some(name) => Effective::Map([(name.to_owned(), value)].into()),
        None => value,
    }
}

macro_rules! integers {
    ($($method:ident $type:ty;)*) => {$(
        fn $method(self, value: $type) -> Result<Effective, Error> {
            Ok(Effective::Int(i128::from(value)))
        }
    )*};
}

impl Serializer for ToEffective {
    type Ok = Effective;
    type Error = Error;
    type SerializeSeq = List;
    type SerializeTuple = List;
    type SerializeTupleStruct = List;
    type SerializeTupleVariant = List;
    type SerializeMap = Map;
    type SerializeStruct = Map;
    type SerializeStructVariant = Map;

    integers! {
        serialize_i8 i8;
        serialize_i16 i16;
        serialize_i32 i32;
        serialize_i64 i64;
        serialize_u8 u8;
        serialize_u16 u16;
        serialize_u32 u32;
        serialize_u64 u64;
    }

    fn serialize_bool(self, value: bool) -> Result<Effective, Error> {
        Ok(Effective::Bool(value))
    }

    fn serialize_f32(self, value: f32) -> Result<Effective, Error> {
        Ok(Effective::Float(f64::from(value)))
    }

    fn serialize_f64(self, value: f64) -> Result<Effective, Error> {
        Ok(Effective::Float(value))
    }

    fn serialize_char(self, value: char) -> Result<Effective, Error> {
        Ok(Effective::Text(value.to_string()))
    }

    fn serialize_str(self, value: &str) -> Result<Effective, Error> {
        Ok(Effective::Text(value.to_owned()))
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<Effective, Error> {
        Ok(Effective::Text(String::from_utf8_lossy(value).into_owned()))
    }

    fn serialize_none(self) -> Result<Effective, Error> {
        Ok(Effective::Null)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Effective, Error> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<Effective, Error> {
        Ok(Effective::Null)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<Effective, Error> {
        Ok(Effective::Null)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, name: &'static str) -> Result<Effective, Error> {
        Ok(Effective::Text(name.to_owned()))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<Effective, Error> {
        let value = value.serialize(self)?;
        Ok(match (name, value) {
            (marker::DURATION, Effective::Text(text)) => match crate::Duration::parse(&text) {
                Ok(duration) => Effective::Duration(duration),
                Err(_) => Effective::Text(text),
            },
            (_, value) => value,
        })
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        value: &T,
    ) -> Result<Effective, Error> {
        Ok(within(Some(name), value.serialize(self)?))
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<List, Error> {
        Ok(List {
            items: Vec::with_capacity(len.unwrap_or(0).min(1024)),
            variant: None,
        })
    }

    fn serialize_tuple(self, len: usize) -> Result<List, Error> {
        self.serialize_seq(Some(len))
    }

    fn serialize_tuple_struct(self, _: &'static str, len: usize) -> Result<List, Error> {
        self.serialize_seq(Some(len))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        _: usize,
    ) -> Result<List, Error> {
        Ok(List {
            items: Vec::new(),
            variant: Some(name),
        })
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Map, Error> {
        Ok(Map::new(None))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Map, Error> {
        Ok(Map::new(None))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        _: usize,
    ) -> Result<Map, Error> {
        Ok(Map::new(Some(name)))
    }
}

macro_rules! lists {
    ($($trait:ident $method:ident;)*) => {$(
        impl $trait for List {
            type Ok = Effective;
            type Error = Error;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
                self.items.push(value.serialize(ToEffective)?);
                Ok(())
            }

            fn end(self) -> Result<Effective, Error> {
                Ok(within(self.variant, Effective::List(self.items)))
            }
        }
    )*};
}

lists! {
    SerializeSeq serialize_element;
    SerializeTuple serialize_element;
    SerializeTupleStruct serialize_field;
    SerializeTupleVariant serialize_field;
}

macro_rules! structs {
    ($($trait:ident)*) => {$(
        impl $trait for Map {
            type Ok = Effective;
            type Error = Error;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                key: &'static str,
                value: &T,
            ) -> Result<(), Error> {
                self.entries.insert(key.to_owned(), value.serialize(ToEffective)?);
                Ok(())
            }

            fn end(self) -> Result<Effective, Error> {
                Ok(within(self.variant, Effective::Map(self.entries)))
            }
        }
    )*};
}

structs!(SerializeStruct SerializeStructVariant);

impl SerializeMap for Map {
    type Ok = Effective;
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        self.key = match key.serialize(ToEffective)? {
            Effective::Text(text) => text,
            Effective::Int(int) => int.to_string(),
            Effective::Bool(bool) => bool.to_string(),
            _ => return Err(Error("a key that is no text".into())),
        };
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        let value = value.serialize(ToEffective)?;
        self.entries.insert(std::mem::take(&mut self.key), value);
        Ok(())
    }

    fn end(self) -> Result<Effective, Error> {
        Ok(Effective::Map(self.entries))
    }
}
