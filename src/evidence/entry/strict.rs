//! JSON that every reader takes for the same: no key twice in an object, no number beyond 2^53.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::{EntryError, INTEGER_MAX};

/// Refuses a text that is not one JSON object of that sort. Depth is bounded by the parser at 128.
pub(super) fn check(text: &str) -> Result<(), EntryError> {
    if !text.starts_with('{') {
        return Err(EntryError::Malformed("not a JSON object".to_owned()));
    }
    let mut parser = serde_json::Deserializer::from_str(text);
    let checked = Any.deserialize(&mut parser).and_then(|()| parser.end());
    checked.map_err(|e| EntryError::Malformed(e.to_string()))
}

/// Any value.
#[derive(Clone, Copy)]
struct Any;

impl<'de> DeserializeSeed<'de> for Any {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<(), D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Any {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, n: u64) -> Result<(), E> {
        if n > INTEGER_MAX {
            return Err(E::custom("a number above 2^53 - 1"));
        }
        Ok(())
    }

    fn visit_i64<E: Error>(self, n: i64) -> Result<(), E> {
        self.visit_u64(n.unsigned_abs())
    }

    fn visit_f64<E: Error>(self, n: f64) -> Result<(), E> {
        // Integers too large for 64 bits arrive as this.
        if n.abs() > INTEGER_MAX as f64 {
            return Err(E::custom("a number above 2^53 - 1"));
        }
        Ok(())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Any)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut keys: Vec<Cow<'de, str>> = Vec::new();
        while let Some(Key(key)) = map.next_key()? {
            keys.push(key);
            map.next_value_seed(Any)?;
        }
        let twice = match keys.len() {
            0..=24 => keys.iter().enumerate().any(|(i, key)| keys[..i].contains(key)),
            _ => {
                keys.sort_unstable();
                keys.windows(2).any(|two| two[0] == two[1])
            }
        };
        if twice {
            return Err(A::Error::custom("a key stands twice"));
        }
        Ok(())
    }
}

/// A key, borrowed unless it has escapes.
struct Key<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Key<'de>, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }
        d.deserialize_str(Text)
    }
}
