//! An edge between two nodes, booked on both sides of each call.
//!
//! What is behind an edge is a consumer (a pipeline, a connector) or the way into an exporter's harness. The latter can
//! say what it cannot say through [`Consumer`]: that it refuses, though a part has moved. Whoever calls books the edge
//! once the answer is known; where several edges are called for one payload, once the joint answer is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use component::{Code, Consumer, Outcome, Refusal, StatusDetails};
use parking_lot::Mutex;
use telemetry::{Column, Ledger, Node, Place, Row};
use wire::{Payload, Signal};

use super::journal_fanout;
use super::line::Line;
use crate::harness::branch::Branch;
use crate::harness::room::Room;
use crate::harness::send::CatchPanic;
use crate::harness::tally::Tally;
use crate::harness::verdict::Refused;
use crate::harness::{DurableLane, Entry};

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

    /// Where the work for a best-effort exporter runs; `None` where its answer counts.
    pub(crate) fn branch(&self) -> Option<&Arc<Branch>> {
        match self {
            Target::Entry(entry) => entry.branch(),
            Target::Line(_) | Target::Consumer(_) => None,
        }
    }

    /// The queue on disk, if it is one.
    pub(crate) fn durable(&self) -> Option<&DurableLane> {
        match self {
            Target::Entry(entry) => entry.durable(),
            _ => None,
        }
    }

    /// Gives it the payload if it has room for it, by itself.
    pub(crate) async fn send(&self, payload: Payload) -> Result<Outcome, Refused> {
        if let Some(lane) = self.durable().filter(|_| payload.items > 0) {
            return journal_fanout::alone(lane, payload).await;
        }
        let room = self.reserve(&payload).await?;
        self.call(payload, room).await
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
    target: Arc<Target>,
    row: Arc<Row>,
}

impl Edge {
    pub(crate) fn new(ledger: &Ledger, from: Node, to: Node, signal: Signal, target: Target) -> Edge {
        Edge {
            target: Arc::new(target),
            row: ledger.row(Place::Edge { from, to }, signal),
        }
    }

    /// What is there.
    pub(crate) fn target(&self) -> Arc<Target> {
        self.target.clone()
    }

    /// Where it leads.
    pub(crate) fn to(&self) -> &Node {
        match &self.row.place {
            Place::Edge { to, .. } => to,
            place => unreachable!("the row of an edge is not {place}"),
        }
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

/// The rule in the books for what a best-effort branch did not take.
pub(crate) const BEST_EFFORT: &str = "best_effort";

/// One payload on its way to a best-effort exporter; the fan-out and the branch's task have a share each. The last of
/// them to go books the edge, so the books balance whatever ends either.
pub(crate) struct Spare {
    row: Arc<Row>,
    tally: Tally,
    taken: Mutex<Tally>,
    told: AtomicBool,
}

impl Spare {
    /// Hands the payload over. Say with [`Spare::tell`] what the caller is told.
    pub(crate) fn hand(
        edge: &Edge,
        target: &Arc<Target>,
        branch: &Branch,
        payload: Payload,
        tally: &Tally,
    ) -> Arc<Spare> {
        let spare = Arc::new(Spare {
            row: edge.row.clone(),
            tally: tally.clone(),
            taken: Mutex::default(),
            told: AtomicBool::new(false),
        });
        let (target, bytes, share) = (target.clone(), payload.len(), spare.clone());
        branch.spawn(bytes, async move {
            let result = target.send(payload).await;
            *share.taken.lock() = match result {
                Ok(_) => share.tally.clone(),
                Err(refused) => refused.moved,
            };
        });
        spare
    }

    /// The caller was told yes.
    pub(crate) fn tell(&self) {
        self.told.store(true, Relaxed);
    }
}

impl Drop for Spare {
    fn drop(&mut self) {
        let (taken, mut missed) = (self.taken.get_mut(), self.tally.clone());
        missed.minus(taken);
        if *self.told.get_mut() {
            taken.add(&self.row, Column::Accepted);
            missed.drop_under(&self.row, BEST_EFFORT);
        } else {
            taken.add(&self.row, Column::Duplicates);
            missed.add(&self.row, Column::Refused);
        }
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
