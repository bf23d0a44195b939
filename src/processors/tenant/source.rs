//! Where a name comes from, compiled: the same for a whole request, or looked up in each resource.

use std::collections::BTreeMap;
use std::sync::Arc;

use codec::pattern::{Pattern, PatternCache};
use component::template::is_tenant_name;
use component::{BuildContext, Fault};
use parking_lot::Mutex;
use tokio::time::Instant;
use wire::view::{Any, NodeId, View};
use wire::{Context, Signal};

use super::config::{CertificateName, Config, Source, Trusted, Unknown};
use super::directory::{Directory, Known};

/// A longer text is no name, and no expression is tried on it.
const TEXT_BYTES_MAX: usize = 4096;
const NAMESPACE: &str = "k8s.namespace.name";

/// All sources of a processor, and the tenants that they name.
pub(super) struct Sources {
    all: Vec<Compiled>,
    /// If any.
    allowed: Option<Vec<String>>,
    /// No source can give it.
    reserved: Option<String>,
    directory: Directory,
}

struct Compiled {
    place: Place,
    trusted: Option<Trusted>,
    pattern: Option<(Pattern, Mutex<Vec<PatternCache>>)>,
    map: BTreeMap<String, String>,
}

enum Place {
    Certificate(CertificateName),
    Identity(Vec<String>),
    Header(String),
    Listener(BTreeMap<String, String>),
    Attribute(Vec<u8>),
}

/// Whose something is.
#[derive(Clone)]
pub(super) enum Whose {
    Known(Arc<Known>),
    /// No source names it.
    Nobody,
    /// One does, and there are too many names already.
    TooMany,
}

impl Whose {
    pub(super) fn is(&self, other: &Whose) -> bool {
        match (self, other) {
            (Whose::Known(a), Whose::Known(b)) => Arc::ptr_eq(a, b) || a.name == b.name,
            (Whose::Nobody, Whose::Nobody) | (Whose::TooMany, Whose::TooMany) => true,
            _ => false,
        }
    }
}

/// What a request says before any resource is looked at: by source, in their order.
pub(super) enum ByContext {
    /// Every resource is this one's.
    All(Whose),
    /// What each source gives; `None` where a resource must be asked, if its word counts.
    Each(Vec<Given>),
}

/// What one source gives.
pub(super) enum Given {
    Nothing,
    Whose(Whose),
    InResource,
}

impl Sources {
    pub(super) fn new(config: &Config, cx: &BuildContext, signal: Signal) -> Result<Sources, Fault> {
        let all = config.from.iter().map(Compiled::new);
        Ok(Sources {
            all: all.collect::<Result<_, _>>()?,
            allowed: (!config.allow.is_empty()).then(|| config.allow.clone()),
            reserved: match &config.unknown {
                Unknown::Quarantine(name) => Some(name.clone()),
                _ => None,
            },
            directory: Directory::new(config, cx, signal),
        })
    }

    /// The tenant of a name that stands in the configuration.
    pub(super) fn known(&self, name: &str) -> Option<Arc<Known>> {
        self.directory.get(name, Instant::now())
    }

    /// Whether no resource is ever asked.
    pub(super) fn are_by_context(&self) -> bool {
        let mut all = self.all.iter();
        all.all(|source| !matches!(source.place, Place::Attribute(_)))
    }

    /// What is known without looking at resources.
    pub(super) fn by_context(&self, context: &Context, now: Instant) -> ByContext {
        let mut given = Vec::with_capacity(self.all.len());
        let mut asks = false;
        for source in &self.all {
            let is_believed = source
                .trusted
                .as_ref()
                .is_none_or(|trusted| trusted.holds(context));
            let found = match (&source.place, is_believed) {
                (_, false) => Given::Nothing,
                (Place::Attribute(_), true) => Given::InResource,
                (place, true) => {
                    let mut found = None;
                    place.texts(context, |text| {
                        found = found.take().or_else(|| self.whose(source, text, now));
                    });
                    found.map_or(Given::Nothing, Given::Whose)
                }
            };
            match found {
                Given::Whose(whose) if !asks => return ByContext::All(whose),
                Given::InResource => asks = true,
                _ => {}
            }
            given.push(found);
        }
        match asks {
            true => ByContext::Each(given),
            false => ByContext::All(Whose::Nobody),
        }
    }

    /// Whose a resource is; `given` is what the request says.
    pub(super) fn of_resource(
        &self,
        view: &View<'_>,
        resource: NodeId,
        given: &[Given],
        now: Instant,
    ) -> Whose {
        for (source, given) in self.all.iter().zip(given) {
            match (given, &source.place) {
                (Given::Whose(whose), _) => return whose.clone(),
                (Given::InResource, Place::Attribute(key)) => {
                    let mut number = Vec::new();
                    let text = match view.get(resource, key).map(|value| (value.any(), value)) {
                        Some((Any::Str(text), _)) => text,
                        Some((Any::Int(_), value)) => {
                            value.as_string(&mut number);
                            &number
                        }
                        _ => continue,
                    };
                    let text = std::str::from_utf8(text).ok();
                    if let Some(whose) = text.and_then(|text| self.whose(source, text, now)) {
                        return whose;
                    }
                }
                _ => {}
            }
        }
        Whose::Nobody
    }

    /// Who is called that; `None` if it is no name.
    fn whose(&self, source: &Compiled, text: &str, now: Instant) -> Option<Whose> {
        let name = source.name(text)?;
        let is_free = self.reserved.as_deref() != Some(name)
            && self
                .allowed
                .as_ref()
                .is_none_or(|all| all.iter().any(|allowed| allowed == name));
        is_free.then(|| match self.directory.get(name, now) {
            Some(known) => Whose::Known(known),
            None => Whose::TooMany,
        })
    }
}

impl Place {
    /// What stands there: texts in their order.
    fn texts(&self, context: &Context, mut found: impl FnMut(&str)) {
        let certificate = context.certificate.as_deref();
        match self {
            Place::Certificate(CertificateName::Spiffe) => {
                let uris = certificate.iter().flat_map(|names| &names.uris);
                let mut ids = uris.filter(|uri| uri.starts_with("spiffe://"));
                // By the standard there is one; which of two is meant nobody knows.
                if let (Some(id), None) = (ids.next(), ids.next()) {
                    found(id);
                }
            }
            Place::Certificate(CertificateName::San) => {
                let names = certificate
                    .iter()
                    .flat_map(|names| names.dns.iter().chain(&names.uris));
                names.for_each(|name| found(name));
            }
            Place::Certificate(CertificateName::Subject) => {
                let name = certificate.and_then(|names| names.common_name.as_deref());
                name.into_iter().for_each(found);
            }
            Place::Identity(names) => {
                let of = |name: &String| context.auth.iter().find(|(known, _)| known == name);
                names.iter().filter_map(of).for_each(|(_, value)| found(value));
            }
            Place::Header(name) => {
                // Of several values, one may be a client's and one a proxy's.
                if let [value] = context.metadata(name) {
                    found(value);
                }
            }
            Place::Listener(names) => {
                let id = context.receiver.as_deref();
                id.and_then(|id| names.get(id))
                    .into_iter()
                    .for_each(|name| found(name));
            }
            Place::Attribute(_) => {}
        }
    }
}

impl Compiled {
    fn new(source: &Source) -> Result<Compiled, Fault> {
        let attribute = |key: &str| Place::Attribute(key.as_bytes().to_vec());
        let place = match source {
            Source {
                client_certificate: Some(name),
                ..
            } => Place::Certificate(*name),
            s if s.authenticated == "identity" => Place::Identity(vec!["subject".into(), "username".into()]),
            s if !s.authenticated.is_empty() => Place::Identity(vec![s.authenticated.clone()]),
            s if !s.header.is_empty() => Place::Header(s.header.clone()),
            s if !s.listener.is_empty() => Place::Listener(s.listener.clone()),
            s if s.kubernetes_namespace => attribute(NAMESPACE),
            s => attribute(&s.resource_attribute),
        };
        let compile = |text: &str| Pattern::new(text).map_err(|error| Fault::World(error.to_string()));
        let pattern = Some(source.pattern.as_str())
            .filter(|text| !text.is_empty())
            .map(compile)
            .transpose()?;
        Ok(Compiled {
            place,
            trusted: (source.trusted != Trusted::default()).then(|| source.trusted.clone()),
            pattern: pattern.map(|pattern| (pattern, Mutex::default())),
            map: source.map.clone(),
        })
    }

    /// The name in a text, if it can be one.
    fn name<'a>(&'a self, text: &'a str) -> Option<&'a str> {
        if text.len() > TEXT_BYTES_MAX {
            return None;
        }
        let text = match &self.pattern {
            None => text,
            Some((pattern, caches)) => {
                let mut cache = caches.lock().pop().unwrap_or_else(|| pattern.cache());
                let groups = pattern.groups(&mut cache, text.as_bytes());
                caches.lock().push(cache);
                let (start, end) = groups?.into_iter().flatten().next()?;
                text.get(start..end)?
            }
        };
        let name = self.map.get(text).map_or(text, String::as_str);
        is_tenant_name(name).then_some(name)
    }
}
