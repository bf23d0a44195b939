//! One graph takes over from another while requests are under way.
//!
//! First everything new is started, receivers last; should that fail it is taken back, and the running graph has not
//! noticed. Then outlets are swapped: from that moment payloads go the new way, and those under way finish where they
//! began. What an exporter has queued goes to its successor. What is left over stops behind the scenes ([`Retired`]):
//! receivers answer what is in flight, nodes hand on what they hold, queues without a successor are sent.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use component::{BoxFuture, Fault, Host, Push, Receiver};
use config::ComponentId;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::fanout::all;
use super::graph::Holder;
use super::outlet::{Outlet, Quiet};
use super::stages::Living;
use super::{Graph, drain, failed_to_start, stages};
use crate::harness::Harness;

/// What a graph had that its successor has not, still to be stopped.
pub struct Retired {
    receivers: Vec<Arc<dyn Receiver>>,
    outlets: Vec<Arc<Outlet>>,
    /// Of fan-outs that were taken away from components that stay.
    quiet: Vec<Quiet>,
    holders: Vec<Holder>,
    living: Vec<Living>,
    harnesses: Vec<(ComponentId, Arc<Harness>)>,
    exporters: Vec<Arc<dyn Push>>,
    /// What was replaced before: it may still send here.
    earlier: Option<Quiet>,
    /// Goes when all has stopped.
    _busy: Option<mpsc::Sender<Infallible>>,
}

impl Graph {
    /// Starts what is new here, and puts this graph in the place of `before`, from which it was
    /// [built](Graph::build_after). What is left of that one is for the caller to [drain](Retired::drain).
    ///
    /// Errors: something did not start. Then `before` goes on as if nothing had been.
    pub async fn take_over(&self, before: &Graph, host: Arc<dyn Host>) -> Result<Retired, Fault> {
        let fresh = self.without(before);
        for (at, exporter) in fresh.exporters.iter().enumerate() {
            if let Err(fault) = exporter.start(host.clone()).await {
                all(fresh.exporters[..at]
                    .iter()
                    .map(|started| started.stop())
                    .collect())
                .await;
                let id = self
                    .built
                    .exporters
                    .iter()
                    .find(|sink| Arc::ptr_eq(&sink.push, exporter));
                return Err(failed_to_start(
                    &id.expect("it is one of these").id,
                    "exporter",
                    fault,
                ));
            }
        }
        for harness in self.harnesses() {
            if let Err(fault) = harness.open(&*host).await {
                all(fresh.exporters.iter().map(|started| started.stop()).collect()).await;
                return Err(failed_to_start(harness.id(), "exporter", fault));
            }
        }
        for sink in &self.built.exporters {
            if !fresh.exporters.iter().any(|push| Arc::ptr_eq(push, &sink.push)) {
                continue;
            }
            if let Err(fault) = self.begin_gathering(sink, &host, Some(before)).await {
                all(fresh.exporters.iter().map(|started| started.stop()).collect()).await;
                return Err(failed_to_start(&sink.id, "exporter", fault));
            }
        }
        let is_kept =
            |harness: &Arc<Harness>| before.built.harnesses.values().any(|h| Arc::ptr_eq(h, harness));
        self.built.connect_letters(|harness| !is_kept(harness));
        self.tell_orphans();
        for harness in self.harnesses() {
            harness.start(host.clone());
        }
        for living in &fresh.living {
            if let Err(fault) = living.start(host.clone()).await {
                let (id, what) = (living.id.clone(), living.what);
                let failed = Retired {
                    receivers: Vec::new(),
                    ..fresh
                };
                failed.drain(Instant::now() + drain::AFTER_FAULT).await;
                return Err(failed_to_start(&id, what, fault));
            }
        }
        let mut started = Vec::new();
        for source in &self.built.receivers {
            if before.has_receiver(&source.receiver) {
                continue;
            }
            if let Err(fault) = source.receiver.start(source.outputs.clone(), host.clone()).await {
                let failed = Retired {
                    receivers: started,
                    ..fresh
                };
                failed.drain(Instant::now() + drain::AFTER_FAULT).await;
                return Err(failed_to_start(&source.id, "receiver", fault));
            }
            started.push(source.receiver.clone());
        }
        self.built.connect_letters(|_| true);
        let rewires = std::mem::take(&mut *self.built.rewires.lock());
        let swapped = rewires
            .into_iter()
            .rev()
            .filter_map(|(outlet, fanout)| outlet.swap(fanout));
        let quiet = swapped.collect();
        for (key, old) in &before.built.harnesses {
            if let Some(new) = self.built.harnesses.get(key).filter(|new| !Arc::ptr_eq(new, old)) {
                old.hand_over(new);
            }
        }
        let earlier = before.replaced.lock().take();
        let (busy, replaced) = Quiet::new();
        *self.replaced.lock() = Some(replaced);
        Ok(Retired {
            quiet,
            earlier,
            _busy: Some(busy),
            ..before.without(self)
        })
    }

    fn has_receiver(&self, receiver: &Arc<dyn Receiver>) -> bool {
        self.built
            .receivers
            .iter()
            .any(|source| Arc::ptr_eq(&source.receiver, receiver))
    }

    /// What is here and not there.
    fn without(&self, other: &Graph) -> Retired {
        let (here, there) = (&self.built, &other.built);
        let sources = || {
            here.receivers
                .iter()
                .filter(|source| !other.has_receiver(&source.receiver))
        };
        let is_there = |holder: &Holder| {
            there.holders.iter().any(|known| match (known, holder) {
                (Holder::Node(a), Holder::Node(b)) => Arc::ptr_eq(a, b),
                (Holder::Batcher(a), Holder::Batcher(b)) => Arc::ptr_eq(a, b),
                _ => false,
            })
        };
        let harnesses = here.harnesses.iter().filter(|(key, harness)| {
            there
                .harnesses
                .get(key)
                .is_none_or(|known| !Arc::ptr_eq(known, harness))
        });
        let exporters = here
            .exporters
            .iter()
            .map(|sink| &sink.push)
            .filter(|push| !there.exporters.iter().any(|sink| Arc::ptr_eq(&sink.push, push)));
        Retired {
            receivers: sources().map(|source| source.receiver.clone()).collect(),
            outlets: sources()
                .flat_map(|source| source.outlets.values().cloned())
                .collect(),
            quiet: Vec::new(),
            earlier: None,
            _busy: None,
            holders: here
                .holders
                .iter()
                .filter(|holder| !is_there(holder))
                .cloned()
                .collect(),
            living: here
                .living
                .iter()
                .filter(|living| !there.living.iter().any(|known| known.stage.is(&living.stage)))
                .cloned()
                .collect(),
            harnesses: harnesses
                .map(|((id, _), harness)| (id.clone(), harness.clone()))
                .collect(),
            exporters: exporters.cloned().collect(),
        }
    }
}

impl Retired {
    /// Stops everything, upstream first. What is in queues that nobody took over and is not delivered by the deadline
    /// is booked as failed.
    pub async fn drain(mut self, end: Instant) {
        let half = |now: Instant| now + end.saturating_duration_since(now) / 2;
        let stopping = self.receivers.iter().map(|receiver| receiver.stop()).collect();
        if timeout_at(half(Instant::now()), all(stopping)).await.is_err() {
            tracing::warn!("receivers that were replaced still answer requests, stopping without them");
        }
        let closed = self.outlets.iter().filter_map(|outlet| outlet.close());
        self.quiet.extend(closed);
        let under_way = async {
            for quiet in self.quiet.into_iter().chain(self.earlier) {
                quiet.wait().await;
            }
        };
        if timeout_at(half(Instant::now()), under_way).await.is_err() {
            tracing::warn!("requests are still under way through what was replaced, stopping without them");
        }
        drain::holders(&self.holders, end).await;
        stages::stop(&self.living, end).await;
        // Unlike a gateway that stops, one that goes on has time for retries.
        let emptied = self
            .harnesses
            .iter()
            .map(|(_, h)| -> BoxFuture<'_, ()> { Box::pin(h.emptied()) });
        let _ = timeout_at(half(Instant::now()), all(emptied.collect())).await;
        let harnesses = self.harnesses.iter().map(|(id, harness)| (id, harness)).collect();
        drain::exporters(harnesses, end).await;
        let closing = self
            .exporters
            .iter()
            .map(|exporter| -> BoxFuture<'_, ()> { exporter.stop() });
        let close_by = Instant::now().max(end) + Duration::from_secs(1);
        if timeout_at(close_by, all(closing.collect())).await.is_err() {
            tracing::warn!("exporters that were replaced do not close, stopping without them");
        }
    }
}
