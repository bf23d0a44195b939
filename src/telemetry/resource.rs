//! What the gateway says about itself: the attributes of its own telemetry.
//!
//! On the Prometheus page they are labels of `target_info`, in log lines the object `resource`, in OTLP the resource.

use std::fmt;

/// Attributes, ordered by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resource {
    /// Names and values.
    pub attributes: Vec<(String, Value)>,
    /// Version of the names, as a URL; empty = none stated.
    pub schema_url: String,
}

/// A value as OTLP knows it.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Text.
    Text(String),
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any number.
    Double(f64),
    /// Several values.
    List(Vec<Value>),
}

impl Resource {
    /// Names and values as text.
    pub fn texts(&self) -> impl Iterator<Item = (&str, String)> {
        self.attributes
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_string()))
    }
}

impl fmt::Display for Value {
    /// As a label shows it; lists as JSON does.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Text(text) => f.write_str(text),
            Value::Bool(value) => write!(f, "{value}"),
            Value::Int(value) => write!(f, "{value}"),
            Value::Double(value) => write!(f, "{value}"),
            Value::List(values) => {
                f.write_str("[")?;
                for (i, value) in values.iter().enumerate() {
                    let comma = if i > 0 { "," } else { "" };
                    match value {
                        Value::Text(text) => write!(f, "{comma}{text:?}")?,
                        other => write!(f, "{comma}{other}")?,
                    }
                }
                f.write_str("]")
            }
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_as_labels() {
        #[track_caller]
        fn check(value: Value, expected: &str) {
            assert_eq!(value.to_string(), expected);
        }
        check("a \"b\"".into(), "a \"b\"");
        check(Value::Bool(true), "true");
        check(Value::Int(-7), "-7");
        check(Value::Double(0.5), "0.5");
        check(Value::List(vec!["a\"".into(), Value::Int(1)]), r#"["a\"",1]"#);
        check(Value::List(vec![]), "[]");
    }
}
