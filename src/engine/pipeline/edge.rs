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

use crate::harness::Entry;
use crate::harness::queue::Room;
use crate::harness::send::CatchPanic;
use crate::harness::tally::Tally;
use crate::harness::verdict::Refused;

/// What stands at the far end.
pub(crate) enum Target {
    /// A pipeline or a connector.
    Consumer(Arc<dyn Consumer>),
    /// An exporter with its harness, or the batcher before a connector.
    Entry(Entry),
}

impl Target {
    pub(crate) async fn reserve(&self, payload: &Payload) -> Result<Option<Room>, Refusal> {
        match self {
            Target::Consumer(_) => Ok(None),
            Target::Entry(entry) => entry.reserve(payload).await,
        }
    }

    pub(crate) async fn call(&self, payload: Payload, room: Option<Room>) -> Result<Outcome, Refused> {
        match self {
            Target::Consumer(next) => match CatchPanic(next.consume(payload)).await {
                Some(result) => result.map_err(Refused::from),
                None => Err(panicked().into()),
            },
            Target::Entry(entry) => entry.offer(payload, room).await,
        }
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
