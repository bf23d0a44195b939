//! What a configuration comes to, with every default filled in: for `print-config`, and to tell whether a component
//! changed.
//!
//! A [`crate::Section`] notes each block of keys that is read from it; [`crate::Section::effective`] lays these blocks
//! side by side. The values are what the structs hold after reading, so nothing is told twice and nothing is
//! forgotten. A [`crate::Secret`] shows `[REDACTED]` unless [`with_secrets`] says otherwise. [`Effective::to_yaml`]
//! gives a text that loads as the same configuration; [`Effective::to_json`] one with durations as integers of
//! nanoseconds, as the collector has it.

mod ser;
mod yaml;

use std::any::TypeId;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use serde::ser::{SerializeMap, SerializeSeq, Serializer};

use crate::types::marker;

/// A value of a configuration. Keys of maps are in their order.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Effective {
    /// Nothing.
    #[default]
    Null,
    /// True or false.
    Bool(bool),
    /// In the range of i64 and u64 together.
    Int(i128),
    /// Any, also infinite.
    Float(f64),
    /// A text.
    Text(String),
    /// A duration: a text in YAML, nanoseconds in JSON.
    Duration(crate::Duration),
    /// Values in order.
    List(Vec<Effective>),
    /// Values by key.
    Map(BTreeMap<String, Effective>),
}

impl Effective {
    /// What serde makes of a value. What it cannot make anything of (a map whose keys are maps) is null.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Effective {
        value.serialize(ser::ToEffective).unwrap_or_default()
    }

    /// Lays `other` over this: maps join, everything else is replaced.
    pub fn extend(&mut self, other: Effective) {
        match (self, other) {
            (Effective::Map(entries), Effective::Map(more)) => {
                for (key, value) in more {
                    entries.entry(key).or_default().extend(value);
                }
            }
            (this, other) => *this = other,
        }
    }

    /// As YAML in blocks, with a final newline. Read again it is the same value.
    pub fn to_yaml(&self) -> String {
        yaml::write(self)
    }

    /// As JSON, indented by two, without a final newline. What JSON cannot say (infinities) is null.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(&Json(self)).unwrap_or_default()
    }
}

impl Serialize for Effective {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Effective::Null => serializer.serialize_unit(),
            Effective::Bool(bool) => serializer.serialize_bool(*bool),
            Effective::Int(int) => match u64::try_from(*int) {
                Ok(int) => serializer.serialize_u64(int),
                // The rest is in the range of i64.
                Err(_) => serializer.serialize_i64(i64::try_from(*int).unwrap_or(i64::MIN)),
            },
            Effective::Float(float) => serializer.serialize_f64(*float),
            Effective::Text(text) => serializer.serialize_str(text),
            Effective::Duration(duration) => duration.serialize(serializer),
            Effective::List(items) => serializer.collect_seq(items),
            Effective::Map(entries) => serializer.collect_map(entries),
        }
    }
}

/// With durations as integers.
struct Json<'a>(&'a Effective);

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Effective::Duration(duration) => {
                serializer.serialize_u64(u64::try_from(duration.0.as_nanos()).unwrap_or(u64::MAX))
            }
            Effective::List(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    list.serialize_element(&Json(item))?;
                }
                list.end()
            }
            Effective::Map(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    map.serialize_entry(key, &Json(value))?;
                }
                map.end()
            }
            plain => plain.serialize(serializer),
        }
    }
}

// --- Secrets ---

thread_local! {
    static SECRETS_SHOWN: Cell<bool> = const { Cell::new(false) };
}

/// Runs `with` while secrets of this thread are serialized as they are: for `print-config --mode unredacted`, and for
/// nothing that logs.
pub fn with_secrets<T>(with: impl FnOnce() -> T) -> T {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            SECRETS_SHOWN.set(self.0);
        }
    }
    let _restore = Restore(SECRETS_SHOWN.replace(true));
    with()
}

pub(crate) fn secrets_are_shown() -> bool {
    SECRETS_SHOWN.get()
}

/// What stands for a secret.
pub(crate) const REDACTED: &str = "[REDACTED]";

// --- What was read ---

/// The blocks that were read from a section. Clones of a section share it.
#[derive(Clone, Default)]
pub(crate) struct Noted(Arc<Mutex<Vec<Block>>>);

type Show = Box<dyn Fn() -> Effective + Send>;

struct Block {
    of: TypeId,
    show: Show,
}

impl Noted {
    /// Keeps what was read; of one type the last counts, as a section may be read once for each signal.
    pub(crate) fn note<T: Serialize + Clone + Send + 'static>(&self, block: &T) {
        let kept = block.clone();
        let block = Block {
            of: TypeId::of::<T>(),
            show: Box::new(move || Effective::of(&kept)),
        };
        let mut blocks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match blocks.iter_mut().find(|before| before.of == block.of) {
            Some(before) => *before = block,
            None => blocks.push(block),
        }
    }

    /// All blocks laid over one another; null if nothing was read.
    pub(crate) fn effective(&self) -> Effective {
        let blocks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = Effective::Null;
        for block in blocks.iter() {
            all.extend((block.show)());
        }
        all
    }
}

impl Serialize for crate::Section {
    /// What was read from it: a struct that holds a section is read before the section is.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(marker::SECTION, &self.effective())
    }
}

#[cfg(test)]
mod tests;
