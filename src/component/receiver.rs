//! Receivers: they listen, turn a protocol into payloads, and answer in the protocol's words.

use std::sync::Arc;

use config::{Section, Shape};
use wire::Signal;

use crate::{BoxFuture, BuildContext, Consumer, Fault, Host, Stability};

/// One receiver type.
pub struct ReceiverFactory {
    /// Name in the config.
    pub kind: &'static str,
    /// Other spellings that load too.
    pub aliases: &'static [&'static str],
    /// The blocks of keys that `build` reads, for `weir schema`.
    pub keys: &'static [Shape],
    /// What it can receive, and how mature that is.
    pub signals: &'static [(Signal, Stability)],
    /// Parses and checks; opens nothing.
    pub build: fn(Section, &BuildContext) -> Result<Arc<dyn Receiver>, Fault>,
}

/// A receiver that was built.
pub trait Receiver: Send + Sync {
    /// Opens what it listens on, and serves from then on; returns once it does. A receiver never answers yes before
    /// `consume` has, and runs `consume` in a task of its own, so that a client that goes away cancels nothing.
    fn start<'a>(&'a self, outputs: Outputs, host: Arc<dyn Host>) -> BoxFuture<'a, Result<(), Fault>>;

    /// Takes nothing new, answers what is in flight, and returns.
    fn stop(&self) -> BoxFuture<'_, ()>;
}

/// Where a receiver (or connector) sends each signal; `None` where no pipeline wants it.
#[derive(Clone, Default)]
pub struct Outputs([Option<Arc<dyn Consumer>>; 4]);

impl Outputs {
    /// Connects one signal.
    pub fn set(&mut self, signal: Signal, next: Arc<dyn Consumer>) {
        self.0[signal.index()] = Some(next);
    }

    /// The consumer of a signal.
    pub fn get(&self, signal: Signal) -> Option<&Arc<dyn Consumer>> {
        self.0[signal.index()].as_ref()
    }
}
