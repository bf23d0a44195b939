//! Values of any kind in a configuration: fields of log lines, attributes of the resource.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};
use telemetry::resource::Value;

/// A scalar or a list of scalars; `None` for null.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Any(pub Option<Value>);

impl<'de> Deserialize<'de> for Any {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Any, D::Error> {
        struct Taker;

        impl<'de> Visitor<'de> for Taker {
            type Value = Any;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text, a number, a boolean or a list of them")
            }

            fn visit_unit<E: Error>(self) -> Result<Any, E> {
                Ok(Any(None))
            }

            fn visit_none<E: Error>(self) -> Result<Any, E> {
                Ok(Any(None))
            }

            fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Any, D::Error> {
                deserializer.deserialize_any(Taker)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Any, E> {
                Ok(Any(Some(text.into())))
            }

            fn visit_bool<E: Error>(self, value: bool) -> Result<Any, E> {
                Ok(Any(Some(Value::Bool(value))))
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<Any, E> {
                Ok(Any(Some(Value::Int(value))))
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<Any, E> {
                let int = i64::try_from(value).map(Value::Int);
                Ok(Any(Some(int.unwrap_or(Value::Double(value as f64)))))
            }

            fn visit_f64<E: Error>(self, value: f64) -> Result<Any, E> {
                Ok(Any(Some(Value::Double(value))))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Any, A::Error> {
                let mut values = Vec::new();
                while let Some(Any(value)) = all.next_element()? {
                    values.extend(value);
                }
                Ok(Any(Some(Value::List(values))))
            }
        }

        // Null is a value here, not a default.
        deserializer.deserialize_option(Taker)
    }
}

impl Serialize for Any {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        fn write<S: Serializer>(value: &Value, serializer: S) -> Result<S::Ok, S::Error> {
            match value {
                Value::Text(text) => serializer.serialize_str(text),
                Value::Bool(value) => serializer.serialize_bool(*value),
                Value::Int(value) => serializer.serialize_i64(*value),
                Value::Double(value) => serializer.serialize_f64(*value),
                Value::List(values) => serializer.collect_seq(values.iter().map(|v| Any(Some(v.clone())))),
            }
        }
        match &self.0 {
            None => serializer.serialize_none(),
            Some(value) => write(value, serializer),
        }
    }
}

impl JsonSchema for Any {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Any".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": ["null", "string", "boolean", "number", "array"]})
    }
}
