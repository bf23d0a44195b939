//! Extensions that a collector has and Weir accepts without doing anything: they say so once, at start.

use component::prelude::*;
use tracing::warn;

/// An extension that does nothing.
pub(crate) struct Inert {
    id: ComponentId,
    text: &'static str,
}

impl Inert {
    /// `text` is what the log is told.
    pub(crate) fn new(cx: &BuildContext, text: &'static str) -> Inert {
        Inert {
            id: cx.id.clone(),
            text,
        }
    }
}

impl Extension for Inert {
    fn start<'a>(&'a self, _: Arc<dyn Host>) -> BoxFuture<'a, Result<(), Fault>> {
        warn!(component = %self.id, "{}", self.text);
        ready(Ok(()))
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        ready(())
    }
}
