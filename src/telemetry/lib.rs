//! The books, the metrics and the logs of the gateway itself.
//!
//! Nothing here opens a socket: [`render`] turns the books and metrics into Prometheus text, the roof serves it. One
//! [`Telemetry`] belongs to one running service, so that several can live in one process (tests do that).

pub mod ledger;
pub mod logs;
pub mod metrics;
pub mod names;
pub mod process;
pub mod render;

pub use ledger::{Column, Ledger, Node, Place, Row, Totals};
pub use metrics::{Counter, Gauge, Histogram, Metrics};

use std::sync::Arc;

/// What one service counts into. Cheap to clone.
#[derive(Clone, Default)]
pub struct Telemetry {
    /// Where every record went.
    pub ledger: Arc<Ledger>,
    /// Everything else that is counted.
    pub metrics: Arc<Metrics>,
}
