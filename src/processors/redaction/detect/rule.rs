//! `detect` as a user writes it, and as it runs.

use std::collections::BTreeMap;

use aws_lc_rs::hmac;
use component::prelude::*;

use super::detector::Detector;
use super::runs::Runs;

/// Shortest key of an HMAC, in bytes.
const KEY_BYTES_MIN: usize = 32;

/// Most rules: one bit each.
pub(super) const RULES_MAX: usize = 64;

/// `detect`: finds secrets and personal data by what they are.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `redact`, the default, or `dry_run`: findings are counted and their shape is logged, and nothing is changed.
    pub mode: Mode,
    /// What is found where, and what becomes of it. Of several rules for a detector the first that speaks of the place
    /// holds.
    pub rules: Vec<RuleConfig>,
    /// Names of the rules that hold for a tenant. For tenants that are not named here all hold.
    pub tenants: BTreeMap<String, Vec<String>>,
}

/// Whether anything is changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Findings are redacted.
    #[default]
    Redact,
    /// Findings are only counted and shown by their shape.
    DryRun,
}

/// One rule of `detect`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RuleConfig {
    /// Its name in metrics, in the books and under `tenants`. Default: that of its first detector.
    pub name: String,
    /// Which detectors. Required.
    pub find: Vec<Detector>,
    /// Keys of attributes, entries of maps or members of JSON texts in which it holds, at any depth; a `*` at the end
    /// stands for any rest. Default: everywhere.
    pub keys: Vec<String>,
    /// Keys in which it does not hold, whatever `keys` says.
    pub except_keys: Vec<String>,
    /// A finding is replaced by this text. The default action, with `****`.
    pub mask: Option<String>,
    /// Of a finding this many letters and digits stay, at its end; the others become stars.
    pub keep_last: Option<usize>,
    /// A finding is replaced by `hmac:<key id>:<HMAC-SHA-256 of it in hexadecimal>`.
    pub hmac: Option<Hmac>,
    /// What holds a finding goes: the attribute, entry or element; a body, name or message becomes empty.
    pub remove: bool,
    /// The record that holds a finding is dropped, and booked under `redaction:<name>`.
    pub drop_record: bool,
}

/// The key of hashes that can be joined and not be reversed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Hmac {
    /// File with the key: at least 32 bytes; line breaks at its end do not count.
    pub key_file: String,
    /// Environment variable with the key, in place of a file.
    pub key_env: String,
    /// Tells which key it was: letters, digits, `_`, `-` and `.`. Required.
    pub key_id: String,
}

/// What becomes of a finding.
pub(super) enum Action {
    Mask(Vec<u8>),
    KeepLast(usize),
    Hmac { key: Box<hmac::Key>, prefix: Vec<u8> },
    Remove,
    DropRecord,
}

impl Action {
    /// As a label of metrics.
    pub(super) fn as_str(&self) -> &'static str {
        match self {
            Action::Mask(_) => "mask",
            Action::KeepLast(_) => "keep_last",
            Action::Hmac { .. } => "hmac",
            Action::Remove => "remove",
            Action::DropRecord => "drop_record",
        }
    }
}

/// Keys by name, or by how they begin.
#[derive(Debug, Default)]
pub(super) struct Keys(Vec<(Vec<u8>, bool)>);

impl Keys {
    fn new(list: &[String]) -> Keys {
        let parse = |key: &String| match key.strip_suffix('*') {
            Some(head) => (head.as_bytes().to_vec(), true),
            None => (key.as_bytes().to_vec(), false),
        };
        Keys(list.iter().map(parse).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn contains(&self, key: &[u8]) -> bool {
        self.0.iter().any(|(name, open)| match open {
            true => key.starts_with(name),
            false => key == *name,
        })
    }
}

/// A rule, compiled.
pub(super) struct Rule {
    pub(super) name: String,
    pub(super) detectors: Vec<Detector>,
    pub(super) keys: Keys,
    pub(super) except_keys: Keys,
    pub(super) action: Action,
}

/// Compiles all rules; the error says which is wrong.
pub(super) fn compile(config: &Config) -> Result<Vec<Rule>, String> {
    if config.rules.is_empty() && (*config != Config::default()) {
        return Err("detect has no rules; write what to find under detect::rules".to_owned());
    }
    if config.rules.len() > RULES_MAX {
        return Err(format!(
            "detect has {} rules; at most {RULES_MAX} are possible",
            config.rules.len()
        ));
    }
    let mut rules: Vec<Rule> = Vec::new();
    for (i, rule) in config.rules.iter().enumerate() {
        let rule = compile_rule(rule).map_err(|error| format!("rules[{i}]: {error}"))?;
        if rules.iter().any(|known| known.name == rule.name) {
            return Err(format!(
                "rules[{i}]: there is another rule named {:?}; give this one a name",
                rule.name
            ));
        }
        rules.push(rule);
    }
    for (tenant, names) in &config.tenants {
        if let Some(name) = names
            .iter()
            .find(|name| !rules.iter().any(|rule| rule.name == **name))
        {
            return Err(format!("tenants::{tenant}: there is no rule named {name:?}"));
        }
    }
    Ok(rules)
}

fn compile_rule(rule: &RuleConfig) -> Result<Rule, String> {
    let Some(first) = rule.find.first() else {
        return Err("find names no detector".to_owned());
    };
    let name = match rule.name.as_str() {
        "" => first.as_str(),
        name => name,
    };
    let plain = |text: &str| {
        text.bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
    };
    if !plain(name) || name.len() > 64 {
        return Err(format!(
            "name {name:?} may have letters, digits, '_', '-' and '.', at most 64"
        ));
    }
    Ok(Rule {
        name: name.to_owned(),
        detectors: rule.find.clone(),
        keys: Keys::new(&rule.keys),
        except_keys: Keys::new(&rule.except_keys),
        action: action(rule, plain)?,
    })
}

fn action(rule: &RuleConfig, plain: impl Fn(&str) -> bool) -> Result<Action, String> {
    let given = [
        ("mask", rule.mask.is_some()),
        ("keep_last", rule.keep_last.is_some()),
        ("hmac", rule.hmac.is_some()),
        ("remove", rule.remove),
        ("drop_record", rule.drop_record),
    ];
    let given: Vec<&str> = given
        .iter()
        .filter(|(_, is)| *is)
        .map(|(name, _)| *name)
        .collect();
    if let [first, second, ..] = given[..] {
        return Err(format!("{first} and {second} contradict each other; keep one"));
    }
    if rule.remove {
        return Ok(Action::Remove);
    }
    if rule.drop_record {
        return Ok(Action::DropRecord);
    }
    if let Some(count) = rule.keep_last {
        // Of a mail address or a key block the end says more than it hides.
        let unfit = [Detector::Email, Detector::PrivateKey, Detector::BasicAuth];
        if let Some(detector) = rule.find.iter().find(|d| unfit.contains(d)) {
            return Err(format!(
                "keep_last does not go with {}; use mask or hmac",
                detector.as_str()
            ));
        }
        return match count {
            1..=8 => Ok(Action::KeepLast(count)),
            _ => Err(format!("keep_last is {count}; it may be 1 to 8")),
        };
    }
    if let Some(hmac) = &rule.hmac {
        if hmac.key_id.is_empty() || !plain(&hmac.key_id) || hmac.key_id.len() > 64 {
            return Err("hmac::key_id must be letters, digits, '_', '-' and '.', at most 64".to_owned());
        }
        return Ok(Action::Hmac {
            key: Box::new(read_key(hmac)?),
            prefix: format!("hmac:{}:", hmac.key_id).into_bytes(),
        });
    }
    let mask = rule.mask.as_deref().unwrap_or("****");
    if mask.chars().any(|c| matches!(c, '"' | '\\') || c.is_control()) {
        return Err(
            "mask must not have quotes, backslashes or control characters: it may come to stand in JSON"
                .into(),
        );
    }
    let (mut runs, mut found) = (Runs::default(), Vec::new());
    runs.read(mask.as_bytes());
    Detector::ALL
        .iter()
        .for_each(|d| d.find(mask.as_bytes(), b"", &runs, &mut found));
    if !found.is_empty() {
        return Err("mask is itself what a detector finds; take another text".to_owned());
    }
    Ok(Action::Mask(mask.as_bytes().to_vec()))
}

/// The key, which nothing else keeps. Errors never show it.
fn read_key(config: &Hmac) -> Result<hmac::Key, String> {
    let (from, read) = match (config.key_file.as_str(), config.key_env.as_str()) {
        (file, "") if !file.is_empty() => (
            format!("key_file {file}"),
            std::fs::read(file).map_err(|e| e.to_string()),
        ),
        ("", name) if !name.is_empty() => (
            format!("key_env {name}"),
            std::env::var(name)
                .map(String::into_bytes)
                .map_err(|_| "it is not set, or no text".to_owned()),
        ),
        _ => return Err("hmac needs key_file or key_env, one of them".to_owned()),
    };
    let bytes = Secret::new(read.map_err(|error| format!("hmac::{from}: {error}"))?);
    let key = bytes.expose().trim_ascii_end();
    if key.len() < KEY_BYTES_MIN {
        return Err(format!(
            "hmac::{from}: the key must have at least {KEY_BYTES_MIN} bytes"
        ));
    }
    Ok(hmac::Key::new(hmac::HMAC_SHA256, key))
}
