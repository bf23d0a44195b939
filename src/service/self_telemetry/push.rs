//! Tasks that push own telemetry: metrics at an interval, log records in batches.
//!
//! They are beside the data path: what they send is bounded, what cannot be sent is counted and, but for metrics told
//! cumulatively, lost. A change from working to not working and back is logged, and those lines are not shipped
//! themselves. When the service stops each sends what it still has, once, for at most [`LAST_MAX`].

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use component::Stop;
use telemetry::logs::{Record, UNSHIPPED};
use telemetry::otlp::{self, Span, Temporality};
use telemetry::{Counter, Level, Resource, Snapshot, Telemetry, names};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tracing::{info, warn};
use wire::Signal;

use super::otlp::{Failed, Target};
use super::views::Views;

/// How long the last push may take when the service stops.
pub(super) const LAST_MAX: Duration = Duration::from_secs(5);
const RETRY_MIN: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(10);

/// One exporter, and whether it works.
struct Pusher {
    signal: Signal,
    target: Target,
    failures: Counter,
    is_failing: bool,
}

impl Pusher {
    fn new(signal: Signal, target: Target, telemetry: &Telemetry) -> Pusher {
        let labels = vec![("signal", signal.as_str().to_owned())];
        Pusher {
            signal,
            target,
            failures: telemetry.metrics.counter(names::PUSH_FAILURES, labels),
            is_failing: false,
        }
    }

    async fn push(&mut self, bytes: Vec<u8>) -> Result<(), Failed> {
        let result = self.target.push(self.signal, bytes).await;
        let signal = self.signal.as_str();
        match &result {
            Ok(()) if self.is_failing => info!(target: UNSHIPPED, signal, "own telemetry is taken again"),
            Ok(()) => {}
            Err(failed) => {
                self.failures.add(1);
                if !self.is_failing {
                    let error = failed.message.as_str();
                    warn!(target: UNSHIPPED, signal, error, "own telemetry cannot be pushed, goes on trying");
                }
            }
        }
        self.is_failing = result.is_err();
        result
    }
}

/// What a periodic reader pushes.
pub(super) struct Metrics {
    pub(super) telemetry: Telemetry,
    pub(super) resource: Arc<Resource>,
    pub(super) level: Level,
    pub(super) views: Arc<Views>,
    pub(super) temporality: Temporality,
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
    pub(super) started: SystemTime,
}

impl Metrics {
    /// Pushes until it is told to stop.
    pub(super) async fn run(self, target: Target, mut stop: Stop) {
        let mut pusher = Pusher::new(Signal::Metrics, target, &self.telemetry);
        let mut told = Told {
            snapshot: Snapshot::default(),
            at: self.started,
        };
        let mut ticks = interval_at(Instant::now() + self.interval, self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {
                    let _ = timeout(self.timeout, self.push(&mut pusher, &mut told)).await;
                }
                () = stop.stopped() => break,
            }
        }
        let _ = timeout(LAST_MAX.min(self.timeout), self.push(&mut pusher, &mut told)).await;
    }

    async fn push(&self, pusher: &mut Pusher, told: &mut Told) {
        let now = SystemTime::now();
        let snapshot = self.views.of(&self.telemetry, self.level);
        let is_delta = self.temporality == Temporality::Delta;
        let span = Span {
            start: if is_delta { told.at } else { self.started },
            now,
        };
        let bytes = otlp::metrics(&snapshot, &told.snapshot, &self.resource, span, self.temporality);
        if bytes.is_empty() {
            return;
        }
        // What was not taken is told again, with what comes until then.
        if pusher.push(bytes).await.is_ok() && is_delta {
            *told = Told { snapshot, at: now };
        }
    }
}

/// What the far side knows: deltas are taken from it.
struct Told {
    snapshot: Snapshot,
    at: SystemTime,
}

/// What a log processor ships.
pub(super) struct Logs {
    pub(super) telemetry: Telemetry,
    pub(super) resource: Arc<Resource>,
    pub(super) delay: Duration,
    pub(super) batch_max: usize,
    pub(super) timeout: Duration,
}

impl Logs {
    /// Ships until it is told to stop, or nobody logs any more.
    pub(super) async fn run(self, target: Target, mut outbox: mpsc::Receiver<Record>, mut stop: Stop) {
        let mut pusher = Pusher::new(Signal::Logs, target, &self.telemetry);
        let labels = vec![("reason", "unsent".to_owned())];
        let unsent = self.telemetry.metrics.counter(names::LOG_LINES_DROPPED, labels);
        let mut batch = Vec::new();
        let mut is_open = true;
        while is_open && !stop.is_stopped() {
            let due = Instant::now() + self.delay;
            is_open = self.gather(&mut batch, &mut outbox, due, &mut stop).await;
            if !batch.is_empty() && !self.ship(&mut pusher, &batch, &mut stop).await {
                unsent.add(batch.len() as u64);
            }
            batch.clear();
        }
        // What is queued now is all that is sent: what comes later stays on the lines only.
        let left = outbox.len();
        let last = async {
            let mut left = left;
            while left > 0 {
                let taken = outbox.recv_many(&mut batch, self.batch_max.min(left)).await;
                if taken == 0 {
                    break;
                }
                left -= taken;
                if pusher.push(otlp::logs(&batch, &self.resource)).await.is_err() {
                    unsent.add(batch.len() as u64);
                }
                batch.clear();
            }
        };
        let _ = timeout(LAST_MAX.min(self.timeout), last).await;
    }

    /// Until the batch is full or due; false once nothing can come any more.
    async fn gather(
        &self,
        batch: &mut Vec<Record>,
        outbox: &mut mpsc::Receiver<Record>,
        due: Instant,
        stop: &mut Stop,
    ) -> bool {
        while batch.len() < self.batch_max {
            let room = self.batch_max - batch.len();
            tokio::select! {
                taken = outbox.recv_many(batch, room) => if taken == 0 { return false },
                () = tokio::time::sleep_until(due), if !batch.is_empty() => break,
                () = stop.stopped() => break,
            }
        }
        true
    }

    /// Tries until the time is over; the records behind wait in the outbox, which is bounded.
    async fn ship(&self, pusher: &mut Pusher, batch: &[Record], stop: &mut Stop) -> bool {
        let deadline = Instant::now() + self.timeout;
        let mut pause = RETRY_MIN;
        loop {
            let Err(failed) = pusher.push(otlp::logs(batch, &self.resource)).await else {
                return true;
            };
            let wait = failed.after.unwrap_or(pause);
            if !failed.is_retryable || stop.is_stopped() || Instant::now() + wait > deadline {
                return false;
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                // one more attempt, then the rest has its turn
                () = stop.stopped() => {}
            }
            pause = (pause * 2).min(RETRY_MAX);
        }
    }
}
