//! Rules: whose a record is, and of which class. Their text is kept as long as a record is partly archived under them.
//!
//! Splitting is a function of a record's bytes, its hour and these rules, and of nothing else: so a record that was
//! partly archived before a restart ends in the same pieces after it, whatever the configuration says by then.

use component::prelude::*;
use evidence::names::{OWN_TENANT, tenant_alias};
use objects::Mode;

use super::config::{Alias, Config, Match};
use super::units::Retention;

/// Raised whenever the same rules would split the same record otherwise.
const SPLITTER: u32 = 1;

/// The class of what no other class wants.
pub(super) const STD: &str = "std";
/// The classes of the gateway's own records: its audit trail, and what that refers to.
pub(super) const AUDIT: &str = "audit";
pub(super) const EVIDENCE: &str = "evidence";

/// One set of rules.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rules {
    splitter: u32,
    from: Vec<Source>,
    #[serde(with = "shared")]
    default: Arc<str>,
    /// Names the key that hides tenants' names; none: they are not hidden.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    alias: Option<String>,
    #[serde(skip)]
    alias_key: Option<AliasKey>,
    /// In the order in which they are asked, until [`STD`], which wants everything; behind it those of the gateway's own.
    classes: Vec<Class>,
}

/// Makes aliases of tenants' names; shows itself to nobody.
#[derive(Clone, PartialEq)]
struct AliasKey(Arc<zeroize::Zeroizing<Vec<u8>>>);

impl std::fmt::Debug for AliasKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AliasKey")
    }
}

/// Where a tenant's name may come from.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Source {
    /// What processor `tenant` said.
    Processor,
    /// An attribute of the resource.
    Resource(String),
}

/// One retention class.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Class {
    #[serde(with = "shared")]
    pub(super) name: Arc<str>,
    r#match: Match,
    pub(super) retention: Retention,
    pub(super) mode: Mode,
}

/// A shared text, as a text.
mod shared {
    use super::*;

    pub(super) fn serialize<S: serde::Serializer>(text: &Arc<str>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(text)
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Arc<str>, D::Error> {
        String::deserialize(from).map(Arc::from)
    }
}

/// How much of a record a question needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Needs {
    /// Only what is known of the whole request.
    Nothing,
    /// Its resource.
    Resource,
    /// Itself.
    Record,
}

impl Rules {
    /// The rules of a configuration.
    pub(super) fn new(config: &Config) -> Rules {
        let lock = &config.lock;
        let mut classes: Vec<Class> = Vec::new();
        for class in &lock.classes {
            classes.push(Class {
                name: class.name.as_str().into(),
                r#match: class.r#match.clone(),
                retention: class.retention.unwrap_or(lock.retention),
                mode: class.mode.unwrap_or(lock.mode),
            });
        }
        classes.push(Class {
            name: STD.into(),
            r#match: Match::default(),
            retention: lock.retention,
            mode: lock.mode,
        });
        classes.extend([AUDIT, EVIDENCE].map(|name| Class {
            name: name.into(),
            r#match: Match::default(),
            retention: config.evidence_retention(),
            mode: lock.mode,
        }));
        let source = |from: &String| match from.strip_prefix("resource:") {
            Some(key) => Source::Resource(key.to_owned()),
            None => Source::Processor,
        };
        let alias_key = (config.tenant.alias == Alias::Hmac).then(|| {
            AliasKey(Arc::new(
                config.tenant.alias_key.expose().as_bytes().to_vec().into(),
            ))
        });
        Rules {
            splitter: SPLITTER,
            // No tenant has this name.
            alias: alias_key.as_ref().map(|key| tenant_alias(&key.0, "")),
            alias_key,
            from: config.tenant.from.iter().map(source).collect(),
            default: config.tenant.default.as_str().into(),
            classes,
        }
    }

    /// Reads what [`Rules::text`] wrote; none if it is of another version or damaged.
    pub(super) fn parse(text: &str) -> Option<Rules> {
        let rules: Rules = serde_json::from_str(text).ok()?;
        let whole = rules.place_of(STD).is_some();
        (rules.splitter == SPLITTER && whole).then_some(rules)
    }

    /// Rules of before, which know of keys only their names, beside the present ones; none if they hide names by a key
    /// that is not there any more.
    pub(super) fn with_key_of(mut self, present: &Rules) -> Option<Rules> {
        if self.alias.is_some() {
            self.alias_key = present.alias_key.clone().filter(|_| self.alias == present.alias);
            self.alias_key.as_ref()?;
        }
        Some(self)
    }

    /// How a tenant is called in keys and evidence.
    pub(super) fn called(&self, tenant: Arc<str>) -> Arc<str> {
        match &self.alias_key {
            Some(key) if &*tenant != OWN_TENANT => tenant_alias(&key.0, &tenant).into(),
            _ => tenant,
        }
    }

    /// All of it as one line.
    pub(super) fn text(&self) -> String {
        serde_json::to_string(self).expect("text and numbers are always JSON")
    }

    /// Names the text: the first 16 hex digits of its SHA-256.
    pub(super) fn id(&self) -> String {
        evidence::digest::hex(&evidence::digest::sha256(self.text().as_bytes()).0[..8])
    }

    pub(super) fn classes(&self) -> &[Class] {
        &self.classes
    }

    fn place_of(&self, name: &str) -> Option<usize> {
        self.classes.iter().position(|class| &*class.name == name)
    }

    /// The place of a class of the gateway's own; of [`STD`] in rules that are older than it.
    pub(super) fn own_class(&self, name: &str) -> u16 {
        let place = self.place_of(name).or_else(|| self.place_of(STD));
        place.unwrap_or_default() as u16
    }

    pub(super) fn sources(&self) -> &[Source] {
        &self.from
    }

    pub(super) fn default_tenant(&self) -> &Arc<str> {
        &self.default
    }

    /// How much must be seen to know the class of anything of this signal.
    pub(super) fn class_needs(&self, signal: Signal) -> Needs {
        let able = self.classes.iter().filter(|class| class.r#match.may_be(signal));
        let needs = able.map(|class| class.r#match.needs()).max();
        needs.unwrap_or(Needs::Nothing)
    }
}

impl Match {
    fn needs(&self) -> Needs {
        if self.severity_number.is_some() || !self.attribute.is_empty() {
            Needs::Record
        } else {
            Needs::Nothing
        }
    }

    fn may_be(&self, signal: Signal) -> bool {
        let listed = self.signal.is_empty() || self.signal.iter().any(|name| name.is(signal));
        listed && (self.severity_number.is_none() || signal == Signal::Logs)
    }

    /// Whether all that is asked holds. `severity` of a log record (0 if it has none); `has`: whether the record, or its
    /// resource, has an attribute with this text.
    pub(super) fn holds(
        &self,
        signal: Signal,
        tenant: &str,
        severity: impl Fn() -> u32,
        has: impl Fn(&str, &str) -> bool,
    ) -> bool {
        self.may_be(signal)
            && (self.tenant.is_empty() || self.tenant.iter().any(|name| name == tenant))
            && self.severity_number.is_none_or(|range| range.holds(severity()))
            && self.attribute.iter().all(|(key, text)| has(key, text))
    }
}

impl Class {
    pub(super) fn matches(&self) -> &Match {
        &self.r#match
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use component::test_kit::section;

    fn rules(yaml: &str) -> Rules {
        let yaml = format!("archive: a\nstate_dir: /x\nstore: {{file: {{path: /a}}}}\n{yaml}");
        Rules::new(
            &section(&yaml)
                .parse_valid()
                .unwrap_or_else(|faults| panic!("{faults}")),
        )
    }

    #[test]
    fn rules_are_named_by_what_they_say() {
        let plain = rules("");
        assert_eq!(plain.id(), rules("").id());
        assert_eq!(plain.id().len(), 16);
        let others = [
            "tenant: {from: [context:tenant]}",
            "tenant: {default: other}",
            "tenant: {alias: hmac, alias_key: 0123456789abcdef}",
            "tenant: {alias: hmac, alias_key: 0123456789abcdeF}",
            "lock: {retention: 401d}",
            "lock: {mode: GOVERNANCE}",
            "lock: {classes: [{name: a, match: {severity_number: '>=17'}}]}",
            "lock: {classes: [{name: a, match: {severity_number: '>=18'}}]}",
        ];
        let mut ids: Vec<String> = others.iter().map(|yaml| rules(yaml).id()).collect();
        ids.push(plain.id());
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), others.len() + 1);
        // What has nothing to do with splitting changes nothing.
        assert_eq!(plain.id(), rules("compression_level: 9").id());
    }

    #[test]
    fn a_tenant_is_called_by_its_alias_if_the_key_is_there() {
        let (plain, hidden) = (
            rules(""),
            rules("tenant: {alias: hmac, alias_key: 0123456789abcdef}"),
        );
        let called = |rules: &Rules, name: &str| rules.called(name.into()).to_string();
        assert_eq!(called(&plain, "acme"), "acme");
        assert_eq!(called(&hidden, "acme"), tenant_alias(b"0123456789abcdef", "acme"));
        assert_ne!(called(&hidden, "acme"), called(&hidden, "acne"));
        assert_eq!(called(&hidden, "_weir"), "_weir");
        let text = hidden.text();
        assert!(!text.contains("0123456789abcdef") && !format!("{hidden:?}").contains("0123456789abcdef"));
        let read = |text: &str| Rules::parse(text).expect("it reads back");
        assert_eq!(read(&text).with_key_of(&hidden), Some(hidden.clone()));
        assert_eq!(read(&text).with_key_of(&plain), None);
        let other = rules("tenant: {alias: hmac, alias_key: fedcba9876543210}");
        assert_eq!(read(&text).with_key_of(&other), None);
        assert_eq!(read(&plain.text()).with_key_of(&hidden), Some(plain));
    }

    #[test]
    fn what_is_written_reads_back() {
        let check = |yaml: &str| {
            let rules = rules(yaml);
            assert_eq!(Rules::parse(&rules.text()), Some(rules));
        };
        check("");
        check(
            "lock: {classes: [{name: a, match: {severity_number: '<=8', attribute: {k: v}}, mode: GOVERNANCE}]}",
        );
        check("lock: {classes: [{name: b, match: {tenant: [x], signal: [logs, traces]}, retention: 7y}]}");
        assert_eq!(Rules::parse("{}"), None);
        assert_eq!(
            Rules::parse(&rules("").text().replace("\"splitter\":1", "\"splitter\":2")),
            None
        );
    }
}
