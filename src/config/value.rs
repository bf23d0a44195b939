//! The tree between text and types: untyped values that remember where they stand.
//!
//! Shape: what YAML gives, with maps in the order written. A value that came out of `${...}` keeps the text
//! it was read from, because the type of the field decides which of the two counts. Debug shows places and
//! kinds, no contents: any text may be a secret.

use std::fmt;
use std::sync::Arc;

use crate::Place;

/// Deepest nesting of maps and lists, in a source and after expansion.
pub(crate) const DEPTH_MAX: usize = 64;
/// Values of one configuration, copies by alias and by expansion included.
pub(crate) const NODES_MAX: usize = 250_000;

/// A text that values come from.
pub(crate) struct Source {
    pub(crate) name: Arc<str>,
    /// `None` where no line may be shown.
    pub(crate) text: Option<Arc<str>>,
}

/// Where a key or a value stands.
#[derive(Clone, Default)]
pub(crate) struct Mark {
    /// `None` for values that no text holds (defaults of a test, an empty section).
    pub(crate) source: Option<Arc<Source>>,
    pub(crate) line: u32,
    pub(crate) column: u32,
    pub(crate) width: u32,
}

#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) value: Value,
    /// The text that an expanded value was read from; fields of text take this and not `value`.
    pub(crate) text: Option<Arc<str>>,
    pub(crate) mark: Mark,
}

#[derive(Clone)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    /// In the range of i64 and u64 together.
    Int(i128),
    Float(f64),
    String(Arc<str>),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) key: Arc<str>,
    pub(crate) mark: Mark,
    pub(crate) value: Node,
}

impl Mark {
    pub(crate) fn place(&self) -> Option<Place> {
        let source = self.source.as_ref()?;
        Some(Place {
            source: source.name.clone(),
            line: self.line,
            column: self.column,
            width: self.width,
            text: source.text.clone(),
        })
    }
}

impl Node {
    pub(crate) fn null(mark: Mark) -> Self {
        Self {
            value: Value::Null,
            text: None,
            mark,
        }
    }

    pub(crate) fn map(entries: Vec<Entry>, mark: Mark) -> Self {
        Self {
            value: Value::Map(entries),
            text: None,
            mark,
        }
    }

    /// A null that the user wrote. One that an unset variable left behind means the zero of its type instead.
    pub(crate) fn is_literal_null(&self) -> bool {
        matches!(self.value, Value::Null) && self.text.is_none()
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| &*entry.key == key)
    }

    /// Values in this tree, itself included.
    pub(crate) fn count(&self) -> usize {
        1 + match &self.value {
            Value::List(items) => items.iter().map(Node::count).sum(),
            Value::Map(entries) => entries.iter().map(|entry| entry.value.count()).sum(),
            _ => 0,
        }
    }

    /// Nested maps and lists, 0 for a scalar.
    pub(crate) fn depth(&self) -> usize {
        match &self.value {
            Value::List(items) => 1 + items.iter().map(Node::depth).max().unwrap_or(0),
            Value::Map(entries) => 1 + entries.iter().map(|entry| entry.value.depth()).max().unwrap_or(0),
            _ => 0,
        }
    }

    /// The collector's (Go's) name of the value's type, for messages that scripts look for.
    pub(crate) fn go_type(&self) -> &'static str {
        match &self.value {
            Value::Null => "<nil>",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Float(_) => "float64",
            Value::String(_) => "string",
            Value::List(_) => "[]interface {}",
            Value::Map(_) => "map[string]interface {}",
        }
    }
}

impl PartialEq for Node {
    /// By content: places and the order of a map's keys do not count.
    fn eq(&self, other: &Self) -> bool {
        let same = match (&self.value, &other.value) {
            (Value::Null, Value::Null) => true,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Int(a), Value::Int(b)) => a == b,
            (Value::Float(a), Value::Float(b)) => a.to_bits() == b.to_bits(),
            (Value::String(a), Value::String(b)) => a == b,
            (Value::List(a), Value::List(b)) => a == b,
            (Value::Map(a), Value::Map(b)) => {
                a.len() == b.len()
                    && a.iter()
                        .all(|entry| other.entry(&entry.key).is_some_and(|e| e.value == entry.value))
            }
            _ => false,
        };
        same && self.text == other.text
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Value::List(items) => f.debug_list().entries(items).finish(),
            Value::Map(entries) => f
                .debug_map()
                .entries(entries.iter().map(|e| (&e.key, &e.value)))
                .finish(),
            _ => f.write_str(self.go_type()),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::String(text.into())
    }
}
