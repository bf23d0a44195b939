//! Connects checked components; pipelines behind connectors are built before those in front of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use component::{
    Books, Connector, Consumer, Fault, Hold, Joint, MakeNode, Node as HoldingNode, Outputs, Processor, Push,
    Receiver, Tree,
};
use config::ComponentId;
use parking_lot::Mutex;
use telemetry::{Counter, Node, Place, Row};
use wire::Signal;

use super::edge::{Edge, Target};
use super::fanout::Fanout;
use super::graph::{Before, Built, Holder, Joined, Letters, Sink, Source, Spot, Way};
use super::hops::{Hop, hops, pipelines_behind};
use super::line::{AsConsumer, GivesOut, Line, TakesIn};
use super::outlet::Outlet;
use super::parts::Parts;
use super::plan::{self, Plan};
use super::segment::Segment;
use super::stages::{Living, Stage};
use super::step::Step;
use super::timed::timed;
use super::ways::Forks;
use super::{GraphContext, GraphSpec, PipelineSpec};
use crate::harness::{Entry, Harness, PipelineBatch, Settings};

/// A graph that is being built.
pub(super) struct Construction<'a> {
    spec: &'a GraphSpec,
    cx: &'a GraphContext,
    processors: Vec<Option<Vec<(ComponentId, Processor)>>>,
    exporters: BTreeMap<ComponentId, (Arc<dyn Push>, Settings)>,
    receivers: BTreeMap<ComponentId, Arc<dyn Receiver>>,
    lines: Vec<Option<Arc<Line>>>,
    before: Option<Before<'a>>,
    nodes: BTreeMap<Spot, (Arc<dyn HoldingNode>, Arc<Outlet>)>,
    hops: BTreeMap<Hop, Joined>,
    stages: BTreeMap<Spot, Stage>,
    living: Vec<Living>,
    entries: BTreeMap<Way, (Option<PipelineBatch>, Entry)>,
    rewires: Vec<(Arc<Outlet>, Fanout)>,
    letters: Vec<Letters>,
    harnesses: BTreeMap<(ComponentId, Signal), Arc<Harness>>,
    holders: Vec<Holder>,
    plans: Vec<Option<plan::Pipeline>>,
    faults: Vec<Fault>,
}

impl<'a> Construction<'a> {
    pub(super) fn new(
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
            stages: BTreeMap::new(),
            living: Vec::new(),
            entries: BTreeMap::new(),
            rewires: Vec::new(),
            letters: Vec::new(),
            harnesses: BTreeMap::new(),
            holders: Vec::new(),
            plans: (0..count).map(|_| None).collect(),
            faults: Vec::new(),
        }
    }

    pub(super) fn run(mut self) -> Result<Built, Vec<Fault>> {
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
            stages: self.stages,
            living: self.living,
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

    fn row(&self, node: Node, signal: Signal) -> Arc<Row> {
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

    /// Gates, trees and reshapes up to what is `behind`; `stages` come last first.
    fn part(
        &mut self,
        spec: &PipelineSpec,
        name: &Node,
        stages: Vec<(ComponentId, Processor)>,
        behind: Fanout,
        plan: &mut plan::Pipeline,
    ) -> Arc<Line> {
        let (mut gates, mut steps, mut told) = (Vec::new(), Vec::new(), Vec::new());
        let mut open = OpenSegment::default();
        for (id, stage) in stages.into_iter().rev() {
            let node = Node::Processor {
                pipeline: spec.id.to_string(),
                id: id.to_string(),
            };
            let row = self.row(node, spec.signal);
            if let Some(life) = Stage::of(&stage) {
                self.stages.insert((spec.id.clone(), id.clone()), life.clone());
                self.living.push(Living {
                    id: id.to_string(),
                    what: "processor",
                    stage: life,
                });
            }
            match timed(stage, &id.to_string(), spec.signal, &self.cx.telemetry) {
                Processor::Gate(gate) => {
                    plan.gates.push(id.to_string());
                    gates.push((gate, row));
                }
                Processor::Tree(tree) => {
                    open.ids.push(id.to_string());
                    open.trees.push(tree);
                    open.rows.push(row);
                }
                Processor::Reshape(reshape) => {
                    open.close(self.cx, spec, &mut steps, &mut told);
                    let id = id.to_string();
                    let panics = panics(self.cx, spec, id.clone());
                    steps.push(Step::Reshape { reshape, row, panics });
                    told.push(plan::Step::Reshape { id });
                }
                Processor::Node(_) | Processor::Flush(_) => unreachable!("the caller keeps these"),
            }
        }
        open.close(self.cx, spec, &mut steps, &mut told);
        plan.steps.splice(0..0, told);
        Arc::new(Line {
            row: self.row(name.clone(), spec.signal),
            gates,
            steps,
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
                let gives = GivesOut {
                    row: row.clone(),
                    next,
                };
                (make(Arc::new(gives), Books::new(row.clone())), outlet)
            }
        };
        self.nodes.insert(spot, (made.clone(), outlet));
        self.living.push(Living {
            id: id.to_string(),
            what: "processor",
            stage: Stage::Node(made.clone()),
        });
        let hold = self.spec.processors.get(id).map(|(factory, _)| factory.hold);
        plan.steps.insert(
            0,
            plan::Step::Node {
                id: id.to_string(),
                hold: made.hold().or(hold).unwrap_or(Hold::PassThrough),
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
        let is_kept = |sink: &Sink| Arc::ptr_eq(&sink.push, push);
        let kept = self
            .before
            .filter(|before| before.exporter(id).is_some_and(is_kept));
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
        let name = self.connector_name(&hop);
        let node = Node::Connector(name.clone());
        let joined = match self.hops.get(&hop) {
            Some(known) => known.clone(),
            None => {
                let joined = self.join(&hop, &name, &node)?;
                self.hops.insert(hop.clone(), joined.clone());
                joined
            }
        };
        let hold = self.spec.connectors.get(&hop.id).map(|(factory, _)| factory.hold);
        let held = joined
            .node
            .as_ref()
            .and_then(|node| Some((node.hold().or(hold)?, node.held_max())));
        plan.ends.push(plan::End::connector(&name, hop.to, batch, held));
        let (ledger, memory, consumer) = (&self.cx.telemetry.ledger, &self.cx.memory, joined.consumer);
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

    /// A connector with what is behind it.
    fn join(&mut self, hop: &Hop, name: &str, node: &Node) -> Option<Joined> {
        let pipelines = pipelines_behind(self.spec, &hop.id, hop.to);
        let fanout = self.fanout_to_pipelines(node.clone(), &hop.id, hop.to)?;
        let joined = match self.before.and_then(|before| before.hop(hop, &pipelines)) {
            Some(kept) => {
                self.outlet(Some(&kept.outlet), fanout);
                kept.clone()
            }
            None => {
                let outlet = self.outlet(None, fanout);
                let made = self.row(node.clone(), hop.to);
                let joint = Joint {
                    from: hop.from,
                    to: hop.to,
                    next: Arc::new(GivesOut {
                        row: made.clone(),
                        next: outlet.clone(),
                    }),
                    ways: Arc::new(Forks::new(
                        &self.cx.telemetry.ledger,
                        node,
                        pipelines.clone(),
                        hop.to,
                        outlet.clone(),
                        made.clone(),
                    )),
                    books: Books::new(self.row(node.clone(), hop.from)),
                    made: Books::new(made),
                };
                let (factory, section) = self.spec.connectors.get(&hop.id)?;
                let built = (factory.build)(section.clone(), &self.cx.of(&hop.id, true), joint);
                let (consumer, node): (Arc<dyn Consumer>, _) =
                    match built.map_err(|fault| self.faults.push(fault)).ok()? {
                        Connector::Plain(consumer) => (consumer, None),
                        Connector::Node(node) => (Arc::new(AsConsumer(node.clone())), Some(node)),
                    };
                Joined {
                    consumer,
                    node,
                    outlet,
                    pipelines,
                }
            }
        };
        if let Some(node) = &joined.node {
            self.holders.push(Holder::Node(node.clone()));
            self.living.push(Living {
                id: name.to_owned(),
                what: "connector",
                stage: Stage::Node(node.clone()),
            });
        }
        Some(joined)
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

/// Trees that follow each other.
#[derive(Default)]
struct OpenSegment {
    ids: Vec<String>,
    trees: Vec<Arc<dyn Tree>>,
    rows: Vec<Arc<Row>>,
}

impl OpenSegment {
    /// Makes a segment of them, if there are any.
    fn close(
        &mut self,
        cx: &GraphContext,
        spec: &PipelineSpec,
        steps: &mut Vec<Step>,
        told: &mut Vec<plan::Step>,
    ) {
        let OpenSegment { ids, trees, rows } = std::mem::take(self);
        if trees.is_empty() {
            return;
        }
        let segment = Segment::new(trees, panics(cx, spec, ids.join(", ")));
        told.push(plan::Step::Segment {
            stages: ids,
            touches: segment.touches(),
        });
        steps.push(Step::Segment(segment, rows));
    }
}

fn panics(cx: &GraphContext, spec: &PipelineSpec, processor: String) -> Counter {
    let labels = vec![("pipeline", spec.id.to_string()), ("processor", processor)];
    cx.telemetry.metrics.counter("weir_processor_panics", labels)
}
