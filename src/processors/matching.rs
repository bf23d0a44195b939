//! Which items a processor acts on: `include` and `exclude` with their properties.
//!
//! In each list of names any element may match; all lists given must match, and all attributes of `attributes` and
//! `resources`. An item is acted on if `include` matches it (or is absent) and `exclude` does not.

use codec::pattern::{Pattern, PatternCache};
use component::prelude::*;
use wire::view::{Any, Kind, NodeId, Value, View};

use crate::literal::Literal;

/// `include` or `exclude`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `strict` or `regexp`. Required.
    pub match_type: String,
    /// Accepted for the collector's sake; expressions here need no cache.
    pub regexp: Regexp,
    /// Values of the resource's `service.name`.
    pub services: Vec<String>,
    /// Names of spans.
    pub span_names: Vec<String>,
    /// Kinds of spans: `SPAN_KIND_SERVER`, ...
    pub span_kinds: Vec<String>,
    /// Bodies of log records, as text.
    pub log_bodies: Vec<String>,
    /// Severities as the source named them.
    pub log_severity_texts: Vec<String>,
    /// A smallest severity.
    pub log_severity_number: Option<SeverityNumber>,
    /// Names of metrics.
    pub metric_names: Vec<String>,
    /// Attributes of the span or log record.
    pub attributes: Vec<Attribute>,
    /// Attributes of the resource.
    pub resources: Vec<Attribute>,
    /// Instrumentation scopes.
    pub libraries: Vec<Library>,
}

/// Settings of a cache that the collector has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Regexp {
    /// Accepted and not used.
    pub cacheenabled: bool,
    /// Accepted and not used.
    pub cachemaxnumentries: u64,
}

/// A smallest severity.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SeverityNumber {
    /// The smallest that matches: 1 (trace) to 24 (fatal).
    pub min: i32,
    /// Whether a record without a severity matches.
    pub match_undefined: bool,
}

/// An attribute that is asked for.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Attribute {
    /// Its key.
    pub key: String,
    /// Its value; without one the key alone counts.
    pub value: Option<Literal>,
}

/// An instrumentation scope that is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Library {
    /// Its name.
    pub name: String,
    /// Its version; without one any version matches, and empty matches an empty one.
    pub version: Option<String>,
}

/// `include` and `exclude`, compiled.
#[derive(Debug)]
pub struct Filter {
    include: Option<Properties>,
    exclude: Option<Properties>,
}

#[derive(Debug)]
struct Properties {
    services: Vec<Text>,
    names: Vec<Text>,
    kinds: Vec<Text>,
    bodies: Vec<Text>,
    severity_texts: Vec<Text>,
    severity: Option<SeverityNumber>,
    attributes: Vec<(Vec<u8>, Wanted)>,
    resources: Vec<(Vec<u8>, Wanted)>,
    libraries: Vec<(Text, Option<Text>)>,
    /// Metrics are told by their names: without any, none matches.
    of_metrics: bool,
}

#[derive(Debug)]
enum Text {
    Strict(Vec<u8>),
    Regexp(Box<Pattern>),
}

#[derive(Debug)]
enum Wanted {
    Key,
    Equal(Literal),
    Regexp(Box<Pattern>),
}

/// What matching writes to, and the last answers for whole groups.
#[derive(Debug, Default)]
pub struct Scratch {
    text: Vec<u8>,
    /// By address of the pattern, which does not move while the filter lives.
    caches: Vec<(usize, PatternCache)>,
}

type Wrong = (String, String);

impl Scratch {
    /// Whether a pattern matches, with the cache that belongs to it. The pattern must not move.
    pub(crate) fn is_match(&mut self, pattern: &Pattern, text: &[u8]) -> bool {
        is_match(pattern, text, &mut self.caches)
    }
}

impl Filter {
    /// Compiles both for a signal. Faults: the key, and what is wrong with it.
    pub fn new(
        include: Option<&Config>,
        exclude: Option<&Config>,
        signal: Signal,
    ) -> Result<Filter, Vec<Wrong>> {
        let mut faults = Vec::new();
        let mut compile = |name: &str, config: Option<&Config>| {
            let result = Properties::new(config?, signal);
            result
                .map_err(|(key, what)| faults.push((format!("{name}.{key}"), what)))
                .ok()
                .flatten()
        };
        let filter = Filter {
            include: compile("include", include),
            exclude: compile("exclude", exclude),
        };
        if faults.is_empty() {
            Ok(filter)
        } else {
            Err(faults)
        }
    }

    /// Whether every item is acted on.
    pub fn takes_all(&self) -> bool {
        self.include.is_none() && self.exclude.is_none()
    }

    /// Whether an item is acted on: a log record, a span, or the metric of a data point.
    pub fn takes(&self, view: &View<'_>, n: NodeId, s: &mut Scratch) -> bool {
        self.include.as_ref().is_none_or(|p| p.matches(view, n, s))
            && !self.exclude.as_ref().is_some_and(|p| p.matches(view, n, s))
    }
}

impl Properties {
    /// `None` if nothing is asked for: of a metric the collector looks at the name alone, though it lets `resources` be
    /// set.
    fn new(config: &Config, signal: Signal) -> Result<Option<Properties>, Wrong> {
        let is_regexp = match config.match_type.as_str() {
            "strict" => false,
            "regexp" => true,
            other => {
                let what = format!("unrecognized match_type {other:?}, valid types are: [regexp strict]");
                return Err(("match_type".into(), what));
            }
        };
        let pattern = |key: &str, source: &str| match Pattern::new(source) {
            Ok(pattern) => Ok(Box::new(pattern)),
            Err(error) => Err((key.to_owned(), format!("{error}: `{source}`"))),
        };
        let text = |key: &str, source: &String| {
            Ok(match is_regexp {
                true => Text::Regexp(pattern(key, source)?),
                false => Text::Strict(source.clone().into_bytes()),
            })
        };
        let texts = |key: &str, list: &[String]| {
            let each = list.iter().map(|source| text(key, source));
            each.collect::<Result<Vec<Text>, Wrong>>()
        };
        let attributes = |key: &str, list: &[Attribute]| {
            let each = list.iter().map(|attribute| {
                let wrong = |what: &str| Err((key.to_owned(), what.to_owned()));
                if attribute.key.is_empty() {
                    return wrong("error creating processor. Can't have empty key in the list of attributes");
                }
                let wanted = match (&attribute.value, is_regexp) {
                    (None, _) => Wanted::Key,
                    (Some(Literal::Str(source)), true) => Wanted::Regexp(pattern(key, source)?),
                    (Some(_), true) => return wrong("with match_type \"regexp\" a value must be a string"),
                    (Some(Literal::List(_) | Literal::Map(_) | Literal::Null), false) => {
                        return wrong("a value to match must be a string, a number or a boolean");
                    }
                    (Some(value), false) => Wanted::Equal(value.clone()),
                };
                Ok((attribute.key.clone().into_bytes(), wanted))
            });
            each.collect::<Result<Vec<_>, Wrong>>()
        };
        config.check(signal)?;
        if signal == Signal::Metrics && config.metric_names.is_empty() {
            return Ok(None);
        }
        let names = match signal {
            Signal::Traces => texts("span_names", &config.span_names)?,
            _ => texts("metric_names", &config.metric_names)?,
        };
        let libraries = config.libraries.iter().map(|library| {
            let version = library.version.as_ref().map(|v| match v.as_str() {
                // Empty asks for emptiness, as an expression too.
                "" => Ok(Text::Strict(Vec::new())),
                _ => text("libraries", v),
            });
            Ok((text("libraries", &library.name)?, version.transpose()?))
        });
        let of_metrics = signal == Signal::Metrics;
        Ok(Some(Properties {
            services: texts("services", &config.services)?,
            names,
            kinds: texts("span_kinds", &config.span_kinds)?,
            bodies: texts("log_bodies", &config.log_bodies)?,
            severity_texts: texts("log_severity_texts", &config.log_severity_texts)?,
            severity: config.log_severity_number.clone(),
            attributes: attributes("attributes", &config.attributes)?,
            resources: match of_metrics {
                true => Vec::new(),
                false => attributes("resources", &config.resources)?,
            },
            libraries: libraries.collect::<Result<_, Wrong>>()?,
            of_metrics,
        }))
    }

    fn matches(&self, view: &View<'_>, n: NodeId, s: &mut Scratch) -> bool {
        let above = |kind: Kind| {
            let mut node = n;
            while view.kind(node) != kind {
                node = view.parent(node)?;
            }
            Some(node)
        };
        if !self.names.is_empty() {
            let field = if self.of_metrics { METRIC_NAME } else { SPAN_NAME };
            if !any(&self.names, view.text(n, field), &mut s.caches) {
                return false;
            }
        }
        if !self.kinds.is_empty() {
            let kind = kind_name(view.number(n, SPAN_KIND).unwrap_or(0));
            if !any(&self.kinds, kind, &mut s.caches) {
                return false;
            }
        }
        if !self.severity_texts.is_empty()
            && !any(
                &self.severity_texts,
                view.text(n, LOG_SEVERITY_TEXT),
                &mut s.caches,
            )
        {
            return false;
        }
        if let Some(severity) = &self.severity {
            let number = view.number(n, LOG_SEVERITY_NUMBER).unwrap_or(0) as i32;
            let matches = match number {
                0 => severity.match_undefined,
                number => number >= severity.min,
            };
            if !matches {
                return false;
            }
        }
        if !self.bodies.is_empty() {
            s.text.clear();
            if let Some(body) = view.body(n) {
                body.as_string(&mut s.text);
            }
            if !any(&self.bodies, &s.text, &mut s.caches) {
                return false;
            }
        }
        if !self.attributes.is_empty() && !all(&self.attributes, view, n, s) {
            return false;
        }
        if let Some(resource) = above(Kind::Resource) {
            if !self.resources.is_empty() && !all(&self.resources, view, resource, s) {
                return false;
            }
            if !self.services.is_empty() {
                let name = view.get(resource, b"service.name");
                let text = name.map_or(&b"<nil-service-name>"[..], |v| v.as_str().unwrap_or_default());
                if !any(&self.services, text, &mut s.caches) {
                    return false;
                }
            }
        }
        if let Some(scope) = above(Kind::Scope)
            && !self.libraries.is_empty()
        {
            let found = self.libraries.iter().any(|(name, version)| {
                name.matches(view.text(scope, SCOPE_NAME), &mut s.caches)
                    && version
                        .as_ref()
                        .is_none_or(|v| v.matches(view.text(scope, SCOPE_VERSION), &mut s.caches))
            });
            if !found {
                return false;
            }
        }
        true
    }
}

impl Config {
    /// Which properties a signal may have, and needs.
    fn check(&self, signal: Signal) -> Result<(), Wrong> {
        let set = [
            ("services", !self.services.is_empty()),
            ("span_names", !self.span_names.is_empty()),
            ("span_kinds", !self.span_kinds.is_empty()),
            ("log_bodies", !self.log_bodies.is_empty()),
            ("log_severity_texts", !self.log_severity_texts.is_empty()),
            ("log_severity_number", self.log_severity_number.is_some()),
            ("metric_names", !self.metric_names.is_empty()),
            ("attributes", !self.attributes.is_empty()),
            ("libraries", !self.libraries.is_empty()),
            ("resources", !self.resources.is_empty()),
        ];
        let (what, forbidden): (&str, &[&str]) = match signal {
            Signal::Traces => (
                "trace spans",
                &[
                    "log_bodies",
                    "log_severity_texts",
                    "log_severity_number",
                    "metric_names",
                ],
            ),
            Signal::Logs => (
                "log records",
                &["services", "span_names", "span_kinds", "metric_names"],
            ),
            _ => return self.check_for_metrics(&set),
        };
        if let Some((key, _)) = set
            .iter()
            .find(|(key, is_set)| *is_set && forbidden.contains(key))
        {
            return Err((
                (*key).to_owned(),
                format!("{key} should not be specified for {what}"),
            ));
        }
        if !set.iter().any(|(_, is_set)| *is_set) {
            let allowed: Vec<&str> = set
                .iter()
                .map(|(key, _)| *key)
                .filter(|k| !forbidden.contains(k))
                .collect();
            let list = allowed.join("\", \"");
            return Err((
                String::new(),
                format!("at least one of \"{list}\" must be specified"),
            ));
        }
        let kinds = [
            "SPAN_KIND_INTERNAL",
            "SPAN_KIND_CLIENT",
            "SPAN_KIND_SERVER",
            "SPAN_KIND_CONSUMER",
            "SPAN_KIND_PRODUCER",
        ];
        let unknown = self.span_kinds.iter().find(|k| !kinds.contains(&k.as_str()));
        if let (Some(kind), "strict") = (unknown, self.match_type.as_str()) {
            let message = format!(
                "span_kinds string must match one of: {}; got {kind:?}",
                kinds.join(", ")
            );
            return Err(("span_kinds".to_owned(), message));
        }
        Ok(())
    }

    fn check_for_metrics(&self, set: &[(&str, bool)]) -> Result<(), Wrong> {
        let allowed = ["metric_names", "resources"];
        match set.iter().find(|(key, is_set)| *is_set && !allowed.contains(key)) {
            Some((key, _)) => Err((
                (*key).to_owned(),
                "\"span_names\", \"span_kinds\", \"log_bodies\", \"log_severity_texts\", \"log_severity_number\", \
                 \"services\", \"attributes\" and \"libraries\" are not valid for metrics"
                    .to_owned(),
            )),
            None if set.iter().any(|(_, is_set)| *is_set) => Ok(()),
            None => Err((
                String::new(),
                "at least one of \"metric_names\" or \"resources\" field must be specified".to_owned(),
            )),
        }
    }
}

impl Text {
    fn matches(&self, text: &[u8], caches: &mut Vec<(usize, PatternCache)>) -> bool {
        match self {
            Text::Strict(wanted) => wanted == text,
            Text::Regexp(pattern) => is_match(pattern, text, caches),
        }
    }
}

fn any(list: &[Text], text: &[u8], caches: &mut Vec<(usize, PatternCache)>) -> bool {
    list.iter().any(|wanted| wanted.matches(text, caches))
}

fn is_match(pattern: &Pattern, text: &[u8], caches: &mut Vec<(usize, PatternCache)>) -> bool {
    let address = std::ptr::from_ref(pattern).addr();
    let at = match caches.iter().position(|(known, _)| *known == address) {
        Some(at) => at,
        None => {
            caches.push((address, pattern.cache()));
            caches.len() - 1
        }
    };
    pattern.is_match(&mut caches[at].1, text)
}

/// Whether a map has all that is asked for. The first attribute with a key counts.
fn all(list: &[(Vec<u8>, Wanted)], view: &View<'_>, n: NodeId, s: &mut Scratch) -> bool {
    list.iter().all(|(key, wanted)| {
        let Some(value) = view.get(n, key) else {
            return false;
        };
        match wanted {
            Wanted::Key => true,
            Wanted::Equal(literal) => is_equal(literal, value),
            Wanted::Regexp(pattern) => {
                s.text.clear();
                match value.any() {
                    Any::Str(_) | Any::Bool(_) | Any::Int(_) | Any::Double(_) => value.as_string(&mut s.text),
                    _ => return false,
                }
                is_match(pattern, &s.text, &mut s.caches)
            }
        }
    })
}

/// Same type and same value.
fn is_equal(literal: &Literal, value: Value<'_>) -> bool {
    match (literal, value.any()) {
        (Literal::Str(wanted), Any::Str(text)) => wanted.as_bytes() == text,
        (Literal::Bool(wanted), Any::Bool(b)) => *wanted == b,
        (Literal::Int(wanted), Any::Int(i)) => *wanted == i,
        (Literal::Double(wanted), Any::Double(d)) => *wanted == d,
        _ => false,
    }
}

fn kind_name(kind: u64) -> &'static [u8] {
    match kind {
        0 => b"SPAN_KIND_UNSPECIFIED",
        1 => b"SPAN_KIND_INTERNAL",
        2 => b"SPAN_KIND_SERVER",
        3 => b"SPAN_KIND_CLIENT",
        4 => b"SPAN_KIND_PRODUCER",
        5 => b"SPAN_KIND_CONSUMER",
        _ => b"",
    }
}

// Field numbers of opentelemetry-proto.
const SPAN_NAME: u32 = 5;
const SPAN_KIND: u32 = 6;
const METRIC_NAME: u32 = 1;
const LOG_SEVERITY_NUMBER: u32 = 2;
const LOG_SEVERITY_TEXT: u32 = 3;
const SCOPE_NAME: u32 = 1;
const SCOPE_VERSION: u32 = 2;
