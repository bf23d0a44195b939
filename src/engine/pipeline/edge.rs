//! An edge between two nodes: can be swapped while in use, and is booked on both sides of each call.
//!
//! What is behind an edge is a consumer (a pipeline, a connector) or the way into an exporter's harness. The latter can
//! say what it cannot say through [`Consumer`]: that it refuses, though a part has moved. Whoever calls books the edge
//! once the answer is known; where several edges are called for one payload, once the joint answer is.

use std::sync::Arc;

use arc_swap::ArcSwap;
use component::{Code, Consumer, Outcome, Refusal, StatusDetails};
use telemetry::{Column, Ledger, Node, Place, Row};
use wire::{Payload, Signal};

use super::line::Line;
use crate::harness::Entry;
use crate::harness::room::Room;
use crate::harness::send::CatchPanic;
use crate::harness::tally::Tally;
use crate::harness::verdict::Refused;

/// What stands at the far end.
pub(crate) enum Target {
    /// A pipeline.
    Line(Arc<Line>),
    /// A connector or a node.
    Consumer(Arc<dyn Consumer>),
    /// An exporter with its harness, or the batcher before a connector.
    Entry(Entry),
}

impl Target {
    /// Whether it would be taken, as far as that can be known before anything moves: gates and queues say so.
    pub(crate) async fn reserve(&self, payload: &Payload) -> Result<Option<Room>, Refusal> {
        match self {
            Target::Line(line) => line.admit(payload).map(|()| None),
            Target::Consumer(_) => Ok(None),
            Target::Entry(entry) => entry.reserve(payload).await,
        }
    }

    /// Gives it the payload that [`Target::reserve`] was asked about.
    pub(crate) async fn call(&self, payload: Payload, room: Option<Room>) -> Result<Outcome, Refused> {
        let answer = match self {
            Target::Line(line) => line.run(payload),
            Target::Consumer(next) => next.consume(payload),
            Target::Entry(entry) => return entry.offer(payload, room).await,
        };
        let caught = CatchPanic(answer).await;
        caught.unwrap_or_else(|| Err(panicked())).map_err(Refused::from)
    }
}

/// From one node to another, for one signal.
pub(crate) struct Edge {
    target: ArcSwap<Target>,
    row: Arc<Row>,
}

impl Edge {
    pub(crate) fn new(ledger: &Ledger, from: Node, to: Node, signal: Signal, target: Target) -> Edge {
        Edge {
            target: ArcSwap::from_pointee(target),
            row: ledger.row(Place::Edge { from, to }, signal),
        }
    }

    /// What is there now. A call that began goes where it began.
    pub(crate) fn target(&self) -> Arc<Target> {
        self.target.load_full()
    }

    /// Puts something else behind the edge; for a reload.
    #[allow(dead_code, reason = "reload is not built yet")]
    pub(crate) fn swap(&self, target: Target) {
        self.target.store(Arc::new(target));
    }

    pub(crate) fn book_offered(&self, tally: &Tally) {
        tally.add(&self.row, Column::Offered);
    }

    pub(crate) fn book_accepted(&self, tally: &Tally) {
        tally.add(&self.row, Column::Accepted);
    }

    /// Refused, or refused by a sibling: `moved` items are there all the same.
    pub(crate) fn book_refused(&self, tally: &Tally, moved: &Tally) {
        if moved.is_zero() {
            return tally.add(&self.row, Column::Refused);
        }
        let mut refused = tally.clone();
        refused.minus(moved);
        refused.add(&self.row, Column::Refused);
        moved.add(&self.row, Column::Duplicates);
    }
}

/// A gate or node panicked: this payload's alone, siblings go on.
pub(crate) fn panicked() -> Refusal {
    let details = StatusDetails {
        message: "a processor panicked".into(),
        retry_after: None,
    };
    Refusal::Status(Code::INTERNAL, Box::new(details))
}
