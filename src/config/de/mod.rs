//! From the tree to types: a serde `Deserializer` that finds all faults and gives each its place.
//!
//! serde stops at the first fault. So a run that fails notes which entry was at fault, and the type is read
//! again without that entry, until a run gets through; each run costs one more fault, and their number is
//! bounded. Keys that a struct does not know are noted and passed over, whether or not it denies them. A null
//! in a struct means the field's default, which only the struct knows: the entry is left out and the type is
//! read again likewise.
//!
//! The rules of typing are the collector's (mapstructure's): strict, except that an expanded value is text
//! for a field of text, that floats are truncated for integers, and that a text is split at commas for a
//! list.

mod access;
mod error;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{Deserializer, Visitor};

use self::access::{Entries, Items, Variant};
pub(crate) use self::error::suggest;
use self::error::{Error, Kind};
use crate::section::Section;
use crate::types::marker;
use crate::value::{Entry, Mark, Node, Value};
use crate::{Diag, Diags, Stage};

/// Faults after which the reading of one type ends.
const FAULTS_MAX: usize = 100;
/// Nulls in one type that are replaced by defaults, each by another run.
const RUNS_MAX: usize = 1000;

/// Reads a `T` from `node`, which stands at `path` under `key`, leaving out the entries in `passed_over`.
pub(crate) fn read<T: for<'de> Deserialize<'de>>(
    node: &Node,
    path: &str,
    key: Option<&Mark>,
    passed_over: impl IntoIterator<Item = Ident>,
) -> Result<T, Diags> {
    let cx = Cx {
        path,
        left_out: RefCell::new(
            passed_over
                .into_iter()
                .map(|ident| (ident, Why::Elsewhere))
                .collect(),
        ),
        unknown: RefCell::default(),
    };
    let (mut faults, mut runs) = (Vec::new(), 0);
    let read = loop {
        runs += 1;
        let error = match T::deserialize(De {
            key,
            ..De::root(node, &cx)
        }) {
            Ok(read) => break Some(read),
            Err(error) => error,
        };
        let (why, diag) = match error.kind {
            Kind::Retry => (None, None),
            Kind::Null => (Some(Why::Null), None),
            Kind::Consequence => (Some(Why::Fault), None),
            Kind::Fault | Kind::Missing(_) => (Some(Why::Fault), error.diag.map(|diag| *diag)),
        };
        faults.extend(diag);
        if let Some(why) = why {
            let Some(entry) = error.entry else { break None };
            if cx.left_out.borrow_mut().insert(entry, why).is_some() {
                break None;
            }
        }
        if runs >= RUNS_MAX {
            let message = format!("more than {RUNS_MAX} faults and nulls");
            faults.push(Diag::new(node.mark.place(), path, message).at(Stage::Decode));
        }
        if faults.len() >= FAULTS_MAX || runs >= RUNS_MAX {
            break None;
        }
    };
    faults.extend(cx.unknown.into_inner().into_values());
    // In the order of the source; those without a place come first.
    faults.sort_by_key(|diag| diag.place.as_ref().map(|place| (place.line, place.column)));
    match read {
        Some(read) if faults.is_empty() => Ok(read),
        None if faults.is_empty() => {
            let fault = Diag::new(node.mark.place(), path, "cannot be read");
            Err(fault.at(Stage::Decode).into())
        }
        _ => Err(Diags(faults)),
    }
}

/// Which entry of a map or item of a list: its address, good while the tree is borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ident(usize);

impl Ident {
    pub(crate) fn entry(entry: &Entry) -> Self {
        Self(std::ptr::from_ref(entry).addr())
    }

    fn item(node: &Node) -> Self {
        Self(std::ptr::from_ref(node).addr())
    }
}

struct Cx<'a> {
    path: &'a str,
    left_out: RefCell<HashMap<Ident, Why>>,
    unknown: RefCell<HashMap<Ident, Diag>>,
}

/// Why an entry is left out of this run, or how it differs from others.
#[derive(Clone, Copy, PartialEq)]
enum Why {
    /// It is another block's.
    Elsewhere,
    /// It was at fault, which has been noted.
    Fault,
    /// It is null: the field's default counts.
    Null,
    /// It is null and its field has no default: it is not left out, the zero of its type counts.
    Zero,
}

impl Cx<'_> {
    fn why(&self, ident: Ident) -> Option<Why> {
        self.left_out.borrow().get(&ident).copied()
    }

    fn is_left_out(&self, ident: Ident) -> bool {
        self.why(ident).is_some_and(|why| why != Why::Zero)
    }
}

// --- De ---

/// Where in the tree, linked upwards.
#[derive(Clone, Copy)]
struct At<'a> {
    parent: Option<&'a At<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Root,
    Key(&'a str),
    Index(usize),
}

impl At<'_> {
    fn path(&self, cx: &Cx<'_>) -> String {
        let mut path = self
            .parent
            .map_or_else(|| cx.path.to_owned(), |parent| parent.path(cx));
        match self.step {
            Step::Root => {}
            Step::Key(key) => {
                if !path.is_empty() {
                    path.push_str("::");
                }
                path.push_str(key);
            }
            Step::Index(index) => path.push_str(&format!("[{index}]")),
        }
        path
    }
}

struct De<'a> {
    node: &'a Node,
    at: At<'a>,
    cx: &'a Cx<'a>,
    /// The key of the value: the place to show where the value must not be.
    key: Option<&'a Mark>,
    /// Null stands for the default of a field of a struct; elsewhere for the zero of its type.
    null_is_default: bool,
    /// The value is a secret.
    hidden: bool,
    /// A piece of a text that was split at commas.
    piece: bool,
    /// `enabled` belongs to the [`crate::Optional`] around this map.
    without_enabled: bool,
}

impl<'a> De<'a> {
    fn root(node: &'a Node, cx: &'a Cx<'a>) -> Self {
        Self {
            node,
            at: At {
                parent: None,
                step: Step::Root,
            },
            cx,
            key: None,
            null_is_default: false,
            hidden: false,
            piece: false,
            without_enabled: false,
        }
    }

    fn go_type(&self) -> &'static str {
        self.node.go_type()
    }

    /// The value as text, if a field of text may take it.
    fn text(&self) -> Option<&'a str> {
        match (&self.node.text, &self.node.value) {
            (Some(text), _) => Some(text),
            (None, Value::String(text)) => Some(text),
            _ => None,
        }
    }

    /// A null that is answered by the field's default.
    fn check_null(&self) -> Result<(), Error> {
        match self.null_is_default && self.node.is_literal_null() {
            true => Err(Error::of_kind(Kind::Null)),
            false => Ok(()),
        }
    }

    fn mismatch(&self, wanted: &str) -> Error {
        let error = Error::new(format!(
            "expected type '{wanted}', got unconvertible type '{}'",
            self.go_type()
        ));
        error.help(match wanted {
            "string" => "write a text",
            "bool" => "write true or false, without quotes",
            "map[string]interface {}" => "write a map of keys, or nothing",
            "<nil>" => "write nothing",
            "float64" => "write a number, without quotes",
            _ => "write a whole number, without quotes",
        })
    }

    fn locate<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        result.map_err(|mut error| {
            if error.located {
                return error;
            }
            error.located = true;
            if let Some(diag) = &mut error.diag {
                let at_key = self.hidden || matches!(error.kind, Kind::Missing(_));
                let mark = if at_key {
                    self.key.unwrap_or(&self.node.mark)
                } else {
                    &self.node.mark
                };
                diag.place = mark.place();
                diag.path = self.at.path(self.cx);
                // What a type says in serde's words comes without help.
                if diag.help.is_none() && diag.message.starts_with("time: ") {
                    diag.help = Some("write a duration with its unit, e.g. 300ms, 5s or 1h30m".into());
                }
                let secret = if self.hidden {
                    self.text()
                } else {
                    self.node.text.as_deref()
                };
                if let Some(secret) = secret {
                    conceal(diag, secret);
                }
            }
            error
        })
    }

    fn number(&self, wanted: &str, min: i128, max: i128) -> Result<i128, Error> {
        self.check_null()?;
        let number = match self.node.value {
            Value::Null => 0,
            Value::Int(int) => int,
            // Truncated, as the collector does; out of range below if it is not finite.
            Value::Float(float) => float as i128,
            _ => return Err(self.mismatch(wanted)),
        };
        if (min..=max).contains(&number) {
            return Ok(number);
        }
        let family = if min < 0 { "int" } else { "uint" };
        let shown = if self.hidden || self.node.text.is_some() {
            "value".into()
        } else {
            number.to_string()
        };
        let error = Error::new(format!(
            "cannot parse value as '{wanted}': {shown} overflows {family}"
        ));
        Err(error.help(format!("write a number from {min} to {max}")))
    }

    fn visit_text<'de, V: Visitor<'de>>(&self, visitor: V) -> Result<V::Value, Error> {
        if let Some(text) = self.text() {
            return visitor.visit_str(text);
        }
        self.check_null()?;
        match self.node.value {
            Value::Null => visitor.visit_str(""),
            _ => {
                let error = self.mismatch("string");
                Err(if matches!(self.node.value, Value::List(_) | Value::Map(_)) {
                    error
                } else {
                    // `help` of the mismatch is less to the point.
                    error.help("put it in quotes")
                })
            }
        }
    }

    /// A map for a struct's `fields`, or for all keys.
    fn visit_entries<'de, V: Visitor<'de>>(
        &self,
        fields: Option<&'static [&'static str]>,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.check_null()?;
        let entries = match &self.node.value {
            Value::Map(entries) => entries.as_slice(),
            Value::Null => &[],
            _ => return Err(self.mismatch("map[string]interface {}")),
        };
        let result = visitor.visit_map(Entries {
            entries,
            next: 0,
            de: self,
            fields,
        });
        result.map_err(|error| match error.kind {
            Kind::Missing(field) if !error.located => self.missing(field, error),
            _ => error,
        })
    }

    /// A field without default is missing: because its entry was left out, or truly.
    fn missing(&self, field: &str, error: Error) -> Error {
        let Some(entry) = self.node.entry(field) else {
            return error;
        };
        let ident = Ident::entry(entry);
        match self.cx.why(ident) {
            Some(Why::Null) => {
                self.cx.left_out.borrow_mut().insert(ident, Why::Zero);
                Error {
                    located: true,
                    ..Error::of_kind(Kind::Retry)
                }
            }
            Some(Why::Fault) => Error {
                located: true,
                ..Error::of_kind(Kind::Consequence)
            },
            _ => error,
        }
    }

    fn visit_list<'de, V: Visitor<'de>>(&self, visitor: V) -> Result<V::Value, Error> {
        self.check_null()?;
        let pieces: Vec<Node>;
        let (items, piece) = match &self.node.value {
            Value::List(items) => (items.as_slice(), false),
            Value::Null => (&[][..], false),
            Value::String(text) => {
                let one = |text: &str| Node {
                    value: text.into(),
                    text: self.node.text.as_ref().map(|_| text.into()),
                    mark: self.node.mark.clone(),
                };
                pieces = text.split(',').filter(|_| !text.is_empty()).map(one).collect();
                (pieces.as_slice(), true)
            }
            _ => {
                let error = Error::new(format!(
                    "source data must be an array or slice, got {}",
                    self.go_type()
                ));
                return Err(error.help("write a list"));
            }
        };
        visitor.visit_seq(Items {
            items,
            next: 0,
            piece,
            de: self,
        })
    }

    fn visit_value<'de, V: Visitor<'de>>(&self, visitor: V) -> Result<V::Value, Error> {
        self.check_null()?;
        match &self.node.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(bool) => visitor.visit_bool(*bool),
            Value::Int(int) => match (u64::try_from(*int), i64::try_from(*int)) {
                (Ok(int), _) => visitor.visit_u64(int),
                (_, Ok(int)) => visitor.visit_i64(int),
                _ => visitor.visit_i128(*int),
            },
            Value::Float(float) => visitor.visit_f64(*float),
            Value::String(text) => visitor.visit_str(text),
            Value::List(_) => self.visit_list(visitor),
            Value::Map(_) => self.visit_entries(None, visitor),
        }
    }

    /// The three states of a switchable block; see [`crate::Optional`].
    fn visit_switch<'de, V: Visitor<'de>>(
        mut self,
        none_by_default: bool,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.null_is_default = false;
        if matches!(self.node.value, Value::Null) {
            return if none_by_default {
                visitor.visit_unit()
            } else {
                visitor.visit_newtype_struct(self)
            };
        }
        let Some(entry) = self.node.entry("enabled") else {
            return visitor.visit_newtype_struct(self);
        };
        self.without_enabled = true;
        match &entry.value.value {
            Value::Bool(true) => visitor.visit_newtype_struct(self),
            Value::Bool(false) => visitor.visit_some(self),
            _ if self.cx.is_left_out(Ident::entry(entry)) => visitor.visit_newtype_struct(self),
            _ => {
                let kind = entry.value.go_type();
                let got = match (&entry.value.value, &entry.value.text) {
                    (_, Some(_)) => "[REDACTED]".to_owned(),
                    (Value::Int(int), _) => int.to_string(),
                    (Value::Float(float), _) => float.to_string(),
                    (Value::String(text), _) => text.chars().take(80).collect(),
                    _ => kind.to_owned(),
                };
                let message = format!(
                    "unexpected type {kind} for 'enabled': got '{got}' value expected 'true' or 'false'"
                );
                let at = At {
                    parent: Some(&self.at),
                    step: Step::Key("enabled"),
                };
                let error = De {
                    node: &entry.value,
                    at,
                    ..De::root(&entry.value, self.cx)
                }
                .locate(Err(
                    Error::new(message).help("write true or false, without quotes")
                ));
                error.map_err(|error: Error| error.within(Ident::entry(entry)))
            }
        }
    }

    fn section(&self) -> Section {
        let mut node = self.node.clone();
        if let Value::Map(entries) = &mut node.value
            && self.without_enabled
        {
            entries.retain(|entry| &*entry.key != "enabled");
        }
        Section::new(Arc::new(node), self.at.path(self.cx).into(), self.key.cloned())
    }
}

/// Takes an expanded or secret text out of a message.
fn conceal(diag: &mut Diag, secret: &str) {
    let quoted = format!("\"{secret}\"");
    diag.message = diag.message.replace(&quoted, "[REDACTED]");
    // A short text without quotes may be part of any word.
    if secret.len() >= 4 {
        diag.message = diag.message.replace(secret, "[REDACTED]");
    }
    diag.help = diag
        .help
        .take()
        .filter(|help| !(secret.len() >= 4 && help.contains(secret)));
}

macro_rules! integers {
    ($($method:ident $visit:ident $type:ty, $name:literal;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            let number = self.number($name, i128::from(<$type>::MIN), i128::from(<$type>::MAX));
            let result = number.and_then(|n| visitor.$visit(<$type>::try_from(n).unwrap_or_default()));
            self.locate(result)
        }
    )*};
}

impl<'de> Deserializer<'de> for De<'_> {
    type Error = Error;

    integers! {
        deserialize_i8 visit_i8 i8, "int8";
        deserialize_i16 visit_i16 i16, "int16";
        deserialize_i32 visit_i32 i32, "int32";
        deserialize_i64 visit_i64 i64, "int64";
        deserialize_u8 visit_u8 u8, "uint8";
        deserialize_u16 visit_u16 u16, "uint16";
        deserialize_u32 visit_u32 u32, "uint32";
        deserialize_u64 visit_u64 u64, "uint64";
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let result = self.visit_value(visitor);
        self.locate(result)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let result = self.check_null().and_then(|()| match self.node.value {
            Value::Bool(bool) => visitor.visit_bool(bool),
            Value::Null => visitor.visit_bool(false),
            _ => Err(self.mismatch("bool")),
        });
        self.locate(result)
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let result = self.check_null().and_then(|()| match self.node.value {
            Value::Float(float) => visitor.visit_f64(float),
            Value::Int(int) => visitor.visit_f64(int as f64),
            Value::Null => visitor.visit_f64(0.0),
            _ => Err(self.mismatch("float64")),
        });
        self.locate(result)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let result = self.visit_text(visitor);
        self.locate(result)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.node.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let result = match self.node.value {
            Value::Null => visitor.visit_unit(),
            _ => Err(self.mismatch("<nil>")),
        };
        self.locate(result)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        mut self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        match name {
            marker::ID => {
                let result = match self.piece {
                    true => {
                        let error = Error::new("source data must be an array or slice, got string");
                        Err(error.help("write a list of ids, e.g. [otlp, otlp/2]"))
                    }
                    false => self.visit_text(visitor),
                };
                self.locate(result)
            }
            marker::SECRET => {
                self.hidden = true;
                visitor.visit_newtype_struct(self)
            }
            marker::OPTIONAL => self.visit_switch(false, visitor),
            marker::OPTIONAL_NONE => self.visit_switch(true, visitor),
            marker::SECTION => {
                Section::hand_over(self.section());
                visitor.visit_unit()
            }
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let result = self.visit_list(visitor);
        self.locate(result)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let result = self.visit_entries(None, visitor);
        self.locate(result)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let result = self.visit_entries(Some(fields), visitor);
        self.locate(result)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let result = self
            .check_null()
            .and_then(|()| match (self.text(), self.node.entries()) {
                (Some(text), _) => visitor.visit_enum(Variant {
                    name: text,
                    content: None,
                    de: &self,
                }),
                (None, [entry]) => visitor.visit_enum(Variant {
                    name: &entry.key,
                    content: Some(entry),
                    de: &self,
                }),
                _ => Err(self.mismatch("string")),
            });
        self.locate(result)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }
}

// --- Field names ---

/// The keys of a struct, from serde's own list; `None` if `T` is no plain struct.
pub(crate) fn field_names<T: for<'de> Deserialize<'de>>() -> Option<&'static [&'static str]> {
    let names = Cell::new(None);
    // It ends with an error whatever `T` is.
    let _ = T::deserialize(Probe(&names));
    names.get()
}

struct Probe<'a>(&'a Cell<Option<&'static [&'static str]>>);

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::new("a struct's list of keys is wanted"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Error> {
        self.0.set(Some(fields));
        Err(Error::new("a struct's list of keys is wanted"))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}
