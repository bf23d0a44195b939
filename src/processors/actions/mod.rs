//! Actions on attributes: what the `attributes` and `resource` processors do to a map.
//!
//! [`Config`] is one action as a user writes it, [`Actions`] a list of them compiled. Several act in order, each on what
//! the ones before it left. What an action needs that is not there (its source attribute, a client's metadata) makes it
//! do nothing.

mod run;

pub(crate) use run::double;
pub use run::{Pool, Scratch};

use codec::pattern::Pattern;
use component::prelude::*;

use crate::literal::Literal;

/// One action.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The attribute that is acted on.
    pub key: String,
    /// A value: any scalar, list or map.
    pub value: Option<Literal>,
    /// The attribute whose value is taken.
    pub from_attribute: String,
    /// What is known about the client: `metadata.<name>`, `auth.<name>` or `client.address`.
    pub from_context: String,
    /// Taken where `from_attribute` or `from_context` is not there.
    pub default_value: Option<Literal>,
    /// A regular expression: for `delete` and `hash` on keys, for `extract` on the value, whose named groups become
    /// attributes.
    pub pattern: String,
    /// For `convert`: `string`, `int` or `double`.
    pub converted_type: String,
    /// `insert`, `update`, `upsert`, `delete`, `hash`, `extract` or `convert`, in any case. Required.
    pub action: String,
}

/// Actions, compiled.
#[derive(Debug)]
pub struct Actions {
    list: Vec<Action>,
    /// What actions take from the client's context; resolved once for each chunk.
    context: Vec<ContextKey>,
}

#[derive(Debug)]
struct Action {
    /// Empty where only the pattern counts.
    key: Vec<u8>,
    does: Does,
}

#[derive(Debug)]
enum Does {
    Insert(Source),
    Update(Source),
    Upsert(Source),
    Delete(Option<Pattern>),
    Hash(Option<Pattern>),
    Extract(Pattern, Vec<Vec<u8>>),
    Convert(Type),
}

#[derive(Debug)]
struct Source {
    from: From,
    /// An encoded `AnyValue`, for where that is not there.
    default: Option<Vec<u8>>,
}

#[derive(Debug)]
enum From {
    /// An encoded `AnyValue`.
    Value(Vec<u8>),
    Attribute(Vec<u8>),
    /// Place in `Actions::context`.
    Context(usize),
}

#[derive(Clone, Copy, Debug)]
enum Type {
    String,
    Int,
    Double,
}

#[derive(Debug)]
enum ContextKey {
    Metadata(String),
    Auth(String),
    Peer,
}

impl Actions {
    /// Compiles a list. Faults: the place of the action in the list (from 0), and what is wrong with it.
    pub fn new(list: &[Config]) -> Result<Actions, Vec<(usize, String)>> {
        let mut actions = Actions {
            list: Vec::new(),
            context: Vec::new(),
        };
        let mut faults = Vec::new();
        for (i, config) in list.iter().enumerate() {
            match actions.compile(config) {
                Ok(action) => actions.list.push(action),
                Err(what) => faults.push((i, format!("{what} at the {i}-th actions"))),
            }
        }
        if faults.is_empty() {
            Ok(actions)
        } else {
            Err(faults)
        }
    }

    fn compile(&mut self, config: &Config) -> Result<Action, String> {
        let action = config.action.to_lowercase();
        let pattern = || match config.pattern.as_str() {
            "" => Ok(None),
            source => match Pattern::new(source) {
                Ok(pattern) => Ok(Some(pattern)),
                Err(error) => Err(format!("field \"pattern\" has an invalid pattern ({error})")),
            },
        };
        let unused = |fields: &[(&str, bool)]| match fields.iter().find(|(_, is_set)| *is_set) {
            Some((field, _)) => Err(format!(
                "field {field:?} must not be specified for action {action:?}"
            )),
            None => Ok(()),
        };
        let sources = [
            ("value", config.value.is_some()),
            ("from_attribute", !config.from_attribute.is_empty()),
            ("from_context", !config.from_context.is_empty()),
        ];
        let set_pattern = ("pattern", !config.pattern.is_empty());
        let set_type = ("converted_type", !config.converted_type.is_empty());
        let needs_key = || match config.key.is_empty() {
            true => Err("missing required field \"key\"".to_owned()),
            false => Ok(()),
        };
        let does = match action.as_str() {
            "insert" | "update" | "upsert" => {
                needs_key()?;
                unused(&[set_pattern, set_type])?;
                let from = self.source(config, &sources)?;
                match action.as_str() {
                    "insert" => Does::Insert(from),
                    "update" => Does::Update(from),
                    _ => Does::Upsert(from),
                }
            }
            "delete" | "hash" => {
                unused(&sources[..2])?;
                unused(&[set_type])?;
                if config.key.is_empty() && config.pattern.is_empty() {
                    return Err("missing required field \"key\" or \"pattern\"".into());
                }
                match action.as_str() {
                    "delete" => Does::Delete(pattern()?),
                    _ => Does::Hash(pattern()?),
                }
            }
            "extract" => {
                needs_key()?;
                unused(&sources)?;
                unused(&[set_type])?;
                let pattern = pattern()?.ok_or("missing required field \"pattern\"")?;
                let names: Option<Vec<Vec<u8>>> = pattern
                    .group_names()
                    .into_iter()
                    .map(|name| name.map(String::into_bytes))
                    .collect();
                match names {
                    Some(names) if !names.is_empty() => Does::Extract(pattern, names),
                    Some(_) => return Err("field \"pattern\" contains no named matcher groups".into()),
                    None => {
                        return Err("field \"pattern\" contains at least one unnamed matcher group".into());
                    }
                }
            }
            "convert" => {
                needs_key()?;
                unused(&sources)?;
                unused(&[set_pattern])?;
                Does::Convert(match config.converted_type.as_str() {
                    "string" => Type::String,
                    "int" => Type::Int,
                    "double" => Type::Double,
                    "" => return Err("missing required field \"converted_type\"".into()),
                    other => {
                        return Err(format!(
                            "invalid value {other:?} in field \"converted_type\"; it may be string, int or double"
                        ));
                    }
                })
            }
            "" => return Err("missing required field \"action\"".into()),
            _ => {
                return Err(format!(
                    "unsupported action {:?}; it may be insert, update, upsert, delete, hash, extract or convert",
                    config.action
                ));
            }
        };
        Ok(Action {
            key: config.key.clone().into_bytes(),
            does,
        })
    }

    fn source(&mut self, config: &Config, sources: &[(&str, bool)]) -> Result<Source, String> {
        let encoded = |value: &Literal| {
            let mut out = Vec::new();
            value.encode(&mut out);
            out
        };
        let default = config.default_value.as_ref().map(encoded);
        match (sources.iter().filter(|(_, is_set)| *is_set).count(), default) {
            (1, default) => Ok(Source {
                from: self.from(config),
                default,
            }),
            (0, Some(default)) => Ok(Source {
                from: From::Value(default),
                default: None,
            }),
            (0, None) => Err(
                "either field \"value\", \"from_attribute\", \"from_context\" or \"default_value\" must be specified"
                    .into(),
            ),
            _ => Err("only one of \"value\", \"from_attribute\" and \"from_context\" may be specified".into()),
        }
    }

    /// The one source that is set.
    fn from(&mut self, config: &Config) -> From {
        if let Some(value) = &config.value {
            let mut encoded = Vec::new();
            value.encode(&mut encoded);
            return From::Value(encoded);
        }
        if !config.from_attribute.is_empty() {
            return From::Attribute(config.from_attribute.clone().into_bytes());
        }
        let from = config.from_context.as_str();
        self.context.push(if from == "client.address" {
            ContextKey::Peer
        } else if let Some(name) = from.strip_prefix("auth.") {
            ContextKey::Auth(name.to_owned())
        } else {
            // A name without a prefix is metadata too, as in old configurations.
            ContextKey::Metadata(from.strip_prefix("metadata.").unwrap_or(from).to_owned())
        });
        From::Context(self.context.len() - 1)
    }
}

#[cfg(test)]
mod tests;
