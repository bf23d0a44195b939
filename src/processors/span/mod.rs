//! Processor `span`: names spans after their attributes, takes attributes out of names, and sets the status.
//!
//! Keys, defaults and results are those of the collector's span processor. In this order: `from_attributes`,
//! `to_attributes`, `status`.

use std::io::Write as _;

use codec::pattern::{Pattern, PatternCache};
use component::prelude::*;
use parking_lot::Mutex;
use wire::otlp;
use wire::view::{Any, Kind, NewValue, NodeId, View};

use crate::matching::{self, Filter};

/// The processor's type.
pub static FACTORY: ProcessorFactory = ProcessorFactory {
    kind: "span",
    aliases: &[],
    keys: &[Shape::of::<Config>()],
    signals: &[(Signal::Traces, Stability::Alpha)],
    hold: Hold::PassThrough,
    build: |section, _cx, signal| {
        let config: Config = section.clone().parse_valid()?;
        Ok(Processor::Tree(Arc::new(Span::new(config, &section, signal)?)))
    },
};

/// `span`: what is done to which spans.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Which spans are acted on. Default: all.
    pub include: Option<matching::Config>,
    /// Which of them are not.
    pub exclude: Option<matching::Config>,
    /// What is done to the name.
    pub name: Name,
    /// The status that spans get.
    pub status: Option<Status>,
}

/// `name`: from attributes, or to attributes, or both in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Name {
    /// Keys whose values make the name. A span that lacks one of them keeps its name.
    pub from_attributes: Vec<String>,
    /// What stands between the values. Default: nothing.
    pub separator: String,
    /// How attributes are taken out of the name.
    pub to_attributes: Option<ToAttributes>,
}

/// `to_attributes`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ToAttributes {
    /// Regular expressions, tried in turn. What each group of one that matches holds becomes an attribute with the
    /// group's name, and `{group}` takes its place in the span's name, which the next expression sees.
    pub rules: Vec<String>,
    /// Stop at the first expression that matches. Default false.
    pub break_after_match: bool,
    /// Let the name be. Default false.
    pub keep_original_name: bool,
}

/// `status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Status {
    /// `Ok`, `Error` or `Unset`. Required.
    pub code: String,
    /// Says what went wrong; with `Error` alone.
    pub description: String,
}

impl config::Validate for Config {
    fn validate(&self, faults: &mut Vec<(String, String)>) {
        let rules = self.name.to_attributes.as_ref().map_or(0, |to| to.rules.len());
        if self.name.from_attributes.is_empty() && rules == 0 && self.status.is_none() {
            let what = "either \"from_attributes\" or \"to_attributes\" must be specified in \"name:\" or \"status\" \
                        must be specified";
            faults.push(("name".into(), what.into()));
        }
        let Some(status) = &self.status else {
            return;
        };
        if status.number().is_none() {
            let what = "\"status\" must have specified \"code\" as \"Ok\" or \"Error\" or \"Unset\"";
            faults.push(("status.code".into(), what.into()));
        }
        if !status.description.is_empty() && status.code != "Error" {
            let what = "\"description\" can be specified only for \"code\" \"Error\"";
            faults.push(("status.description".into(), what.into()));
        }
    }
}

impl Status {
    fn number(&self) -> Option<u8> {
        let codes = ["Unset", "Ok", "Error"];
        (0..)
            .zip(codes)
            .find(|(_, name)| *name == self.code)
            .map(|(i, _)| i)
    }

    /// The message as it stands in a span.
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if !self.description.is_empty() {
            let field = otlp::STATUS.named("message").map_or(0, |f| f.number);
            wire::field::write_header(field, self.description.len(), &mut out);
            out.extend_from_slice(self.description.as_bytes());
        }
        if let Some(code @ 1..) = self.number() {
            let field = otlp::STATUS.named("code").map_or(0, |f| f.number);
            out.extend_from_slice(&[(field << 3) as u8, code]);
        }
        out
    }
}

struct Rule {
    pattern: Pattern,
    /// Names of the groups; empty for one without.
    groups: Vec<Vec<u8>>,
}

struct Span {
    filter: Filter,
    from: Vec<Vec<u8>>,
    separator: Vec<u8>,
    rules: Vec<Rule>,
    break_after_match: bool,
    keep_original_name: bool,
    status: Option<Vec<u8>>,
    pool: Mutex<Vec<Scratch>>,
}

#[derive(Default)]
struct Scratch {
    matching: matching::Scratch,
    /// One for each rule.
    caches: Vec<PatternCache>,
    old: Vec<u8>,
    new: Vec<u8>,
}

impl Span {
    fn new(config: Config, section: &Section, signal: Signal) -> Result<Span, Fault> {
        let mut faults = Vec::new();
        let to = config.name.to_attributes.unwrap_or_default();
        let mut rules = Vec::new();
        for (i, source) in to.rules.iter().enumerate() {
            match Pattern::new(source) {
                Ok(pattern) => {
                    let names = pattern.group_names().into_iter();
                    let groups = names.map(|name| name.unwrap_or_default().into_bytes()).collect();
                    rules.push(Rule { pattern, groups });
                }
                Err(error) => {
                    let key = format!("name.to_attributes.rules.{i}");
                    faults.push(section.diag(&key, format!("invalid regexp pattern {source}: {error}")));
                }
            }
        }
        let filter = Filter::new(config.include.as_ref(), config.exclude.as_ref(), signal).map_err(|list| {
            let each = list
                .into_iter()
                .map(|(key, what)| section.diag(key.trim_end_matches('.'), what));
            faults.extend(each);
        });
        match filter {
            Ok(filter) if faults.is_empty() => Ok(Span {
                filter,
                from: config
                    .name
                    .from_attributes
                    .into_iter()
                    .map(String::into_bytes)
                    .collect(),
                separator: config.name.separator.into_bytes(),
                rules,
                break_after_match: to.break_after_match,
                keep_original_name: to.keep_original_name,
                status: config.status.map(|status| status.encode()),
                pool: Mutex::default(),
            }),
            _ => Err(config::Diags(faults).into()),
        }
    }

    fn scratch(&self) -> Scratch {
        Scratch {
            caches: self.rules.iter().map(|rule| rule.pattern.cache()).collect(),
            ..Scratch::default()
        }
    }

    /// The name that the attributes make, in `out`; false if there is none.
    fn name(&self, view: &View<'_>, n: NodeId, out: &mut Vec<u8>) -> bool {
        out.clear();
        for (i, key) in self.from.iter().enumerate() {
            let Some(value) = view.get(n, key) else {
                return false;
            };
            if i > 0 {
                out.extend_from_slice(&self.separator);
            }
            match value.any() {
                // Never with an exponent, which attributes as text have where they are very large or small.
                Any::Double(d) if d.is_finite() => write!(out, "{d}").unwrap_or_default(),
                Any::Str(_) | Any::Bool(_) | Any::Int(_) | Any::Double(_) => value.as_string(out),
                _ => out.extend_from_slice(b"<unknown-attribute-type>"),
            }
        }
        !self.from.is_empty()
    }

    fn extract(&self, view: &mut View<'_>, n: NodeId, s: &mut Scratch) {
        for (rule, cache) in self.rules.iter().zip(&mut s.caches) {
            s.old.clear();
            s.old.extend_from_slice(view.text(n, SPAN_NAME));
            if s.old.is_empty() {
                return;
            }
            let Some(groups) = rule.pattern.groups(cache, &s.old) else {
                continue;
            };
            s.new.clear();
            let mut done = 0;
            for (name, group) in rule.groups.iter().zip(groups) {
                let (start, end) = group.unwrap_or((done, done));
                view.put(n, name, NewValue::Str(&s.old[start..end]));
                // A group within another has no place of its own in the name.
                if start >= done {
                    s.new.extend_from_slice(&s.old[done..start]);
                    s.new.push(b'{');
                    s.new.extend_from_slice(name);
                    s.new.push(b'}');
                    done = end;
                }
            }
            s.new.extend_from_slice(&s.old[done..]);
            if !self.keep_original_name {
                view.set_text(n, SPAN_NAME, &s.new);
            }
            if self.break_after_match {
                return;
            }
        }
    }
}

impl Tree for Span {
    fn touches(&self) -> Touches {
        Touches {
            depth: Depth::Record,
            reads_content: true,
            drops_unknown: false,
            writes: true,
        }
    }

    fn apply(&self, view: &mut View<'_>, _cx: &mut SegmentCx<'_>) -> Result<(), Refusal> {
        let mut s = self.pool.lock().pop().unwrap_or_else(|| self.scratch());
        for n in view.nodes() {
            if view.kind(n) != Kind::Span || view.is_removed(n) {
                continue;
            }
            if !self.filter.takes_all() && !self.filter.takes(view, n, &mut s.matching) {
                continue;
            }
            if self.name(view, n, &mut s.new) {
                view.set_text(n, SPAN_NAME, &s.new);
            }
            self.extract(view, n, &mut s);
            if let Some(status) = &self.status {
                view.set_content(n, SPAN_STATUS, status);
            }
        }
        self.pool.lock().push(s);
        Ok(())
    }
}

// Field numbers of opentelemetry-proto.
const SPAN_NAME: u32 = 5;
const SPAN_STATUS: u32 = 15;

#[cfg(test)]
mod tests;
