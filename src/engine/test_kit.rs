//! Payloads, scripted exporters and consumers, and books to check, for the tests of the engine.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use component::{
    BoxFuture, BuildInfo, Code, Consumer, ExportError, Extension, Fault, Host, Memory, Outcome, Push,
    Refusal, Rejection, Remaining, Status,
};
use config::ComponentId;
use parking_lot::Mutex;
use storage::Journal;
use telemetry::{Node, Place, Telemetry, Totals};
use tokio::time::Instant;
use wire::view::{Depth, Scratch, View};
use wire::{Chunk, Context, Payload, Shape, Signal};

use crate::harness::{Entry, Harness, PipelineBatch, RetrySettings, Settings};
use crate::pipeline::GraphContext;
use crate::pipeline::edge::{Edge, Target};
use crate::pipeline::fanout::Fanout;

static NEXT: AtomicU64 = AtomicU64::new(1);

fn field(out: &mut Vec<u8>, number: u8, body: &[u8]) {
    out.push(number << 3 | 2);
    let mut len = body.len();
    while len >= 0x80 {
        out.push(len as u8 | 0x80);
        len >>= 7;
    }
    out.push(len as u8);
    out.extend_from_slice(body);
}

/// A chunk of log records; each has a time of its own that no other record of the process has.
pub(crate) fn chunk(records: usize) -> Chunk {
    let mut scope = Vec::new();
    for _ in 0..records {
        let mut record = vec![0x09];
        record.extend_from_slice(&NEXT.fetch_add(1, Relaxed).to_le_bytes());
        field(&mut scope, 2, &record);
    }
    let (mut resource, mut request) = (Vec::new(), Vec::new());
    field(&mut resource, 2, &scope);
    field(&mut request, 1, &resource);
    let shape = Shape {
        items: records as u32,
        ..Shape::default()
    };
    Chunk::new(request.into(), shape)
}

pub(crate) fn logs(records: usize) -> Payload {
    Payload::new(Signal::Logs, chunk(records), Arc::default())
}

pub(crate) fn logs_of(tenant: &str, records: usize) -> Payload {
    let mut payload = logs(records);
    payload.chunks[0].origin.tenant = Some(tenant.into());
    payload
}

/// One record of each tenant.
pub(crate) fn logs_of_all(tenants: &[&str]) -> Payload {
    let mut payload = logs(0);
    payload.chunks.clear();
    for tenant in tenants {
        payload.chunks.extend(logs_of(tenant, 1).chunks);
        payload.items += 1;
    }
    payload
}

pub(crate) fn with_deadline(mut payload: Payload, after: Duration) -> Payload {
    payload.context = Arc::new(Context {
        deadline: Some((Instant::now() + after).into_std()),
        ..Context::default()
    });
    payload
}

pub(crate) fn with_metadata(mut payload: Payload, key: &str, value: &str) -> Payload {
    payload.context = Arc::new(Context {
        metadata: vec![(key.into(), vec![value.into()])],
        ..Context::default()
    });
    payload
}

/// The times of all records: their names.
pub(crate) fn records(payload: &Payload) -> Vec<u64> {
    let mut out = Vec::new();
    for chunk in &payload.chunks {
        let mut scratch = Scratch::default();
        let bytes = chunk.bytes();
        let view = View::new(&mut scratch, payload.signal, &bytes, Depth::Record).expect("a valid chunk");
        out.extend(view.nodes().filter_map(|n| view.number(n, 1)));
    }
    out
}

/// What a scripted exporter or consumer does with one batch.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    Take,
    TakeAfter(Duration),
    /// Takes all but so many items.
    TakeBut(u64),
    Retry,
    RetryAfter(Duration),
    /// Says so after so long only.
    RetryLate(Duration, Duration),
    /// Takes all chunks but the last one.
    KeepLast,
    /// The same, and the rest is taken without this many.
    KeepLastBut(u64),
    Reject,
    TooLarge,
    Deny,
    Hang,
    Panic,
}

type Rule = Box<dyn Fn(&Payload) -> Act + Send>;

/// Does as told, then takes everything; remembers what it saw and what it took.
#[derive(Default)]
pub(crate) struct Script {
    acts: Mutex<VecDeque<Act>>,
    pub(crate) rule: Mutex<Option<Rule>>,
    pub(crate) seen: Mutex<Vec<Seen>>,
    pub(crate) taken: Mutex<Vec<u64>>,
    pub(crate) stopped: AtomicU64,
    /// Wants tenants apart.
    pub(crate) by_tenant: AtomicBool,
}

/// One attempt.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) at: Instant,
    pub(crate) items: usize,
    pub(crate) payload: Payload,
}

impl Script {
    pub(crate) fn new(acts: impl IntoIterator<Item = Act>) -> Arc<Script> {
        let script = Script::default();
        script.acts.lock().extend(acts);
        Arc::new(script)
    }

    /// What it does next.
    pub(crate) fn script(&self, acts: impl IntoIterator<Item = Act>) {
        self.acts.lock().extend(acts);
    }

    /// From now on everything is taken.
    pub(crate) fn forget(&self) {
        self.acts.lock().clear();
    }

    /// Decides by the batch.
    pub(crate) fn by(rule: impl Fn(&Payload) -> Act + Send + 'static) -> Arc<Script> {
        let script = Script::default();
        *script.rule.lock() = Some(Box::new(rule));
        Arc::new(script)
    }

    /// Items of each attempt so far.
    pub(crate) fn sizes(&self) -> Vec<usize> {
        self.seen.lock().iter().map(|s| s.items).collect()
    }

    async fn act(&self, payload: &Payload) -> Result<Outcome, ExportError> {
        self.seen.lock().push(Seen {
            at: Instant::now(),
            items: payload.items,
            payload: payload.clone(),
        });
        assert_eq!(payload.items, records(payload).len(), "items are counted right");
        let act = match &*self.rule.lock() {
            Some(rule) => rule(payload),
            None => self.acts.lock().pop_front().unwrap_or(Act::Take),
        };
        match act {
            Act::Take => {}
            Act::TakeAfter(time) => tokio::time::sleep(time).await,
            Act::TakeBut(items) => {
                self.taken.lock().extend(&records(payload)[items as usize..]);
                return Ok(Outcome {
                    rejected: too_old(items).into_iter().collect(),
                });
            }
            Act::Retry => return Err(ExportError::retry("unwell")),
            Act::RetryAfter(after) | Act::RetryLate(_, after) => {
                if let Act::RetryLate(time, _) = act {
                    tokio::time::sleep(time).await;
                }
                return Err(ExportError::Retry {
                    after: Some(after),
                    remaining: None,
                    source: "slow down".into(),
                });
            }
            Act::KeepLast | Act::KeepLastBut(_) => {
                let mut taken = payload.clone();
                let last = taken.chunks.pop().expect("a chunk");
                let owed = Payload::new(payload.signal, last, payload.context.clone());
                let taken = records(&taken);
                let items = match act {
                    Act::KeepLastBut(items) => items.min(taken.len() as u64),
                    _ => 0,
                };
                self.taken.lock().extend(&taken[items as usize..]);
                return Err(ExportError::Retry {
                    after: None,
                    remaining: Some(Remaining {
                        owed,
                        rejected: too_old(items).into_iter().collect(),
                        refused: None,
                    }),
                    source: "half of it".into(),
                });
            }
            Act::Reject => {
                return Err(ExportError::Rejected {
                    code: Code::INVALID_ARGUMENT,
                    source: "bad data".into(),
                });
            }
            Act::TooLarge => return Err(ExportError::TooLarge { source: "413".into() }),
            Act::Deny => return Err(ExportError::Unauthorized { source: "401".into() }),
            Act::Hang => std::future::pending().await,
            // Without a word: backtraces of what is meant to happen take longer than the tests.
            Act::Panic => std::panic::resume_unwind(Box::new("as told")),
        }
        self.taken.lock().extend(records(payload));
        Ok(Outcome::all())
    }
}

/// What is said of so many items that are rejected.
fn too_old(items: u64) -> Option<Rejection> {
    (items > 0).then(|| Rejection {
        rule: "too_old".into(),
        items,
        message: "too old".into(),
    })
}

impl Push for Script {
    fn export<'a>(&'a self, batch: &'a Payload) -> BoxFuture<'a, Result<Outcome, ExportError>> {
        Box::pin(self.act(batch))
    }

    fn by_tenant(&self) -> bool {
        self.by_tenant.load(Relaxed)
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        self.stopped.fetch_add(1, Relaxed);
        component::ready(())
    }
}

impl Consumer for Script {
    fn consume(&self, payload: Payload) -> BoxFuture<'_, Result<Outcome, Refusal>> {
        Box::pin(async move { self.act(&payload).await.map_err(|e| Refusal::from(&e)) })
    }
}

/// Remembers what was reported; its one extension is a storage, if there is a journal.
#[derive(Default)]
pub(crate) struct Reports(pub(crate) Mutex<Vec<Status>>, pub(crate) Option<Journal>);

struct Disk(Journal);

impl Extension for Disk {
    fn start<'a>(&'a self, _: Arc<dyn Host>) -> BoxFuture<'a, Result<(), Fault>> {
        component::ready(Ok(()))
    }

    fn journal(&self) -> Option<Journal> {
        Some(self.0.clone())
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        component::ready(())
    }
}

impl Host for Reports {
    fn exporter(&self, _: &ComponentId) -> Result<Arc<dyn Consumer>, Fault> {
        Err(Fault::World("none here".into()))
    }

    fn extension(&self, _: &ComponentId) -> Result<Arc<dyn Extension>, Fault> {
        let journal = self.1.clone().ok_or_else(|| Fault::World("none here".into()))?;
        Ok(Arc::new(Disk(journal)))
    }

    fn report(&self, _: &str, status: Status) {
        self.0.lock().push(status);
    }
}

pub(crate) fn context() -> GraphContext {
    GraphContext {
        telemetry: Telemetry::default(),
        memory: Arc::new(Memory::new(1 << 30)),
        info: BuildInfo {
            command: "weir",
            version: "0.0.0",
        },
        gates: Arc::default(),
    }
}

pub(crate) fn retry(initial: Duration) -> RetrySettings {
    RetrySettings {
        initial,
        randomization: 0.0,
        multiplier: 2.0,
        max: Duration::from_secs(30),
        elapsed_max: Some(Duration::from_secs(300)),
        retries_max: None,
    }
}

/// One exporter with its harness at the end of one edge.
pub(crate) struct Rig {
    pub(crate) cx: GraphContext,
    pub(crate) harness: Arc<Harness>,
    pub(crate) script: Arc<Script>,
    pub(crate) reports: Arc<Reports>,
    pub(crate) way: Arc<Fanout>,
}

impl Rig {
    pub(crate) fn new(script: Arc<Script>, settings: Settings) -> Rig {
        Rig::with_batch(script, settings, None)
    }

    pub(crate) fn with_batch(script: Arc<Script>, settings: Settings, batch: Option<PipelineBatch>) -> Rig {
        let cx = context();
        let id = ComponentId::parse("out").expect("an id");
        let harness = Harness::new(
            &id,
            Signal::Logs,
            script.clone(),
            settings,
            &cx.telemetry,
            &cx.memory,
        );
        let way = edge(&cx, "logs", "out", harness.entry(batch.as_ref()));
        let reports = Arc::<Reports>::default();
        harness.start(reports.clone());
        Rig {
            way: Arc::new(Fanout::new(vec![way])),
            cx,
            harness,
            script,
            reports,
        }
    }

    pub(crate) async fn send(&self, payload: Payload) -> Result<Outcome, Refusal> {
        self.way.send(payload).await
    }

    /// Sends in a task of its own, as receivers do; the task has begun to wait when this returns.
    pub(crate) async fn spawn(&self, payload: Payload) -> tokio::task::JoinHandle<Result<Outcome, Refusal>> {
        let way = self.way.clone();
        let task = tokio::spawn(async move { way.send(payload).await });
        settle().await;
        task
    }

    pub(crate) fn totals(&self) -> Totals {
        totals(&self.cx, "out")
    }

    /// Drains, and the books must balance.
    pub(crate) async fn finish(&self) {
        self.harness.drain(Instant::now() + Duration::from_secs(10)).await;
        assert_books_balance(&self.cx);
    }
}

pub(crate) fn edge(cx: &GraphContext, from: &str, to: &str, entry: Entry) -> Edge {
    Edge::new(
        &cx.telemetry.ledger,
        Node::Pipeline(from.into()),
        Node::Exporter(to.into()),
        Signal::Logs,
        Target::Entry(entry),
    )
}

pub(crate) fn totals(cx: &GraphContext, exporter: &str) -> Totals {
    cx.telemetry
        .ledger
        .row(Place::Node(Node::Exporter(exporter.into())), Signal::Logs)
        .total()
}

pub(crate) fn edge_totals(cx: &GraphContext, from: Node, to: Node) -> Totals {
    cx.telemetry
        .ledger
        .row(Place::Edge { from, to }, Signal::Logs)
        .total()
}

pub(crate) fn assert_books_balance(cx: &GraphContext) {
    if let Err(faults) = cx.telemetry.ledger.check() {
        panic!("the books do not balance:\n{}", faults.join("\n"));
    }
    for row in cx.telemetry.ledger.rows() {
        assert_eq!(row.total().held(), 0, "{} still holds", row.place);
    }
}

/// Lets every task run until all of them wait; no time passes.
pub(crate) async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}
