//! Components before they are connected: each built from its section, and every fault that can be told of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use component::{
    Books, BoxFuture, BuildContext, Consumer, Exporter, Extension, Fault, Joint, Outcome, Processor, Push,
    Receiver, Refusal, Storage, Ways,
};
use config::{ComponentId, Diags, PipelineId, Section, Stage};
use telemetry::{Place, Telemetry};
use wire::{Payload, Signal};

use super::graph::{Before, Sink};
use super::hops::{find_cycle, hops, pipelines_behind, supports};
use super::stages::Stage as Living;
use super::{GraphContext, GraphSpec, PipelineSpec};
use crate::harness::config::faults_of_gathering;
use crate::harness::{Gathering, Settings};

/// Components before they are connected.
#[derive(Default)]
pub(super) struct Parts {
    pub(super) receivers: BTreeMap<ComponentId, Arc<dyn Receiver>>,
    pub(super) exporters: BTreeMap<ComponentId, (Arc<dyn Push>, Settings)>,
    /// By pipeline, in order.
    pub(super) processors: Vec<Vec<(ComponentId, Processor)>>,
    pub(super) faults: Vec<Fault>,
}

impl Parts {
    pub(super) fn build(spec: &GraphSpec, cx: &GraphContext, before: Option<Before<'_>>) -> Parts {
        let mut parts = Parts::default();
        parts.build_receivers(spec, cx, before);
        parts.build_exporters(spec, cx, before);
        parts.build_processors(spec, cx, before);
        parts.check_connectors(spec, cx);
        parts
    }

    fn keep<T>(&mut self, built: Result<T, Fault>) -> Option<T> {
        built.map_err(|fault| self.faults.push(fault)).ok()
    }

    fn refuse(&mut self, section: &Section, message: String, help: &str) {
        let message = format!("failed to build pipelines: {message}");
        let fault = section.diag("", message).at(Stage::Build).with_help(help);
        self.faults.push(Diags::from(fault).into());
    }

    fn build_receivers(&mut self, spec: &GraphSpec, cx: &GraphContext, before: Option<Before<'_>>) {
        for (id, (factory, section)) in &spec.receivers {
            let used = users(&spec.pipelines, id, |p| &p.receivers);
            if let Some(kept) = before.and_then(|before| before.receiver(id)) {
                let signals: BTreeSet<Signal> = used.iter().map(|p| p.signal).collect();
                if kept.outlets.keys().eq(&signals) {
                    self.receivers.insert(id.clone(), kept.receiver.clone());
                    continue;
                }
            }
            let made = (factory.build)(section.clone(), &cx.of(id, !used.is_empty()));
            let made = self.keep(made);
            for pipeline in &used {
                if !factory.signals.iter().any(|(s, _)| *s == pipeline.signal) {
                    let help = takes(factory.signals, &pipeline.id);
                    self.refuse(section, unsupported(id, "receiver", pipeline.signal), &help);
                }
            }
            if let (Some(made), false) = (made, used.is_empty()) {
                self.receivers.insert(id.clone(), made);
            }
        }
    }

    fn build_exporters(&mut self, spec: &GraphSpec, cx: &GraphContext, before: Option<Before<'_>>) {
        let mut all = BTreeMap::new();
        for (id, (factory, section)) in &spec.exporters {
            let mut section = section.clone();
            let settings = self.keep(Settings::take(&mut section, &factory.harness).map_err(Fault::from));
            all.insert(id, (factory, section, settings));
        }
        let letters = all
            .iter()
            .filter_map(|(id, (_, _, settings))| Some((*id, settings.as_ref()?.dead_letter.as_ref()?)));
        let letters: BTreeMap<&ComponentId, &ComponentId> = letters.collect();
        let mut faults = Vec::new();
        for (id, (factory, section, settings)) in &all {
            let carried = carried(spec, &letters, id);
            let kept = before.and_then(|before| Some((before, before.exporter(id)?)));
            // A collector was told of its signals when it started.
            let goes_on = |(before, kept): &(Before<'_>, &Sink)| {
                kept.settings.gathering.is_none() || before.signals(id) == carried
            };
            if let Some((_, kept)) = kept.filter(goes_on) {
                self.exporters
                    .insert((*id).clone(), (kept.push.clone(), kept.settings.clone()));
                continue;
            }
            let used = users(&spec.pipelines, id, |p| &p.exporters);
            let made = self.keep((factory.build)(section.clone(), &cx.of(id, !carried.is_empty())));
            for pipeline in &used {
                if !factory.signals.iter().any(|(s, _)| *s == pipeline.signal) {
                    let help = takes(factory.signals, &pipeline.id);
                    self.refuse(section, unsupported(id, "exporter", pipeline.signal), &help);
                }
            }
            let fault = letters
                .get(id)
                .and_then(|_| dead_letter_fault(spec, &letters, id, &carried));
            faults.extend(fault.map(|(message, help)| {
                let fault = section
                    .diag("dead_letter", message)
                    .at(Stage::Build)
                    .with_help(help);
                Fault::from(Diags::from(fault))
            }));
            match (made, settings) {
                (Some(made), Some(settings)) if !carried.is_empty() => {
                    let mut settings = settings.clone();
                    let push = match made {
                        Exporter::Push(push) => push,
                        Exporter::Collect(collect) => {
                            let wrong = faults_of_gathering(&settings, section);
                            faults.extend(
                                wrong
                                    .into_iter()
                                    .map(|fault| Fault::from(Diags::from(fault.at(Stage::Build)))),
                            );
                            if let Some(queue) = &mut settings.queue
                                && queue.storage.is_some()
                                && !settings.written.queue_size
                            {
                                // What is owed for a quarter of an hour is bounded by the storage alone.
                                queue.size = usize::MAX;
                            }
                            let gathering = Gathering::new(id.to_string(), collect);
                            settings.gathering = Some(gathering.clone());
                            gathering
                        }
                    };
                    if let (Some(queue), Some(extensions)) = (&settings.queue, &spec.extensions)
                        && let Some(storage) = &queue.storage
                    {
                        match find_storage(extensions, storage) {
                            Ok(found) => {
                                settings.storage = Some(found);
                                settings.context_keys = context_keys(&*push, extensions);
                            }
                            Err(message) => {
                                let fault = section.fault("sending_queue.storage", message);
                                self.faults.push(fault.into());
                            }
                        }
                    }
                    if settings.gathering.is_none() {
                        settings.apart_by = push.context_keys();
                    }
                    self.exporters.insert((*id).clone(), (push, settings));
                }
                _ => {}
            }
        }
        self.faults.extend(faults);
    }

    fn build_processors(&mut self, spec: &GraphSpec, cx: &GraphContext, before: Option<Before<'_>>) {
        for pipeline in &spec.pipelines {
            let mut made = Vec::new();
            for id in &pipeline.processors {
                let Some((factory, section)) = spec.processors.get(id) else {
                    continue;
                };
                if !factory.signals.iter().any(|(s, _)| *s == pipeline.signal) {
                    let message = format!(
                        "failed to create \"{id}\" processor, in pipeline \"{}\": telemetry type is not supported",
                        pipeline.id
                    );
                    self.refuse(section, message, &takes(factory.signals, &pipeline.id));
                    continue;
                }
                let kept = before.and_then(|before| before.stage(&(pipeline.id.clone(), id.clone())));
                if let Some(kept) = kept.and_then(Living::processor) {
                    made.push((id.clone(), kept));
                    continue;
                }
                let built = (factory.build)(section.clone(), &cx.of(id, true), pipeline.signal);
                if let Some(processor) = self.keep(built) {
                    made.push((id.clone(), processor));
                }
            }
            self.processors.push(made);
        }
        for (id, (factory, section)) in &spec.processors {
            let used = spec.pipelines.iter().any(|p| p.processors.contains(id));
            if let (false, Some((signal, _))) = (used, factory.signals.first()) {
                self.keep((factory.build)(section.clone(), &cx.of(id, false), *signal));
            }
        }
    }

    fn check_connectors(&mut self, spec: &GraphSpec, cx: &GraphContext) {
        for (id, (factory, section)) in &spec.connectors {
            let hops = hops(spec, id).into_iter().map(|hop| (hop.from, hop.to));
            let mut pairs: Vec<(Signal, Signal)> = hops.collect();
            if let (true, Some((from, to, _))) = (pairs.is_empty(), factory.signals.first()) {
                pairs.push((*from, *to));
            }
            for (from, to) in pairs {
                let joint = Nowhere::joint(spec, id, from, to);
                let built = self.keep((factory.build)(section.clone(), &cx.of(id, false), joint));
                if built.is_none() {
                    break; // the others have the same fault
                }
            }
            let into = users(&spec.pipelines, id, |p| &p.exporters);
            let out_of = users(&spec.pipelines, id, |p| &p.receivers);
            let side = |side: &str, pipelines: &[&PipelineSpec], other: &str| {
                let ids: Vec<String> = pipelines.iter().map(|p| p.id.to_string()).collect();
                format!(
                    "connector \"{id}\" used as {side} in [{}] pipeline but not used in any supported {other} pipeline",
                    ids.join(" ")
                )
            };
            let lonely = |here: &PipelineSpec, there: &[&PipelineSpec], downward: bool| {
                !there.iter().any(|t| match downward {
                    true => supports(factory, here.signal, t.signal),
                    false => supports(factory, t.signal, here.signal),
                })
            };
            let (lonely_in, _): (Vec<&PipelineSpec>, Vec<_>) =
                into.iter().partition(|p| lonely(p, &out_of, true));
            let (lonely_out, _): (Vec<&PipelineSpec>, Vec<_>) =
                out_of.iter().partition(|p| lonely(p, &into, false));
            if !lonely_in.is_empty() {
                let help =
                    format!("name \"{id}\" among the receivers of the pipeline that goes on from here");
                self.refuse(section, side("exporter", &lonely_in, "receiver"), &help);
            }
            if !lonely_out.is_empty() {
                let help = format!("name \"{id}\" among the exporters of the pipeline that comes before");
                self.refuse(section, side("receiver", &lonely_out, "exporter"), &help);
            }
        }
    }

    /// Depth-first over connectors; the first way back to a connector that is being visited is a cycle.
    pub(super) fn check_cycles(&mut self, spec: &GraphSpec) {
        let mut done = BTreeSet::new();
        for (id, (_, section)) in &spec.connectors {
            for hop in hops(spec, id) {
                let mut way = Vec::new();
                if let Some(cycle) = find_cycle(spec, hop, &mut way, &mut done) {
                    let help = "take one of these connectors out of one pipeline";
                    return self.refuse(section, format!("cycle detected: {cycle}"), help);
                }
            }
        }
    }
}

fn find_storage(
    extensions: &BTreeMap<ComponentId, Arc<dyn Extension>>,
    id: &ComponentId,
) -> Result<Storage, String> {
    let extension = extensions.get(id).ok_or_else(|| {
        format!("no storage client extension found: \"{id}\" is not listed in service::extensions")
    })?;
    let found = extension.storage();
    found.ok_or_else(|| format!("requested extension is not a storage extension: \"{id}\""))
}

/// What an exporter reads of the clients' metadata: itself, its authenticator, and whoever that one asks.
fn context_keys(push: &dyn Push, extensions: &BTreeMap<ComponentId, Arc<dyn Extension>>) -> Vec<String> {
    let mut keys = push.context_keys();
    let mut seen = BTreeSet::new();
    let mut left: Vec<ComponentId> = push.authenticator().into_iter().collect();
    while let Some(id) = left.pop() {
        if let Some(extension) = extensions.get(&id).filter(|_| seen.insert(id)) {
            keys.extend(extension.context_keys());
            left.extend(extension.after());
        }
    }
    keys
}

/// What to do about a component in a pipeline of a signal that it does not know.
fn takes(signals: &[(Signal, component::Stability)], pipeline: &PipelineId) -> String {
    let names: Vec<&str> = signals.iter().map(|(signal, _)| signal.as_str()).collect();
    format!(
        "take it out of pipeline \"{pipeline}\": it knows {}",
        names.join(", ")
    )
}

fn unsupported(id: &ComponentId, what: &str, signal: Signal) -> String {
    format!(
        "failed to create \"{id}\" {what} for data type \"{}\": telemetry type is not supported",
        signal.as_str()
    )
}

fn users<'a>(
    pipelines: &'a [PipelineSpec],
    id: &ComponentId,
    of: fn(&PipelineSpec) -> &Vec<ComponentId>,
) -> Vec<&'a PipelineSpec> {
    pipelines.iter().filter(|p| of(p).contains(id)).collect()
}

/// The signals that reach an exporter: from pipelines, and from exporters whose dead letter it is.
fn carried(
    spec: &GraphSpec,
    letters: &BTreeMap<&ComponentId, &ComponentId>,
    id: &ComponentId,
) -> BTreeSet<Signal> {
    let mut carried = BTreeSet::new();
    let (mut found, mut next) = (BTreeSet::from([id]), vec![id]);
    while let Some(id) = next.pop() {
        carried.extend(
            users(&spec.pipelines, id, |p| &p.exporters)
                .iter()
                .map(|p| p.signal),
        );
        let senders = letters.iter().filter(|(_, to)| **to == id).map(|(from, _)| *from);
        next.extend(senders.filter(|from| found.insert(from)));
    }
    carried
}

/// What is wrong with the dead letter of an exporter, and what to do about it.
fn dead_letter_fault(
    spec: &GraphSpec,
    letters: &BTreeMap<&ComponentId, &ComponentId>,
    id: &ComponentId,
    carried: &BTreeSet<Signal>,
) -> Option<(String, String)> {
    let to = *letters.get(id)?;
    let Some((factory, _)) = spec.exporters.get(to) else {
        let message = format!("failed to build pipelines: the dead letter \"{to}\" is not an exporter");
        return Some((message, "name an id that stands below `exporters`".into()));
    };
    let mut way = vec![id];
    while let Some(next) = letters.get(way[way.len() - 1]) {
        if *next == id {
            let names: Vec<String> = way
                .iter()
                .chain([&id])
                .map(|id| format!("exporter \"{id}\""))
                .collect();
            let message = format!(
                "failed to build pipelines: cycle detected: {}",
                names.join(" -> ")
            );
            return Some((
                message,
                "a dead letter must not lead back to where it comes from".into(),
            ));
        }
        if way.contains(next) {
            break; // a cycle further on, told where it is
        }
        way.push(next);
    }
    let missing = carried
        .iter()
        .find(|s| !factory.signals.iter().any(|(known, _)| known == *s))?;
    let known: Vec<&str> = factory
        .signals
        .iter()
        .map(|(signal, _)| signal.as_str())
        .collect();
    let message = format!(
        "failed to build pipelines: the dead letter \"{to}\" does not take {}",
        missing.as_str()
    );
    Some((message, format!("it knows {}", known.join(", "))))
}

/// Stands behind a connector that is built for its faults only.
struct Nowhere(Vec<PipelineId>);

impl Nowhere {
    /// A connector between pipelines that are there.
    fn joint(spec: &GraphSpec, id: &ComponentId, from: Signal, to: Signal) -> Joint {
        let books = |signal| {
            let node = telemetry::Node::Connector(id.to_string());
            Books::new(Telemetry::default().ledger.row(Place::Node(node), signal))
        };
        let nowhere = Arc::new(Nowhere(pipelines_behind(spec, id, to)));
        Joint {
            from,
            to,
            next: nowhere.clone(),
            ways: nowhere,
            books: books(from),
            made: books(to),
        }
    }

    fn refuse<'a>(&self) -> BoxFuture<'a, Result<Outcome, Refusal>> {
        component::ready(Err(Refusal::unavailable("not connected")))
    }
}

impl Consumer for Nowhere {
    fn consume(&self, _: Payload) -> BoxFuture<'_, Result<Outcome, Refusal>> {
        self.refuse()
    }
}

impl Ways for Nowhere {
    fn pipelines(&self) -> &[PipelineId] {
        &self.0
    }

    fn send(&self, _: Vec<(usize, Payload)>) -> BoxFuture<'_, Result<Outcome, Refusal>> {
        self.refuse()
    }
}

impl GraphContext {
    /// What a component is built with; one that is not used counts into nothing.
    pub(super) fn of(&self, id: &ComponentId, used: bool) -> BuildContext {
        BuildContext {
            id: id.clone(),
            telemetry: if used {
                self.telemetry.clone()
            } else {
                Telemetry::default()
            },
            memory: self.memory.clone(),
            info: self.info,
            gates: self.gates.clone(),
        }
    }
}
