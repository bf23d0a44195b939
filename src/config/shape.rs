//! The shape of configurations as JSON Schema (2020-12), for editors.
//!
//! A factory names the blocks of keys that its component reads, each as a [`Shape`]; [`document`] makes one schema of
//! all of them. Text and defaults come from the config structs themselves (schemars). A value of any type may also be
//! written as a reference (`${env:PORT}`) or left empty, which a last pass over the schema allows everywhere.

use std::borrow::Cow;
use std::marker::PhantomData;

use schemars::transform::{RecursiveTransform, Transform};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use crate::effective::with_secrets;
use crate::types::SIGNALS;
use crate::{ByteSize, ComponentId, Duration, Endpoint, MapList, Optional, PipelineId, Secret, Section};

/// A block of keys that a component reads.
#[derive(Clone, Copy)]
pub struct Shape(fn(&mut SchemaGenerator) -> Schema);

impl Shape {
    /// The keys of `T`.
    pub const fn of<T: JsonSchema>() -> Shape {
        Shape(T::json_schema)
    }

    /// Names of the keys, of blocks laid side by side.
    pub fn keys(blocks: &[Shape]) -> Vec<String> {
        let merged = merged(blocks, &mut SchemaGenerator::default());
        let properties = merged.get("properties").and_then(Value::as_object);
        properties.into_iter().flat_map(Map::keys).cloned().collect()
    }
}

/// The keys of two blocks that stand side by side, as a type for `#[schemars(with = ..)]`.
pub struct Beside<A, B>(PhantomData<(A, B)>);

impl<A: JsonSchema, B: JsonSchema> JsonSchema for Beside<A, B> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("{}_{}", A::schema_name(), B::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        merged(&[Shape::of::<A>(), Shape::of::<B>()], generator)
    }
}

/// One component type in the schema of a document.
pub struct ComponentShape {
    /// `receivers`, ...
    pub section: &'static str,
    /// All spellings of its type.
    pub kinds: Vec<&'static str>,
    /// What it reads.
    pub blocks: Vec<Shape>,
}

/// The schema of a whole configuration, as JSON text without a final newline.
///
/// `service` holds the shapes of the blocks below `service` (`telemetry`, `admin`, ...).
pub fn document(components: &[ComponentShape], service: &[(&str, Shape)]) -> String {
    // Defaults are the program's own, so that a secret's default is no secret.
    with_secrets(|| whole(components, service))
}

fn whole(components: &[ComponentShape], blocks: &[(&str, Shape)]) -> String {
    let mut generator = SchemaGenerator::default();
    let mut properties = Map::new();
    for section in ["receivers", "processors", "exporters", "connectors", "extensions"] {
        let mut kinds = Map::new();
        for component in components.iter().filter(|c| c.section == section) {
            let (first, others) = component.kinds.split_first().unwrap_or((&"", &[]));
            let schema = merged(&component.blocks, &mut generator);
            let name = format!("{section}.{first}");
            generator
                .definitions_mut()
                .insert(name.clone(), schema.to_value());
            for kind in std::iter::once(first).chain(others) {
                kinds.insert(
                    format!("^\\s*{kind}\\s*(/.+)?$"),
                    json!({"$ref": format!("#/$defs/{name}")}),
                );
            }
        }
        let map = json!({"type": "object", "patternProperties": kinds, "additionalProperties": false});
        properties.insert(section.to_owned(), map);
    }
    let ids = json!({"type": "array", "items": {"type": "string"}});
    let pipeline = json!({
        "type": "object",
        "properties": {"receivers": ids, "processors": ids, "exporters": ids},
        "additionalProperties": false,
    });
    let pipelines = Map::from_iter([(format!("^\\s*({})\\s*(/.+)?$", SIGNALS.join("|")), pipeline)]);
    let pipelines = json!({"type": "object", "patternProperties": pipelines, "additionalProperties": false});
    let mut keys = Map::from_iter([
        ("extensions".to_owned(), ids),
        ("pipelines".to_owned(), pipelines),
    ]);
    for (key, block) in blocks {
        keys.insert((*key).to_owned(), (block.0)(&mut generator).to_value());
    }
    let service = json!({"type": "object", "properties": keys, "additionalProperties": false});
    properties.insert("service".to_owned(), service);
    let mut root = json_schema!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Weir configuration",
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
        "$defs": generator.take_definitions(false),
    });
    RecursiveTransform(loosen_parts).transform(&mut root);
    if let Some(Value::Object(definitions)) = root.get_mut("$defs") {
        let reference =
            json!({"description": "Filled in when loading.", "type": "string", "pattern": "\\$\\{.*\\}"});
        definitions.insert(REFERENCE.to_owned(), reference);
    }
    serde_json::to_string_pretty(&root).unwrap_or_default()
}

/// Name of the schema of `${...}`.
const REFERENCE: &str = "reference";

/// The keys of several blocks as one object.
fn merged(blocks: &[Shape], generator: &mut SchemaGenerator) -> Schema {
    let mut all = json_schema!({"type": "object", "properties": {}, "additionalProperties": false});
    for Shape(block) in blocks {
        let block = block(generator);
        if let Some(text) = block.get("description") {
            all.insert("description".to_owned(), text.clone());
        }
        if block.get("additionalProperties") != Some(&Value::Bool(false)) {
            all.remove("additionalProperties");
        }
        let more = block.get("properties").and_then(Value::as_object);
        if let (Some(Value::Object(properties)), Some(more)) = (all.get_mut("properties"), more) {
            properties.extend(more.clone());
        }
    }
    all
}

/// Lets each value below this schema also be null or a reference.
fn loosen_parts(schema: &mut Schema) {
    for key in ["properties", "patternProperties"] {
        if let Some(Value::Object(parts)) = schema.get_mut(key) {
            parts.values_mut().for_each(loosen);
        }
    }
    for key in ["items", "additionalProperties"] {
        if let Some(part) = schema.get_mut(key).filter(|part| part.is_object()) {
            loosen(part);
        }
    }
}

fn loosen(part: &mut Value) {
    let Value::Object(strict) = part else { return };
    let takes_anything = !["type", "$ref", "enum", "anyOf", "oneOf", "allOf", "const"]
        .iter()
        .any(|key| strict.contains_key(*key));
    if takes_anything {
        return;
    }
    let mut loose = Map::new();
    for key in ["title", "description", "default"] {
        loose.extend(strict.remove_entry(key));
    }
    let strict = std::mem::take(strict);
    let any_of = json!([strict, {"$ref": format!("#/$defs/{REFERENCE}")}, {"type": "null"}]);
    loose.insert("anyOf".to_owned(), any_of);
    *part = Value::Object(loose);
}

// --- The types of this crate ---

macro_rules! shapes {
    ($($type:ty, $schema:tt;)*) => {$(
        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    )*};
}

shapes! {
    ComponentId, {"type": "string"};
    PipelineId, {"type": "string"};
    Duration, {"type": ["string", "integer"], "pattern": "^[-+]?(([0-9]+\\.?[0-9]*|\\.[0-9]+)(ns|us|\u{b5}s|\u{3bc}s|ms|s|m|h))+$|^[-+]?0$|\\$\\{.*\\}"};
    ByteSize, {"type": "integer", "minimum": 0};
    Endpoint, {"type": "string"};
    Section, {"type": "object"};
}

impl<T: JsonSchema> JsonSchema for Secret<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

impl<T: JsonSchema> JsonSchema for Optional<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Optional_{}", T::schema_name()).into()
    }

    /// That of `T` with the switch.
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = T::json_schema(generator);
        let switch = json!({"description": "False switches the block off.", "type": "boolean"});
        match schema.get_mut("properties") {
            Some(Value::Object(properties)) => {
                properties.entry("enabled").or_insert(switch);
            }
            _ => {
                schema.insert("properties".to_owned(), json!({"enabled": switch}));
            }
        }
        schema
    }
}

impl<T: JsonSchema> JsonSchema for MapList<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("MapList_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let value = generator.subschema_for::<T>();
        json_schema!({
            "anyOf": [
                {"type": "object", "additionalProperties": value},
                {"type": "array", "items": {
                    "type": "object",
                    "properties": {"name": {"type": "string"}, "value": value},
                    "required": ["name", "value"],
                    "additionalProperties": false,
                }},
            ]
        })
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;

    /// What it is for.
    #[derive(Clone, Deserialize, Serialize, JsonSchema)]
    #[serde(default, deny_unknown_fields)]
    struct Config {
        /// How long.
        wait: Duration,
        #[serde(deserialize_with = "Optional::none_by_default")]
        part: Optional<Part>,
        headers: MapList<Secret<String>>,
    }

    impl Default for Config {
        fn default() -> Self {
            Config {
                wait: Duration(std::time::Duration::from_secs(5)),
                part: Optional::None,
                headers: MapList::default(),
            }
        }
    }

    #[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
    #[serde(default, deny_unknown_fields)]
    struct Part {
        size: u32,
    }

    const BLOCKS: [Shape; 2] = [Shape::of::<Config>(), Shape::of::<Part>()];

    #[test]
    fn blocks_are_laid_side_by_side() {
        let mut keys = Shape::keys(&BLOCKS);
        keys.sort();
        assert_eq!(keys, ["headers", "part", "size", "wait"]);
    }

    #[test]
    fn a_document_holds_each_component_under_each_of_its_names() {
        let component = ComponentShape {
            section: "exporters",
            kinds: vec!["new", "old"],
            blocks: BLOCKS.to_vec(),
        };
        let text = document(&[component], &[("telemetry", Shape::of::<Part>())]);
        let schema: Value = serde_json::from_str(&text).unwrap();
        let exporters = &schema["properties"]["exporters"]["anyOf"][0]["patternProperties"];
        for kind in ["new", "old"] {
            let reference = &exporters[format!("^\\s*{kind}\\s*(/.+)?$")]["anyOf"][0]["$ref"];
            assert_eq!(reference, "#/$defs/exporters.new");
        }
        let config = &schema["$defs"]["exporters.new"];
        assert_eq!(config["additionalProperties"], false);
        let wait = &config["properties"]["wait"];
        assert_eq!(
            (&wait["description"], &wait["default"]),
            (&json!("How long."), &json!("5s"))
        );
        assert_eq!(wait["anyOf"][1]["$ref"], "#/$defs/reference");
        let part = &config["properties"]["part"]["anyOf"][0]["properties"];
        assert_eq!(part["size"]["anyOf"][0]["type"], "integer");
        assert_eq!(part["enabled"]["anyOf"][0]["type"], "boolean");
        assert_eq!(schema["$defs"]["reference"]["type"], "string");
        let telemetry = &schema["properties"]["service"]["anyOf"][0]["properties"]["telemetry"];
        assert!(telemetry["anyOf"][0]["properties"]["size"].is_object());
    }
}
