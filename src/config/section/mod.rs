//! A component's part of the configuration, taken apart block by block.
//!
//! Shared blocks (queue, retry, client) lie flat beside a component's own keys. So each owner takes the keys
//! of its struct out of the section, and the component parses what is left, which refuses every key that
//! nobody took. A section keeps the whole tree for messages: a fault can be laid at a key before and after it
//! was taken. A key that two blocks share goes to the first taker.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use serde::de::{DeserializeOwned, Deserializer, Visitor};
use serde::{Deserialize, Serialize};

use crate::de::{Ident, field_names, read, suggest};
use crate::effective::{Effective, Noted};
use crate::types::marker;
use crate::value::{Entry, Mark, Node, Source, Value};
use crate::{ComponentId, Diag, Diags, Place, Stage, yaml};

/// One component's map, with places.
#[derive(Clone)]
pub struct Section {
    all: Arc<Node>,
    /// Keys that have been taken, which are few.
    taken: Vec<Arc<str>>,
    path: Arc<str>,
    /// The key that the section stands under.
    key: Option<Mark>,
    noted: Noted,
}

/// What can be read from a section: keys of a struct, or a map. `#[derive(Deserialize, Serialize, Clone)]` makes one;
/// what it holds is what `print-config` shows.
pub trait Keys: DeserializeOwned + Serialize + Clone + Send + 'static {}

impl<T: DeserializeOwned + Serialize + Clone + Send + 'static> Keys for T {}

/// Rules that types alone cannot hold.
pub trait Validate {
    /// Pushes (dotted path of the key, or empty; message) for each fault.
    fn validate(&self, faults: &mut Vec<(String, String)>);
}

impl Section {
    pub(crate) fn new(all: Arc<Node>, path: Arc<str>, key: Option<Mark>) -> Self {
        Self {
            all,
            taken: Vec::new(),
            path,
            key,
            noted: Noted::default(),
        }
    }

    /// A section from text, without expansion: for tests and built-in configurations.
    pub fn from_yaml(text: &str) -> Result<Self, Diags> {
        let source = Source {
            name: "yaml:".into(),
            text: Some(text.into()),
        };
        let node = yaml::parse(Arc::new(source), text, &mut Vec::new())?;
        Ok(Self::new(Arc::new(node), "".into(), None))
    }

    /// Takes the keys of `T` out of the map and parses them; what is absent takes `T`'s default.
    ///
    /// `T` is a struct with named fields. Errors: all faults within these keys.
    pub fn take<T: Keys>(&mut self) -> Result<T, Diags> {
        let Some(fields) = field_names::<T>() else {
            return Err(self.fault(
                "",
                format!("{} has no list of keys to take", std::any::type_name::<T>()),
            ));
        };
        let others = self
            .all
            .entries()
            .iter()
            .filter(|entry| !fields.contains(&&*entry.key) || self.is_taken(entry));
        let result = self.read(others);
        let present = |field: &&&str| self.all.entry(field).is_some();
        self.taken
            .extend(fields.iter().filter(present).map(|field| Arc::from(*field)));
        result
    }

    /// Parses what is left; a key that is unknown to `T` is a fault with the nearest name.
    ///
    /// Errors: all faults.
    pub fn parse<T: Keys>(self) -> Result<T, Diags> {
        let taken = self.all.entries().iter().filter(|entry| self.is_taken(entry));
        self.read(taken)
    }

    /// Reads all entries but some, and notes what came of it.
    fn read<'a, T: Keys>(&'a self, but: impl Iterator<Item = &'a Entry>) -> Result<T, Diags> {
        let block = read(&self.all, &self.path, self.key.as_ref(), but.map(Ident::entry))?;
        self.noted.note::<T>(&block);
        Ok(block)
    }

    /// What has been read from this section, and from sections within it, defaults filled in. Null before that.
    pub fn effective(&self) -> Effective {
        self.noted.effective()
    }

    /// [`Section::parse`], and then the rules of the type.
    pub fn parse_valid<T: Keys + Validate>(self) -> Result<T, Diags> {
        let parsed: T = self.clone().parse()?;
        self.check(&parsed)?;
        Ok(parsed)
    }

    /// Takes one key with all that is below it, null included.
    pub fn take_raw(&mut self, key: &str) -> Option<Section> {
        let entry = self.rest().find(|entry| &*entry.key == key)?;
        let path = self.path_to(&entry.key);
        let section = Section::new(
            Arc::new(entry.value.clone()),
            path.into(),
            Some(entry.mark.clone()),
        );
        self.taken.push(key.into());
        Some(section)
    }

    /// Gives a key that is absent a value, in YAML: for defaults that depend on where a block stands.
    ///
    /// Errors: the text is not YAML, or the section is neither map nor null.
    pub fn default_to(&mut self, key: &str, yaml_text: &str) -> Result<(), Diags> {
        if self.all.entry(key).is_some() {
            return Ok(());
        }
        let value = Section::from_yaml(yaml_text)?.all;
        let mark = self.all.mark.clone();
        let value = Node {
            mark: mark.clone(),
            ..(*value).clone()
        };
        let entry = Entry {
            key: key.into(),
            mark,
            value,
        };
        let all = Arc::make_mut(&mut self.all);
        match &mut all.value {
            Value::Map(entries) => entries.push(entry),
            Value::Null => *all = Node::map(vec![entry], all.mark.clone()),
            _ => return Err(self.fault("", "expected a map")),
        }
        Ok(())
    }

    /// As [`Section::default_to`], for a key of a block further down (`way`, from the top): blocks that are absent or
    /// null are made.
    ///
    /// Errors: the text is not YAML, or there is something else than a block on the way.
    pub fn default_in(&mut self, way: &[&str], key: &str, yaml_text: &str) -> Result<(), Diags> {
        let Some((first, rest)) = way.split_first() else {
            return self.default_to(key, yaml_text);
        };
        self.default_to(first, "{}")?;
        let wrong = self.fault(first, "expected a map");
        let all = Arc::make_mut(&mut self.all);
        let Value::Map(entries) = &mut all.value else {
            return Err(wrong);
        };
        let Some(entry) = entries.iter_mut().find(|entry| &*entry.key == *first) else {
            return Err(wrong);
        };
        let mut inner = Section::new(Arc::new(entry.value.clone()), self.path.clone(), None);
        inner.default_in(rest, key, yaml_text)?;
        entry.value = (*inner.all).clone();
        Ok(())
    }

    /// Whether a block further down (`way`, from the top) has the key.
    pub fn has(&self, way: &[&str], key: &str) -> bool {
        let mut node = &*self.all;
        for step in way {
            match node.entry(step) {
                Some(entry) => node = &entry.value,
                None => return false,
            }
        }
        node.entry(key).is_some()
    }

    /// Gives a key this value, in YAML, whatever it had: for a component that configures another one.
    ///
    /// Errors: as [`Section::default_to`].
    pub fn put(&mut self, key: &str, yaml_text: &str) -> Result<(), Diags> {
        if let Value::Map(entries) = &mut Arc::make_mut(&mut self.all).value {
            entries.retain(|entry| &*entry.key != key);
        }
        self.default_to(key, yaml_text)
    }

    /// Moves a key from a block further down (`way`, from the top) to the top, unless it stands there too: then the
    /// one below goes.
    pub fn lift(&mut self, way: &[&str], key: &str) {
        let mut node = &*self.all;
        for step in way {
            match node.entry(step) {
                Some(entry) => node = &entry.value,
                None => return,
            }
        }
        if node.entry(key).is_none() {
            return;
        }
        let all = Arc::make_mut(&mut self.all);
        let mut node = &mut *all;
        for step in way {
            let Value::Map(entries) = &mut node.value else {
                return;
            };
            match entries.iter_mut().find(|entry| &*entry.key == *step) {
                Some(entry) => node = &mut entry.value,
                None => return,
            }
        }
        let Value::Map(below) = &mut node.value else {
            return;
        };
        let Some(at) = below.iter().position(|entry| &*entry.key == key) else {
            return;
        };
        let lifted = below.remove(at);
        if let Value::Map(top) = &mut all.value
            && !top.iter().any(|entry| &*entry.key == key)
        {
            top.push(lifted);
        }
    }

    /// The rules of a type against this section's places.
    pub fn check(&self, rules: &impl Validate) -> Result<(), Diags> {
        let mut faults = Vec::new();
        rules.validate(&mut faults);
        Diags::check(
            faults
                .into_iter()
                .map(|(key, message)| self.diag(&key, message))
                .collect(),
        )
    }

    /// A fault at a key of this section (dotted path below it, or empty for the section itself). Works before
    /// and after the key was taken.
    pub fn fault(&self, key: &str, message: impl Into<String>) -> Diags {
        self.diag(key, message).into()
    }

    /// As [`Section::fault`], for warnings and for lists of faults.
    pub fn diag(&self, key: &str, message: impl Into<String>) -> Diag {
        let (mut node, mut place) = (&*self.all, self.place());
        let mut path = self.path.to_string();
        let mut left = key;
        while !left.is_empty() {
            // Keys may hold dots themselves: the whole of what is left comes first.
            let (step, next) = match node.entry(left) {
                Some(_) => (left, ""),
                None => left.split_once('.').unwrap_or((left, "")),
            };
            if !path.is_empty() {
                path.push_str("::");
            }
            path.push_str(step);
            left = next;
            let below = match (&node.value, step.parse::<usize>()) {
                (Value::List(items), Ok(index)) => items.get(index).map(|item| (item, &item.mark)),
                _ => node.entry(step).map(|entry| (&entry.value, &entry.mark)),
            };
            if let Some((below, mark)) = below {
                (node, place) = (below, mark.place());
            }
        }
        Diag::new(place, path, message)
    }

    /// The fault of a component whose type is not known.
    pub fn type_fault(&self, id: &ComponentId, valid: &[&str]) -> Diags {
        let message = format!(
            "unknown type: \"{}\" for id: \"{id}\" (valid values: [{}])",
            id.kind,
            valid.join(" ")
        );
        let near = suggest(&id.kind, valid, "valid values");
        let mut diag = self.diag("", message).at(Stage::Decode);
        diag.lead = Some(format!("'{}'", self.path.split("::").next().unwrap_or_default()));
        if near.starts_with("did you mean") {
            diag.help = Some(near);
        }
        diag.into()
    }

    /// Where the section's key stands, or its content where it has no key.
    pub fn place(&self) -> Option<Place> {
        self.key.as_ref().unwrap_or(&self.all.mark).place()
    }

    /// `exporters::otlp/next`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// No key is left.
    pub fn is_empty(&self) -> bool {
        self.rest().next().is_none() && matches!(self.all.value, Value::Null | Value::Map(_))
    }

    /// Null, or absent and made by `Default`.
    pub fn is_null(&self) -> bool {
        matches!(self.all.value, Value::Null)
    }

    /// The key is there and not taken.
    pub fn contains(&self, key: &str) -> bool {
        self.rest().any(|entry| &*entry.key == key)
    }

    /// The keys that are left, in the order written.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.rest().map(|entry| &*entry.key)
    }

    fn rest(&self) -> impl Iterator<Item = &Entry> {
        self.all.entries().iter().filter(|entry| !self.is_taken(entry))
    }

    fn is_taken(&self, entry: &Entry) -> bool {
        self.taken.contains(&entry.key)
    }

    fn path_to(&self, key: &str) -> String {
        match self.path.is_empty() {
            true => key.to_owned(),
            false => format!("{}::{key}", self.path),
        }
    }
}

impl Default for Section {
    /// An empty section that stands nowhere.
    fn default() -> Self {
        Self::new(Arc::new(Node::null(Mark::default())), "".into(), None)
    }
}

impl PartialEq for Section {
    /// By what is left, wherever it stands and in whatever order.
    fn eq(&self, other: &Self) -> bool {
        if self.taken.is_empty() && other.taken.is_empty() {
            return self.all == other.all;
        }
        let rest = |section: &Section| Node::map(section.rest().cloned().collect(), Mark::default());
        rest(self) == rest(other)
    }
}

impl fmt::Debug for Section {
    /// Keys and kinds of values, no values: they may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Section")
            .field("path", &self.path)
            .field("all", &self.all)
            .finish()
    }
}

// --- A section as a field of a struct ---

thread_local! {
    /// serde's data model has no place for a tree; the deserializer leaves it here for the visitor that it
    /// calls next.
    static HANDED_OVER: RefCell<Option<Section>> = const { RefCell::new(None) };
}

impl Section {
    pub(crate) fn hand_over(section: Section) {
        HANDED_OVER.with_borrow_mut(|slot| *slot = Some(section));
    }
}

impl<'de> Deserialize<'de> for Section {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Taker;

        impl Visitor<'_> for Taker {
            type Value = Section;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a part of a configuration")
            }

            fn visit_unit<E: serde::de::Error>(self) -> Result<Section, E> {
                HANDED_OVER
                    .take()
                    .ok_or_else(|| E::custom("a section can only be read from a section"))
            }
        }

        deserializer.deserialize_newtype_struct(marker::SECTION, Taker)
    }
}

#[cfg(test)]
mod tests;
