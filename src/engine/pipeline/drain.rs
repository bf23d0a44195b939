//! The way down: receivers stop, what is held goes on, queues are sent once more, exporters close.
//!
//! Each step has a part of the deadline: receivers half of it, what holds data in pipelines half of the rest, queues
//! what is left. Exporters get a moment beyond it to close their files and connections.

use std::sync::Arc;
use std::time::Duration;

use component::Stop;
use config::ComponentId;
use tokio::time::{Instant, timeout_at};

use super::fanout::all;
use super::graph::Holder;
use super::{Graph, stages};
use crate::harness::Harness;

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
            .map(|source| source.receiver.stop())
            .collect();
        if timeout_at(start + deadline / 2, all(stopping)).await.is_err() {
            tracing::warn!("receivers still answer requests, stopping without them");
        }
        let replaced = self.replaced.lock().take();
        if let Some(replaced) = replaced {
            let now = Instant::now();
            let until = now + end.saturating_duration_since(now) / 2;
            if timeout_at(until, replaced.wait()).await.is_err() {
                tracing::warn!("what a reload has replaced has not stopped yet, stopping without it");
            }
        }
        holders(&self.built.holders, end).await;
        stages::stop(&self.built.living, end).await;
        let harnesses = self.built.harnesses.iter().map(|((id, _), h)| (id, h));
        exporters(harnesses.collect(), end).await;
        let closing = self.built.exporters.iter().map(|sink| sink.push.stop()).collect();
        if timeout_at(Instant::now().max(end) + CLOSE, all(closing))
            .await
            .is_err()
        {
            tracing::warn!("exporters do not close, stopping without them");
        }
    }
}

/// Those that send to dead letters before the dead letters; each wave has half of what is left.
pub(super) async fn exporters(mut left: Vec<(&ComponentId, &Arc<Harness>)>, end: Instant) {
    while !left.is_empty() {
        let awaited: Vec<&ComponentId> = left.iter().filter_map(|(_, h)| h.dead_letter()).collect();
        let (later, mut wave): (Vec<_>, Vec<_>) = left.into_iter().partition(|(id, _)| awaited.contains(id));
        left = later;
        if wave.is_empty() {
            // There are no cycles; were there one, it would be drained all the same.
            wave = std::mem::take(&mut left);
        }
        let now = Instant::now();
        let until = match left.is_empty() {
            true => end,
            false => now + end.saturating_duration_since(now) / 2,
        };
        let draining = wave
            .iter()
            .map(|(_, h)| -> component::BoxFuture<'_, ()> { Box::pin(h.drain(until)) });
        all(draining.collect()).await;
    }
}

/// Upstream first; each has half of what is left.
pub(super) async fn holders(holders: &[Holder], end: Instant) {
    for holder in holders {
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
