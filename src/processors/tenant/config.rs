//! What a user writes for `tenant`: where names come from, and what becomes of what has none or too much.

use std::collections::{BTreeMap, HashSet};

use codec::pattern::Pattern;
use component::prelude::*;
use component::template::is_tenant_name;

/// `tenant`: whose each resource is.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where a name may come from; the first source that gives a valid one wins, for each resource by itself. Required.
    pub from: Vec<Source>,
    /// What has no name: `refuse` (default), `{default: NAME}` or `{quarantine: NAME}`.
    pub unknown: Unknown,
    /// If given, only these are names.
    pub allow: Vec<String>,
    /// Names known at a time, beside those that stand in the configuration. What brings one more has no name.
    /// Default 10000.
    pub max_tenants: usize,
    /// How much each may send.
    pub limits: Limits,
}

/// One place where a name may be found: exactly one of the first six keys.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Source {
    /// The client's verified certificate: `spiffe` (its one SPIFFE id), `san` (DNS names and URIs) or `subject` (common
    /// name).
    pub client_certificate: Option<CertificateName>,
    /// What the receiver's authenticator said: the name of an attribute or claim, or `identity` (subject or user).
    pub authenticated: String,
    /// A request header or metadata key that has exactly one value; the receiver needs `include_metadata`. Only with
    /// `trusted`.
    pub header: String,
    /// By the receiver's id.
    pub listener: BTreeMap<String, String>,
    /// A resource's attribute, text or integer.
    pub resource_attribute: String,
    /// The same for `k8s.namespace.name`.
    pub kubernetes_namespace: bool,
    /// From whom it is believed; for `header` required, for attributes of resources everybody unless given.
    pub trusted: Trusted,
    /// An expression whose first group is the name; without a match there is none.
    pub pattern: String,
    /// Other names for what was found; what is not in it keeps its own.
    pub map: BTreeMap<String, String>,
}

/// Whose word counts: one that holds is enough.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Trusted {
    /// Clients that the receiver's authenticator has let in.
    pub authenticated: bool,
    /// Clients with a verified certificate.
    pub certificate: bool,
    /// Clients of these receivers, by id: listeners that only a proxy of yours can reach.
    pub listeners: Vec<String>,
    /// Everybody: any client may claim to be any tenant.
    pub anyone: bool,
}

/// Names in a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CertificateName {
    /// The one URI among its alternative names that is a SPIFFE id.
    Spiffe,
    /// DNS names and URIs among them.
    San,
    /// The subject's common name.
    Subject,
}

/// What becomes of resources that no source names.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unknown {
    /// A request of nothing else is refused (403, `PERMISSION_DENIED`); out of others they are rejected.
    Refuse,
    /// They are this tenant's.
    Default(String),
    /// They are set apart under this name, which no source can give: connector `tenant` sends it where you look at it.
    Quarantine(String),
}

/// How much each tenant may send, for each pipeline that names the processor.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// For tenants that are not below.
    pub default: Rate,
    /// By name.
    pub tenants: BTreeMap<String, Rate>,
}

/// A rate; what is not given is not limited.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rate {
    /// Log records, spans or data points.
    pub records_per_second: Option<f64>,
    /// Encoded bytes.
    pub bytes_per_second: Option<ByteSize>,
    /// How long a tenant that was silent may send at once what the rate allows for. Default 1s.
    pub burst: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            from: Vec::new(),
            unknown: Unknown::Refuse,
            allow: Vec::new(),
            max_tenants: 10_000,
            limits: Limits::default(),
        }
    }
}

impl Default for Rate {
    fn default() -> Self {
        Rate {
            records_per_second: None,
            bytes_per_second: None,
            burst: Duration(std::time::Duration::from_secs(1)),
        }
    }
}

impl Rate {
    /// Whether there is anything to count.
    pub fn is_limit(&self) -> bool {
        self.records_per_second.is_some() || self.bytes_per_second.is_some()
    }
}

impl Trusted {
    fn is_empty(&self) -> bool {
        *self == Trusted::default()
    }

    /// Whether the word of this client counts.
    pub fn holds(&self, context: &Context) -> bool {
        let receiver = context.receiver.as_deref();
        self.anyone
            || (self.authenticated && context.authenticated)
            || (self.certificate && context.certificate.is_some())
            || self.listeners.iter().any(|id| Some(id.as_str()) == receiver)
    }
}

impl Source {
    /// The keys that say where to look, those that are set.
    fn places(&self) -> Vec<&'static str> {
        let set = [
            ("client_certificate", self.client_certificate.is_some()),
            ("authenticated", !self.authenticated.is_empty()),
            ("header", !self.header.is_empty()),
            ("listener", !self.listener.is_empty()),
            ("resource_attribute", !self.resource_attribute.is_empty()),
            ("kubernetes_namespace", self.kubernetes_namespace),
        ];
        set.into_iter()
            .filter(|(_, is_set)| *is_set)
            .map(|(key, _)| key)
            .collect()
    }

    fn fault(&self) -> Option<(&'static str, String)> {
        let places = self.places();
        let [place] = places.as_slice() else {
            let text = match places.as_slice() {
                [] => "a source says where to look: client_certificate, authenticated, header, listener, \
                       resource_attribute or kubernetes_namespace"
                    .to_owned(),
                several => format!(
                    "a source is one place, not {}: make several of it",
                    several.join(" and ")
                ),
            };
            return Some(("", text));
        };
        let may_be_trusted = matches!(*place, "header" | "resource_attribute" | "kubernetes_namespace");
        if *place == "header" && self.trusted.is_empty() {
            let text = "whose headers are believed? `trusted: {authenticated: true}`, `{certificate: true}` or \
                        `{listeners: [...]}`; `{anyone: true}` lets every client choose its tenant";
            return Some(("trusted", text.into()));
        }
        if !may_be_trusted && !self.trusted.is_empty() {
            return Some((
                "trusted",
                format!("{place} needs no trust: the gateway has seen to it itself"),
            ));
        }
        if self.authenticated == "raw" {
            return Some((
                "authenticated",
                "\"raw\" is the credential itself, and no name".into(),
            ));
        }
        if !self.pattern.is_empty() {
            match Pattern::new(&self.pattern) {
                Err(error) => return Some(("pattern", error.to_string())),
                Ok(pattern) if pattern.group_names().is_empty() => {
                    return Some((
                        "pattern",
                        "needs a group (in parentheses), which is the name".into(),
                    ));
                }
                Ok(_) => {}
            }
        }
        let given = self.listener.values().map(|name| ("listener", name));
        given
            .chain(self.map.values().map(|name| ("map", name)))
            .find_map(|(key, name)| Some((key, not_a_name(name)?)))
    }
}

fn not_a_name(name: &str) -> Option<String> {
    (!is_tenant_name(name)).then(|| {
        format!("{name:?} cannot be a tenant's name: 1 to 128 letters, digits, \"-\", \"_\" and \".\", no \".\" first")
    })
}

impl config::Validate for Config {
    fn validate(&self, faults: &mut Vec<(String, String)>) {
        if self.from.is_empty() {
            faults.push(("from".into(), "missing required field \"from\"".into()));
        }
        for (at, source) in self.from.iter().enumerate() {
            if let Some((key, text)) = source.fault() {
                let path = match key {
                    "" => format!("from.{at}"),
                    key => format!("from.{at}.{key}"),
                };
                faults.push((path, text));
            }
        }
        let mut name = |key: String, name: &str| {
            if let Some(text) = not_a_name(name) {
                faults.push((key, text));
            }
        };
        match &self.unknown {
            Unknown::Refuse => {}
            Unknown::Default(given) => name("unknown.default".into(), given),
            Unknown::Quarantine(given) => name("unknown.quarantine".into(), given),
        }
        for (at, given) in self.allow.iter().enumerate() {
            name(format!("allow.{at}"), given);
        }
        for given in self.limits.tenants.keys() {
            name(format!("limits.tenants.{given}"), given);
        }
        let own = self
            .limits
            .tenants
            .iter()
            .map(|(name, rate)| (format!("limits.tenants.{name}"), rate));
        for (key, rate) in own.chain([("limits.default".to_owned(), &self.limits.default)]) {
            let records = rate.records_per_second;
            if records.is_some_and(|n| !n.is_finite() || n <= 0.0) {
                faults.push((format!("{key}.records_per_second"), "must be above 0".into()));
            }
            if rate.bytes_per_second.is_some_and(|n| n.0 == 0) {
                faults.push((format!("{key}.bytes_per_second"), "must be above 0".into()));
            }
            if rate.is_limit() && rate.burst.0.is_zero() {
                faults.push((format!("{key}.burst"), "must be above 0".into()));
            }
        }
        if self.max_tenants == 0 || self.max_tenants > TENANTS_MAX {
            faults.push((
                "max_tenants".into(),
                format!("must be between 1 and {TENANTS_MAX}"),
            ));
        }
    }
}

/// What `max_tenants` may be: about 300 bytes each.
const TENANTS_MAX: usize = 1_000_000;

impl Config {
    /// Names that stand in the configuration.
    pub fn names(&self) -> HashSet<&str> {
        let from = self
            .from
            .iter()
            .flat_map(|source| source.listener.values().chain(source.map.values()));
        let unknown = match &self.unknown {
            Unknown::Refuse => None,
            Unknown::Default(name) | Unknown::Quarantine(name) => Some(name),
        };
        let all = from
            .chain(unknown)
            .chain(&self.allow)
            .chain(self.limits.tenants.keys());
        all.map(String::as_str).collect()
    }
}
