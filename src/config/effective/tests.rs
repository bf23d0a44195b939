//! Values, texts, and the way back.

use proptest::prelude::*;
use serde::Deserialize;

use super::*;
use crate::value::Source;
use crate::{ComponentId, Duration, MapList, Optional, Secret, Section};

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
struct Inner {
    size: u32,
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    id: Option<ComponentId>,
    wait: Duration,
    password: Secret<String>,
    headers: MapList<Secret<String>>,
    on: Optional<Inner>,
    off: Optional<Inner>,
    #[serde(deserialize_with = "Optional::none_by_default")]
    none: Optional<Inner>,
    part: Optional<Section>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            id: None,
            wait: Duration(std::time::Duration::from_secs(5)),
            password: Secret::default(),
            headers: MapList::default(),
            on: Optional::Some(Inner { size: 1 }),
            off: Optional::Default(Inner { size: 2 }),
            none: Optional::None,
            part: Optional::Default(Section::default()),
        }
    }
}

/// Reads `text` as [`Config`], and its part as [`Inner`].
fn read(text: &str) -> Section {
    let section = Section::from_yaml(text).unwrap();
    let config: Config = section.clone().parse().unwrap();
    if let Optional::Some(part) = &config.part {
        let mut part = part.clone();
        part.default_to("size", "9").unwrap();
        part.parse::<Inner>().unwrap();
    }
    section
}

#[test]
fn shows_what_was_read_with_defaults_and_without_secrets() {
    let check = |text: &str, expected: &str| {
        let shown = read(text).effective().to_yaml();
        assert_eq!(shown, expected, "{text}");
        assert_eq!(read(&shown).effective().to_yaml(), expected, "{text}");
    };
    check(
        "{}",
        "headers: []\nid: null\nnone: null\noff:\n    enabled: false\non:\n    size: 1\npart:\n    enabled: false\n\
         password: \"[REDACTED]\"\nwait: 5s\n",
    );
    check(
        "{id: otlp/2, wait: 90s, password: hunter2, headers: {b: x, a: y}, on: {enabled: false}, off: {size: 3}, \
         none: {}, part: }",
        "headers:\n    - name: a\n      value: \"[REDACTED]\"\n    - name: b\n      value: \"[REDACTED]\"\nid: otlp/2\n\
         none:\n    size: 0\noff:\n    size: 3\non:\n    enabled: false\npart:\n    size: 9\npassword: \"[REDACTED]\"\n\
         wait: 1m30s\n",
    );
    let section = read("{password: hunter2, wait: 2s}");
    let open = with_secrets(|| section.effective().to_yaml());
    assert!(open.contains("\npassword: hunter2\n"), "{open}");
    assert!(!section.effective().to_yaml().contains("hunter2"));
    let json = section.effective().to_json();
    assert!(json.contains("\n  \"wait\": 2000000000"), "{json}");
    assert!(json.contains("\n  \"password\": \"[REDACTED]\",\n"), "{json}");
}

#[test]
fn blocks_of_one_section_stand_side_by_side() {
    let mut section = Section::from_yaml("{size: 4, id: x}").unwrap();
    let whole = section.clone();
    assert_eq!(whole.effective(), Effective::Null);
    section.take::<Inner>().unwrap();
    section.parse::<Config>().unwrap();
    let Effective::Map(entries) = whole.effective() else {
        panic!()
    };
    assert_eq!(entries["size"], Effective::Int(4));
    assert_eq!(entries["id"], Effective::Text("x".into()));
    assert_eq!(entries.len(), 9);
}

#[test]
fn texts_are_quoted_where_they_would_mean_something_else() {
    let check = |text: &str, expected: &str| {
        let shown = Effective::Text(text.into()).to_yaml();
        assert_eq!(shown, format!("{expected}\n"), "{text}");
    };
    check("plain", "plain");
    check("localhost:4317", "localhost:4317");
    check("", "\"\"");
    check("5", "\"5\"");
    check("true", "\"true\"");
    check("null", "\"null\"");
    check("1m", "1m");
    check("a: b", "\"a: b\"");
    check("a #b", "\"a #b\"");
    check("- a", "\"- a\"");
    check("a\nb\t\"", "\"a\\nb\\t\\\"\"");
    check("p$w", "p$w");
    check("p$$w", "p$$$$w");
    check("${env:X}", "$${env:X}");
}

fn value() -> impl Strategy<Value = Effective> {
    let text = "[ -~\u{e4}\n\t]{0,12}|\\PC{0,6}|true|0x1|~|<<|-|[0-9]{1,3}s?|\\$\\{A\\}|\\$\\$";
    let leaf = prop_oneof![
        Just(Effective::Null),
        any::<bool>().prop_map(Effective::Bool),
        any::<i64>().prop_map(|i| Effective::Int(i.into())),
        any::<u64>().prop_map(|i| Effective::Int(i.into())),
        (-1e12..1e12).prop_map(Effective::Float),
        text.prop_map(Effective::Text),
    ];
    leaf.prop_recursive(4, 40, 5, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Effective::List),
            proptest::collection::btree_map(text, inner, 0..5).prop_map(Effective::Map),
        ]
    })
}

/// A tree of any kind.
#[derive(Clone, PartialEq, Debug)]
struct Any(Effective);

impl<'de> Deserialize<'de> for Any {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Any;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("anything")
            }
            fn visit_unit<E>(self) -> Result<Any, E> {
                Ok(Any(Effective::Null))
            }
            fn visit_bool<E>(self, bool: bool) -> Result<Any, E> {
                Ok(Any(Effective::Bool(bool)))
            }
            fn visit_i64<E>(self, int: i64) -> Result<Any, E> {
                Ok(Any(Effective::Int(int.into())))
            }
            fn visit_u64<E>(self, int: u64) -> Result<Any, E> {
                Ok(Any(Effective::Int(int.into())))
            }
            fn visit_f64<E>(self, float: f64) -> Result<Any, E> {
                Ok(Any(Effective::Float(float)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Any, E> {
                Ok(Any(Effective::Text(text.into())))
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Any, A::Error> {
                let mut items = Vec::new();
                while let Some(Any(item)) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Any(Effective::List(items)))
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Any, A::Error> {
                let mut entries = BTreeMap::new();
                while let Some((key, Any(value))) = map.next_entry()? {
                    entries.insert(key, value);
                }
                Ok(Any(Effective::Map(entries)))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl Serialize for Any {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

/// A section as a document would have it.
fn expanded(text: &str) -> Section {
    let source = Source {
        name: "printed".into(),
        text: Some(text.into()),
    };
    let node = crate::yaml::parse(Arc::new(source), text, &mut Vec::new()).unwrap();
    let nothing = |_: &str, _: &str| -> Result<Option<String>, String> { Ok(None) };
    let mut faults = Vec::new();
    let node = crate::expand::expand(node, &nothing, false, &mut faults, &mut Vec::new());
    assert_eq!(faults, []);
    Section::new(Arc::new(node), "".into(), None)
}

proptest! {
    #[test]
    fn yaml_reads_back_as_the_same_value(value in value()) {
        let text = Effective::Map([("value".to_owned(), value.clone())].into()).to_yaml();
        let read = expanded(&text).take_raw("value").unwrap().parse::<Any>();
        prop_assert_eq!(read.map(|any| any.0).map_err(|e| e.to_string()), Ok(value), "{}", text);
    }
}
