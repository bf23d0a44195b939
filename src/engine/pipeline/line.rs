//! One pipeline, or the part of it between two nodes: gates, then segments and reshapes, then what comes behind.
//!
//! Gates come before all else whatever their order in the configuration, as they look at sizes and metadata only;
//! a fan-out asks those of all its pipelines before it gives the payload to any. Everything is booked once what is
//! behind has answered: a refused payload leaves no trace but on the edges.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use component::{BoxFuture, Consumer, Gate, Node as HoldingNode, Outcome, Refusal};
use telemetry::{Column, Row};
use wire::Payload;

use super::edge::panicked;
use super::fanout::Fanout;
use super::outlet::Outlet;
use super::step::{Passed, Step};
use crate::harness::tally::Tally;

/// Gates and steps, with the rows of their books.
pub(crate) struct Line {
    pub(crate) row: Arc<Row>,
    pub(crate) gates: Vec<(Arc<dyn Gate>, Arc<Row>)>,
    pub(crate) steps: Vec<Step>,
    pub(crate) next: Fanout,
}

impl Line {
    /// Asks the gates, and whoever else can say no before anything has moved.
    pub(crate) fn admit(&self, payload: &Payload) -> Result<(), Refusal> {
        let ask = || {
            self.gates.iter().try_for_each(|(gate, _)| gate.admit(payload))?;
            let mut asked = self.asked().filter(|(_, is_asked)| *is_asked);
            asked.try_for_each(|(step, _)| step.admit(payload))
        };
        std::panic::catch_unwind(AssertUnwindSafe(ask)).unwrap_or_else(|_| Err(panicked()))
    }

    /// Steps, and whether they are asked: up to the first that writes, and behind it those to which that is all one. The
    /// others will see something else than what came.
    fn asked(&self) -> impl Iterator<Item = (&Step, bool)> {
        let mut is_as_it_came = true;
        self.steps.iter().map(move |step| {
            let is_asked = is_as_it_came || step.admits_by_context();
            is_as_it_came &= !step.writes();
            (step, is_asked)
        })
    }

    /// Takes a payload that was admitted.
    pub(crate) fn run(&self, mut payload: Payload) -> BoxFuture<'_, Result<Outcome, Refusal>> {
        Box::pin(async move {
            let tally = Tally::of(&payload);
            let mut passed = Vec::with_capacity(self.steps.len());
            for (step, is_asked) in self.asked() {
                payload = step.run(payload, is_asked, &mut passed)?;
                if payload.chunks.is_empty() {
                    break;
                }
            }
            let mut outcome = if payload.chunks.is_empty() {
                Outcome::all()
            } else {
                self.next.send(payload).await?
            };
            for step in &mut passed {
                outcome.rejected.extend(step.taken());
            }
            self.book(tally, passed);
            Ok(outcome)
        })
    }

    fn book(&self, came: Tally, passed: Vec<Passed>) {
        came.add(&self.row, Column::In);
        for (_, row) in &self.gates {
            came.add(row, Column::In);
            came.add(row, Column::Out);
        }
        let steps = self.steps.iter().zip(passed);
        let left = steps.fold(came, |here, (step, passed)| step.book(here, passed, &self.row));
        left.add(&self.row, Column::Out);
    }
}

/// Books a connector's or node's `in`: what it took.
pub(crate) struct TakesIn {
    pub(crate) row: Arc<Row>,
    pub(crate) next: Arc<dyn Consumer>,
}

impl Consumer for TakesIn {
    fn consume(&self, payload: Payload) -> BoxFuture<'_, Result<Outcome, Refusal>> {
        Box::pin(async move {
            let tally = Tally::of(&payload);
            let outcome = self.next.consume(payload).await?;
            tally.add(&self.row, Column::In);
            Ok(outcome)
        })
    }
}

/// Books a connector's or node's `out`: what was taken from it.
pub(crate) struct GivesOut {
    pub(crate) row: Arc<Row>,
    pub(crate) next: Arc<Outlet>,
}

impl Consumer for GivesOut {
    fn consume(&self, payload: Payload) -> BoxFuture<'_, Result<Outcome, Refusal>> {
        Box::pin(async move {
            let tally = Tally::of(&payload);
            let outcome = self.next.send(payload).await?;
            tally.add(&self.row, Column::Out);
            Ok(outcome)
        })
    }
}

/// A node as a consumer.
pub(crate) struct AsConsumer(pub(crate) Arc<dyn HoldingNode>);

impl Consumer for AsConsumer {
    fn consume(&self, payload: Payload) -> BoxFuture<'_, Result<Outcome, Refusal>> {
        self.0.consume(payload)
    }
}
