//! JSON that every reader takes for the same: no key twice in an object, no number beyond 2^53.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::{EntryError, INTEGER_MAX};

/// Refuses a text that is not one JSON object of that sort. Depth is bounded by the parser at 128.
///
/// A text that [`is_plain`] may still be no JSON at all: whoever asks has it parsed in any case, and that parser says so.
pub(super) fn check(text: &str) -> Result<(), EntryError> {
    if !text.starts_with('{') {
        return Err(EntryError::Malformed("not a JSON object".to_owned()));
    }
    if is_plain(text.as_bytes()) {
        return Ok(());
    }
    let mut parser = serde_json::Deserializer::from_str(text);
    let checked = Any.deserialize(&mut parser).and_then(|()| parser.end());
    checked.map_err(|e| EntryError::Malformed(e.to_string()))
}

/// Whether a text, if it is JSON, is seen at a glance to have no key twice and no number beyond 15 digits. That is what
/// every line of ours is, at a fifth of the parser's cost; a text with escapes, spaces between tokens, fractions, deep
/// nesting or many keys is left to the parser.
fn is_plain(text: &[u8]) -> bool {
    const DEPTH: usize = 16;
    const KEYS: usize = 48;
    if memchr::memchr(b'\\', text).is_some() {
        return false;
    }
    // Keys of all open objects, and where those of each begin.
    let mut keys: [&[u8]; KEYS] = [&[]; KEYS];
    let (mut open, mut starts, mut depth) = (0, [0; DEPTH], 0);
    let (mut at, mut arrays) = (0, 0);
    while let Some(c) = text.get(at) {
        at += 1;
        match c {
            b'"' => {
                let Some(len) = memchr::memchr(b'"', &text[at..]) else {
                    return false;
                };
                let string = &text[at..at + len];
                at += len + 1;
                if text.get(at) == Some(&b':') {
                    if open == KEYS || depth == 0 || keys[starts[depth - 1]..open].contains(&string) {
                        return false;
                    }
                    keys[open] = string;
                    open += 1;
                }
            }
            b'{' if depth < DEPTH => {
                starts[depth] = open;
                depth += 1;
            }
            b'}' if depth > 0 => {
                depth -= 1;
                open = starts[depth];
            }
            b'[' if arrays < DEPTH => arrays += 1,
            b']' if arrays > 0 => arrays -= 1,
            b'0'..=b'9' => {
                let more = text[at..].iter().take_while(|c| c.is_ascii_digit()).count();
                at += more;
                if more >= 15 || matches!(text.get(at), Some(b'.' | b'e' | b'E')) {
                    return false;
                }
            }
            b',' | b':' | b'-' | b'a'..=b'z' => {}
            _ => return false,
        }
    }
    depth == 0 && arrays == 0
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> bool {
        let mut parser = serde_json::Deserializer::from_str(text);
        Any.deserialize(&mut parser).and_then(|()| parser.end()).is_ok()
    }

    /// What is seen at a glance is what the parser says, if it is JSON at all.
    fn agrees(text: &str) -> bool {
        let is_json = serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
        !is_plain(text.as_bytes()) || !is_json || parsed(text)
    }

    #[test]
    fn lines_of_ours_are_plain() {
        let check = |text: &str, plain: bool| {
            assert_eq!(is_plain(text.as_bytes()), plain, "{text}");
            assert!(agrees(text), "{text}");
        };
        check(
            r#"{"v":1,"a":{"v":-2},"b":[{"v":1},{"v":null}],"c":true,"d":123456789012345}"#,
            true,
        );
        check(r#"{"v":1,"v":1}"#, false);
        check(r#"{"a":{"v":1,"b":{},"v":1}}"#, false);
        check(r#"{"a":{"v":1},"b":[],"a":1}"#, false);
        check(r#"{"v":1234567890123456}"#, false);
        check(r#"{"v":1.5}"#, false);
        check(r#"{"v":1e5}"#, false);
        check(r#"{"v": 1}"#, false);
        check(r#"{"v":"\u0041"}"#, false);
        check(r#"{"v":["#, false);
        check(r#"{"v":"#, false);
    }

    proptest! {
        #[test]
        fn a_glance_never_says_more_than_the_parser(text in r#"(\{|\}|\[|\]|"a"|"b"|""|:|,|1|-|0\.5|9{15,17}|null|true| ){0,24}"#) {
            prop_assert!(agrees(&text), "{}", text);
        }

        #[test]
        fn nor_of_well_formed_texts(keys in proptest::collection::vec("[a-c]{1,2}", 0..6), nest in 0usize..4) {
            let mut text = "1".to_owned();
            for _ in 0..=nest {
                let fields: Vec<String> = keys.iter().map(|key| format!("\"{key}\":{text}")).collect();
                text = format!("{{{}}}", fields.join(","));
                if text.len() > 4_000 {
                    break;
                }
            }
            prop_assert!(agrees(&text), "{}", text);
            let distinct: std::collections::BTreeSet<&String> = keys.iter().collect();
            prop_assert_eq!(parsed(&text), distinct.len() == keys.len());
        }
    }
}
