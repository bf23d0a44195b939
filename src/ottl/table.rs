//! Maps that are changed: a node's attributes in the view, or a table of encoded values.

use wire::view::{NewValue, NodeId, Value, View, any_encode};

use crate::value::{Map, MapBuilder};

/// A map by key, in order: the scratch map of an item, and a nested map while an editor changes it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Table(pub(crate) Vec<(Vec<u8>, Vec<u8>)>);

/// What editors do to a map, with the order that Go's pdata keeps: what is new is appended, [`MapMut::remove`] moves the
/// last entry into the gap.
pub(crate) trait MapMut {
    fn len(&self) -> usize;
    fn key(&self, i: usize) -> &[u8];
    fn value(&self, i: usize) -> Value<'_>;
    fn find(&self, key: &[u8]) -> Option<usize>;
    fn set(&mut self, i: usize, value: NewValue<'_>);
    fn put(&mut self, key: &[u8], value: NewValue<'_>);
    fn remove(&mut self, i: usize);
    fn retain(&mut self, keep: &mut dyn FnMut(&[u8], Value<'_>) -> bool);
}

impl Table {
    pub(crate) fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, value)| &**value)
    }

    /// A copy of a map's entries.
    pub(crate) fn of(map: &Map<'_>) -> Table {
        let mut table = Table(Vec::with_capacity(map.len()));
        map.each(|key, value| table.0.push((key.to_vec(), value.raw().to_vec())));
        table
    }

    /// The `AnyValue` message.
    pub(crate) fn encoded(&self) -> Vec<u8> {
        let mut map = MapBuilder::default();
        for (key, value) in &self.0 {
            map.put_raw(key, value);
        }
        map.finish()
    }
}

fn encoded(value: NewValue<'_>) -> Vec<u8> {
    let mut raw = Vec::new();
    any_encode(value, &mut raw);
    raw
}

impl MapMut for Table {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn key(&self, i: usize) -> &[u8] {
        self.0.get(i).map_or(&[], |(key, _)| key)
    }

    fn value(&self, i: usize) -> Value<'_> {
        Value::new(self.0.get(i).map_or(&[], |(_, value)| value))
    }

    fn find(&self, key: &[u8]) -> Option<usize> {
        self.0.iter().position(|(k, _)| k == key)
    }

    fn set(&mut self, i: usize, value: NewValue<'_>) {
        if let Some((_, raw)) = self.0.get_mut(i) {
            raw.clear();
            any_encode(value, raw);
        }
    }

    fn put(&mut self, key: &[u8], value: NewValue<'_>) {
        match self.find(key) {
            Some(i) => self.set(i, value),
            None => self.0.push((key.to_vec(), encoded(value))),
        }
    }

    fn remove(&mut self, i: usize) {
        if i < self.0.len() {
            self.0.swap_remove(i);
        }
    }

    fn retain(&mut self, keep: &mut dyn FnMut(&[u8], Value<'_>) -> bool) {
        self.0.retain(|(key, value)| keep(key, Value::new(value)));
    }
}

/// The attributes of a node.
pub(crate) struct NodeMap<'m, 'v>(pub(crate) &'m mut View<'v>, pub(crate) NodeId);

impl MapMut for NodeMap<'_, '_> {
    fn len(&self) -> usize {
        self.0.attrs(self.1)
    }

    fn key(&self, i: usize) -> &[u8] {
        self.0.key(self.1, i)
    }

    fn value(&self, i: usize) -> Value<'_> {
        self.0.value(self.1, i)
    }

    fn find(&self, key: &[u8]) -> Option<usize> {
        self.0.find(self.1, key)
    }

    fn set(&mut self, i: usize, value: NewValue<'_>) {
        self.0.set(self.1, i, value);
    }

    fn put(&mut self, key: &[u8], value: NewValue<'_>) {
        self.0.put(self.1, key, value);
    }

    fn remove(&mut self, i: usize) {
        self.0.remove(self.1, i);
    }

    fn retain(&mut self, keep: &mut dyn FnMut(&[u8], Value<'_>) -> bool) {
        self.0.retain(self.1, keep);
    }
}
