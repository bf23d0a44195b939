//! Where a component that stays sends: what is behind can be changed while it is in use.
//!
//! Receivers, nodes and connectors outlive a change of the pipelines behind them. Each of their outputs is an outlet; a
//! reload puts a new fan-out into it. A payload goes all the way where it began, so whoever takes the old fan-out away
//! can wait until nobody is in it any more ([`Quiet`]).

use std::convert::Infallible;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use component::{BoxFuture, Consumer, Outcome, Refusal};
use parking_lot::Mutex;
use telemetry::Node;
use tokio::sync::mpsc;
use wire::Payload;

use super::fanout::Fanout;

/// One output of a component.
pub(crate) struct Outlet(ArcSwapOption<Open>);

/// A fan-out in use; every payload within it holds it.
struct Open {
    fanout: Fanout,
    _in_use: mpsc::Sender<Infallible>,
    quiet: Mutex<Option<Quiet>>,
}

/// Ends when the last payload has left a fan-out.
pub(crate) struct Quiet(mpsc::Receiver<Infallible>);

impl Quiet {
    /// One that ends when the other is dropped.
    pub(crate) fn new() -> (mpsc::Sender<Infallible>, Quiet) {
        let (busy, quiet) = mpsc::channel(1);
        (busy, Quiet(quiet))
    }

    /// Waits for that.
    pub(crate) async fn wait(mut self) {
        while self.0.recv().await.is_some() {}
    }
}

impl Open {
    fn new(fanout: Fanout) -> Arc<Open> {
        let (in_use, quiet) = Quiet::new();
        Arc::new(Open {
            fanout,
            _in_use: in_use,
            quiet: Mutex::new(Some(quiet)),
        })
    }
}

impl Outlet {
    pub(crate) fn new(fanout: Fanout) -> Arc<Outlet> {
        Arc::new(Outlet(ArcSwapOption::new(Some(Open::new(fanout)))))
    }

    /// From now on payloads go there.
    pub(crate) fn swap(&self, fanout: Fanout) -> Option<Quiet> {
        Outlet::quiet(self.0.swap(Some(Open::new(fanout))))
    }

    /// From now on nothing is taken.
    pub(crate) fn close(&self) -> Option<Quiet> {
        Outlet::quiet(self.0.swap(None))
    }

    fn quiet(before: Option<Arc<Open>>) -> Option<Quiet> {
        before?.quiet.lock().take()
    }

    /// Sends where the outlet leads at this moment.
    pub(crate) async fn send(&self, payload: Payload) -> Result<Outcome, Refusal> {
        match self.0.load_full() {
            Some(open) => open.fanout.send(payload).await,
            None => Err(closed()),
        }
    }

    /// Sends each payload to the node beside it.
    pub(crate) async fn send_parts(&self, parts: Vec<(&Node, Payload)>) -> Result<Outcome, Refusal> {
        match self.0.load_full() {
            Some(open) => open.fanout.send_parts(parts).await,
            None => Err(closed()),
        }
    }
}

fn closed() -> Refusal {
    Refusal::unavailable("this way in is closed")
}

impl Consumer for Outlet {
    fn consume(&self, payload: Payload) -> BoxFuture<'_, Result<Outcome, Refusal>> {
        Box::pin(self.send(payload))
    }
}
