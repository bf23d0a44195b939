//! Which pod a resource belongs to: the same key is made of what a resource says and of what is known about a pod.

use std::net::IpAddr;

use wire::Context;
use wire::view::{Any, View};

use super::config::{Association, Field, Origin, Rules, Source};
use super::table::Pod;

/// Source and value of each part, laid end to end. Two keys are equal if all their parts are.
pub(super) type Key = Box<[u8]>;

/// Makes keys in a buffer that is reused.
#[derive(Debug, Default)]
pub(super) struct Maker(Vec<u8>);

/// What a resource's key was made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Made {
    /// Place of the association; none without associations.
    pub(super) association: Option<usize>,
}

const HOST_NAME: &str = "host.name";
const POD_IP: &str = "k8s.pod.ip";
const POD_UID: &str = "k8s.pod.uid";

impl Maker {
    pub(super) fn key(&self) -> &[u8] {
        &self.0
    }

    /// Lengths stand before what they count, so that no value can pass for two.
    fn part(&mut self, origin: Origin, name: &str, value: &[u8]) {
        self.0.push(match origin {
            Origin::Connection => b'c',
            Origin::ResourceAttribute => b'r',
        });
        for text in [name.as_bytes(), value] {
            self.0.extend_from_slice(&(text.len() as u32).to_le_bytes());
            self.0.extend_from_slice(text);
        }
    }

    fn connection(&mut self, ip: &[u8]) {
        self.0.clear();
        self.part(Origin::Connection, "", ip);
    }

    /// The key of a resource by the first association of which all sources are there; `None` if there is no such one.
    /// `ip` is the peer's address as text, empty if it is not known.
    pub(super) fn of_resource(&mut self, view: &View<'_>, n: u32, rules: &Rules, ip: &str) -> Option<Made> {
        if rules.associations.is_empty() {
            return self.without_associations(view, n, ip);
        }
        'next: for (i, association) in rules.associations.iter().enumerate() {
            self.0.clear();
            for source in &association.sources {
                let value = match source.from {
                    Origin::Connection => ip.as_bytes(),
                    Origin::ResourceAttribute => text(view, n, &source.name),
                };
                // A host's name counts only where it is an address: then it is the pod's.
                let is_name = source.from == Origin::ResourceAttribute && source.name == HOST_NAME;
                if value.is_empty() || is_name && !is_ip(value) {
                    continue 'next;
                }
                self.part(source.from, source_name(source), value);
            }
            if !association.sources.is_empty() {
                return Some(Made { association: Some(i) });
            }
        }
        None
    }

    fn without_associations(&mut self, view: &View<'_>, n: u32, ip: &str) -> Option<Made> {
        let pod_ip = text(view, n, POD_IP);
        let label = text(view, n, "ip");
        let name = text(view, n, HOST_NAME);
        let found = match () {
            () if !pod_ip.is_empty() => pod_ip,
            () if !label.is_empty() => label,
            () if !ip.is_empty() => ip.as_bytes(),
            () if is_ip(name) => name,
            () => return None,
        };
        self.connection(found);
        Some(Made { association: None })
    }

    /// The address that stands for the connection in a key just made; none if it has no such part.
    pub(super) fn connection_of<'a>(
        &'a self,
        made: Made,
        associations: &[Association],
        ip: &'a str,
    ) -> Option<&'a [u8]> {
        match made.association {
            None => self.0.get(9..),
            Some(i) => {
                let mut sources = associations[i].sources.iter();
                sources
                    .any(|s| s.from == Origin::Connection)
                    .then_some(ip.as_bytes())
            }
        }
    }
}

/// Every key by which a pod may be found.
pub(super) fn keys(pod: &Pod, rules: &Rules) -> Vec<Key> {
    let mut keys = Vec::new();
    let mut maker = Maker::default();
    for association in &rules.associations {
        match association.sources.iter().any(is_container_id) {
            // A pod has as many of these keys as containers.
            true => keys.extend(
                pod.container_ids()
                    .filter_map(|id| key(association, pod, Some(id))),
            ),
            false => keys.extend(key(association, pod, None)),
        }
    }
    // By its uid and address it is found in any case.
    if !pod.uid.is_empty() {
        maker.0.clear();
        maker.part(Origin::ResourceAttribute, POD_UID, pod.uid.as_bytes());
        keys.push(maker.0.as_slice().into());
    }
    if !pod.ip.is_empty() && !pod.host_network {
        maker.connection(pod.ip.as_bytes());
        keys.push(maker.0.as_slice().into());
        maker.0.clear();
        maker.part(Origin::ResourceAttribute, POD_IP, pod.ip.as_bytes());
        keys.push(maker.0.as_slice().into());
    }
    keys.sort_unstable();
    keys.dedup();
    keys
}

fn key(association: &Association, pod: &Pod, container_id: Option<&str>) -> Option<Key> {
    let mut maker = Maker::default();
    for source in &association.sources {
        let value = match source.from {
            // Pods of the host's network all have its address.
            Origin::Connection if pod.host_network => "",
            Origin::Connection => &pod.ip,
            Origin::ResourceAttribute => match source.name.as_str() {
                "k8s.namespace.name" => &pod.namespace,
                "k8s.pod.name" => &pod.name,
                POD_UID => &pod.uid,
                HOST_NAME | POD_IP => &pod.ip,
                _ if is_container_id(source) => container_id.unwrap_or(""),
                name => pod.tags.get(name).unwrap_or(""),
            },
        };
        if value.is_empty() {
            return None;
        }
        maker.part(source.from, source_name(source), value.as_bytes());
    }
    (!maker.0.is_empty()).then(|| maker.0.into_boxed_slice())
}

fn is_container_id(source: &Source) -> bool {
    source.from == Origin::ResourceAttribute && source.name == Field::ContainerId.as_str()
}

fn source_name(source: &Source) -> &str {
    match source.from {
        Origin::Connection => "",
        Origin::ResourceAttribute => &source.name,
    }
}

/// An attribute that is text; empty if it is not there, or something else.
pub(super) fn text<'v>(view: &'v View<'_>, n: u32, key: &str) -> &'v [u8] {
    match view.get(n, key.as_bytes()).map(|value| value.any()) {
        Some(Any::Str(text)) => text,
        _ => &[],
    }
}

fn is_ip(value: &[u8]) -> bool {
    std::str::from_utf8(value).is_ok_and(|text| text.parse::<IpAddr>().is_ok())
}

/// The peer's address as text; empty if there is none.
pub(super) fn peer(context: &Context) -> String {
    let ip = context.peer.map(|peer| peer.ip().to_canonical());
    ip.map_or(String::new(), |ip| ip.to_string())
}

/// How associations are called in metrics: `connection`, `resource_attribute/k8s.pod.uid`, joined by `+`.
pub(super) fn label(association: &Association) -> String {
    let each = association.sources.iter().map(|source| match source.from {
        Origin::Connection => "connection".to_owned(),
        Origin::ResourceAttribute => format!("resource_attribute/{}", source.name),
    });
    each.collect::<Vec<String>>().join("+")
}
