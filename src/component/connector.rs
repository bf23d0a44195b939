//! Connectors: the end of one pipeline and the start of others.

use std::sync::Arc;

use config::{Section, Shape};
use wire::Signal;

use crate::{BuildContext, Consumer, Fault, Hold, Stability};

/// One connector type.
pub struct ConnectorFactory {
    /// Name in the config.
    pub kind: &'static str,
    /// Other spellings that load too.
    pub aliases: &'static [&'static str],
    /// The blocks of keys that `build` reads, for `weir schema`.
    pub keys: &'static [Shape],
    /// From which signal to which, and how mature that is.
    pub signals: &'static [(Signal, Signal, Stability)],
    /// Whether it holds data after it answered.
    pub hold: Hold,
    /// Parses and checks; `next` takes what comes out.
    pub build: fn(Section, &BuildContext, next: Arc<dyn Consumer>) -> Result<Arc<dyn Consumer>, Fault>,
}
