//! Gates, trees and reshapes with a clock around them: `otelcol_processor_internal_duration`, at the level `detailed` alone.

use std::sync::Arc;

use component::{
    BoxFuture, Fault, Gate, Host, Processor, Refusal, Reshape, ReshapeCx, SegmentCx, Sift, Touches, Tree,
};
use telemetry::{Histogram, Level, Telemetry};
use tokio::time::Instant;
use wire::view::View;
use wire::{Payload, Signal};

/// The processor, timed if that is shown. Nodes and flush policies are not: they hold payloads, or are no stage.
pub(super) fn timed(stage: Processor, id: &str, signal: Signal, telemetry: &Telemetry) -> Processor {
    if telemetry.level < Level::Detailed {
        return stage;
    }
    let duration = || {
        let labels = vec![
            ("otel.signal", signal.as_str().to_owned()),
            ("processor", id.to_owned()),
        ];
        telemetry
            .metrics
            .histogram("otelcol_processor_internal_duration", labels)
    };
    match stage {
        Processor::Gate(inner) => Processor::Gate(Arc::new(Timed(inner, duration()))),
        Processor::Tree(inner) => Processor::Tree(Arc::new(Timed(inner, duration()))),
        Processor::Reshape(inner) => Processor::Reshape(Arc::new(Timed(inner, duration()))),
        other => other,
    }
}

struct Timed<T: ?Sized>(Arc<T>, Histogram);

impl<T: ?Sized> Timed<T> {
    fn time<R>(&self, run: impl FnOnce(&T) -> R) -> R {
        let start = Instant::now();
        let result = run(&self.0);
        self.1.observe(start.elapsed().as_secs_f64());
        result
    }
}

impl Gate for Timed<dyn Gate> {
    fn admit(&self, payload: &Payload) -> Result<(), Refusal> {
        self.time(|gate| gate.admit(payload))
    }
}

impl Reshape for Timed<dyn Reshape> {
    fn start(&self, host: Arc<dyn Host>) -> BoxFuture<'_, Result<(), Fault>> {
        self.0.start(host)
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        self.0.stop()
    }

    fn admit(&self, payload: &Payload) -> Result<(), Refusal> {
        self.0.admit(payload)
    }

    fn admits_by_context(&self) -> bool {
        self.0.admits_by_context()
    }

    fn reshape(&self, payload: Payload, cx: &mut ReshapeCx) -> Result<Payload, Refusal> {
        self.time(|reshape| reshape.reshape(payload, cx))
    }
}

impl Tree for Timed<dyn Tree> {
    fn start(&self, host: Arc<dyn Host>) -> BoxFuture<'_, Result<(), Fault>> {
        self.0.start(host)
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        self.0.stop()
    }

    fn touches(&self) -> Touches {
        self.0.touches()
    }

    /// A look at raw records is not timed: a clock for each record costs more than it, and on another's behalf.
    fn sift(&self, signal: Signal) -> Option<Box<dyn Sift + '_>> {
        self.0.sift(signal)
    }

    fn apply(&self, view: &mut View<'_>, cx: &mut SegmentCx<'_>) -> Result<(), Refusal> {
        self.time(|tree| tree.apply(view, cx))
    }
}
