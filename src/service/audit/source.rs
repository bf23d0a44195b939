//! The receiver of the pipeline `logs/audit`: it connects the trail with what is behind it, and has no keys.

use std::sync::Arc;

use component::{Audit, BoxFuture, Consumer, Fault, Host, Outputs, Receiver, ReceiverFactory, Stability};
use parking_lot::Mutex;
use wire::Signal;

/// In no table of types: a configuration cannot name it.
pub(super) static FACTORY: ReceiverFactory = ReceiverFactory {
    kind: super::keys::SOURCE,
    aliases: &[],
    keys: &[],
    signals: &[(Signal::Logs, Stability::Alpha)],
    build: |_, _| Ok(Arc::new(Source::default())),
};

#[derive(Default)]
struct Source(Mutex<Option<(Arc<dyn Audit>, Arc<dyn Consumer>)>>);

impl Receiver for Source {
    fn start<'a>(&'a self, outputs: Outputs, host: Arc<dyn Host>) -> BoxFuture<'a, Result<(), Fault>> {
        if let (Some(trail), Some(next)) = (host.audit(), outputs.get(Signal::Logs)) {
            trail.connect(next.clone());
            *self.0.lock() = Some((trail, next.clone()));
        }
        component::ready(Ok(()))
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        let started = self.0.lock().take();
        Box::pin(async move {
            if let Some((trail, next)) = started {
                trail.disconnect(&next).await;
            }
        })
    }
}
