//! From a configuration to running pipelines, and down again.
//!
//! In: the components a configuration names, with their factories and sections ([`GraphSpec`]). Out: a [`Graph`] that
//! can be started, explained ([`Graph::plan`]) and drained.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use component::{
    BuildInfo, ConnectorFactory, Consumer, ExporterFactory, Fault, Host, Memory, ProcessorFactory,
    ReceiverFactory,
};
use config::{ComponentId, PipelineId, Section};
use telemetry::Telemetry;
use wire::Signal;

/// What to build.
#[derive(Default)]
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
}

/// What was built, in words: segments, copies, queues, and who is answered when.
#[derive(Clone, Debug, Default)]
pub struct Plan {}

impl fmt::Display for Plan {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

/// All pipelines of one configuration.
pub struct Graph {
    plan: Plan,
}

impl Graph {
    /// Builds everything, opens nothing. Every fault found is reported.
    pub fn build(spec: GraphSpec, cx: &GraphContext) -> Result<Graph, Vec<Fault>> {
        let _ = (spec, cx);
        Ok(Graph {
            plan: Plan::default(),
        })
    }

    /// What was built, in words.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Starts the exporters, then what is before them, the receivers last. On a fault what was started is stopped.
    pub async fn start(&self, host: Arc<dyn Host>) -> Result<(), Fault> {
        let _ = host;
        Ok(())
    }

    /// Stops the receivers, hands on what is held, stops the exporters. What is not delivered by the deadline is
    /// booked as failed.
    pub async fn drain(&self, deadline: Duration) {
        let _ = deadline;
    }

    /// An exporter with its harness, for [`Host::exporter`].
    pub fn exporter(&self, id: &ComponentId) -> Option<Arc<dyn Consumer>> {
        let _ = id;
        None
    }
}
