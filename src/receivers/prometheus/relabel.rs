//! Relabelling: rules that change, keep or drop a set of labels.
//!
//! One list of rules serves targets (`relabel_configs`), another every sample (`metric_relabel_configs`). Expressions
//! are Go's and match the whole text. Source: Prometheus, `relabel_config` in its configuration page.

use std::borrow::Cow;

use codec::exposition::Label;
use codec::pattern::{Pattern, PatternCache};
use config::Section;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One rule as written.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RelabelConfig {
    /// Labels whose values are joined and matched. Default none.
    source_labels: Vec<String>,
    /// Between the values. Default `;`.
    separator: String,
    /// What to match, whole. Default `(.*)`.
    regex: String,
    /// For `hashmod`: the hash is taken modulo this.
    modulus: u64,
    /// The label that is written; `$1` stands for what the regex found.
    target_label: String,
    /// Its value. Default `$1`.
    replacement: String,
    /// `replace` (default), `keep`, `drop`, `keepequal`, `dropequal`, `hashmod`, `labelmap`, `labeldrop`, `labelkeep`,
    /// `lowercase`, `uppercase`.
    action: String,
}

impl Default for RelabelConfig {
    fn default() -> RelabelConfig {
        RelabelConfig {
            source_labels: Vec::new(),
            separator: ";".into(),
            regex: "(.*)".into(),
            modulus: 0,
            target_label: String::new(),
            replacement: "$1".into(),
            action: "replace".into(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Replace,
    Keep,
    Drop,
    KeepEqual,
    DropEqual,
    HashMod,
    LabelMap,
    LabelDrop,
    LabelKeep,
    Lowercase,
    Uppercase,
}

impl Action {
    fn parse(name: &str) -> Option<Action> {
        Some(match name.to_ascii_lowercase().as_str() {
            "replace" => Action::Replace,
            "keep" => Action::Keep,
            "drop" => Action::Drop,
            "keepequal" => Action::KeepEqual,
            "dropequal" => Action::DropEqual,
            "hashmod" => Action::HashMod,
            "labelmap" => Action::LabelMap,
            "labeldrop" => Action::LabelDrop,
            "labelkeep" => Action::LabelKeep,
            "lowercase" => Action::Lowercase,
            "uppercase" => Action::Uppercase,
            _ => return None,
        })
    }

    fn needs_target(self) -> bool {
        use Action::*;
        matches!(
            self,
            Replace | KeepEqual | DropEqual | HashMod | Lowercase | Uppercase
        )
    }
}

/// A compiled rule.
#[derive(Clone, Debug)]
struct Rule {
    sources: Vec<String>,
    separator: String,
    pattern: Pattern,
    modulus: u64,
    target: Template,
    replacement: Template,
    action: Action,
}

/// Rules in order. Scratch space for them is a [`Cache`].
#[derive(Clone, Debug, Default)]
pub(super) struct Rules(Vec<Rule>);

/// What applying rules writes to; one for each user of them.
pub(super) struct Cache {
    patterns: Vec<PatternCache>,
    joined: String,
}

impl Rules {
    /// Compiles the rules that `list` (`relabel_configs`) of this section holds.
    ///
    /// Errors: pushed to `faults`, each at its key.
    pub(super) fn compile(
        list: &str,
        configs: &[RelabelConfig],
        at: &Section,
        faults: &mut Vec<config::Diag>,
    ) -> Rules {
        let mut rules = Vec::new();
        for (i, config) in configs.iter().enumerate() {
            match Rule::compile(config) {
                Ok(rule) => rules.push(rule),
                Err((key, text)) => faults.push(at.diag(&format!("{list}.{i}.{key}"), text)),
            }
        }
        Rules(rules)
    }

    pub(super) fn cache(&self) -> Cache {
        Cache {
            patterns: self.0.iter().map(|rule| rule.pattern.cache()).collect(),
            joined: String::new(),
        }
    }

    /// Changes the labels; false if they are to be dropped.
    pub(super) fn apply(&self, cache: &mut Cache, labels: &mut Labels<'_>) -> bool {
        let Cache { patterns, joined } = cache;
        let mut rules = self.0.iter().zip(patterns);
        rules.all(|(rule, pattern)| rule.apply(pattern, joined, labels))
    }
}

impl Rule {
    fn compile(config: &RelabelConfig) -> Result<Rule, (&'static str, String)> {
        let action = Action::parse(&config.action)
            .ok_or_else(|| ("action", format!("unknown relabel action {:?}", config.action)))?;
        if action.needs_target() && config.target_label.is_empty() {
            let text = format!(
                "relabel configuration for {} action requires 'target_label' value",
                config.action
            );
            return Err(("target_label", text));
        }
        if action == Action::HashMod && config.modulus == 0 {
            return Err((
                "modulus",
                "relabel configuration for hashmod requires non-zero modulus".into(),
            ));
        }
        let pattern =
            Pattern::new(&format!("^(?s:{})$", config.regex)).map_err(|e| ("regex", e.to_string()))?;
        let groups = pattern.group_names();
        Ok(Rule {
            sources: config.source_labels.clone(),
            separator: config.separator.clone(),
            modulus: config.modulus,
            target: Template::parse(&config.target_label, &groups),
            replacement: Template::parse(&config.replacement, &groups),
            pattern,
            action,
        })
    }

    fn apply(&self, cache: &mut PatternCache, joined: &mut String, labels: &mut Labels<'_>) -> bool {
        joined.clear();
        for (i, name) in self.sources.iter().enumerate() {
            if i > 0 {
                joined.push_str(&self.separator);
            }
            joined.push_str(labels.get(name));
        }
        let text = joined.as_str();
        match self.action {
            Action::Keep => return self.pattern.is_match(cache, text.as_bytes()),
            Action::Drop => return !self.pattern.is_match(cache, text.as_bytes()),
            Action::KeepEqual => return labels.get(self.target.literal()) == text,
            Action::DropEqual => return labels.get(self.target.literal()) != text,
            Action::Replace => {
                if let Some(groups) = self.pattern.groups(cache, text.as_bytes()) {
                    let name = self.target.expand(text, &groups);
                    if !name.is_empty() {
                        labels.set(name.into(), self.replacement.expand(text, &groups).into());
                    }
                }
            }
            Action::Lowercase => labels.set(
                self.target.literal().to_owned().into(),
                text.to_lowercase().into(),
            ),
            Action::Uppercase => labels.set(
                self.target.literal().to_owned().into(),
                text.to_uppercase().into(),
            ),
            Action::HashMod => {
                let hash = codec::md5::hash(text.as_bytes());
                let tail = hash[8..].iter().fold(0u64, |n, byte| n << 8 | u64::from(*byte));
                let value = (tail % self.modulus).to_string();
                labels.set(self.target.literal().to_owned().into(), value.into());
            }
            Action::LabelMap => {
                let mut made = Vec::new();
                for (name, value) in &labels.0 {
                    if let Some(groups) = self.pattern.groups(cache, name.as_bytes()) {
                        made.push((self.replacement.expand(name, &groups), value.clone()));
                    }
                }
                for (name, value) in made {
                    labels.set(name.into(), value);
                }
            }
            Action::LabelDrop => labels
                .0
                .retain(|(name, _)| !self.pattern.is_match(cache, name.as_bytes())),
            Action::LabelKeep => labels
                .0
                .retain(|(name, _)| self.pattern.is_match(cache, name.as_bytes())),
        }
        true
    }
}

// --- Template ---

/// A text with `$1`, `${1}`, `$name` and `${name}`, as Go's `Regexp.Expand` reads it.
#[derive(Clone, Debug)]
struct Template {
    source: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Text(String),
    /// 0 is the whole match; beyond the last group is the empty text.
    Group(usize),
}

impl Template {
    fn parse(source: &str, names: &[Option<String>]) -> Template {
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut rest = source;
        while let Some((before, after)) = rest.split_once('$') {
            text.push_str(before);
            if let Some(after) = after.strip_prefix('$') {
                text.push('$');
                rest = after;
                continue;
            }
            let is_part = |c: char| c.is_alphanumeric() || c == '_';
            let (name, after_name) = match after.strip_prefix('{') {
                Some(inner) => inner.split_once('}').unwrap_or(("", "")),
                None => after.split_at(after.find(|c| !is_part(c)).unwrap_or(after.len())),
            };
            if name.is_empty() || !name.chars().all(is_part) {
                // no name: the dollar is a dollar
                text.push('$');
                rest = after;
                continue;
            }
            let group = match name.parse() {
                Ok(number) => number,
                Err(_) => names
                    .iter()
                    .position(|n| n.as_deref() == Some(name))
                    .map_or(usize::MAX, |i| i + 1),
            };
            parts.extend((!text.is_empty()).then(|| Part::Text(std::mem::take(&mut text))));
            parts.push(Part::Group(group));
            rest = after_name;
        }
        text.push_str(rest);
        parts.extend((!text.is_empty()).then_some(Part::Text(text)));
        Template {
            source: source.to_owned(),
            parts,
        }
    }

    /// As written: actions that match nothing take it literally.
    fn literal(&self) -> &str {
        &self.source
    }

    fn expand(&self, matched: &str, groups: &[Option<(usize, usize)>]) -> String {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                // the expressions are anchored: the whole match is the whole text
                Part::Group(0) => out.push_str(matched),
                Part::Group(n) => {
                    if let Some(Some((start, end))) = groups.get(n - 1) {
                        out.push_str(matched.get(*start..*end).unwrap_or_default());
                    }
                }
            }
        }
        out
    }
}

// --- Labels ---

/// A set of labels, each name once. An empty value is as good as none.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Labels<'a>(pub(super) Vec<Label<'a>>);

impl<'a> Labels<'a> {
    /// The value, or the empty text.
    pub(super) fn get(&self, name: &str) -> &str {
        self.0
            .iter()
            .find(|(n, _)| n == name)
            .map_or("", |(_, value)| value)
    }

    /// An empty value removes.
    pub(super) fn set(&mut self, name: Cow<'a, str>, value: Cow<'a, str>) {
        let at = self.0.iter().position(|(n, _)| *n == name);
        match (at, value.is_empty()) {
            (Some(at), true) => {
                self.0.remove(at);
            }
            (Some(at), false) => self.0[at].1 = value,
            (None, true) => {}
            (None, false) => self.0.push((name, value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Applies rules (YAML) to labels written `a=1,b=2`; the same form out, sorted, or `dropped`.
    #[track_caller]
    fn check(rules: &str, labels: &str, expected: &str) {
        #[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
        #[serde(default, deny_unknown_fields)]
        struct List {
            rules: Vec<RelabelConfig>,
        }
        let section = Section::from_yaml(&format!("rules: {rules}")).unwrap();
        let list: List = section.clone().parse().unwrap();
        let mut faults = Vec::new();
        let rules = Rules::compile("rules", &list.rules, &section, &mut faults);
        if let [fault] = faults.as_slice() {
            assert_eq!(fault.to_string().split_once(' ').unwrap().1, expected);
            return;
        }
        let mut set = Labels::default();
        for pair in labels.split(',').filter(|p| !p.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap();
            set.set(name.into(), value.into());
        }
        let kept = rules.apply(&mut rules.cache(), &mut set);
        let mut pairs: Vec<String> = set.0.iter().map(|(n, v)| format!("{n}={v}")).collect();
        pairs.sort();
        let got = if kept {
            pairs.join(",")
        } else {
            "dropped".to_owned()
        };
        assert_eq!(got, expected);
    }

    #[test]
    fn replaces() {
        check("[{source_labels: [a], target_label: b}]", "a=1", "a=1,b=1");
        check(
            "[{source_labels: [a, b], regex: '(.+);(.+)', target_label: c, replacement: '$2-${1}x$$'}]",
            "a=1,b=2",
            "a=1,b=2,c=2-1x$",
        );
        check(
            "[{source_labels: [a, b], separator: '', regex: '(?P<all>.*)', target_label: c, replacement: $all}]",
            "a=1,b=2",
            "a=1,b=2,c=12",
        );
        check(
            "[{source_labels: [a], regex: 'x(.*)', target_label: b}]",
            "a=1",
            "a=1",
        );
        check(
            "[{source_labels: [a], regex: '1', target_label: b, replacement: '$1'}]",
            "a=1,b=2",
            "a=1",
        );
        check(
            "[{source_labels: [a], regex: '(1)', target_label: b, replacement: $1x}]",
            "a=1,b=2",
            "a=1",
        );
        check("[{target_label: b, replacement: fixed}]", "", "b=fixed");
        check(
            "[{source_labels: [a], regex: '(.*)', target_label: 'to_$1', replacement: '1'}]",
            "a=x",
            "a=x,to_x=1",
        );
        check(
            "[{source_labels: [__address__], regex: '([^:]+)(?::\\d+)?', target_label: host}]",
            "__address__=a.b:80",
            "__address__=a.b:80,host=a.b",
        );
    }

    #[test]
    fn keeps_and_drops() {
        check(
            "[{source_labels: [__name__], regex: 'up|down', action: keep}]",
            "__name__=up",
            "__name__=up",
        );
        check(
            "[{source_labels: [__name__], regex: 'up|down', action: keep}]",
            "__name__=upper",
            "dropped",
        );
        check(
            "[{source_labels: [__name__], regex: 'go_.*', action: drop}]",
            "__name__=go_gc",
            "dropped",
        );
        check(
            "[{source_labels: [__name__], regex: 'go_.*', action: Drop}]",
            "__name__=a_go_gc",
            "__name__=a_go_gc",
        );
        check(
            "[{source_labels: [gone], regex: '', action: drop}]",
            "a=1",
            "dropped",
        );
        check(
            "[{source_labels: [a], target_label: b, action: keepequal}]",
            "a=1,b=1",
            "a=1,b=1",
        );
        check(
            "[{source_labels: [a], target_label: b, action: keepequal}]",
            "a=1,b=2",
            "dropped",
        );
        check(
            "[{source_labels: [a], target_label: b, action: dropequal}]",
            "a=1,b=1",
            "dropped",
        );
        check(
            "[{source_labels: [a], target_label: b, action: dropequal}]",
            "a=1",
            "a=1",
        );
    }

    #[test]
    fn changes_labels_by_name_and_case() {
        check(
            "[{regex: 'meta_(.+)', action: labelmap}]",
            "meta_a=1,b=2",
            "a=1,b=2,meta_a=1",
        );
        check(
            "[{regex: 'meta_(.+)', replacement: 'x_$1', action: labelmap}]",
            "meta_a=1",
            "meta_a=1,x_a=1",
        );
        check("[{regex: 'a|b', action: labeldrop}]", "a=1,b=2,c=3", "c=3");
        check("[{regex: 'a|b', action: labelkeep}]", "a=1,b=2,c=3", "a=1,b=2");
        check(
            "[{source_labels: [a], target_label: a, action: lowercase}]",
            "a=Up",
            "a=up",
        );
        check(
            "[{source_labels: [a], target_label: b, action: uppercase}]",
            "a=Up",
            "a=Up,b=UP",
        );
        // md5("a") ends in 0x31c399e269772661
        check(
            "[{source_labels: [a], modulus: 8, target_label: shard, action: hashmod}]",
            "a=a",
            "a=a,shard=1",
        );
        check(
            "[{source_labels: [a], modulus: 1000, target_label: shard, action: hashmod}]",
            "a=a",
            "a=a,shard=697",
        );
    }

    #[test]
    fn a_rule_that_cannot_work_is_refused_at_its_key() {
        check(
            "[{action: rename}]",
            "",
            "rules::0::action: unknown relabel action \"rename\"",
        );
        check(
            "[{source_labels: [a]}]",
            "",
            "rules::0::target_label: relabel configuration for replace action requires 'target_label' value",
        );
        check(
            "[{target_label: a}, {action: hashmod, target_label: a}]",
            "",
            "rules::1::modulus: relabel configuration for hashmod requires non-zero modulus",
        );
        check(
            "[{target_label: a, regex: '('}]",
            "",
            "rules::0::regex: error parsing regexp: unclosed group",
        );
    }
}
