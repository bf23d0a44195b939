//! Maps, lists and variants, entry by entry.

use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use super::error::{Error, suggest};
use super::{At, De, Ident, Step, Why};
use crate::types::marker;
use crate::value::{Entry, Node, Value};
use crate::{Diag, Stage};

// --- Maps ---

pub(super) struct Entries<'a> {
    pub(super) entries: &'a [Entry],
    pub(super) next: usize,
    pub(super) de: &'a De<'a>,
    pub(super) fields: Option<&'static [&'static str]>,
}

impl<'a> Entries<'a> {
    fn note_unknown(&self, entry: &Entry, fields: &[&str]) {
        let path = self.de.at.path(self.de.cx);
        let shown: String = entry.key.chars().take(80).collect();
        let diag = Diag::new(entry.mark.place(), path, format!("has invalid keys: {shown}"))
            .at(Stage::Decode)
            .with_help(suggest(&entry.key, fields, "valid keys"));
        self.de.cx.unknown.borrow_mut().insert(Ident::entry(entry), diag);
    }
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        while let Some(entry) = self.entries.get(self.next) {
            let ident = Ident::entry(entry);
            if self.de.cx.is_left_out(ident) || self.de.without_enabled && &*entry.key == "enabled" {
                self.next += 1;
                continue;
            }
            if let Some(fields) = self.fields
                && !fields.contains(&&*entry.key)
            {
                self.note_unknown(entry, fields);
                self.next += 1;
                continue;
            }
            let key = Node {
                value: Value::String(entry.key.clone()),
                text: None,
                mark: entry.mark.clone(),
            };
            let result = seed.deserialize(KeyDe(&entry.key));
            let at = De {
                node: &key,
                ..De::root(&key, self.de.cx)
            };
            let path = self.de.at.path(self.de.cx);
            return at.locate(result).map(Some).map_err(|mut error| {
                if let Some(diag) = &mut error.diag {
                    diag.path = path;
                }
                error.within(ident)
            });
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let entry = &self.entries[self.next];
        self.next += 1;
        let ident = Ident::entry(entry);
        let value = De {
            node: &entry.value,
            at: At {
                parent: Some(&self.de.at),
                step: Step::Key(&entry.key),
            },
            cx: self.de.cx,
            key: Some(&entry.mark),
            null_is_default: self.fields.is_some() && self.de.cx.why(ident) != Some(Why::Zero),
            hidden: self.de.hidden,
            piece: false,
            without_enabled: false,
        };
        seed.deserialize(value).map_err(|error| error.within(ident))
    }
}

/// A key of a map: text, or a number in text.
struct KeyDe<'a>(&'a str);

macro_rules! key_integers {
    ($($method:ident $visit:ident $type:ty;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match self.0.parse::<$type>() {
                Ok(number) => visitor.$visit(number),
                Err(_) => Err(Error::new(format!("expected an integer as key, got \"{}\"", self.0))),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for KeyDe<'_> {
    type Error = Error;

    key_integers! {
        deserialize_i64 visit_i64 i64;
        deserialize_u16 visit_u16 u16;
        deserialize_u32 visit_u32 u32;
        deserialize_u64 visit_u64 u64;
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_str(self.0)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        match name {
            marker::ID => visitor.visit_str(self.0),
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_enum(de::value::StrDeserializer::<Error>::new(self.0))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i128 u8 u128 f32 f64 char str string bytes byte_buf option unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}

// --- Lists ---

pub(super) struct Items<'a> {
    pub(super) items: &'a [Node],
    pub(super) next: usize,
    pub(super) piece: bool,
    pub(super) de: &'a De<'a>,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        while let Some(node) = self.items.get(self.next) {
            let index = self.next;
            self.next += 1;
            let ident = Ident::item(node);
            if !self.piece && self.de.cx.is_left_out(ident) {
                continue;
            }
            let item = De {
                at: At {
                    parent: Some(&self.de.at),
                    step: Step::Index(index),
                },
                key: self.de.key,
                hidden: self.de.hidden,
                piece: self.piece,
                ..De::root(node, self.de.cx)
            };
            // Pieces live for this run only, so that the list as a whole is at fault.
            return match seed.deserialize(item) {
                Err(error) if self.piece => Err(error),
                result => result.map(Some).map_err(|error| error.within(ident)),
            };
        }
        Ok(None)
    }

    fn size_hint(&self) -> Option<usize> {
        Some((self.items.len() - self.next).min(1024))
    }
}

// --- Enums ---

pub(super) struct Variant<'a> {
    pub(super) name: &'a str,
    pub(super) content: Option<&'a Entry>,
    pub(super) de: &'a De<'a>,
}

impl<'a, 'de> EnumAccess<'de> for Variant<'a> {
    type Error = Error;
    type Variant = Content<'a>;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Content<'a>), Error> {
        let variant = seed.deserialize(KeyDe(self.name))?;
        Ok((
            variant,
            Content {
                content: self.content,
                de: self.de,
            },
        ))
    }
}

pub(super) struct Content<'a> {
    content: Option<&'a Entry>,
    de: &'a De<'a>,
}

impl<'a> Content<'a> {
    fn de(self) -> Result<De<'a>, Error> {
        let Some(entry) = self.content else {
            return Err(self.de.mismatch("map[string]interface {}"));
        };
        Ok(De {
            at: At {
                parent: Some(&self.de.at),
                step: Step::Key(&entry.key),
            },
            key: Some(&entry.mark),
            hidden: self.de.hidden,
            ..De::root(&entry.value, self.de.cx)
        })
    }
}

impl<'de> VariantAccess<'de> for Content<'_> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        match self.content {
            Some(entry) if !matches!(entry.value.value, Value::Null) => Err(self.de.mismatch("string")),
            _ => Ok(()),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        seed.deserialize(self.de()?)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.de()?.deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.de()?.deserialize_struct("", fields, visitor)
    }
}
