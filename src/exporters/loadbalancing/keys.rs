//! By what a backend is chosen: one number for each item of a chunk.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use component::prelude::*;
use wire::view::{Depth, Kind, NodeId, Scratch, View};

use super::ring::Ring;

/// What makes the key of an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Trace,
    Service,
    Resource,
    Metric,
    Stream,
    Attributes(Vec<String>),
}

impl Key {
    /// What `routing_key` means for a signal; where it means nothing, that of the signal's default.
    pub(super) fn of(routing_key: &str, attributes: &[String], signal: Signal) -> Key {
        match (signal, routing_key) {
            (Signal::Logs, _) => Key::Trace,
            (Signal::Traces, "service") => Key::Service,
            (Signal::Traces | Signal::Metrics, "attributes") => Key::Attributes(attributes.to_vec()),
            (Signal::Metrics, "resource") => Key::Resource,
            (Signal::Metrics, "metric") => Key::Metric,
            (Signal::Metrics, "streamID") => Key::Stream,
            (Signal::Metrics, _) => Key::Service,
            (Signal::Traces | Signal::Profiles, _) => Key::Trace,
        }
    }

    /// The backend of each item of a canonical chunk, in order.
    pub(super) fn choose(
        &self,
        signal: Signal,
        bytes: &[u8],
        ring: &Ring,
    ) -> Result<Vec<u16>, wire::Malformed> {
        let mut scratch = Scratch::default();
        let view = View::new(&mut scratch, signal, bytes, Depth::Record)?;
        let mut chooser = Chooser {
            view: &view,
            ring,
            room: Vec::new(),
            by_trace: HashMap::new(),
        };
        let mut labels = Vec::new();
        let (mut resource, mut scope, mut metric) = (0, 0, 0);
        let mut of_group = 0;
        for n in view.nodes() {
            match view.kind(n) {
                Kind::Resource => {
                    resource = n;
                    of_group = match self {
                        Key::Service => chooser.service(n),
                        Key::Resource => chooser.identity(&[n]),
                        _ => 0,
                    };
                }
                Kind::Scope => {
                    scope = n;
                    chooser.by_trace.clear();
                }
                Kind::Metric => {
                    metric = n;
                    if *self == Key::Metric {
                        of_group = ring.find(view.text(n, 1));
                    }
                }
                kind if kind.is_item() => labels.push(match self {
                    Key::Service | Key::Resource | Key::Metric => of_group,
                    Key::Trace => chooser.trace(n, kind),
                    Key::Stream => chooser.identity(&[resource, scope, metric, n]),
                    Key::Attributes(names) => chooser.attributes(names, resource, scope, n, kind),
                }),
                _ => {}
            }
        }
        Ok(labels)
    }
}

struct Chooser<'a, 'v> {
    view: &'a View<'v>,
    ring: &'a Ring,
    room: Vec<u8>,
    /// Of one scope: a trace goes where its first span there goes; logs without a trace go together.
    by_trace: HashMap<Vec<u8>, u16>,
}

impl Chooser<'_, '_> {
    fn service(&mut self, resource: NodeId) -> u16 {
        self.room.clear();
        if let Some(name) = self.view.get(resource, b"service.name") {
            name.as_string(&mut self.room);
        }
        self.ring.find(&self.room)
    }

    fn trace(&mut self, n: NodeId, kind: Kind) -> u16 {
        let id = self.view.text(n, trace_field(kind));
        if !id.is_empty() || kind != Kind::LogRecord {
            return self.ring.find(id);
        }
        let ring = self.ring;
        let choose = || ring.find(&RandomState::new().hash_one(n).to_be_bytes());
        *self.by_trace.entry(Vec::new()).or_insert_with(choose)
    }

    fn attributes(
        &mut self,
        names: &[String],
        resource: NodeId,
        scope: NodeId,
        n: NodeId,
        kind: Kind,
    ) -> u16 {
        let trace = match kind {
            Kind::Span => Some(self.view.text(n, trace_field(kind)).to_vec()),
            _ => None,
        };
        if let Some(known) = trace.as_ref().and_then(|trace| self.by_trace.get(trace)) {
            return *known;
        }
        self.room.clear();
        for name in names {
            let found = [resource, scope]
                .iter()
                .find_map(|above| self.view.get(*above, name.as_bytes()));
            match (found, name.as_str(), kind) {
                (Some(value), ..) => value.as_string(&mut self.room),
                (None, "span.kind", Kind::Span) => {
                    let number = self.view.number(n, 6).unwrap_or(0) as usize;
                    let name = SPAN_KINDS.get(number).copied().unwrap_or_default();
                    self.room.extend_from_slice(name.as_bytes());
                }
                (None, "span.name", Kind::Span) => self.room.extend_from_slice(self.view.text(n, 5)),
                _ => {
                    if let Some(value) = self.view.get(n, name.as_bytes()) {
                        value.as_string(&mut self.room);
                    }
                }
            }
        }
        let label = self.ring.find(&self.room);
        if let Some(trace) = trace {
            self.by_trace.insert(trace, label);
        }
        label
    }

    /// By all that names these nodes: attributes in any order, names, units.
    fn identity(&mut self, nodes: &[NodeId]) -> u16 {
        self.room.clear();
        for n in nodes.iter().copied() {
            let texts: &[u32] = match self.view.kind(n) {
                Kind::Scope => &[1, 2],
                Kind::Metric => &[1, 3],
                _ => &[],
            };
            for field in texts {
                self.room.extend_from_slice(self.view.text(n, *field));
                self.room.push(0);
            }
            if self.view.kind(n) == Kind::Metric {
                self.room.push(self.view.metric_data(n).unwrap_or(0) as u8);
                continue;
            }
            let mut pairs: Vec<(&[u8], Vec<u8>)> = (0..self.view.attrs(n))
                .map(|i| {
                    let mut text = Vec::new();
                    self.view.value(n, i).as_string(&mut text);
                    (self.view.key(n, i), text)
                })
                .collect();
            pairs.sort();
            for (key, text) in pairs {
                self.room.extend_from_slice(key);
                self.room.push(0);
                self.room.extend_from_slice(&text);
                self.room.push(0);
            }
        }
        self.ring.find(&self.room)
    }
}

const SPAN_KINDS: [&str; 6] = [
    "Unspecified",
    "Internal",
    "Server",
    "Client",
    "Producer",
    "Consumer",
];

fn trace_field(kind: Kind) -> u32 {
    match kind {
        Kind::LogRecord => 9,
        _ => 1,
    }
}
