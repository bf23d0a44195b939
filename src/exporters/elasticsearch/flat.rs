//! A document as a list of dotted keys and values, for the mapping modes that have attributes beside their own fields.
//!
//! In: keys in any order, maps flattened as they come. Out: a JSON object with each key once, the last of equals; either
//! with dotted keys or with objects for what stands before the dots. A value whose key is also an object (`a` beside
//! `a.b`) becomes `a.value`: Elasticsearch refuses documents with both. Keys lie in an arena, so that nothing is
//! allocated once it is warm.

use codec::otlp_json::quote;
use wire::view::{Any, DEPTH_MAX, Value};

use super::json::{self, Pairs, comma};

/// What stands behind a key.
#[derive(Clone, Copy)]
pub(super) enum Item<'a> {
    /// A value of an attribute or a body.
    Value(Value<'a>),
    /// A text.
    Text(&'a [u8]),
    /// Nanoseconds since 1970.
    Time(u64),
    /// A number.
    Int(i64),
    /// An id.
    Hex(&'a [u8]),
    /// JSON that was written before, by its place in the arena.
    Json(u32, u32),
}

struct Entry<'a> {
    key: (u32, u32),
    item: Item<'a>,
}

/// A document that is being made; kept between records.
#[derive(Default)]
pub(super) struct Document<'a> {
    arena: Vec<u8>,
    entries: Vec<Entry<'a>>,
    order: Vec<u32>,
    path: Vec<u8>,
    name: Vec<u8>,
    overflowed: bool,
}

/// Where a document stood.
#[derive(Clone, Copy, Default)]
pub(super) struct Mark(usize, usize, bool);

/// Keys of one document in all: nested maps repeat the keys above them.
const ARENA_BYTES_MAX: usize = 8 << 20;

impl<'a> Document<'a> {
    pub(super) fn clear(&mut self) {
        self.rewind(Mark::default());
    }

    pub(super) fn mark(&self) -> Mark {
        Mark(self.arena.len(), self.entries.len(), self.overflowed)
    }

    /// Takes away what was added since.
    pub(super) fn rewind(&mut self, mark: Mark) {
        self.arena.truncate(mark.0);
        self.entries.truncate(mark.1);
        self.overflowed = mark.2;
    }

    /// Whether keys were left out because they are too long together.
    pub(super) fn is_overflowed(&self) -> bool {
        self.overflowed
    }

    /// Adds a field below `prefix`, which is empty or ends with a dot.
    pub(super) fn add(&mut self, prefix: &[u8], key: &[u8], item: Item<'a>) {
        if self.arena.len() + prefix.len() + key.len() > ARENA_BYTES_MAX {
            self.overflowed = true;
            return;
        }
        let start = self.arena.len();
        self.arena.extend_from_slice(prefix);
        self.arena.extend_from_slice(key);
        let key = (start as u32, (self.arena.len() - start) as u32);
        self.entries.push(Entry { key, item });
    }

    /// A text, if it is not empty.
    pub(super) fn text(&mut self, key: &str, text: &'a [u8]) {
        if !text.is_empty() {
            self.add(b"", key.as_bytes(), Item::Text(text));
        }
    }

    /// An id, if it is one.
    pub(super) fn id(&mut self, key: &str, id: &'a [u8]) {
        if super::fields::is_id(id) {
            self.add(b"", key.as_bytes(), Item::Hex(id));
        }
    }

    /// A copy of a text that does not last.
    pub(super) fn copied(&mut self, prefix: &[u8], key: &str, text: &[u8]) {
        self.written(prefix, key.as_bytes(), |out| quote(text, out));
    }

    /// A field whose JSON is written now.
    pub(super) fn written(&mut self, prefix: &[u8], key: &[u8], write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.arena.len();
        write(&mut self.arena);
        let end = self.arena.len();
        self.add(prefix, key, Item::Json(start as u32, end as u32));
    }

    /// An attribute: maps become fields, what is empty none.
    pub(super) fn attribute(&mut self, prefix: &[u8], key: &[u8], value: Value<'a>) {
        match value.any() {
            Any::Empty => {}
            Any::Map(_) => self.flatten(prefix, key, value),
            Any::List(values) if values.into_iter().next().is_none() => {}
            _ => self.add(prefix, key, Item::Value(value)),
        }
    }

    #[cold]
    fn flatten(&mut self, prefix: &[u8], key: &[u8], value: Value<'a>) {
        let mut path = [prefix, key].concat();
        self.below(&mut path, value, DEPTH_MAX);
    }

    fn below(&mut self, path: &mut Vec<u8>, value: Value<'a>, depth: u32) {
        let (Any::Map(entries), Some(depth)) = (value.any(), depth.checked_sub(1)) else {
            return;
        };
        let len = path.len();
        path.push(b'.');
        for (key, value) in entries {
            if self.overflowed {
                break;
            }
            match value.any() {
                Any::Map(_) => {
                    path.extend_from_slice(key);
                    self.below(path, value, depth);
                    path.truncate(len + 1);
                }
                _ => self.attribute(path, key, value),
            }
        }
        path.truncate(len);
    }

    fn key(&self, at: usize) -> &[u8] {
        let (start, len) = self.entries[self.order[at] as usize].key;
        &self.arena[start as usize..(start + len) as usize]
    }

    /// Appends the object. Nothing may stand below a key that is `protected`, and is left out.
    pub(super) fn write(
        &mut self,
        nested: bool,
        protected: fn(&[u8]) -> bool,
        pairs: &mut Pairs<'a>,
        out: &mut Vec<u8>,
    ) {
        let (arena, entries) = (&self.arena, &self.entries);
        let key_of = |at: u32| {
            let (start, len) = entries[at as usize].key;
            &arena[start as usize..(start + len) as usize]
        };
        self.order.clear();
        self.order.extend(0..entries.len() as u32);
        self.order
            .sort_unstable_by(|a, b| compare(key_of(*a), key_of(*b)).then(a.cmp(b)));
        let mut path = std::mem::take(&mut self.path);
        let mut name = std::mem::take(&mut self.name);
        let mut above: Option<usize> = None;
        path.clear();
        out.push(b'{');
        for at in 0..self.order.len() {
            let key = self.key(at);
            let next = (at + 1 < self.order.len()).then(|| self.key(at + 1));
            if next == Some(key) || above.is_some_and(|above| is_below(key, self.key(above))) {
                continue;
            }
            name.clear();
            name.extend_from_slice(key);
            if next.is_some_and(|next| is_below(next, key)) {
                if protected(key) {
                    above = Some(at);
                } else {
                    name.extend_from_slice(b".value");
                    // Where that name is taken, there is no other for the value.
                    let at = self
                        .order
                        .partition_point(|other| compare(key_of(*other), &name).is_lt());
                    let found = self.order.get(at).map(|other| key_of(*other));
                    if found.is_some_and(|found| found == name || is_below(found, &name)) {
                        continue;
                    }
                }
            }
            if nested {
                let shared = shared_path(&path, &name);
                let closed = path[shared..].iter().filter(|b| **b == b'.').count();
                out.extend(std::iter::repeat_n(b'}', closed));
                path.truncate(shared);
                let mut rest = &name[shared..];
                while let Some(dot) = rest.iter().position(|b| *b == b'.') {
                    json::key(&rest[..dot], out);
                    out.push(b'{');
                    rest = &rest[dot + 1..];
                }
                path.extend_from_slice(&name[shared..name.len() - rest.len()]);
                json::key(rest, out);
            } else {
                comma(out);
                quote(&name, out);
                out.push(b':');
            }
            match self.entries[self.order[at] as usize].item {
                Item::Value(value) => json::value(value, pairs, out),
                Item::Text(text) => quote(text, out),
                Item::Time(nanos) => json::rfc3339(nanos, out),
                Item::Int(number) => json::signed(number, out),
                Item::Hex(id) => json::hex(id, out),
                Item::Json(start, end) => out.extend_from_slice(&self.arena[start as usize..end as usize]),
            }
        }
        let closed = path.iter().filter(|b| **b == b'.').count();
        out.extend(std::iter::repeat_n(b'}', closed + 1));
        self.path = path;
        self.name = name;
    }
}

/// By bytes, but a dot before all others: what is below a key follows it at once.
fn compare(a: &[u8], b: &[u8]) -> std::cmp::Ordering {
    let shared = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    match (a.get(shared), b.get(shared)) {
        (Some(b'.'), Some(_)) => std::cmp::Ordering::Less,
        (Some(_), Some(b'.')) => std::cmp::Ordering::Greater,
        (a, b) => a.cmp(&b),
    }
}

fn is_below(key: &[u8], above: &[u8]) -> bool {
    key.strip_prefix(above)
        .is_some_and(|rest| rest.first() == Some(&b'.'))
}

/// As much of the open objects as is above the next key: up to behind a dot.
fn shared_path(path: &[u8], name: &[u8]) -> usize {
    let shared = path.iter().zip(name).take_while(|(a, b)| a == b).count();
    path[..shared]
        .iter()
        .rposition(|b| *b == b'.')
        .map_or(0, |dot| dot + 1)
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::any_value::Value as V;
    use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, KeyValueList};
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;

    fn written(keys: &[&str], nested: bool) -> String {
        let mut document = Document::default();
        for (i, key) in keys.iter().enumerate() {
            document.add(b"", key.as_bytes(), Item::Int(i as i64));
        }
        let mut out = Vec::new();
        document.write(nested, |key| key == b"fixed", &mut Pairs::default(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn keys_become_objects_or_stay_as_they_are() {
        let check = |keys: &[&str], flat: &str, nested: &str| {
            assert_eq!(written(keys, false), flat, "{keys:?}");
            assert_eq!(written(keys, true), nested, "{keys:?}");
        };
        check(&[], "{}", "{}");
        check(&["b", "a"], r#"{"a":1,"b":0}"#, r#"{"a":1,"b":0}"#);
        check(&["a", "a", "a"], r#"{"a":2}"#, r#"{"a":2}"#);
        check(
            &["a.b.c", "a.d", "a.b.e", "f"],
            r#"{"a.b.c":0,"a.b.e":2,"a.d":1,"f":3}"#,
            r#"{"a":{"b":{"c":0,"e":2},"d":1},"f":3}"#,
        );
        // A minus sorts before a dot, and must not part an object in two.
        check(
            &["a.b", "a-b", "a.c", "a"],
            r#"{"a.value":3,"a.b":0,"a.c":2,"a-b":1}"#,
            r#"{"a":{"value":3,"b":0,"c":2},"a-b":1}"#,
        );
        check(
            &["a", "a.value", "a.b"],
            r#"{"a.b":2,"a.value":1}"#,
            r#"{"a":{"b":2,"value":1}}"#,
        );
        check(
            &["ab.c", "a.bc", "ab.d"],
            r#"{"a.bc":1,"ab.c":0,"ab.d":2}"#,
            r#"{"a":{"bc":1},"ab":{"c":0,"d":2}}"#,
        );
        check(
            &["fixed.a.b", "fixed", "fixed.c", "g"],
            r#"{"fixed":1,"g":3}"#,
            r#"{"fixed":1,"g":3}"#,
        );
        check(
            &["a..b", ".", "a\""],
            r#"{".":1,"a..b":0,"a\"":2}"#,
            r#"{"":{"":1},"a":{"":{"b":0}},"a\"":2}"#,
        );
    }

    #[test]
    fn maps_are_flattened_and_their_keys_bounded() {
        let mut value = V::IntValue(1);
        for _ in 0..200 {
            let entry = KeyValue {
                key: "k".repeat(500),
                value: Some(AnyValue { value: Some(value) }),
                ..KeyValue::default()
            };
            value = V::KvlistValue(KeyValueList { values: vec![entry] });
        }
        let deep = AnyValue { value: Some(value) }.encode_to_vec();
        let mut document = Document::default();
        document.attribute(b"Attributes.", b"x", Value::new(&deep));
        assert!(!document.is_overflowed());
        let before = document.mark();
        for _ in 0..100 {
            document.attribute(b"", b"y", Value::new(&deep));
        }
        assert!(document.is_overflowed() && document.arena.len() <= ARENA_BYTES_MAX);
        document.rewind(before);
        assert!(!document.is_overflowed());
        let mut out = Vec::new();
        document.write(true, |_| false, &mut Pairs::default(), &mut out);
        let depth = out.iter().filter(|b| **b == b'{').count();
        assert_eq!(depth, 202);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_written_is_an_object_with_each_key_once(keys in prop::collection::vec("[ab.\\-]{0,5}", 0..12)) {
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            for nested in [false, true] {
                let text = written(&keys, nested);
                let read: serde_json::Value = serde_json::from_str(&text).unwrap();
                fn count(value: &serde_json::Value) -> usize {
                    match value {
                        serde_json::Value::Object(map) => map.values().map(|v| 1 + count(v)).sum(),
                        _ => 0,
                    }
                }
                // A key that stood there twice would be gone.
                prop_assert_eq!(count(&read), text.matches("\":").count(), "{}", text);
            }
        }
    }
}
