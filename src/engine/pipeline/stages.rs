//! Processors and connectors as far as they live: what begins something at start and ends it at the stop.
//!
//! They start when what is behind them runs, and before any receiver; they stop when nothing comes any more and nodes
//! have handed on what they held. One that a reload keeps is started once.

use std::sync::Arc;
use std::time::Duration;

use component::{BoxFuture, Fault, Gate, Host, Node as HoldingNode, Processor, Reshape, Tree};
use tokio::time::{Instant, timeout_at};

use super::fanout::all;

/// For what stops beside the data, after the deadline.
const CLOSE: Duration = Duration::from_secs(1);

/// One of them.
#[derive(Clone)]
pub(crate) enum Stage {
    Gate(Arc<dyn Gate>),
    Tree(Arc<dyn Tree>),
    Reshape(Arc<dyn Reshape>),
    /// Of a pipeline, or a connector. Its drain is its stop.
    Node(Arc<dyn HoldingNode>),
}

impl Stage {
    /// Nodes and flush policies are none: they are connected otherwise.
    pub(crate) fn of(processor: &Processor) -> Option<Stage> {
        match processor {
            Processor::Gate(gate) => Some(Stage::Gate(gate.clone())),
            Processor::Tree(tree) => Some(Stage::Tree(tree.clone())),
            Processor::Reshape(reshape) => Some(Stage::Reshape(reshape.clone())),
            Processor::Node(_) | Processor::Flush(_) => None,
        }
    }

    pub(crate) fn processor(&self) -> Option<Processor> {
        match self {
            Stage::Gate(gate) => Some(Processor::Gate(gate.clone())),
            Stage::Tree(tree) => Some(Processor::Tree(tree.clone())),
            Stage::Reshape(reshape) => Some(Processor::Reshape(reshape.clone())),
            Stage::Node(_) => None,
        }
    }

    /// Whether it is the same object.
    pub(crate) fn is(&self, other: &Stage) -> bool {
        match (self, other) {
            (Stage::Gate(a), Stage::Gate(b)) => Arc::ptr_eq(a, b),
            (Stage::Tree(a), Stage::Tree(b)) => Arc::ptr_eq(a, b),
            (Stage::Reshape(a), Stage::Reshape(b)) => Arc::ptr_eq(a, b),
            (Stage::Node(a), Stage::Node(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

/// A stage and what it is called.
#[derive(Clone)]
pub(crate) struct Living {
    pub(crate) id: String,
    /// `processor` or `connector`.
    pub(crate) what: &'static str,
    pub(crate) stage: Stage,
}

impl Living {
    pub(crate) async fn start(&self, host: Arc<dyn Host>) -> Result<(), Fault> {
        match &self.stage {
            Stage::Gate(_) => Ok(()),
            Stage::Tree(tree) => tree.start(host).await,
            Stage::Reshape(reshape) => reshape.start(host).await,
            Stage::Node(node) => node.start(host).await,
        }
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        match &self.stage {
            Stage::Gate(_) | Stage::Node(_) => component::ready(()),
            Stage::Tree(tree) => tree.stop(),
            Stage::Reshape(reshape) => reshape.stop(),
        }
    }
}

/// Stops them, all at the same time.
pub(crate) async fn stop(stages: &[Living], end: Instant) {
    let stopping = stages.iter().map(Living::stop).collect();
    if timeout_at(Instant::now().max(end) + CLOSE, all(stopping))
        .await
        .is_err()
    {
        tracing::warn!("processors do not stop, stopping without them");
    }
}
