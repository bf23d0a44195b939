//! From the configuration to connected components: checks first, all faults at once, then construction from the
//! exporters upward.
//!
//! Receivers and exporters are one object an id; an exporter has one harness for each signal; a processor is one object
//! for each pipeline, a connector one for each pair of signals. What is configured but not used is built too, to check
//! its configuration, and thrown away.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use component::{Consumer, Fault, Node as HoldingNode, Outputs, Push, Receiver};
use config::{ComponentId, PipelineId};
use parking_lot::Mutex;
use telemetry::Node;
use wire::Signal;

use super::construct::Construction;
use super::fanout::Fanout;
use super::hops::Hop;
use super::outlet::Outlet;
use super::parts::Parts;
use super::plan::Plan;
use super::stages::{Living, Stage};
use super::{GraphContext, GraphSpec};
use crate::harness::{Entry, Harness, PipelineBatch, Settings};

/// A processor of one pipeline.
pub(super) type Spot = (PipelineId, ComponentId);

/// Everything that lives, in the order in which it is drained.
pub(crate) struct Built {
    pub(crate) plan: Plan,
    pub(crate) receivers: Vec<Source>,
    /// Upstream first.
    pub(crate) holders: Vec<Holder>,
    pub(crate) exporters: Vec<Sink>,
    pub(crate) harnesses: BTreeMap<(ComponentId, Signal), Arc<Harness>>,
    /// What begins something at start, downstream first.
    pub(crate) living: Vec<Living>,
    /// Processors and connectors, to be found again by a reload.
    pub(super) stages: BTreeMap<Spot, Stage>,
    pub(super) nodes: BTreeMap<Spot, (Arc<dyn HoldingNode>, Arc<Outlet>)>,
    pub(super) hops: BTreeMap<Hop, Joined>,
    /// The ways into harnesses, each from a pipeline that wants batches like this.
    pub(super) entries: BTreeMap<Way, (Option<PipelineBatch>, Entry)>,
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
    pub(super) settings: Settings,
}

/// A connector for one pair of signals, and the pipelines behind it.
#[derive(Clone)]
pub(super) struct Joined {
    pub(super) consumer: Arc<dyn Consumer>,
    /// If it is one.
    pub(super) node: Option<Arc<dyn HoldingNode>>,
    pub(super) outlet: Arc<Outlet>,
    pub(super) pipelines: Vec<PipelineId>,
}

/// From a node to an exporter, for a signal.
pub(super) type Way = (Node, ComponentId, Signal);

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
    pub(super) fn receiver(self, id: &ComponentId) -> Option<&'a Source> {
        let is_it = |source: &&Source| source.id == *id && self.kept.receivers.contains(id);
        self.built.receivers.iter().find(is_it)
    }

    pub(super) fn exporter(self, id: &ComponentId) -> Option<&'a Sink> {
        let is_it = |sink: &&Sink| sink.id == *id && self.kept.exporters.contains(id);
        self.built.exporters.iter().find(is_it)
    }

    /// Signals for which an exporter has a harness.
    pub(super) fn signals(self, id: &ComponentId) -> BTreeSet<Signal> {
        let all = self.built.harnesses.keys().filter(|(known, _)| known == id);
        all.map(|(_, signal)| *signal).collect()
    }

    /// A gate, tree or reshape.
    pub(super) fn stage(self, spot: &Spot) -> Option<&'a Stage> {
        let stage = self.built.stages.get(spot);
        stage.filter(|_| self.kept.processors.contains(&spot.1))
    }

    pub(super) fn node(self, spot: &Spot) -> Option<&'a (Arc<dyn HoldingNode>, Arc<Outlet>)> {
        let node = self.built.nodes.get(spot);
        node.filter(|_| self.kept.processors.contains(&spot.1))
    }

    /// A connector that chooses among pipelines goes on only where those are the same.
    pub(super) fn hop(self, hop: &Hop, pipelines: &[PipelineId]) -> Option<&'a Joined> {
        let known = self.built.hops.get(hop)?;
        let goes_on = known.node.is_some() || known.pipelines == pipelines;
        (goes_on && self.kept.connectors.contains(&hop.id)).then_some(known)
    }
}

/// The way from an exporter to its dead letter.
pub(crate) struct Letters {
    pub(super) from: Arc<Harness>,
    pub(super) to: ComponentId,
    pub(super) next: Arc<Fanout>,
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
