//! Connectors: the end of one pipeline and the start of others.

use std::sync::Arc;

use config::{PipelineId, Section, Shape};
use wire::{Payload, Signal};

use crate::{Books, BoxFuture, BuildContext, Consumer, Fault, Hold, Node, Outcome, Refusal, Stability};

/// One connector type.
pub struct ConnectorFactory {
    /// Name in the config.
    pub kind: &'static str,
    /// Other spellings that load too.
    pub aliases: &'static [&'static str],
    /// The blocks of keys that `build` reads, for `weir schema`.
    pub keys: &'static [Shape],
    /// From which signal to which, and how mature that is.
    pub signals: &'static [(Signal, Signal, Stability)],
    /// Whether it holds data after it answered.
    pub hold: Hold,
    /// Parses and checks, for one pair of signals.
    pub build: fn(Section, &BuildContext, Joint) -> Result<Connector, Fault>,
}

/// Where a connector stands: one is built for each pair of signals that it joins.
pub struct Joint {
    /// Of the pipelines before it.
    pub from: Signal,
    /// Of the pipelines behind it.
    pub to: Signal,
    /// All pipelines behind it: each gets everything.
    pub next: Arc<dyn Consumer>,
    /// The same pipelines one by one.
    pub ways: Arc<dyn Ways>,
    /// Of what comes (`from`).
    pub books: Books,
    /// Of what goes on (`to`); the same books where a signal stays what it is.
    pub made: Books,
}

/// A connector that was built.
pub enum Connector {
    /// Answers after what is behind it has.
    Plain(Arc<dyn Consumer>),
    /// Owns payloads over time.
    Node(Arc<dyn Node>),
}

/// The pipelines behind a connector, to be chosen among.
pub trait Ways: Send + Sync {
    /// Their ids, in the order of the configuration; none where a connector that is not used is built for its faults
    /// alone. The list stays: a reload that changes it builds a
    /// [`Connector::Plain`] anew; a node whose pipeline has gone is refused there.
    fn pipelines(&self) -> &[PipelineId];

    /// Sends each payload to the pipeline at that place in [`pipelines`](Ways::pipelines), all at the same time, and
    /// gives their joint answer: yes if all take theirs. Gates of all of them are asked before anything moves.
    ///
    /// What goes two ways is counted as `out` twice: the copy is for the connector to book as
    /// [created](Books::created). An error means that the caller's payload is refused in whole; what some have taken
    /// is booked as duplicates.
    fn send(&self, parts: Vec<(usize, Payload)>) -> BoxFuture<'_, Result<Outcome, Refusal>>;
}
