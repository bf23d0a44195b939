//! Everything around an exporter; the exporter itself only pushes.
//!
//! One [`Harness`] stands in front of one exporter for one signal, outside in: queue, batch, consumers, retry, timeout,
//! push. What comes to it comes through an [`Entry`], one for each edge, which knows how that edge's pipeline wants
//! batches. Without queue and batch an entry is the *direct* path: one attempt in the caller's own task.
//! Every item is booked: held while queued, out when delivered, failed with its reason else.

pub mod config;

mod batch;
pub(crate) mod branch;
pub(crate) mod collect;
mod cut;
mod dead_letter;
pub(crate) mod durable;
mod judge;
pub(crate) mod keys;
mod partition;
mod queue;
pub(crate) mod record;
mod retry;
pub(crate) mod room;
pub(crate) mod send;
pub(crate) mod tally;
pub(crate) mod verdict;
pub(crate) mod wait;

#[cfg(test)]
mod fair_tests;
#[cfg(test)]
mod log_tests;
#[cfg(test)]
mod tests;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use ::config::ComponentId;
use arc_swap::ArcSwapOption;
use component::host::StopSwitch;
use component::{
    BoxFuture, Class, Code, Consumer, ExportError, Fault, FlushPolicy, Host, Memory, Outcome, Push, Refusal,
    Stop,
};
use parking_lot::Mutex;
use storage::Journal;
use storage::journal::DestId;
use telemetry::{Level, Node, Place, Telemetry};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use wire::{Payload, Signal};

pub use collect::Gathering;
pub use config::{Delivery, OnAuthError, Overflow, QueueSettings, Settings};
pub use record::read_record;
pub use retry::RetrySettings;
pub use room::Sizer;

use batch::{Policy, ProcessorMetrics};
use branch::Branch;
use collect::{Lane as Gathers, MemoryLane};
use cut::Limits;
use dead_letter::DeadLetter;
use durable::{Durable, Gather};
use keys::Keys;
use queue::{Hub, HubSettings};
use room::{Capacity, Room};
use send::Sender;
use verdict::{Books, Refused};

/// Attempts at the same time where no queue says how many.
const CONSUMERS: usize = 10;

/// Stands around one exporter for one signal.
pub struct Harness {
    sender: Arc<Sender>,
    settings: Settings,
    telemetry: Telemetry,
    memory: Arc<Memory>,
    hub: Mutex<Option<Arc<Hub>>>,
    durable: Mutex<Option<Arc<Durable>>>,
    /// Of an exporter that gathers, and whose queue is not on disk.
    lane: Mutex<Option<Arc<MemoryLane>>>,
    plain: Mutex<Option<Arc<Policy>>>,
    branch: Option<Arc<Branch>>,
    switch: StopSwitch,
}

/// How the pipeline of an edge wants batches, and the `batch` processor that says so.
#[derive(Clone, Debug, PartialEq)]
pub struct PipelineBatch {
    /// The policy.
    pub policy: FlushPolicy,
    /// The processor's id.
    pub processor: String,
}

impl Harness {
    /// Around an exporter.
    pub fn new(
        id: &ComponentId,
        signal: Signal,
        exporter: Arc<dyn Push>,
        settings: Settings,
        telemetry: &Telemetry,
        memory: &Arc<Memory>,
    ) -> Arc<Harness> {
        let node = Node::Exporter(id.to_string());
        let books = Books {
            row: telemetry.ledger.row(Place::Node(node), signal),
            out: true,
        };
        Harness::around(
            id.to_string(),
            signal,
            exporter,
            settings,
            books,
            telemetry,
            memory,
        )
    }

    /// Around a connector that a pipeline with `batch` ends in: only gathers and answers, callers wait.
    pub(crate) fn before(
        id: &str,
        signal: Signal,
        next: Arc<dyn Consumer>,
        telemetry: &Telemetry,
        memory: &Arc<Memory>,
    ) -> Arc<Harness> {
        let node = Node::Connector(id.to_owned());
        let books = Books {
            row: telemetry.ledger.row(Place::Node(node), signal),
            out: false,
        };
        let exporter = Arc::new(IntoPush(next));
        Harness::around(
            id.to_owned(),
            signal,
            exporter,
            Settings::default(),
            books,
            telemetry,
            memory,
        )
    }

    fn around(
        id: String,
        signal: Signal,
        exporter: Arc<dyn Push>,
        settings: Settings,
        books: Books,
        telemetry: &Telemetry,
        memory: &Arc<Memory>,
    ) -> Arc<Harness> {
        let (switch, stop) = Stop::new();
        let metrics = &telemetry.metrics;
        let labels = || {
            vec![
                ("exporter", id.clone()),
                ("data_type", signal.as_str().to_owned()),
            ]
        };
        let sender = Sender {
            in_flight: metrics.gauge("otelcol_exporter_in_flight_requests", labels()),
            panics: metrics.counter("weir_exporter_panics", vec![("exporter", id.clone())]),
            id,
            signal,
            by_tenant: exporter.by_tenant(),
            exporter,
            timeout: settings.timeout,
            retry: settings.retry.clone(),
            limits: Limits {
                items: None,
                bytes: settings.bytes_max,
            },
            books,
            host: OnceLock::new(),
            unauthorized: AtomicBool::new(false),
            stop,
            on_auth_error: settings.on_auth_error,
            hint: settings.hint,
            dead_letter: ArcSwapOption::empty(),
        };
        Arc::new(Harness {
            sender: Arc::new(sender),
            branch: (settings.delivery == Delivery::BestEffort).then(|| Arc::new(Branch::new(memory))),
            settings,
            telemetry: telemetry.clone(),
            memory: memory.clone(),
            hub: Mutex::new(None),
            durable: Mutex::new(None),
            lane: Mutex::new(None),
            plain: Mutex::new(None),
            switch,
        })
    }

    /// What it was configured to do.
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The exporter that its configuration names for what this one gives up.
    pub(crate) fn dead_letter(&self) -> Option<&ComponentId> {
        self.settings.dead_letter.as_ref()
    }

    /// Connects the exporter that gets what this one gives up; for a reload, another one in its place.
    pub(crate) fn set_dead_letter(&self, id: &ComponentId, next: Arc<dyn Consumer>) {
        let id = id.to_string();
        self.sender
            .dead_letter
            .store(Some(Arc::new(DeadLetter { id, next })));
    }

    /// A way in for one edge. Built before the start.
    pub fn entry(self: &Arc<Harness>, batch: Option<&PipelineBatch>) -> Entry {
        let gathers = self.settings.gathering.is_some();
        // What gathers has its own idea of how much belongs together.
        let batch = batch.filter(|_| !gathers);
        let lane = match (&self.settings.queue, batch) {
            (queue, _) if gathers && queue.as_ref().is_none_or(|q| q.storage.is_none()) => {
                Lane::Gathered(self.lane())
            }
            (None, None) => Lane::Direct(self.sender.clone()),
            (Some(queue), _) if queue.storage.is_some() => {
                let queue = self.durable(queue);
                let policy = self.policy(&queue.hub, batch);
                let name: Arc<str> = batch.map_or("", |b| &b.processor).into();
                queue.register(&name, &policy);
                Lane::Durable(DurableLane {
                    queue,
                    policy,
                    batch: name,
                })
            }
            (None, Some(_)) | (Some(_), _) => {
                let hub = self.hub();
                let policy = self.policy(&hub, batch);
                Lane::Hub(hub, policy)
            }
        };
        let branch = self.branch.clone();
        Entry { lane, branch }
    }

    /// The lane of an exporter that gathers.
    fn lane(&self) -> Arc<MemoryLane> {
        let make = || {
            let gathering = self.settings.gathering.clone();
            MemoryLane::new(
                gathering.expect("only an exporter that gathers has a lane"),
                self.sender.signal,
                self.sender.books.row.clone(),
                self.settings.queue.as_ref().map(|queue| self.capacity(queue)),
            )
        };
        self.lane.lock().get_or_insert_with(make).clone()
    }

    /// The way to a collector, where that is what the exporter is.
    pub(crate) fn gathers(&self) -> Option<Arc<dyn Gathers>> {
        if let Some(durable) = &*self.durable.lock() {
            let gathers = self.settings.gathering.is_some();
            return gathers.then(|| durable.clone() as Arc<dyn Gathers>);
        }
        let lane = self.lane.lock().clone()?;
        Some(lane)
    }

    fn hub(&self) -> Arc<Hub> {
        let make = || {
            let queue = self.settings.queue.as_ref();
            let settings = HubSettings {
                capacity: queue.filter(|q| q.storage.is_none()).map(|q| self.capacity(q)),
                stored: queue.is_some_and(|q| q.storage.is_some()),
                waiting: queue.is_none_or(|q| q.wait_for_result),
                consumers: queue.map_or(CONSUMERS, |q| q.consumers),
                enqueued: queue
                    .filter(|_| self.telemetry.level == Level::Detailed)
                    .map(|_| {
                        let labels = || vec![("exporter", self.sender.id.clone())];
                        let metrics = &self.telemetry.metrics;
                        (
                            metrics.histogram("otelcol_exporter_enqueue_size", labels()),
                            metrics.histogram("otelcol_exporter_enqueue_size_bytes", labels()),
                        )
                    }),
                sizes: queue.and_then(|q| q.batch.as_ref()).map(|_| {
                    let labels = || vec![("exporter", self.sender.id.clone())];
                    let metrics = &self.telemetry.metrics;
                    (
                        metrics.histogram("otelcol_exporter_queue_batch_send_size", labels()),
                        metrics.histogram("otelcol_exporter_queue_batch_send_size_bytes", labels()),
                    )
                }),
            };
            Hub::new(self.sender.clone(), settings)
        };
        self.hub.lock().get_or_insert_with(make).clone()
    }

    /// The queue on disk; the settings name a storage.
    fn durable(&self, queue: &QueueSettings) -> Arc<Durable> {
        let make = || {
            let hub = self.hub();
            let metrics = &self.telemetry.metrics;
            let by_exporter = || vec![("exporter", self.sender.id.clone())];
            self.measure_capacity(queue);
            let bounds = durable::Bounds {
                size: queue.size,
                sizer: queue.sizer,
                block: queue.block,
                overflow: queue.overflow,
            };
            let meters = durable::Meters {
                used: metrics.gauge("otelcol_exporter_queue_size", self.labels()),
                refused: metrics.counter(enqueue_failed(self.sender.signal), by_exporter()),
                repeated: metrics.counter("weir_exporter_possible_duplicates", self.labels()),
                unreadable: metrics.counter("weir_exporter_unreadable_records", self.labels()),
            };
            let storage = queue
                .storage
                .clone()
                .expect("only a queue with storage is on disk");
            let keys = Keys::of(&self.settings.context_keys);
            let keeps_secrets = self.settings.storage.is_some_and(|s| s.keeps_secrets);
            let durable = Durable::new(
                hub.clone(),
                storage,
                bounds,
                &self.memory,
                meters,
                (keys, keeps_secrets),
                self.settings.gathering.is_some().then(Gather::new),
            );
            // For records whose `batch` processor is gone from the configuration.
            durable.register("", &self.policy(&hub, None));
            durable
        };
        self.durable.lock().get_or_insert_with(make).clone()
    }

    fn labels(&self) -> Vec<(&'static str, String)> {
        vec![
            ("exporter", self.sender.id.clone()),
            ("data_type", self.sender.signal.as_str().to_owned()),
        ]
    }

    fn measure_capacity(&self, queue: &QueueSettings) {
        let gauge = self
            .telemetry
            .metrics
            .gauge("otelcol_exporter_queue_capacity", self.labels());
        gauge.set(i64::try_from(queue.size).unwrap_or(i64::MAX));
    }

    fn capacity(&self, queue: &QueueSettings) -> Capacity {
        let metrics = &self.telemetry.metrics;
        let (id, signal) = (&self.sender.id, self.sender.signal);
        self.measure_capacity(queue);
        let size = queue.size.min(Semaphore::MAX_PERMITS);
        Capacity {
            size,
            sizer: queue.sizer,
            block: queue.block,
            permits: Arc::new(Semaphore::new(size)),
            shares: Arc::default(),
            memory: self.memory.clone(),
            class: Class::Queues,
            used: metrics.gauge("otelcol_exporter_queue_size", self.labels()),
            refused: metrics.counter(enqueue_failed(signal), vec![("exporter", id.clone())]),
        }
    }

    fn policy(&self, hub: &Hub, batch: Option<&PipelineBatch>) -> Arc<Policy> {
        let flush = self.settings.flush(batch);
        let Some(batch) = batch else {
            let mut plain = self.plain.lock();
            let make = || {
                hub.add_policy(|index| Policy {
                    index,
                    flush,
                    processor: None,
                })
            };
            return plain.get_or_insert_with(make).clone();
        };
        let labels = || vec![("processor", batch.processor.clone())];
        let metrics = &self.telemetry.metrics;
        let processor = ProcessorMetrics {
            by_size: metrics.counter("otelcol_processor_batch_batch_size_trigger_send", labels()),
            by_timeout: metrics.counter("otelcol_processor_batch_timeout_trigger_send", labels()),
            items: metrics.histogram("otelcol_processor_batch_batch_send_size", labels()),
            bytes: metrics.histogram("otelcol_processor_batch_batch_send_size_bytes", labels()),
            combinations: metrics.gauge("otelcol_processor_batch_metadata_cardinality", labels()),
        };
        if flush.as_ref().is_none_or(|f| f.metadata_keys.is_empty()) {
            processor.combinations.set(1); // as the collector counts it
        }
        hub.add_policy(|index| Policy {
            index,
            flush,
            processor: Some(processor),
        })
    }

    /// The exporter's id.
    pub(crate) fn id(&self) -> &str {
        &self.sender.id
    }

    /// Finds the journal where the queue is on disk; before the start.
    pub async fn open(&self, host: &dyn Host) -> Result<(), Fault> {
        let durable = self.durable.lock().clone();
        match durable {
            Some(durable) => durable.open(host).await,
            None => Ok(()),
        }
    }

    /// The journal of a queue on disk that was opened, our place in it, and the storage's id.
    pub(crate) fn opened(&self) -> Option<(Journal, DestId, ComponentId)> {
        let durable = self.durable.lock().clone()?;
        let opened = durable.opened()?;
        Some((opened.journal.clone(), opened.dest, durable.storage().clone()))
    }

    /// Begins to watch the clock; the exporter was started before.
    pub fn start(&self, host: Arc<dyn Host>) {
        // Started twice, the first host stays.
        let _ = self.sender.host.set(host);
        if let Some(hub) = &*self.hub.lock()
            && self.settings.gathering.is_none()
        {
            hub.start();
        }
        if let Some(durable) = &*self.durable.lock() {
            durable.start();
        }
    }

    /// What is queued goes to `next`, and so does what still comes and what running attempts leave over. Where one of
    /// them has no queue, or they are not both in memory, this one is for [`Harness::drain`] to empty.
    ///
    /// With the same storage nothing more is sent from here; `next` reads on from the disk once this one is drained.
    pub(crate) fn hand_over(&self, next: &Harness) {
        let storage = |harness: &Harness| harness.settings.queue.as_ref().and_then(|q| q.storage.clone());
        let (from, to) = (storage(self), storage(next));
        if from.is_some() || to.is_some() {
            let durable = self.durable.lock().clone().filter(|_| from == to);
            if let Some(durable) = durable {
                durable.close();
                durable.hub.forget();
            }
            return;
        }
        let lanes = self.lane.lock().clone().zip(next.lane.lock().clone());
        if let Some((here, next)) = lanes {
            return here.hand_over(&next);
        }
        if self.settings.gathering.is_some() || next.settings.gathering.is_some() {
            return;
        }
        if self.settings.queue.is_some() && next.settings.queue.is_some() {
            let here = self.hub.lock().clone();
            if let Some(here) = here {
                here.hand_over(&next.hub());
            }
        }
    }

    /// Receivers are about to stop: waiting for retries and for batches to fill ends.
    pub fn close(&self) {
        self.switch.stop();
        // One that gathers takes in to the end what is appended: nobody waits for it.
        if let Some(durable) = self
            .durable
            .lock()
            .as_ref()
            .filter(|_| self.settings.gathering.is_none())
        {
            durable.close();
        }
        let hub = self.hub.lock().clone();
        if let Some(hub) = hub {
            hub.close();
        }
    }

    /// Waits until all that is queued has been delivered or given up; nothing new may come. The caller bounds it.
    pub(crate) async fn emptied(&self) {
        let hub = self.hub.lock().clone();
        if let Some(hub) = hub {
            hub.emptied().await;
        }
        let lane = self.lane.lock().clone();
        match (lane, &self.settings.gathering) {
            (Some(lane), _) => lane.emptied().await,
            (None, Some(gathering)) => gathering.seal().await,
            (None, None) => {}
        }
    }

    /// Tries to deliver what is queued, each batch once. What is left at the deadline is booked as failed; what is on
    /// disk stays there, but for attempts that have begun.
    pub async fn drain(&self, deadline: Instant) {
        self.close();
        let hub = self.hub.lock().clone();
        if let Some(hub) = hub {
            hub.drain(deadline).await;
        }
        if let Some(branch) = &self.branch {
            branch.drain(deadline).await;
        }
        let durable = self.durable.lock().clone();
        if let Some(durable) = &durable {
            durable.finish(deadline).await;
        }
        let lane = self.lane.lock().clone();
        match (lane, &self.settings.gathering) {
            (Some(lane), _) => lane.drain(deadline).await,
            (None, Some(gathering)) => gathering.end(deadline).await,
            (None, None) => {}
        }
        if let Some(durable) = durable {
            durable.let_go(deadline).await;
        }
    }
}

fn enqueue_failed(signal: Signal) -> &'static str {
    match signal {
        Signal::Logs => "otelcol_exporter_enqueue_failed_log_records",
        Signal::Traces => "otelcol_exporter_enqueue_failed_spans",
        Signal::Metrics => "otelcol_exporter_enqueue_failed_metric_points",
        Signal::Profiles => "otelcol_exporter_enqueue_failed_profile_samples",
    }
}

/// The way into a harness for one edge.
#[derive(Clone)]
pub struct Entry {
    lane: Lane,
    branch: Option<Arc<Branch>>,
}

#[derive(Clone)]
enum Lane {
    Direct(Arc<Sender>),
    Hub(Arc<Hub>, Arc<Policy>),
    Durable(DurableLane),
    Gathered(Arc<MemoryLane>),
}

/// The way into a queue on disk: what comes here follows this policy.
#[derive(Clone)]
pub(crate) struct DurableLane {
    pub(crate) queue: Arc<Durable>,
    pub(crate) policy: Arc<Policy>,
    /// Id of the `batch` processor whose policy it is; empty if there is none.
    pub(crate) batch: Arc<str>,
}

impl Entry {
    /// The same way for one that has no other: its answer counts, whatever the exporter's `delivery` says.
    pub(crate) fn required(self) -> Entry {
        Entry { branch: None, ..self }
    }

    /// Where the work of a best-effort exporter runs; `None` where its answer counts.
    pub(crate) fn branch(&self) -> Option<&Arc<Branch>> {
        self.branch.as_ref()
    }

    /// Takes room for a payload where there is a queue, so that a fan-out can ask all its branches before it moves
    /// anything.
    pub(crate) async fn reserve(&self, payload: &Payload) -> Result<Option<Room>, Refusal> {
        match &self.lane {
            Lane::Direct(_) | Lane::Durable(_) => Ok(None),
            Lane::Hub(hub, policy) => hub.reserve(policy, payload).await,
            Lane::Gathered(lane) => lane.reserve(payload).await,
        }
    }

    /// The queue on disk, which takes what was appended to its journal and nothing else.
    pub(crate) fn durable(&self) -> Option<&DurableLane> {
        match &self.lane {
            Lane::Durable(lane) => Some(lane),
            _ => None,
        }
    }

    /// Queues or delivers the payload; `room` was reserved for it.
    pub(crate) async fn offer(&self, payload: Payload, room: Option<Room>) -> Result<Outcome, Refused> {
        match &self.lane {
            Lane::Direct(sender) => sender.direct(payload).await,
            Lane::Hub(hub, policy) => hub.offer(policy, payload, room).await,
            Lane::Gathered(lane) => lane.offer(payload, room).await,
            // Only what holds nothing comes here: there is nothing to be kept.
            Lane::Durable(lane) => lane.queue.hub.offer(&lane.policy, payload, room).await,
        }
    }
}

/// A connector as what a batcher pushes to. It answers for itself, so there are no retries here.
struct IntoPush(Arc<dyn Consumer>);

impl Push for IntoPush {
    fn export<'a>(&'a self, batch: &'a Payload) -> BoxFuture<'a, Result<Outcome, ExportError>> {
        Box::pin(async move {
            let refusal = match self.0.consume(batch.clone()).await {
                Ok(outcome) => return Ok(outcome),
                Err(refusal) => refusal,
            };
            let source = refusal.message().into();
            Err(match refusal {
                r if r.is_retryable() => ExportError::Retry {
                    after: r.retry_after(),
                    remaining: None,
                    source,
                },
                Refusal::Status(code, _) => ExportError::Rejected { code, source },
                _ => ExportError::Rejected {
                    code: Code::INVALID_ARGUMENT,
                    source,
                },
            })
        })
    }
}
