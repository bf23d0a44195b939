//! What reshapes, chosen ways and nodes do is booked, whatever is refused; and what lives is started and stopped once.

use std::sync::Arc;
use std::time::Duration;

use component::{
    Books, BoxFuture, Code, Connector, ConnectorFactory, Consumer, Fault, Hold, Joint, Node as HoldingNode,
    Outcome, Processor, ProcessorFactory, Refusal, Reshape, ReshapeCx, Stability, Stop, Ways,
};
use parking_lot::Mutex;
use proptest::prelude::*;
use telemetry::{Column, Node};
use wire::Signal;

use super::swap_tests::{drained, reload};
use super::tests::{BENCH, World, exporter, pipeline, processor};
use super::*;
use crate::test_kit::*;

// --- components ---

#[derive(Clone, Copy, Default, serde::Deserialize, serde::Serialize)]
#[serde(default, deny_unknown_fields)]
struct Deeds {
    drop: bool,
    merge: bool,
    double: bool,
    silent: bool,
    empty: bool,
    busy: bool,
    panic: bool,
    fails: bool,
}

/// Cuts or doubles whole chunks, as told.
struct Reshaped(String, Deeds);

impl Reshape for Reshaped {
    fn start(&self, _: Arc<dyn Host>) -> BoxFuture<'_, Result<(), Fault>> {
        BENCH.with_borrow_mut(|b| b.order.push(format!("start {}", self.0)));
        component::ready(match self.1.fails {
            true => Err(Fault::World("as told".into())),
            false => Ok(()),
        })
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        BENCH.with_borrow_mut(|b| b.order.push(format!("stop {}", self.0)));
        component::ready(())
    }

    fn admit(&self, _: &Payload) -> Result<(), Refusal> {
        match self.1.busy {
            true => Err(Refusal::Busy { retry_after: None }),
            false => Ok(()),
        }
    }

    fn reshape(&self, payload: Payload, cx: &mut ReshapeCx) -> Result<Payload, Refusal> {
        assert!(!self.1.panic, "as told");
        let mut out = Payload {
            chunks: Vec::new(),
            items: 0,
            signal: payload.signal,
            context: payload.context.clone(),
        };
        for chunk in payload.chunks {
            let (tenant, items) = (chunk.origin.tenant.clone(), chunk.shape.items);
            let tenant = tenant.as_ref();
            let cut = |from, to| wire::slice(Signal::Logs, &chunk, from, to);
            let mut rest = Some(chunk.clone());
            if self.1.empty || self.1.drop || self.1.silent {
                let gone = if self.1.empty { items } else { items.min(1) };
                rest = cut(gone, items);
                if !self.1.silent {
                    cx.dropped("reshaped", tenant, u64::from(gone));
                }
            } else if self.1.merge {
                rest = cut(0, 1);
                cx.merged(tenant, u64::from(items.saturating_sub(1)));
            }
            if let Some(rest) = rest {
                if self.1.double {
                    cx.created(tenant, u64::from(rest.shape.items));
                    out.push(rest.clone());
                }
                out.push(rest);
            }
        }
        Ok(out)
    }
}

pub(super) static RESHAPE: ProcessorFactory = ProcessorFactory {
    kind: "reshape",
    aliases: &[],
    keys: &[],
    signals: &[(Signal::Logs, Stability::Beta)],
    hold: Hold::PassThrough,
    build: |section, cx, _| {
        let reshaped = Reshaped(cx.id.to_string(), section.parse()?);
        Ok(Processor::Reshape(Arc::new(reshaped)))
    },
};

/// Answers at once, and hands on one item of each payload when it is drained.
struct Dedup(Mutex<Vec<Payload>>, Arc<dyn Consumer>, Books);

impl Consumer for Dedup {
    fn consume(&self, payload: Payload) -> BoxFuture<'_, Result<Outcome, Refusal>> {
        self.2.held_all(&payload);
        self.0.lock().push(payload);
        component::ready(Ok(Outcome::all()))
    }
}

impl HoldingNode for Dedup {
    fn held_max(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn start(&self, _: Arc<dyn Host>) -> BoxFuture<'_, Result<(), Fault>> {
        BENCH.with_borrow_mut(|b| b.order.push("start dedup".into()));
        component::ready(Ok(()))
    }

    fn drain(&self, _: Stop) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            BENCH.with_borrow_mut(|b| b.order.push("drain dedup".into()));
            let held = std::mem::take(&mut *self.0.lock());
            for payload in held {
                let first = wire::slice(Signal::Logs, &payload.chunks[0], 0, 1).expect("one at least");
                let kept = Payload::new(Signal::Logs, first, Arc::default());
                let tenant = kept.chunks[0].origin.tenant.clone();
                let mut left = 3;
                loop {
                    match self.1.consume(kept.clone()).await {
                        Ok(_) => break,
                        Err(refusal) if refusal.is_retryable() && left > 0 => left -= 1,
                        Err(_) => {
                            self.2.failed("refused", tenant.as_ref(), 1);
                            break;
                        }
                    }
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                self.2.merged(tenant.as_ref(), payload.items as u64 - 1);
                self.2.released_all(&payload);
            }
        })
    }
}

pub(super) static DEDUP: ProcessorFactory = ProcessorFactory {
    kind: "dedup",
    aliases: &[],
    keys: &[],
    signals: &[(Signal::Logs, Stability::Beta)],
    hold: Hold::HeldVolatile,
    build: |section, _, _| {
        section.parse::<Deeds>()?;
        Ok(Processor::Node(Box::new(|next, books| {
            Arc::new(Dedup(Mutex::default(), next, books))
        })))
    },
};

/// The first item of each chunk goes the first way, the second one the next, and so on; what is left over is dropped,
/// or, if told to `double`, goes every way.
struct Parts(Deeds, Arc<dyn Ways>, Books);

impl Consumer for Parts {
    fn consume(&self, payload: Payload) -> BoxFuture<'_, Result<Outcome, Refusal>> {
        Box::pin(async move {
            let ways = self.1.pipelines().len();
            let (mut parts, mut rests) = (Vec::new(), Vec::new());
            for chunk in &payload.chunks {
                let part = |from: usize, to: usize| {
                    let chunk = wire::slice(Signal::Logs, chunk, from as u32, to as u32)?;
                    Some(Payload::new(Signal::Logs, chunk, payload.context.clone()))
                };
                parts.extend((0..ways).filter_map(|way| Some((way, part(way, way + 1)?))));
                if let Some(rest) = part(ways, chunk.shape.items as usize) {
                    if self.0.double {
                        parts.extend((0..ways).map(|way| (way, rest.clone())));
                    }
                    rests.push((chunk.origin.tenant.clone(), rest.items));
                }
            }
            let outcome = self.1.send(parts).await?;
            for (tenant, items) in rests {
                match self.0.double {
                    true => self.2.created(tenant.as_ref(), (items * (ways - 1)) as u64),
                    false => self.2.dropped("left over", tenant.as_ref(), items as u64),
                }
            }
            Ok(outcome)
        })
    }
}

pub(super) static PARTS: ConnectorFactory = ConnectorFactory {
    kind: "parts",
    aliases: &[],
    keys: &[],
    signals: &[(Signal::Logs, Signal::Logs, Stability::Beta)],
    hold: Hold::PassThrough,
    build: |section, _, joint: Joint| {
        let parts = Parts(section.parse()?, joint.ways, joint.books);
        Ok(Connector::Plain(Arc::new(parts)))
    },
};

// --- reshapes ---

#[tokio::test(start_paused = true)]
async fn what_a_reshape_does_is_booked() {
    let check = async |deeds: &str, out: usize, dropped: &[(&str, u64)], merged: u64, created: u64| {
        let text = format!(
            "in = {{}}\nstage = {{}}\nreshape = {deeds}\nout = {{}}\nlogs: in | stage reshape stage | out"
        );
        let world = World::start(&text, &[]).await;
        world.send(logs_of("t", 3)).await.expect("taken");
        let sizes = world.script("out").sizes();
        assert_eq!(sizes.iter().sum::<usize>(), out, "{deeds}");
        for node in [processor("reshape"), pipeline("logs")] {
            let row = world.row(node);
            let rules: Vec<(&str, u64)> = row.dropped.iter().map(|(r, n)| (r.as_str(), *n)).collect();
            assert_eq!(rules, dropped, "{deeds}");
            assert_eq!(
                (row.get(Column::Merged), row.get(Column::Created)),
                (merged, created),
                "{deeds}"
            );
            assert_eq!(
                (row.get(Column::In), row.get(Column::Out)),
                (3, out as u64),
                "{deeds}"
            );
        }
        world.finish().await;
    };
    check("{}", 3, &[], 0, 0).await;
    check("{drop: true}", 2, &[("reshaped", 1)], 0, 0).await;
    check("{drop: true, double: true}", 4, &[("reshaped", 1)], 0, 2).await;
    check("{merge: true}", 1, &[], 2, 0).await;
    check("{silent: true}", 2, &[("unnamed", 1)], 0, 0).await;
    check("{empty: true}", 0, &[("reshaped", 3)], 0, 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_reshape_speaks_before_any_branch_has_the_payload() {
    let text = "in = {}\nreshape = {busy: true}\nout/a = {}\nout/b = {}\nlogs/1: in | | out/a\nlogs/2: in | reshape | out/b";
    let world = World::start(text, &[]).await;
    assert_eq!(
        world.send(logs(2)).await,
        Err(Refusal::Busy { retry_after: None })
    );
    assert!(world.script("out/a").sizes().is_empty());
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_a_reshape_is_one_payloads_alone() {
    let text = "in = {}\nreshape = {panic: true}\nout = {}\nlogs: in | reshape | out";
    let world = World::start(text, &[]).await;
    let refusal = world.send(logs(2)).await.expect_err("it panics");
    assert_eq!(refusal.code(), Code::INTERNAL);
    assert_eq!(world.row(pipeline("logs")).get(Column::In), 0);
    world.finish().await;
}

// --- ways ---

const TWO_WAYS: &str = "in = {}\nparts = {}\nout/a = {}\nout/b = {}\nlogs: in | | parts\nlogs/a: parts | | out/a\nlogs/b: parts | | out/b";

#[tokio::test(start_paused = true)]
async fn each_part_goes_its_way() {
    let world = World::start(TWO_WAYS, &[]).await;
    world.send(logs(5)).await.expect("taken");
    assert_eq!(
        (world.script("out/a").sizes(), world.script("out/b").sizes()),
        (vec![1], vec![1])
    );
    let row = world.row(Node::Connector("parts".into()));
    assert_eq!(
        (
            row.get(Column::In),
            row.get(Column::Out),
            row.dropped["left over"]
        ),
        (5, 2, 3)
    );
    world.finish().await;
    let text = TWO_WAYS.replace("parts = {}", "parts = {double: true}");
    let world = World::start(&text, &[]).await;
    world.send(logs(5)).await.expect("taken");
    let row = world.row(Node::Connector("parts".into()));
    assert_eq!(
        (
            row.get(Column::In),
            row.get(Column::Out),
            row.get(Column::Created)
        ),
        (5, 8, 3)
    );
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn where_one_way_refuses_what_another_took_is_a_duplicate() {
    let world = World::start(TWO_WAYS, &[("out/b", Script::new([Act::Retry]))]).await;
    let refusal = world.send(logs(2)).await.expect_err("one way refuses");
    assert!(refusal.is_retryable() && !matches!(refusal, Refusal::Busy { .. }));
    let connector = Node::Connector("parts".into());
    let to = |id: &str| edge_totals(&world.cx, connector.clone(), pipeline(id));
    assert_eq!((to("logs/a").duplicates(), to("logs/b").refused()), (1, 1));
    assert_eq!(world.row(connector.clone()).get(Column::In), 0);
    world.send(logs(2)).await.expect("taken");
    assert_eq!((to("logs/a").accepted(), to("logs/b").accepted()), (1, 1));
    assert_eq!(world.row(exporter("out/a")).get(Column::Out), 2);
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn gates_of_all_ways_speak_before_anything_moves() {
    let text = TWO_WAYS.replace("logs/b: parts | |", "gate = {busy: true}\nlogs/b: parts | gate |");
    let world = World::start(&text, &[]).await;
    assert_eq!(
        world.send(logs(2)).await,
        Err(Refusal::Busy { retry_after: None })
    );
    assert!(world.script("out/a").sizes().is_empty());
    world.finish().await;
}

// --- life ---

fn order() -> Vec<String> {
    BENCH.with_borrow_mut(|b| std::mem::take(&mut b.order))
}

#[tokio::test(start_paused = true)]
async fn what_lives_starts_before_receivers_and_stops_after_what_was_held_has_gone() {
    let text = "in = {}\nreshape = {}\ndedup = {}\nout = {}\nlogs: in | reshape dedup | out";
    let world = World::start(text, &[]).await;
    assert_eq!(order(), ["start out", "start dedup", "start reshape", "start in"]);
    world.send(logs(4)).await.expect("held");
    world.finish().await;
    assert_eq!(world.script("out").sizes(), [1]);
    assert_eq!(order(), ["stop in", "drain dedup", "stop reshape", "stop out"]);
}

#[tokio::test(start_paused = true)]
async fn a_processor_that_does_not_start_is_told_and_all_is_stopped() {
    BENCH.with_borrow_mut(|b| *b = Default::default());
    let text = "in = {}\nreshape = {fails: true}\nout = {}\nlogs: in | reshape | out";
    let graph = Graph::build(tests::spec(text), &context()).unwrap_or_else(|faults| panic!("{faults:?}"));
    let fault = graph.start(Arc::<Reports>::default()).await.expect_err("as told");
    assert_eq!(
        fault.to_string(),
        "cannot start pipelines: failed to start \"reshape\" processor: as told"
    );
    assert_eq!(
        order(),
        ["start out", "start reshape", "stop reshape", "stop out"]
    );
}

#[tokio::test(start_paused = true)]
async fn what_stays_in_a_reload_is_neither_started_nor_stopped_again() {
    let old = "in = {}\nreshape = {}\nreshape/b = {}\ndedup = {}\nout = {}\nlogs: in | reshape reshape/b dedup | out";
    let new = old.replace("reshape/b = {}", "reshape/b = {drop: true}");
    let mut world = World::start(old, &[]).await;
    world.send(logs(2)).await.expect("held");
    order();
    let retired = reload(&mut world, old, &new).await.expect("takes over");
    assert_eq!(order(), ["start reshape/b"]);
    drained(retired).await;
    assert_eq!(order(), ["stop reshape/b"]);
    world.send(logs(3)).await.expect("held");
    world.finish().await;
    assert_eq!(
        world.script("out").sizes(),
        [1, 1],
        "what was held before the reload is there"
    );
}

#[tokio::test(start_paused = true)]
async fn a_connector_that_chooses_is_built_anew_when_its_pipelines_change() {
    let new = TWO_WAYS.replace("logs/a: parts | | out/a\n", "logs/c: parts | | out/a\n");
    let mut world = World::start(TWO_WAYS, &[]).await;
    world.send(logs(2)).await.expect("taken");
    let retired = reload(&mut world, TWO_WAYS, &new).await.expect("takes over");
    world.send(logs(2)).await.expect("taken");
    drained(retired).await;
    assert_eq!(
        (world.script("out/a").sizes(), world.script("out/b").sizes()),
        (vec![1, 1], vec![1, 1])
    );
    // And it goes on where they are the same, whatever is behind them.
    let newer = new.replace(
        "logs/c: parts | | out/a",
        "stage = {edit: true}\nlogs/c: parts | stage | out/a",
    );
    let retired = reload(&mut world, &new, &newer).await.expect("takes over");
    world.send(logs(2)).await.expect("taken");
    drained(retired).await;
    assert_eq!(world.script("out/a").sizes(), [1, 1, 1]);
    world.finish().await;
}

// --- chance ---

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        6 => Just(Act::Take),
        2 => (1..1000u64).prop_map(|ms| Act::TakeAfter(Duration::from_millis(ms))),
        1 => Just(Act::TakeBut(1)),
        3 => Just(Act::Retry),
        2 => Just(Act::Reject),
        1 => Just(Act::TooLarge),
        1 => Just(Act::Panic),
    ];
    prop::collection::vec(act, 0..20)
}

/// A tree of pipelines below connectors that choose, each pipeline with some stages and an exporter.
fn text() -> impl Strategy<Value = String> {
    let stages = prop::sample::subsequence(
        vec![
            "stage/edit",
            "stage/drop",
            "reshape/drop",
            "reshape/merge",
            "reshape/double",
            "reshape/silent",
            "gate",
            "dedup",
            "batch",
        ],
        0..=5,
    )
    .prop_shuffle();
    let connector = prop_oneof![Just("{}"), Just("{double: true}")];
    let queue = prop_oneof![
        Just("{}"),
        Just("{sending_queue: {queue_size: 3, num_consumers: 2}}")
    ];
    (
        prop::collection::vec(stages, 6),
        prop::collection::vec(connector, 2),
        prop::collection::vec(queue, 3),
    )
        .prop_map(|(stages, connectors, queues)| {
            let mut text = String::from(
                "in = {}\nstage/edit = {edit: true}\nstage/drop = {drop_first: true}\nreshape/drop = {drop: true}
                 reshape/merge = {merge: true}\nreshape/double = {double: true}\nreshape/silent = {silent: true}
                 gate = {}\ndedup = {}\nbatch = {}\n",
            );
            for (at, connector) in connectors.iter().enumerate() {
                text += &format!("parts/{at} = {connector}\n");
            }
            for (id, queue) in ["a", "b", "c"].iter().zip(&queues) {
                text += &format!("out/{id} = {queue}\n");
            }
            let ways = [
                ("in", "parts/0 out/a"),
                ("parts/0", "out/a"),
                ("parts/0", "parts/1"),
                ("parts/1", "out/b"),
                ("parts/1", "out/c"),
                ("parts/0 parts/1", "out/b out/c"),
            ];
            for (at, ((from, to), stages)) in ways.iter().zip(&stages).enumerate() {
                text += &format!("logs/{at}: {from} | {} | {to}\n", stages.join(" "));
            }
            text
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is made, merged, dropped or sent which way, and whoever refuses: the books balance when it is at rest.
    #[test]
    fn books_balance_whatever_goes_where(
        text in text(), a in acts(), b in acts(), c in acts(),
        sends in prop::collection::vec((1..8usize, 0..100u64), 1..12),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        runtime.block_on(async move {
            let scripts = [("out/a", Script::new(a)), ("out/b", Script::new(b)), ("out/c", Script::new(c))];
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
