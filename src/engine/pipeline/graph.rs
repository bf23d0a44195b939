//! From the configuration to connected components: checks first, all faults at once, then construction from the
//! exporters upward.
//!
//! Receivers and exporters are one object an id; an exporter has one harness for each signal; a processor is one object
//! for each pipeline, a connector one for each pair of signals. What is configured but not used is built too, to check
//! its configuration, and thrown away.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use component::{
    BuildContext, ConnectorFactory, Consumer, Exporter, Extension, Fault, Hold, Node as HoldingNode, Outcome,
    Outputs, Processor, Push, Receiver, Refusal, Storage,
};
use config::{ComponentId, Diags, PipelineId, Section, Stage};
use parking_lot::Mutex;
use telemetry::{Node, Place, Telemetry};
use wire::{Payload, Signal};

use super::edge::{Edge, Target};
use super::fanout::Fanout;
use super::line::{AsConsumer, GivesOut, Line, TakesIn};
use super::outlet::Outlet;
use super::plan::{self, Plan};
use super::segment::Segment;
use super::timed::timed;
use super::{GraphContext, GraphSpec, PipelineSpec};
use crate::harness::{Entry, Harness, PipelineBatch, Settings};

/// A processor of one pipeline.
type Spot = (PipelineId, ComponentId);

type MakeNode = Box<dyn FnOnce(Arc<dyn Consumer>) -> Arc<dyn HoldingNode> + Send>;

/// Everything that lives, in the order in which it is drained.
pub(crate) struct Built {
    pub(crate) plan: Plan,
    pub(crate) receivers: Vec<Source>,
    /// Upstream first.
    pub(crate) holders: Vec<Holder>,
    pub(crate) exporters: Vec<Sink>,
    pub(crate) harnesses: BTreeMap<(ComponentId, Signal), Arc<Harness>>,
    /// Nodes and connectors, to be found again by a reload.
    nodes: BTreeMap<Spot, (Arc<dyn HoldingNode>, Arc<Outlet>)>,
    hops: BTreeMap<Hop, (Arc<dyn Consumer>, Arc<Outlet>)>,
    /// The ways into harnesses, each from a pipeline that wants batches like this.
    entries: BTreeMap<Way, (Option<PipelineBatch>, Entry)>,
    /// What kept components will send to, once this graph takes over.
    pub(crate) rewires: Mutex<Vec<(Arc<Outlet>, Fanout)>>,
    /// Exporters with the ways to their dead letters, to be connected once those have started.
    pub(crate) letters: Mutex<Vec<Letters>>,
}

/// A receiver and where it sends.
pub(crate) struct Source {
    pub(crate) id: ComponentId,
    pub(crate) receiver: Arc<dyn Receiver>,
    pub(crate) outputs: Outputs,
    pub(crate) outlets: BTreeMap<Signal, Arc<Outlet>>,
}

/// An exporter, and how its harnesses are set.
pub(crate) struct Sink {
    pub(crate) id: ComponentId,
    pub(crate) push: Arc<dyn Push>,
    settings: Settings,
}

/// From a node to an exporter, for a signal.
type Way = (Node, ComponentId, Signal);

/// Components of a running graph that go on in the next one.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// By id, as are the others.
    pub receivers: BTreeSet<ComponentId>,
    /// In each pipeline in which they were before.
    pub processors: BTreeSet<ComponentId>,
    /// With their queues.
    pub exporters: BTreeSet<ComponentId>,
    /// For the pairs of signals that they had before.
    pub connectors: BTreeSet<ComponentId>,
}

/// What runs, and what of it goes on.
#[derive(Clone, Copy)]
pub(crate) struct Before<'a> {
    pub(crate) built: &'a Built,
    pub(crate) kept: &'a Kept,
}

impl<'a> Before<'a> {
    fn receiver(self, id: &ComponentId) -> Option<&'a Source> {
        let is_it = |source: &&Source| source.id == *id && self.kept.receivers.contains(id);
        self.built.receivers.iter().find(is_it)
    }

    fn exporter(self, id: &ComponentId) -> Option<&'a Sink> {
        let is_it = |sink: &&Sink| sink.id == *id && self.kept.exporters.contains(id);
        self.built.exporters.iter().find(is_it)
    }

    fn node(self, spot: &Spot) -> Option<&'a (Arc<dyn HoldingNode>, Arc<Outlet>)> {
        let node = self.built.nodes.get(spot);
        node.filter(|_| self.kept.processors.contains(&spot.1))
    }

    fn hop(self, hop: &Hop) -> Option<&'a (Arc<dyn Consumer>, Arc<Outlet>)> {
        let known = self.built.hops.get(hop);
        known.filter(|_| self.kept.connectors.contains(&hop.id))
    }
}

/// The way from an exporter to its dead letter.
pub(crate) struct Letters {
    from: Arc<Harness>,
    to: ComponentId,
    next: Arc<Fanout>,
}

impl Built {
    /// Connects the exporters that are picked with their dead letters.
    pub(crate) fn connect_letters(&self, pick: impl Fn(&Arc<Harness>) -> bool) {
        self.letters.lock().retain(|way| {
            let picked = pick(&way.from);
            if picked {
                way.from.set_dead_letter(&way.to, way.next.clone());
            }
            !picked
        });
    }
}

/// What may hold data between a receiver and an exporter.
#[derive(Clone)]
pub(crate) enum Holder {
    Node(Arc<dyn HoldingNode>),
    /// The batcher before a connector.
    Batcher(Arc<Harness>),
}

/// Checks, and builds; what is kept of `before` is used again.
pub(crate) fn build(
    spec: GraphSpec,
    cx: &GraphContext,
    before: Option<Before<'_>>,
) -> Result<Built, Vec<Fault>> {
    let mut parts = Parts::build(&spec, cx, before);
    if parts.faults.is_empty() {
        parts.check_cycles(&spec);
    }
    if !parts.faults.is_empty() {
        return Err(parts.faults);
    }
    Construction::new(&spec, cx, parts, before).run()
}

/// The faults of what is there, of a specification that lacks components which its pipelines name.
pub(crate) fn check(spec: &GraphSpec, cx: &GraphContext) -> Vec<Fault> {
    Parts::build(spec, cx, None).faults
}

/// Components before they are connected.
#[derive(Default)]
struct Parts {
    receivers: BTreeMap<ComponentId, Arc<dyn Receiver>>,
    exporters: BTreeMap<ComponentId, (Arc<dyn Push>, Settings)>,
    /// By pipeline, in order.
    processors: Vec<Vec<(ComponentId, Processor)>>,
    faults: Vec<Fault>,
}

impl Parts {
    fn build(spec: &GraphSpec, cx: &GraphContext, before: Option<Before<'_>>) -> Parts {
        let mut parts = Parts::default();
        parts.build_receivers(spec, cx, before);
        parts.build_exporters(spec, cx, before);
        parts.build_processors(spec, cx);
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
            if let Some(kept) = before.and_then(|before| before.exporter(id)) {
                self.exporters
                    .insert((*id).clone(), (kept.push.clone(), kept.settings.clone()));
                continue;
            }
            let used = users(&spec.pipelines, id, |p| &p.exporters);
            let carried = carried(spec, &letters, id);
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
                (Some(Exporter::Collect(_)), _) => {
                    self.refuse(
                        section,
                        format!("exporter \"{id}\" collects objects, which comes with the journal"),
                        "take it out",
                    );
                }
                (Some(Exporter::Push(push)), Some(settings)) if !carried.is_empty() => {
                    let mut settings = settings.clone();
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
                    self.exporters.insert((*id).clone(), (push, settings));
                }
                _ => {}
            }
        }
        self.faults.extend(faults);
    }

    fn build_processors(&mut self, spec: &GraphSpec, cx: &GraphContext) {
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
            self.keep((factory.build)(
                section.clone(),
                &cx.of(id, false),
                Arc::new(Nowhere),
            ));
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
    fn check_cycles(&mut self, spec: &GraphSpec) {
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

/// A connector for one pair of signals.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Hop {
    id: ComponentId,
    from: Signal,
    to: Signal,
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
fn hops(spec: &GraphSpec, id: &ComponentId) -> Vec<Hop> {
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

fn find_cycle(
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

fn supports(factory: &ConnectorFactory, from: Signal, to: Signal) -> bool {
    factory.signals.iter().any(|(f, t, _)| (*f, *t) == (from, to))
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
struct Nowhere;

impl Consumer for Nowhere {
    fn consume(&self, _: Payload) -> component::BoxFuture<'_, Result<Outcome, Refusal>> {
        component::ready(Err(Refusal::unavailable("not connected")))
    }
}

impl GraphContext {
    /// What a component is built with; one that is not used counts into nothing.
    fn of(&self, id: &ComponentId, used: bool) -> BuildContext {
        BuildContext {
            id: id.clone(),
            telemetry: if used {
                self.telemetry.clone()
            } else {
                Telemetry::default()
            },
            memory: self.memory.clone(),
            info: self.info,
        }
    }
}

// --- Construction ---

/// Connects checked components; pipelines behind connectors are built before those in front of them.
struct Construction<'a> {
    spec: &'a GraphSpec,
    cx: &'a GraphContext,
    processors: Vec<Option<Vec<(ComponentId, Processor)>>>,
    exporters: BTreeMap<ComponentId, (Arc<dyn Push>, Settings)>,
    receivers: BTreeMap<ComponentId, Arc<dyn Receiver>>,
    lines: Vec<Option<Arc<Line>>>,
    before: Option<Before<'a>>,
    nodes: BTreeMap<Spot, (Arc<dyn HoldingNode>, Arc<Outlet>)>,
    hops: BTreeMap<Hop, (Arc<dyn Consumer>, Arc<Outlet>)>,
    entries: BTreeMap<Way, (Option<PipelineBatch>, Entry)>,
    rewires: Vec<(Arc<Outlet>, Fanout)>,
    letters: Vec<Letters>,
    harnesses: BTreeMap<(ComponentId, Signal), Arc<Harness>>,
    holders: Vec<Holder>,
    plans: Vec<Option<plan::Pipeline>>,
    faults: Vec<Fault>,
}

impl<'a> Construction<'a> {
    fn new(
        spec: &'a GraphSpec,
        cx: &'a GraphContext,
        parts: Parts,
        before: Option<Before<'a>>,
    ) -> Construction<'a> {
        let count = spec.pipelines.len();
        Construction {
            spec,
            cx,
            processors: parts.processors.into_iter().map(Some).collect(),
            exporters: parts.exporters,
            receivers: parts.receivers,
            lines: vec![None; count],
            before,
            nodes: BTreeMap::new(),
            hops: BTreeMap::new(),
            entries: BTreeMap::new(),
            rewires: Vec::new(),
            letters: Vec::new(),
            harnesses: BTreeMap::new(),
            holders: Vec::new(),
            plans: (0..count).map(|_| None).collect(),
            faults: Vec::new(),
        }
    }

    fn run(mut self) -> Result<Built, Vec<Fault>> {
        for at in 0..self.spec.pipelines.len() {
            self.line(at);
        }
        let letters = self.dead_letters();
        let mut receivers = Vec::new();
        for (id, receiver) in std::mem::take(&mut self.receivers) {
            let kept = self.before.and_then(|before| before.receiver(&id));
            let kept = kept.filter(|kept| Arc::ptr_eq(&kept.receiver, &receiver));
            let (mut outputs, mut outlets) = (Outputs::default(), BTreeMap::new());
            for signal in Signal::ALL {
                let from = Node::Receiver(id.to_string());
                if let Some(fanout) = self.fanout_to_pipelines(from, &id, signal) {
                    let outlet = self.outlet(kept.and_then(|kept| kept.outlets.get(&signal)), fanout);
                    outputs.set(signal, outlet.clone());
                    outlets.insert(signal, outlet);
                }
            }
            receivers.push(Source {
                id,
                receiver,
                outputs,
                outlets,
            });
        }
        if !self.faults.is_empty() {
            return Err(self.faults);
        }
        // They were added from the exporters upward.
        self.holders.reverse();
        Ok(Built {
            plan: Plan::new(self.plans.into_iter().flatten().collect(), letters),
            receivers,
            holders: self.holders,
            exporters: self
                .exporters
                .into_iter()
                .map(|(id, (push, settings))| Sink { id, push, settings })
                .collect(),
            harnesses: self.harnesses,
            nodes: self.nodes,
            hops: self.hops,
            entries: self.entries,
            rewires: Mutex::new(self.rewires),
            letters: Mutex::new(self.letters),
        })
    }

    /// A new outlet, or the one that there is, with what it will lead to.
    fn outlet(&mut self, kept: Option<&Arc<Outlet>>, fanout: Fanout) -> Arc<Outlet> {
        match kept {
            None => Outlet::new(fanout),
            Some(kept) => {
                self.rewires.push((kept.clone(), fanout));
                kept.clone()
            }
        }
    }

    /// Edges from a node that has books: what leaves it is counted against all of them.
    fn counted(&self, from: &Node, signal: Signal, edges: Vec<Edge>) -> Fanout {
        let to = edges.iter().map(|edge| edge.to().clone()).collect();
        let fan = self.cx.telemetry.ledger.fan(from, to, signal);
        Fanout::new(edges).counted(fan)
    }

    fn row(&self, node: Node, signal: Signal) -> Arc<telemetry::Row> {
        self.cx.telemetry.ledger.row(Place::Node(node), signal)
    }

    /// All pipelines of a signal that name `id` as their receiver.
    fn fanout_to_pipelines(&mut self, from: Node, id: &ComponentId, signal: Signal) -> Option<Fanout> {
        let mut edges = Vec::new();
        for at in 0..self.spec.pipelines.len() {
            let pipeline = &self.spec.pipelines[at];
            if pipeline.signal == signal && pipeline.receivers.contains(id) {
                let target = Target::Line(self.line(at));
                let to = Node::Pipeline(pipeline.id.to_string());
                edges.push(Edge::new(
                    &self.cx.telemetry.ledger,
                    from.clone(),
                    to,
                    signal,
                    target,
                ));
            }
        }
        (!edges.is_empty()).then(|| self.counted(&from, signal, edges))
    }

    /// The pipeline as a consumer, built with what is behind it.
    fn line(&mut self, at: usize) -> Arc<Line> {
        if let Some(line) = &self.lines[at] {
            return line.clone();
        }
        let spec = &self.spec.pipelines[at];
        let processors = self.processors[at]
            .take()
            .expect("each pipeline is built once, there are no cycles");
        let mut plan = plan::Pipeline::new(spec);
        let batch = processors
            .iter()
            .rev()
            .find_map(|(id, processor)| match processor {
                Processor::Flush(policy) => Some(PipelineBatch {
                    policy: policy.clone(),
                    processor: id.to_string(),
                }),
                _ => None,
            });
        // From the end, as what is behind must be there first. Nodes cut the pipeline into parts, each with its books.
        let mut names = vec![Node::Pipeline(spec.id.to_string())];
        for (id, processor) in &processors {
            if matches!(processor, Processor::Node(_)) {
                names.push(Node::Pipeline(format!("{} after {id}", spec.id)));
            }
        }
        let mut name = names.pop().expect("begins with one");
        let mut behind = self.fanout_to_exporters(spec, &name, batch.as_ref(), &mut plan);
        let mut stages = Vec::new();
        for (id, processor) in processors.into_iter().rev() {
            match processor {
                Processor::Flush(_) => {}
                Processor::Node(make) => {
                    let part = self.part(spec, &name, std::mem::take(&mut stages), behind, &mut plan);
                    let before = names.pop().expect("one for each node");
                    let here = (&before, &name);
                    behind = self.node(spec, &id, make, here, part, &mut plan);
                    name = before;
                }
                stage => stages.push((id, stage)),
            }
        }
        let line = self.part(spec, &name, stages, behind, &mut plan);
        self.plans[at] = Some(plan);
        self.lines[at] = Some(line.clone());
        line
    }

    /// Gates and trees up to what is `behind`; `stages` come last first.
    fn part(
        &mut self,
        spec: &PipelineSpec,
        name: &Node,
        stages: Vec<(ComponentId, Processor)>,
        behind: Fanout,
        plan: &mut plan::Pipeline,
    ) -> Arc<Line> {
        let (mut gates, mut trees, mut rows, mut ids) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (id, stage) in stages.into_iter().rev() {
            let node = Node::Processor {
                pipeline: spec.id.to_string(),
                id: id.to_string(),
            };
            let row = self.row(node, spec.signal);
            match timed(stage, &id.to_string(), spec.signal, &self.cx.telemetry) {
                Processor::Gate(gate) => {
                    plan.gates.push(id.to_string());
                    gates.push((gate, row));
                }
                Processor::Tree(tree) => {
                    ids.push(id.to_string());
                    trees.push(tree);
                    rows.push(row);
                }
                Processor::Node(_) | Processor::Flush(_) => unreachable!("the caller keeps these"),
            }
        }
        let segment = (!trees.is_empty()).then(|| {
            let labels = vec![("pipeline", spec.id.to_string()), ("processor", ids.join(", "))];
            let panics = self.cx.telemetry.metrics.counter("weir_processor_panics", labels);
            let segment = Segment::new(trees, panics);
            plan.steps.insert(
                0,
                plan::Step::Segment {
                    stages: ids,
                    touches: segment.touches(),
                },
            );
            (segment, rows)
        });
        Arc::new(Line {
            row: self.row(name.clone(), spec.signal),
            gates,
            segment,
            next: behind,
        })
    }

    /// A node between the part `here.0` and the part `here.1`, as the only thing behind the former.
    fn node(
        &mut self,
        spec: &PipelineSpec,
        id: &ComponentId,
        make: MakeNode,
        here: (&Node, &Node),
        part: Arc<Line>,
        plan: &mut plan::Pipeline,
    ) -> Fanout {
        let (ledger, signal) = (&self.cx.telemetry.ledger, spec.signal);
        let node = Node::Processor {
            pipeline: spec.id.to_string(),
            id: id.to_string(),
        };
        let row = self.row(node.clone(), signal);
        let out = Edge::new(ledger, node.clone(), here.1.clone(), signal, Target::Line(part));
        let fanout = self.counted(&node, signal, vec![out]);
        let spot = (spec.id.clone(), id.clone());
        let (made, outlet) = match self.before.and_then(|before| before.node(&spot)) {
            Some((kept, outlet)) => (kept.clone(), self.outlet(Some(outlet), fanout)),
            None => {
                let outlet = self.outlet(None, fanout);
                let next = outlet.clone();
                (
                    make(Arc::new(GivesOut {
                        row: row.clone(),
                        next,
                    })),
                    outlet,
                )
            }
        };
        self.nodes.insert(spot, (made.clone(), outlet));
        let hold = self.spec.processors.get(id).map(|(factory, _)| factory.hold);
        plan.steps.insert(
            0,
            plan::Step::Node {
                id: id.to_string(),
                hold: hold.unwrap_or(Hold::PassThrough),
                held_max: made.held_max(),
            },
        );
        self.holders.push(Holder::Node(made.clone()));
        let next = Arc::new(TakesIn {
            row,
            next: Arc::new(AsConsumer(made)),
        });
        let ledger = &self.cx.telemetry.ledger;
        let into = Edge::new(ledger, here.0.clone(), node, signal, Target::Consumer(next));
        self.counted(here.0, signal, vec![into])
    }

    /// What the pipeline ends in: exporters with their harness, connectors with a batcher where there is `batch`.
    fn fanout_to_exporters(
        &mut self,
        spec: &PipelineSpec,
        from: &Node,
        batch: Option<&PipelineBatch>,
        plan: &mut plan::Pipeline,
    ) -> Fanout {
        let mut edges = Vec::new();
        let mut seen = BTreeSet::new();
        for id in spec.exporters.iter().filter(|id| seen.insert(*id)) {
            if self.spec.connectors.contains_key(id) {
                for hop in hops(self.spec, id).into_iter().filter(|h| h.from == spec.signal) {
                    edges.extend(self.connector(hop, spec, from, batch, plan));
                }
                continue;
            }
            let Some(harness) = self.harness(id, spec.signal) else {
                continue;
            };
            plan.ends.push(plan::End::exporter(id, harness.settings(), batch));
            let to = Node::Exporter(id.to_string());
            let target = Target::Entry(self.entry(&harness, (from.clone(), id.clone(), spec.signal), batch));
            edges.push(Edge::new(
                &self.cx.telemetry.ledger,
                from.clone(),
                to,
                spec.signal,
                target,
            ));
        }
        self.counted(from, spec.signal, edges)
    }

    /// The way into a harness. What gathered in a kept one for this pipeline goes on gathering.
    fn entry(&mut self, harness: &Arc<Harness>, way: Way, batch: Option<&PipelineBatch>) -> Entry {
        let is_kept = |built: &Built| {
            let known = built.harnesses.get(&(way.1.clone(), way.2));
            known.is_some_and(|known| Arc::ptr_eq(known, harness))
        };
        let known = self.before.filter(|before| is_kept(before.built));
        let known = known.and_then(|before| before.built.entries.get(&way));
        let entry = match known.filter(|(known, _)| known.as_ref() == batch) {
            Some((_, entry)) => entry.clone(),
            None => harness.entry(batch),
        };
        self.entries.insert(way, (batch.cloned(), entry.clone()));
        entry
    }

    /// The harness of an exporter for a signal, made at first use.
    fn harness(&mut self, id: &ComponentId, signal: Signal) -> Option<Arc<Harness>> {
        let (push, settings) = self.exporters.get(id)?;
        let kept = self.before.filter(|before| before.exporter(id).is_some());
        let kept = kept.and_then(|before| before.built.harnesses.get(&(id.clone(), signal)));
        let make = || {
            if let Some(kept) = kept {
                return kept.clone();
            }
            let (telemetry, memory) = (&self.cx.telemetry, &self.cx.memory);
            Harness::new(id, signal, push.clone(), settings.clone(), telemetry, memory)
        };
        let harness = self.harnesses.entry((id.clone(), signal)).or_insert_with(make);
        Some(harness.clone())
    }

    /// Connects exporters with their dead letters, which may have dead letters of their own. For the plan: those that
    /// there are.
    fn dead_letters(&mut self) -> Vec<plan::End> {
        let mut left: Vec<((ComponentId, Signal), Arc<Harness>)> = self
            .harnesses
            .iter()
            .map(|(key, harness)| (key.clone(), harness.clone()))
            .collect();
        let (mut done, mut ends) = (BTreeSet::new(), BTreeMap::new());
        while let Some(((from, signal), harness)) = left.pop() {
            if !done.insert((from.clone(), signal)) {
                continue;
            }
            let Some(id) = harness.dead_letter() else { continue };
            let Some(letter) = self.harness(id, signal) else {
                continue;
            };
            let (from, to) = (Node::Exporter(from.to_string()), Node::Exporter(id.to_string()));
            let target = Target::Entry(letter.entry(None).required());
            let edge = Edge::new(&self.cx.telemetry.ledger, from, to, signal, target);
            self.letters.push(Letters {
                from: harness.clone(),
                to: id.clone(),
                next: Arc::new(Fanout::new(vec![edge])),
            });
            ends.insert(id.clone(), plan::End::exporter(id, letter.settings(), None));
            left.push(((id.clone(), signal), letter));
        }
        ends.into_values().collect()
    }

    fn connector(
        &mut self,
        hop: Hop,
        spec: &PipelineSpec,
        from: &Node,
        batch: Option<&PipelineBatch>,
        plan: &mut plan::Pipeline,
    ) -> Option<Edge> {
        let (ledger, memory) = (&self.cx.telemetry.ledger, &self.cx.memory);
        let name = self.connector_name(&hop);
        let node = Node::Connector(name.clone());
        let consumer = match self.hops.get(&hop) {
            Some((consumer, _)) => consumer.clone(),
            None => {
                let fanout = self.fanout_to_pipelines(node.clone(), &hop.id, hop.to)?;
                let (consumer, outlet) = match self.before.and_then(|before| before.hop(&hop)) {
                    Some((kept, outlet)) => (kept.clone(), self.outlet(Some(outlet), fanout)),
                    None => {
                        let outlet = self.outlet(None, fanout);
                        let (row, next) = (self.row(node.clone(), hop.to), outlet.clone());
                        let next = Arc::new(GivesOut { row, next });
                        let (factory, section) = self.spec.connectors.get(&hop.id)?;
                        let built = (factory.build)(section.clone(), &self.cx.of(&hop.id, true), next);
                        (built.map_err(|fault| self.faults.push(fault)).ok()?, outlet)
                    }
                };
                self.hops.insert(hop.clone(), (consumer.clone(), outlet));
                consumer
            }
        };
        plan.ends.push(plan::End::connector(&name, hop.to, batch));
        let target = match batch {
            None => Target::Consumer(Arc::new(TakesIn {
                row: self.row(node.clone(), hop.from),
                next: consumer,
            })),
            Some(batch) => {
                let harness = Harness::before(&name, hop.from, consumer, &self.cx.telemetry, memory);
                let entry = harness.entry(Some(batch));
                self.holders.push(Holder::Batcher(harness));
                Target::Entry(entry)
            }
        };
        Some(Edge::new(ledger, from.clone(), node, spec.signal, target))
    }

    /// The books keep two conversions of one connector apart.
    fn connector_name(&self, hop: &Hop) -> String {
        let of_signal = hops(self.spec, &hop.id)
            .into_iter()
            .filter(|h| h.from == hop.from);
        match of_signal.count() {
            1 => hop.id.to_string(),
            _ => format!("{} ({} to {})", hop.id, hop.from.as_str(), hop.to.as_str()),
        }
    }
}
