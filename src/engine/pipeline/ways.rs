//! The pipelines behind a connector, each to be reached by itself.
//!
//! What a connector sends one way is counted towards that pipeline alone, so that the books of the connector and of its
//! edges agree whatever goes where. A reload puts other pipelines behind it; those are found by their ids.

use std::collections::BTreeSet;
use std::sync::Arc;

use component::{BoxFuture, Outcome, Refusal, Ways};
use config::PipelineId;
use telemetry::{Column, Fan, Ledger, Node, Row};
use wire::{Payload, Signal};

use super::outlet::Outlet;
use crate::harness::tally::Tally;

/// The ways out of one connector.
pub(crate) struct Forks {
    pipelines: Vec<PipelineId>,
    /// As the edges name them, and what went there.
    ways: Vec<(Node, Arc<Fan>)>,
    outlet: Arc<Outlet>,
    row: Arc<Row>,
}

impl Forks {
    /// From the node `from`, whose `out` is booked in `row`.
    pub(crate) fn new(
        ledger: &Ledger,
        from: &Node,
        pipelines: Vec<PipelineId>,
        signal: Signal,
        outlet: Arc<Outlet>,
        row: Arc<Row>,
    ) -> Forks {
        let way = |id: &PipelineId| {
            let to = Node::Pipeline(id.to_string());
            let fan = ledger.fan(from, BTreeSet::from([to.clone()]), signal);
            (to, fan)
        };
        Forks {
            ways: pipelines.iter().map(way).collect(),
            pipelines,
            outlet,
            row,
        }
    }
}

impl Ways for Forks {
    fn pipelines(&self) -> &[PipelineId] {
        &self.pipelines
    }

    fn send(&self, parts: Vec<(usize, Payload)>) -> BoxFuture<'_, Result<Outcome, Refusal>> {
        Box::pin(async move {
            let mut sent = Vec::with_capacity(parts.len());
            let mut named = Vec::with_capacity(parts.len());
            for (at, payload) in parts {
                let Some((to, fan)) = self.ways.get(at) else {
                    return Err(Refusal::unavailable(
                        "there is no such pipeline behind the connector",
                    ));
                };
                sent.push((fan, Tally::of(&payload)));
                named.push((to, payload));
            }
            if named.is_empty() {
                return Ok(Outcome::all());
            }
            let outcome = self.outlet.send_parts(named).await?;
            for (fan, tally) in sent {
                fan.add(tally.items());
                tally.add(&self.row, Column::Out);
            }
            Ok(outcome)
        })
    }
}
