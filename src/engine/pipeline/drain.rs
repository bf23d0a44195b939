//! The way down: receivers stop, what is held goes on, queues are sent once more, exporters close.
//!
//! Each step has a part of the deadline: receivers half of it, what holds data in pipelines half of the rest, queues
//! what is left. Exporters get a moment beyond it to close their files and connections.

use std::time::Duration;

use component::Stop;
use tokio::time::{Instant, timeout_at};

use super::Graph;
use super::fanout::all;
use super::graph::Holder;

/// For the drain after a receiver did not start: there is next to nothing to drain.
pub(crate) const AFTER_FAULT: Duration = Duration::from_secs(1);
/// For exporters to close, after the deadline.
const CLOSE: Duration = Duration::from_secs(1);

impl Graph {
    /// Stops the first `receivers` receivers, and everything behind them.
    pub(crate) async fn stop(&self, receivers: usize, deadline: Duration) {
        let start = Instant::now();
        let end = start + deadline;
        // Callers that wait for a retry or a full batch are answered now, so that receivers can finish.
        for harness in self.harnesses() {
            harness.close();
        }
        let stopping = self.built.receivers[..receivers]
            .iter()
            .map(|(_, receiver, _)| receiver.stop())
            .collect();
        if timeout_at(start + deadline / 2, all(stopping)).await.is_err() {
            tracing::warn!("receivers still answer requests, stopping without them");
        }
        self.stop_holders(end).await;
        let draining = self
            .built
            .harnesses
            .values()
            .map(|h| -> component::BoxFuture<'_, ()> { Box::pin(h.drain(end)) });
        all(draining.collect()).await;
        let closing = self
            .built
            .exporters
            .iter()
            .map(|(_, exporter)| exporter.stop())
            .collect();
        if timeout_at(Instant::now().max(end) + CLOSE, all(closing))
            .await
            .is_err()
        {
            tracing::warn!("exporters do not close, stopping without them");
        }
    }

    async fn stop_holders(&self, end: Instant) {
        for holder in &self.built.holders {
            let now = Instant::now();
            let until = now + end.saturating_duration_since(now) / 2;
            match holder {
                Holder::Batcher(harness) => harness.drain(until).await,
                Holder::Node(node) => {
                    let (switch, stop) = Stop::new();
                    let drained = timeout_at(until, node.drain(stop)).await;
                    switch.stop();
                    if drained.is_err() {
                        tracing::error!("a processor did not hand on all that it holds before the deadline");
                    }
                }
            }
        }
    }
}
