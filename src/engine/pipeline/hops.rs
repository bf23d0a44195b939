//! Connectors between pipelines: for which pairs of signals they stand, and that no way leads back to where it began.

use std::collections::BTreeSet;

use component::ConnectorFactory;
use config::{ComponentId, PipelineId};
use wire::Signal;

use super::{GraphSpec, PipelineSpec};

/// A connector for one pair of signals.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Hop {
    pub(super) id: ComponentId,
    pub(super) from: Signal,
    pub(super) to: Signal,
}

impl Hop {
    fn name(&self) -> String {
        format!(
            "connector \"{}\" ({} to {})",
            self.id,
            self.from.as_str(),
            self.to.as_str()
        )
    }
}

/// The pairs of signals for which a connector has pipelines on both sides.
pub(super) fn hops(spec: &GraphSpec, id: &ComponentId) -> Vec<Hop> {
    let Some((factory, _)) = spec.connectors.get(id) else {
        return Vec::new();
    };
    let has = |signal: Signal, of: fn(&PipelineSpec) -> &Vec<ComponentId>| {
        spec.pipelines
            .iter()
            .any(|p| p.signal == signal && of(p).contains(id))
    };
    let pairs = factory
        .signals
        .iter()
        .filter(|(from, to, _)| has(*from, |p| &p.exporters) && has(*to, |p| &p.receivers));
    pairs
        .map(|(from, to, _)| Hop {
            id: id.clone(),
            from: *from,
            to: *to,
        })
        .collect()
}

pub(super) fn find_cycle(
    spec: &GraphSpec,
    hop: Hop,
    way: &mut Vec<(Hop, String)>,
    done: &mut BTreeSet<Hop>,
) -> Option<String> {
    if let Some(start) = way.iter().position(|(h, _)| *h == hop) {
        let mut text = String::new();
        for (hop, between) in &way[start..] {
            text.push_str(&hop.name());
            text.push_str(between);
            text.push_str(" -> ");
        }
        return Some(text + &hop.name());
    }
    if done.contains(&hop) {
        return None;
    }
    for pipeline in &spec.pipelines {
        if pipeline.signal != hop.to || !pipeline.receivers.contains(&hop.id) {
            continue;
        }
        let between: String = pipeline
            .processors
            .iter()
            .map(|p| format!(" -> processor \"{p}\" in pipeline \"{}\"", pipeline.id))
            .collect();
        way.push((hop.clone(), between));
        let behind = pipeline.exporters.iter().flat_map(|id| hops(spec, id));
        for next in behind.filter(|h| h.from == pipeline.signal) {
            if let Some(cycle) = find_cycle(spec, next, way, done) {
                return Some(cycle);
            }
        }
        way.pop();
    }
    done.insert(hop);
    None
}

pub(super) fn supports(factory: &ConnectorFactory, from: Signal, to: Signal) -> bool {
    factory.signals.iter().any(|(f, t, _)| (*f, *t) == (from, to))
}

/// The pipelines of a signal that name a connector as their receiver, in the order of the configuration.
pub(super) fn pipelines_behind(spec: &GraphSpec, id: &ComponentId, to: Signal) -> Vec<PipelineId> {
    let behind = spec
        .pipelines
        .iter()
        .filter(|p| p.signal == to && p.receivers.contains(id));
    behind.map(|p| p.id.clone()).collect()
}
