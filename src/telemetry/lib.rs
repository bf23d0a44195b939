//! The books, the metrics and the logs of the gateway itself.
//!
//! Nothing here opens a socket: a [`Snapshot`] of the books and metrics becomes Prometheus text ([`render`]) or an OTLP
//! request ([`otlp`]), the roof serves and sends it. One [`Telemetry`] belongs to one running service, so that several can live in one process (tests do that).

pub mod ledger;
pub mod logs;
pub mod metrics;
pub mod names;
pub mod otlp;
pub mod process;
pub mod render;
pub mod resource;
pub mod snapshot;
pub mod views;

pub use ledger::{Column, Fan, Ledger, Node, Place, Row, Totals};
pub use metrics::{Counter, Gauge, Histogram, Metrics};
pub use names::Level;
pub use resource::Resource;
pub use snapshot::Snapshot;

use std::sync::Arc;

/// What one service counts into. Cheap to clone.
#[derive(Clone, Default)]
pub struct Telemetry {
    /// Where every record went.
    pub ledger: Arc<Ledger>,
    /// Everything else that is counted.
    pub metrics: Arc<Metrics>,
    /// How much is shown: what only a higher level shows need not be counted.
    pub level: Level,
}
