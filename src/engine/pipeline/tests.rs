//! Whole graphs of scripted components.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use component::exporter::{Block, Exporter, Harness as Offer};
use component::{
    BoxFuture, Code, Connector, ConnectorFactory, Consumer, Depth, ExporterFactory, FlushPolicy, Gate, Hold,
    Node as HoldingNode, Outcome, Outputs, Processor, ProcessorFactory, Push, Receiver, ReceiverFactory,
    SegmentCx, Stability, Stop, Touches, Tree,
};
use parking_lot::Mutex;
use telemetry::{Column, Node, Place, Totals};
use wire::view::{NewValue, View};
use wire::{Encoding, Twin};

use super::*;
use crate::test_kit::*;

const ALL: &[(Signal, Stability)] = &[(Signal::Logs, Stability::Beta), (Signal::Traces, Stability::Beta)];
const LOGS: &[(Signal, Stability)] = &[(Signal::Logs, Stability::Beta)];

// --- components ---

/// Scripts and outputs of the graph that a test builds, by id; tests run in threads of their own.
#[derive(Default)]
pub(super) struct Bench {
    scripts: BTreeMap<String, Arc<Script>>,
    outputs: BTreeMap<String, Outputs>,
    pub(super) order: Vec<String>,
}

thread_local! {
    pub(super) static BENCH: std::cell::RefCell<Bench> = std::cell::RefCell::default();
}

struct Source(String);

impl Receiver for Source {
    fn start<'a>(&'a self, outputs: Outputs, _: Arc<dyn Host>) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            if self.0 == "in/taken" {
                return Err(Fault::World("address already in use".into()));
            }
            BENCH.with_borrow_mut(|b| {
                b.order.push(format!("start {}", self.0));
                b.outputs.insert(self.0.clone(), outputs);
            });
            Ok(())
        })
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        BENCH.with_borrow_mut(|b| b.order.push(format!("stop {}", self.0)));
        component::ready(())
    }
}

struct Sink(String, Arc<Script>);

impl Push for Sink {
    fn start<'a>(&'a self, _: Arc<dyn Host>) -> BoxFuture<'a, Result<(), Fault>> {
        BENCH.with_borrow_mut(|b| b.order.push(format!("start {}", self.0)));
        component::ready(Ok(()))
    }

    fn export<'a>(&'a self, batch: &'a Payload) -> BoxFuture<'a, Result<Outcome, component::ExportError>> {
        self.1.export(batch)
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        BENCH.with_borrow_mut(|b| b.order.push(format!("stop {}", self.0)));
        self.1.stop()
    }
}

#[derive(Clone, serde::Deserialize, Default, serde::Serialize)]
#[serde(default, deny_unknown_fields)]
struct Empty {
    depth: u8,
    drop_first: bool,
    edit: bool,
    touch: bool,
    silent: bool,
    panic: bool,
    busy: bool,
}

struct Stage(Empty);

impl Tree for Stage {
    fn touches(&self) -> Touches {
        Touches {
            depth: Depth::Record,
            reads_content: true,
            drops_unknown: self.0.depth == 9,
            writes: self.0.edit || self.0.drop_first,
        }
    }

    fn apply(&self, view: &mut View<'_>, cx: &mut SegmentCx<'_>) -> Result<(), Refusal> {
        assert!(!self.0.panic, "as told");
        if self.0.busy {
            return Err(Refusal::Busy { retry_after: None });
        }
        let records: Vec<u32> = view
            .nodes()
            .filter(|n| view.items(*n) == 1 && view.number(*n, 1).is_some())
            .collect();
        if self.0.edit {
            for record in &records {
                view.put(*record, b"seen", NewValue::Bool(true));
            }
        }
        if self.0.touch {
            cx.touched("seen", records.len() as u64);
        }
        if self.0.drop_first
            && let Some(first) = records.first()
        {
            view.remove_node(*first);
            if !self.0.silent {
                cx.dropped("first", 1);
            }
        }
        Ok(())
    }
}

struct Door(bool);

impl Gate for Door {
    fn admit(&self, _: &Payload) -> Result<(), Refusal> {
        if self.0 {
            Err(Refusal::Busy { retry_after: None })
        } else {
            Ok(())
        }
    }
}

/// Answers at once and hands on when drained, until it is taken.
struct Keeper(Mutex<Vec<Payload>>, Arc<dyn Consumer>);

impl Consumer for Keeper {
    fn consume(&self, payload: Payload) -> BoxFuture<'_, Result<Outcome, Refusal>> {
        self.0.lock().push(payload);
        component::ready(Ok(Outcome::all()))
    }
}

impl HoldingNode for Keeper {
    fn held_max(&self) -> Duration {
        Duration::from_secs(30)
    }

    fn drain(&self, _: Stop) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let held = std::mem::take(&mut *self.0.lock());
            for payload in held {
                while let Err(refusal) = self.1.consume(payload.clone()).await {
                    assert!(refusal.is_retryable(), "{}", refusal.message());
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        })
    }
}

static IN: ReceiverFactory = ReceiverFactory {
    kind: "in",
    aliases: &[],
    keys: &[],
    signals: ALL,
    build: |section, cx| {
        section.parse::<Empty>()?;
        Ok(Arc::new(Source(cx.id.to_string())))
    },
};

fn sink(section: Section, cx: &component::BuildContext) -> Result<Exporter, Fault> {
    section.parse::<Empty>()?;
    let id = cx.id.to_string();
    let script = BENCH.with_borrow_mut(|b| {
        b.scripts
            .entry(id.clone())
            .or_insert_with(|| Script::new([]))
            .clone()
    });
    Ok(Exporter::Push(Arc::new(Sink(id, script))))
}

static OUT: ExporterFactory = ExporterFactory {
    kind: "out",
    aliases: &[],
    keys: &[],
    signals: ALL,
    harness: Offer {
        queue: Block::Off,
        ..Offer::QUEUE_RETRY_TIMEOUT
    },
    build: sink,
};

static OTLP: ExporterFactory = ExporterFactory {
    kind: "otlp",
    aliases: &[],
    keys: &[],
    signals: LOGS,
    harness: Offer {
        batch_bytes_max: Some(4 << 20),
        ..Offer::QUEUE_RETRY_TIMEOUT
    },
    build: sink,
};

static STAGE: ProcessorFactory = ProcessorFactory {
    kind: "stage",
    aliases: &[],
    keys: &[],
    signals: ALL,
    hold: Hold::PassThrough,
    build: |section, _, _| Ok(Processor::Tree(Arc::new(Stage(section.parse()?)))),
};

static GATE: ProcessorFactory = ProcessorFactory {
    kind: "gate",
    aliases: &[],
    keys: &[],
    signals: LOGS,
    hold: Hold::PassThrough,
    build: |section, _, _| Ok(Processor::Gate(Arc::new(Door(section.parse::<Empty>()?.busy)))),
};

static BATCH: ProcessorFactory = ProcessorFactory {
    kind: "batch",
    aliases: &[],
    keys: &[],
    signals: ALL,
    hold: Hold::PassThrough,
    build: |section, _, _| {
        section.parse::<Empty>()?;
        Ok(Processor::Flush(FlushPolicy {
            items_min: 6,
            items_max: None,
            bytes_min: None,
            bytes_max: None,
            timeout: Duration::from_millis(200),
            metadata_keys: Vec::new(),
            cardinality_max: Some(1000),
        }))
    },
};

static KEEPER: ProcessorFactory = ProcessorFactory {
    kind: "keeper",
    aliases: &[],
    keys: &[],
    signals: ALL,
    hold: Hold::HeldVolatile,
    build: |section, _, _| {
        section.parse::<Empty>()?;
        Ok(Processor::Node(Box::new(|next, _| {
            Arc::new(Keeper(Mutex::default(), next))
        })))
    },
};

struct Pass(Arc<dyn Consumer>);

impl Consumer for Pass {
    fn consume(&self, payload: Payload) -> BoxFuture<'_, Result<Outcome, Refusal>> {
        self.0.consume(payload)
    }
}

static FORWARD: ConnectorFactory = ConnectorFactory {
    kind: "forward",
    aliases: &[],
    keys: &[],
    signals: &[
        (Signal::Logs, Signal::Logs, Stability::Beta),
        (Signal::Traces, Signal::Traces, Stability::Beta),
    ],
    hold: Hold::PassThrough,
    build: |section, _, joint| {
        section.parse::<Empty>()?;
        Ok(Connector::Plain(Arc::new(Pass(joint.next))))
    },
};

// --- rig ---

/// `id = config` lines for components, `signal: receivers | processors | exporters` lines for pipelines.
pub(super) fn spec(text: &str) -> GraphSpec {
    let mut spec = GraphSpec::default();
    let id = |text: &str| ComponentId::parse(text.trim()).expect("an id");
    let list = |text: &str| text.split_whitespace().map(id).collect::<Vec<_>>();
    for line in text.lines().map(str::trim).filter(|l| !l.is_empty()) {
        if let Some((name, config)) = line.split_once(" = ") {
            let (id, section) = (id(name), Section::from_yaml(config).expect("YAML"));
            match id.kind.as_str() {
                "in" => drop(spec.receivers.insert(id, (&IN, section))),
                "out" => drop(spec.exporters.insert(id, (&OUT, section))),
                "heap" => drop(spec.exporters.insert(id, (&gather_tests::HEAP, section))),
                "otlp" => drop(spec.exporters.insert(id, (&OTLP, section))),
                "forward" => drop(spec.connectors.insert(id, (&FORWARD, section))),
                "parts" => drop(spec.connectors.insert(id, (&laws_tests::PARTS, section))),
                kind => {
                    let all = [
                        &STAGE,
                        &GATE,
                        &BATCH,
                        &KEEPER,
                        &laws_tests::RESHAPE,
                        &laws_tests::DEDUP,
                    ];
                    let factory = all.into_iter().find(|f| f.kind == kind).expect("a known kind");
                    spec.processors.insert(id, (factory, section));
                }
            }
            continue;
        }
        let (name, rest) = line.split_once(": ").expect("a pipeline");
        let mut parts = rest.split('|').map(list);
        let mut next = || parts.next().unwrap_or_default();
        let id = PipelineId::parse(name).expect("a pipeline id");
        spec.pipelines.push(PipelineSpec {
            signal: Signal::parse(&id.signal).expect("a signal"),
            id,
            receivers: next(),
            processors: next(),
            exporters: next(),
        });
    }
    spec
}

pub(super) struct World {
    pub(super) cx: GraphContext,
    pub(super) graph: Arc<Graph>,
}

/// The exporters of the graphs that are built from now on.
pub(super) fn exporter_scripts(scripts: &[(&str, Arc<Script>)]) {
    BENCH.with_borrow_mut(|b| {
        *b = Bench::default();
        b.scripts
            .extend(scripts.iter().map(|(id, s)| (id.to_string(), s.clone())));
    });
}

impl World {
    pub(super) async fn start(text: &str, scripts: &[(&str, Arc<Script>)]) -> World {
        exporter_scripts(scripts);
        let cx = context();
        let graph = Graph::build(spec(text), &cx).unwrap_or_else(|faults| panic!("{faults:?}"));
        graph.start(Arc::<Reports>::default()).await.expect("starts");
        World {
            cx,
            graph: Arc::new(graph),
        }
    }

    pub(super) fn output(&self, signal: Signal) -> Arc<dyn Consumer> {
        BENCH.with_borrow(|b| b.outputs["in"].get(signal).expect("connected").clone())
    }

    pub(super) async fn send(&self, payload: Payload) -> Result<Outcome, Refusal> {
        self.output(payload.signal).consume(payload).await
    }

    pub(super) fn script(&self, id: &str) -> Arc<Script> {
        BENCH.with_borrow(|b| b.scripts[id].clone())
    }

    pub(super) fn row(&self, node: Node) -> Totals {
        self.cx
            .telemetry
            .ledger
            .row(Place::Node(node), Signal::Logs)
            .total()
    }

    pub(super) async fn finish(&self) {
        self.graph.drain(Duration::from_secs(10)).await;
        assert_books_balance(&self.cx);
    }
}

pub(super) fn pipeline(id: &str) -> Node {
    Node::Pipeline(id.into())
}

pub(super) fn processor(id: &str) -> Node {
    Node::Processor {
        pipeline: "logs".into(),
        id: id.into(),
    }
}

pub(super) fn exporter(id: &str) -> Node {
    Node::Exporter(id.into())
}

// --- segments ---

#[tokio::test(start_paused = true)]
async fn untouched_bytes_pass_as_they_came() {
    let world = World::start("in = {}\nstage = {}\nout = {}\nlogs: in | stage | out", &[]).await;
    let mut payload = logs(3);
    payload.chunks[0].twin = Some(Arc::new(Twin {
        encoding: Encoding::Gzip,
        bytes: "gz".into(),
    }));
    world.send(payload.clone()).await.expect("taken");
    let seen = world.script("out").seen.lock()[0].payload.clone();
    assert_eq!(
        seen.chunks[0].bytes().as_ptr(),
        payload.chunks[0].bytes().as_ptr(),
        "the very same bytes"
    );
    assert!(seen.twin(Encoding::Gzip).is_some());
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn edited_chunks_get_new_bytes_and_lose_their_twin() {
    let world = World::start(
        "in = {}\nstage = {edit: true}\nout = {}\nlogs: in | stage | out",
        &[],
    )
    .await;
    let mut payload = logs(3);
    payload.chunks[0].twin = Some(Arc::new(Twin {
        encoding: Encoding::Gzip,
        bytes: "gz".into(),
    }));
    world.send(payload.clone()).await.expect("taken");
    let seen = world.script("out").seen.lock()[0].payload.clone();
    assert!(seen.len() > payload.len() && seen.twin(Encoding::Gzip).is_none());
    assert_eq!(records(&seen), records(&payload));
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn what_stages_drop_is_booked_for_each_of_them() {
    let world = World::start(
        "in = {}\nstage/a = {drop_first: true}\nstage/b = {drop_first: true, silent: true}\nstage/c = {}\nout = {}
         logs: in | stage/a stage/b stage/c | out",
        &[],
    )
    .await;
    world.send(logs_of("t", 5)).await.expect("taken");
    world.send(logs(2)).await.expect("all dropped");
    assert_eq!(world.script("out").sizes(), [3], "an empty rest goes nowhere");
    let a = world.row(processor("stage/a"));
    assert_eq!(
        (a.get(Column::In), a.dropped["first"], a.get(Column::Out)),
        (7, 2, 5)
    );
    assert_eq!(world.row(pipeline("logs")).get(Column::Out), 3);
    assert_eq!(world.row(pipeline("logs")).dropped_all(), 4);
    let c = world.row(processor("stage/c"));
    assert_eq!(
        (c.dropped["unnamed"], c.get(Column::Out)),
        (2, 3),
        "a silent removal is the last stage's"
    );
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn what_stages_touch_is_told_by_tenant_and_moves_no_sum() {
    let world = World::start(
        "in = {}\nstage/a = {touch: true}\nstage/b = {touch: true, drop_first: true}\nout = {}
         logs: in | stage/a stage/b | out",
        &[],
    )
    .await;
    world.send(logs_of("t", 5)).await.expect("taken");
    world.send(logs(2)).await.expect("taken");
    let told = |row: Totals| (row.touched["seen"], row.get(Column::In), row.get(Column::Out));
    assert_eq!(told(world.row(processor("stage/a"))), (7, 7, 7));
    assert_eq!(told(world.row(processor("stage/b"))), (7, 7, 5));
    assert_eq!(told(world.row(pipeline("logs"))), (14, 7, 5));
    let report = telemetry::ledger::Report::of(&world.cx.telemetry.ledger);
    let of_tenant = report.of_tenant("t").lines;
    let line = of_tenant.iter().find(|line| line.place == "pipeline logs");
    assert_eq!(line.expect("it has a line").since_start.touched["seen"], 10);
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_payload_leaves_no_trace_but_on_the_edges() {
    for (config, code) in [
        ("stage = {busy: true}\nlogs: in | stage | out", Code::UNAVAILABLE),
        ("stage = {panic: true}\nlogs: in | stage | out", Code::INTERNAL),
        (
            "gate = {busy: true}\nstage = {}\nlogs: in | stage gate | out",
            Code::UNAVAILABLE,
        ),
    ] {
        let world = World::start(&format!("in = {{}}\nout = {{}}\n{config}"), &[]).await;
        let refusal = world.send(logs(3)).await.expect_err("refused");
        assert_eq!(refusal.code(), code);
        assert_eq!(world.row(pipeline("logs")).get(Column::In), 0);
        let edge = edge_totals(&world.cx, Node::Receiver("in".into()), pipeline("logs"));
        assert_eq!((edge.offered(), edge.refused()), (3, 3));
        world.finish().await;
    }
}

#[tokio::test(start_paused = true)]
async fn irregular_payloads_are_rewritten_before_anyone_reads_them() {
    let world = World::start(
        "in = {}\nstage = {depth: 9}\nout = {}\nlogs: in | stage | out",
        &[],
    )
    .await;
    let mut payload = logs(1);
    let mut bytes = payload.chunks[0].bytes().to_vec();
    bytes.extend_from_slice(&[0xfa, 0x07, 0x01, b'x']); // field 127, unknown
    payload.chunks[0].set_bytes(bytes.into());
    payload.chunks[0].shape.unknown_fields = true;
    world.send(payload).await.expect("taken");
    let seen = world.script("out").seen.lock()[0].payload.clone();
    assert!(!seen.chunks[0].bytes().contains(&b'x'));
    assert!(!seen.chunks[0].shape.unknown_fields);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_payloads_run_beside_other_workers_tasks() {
    let segment = segment::Segment::new(
        vec![Arc::new(Stage(Empty {
            edit: true,
            ..Empty::default()
        }))],
        telemetry::Counter::default(),
    );
    let payload = logs(30_000);
    assert!(payload.len() > 256 * 1024);
    let task = tokio::spawn(async move { segment.run(payload, &mut Vec::new()).expect("edits").items });
    assert_eq!(task.await.expect("no panic"), 30_000);
}

// --- fan-out ---

const TWO: &str = "in = {}\nout/a = {}\nout/b = {}\nlogs: in | | out/a out/b";

#[tokio::test(start_paused = true)]
async fn branches_run_at_the_same_time_and_share_the_bytes() {
    let slow = || Script::new([Act::TakeAfter(Duration::from_secs(1))]);
    let world = World::start(TWO, &[("out/a", slow()), ("out/b", slow())]).await;
    let start = tokio::time::Instant::now();
    let payload = logs(3);
    world.send(payload.clone()).await.expect("taken");
    assert_eq!(start.elapsed(), Duration::from_secs(1));
    for id in ["out/a", "out/b"] {
        let seen = world.script(id).seen.lock()[0].payload.clone();
        assert_eq!(
            seen.chunks[0].bytes().as_ptr(),
            payload.chunks[0].bytes().as_ptr()
        );
    }
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn the_joint_answer_allows_a_retry_if_any_branch_may_take_it_later() {
    use Act::{Reject, RetryAfter, Take};
    let s = |n| RetryAfter(Duration::from_secs(n));
    for (a, b, retryable, after) in [
        (Take, s(5), true, Some(5)),
        (s(5), s(9), true, Some(9)),
        (Reject, s(5), true, Some(5)),
        (s(5), Reject, true, Some(5)),
        (Take, Reject, false, None),
        (Reject, Reject, false, None),
    ] {
        let name = format!("{a:?} {b:?}");
        let moved = matches!(a, Take);
        let world = World::start(TWO, &[("out/a", Script::new([a])), ("out/b", Script::new([b]))]).await;
        let refusal = world.send(logs(3)).await.expect_err(&name);
        assert_eq!(
            (refusal.is_retryable(), refusal.retry_after()),
            (retryable, after.map(Duration::from_secs)),
            "{name}"
        );
        let edge = edge_totals(&world.cx, pipeline("logs"), exporter("out/a"));
        assert_eq!(edge.duplicates(), if moved { 3 } else { 0 }, "{name}");
        world.finish().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_says_so_before_any_branch_has_moved() {
    let text = "in = {}\nout/a = {}\nout/b = {sending_queue: {queue_size: 1, num_consumers: 1}}\nlogs: in | | out/a out/b";
    let slow = Script::new([Act::TakeAfter(Duration::from_secs(1))]);
    let world = World::start(text, &[("out/b", slow)]).await;
    world.send(logs(1)).await.expect("room");
    assert_eq!(
        world.send(logs(2)).await,
        Err(Refusal::Busy { retry_after: None })
    );
    assert_eq!(
        world.script("out/a").sizes(),
        [1],
        "the other branch has not seen it"
    );
    let edge = edge_totals(&world.cx, pipeline("logs"), exporter("out/a"));
    assert_eq!((edge.accepted(), edge.refused(), edge.duplicates()), (1, 2, 0));
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_gate_of_one_pipeline_speaks_before_another_has_the_payload() {
    let text = "in = {}\nout/a = {}\nout/b = {}\ngate = {busy: true}\nlogs/1: in | | out/a\nlogs/2: in | gate | out/b";
    let world = World::start(text, &[]).await;
    assert_eq!(
        world.send(logs(2)).await,
        Err(Refusal::Busy { retry_after: None })
    );
    assert!(world.script("out/a").sizes().is_empty());
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn rejections_of_branches_do_not_add_up() {
    let world = World::start(
        TWO,
        &[
            ("out/a", Script::new([Act::TakeBut(1)])),
            ("out/b", Script::new([Act::TakeBut(2)])),
        ],
    )
    .await;
    let outcome = world.send(logs(3)).await.expect("taken");
    assert_eq!(outcome.rejected_items(), 2);
    assert_eq!(outcome.message(), "too old; too old");
    world.finish().await;
}

// --- graphs ---

#[tokio::test(start_paused = true)]
async fn pipelines_of_a_receiver_all_get_it_and_connectors_join_them() {
    let world = World::start(
        "in = {}\nforward = {}\nstage = {drop_first: true}\nout/a = {}\nout/b = {}\nout/c = {}
         logs/1: in | | out/a forward
         logs/2: in | stage | out/b
         logs/3: forward | | out/c
         logs/4: forward | stage | out/c
         traces: in | | out/a",
        &[],
    )
    .await;
    assert_eq!(world.send(logs(3)).await, Ok(Outcome::all()));
    assert_eq!(world.script("out/a").sizes(), [3]);
    assert_eq!(world.script("out/b").sizes(), [2]);
    assert_eq!(world.script("out/c").sizes(), [3, 2]);
    assert_eq!(world.row(Node::Connector("forward".into())).get(Column::In), 3);
    world.script("out/c").stop().await;
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_refusal_behind_a_connector_reaches_the_client() {
    let text = "in = {}\nforward = {}\nout/a = {}\nout/c = {}\nlogs/1: in | | out/a forward\nlogs/3: forward | | out/c";
    let world = World::start(text, &[("out/c", Script::new([Act::Reject]))]).await;
    let refusal = world.send(logs(3)).await.expect_err("rejected");
    assert_eq!(refusal.message(), "bad data");
    assert_eq!(
        edge_totals(&world.cx, pipeline("logs/1"), exporter("out/a")).duplicates(),
        3
    );
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn batch_moves_below_the_exporters_and_before_connectors() {
    let world = World::start(
        "in = {}\nforward = {}\nbatch = {}\nout/a = {}\nout/b = {sending_queue: }\nout/c = {}
         logs/1: in | batch | out/a out/b forward
         logs/2: forward | | out/c",
        &[],
    )
    .await;
    let send = |n| {
        let output = world.output(Signal::Logs);
        tokio::spawn(async move { output.consume(logs(n)).await })
    };
    let (first, second) = (send(4), send(4));
    assert_eq!(first.await.expect("no panic"), Ok(Outcome::all()));
    assert_eq!(second.await.expect("no panic"), Ok(Outcome::all()));
    settle().await;
    for id in ["out/a", "out/b", "out/c"] {
        assert_eq!(world.script(id).sizes(), [8], "{id}");
    }
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn nodes_cut_a_pipeline_and_are_drained_before_exporters() {
    let world = World::start(
        "in = {}\nstage = {}\nkeeper = {}\nout = {}\nlogs: in | stage keeper stage | out",
        &[],
    );
    let world = world.await;
    world.send(logs(3)).await.expect("held");
    assert_eq!(world.script("out").sizes(), [0; 0]);
    assert_eq!(world.row(processor("keeper")).get(Column::In), 3);
    world.finish().await;
    assert_eq!(world.script("out").sizes(), [3]);
    assert_eq!(world.row(pipeline("logs after keeper")).get(Column::Out), 3);
}

#[tokio::test(start_paused = true)]
async fn starts_from_the_exporters_up_and_stops_from_the_receivers_down() {
    let world = World::start("in = {}\nout/unused = {}\nout = {}\nlogs: in | | out", &[]).await;
    world.finish().await;
    let order = BENCH.with_borrow(|b| b.order.clone());
    assert_eq!(order, ["start out", "start in", "stop in", "stop out"]);
    world.graph.drain(Duration::from_secs(1)).await;
    assert!(
        world.script("out").stopped.load(Relaxed) >= 1,
        "twice does no harm"
    );
}

#[tokio::test(start_paused = true)]
async fn what_was_started_is_stopped_when_a_start_fails() {
    BENCH.with_borrow_mut(|b| *b = Bench::default());
    let graph = Graph::build(
        spec("in = {}\nin/taken = {}\nout = {}\nlogs: in in/taken | | out"),
        &context(),
    );
    let graph = graph.unwrap_or_else(|faults| panic!("{faults:?}"));
    let fault = graph
        .start(Arc::<Reports>::default())
        .await
        .expect_err("the port is taken");
    assert_eq!(
        fault.to_string(),
        "cannot start pipelines: failed to start \"in/taken\" receiver: address already in use"
    );
    let order = BENCH.with_borrow(|b| b.order.clone());
    assert_eq!(order, ["start out", "start in", "stop in", "stop out"]);
}

#[tokio::test(start_paused = true)]
async fn the_host_reaches_an_exporter_with_its_harness() {
    let world = World::start("in = {}\nout = {sending_queue: }\nlogs: in | | out", &[]).await;
    let exporter = world
        .graph
        .exporter(&ComponentId::of_kind("out"))
        .expect("used by a pipeline");
    exporter.consume(logs(2)).await.expect("room");
    assert!(world.graph.exporter(&ComponentId::of_kind("other")).is_none());
    world.finish().await;
    assert_eq!(world.script("out").sizes(), [2]);
}

#[test]
fn faults_are_the_collectors_and_all_at_once() {
    let check = |text: &str, expected: &[&str]| {
        BENCH.with_borrow_mut(|b| *b = Bench::default());
        let faults = Graph::build(spec(text), &context()).err().unwrap_or_default();
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        assert_eq!(faults.len(), expected.len(), "{text}: {faults:#?}");
        for (fault, expected) in faults.iter().zip(expected) {
            assert!(fault.contains(expected), "{fault:?} does not say {expected:?}");
        }
    };
    check("in = {}\nout = {}\nlogs: in | | out", &[]);
    check(
        "in = {}\nout = {}\nforward = {}\nlogs/in: in | | forward\ntraces: forward | | out",
        &[
            "failed to build pipelines: connector \"forward\" used as exporter in [logs/in] pipeline but not used in \
             any supported receiver pipeline",
            "failed to build pipelines: connector \"forward\" used as receiver in [traces] pipeline but not used in \
             any supported exporter pipeline",
        ],
    );
    check(
        "in = {}\nstage = {}\nforward = {}\nlogs: in forward | stage | forward",
        &[
            "cycle detected: connector \"forward\" (logs to logs) -> processor \"stage\" in pipeline \"logs\" -> \
           connector \"forward\" (logs to logs)",
        ],
    );
    check(
        "in = {}\nforward/a = {}\nforward/b = {}\nlogs: in forward/b | | forward/a\nlogs/2: forward/a | | forward/b",
        &[
            "cycle detected: connector \"forward/a\" (logs to logs) -> connector \"forward/b\" (logs to logs) -> \
           connector \"forward/a\" (logs to logs)",
        ],
    );
    check(
        "in = {}\notlp = {}\ngate = {}\ntraces: in | gate | otlp",
        &[
            "failed to create \"otlp\" exporter for data type \"traces\": telemetry type is not supported",
            "failed to create \"gate\" processor, in pipeline \"traces\": telemetry type is not supported",
        ],
    );
    check(
        "in = {x: 1}\nin/unused = {x: 1}\nstage/unused = {x: 1}\nforward/unused = {x: 1}\nout = {sending_queue: {queue_size: 0}}\nlogs: in | | out",
        &["x", "x", "`queue_size` must be positive", "x", "x"],
    );
}

#[test]
fn the_plan_says_what_was_built() {
    BENCH.with_borrow_mut(|b| *b = Bench::default());
    let graph = Graph::build(
        spec(
            "in = {}
             in/2 = {}
             gate = {}
             stage/redact = {edit: true, depth: 9}
             stage/attributes = {}
             keeper = {}
             batch = {}
             forward = {}
             otlp = {}
             otlp/batched = {sending_queue: {sizer: bytes, queue_size: 1073741824, block_on_overflow: true, batch: {max_size: 1048576}}, retry_on_failure: {max_elapsed_time: 0}}
             out = {timeout: 0}
             out/result = {sending_queue: {wait_for_result: true}, retry_on_failure: {enabled: false}, dead_letter: out/dead}
             out/dead = {}
             out/spare = {delivery: best_effort, sending_queue: }
             otlp/disk = {sending_queue: {storage: disk}}
             otlp/oldest = {sending_queue: {storage: disk, overflow: drop_oldest, batch: {partition: {metadata_keys: [X-Tenant, X-Token]}}}, retry_on_failure: {max_elapsed_time: 1h, max_retries: 9}}
             logs: in in/2 | gate stage/redact stage/attributes batch | otlp otlp/batched out forward
             logs/kept: forward | stage/redact keeper | out/result
             traces: in | | out out/spare
             logs/disk: in | | otlp/disk otlp/oldest",
        ),
        &context(),
    );
    let graph = graph.unwrap_or_else(|faults| panic!("{faults:?}"));
    let text = graph.plan().to_string();
    assert!(text.lines().all(|l| l.chars().count() <= 80), "{text}");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/pipeline/testdata/plan.txt");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &text).expect("the source tree can be written");
    }
    assert_eq!(
        text,
        include_str!("testdata/plan.txt"),
        "run with UPDATE=1 and review the difference"
    );
    let volatile: Vec<String> = graph.plan().volatile().into_iter().map(|(id, _)| id).collect();
    assert_eq!(volatile, ["otlp", "otlp/batched"]);
    assert_eq!(graph.plan().holding().len(), 1);
}

// --- chance ---

mod any_graph {
    use super::*;
    use proptest::prelude::*;

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            6 => Just(Act::Take),
            2 => (1..1000u64).prop_map(|ms| Act::TakeAfter(Duration::from_millis(ms))),
            1 => Just(Act::TakeBut(1)),
            3 => Just(Act::Retry),
            2 => Just(Act::Reject),
            1 => Just(Act::TooLarge),
            1 => Just(Act::Panic),
        ]
    }

    fn acts() -> impl Strategy<Value = Vec<Act>> {
        prop::collection::vec(act(), 0..20)
    }

    /// Pipelines in a row of connectors, each with some stages and exporters of its own.
    fn text() -> impl Strategy<Value = String> {
        let stages = prop::sample::subsequence(
            vec!["stage/plain", "stage/edit", "stage/drop", "gate", "batch"],
            0..=5,
        );
        let ends = prop::sample::subsequence(vec!["out/a", "out/b", "out/c"], 1..=3);
        let queue = prop_oneof![
            Just("{}"),
            Just("{sending_queue: {queue_size: 3, num_consumers: 2}}"),
            Just("{delivery: best_effort}"),
            Just("{delivery: best_effort, sending_queue: {queue_size: 2, wait_for_result: true}}"),
            Just("{sending_queue: {queue_size: 3}, dead_letter: out/dead}"),
            Just("{dead_letter: out/dead}"),
        ];
        (prop::collection::vec((stages, ends), 1..5), prop::collection::vec(queue, 3)).prop_map(|(lines, queues)| {
            let mut text = String::from(
                "in = {}\nstage/plain = {}\nstage/edit = {edit: true}\nstage/drop = {drop_first: true}\ngate = {}\nbatch = {}\nout/dead = {}\n",
            );
            for (id, queue) in ["a", "b", "c"].iter().zip(&queues) {
                text += &format!("out/{id} = {queue}\n");
            }
            let last = lines.len() - 1;
            for (at, (stages, ends)) in lines.iter().enumerate() {
                let from = if at == 0 { "in".to_owned() } else { format!("forward/{at}") };
                let to = if at == last { String::new() } else { format!("forward/{}", at + 1) };
                if at < last {
                    text += &format!("{to} = {{}}\n");
                }
                text += &format!("logs/{at}: {from} | {} | {} {to}\n", stages.join(" "), ends.join(" "));
            }
            text + "logs/side: in | | out/a\n"
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever is connected to what and however it answers: the books balance when it is at rest.
        #[test]
        fn books_balance(
            text in text(), a in acts(), b in acts(), c in acts(), dead in acts(),
            sends in prop::collection::vec((1..8usize, 0..100u64), 1..15),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .expect("a runtime");
            runtime.block_on(async move {
                let scripts = [("out/a", Script::new(a)), ("out/b", Script::new(b)), ("out/c", Script::new(c)), ("out/dead", Script::new(dead))];
                let world = World::start(&text, &scripts).await;
                let mut callers = Vec::new();
                for (items, pause) in sends {
                    let output = world.output(Signal::Logs);
                    callers.push(tokio::spawn(async move { output.consume(logs_of("t", items)).await }));
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                }
                for caller in callers {
                    let _ = caller.await.expect("no caller panics");
                }
                world.finish().await;
            });
        }
    }
}
