//! What a map is, whatever the order of its entries: bytes that are equal exactly if two maps are.
//!
//! Entries are sorted by key, also in nested maps, and everything is framed by its length or has a fixed one, so that
//! no two different maps give the same bytes. Types count: `1`, `1.0` and `"1"` differ, as in the collector, which
//! compares hashes of the same content.

use super::{Any, DEPTH_MAX, NodeId, Value, View};
use crate::varint;

/// Room for sorting, kept between maps.
#[derive(Debug, Default)]
pub struct Order(Vec<u32>);

impl Order {
    /// Appends what the attributes of a node are. No allocation but for nested maps, once warm.
    pub fn attributes(&mut self, view: &View<'_>, n: NodeId, out: &mut Vec<u8>) {
        self.entries(view.attrs(n), |i| (view.key(n, i), view.value(n, i)), out);
    }

    /// Appends what a map of `len` entries is.
    pub fn entries<'a>(
        &mut self,
        len: usize,
        at: impl Fn(usize) -> (&'a [u8], Value<'a>),
        out: &mut Vec<u8>,
    ) {
        self.0.clear();
        self.0.extend(0..len as u32);
        // Equal keys keep their order: their values do not commute, readers take the first.
        self.0.sort_unstable_by_key(|&i| (at(i as usize).0, i));
        varint::write(len as u64, out);
        for &i in &self.0 {
            let (key, entry) = at(i as usize);
            text(key, out);
            value(entry, out);
        }
    }
}

/// Appends what a value is: its type and content.
pub fn value(value: Value<'_>, out: &mut Vec<u8>) {
    nested(value, DEPTH_MAX, out);
}

/// Appends text by its length and content.
pub fn text(text: &[u8], out: &mut Vec<u8>) {
    varint::write(text.len() as u64, out);
    out.extend_from_slice(text);
}

fn nested(value: Value<'_>, depth: u32, out: &mut Vec<u8>) {
    let Some(depth) = depth.checked_sub(1) else {
        // As deep as anybody reads.
        out.push(8);
        return text(value.raw(), out);
    };
    match value.any() {
        Any::Empty => out.push(0),
        Any::Str(content) => {
            out.push(1);
            text(content, out);
        }
        Any::Bool(value) => out.extend_from_slice(&[2, u8::from(value)]),
        Any::Int(value) => {
            out.push(3);
            out.extend_from_slice(&value.to_le_bytes());
        }
        Any::Double(value) => {
            out.push(4);
            out.extend_from_slice(&value.to_bits().to_le_bytes());
        }
        Any::Bytes(content) => {
            out.push(5);
            text(content, out);
        }
        Any::List(values) => {
            out.push(6);
            varint::write(values.count() as u64, out);
            values.for_each(|value| nested(value, depth, out));
        }
        Any::Map(entries) => {
            out.push(7);
            let mut entries: Vec<_> = entries.collect();
            entries.sort_by_key(|(key, _)| *key);
            varint::write(entries.len() as u64, out);
            for (key, value) in entries {
                text(key, out);
                nested(value, depth, out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use opentelemetry_proto::tonic::common::v1::any_value::Value as V;
    use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList};
    use prost::Message as _;

    use super::*;
    use crate::test_kit::{self, Rng};

    fn of(value: &AnyValue) -> Vec<u8> {
        let (raw, mut out) = (value.encode_to_vec(), Vec::new());
        super::value(Value::new(&raw), &mut out);
        out
    }

    fn map(entries: Vec<KeyValue>) -> AnyValue {
        AnyValue {
            value: Some(V::KvlistValue(KeyValueList { values: entries })),
        }
    }

    /// The same value with the entries of each map in another order, keys once.
    fn shuffled(value: &AnyValue, rng: &mut Rng) -> AnyValue {
        let inner = match &value.value {
            Some(V::KvlistValue(list)) => {
                let mut once: Vec<KeyValue> = Vec::new();
                for entry in &list.values {
                    let value = entry.value.as_ref().map(|v| shuffled(v, rng));
                    if once.iter().all(|e| e.key != entry.key) {
                        once.insert(
                            rng.below(once.len() + 1),
                            KeyValue {
                                value,
                                ..entry.clone()
                            },
                        );
                    }
                }
                Some(V::KvlistValue(KeyValueList { values: once }))
            }
            Some(V::ArrayValue(list)) => Some(V::ArrayValue(ArrayValue {
                values: list.values.iter().map(|v| shuffled(v, rng)).collect(),
            })),
            other => other.clone(),
        };
        AnyValue { value: inner }
    }

    #[test]
    fn order_does_not_count_and_everything_else_does() {
        let mut rng = Rng(1);
        let mut seen: BTreeMap<Vec<u8>, String> = BTreeMap::new();
        for _ in 0..3000 {
            let value = shuffled(&test_kit::any(&mut rng, 3), &mut rng);
            assert_eq!(of(&value), of(&shuffled(&value, &mut rng)));
            let sorted = format!("{:?}", sort(&value));
            let told = seen.entry(of(&value)).or_insert_with(|| sorted.clone());
            assert_eq!(*told, sorted);
        }
        assert!(seen.len() > 500, "{}", seen.len());
    }

    fn sort(value: &AnyValue) -> AnyValue {
        match &value.value {
            Some(V::KvlistValue(list)) => {
                let mut entries: Vec<KeyValue> = list.values.clone();
                for entry in &mut entries {
                    // An absent value and one that holds nothing are the same to readers.
                    entry.value = Some(sort(&entry.value.clone().unwrap_or_default()));
                    entry.key_strindex = 0;
                }
                entries.sort_by(|a, b| a.key.cmp(&b.key));
                map(entries)
            }
            Some(V::ArrayValue(list)) => AnyValue {
                value: Some(V::ArrayValue(ArrayValue {
                    values: list.values.iter().map(sort).collect(),
                })),
            },
            other => AnyValue { value: other.clone() },
        }
    }

    #[test]
    fn types_count() {
        let values = [
            None,
            Some(V::StringValue("1".into())),
            Some(V::BytesValue(b"1".to_vec())),
            Some(V::IntValue(1)),
            Some(V::DoubleValue(1.0)),
            Some(V::BoolValue(true)),
            Some(V::ArrayValue(ArrayValue::default())),
            Some(V::KvlistValue(KeyValueList::default())),
        ];
        let mut told: Vec<_> = values.into_iter().map(|value| of(&AnyValue { value })).collect();
        let len = told.len();
        told.sort();
        told.dedup();
        assert_eq!(told.len(), len);
    }
}
