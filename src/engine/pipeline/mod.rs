//! From a configuration to running pipelines, and down again.
//!
//! In: the components a configuration names, with their factories and sections ([`GraphSpec`]). Out: a [`Graph`] that
//! can be started, explained ([`Graph::plan`]) and drained.

mod construct;
mod drain;
pub(crate) mod edge;
pub(crate) mod fanout;
mod graph;
mod hops;
mod journal_fanout;
mod line;
mod outlet;
mod parts;
mod plan;
mod segment;
mod stages;
mod step;
mod swap;
mod timed;
mod ways;

#[cfg(test)]
mod branch_tests;
#[cfg(test)]
mod gather_tests;
#[cfg(test)]
mod laws_tests;
#[cfg(test)]
mod lives_tests;
#[cfg(test)]
mod swap_tests;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use component::{
    BoxFuture, BuildInfo, ConnectorFactory, Consumer, ExporterFactory, Extension, Fault, Host, Memory,
    Outcome, ProcessorFactory, ReceiverFactory, Refusal,
};
use config::{ComponentId, Gates, PipelineId, Section};
use parking_lot::Mutex;
use storage::Journal;
use storage::journal::DestId;
use telemetry::{Node, Telemetry};
use wire::{Payload, Signal};

use self::edge::{Edge, Target};
use self::fanout::Fanout;
pub use self::graph::Kept;
use self::graph::{Before, Built, Holder, Sink};
use self::outlet::Quiet;
pub use self::plan::{Plan, row as plan_row};
pub use self::swap::Retired;
use crate::harness::Harness;

/// What to build.
#[derive(Clone, Default)]
pub struct GraphSpec {
    /// In the order of the configuration.
    pub pipelines: Vec<PipelineSpec>,
    /// Every configured receiver, used or not.
    pub receivers: BTreeMap<ComponentId, (&'static ReceiverFactory, Section)>,
    /// Every configured processor, used or not.
    pub processors: BTreeMap<ComponentId, (&'static ProcessorFactory, Section)>,
    /// Every configured exporter, used or not.
    pub exporters: BTreeMap<ComponentId, (&'static ExporterFactory, Section)>,
    /// Every configured connector, used or not.
    pub connectors: BTreeMap<ComponentId, (&'static ConnectorFactory, Section)>,
    /// The extensions that will be started; `None` = not known, for they could not be built.
    pub extensions: Option<BTreeMap<ComponentId, Arc<dyn Extension>>>,
}

/// One pipeline of the configuration. Every id it names is in one of the maps of [`GraphSpec`].
#[derive(Clone, Debug)]
pub struct PipelineSpec {
    /// As written.
    pub id: PipelineId,
    /// What it carries.
    pub signal: Signal,
    /// Receivers and connectors.
    pub receivers: Vec<ComponentId>,
    /// In order.
    pub processors: Vec<ComponentId>,
    /// Exporters and connectors.
    pub exporters: Vec<ComponentId>,
}

/// What everything is built with.
#[derive(Clone)]
pub struct GraphContext {
    /// Where it is counted.
    pub telemetry: Telemetry,
    /// The one memory budget.
    pub memory: Arc<Memory>,
    /// What the process calls itself.
    pub info: BuildInfo,
    /// What `--feature-gates` switched.
    pub gates: Arc<Gates>,
}

/// All pipelines of one configuration.
pub struct Graph {
    built: Built,
    /// Ends when all that this graph has replaced has stopped, and that which its predecessors had.
    replaced: Mutex<Option<Quiet>>,
    telemetry: Telemetry,
}

impl Graph {
    /// Builds everything, opens nothing. Every fault found is reported.
    pub fn build(spec: GraphSpec, cx: &GraphContext) -> Result<Graph, Vec<Fault>> {
        Ok(Graph {
            built: graph::build(spec, cx, None)?,
            replaced: Mutex::new(None),
            telemetry: cx.telemetry.clone(),
        })
    }

    /// Builds the successor of a running graph: what is kept is the same in both. `before` is not touched until the
    /// successor [takes over](Graph::take_over).
    pub fn build_after(
        spec: GraphSpec,
        cx: &GraphContext,
        before: &Graph,
        kept: &Kept,
    ) -> Result<Graph, Vec<Fault>> {
        let before = Before {
            built: &before.built,
            kept,
        };
        Ok(Graph {
            built: graph::build(spec, cx, Some(before))?,
            replaced: Mutex::new(None),
            telemetry: cx.telemetry.clone(),
        })
    }

    /// The faults of the components that are there, where others are missing: a configuration that cannot be built is
    /// still told all that is wrong with it.
    pub fn check(spec: &GraphSpec, cx: &GraphContext) -> Vec<Fault> {
        graph::check(spec, cx)
    }

    /// What was built, in words.
    pub fn plan(&self) -> &Plan {
        &self.built.plan
    }

    /// Starts the exporters, then what is before them, the receivers last. On a fault what was started is stopped.
    pub async fn start(&self, host: Arc<dyn Host>) -> Result<(), Fault> {
        for (at, sink) in self.built.exporters.iter().enumerate() {
            if let Err(fault) = sink.push.start(host.clone()).await {
                for started in &self.built.exporters[..at] {
                    started.push.stop().await;
                }
                return Err(failed_to_start(&sink.id, "exporter", fault));
            }
        }
        for harness in self.harnesses() {
            if let Err(fault) = harness.open(&*host).await {
                for started in &self.built.exporters {
                    started.push.stop().await;
                }
                return Err(failed_to_start(harness.id(), "exporter", fault));
            }
        }
        for sink in &self.built.exporters {
            if let Err(fault) = self.begin_gathering(sink, &host, None).await {
                for started in &self.built.exporters {
                    started.push.stop().await;
                }
                return Err(failed_to_start(&sink.id, "exporter", fault));
            }
        }
        self.built.connect_letters(|_| true);
        self.tell_orphans();
        for harness in self.harnesses() {
            harness.start(host.clone());
        }
        for living in &self.built.living {
            if let Err(fault) = living.start(host.clone()).await {
                self.stop(0, drain::AFTER_FAULT).await;
                return Err(failed_to_start(&living.id, living.what, fault));
            }
        }
        for (at, source) in self.built.receivers.iter().enumerate() {
            if let Err(fault) = source.receiver.start(source.outputs.clone(), host.clone()).await {
                self.stop(at, drain::AFTER_FAULT).await;
                return Err(failed_to_start(&source.id, "receiver", fault));
            }
        }
        Ok(())
    }

    /// Stops the receivers, hands on what is held, stops the exporters. What is not delivered by the deadline is
    /// booked as failed.
    pub async fn drain(&self, deadline: Duration) {
        self.stop(self.built.receivers.len(), deadline).await;
    }

    /// An exporter with its harness, for [`Host::exporter`]: one that a pipeline uses, for the signals of such
    /// pipelines. Booked as an edge from `host`.
    pub fn exporter(&self, id: &ComponentId) -> Option<Arc<dyn Consumer>> {
        let mut ways: [Option<Fanout>; 4] = Default::default();
        for signal in Signal::ALL {
            if let Some(harness) = self.built.harnesses.get(&(id.clone(), signal)) {
                let (from, to) = (Node::Receiver("host".into()), Node::Exporter(id.to_string()));
                let target = Target::Entry(harness.entry(None).required());
                let edge = Edge::new(&self.telemetry.ledger, from, to, signal, target);
                ways[signal.index()] = Some(Fanout::new(vec![edge]));
            }
        }
        ways.iter()
            .any(Option::is_some)
            .then(|| -> Arc<dyn Consumer> { Arc::new(ByHost(ways)) })
    }

    /// What a journal owes to exporters that are not here is kept, and said.
    fn tell_orphans(&self) {
        let mut journals: Vec<(Journal, Vec<DestId>, ComponentId)> = Vec::new();
        for (journal, dest, storage) in self.harnesses().filter_map(|h| h.opened()) {
            match journals.iter_mut().find(|(known, ..)| known.is(&journal)) {
                Some((_, mine, _)) => mine.push(dest),
                None => journals.push((journal, vec![dest], storage)),
            }
        }
        for (journal, mine, storage) in journals {
            let all = journal.destinations().into_iter();
            let orphans =
                all.filter(|d| d.records > 0 && d.name.starts_with("exporter/") && !mine.contains(&d.id));
            for orphan in orphans {
                tracing::warn!(
                    storage = %storage,
                    destination = orphan.name,
                    items = orphan.items,
                    requests = orphan.records,
                    "data on disk belongs to an exporter that is not in the configuration; it is kept: put the exporter \
                     back, or see `weir journal drain`, `export` and `discard`"
                );
            }
        }
    }

    /// Starts an exporter that gathers, whose queues are open; behind the one that it replaces, when that has stopped.
    async fn begin_gathering(
        &self,
        sink: &Sink,
        host: &Arc<dyn Host>,
        before: Option<&Graph>,
    ) -> Result<(), Fault> {
        let Some(gathering) = &sink.settings.gathering else {
            return Ok(());
        };
        let harnesses = self.built.harnesses.iter().filter(|((id, _), _)| *id == sink.id);
        let lanes = harnesses.filter_map(|(_, harness)| harness.gathers()).collect();
        let known = before.and_then(|before| before.built.exporters.iter().find(|known| known.id == sink.id));
        let known = known.and_then(|known| known.settings.gathering.as_ref());
        gathering.begin(lanes, host.clone(), known).await
    }

    fn harnesses(&self) -> impl Iterator<Item = &Arc<Harness>> {
        let batchers = self.built.holders.iter().filter_map(|holder| match holder {
            Holder::Batcher(harness) => Some(harness),
            Holder::Node(_) => None,
        });
        batchers.chain(self.built.harnesses.values())
    }
}

fn failed_to_start(id: impl std::fmt::Display, what: &str, fault: Fault) -> Fault {
    Fault::World(format!(
        "cannot start pipelines: failed to start \"{id}\" {what}: {fault}"
    ))
}

/// One exporter for whoever asks the host for it.
struct ByHost([Option<Fanout>; 4]);

impl Consumer for ByHost {
    fn consume(&self, payload: Payload) -> BoxFuture<'_, Result<Outcome, Refusal>> {
        match &self.0[payload.signal.index()] {
            Some(way) => way.consume(payload),
            None => {
                let message = format!("the exporter is in no pipeline for {}", payload.signal.as_str());
                component::ready(Err(Refusal::Invalid(message)))
            }
        }
    }
}
