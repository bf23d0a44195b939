//! Groups of conditions and statements, as `filter` and `transform` have them: how they are written, compiled and run.
//!
//! A list is written in one of two styles. *Basic*: texts, which make one group whose context is inferred from all of
//! them. *Advanced*: groups, each with its own context, conditions and error mode. Both in one list are refused, as the
//! collector does; only in `transform` texts may follow groups, as there.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use component::prelude::*;
use ottl::{ErrorMode, Program};
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::ser::Serializer;

// --- Mode ---

/// `error_mode`: what becomes of an error while a condition or statement runs. Default `ignore`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode(pub ErrorMode);

impl Default for Mode {
    fn default() -> Self {
        Mode(ErrorMode::Ignore)
    }
}

impl Mode {
    /// What stands where none is written: by default `ignore`, `propagate` where a feature gate says so.
    pub(crate) fn unwritten(ignores: bool) -> Mode {
        match ignores {
            true => Mode(ErrorMode::Ignore),
            false => Mode(ErrorMode::Propagate),
        }
    }
}

const MODES: [(ErrorMode, &str); 3] = [
    (ErrorMode::Ignore, "ignore"),
    (ErrorMode::Silent, "silent"),
    (ErrorMode::Propagate, "propagate"),
];

impl<'de> Deserialize<'de> for Mode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Named)
    }
}

struct Named;

impl Visitor<'_> for Named {
    type Value = Mode;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ignore, silent or propagate")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Mode, E> {
        ErrorMode::named(text)
            .map(Mode)
            .ok_or_else(|| E::custom(format_args!("unknown error mode {text}")))
    }
}

impl Serialize for Mode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let name = MODES.iter().find(|(mode, _)| *mode == self.0);
        serializer.serialize_str(name.map_or("", |(_, name)| name))
    }
}

impl JsonSchema for Mode {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ErrorMode".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string"})
    }
}

// --- Groups ---

/// One group of a list in advanced style, which texts in basic style make too.
pub trait Group: DeserializeOwned + Serialize + JsonSchema {
    /// Whether texts may follow groups; they make the last group then.
    const BASIC_LAST: bool = false;

    /// The group that the texts of a list in basic style are.
    fn basic(texts: Vec<String>) -> Self;
}

/// A list in either style.
#[derive(Clone, Debug, PartialEq)]
pub struct Groups<G> {
    /// The groups, in order.
    pub groups: Vec<G>,
    /// Whether the last group was written as texts.
    pub is_basic: bool,
}

/// Where a group stands below its component.
pub(crate) struct Place {
    /// The group itself.
    pub(crate) group: String,
    /// The list of its texts, and the number of the first of them in it.
    pub(crate) texts: String,
    pub(crate) first: usize,
}

impl<G> Groups<G> {
    /// Where each group stands, if the list stands at `key` and a group has its texts at `below`.
    pub(crate) fn places(&self, key: &str, below: &str) -> impl Iterator<Item = Place> {
        let count = self.groups.len();
        (0..count).map(move |i| match self.is_basic && i + 1 == count {
            true => Place {
                group: key.to_owned(),
                texts: key.to_owned(),
                first: i,
            },
            false => Place {
                group: format!("{key}.{i}"),
                texts: format!("{key}.{i}.{below}"),
                first: 0,
            },
        })
    }
}

impl<G> Default for Groups<G> {
    fn default() -> Self {
        Groups {
            groups: Vec::new(),
            is_basic: false,
        }
    }
}

impl<'de, G: Group> Deserialize<'de> for Groups<G> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(List(PhantomData))
    }
}

impl<G: Serialize> Serialize for Groups<G> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(&self.groups)
    }
}

impl<G: Group> JsonSchema for Groups<G> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Groups_{}", G::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let group = generator.subschema_for::<G>();
        json_schema!({"type": "array", "items": {"anyOf": [{"type": "string"}, group]}})
    }
}

struct List<G>(PhantomData<G>);

impl<'de, G: Group> Visitor<'de> for List<G> {
    type Value = Groups<G>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of texts, or of groups")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Groups<G>, A::Error> {
        let (mut texts, mut groups) = (Vec::new(), Vec::new());
        while let Some(element) = seq.next_element()? {
            let is_group = matches!(element, Element::Group(_));
            match element {
                Element::Text(text) => texts.push(text),
                Element::Group(group) => groups.push(group),
            }
            if !texts.is_empty() && !groups.is_empty() && (is_group || !G::BASIC_LAST) {
                return Err(A::Error::custom(
                    "configuring multiple configuration styles is not supported, please use only Basic \
                     configuration or only Advanced configuration",
                ));
            }
        }
        let is_basic = !texts.is_empty();
        if is_basic {
            groups.push(G::basic(texts));
        }
        Ok(Groups { groups, is_basic })
    }
}

enum Element<G> {
    Text(String),
    Group(G),
}

impl<'de, G: Group> Deserialize<'de> for Element<G> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(One(PhantomData))
    }
}

struct One<G>(PhantomData<G>);

impl<'de, G: Group> Visitor<'de> for One<G> {
    type Value = Element<G>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or a group")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Element<G>, E> {
        Ok(Element::Text(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Element<G>, A::Error> {
        G::deserialize(MapAccessDeserializer::new(map)).map(Element::Group)
    }
}

// --- compiling ---

/// A group as it was written, and where.
pub(crate) struct Written<'a> {
    pub(crate) signal: Signal,
    pub(crate) functions: ottl::Functions,
    /// `context`; empty if it is to be inferred.
    pub(crate) context: &'a str,
    pub(crate) conditions: &'a [String],
    pub(crate) statements: &'a [String],
}

/// Key of the group, of its conditions and of its statements, below the component.
pub(crate) struct Keys<'a> {
    pub(crate) group: &'a str,
    pub(crate) conditions: &'a str,
    pub(crate) statements: &'a str,
    /// Number of the first of them in its list.
    pub(crate) first: usize,
}

/// The collector has these in the context of points, where they make the same metric once for each point. Here they are
/// of the metric, and make it once.
fn is_of_summary(statement: &&str) -> bool {
    let names = [
        "convert_summary_count_val_to_sum(",
        "convert_summary_sum_val_to_sum(",
    ];
    names.iter().any(|name| statement.trim_start().starts_with(name))
}

impl Written<'_> {
    /// Compiles it. Faults are pushed with their places, each with the statement and a caret under what is wrong.
    pub(crate) fn compile(
        &self,
        section: &Section,
        keys: &Keys<'_>,
        faults: &mut Vec<config::Diag>,
    ) -> Option<Program> {
        let context = match self.context.to_ascii_lowercase().as_str() {
            "" => None,
            name => match ottl::Context::named(name) {
                Some(context) => Some(context),
                None => {
                    let key = format!("{}.context", keys.group);
                    faults.push(section.diag(&key, format!("unknown context {name}")));
                    return None;
                }
            },
        };
        let conditions: Vec<&str> = self.conditions.iter().map(String::as_str).collect();
        let statements: Vec<&str> = self.statements.iter().map(String::as_str).collect();
        let context = match context {
            Some(ottl::Context::DataPoint)
                if conditions.is_empty()
                    && !statements.is_empty()
                    && statements.iter().all(is_of_summary) =>
            {
                Some(ottl::Context::Metric)
            }
            context => context,
        };
        let group = ottl::Group {
            signal: self.signal,
            functions: self.functions,
            context,
            conditions: &conditions,
            statements: &statements,
        };
        let wrong = |fault: ottl::Fault| {
            let place = |key: &str, texts: &[String]| {
                let at = texts.iter().position(|text| **text == *fault.statement)?;
                Some(format!("{key}.{}", keys.first + at))
            };
            let key = place(keys.statements, self.statements)
                .or_else(|| place(keys.conditions, self.conditions))
                .unwrap_or_else(|| keys.group.to_owned());
            section.diag(&key, fault.to_string())
        };
        Program::new(&group)
            .map_err(|list| faults.extend(list.0.into_iter().map(wrong)))
            .ok()
    }
}

// --- running ---

/// What the client hears of an error under `propagate`: as from the collector, that it may try again. It will fail again
/// until somebody changes the statement or the condition, and until then nothing is lost that the client keeps.
pub(crate) fn propagated(processor: &ComponentId, what: &str, error: &ottl::Error) -> Refusal {
    Refusal::unavailable(format!("{processor}: {what}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
    #[serde(default, deny_unknown_fields)]
    struct Made {
        context: String,
        error_mode: Option<Mode>,
        conditions: Vec<String>,
    }

    impl Group for Made {
        fn basic(conditions: Vec<String>) -> Made {
            Made {
                conditions,
                ..Made::default()
            }
        }
    }

    #[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
    #[serde(default, deny_unknown_fields)]
    struct Held {
        list: Groups<Made>,
        mode: Mode,
    }

    fn read(yaml: &str) -> Result<Held, String> {
        let section = Section::from_yaml(yaml).map_err(|e| e.to_string())?;
        section.parse().map_err(|e| e.to_string())
    }

    #[test]
    fn both_styles_are_read() {
        let group = |context: &str, mode: Option<ErrorMode>, conditions: &[&str]| Made {
            context: context.into(),
            error_mode: mode.map(Mode),
            conditions: conditions.iter().map(|c| (*c).to_owned()).collect(),
        };
        let check = |yaml: &str, is_basic: bool, groups: Vec<Made>| {
            let read = read(yaml).unwrap_or_else(|e| panic!("{yaml}: {e}"));
            assert_eq!(read.list, Groups { groups, is_basic }, "{yaml}");
        };
        check("{}", false, vec![]);
        check("list:", false, vec![]);
        check("list: []", false, vec![]);
        check("list: [a, b]", true, vec![group("", None, &["a", "b"])]);
        check("list: ['true']", true, vec![group("", None, &["true"])]);
        check(
            "list: [{conditions: [a]}, {context: log, error_mode: SILENT, conditions: [b, c]}]",
            false,
            vec![
                group("", None, &["a"]),
                group("log", Some(ErrorMode::Silent), &["b", "c"]),
            ],
        );
    }

    #[test]
    fn mixed_styles_and_strangers_are_refused() {
        let check = |yaml: &str, expected: &str| {
            let error = read(yaml).unwrap_err();
            assert!(error.contains(expected), "{yaml}: {error}");
        };
        check("list: [a, {conditions: [b]}]", "multiple configuration styles");
        check("list: [{conditions: [b]}, a]", "multiple configuration styles");
        check("list: [{statements: [b]}]", "statements");
        check("list: [null]", "list");
        check("list: [true]", "list");
        check("mode: explode", "unknown error mode explode");
        check("list: [{error_mode: ''}]", "unknown error mode");
    }
}
