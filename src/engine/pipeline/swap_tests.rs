//! One graph after another, with payloads under way.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use component::{BoxFuture, Fault};
use proptest::prelude::*;
use telemetry::Column;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::tests::{World, exporter, pipeline, spec};
use super::*;
use crate::test_kit::*;

/// Ids whose line is the same in both.
fn kept(old: &str, new: &str) -> Kept {
    let lines = |text: &str| -> BTreeSet<String> { text.lines().map(|l| l.trim().to_owned()).collect() };
    let (old, new) = (lines(old), lines(new));
    let mut kept = Kept::default();
    for line in old.intersection(&new) {
        let Some((id, _)) = line.split_once(" = ") else {
            continue;
        };
        let id = ComponentId::parse(id).expect("an id");
        match id.kind.as_str() {
            "in" => &mut kept.receivers,
            "out" | "otlp" => &mut kept.exporters,
            "forward" | "parts" => &mut kept.connectors,
            _ => &mut kept.processors,
        }
        .insert(id);
    }
    kept
}

/// Another configuration in the place of the one that runs.
pub(super) async fn reload(world: &mut World, old: &str, new: &str) -> Result<Retired, Fault> {
    let next = Graph::build_after(spec(new), &world.cx, &world.graph, &kept(old, new));
    let next = next.unwrap_or_else(|faults| panic!("{faults:?}"));
    let retired = next.take_over(&world.graph, Arc::<Reports>::default()).await?;
    world.graph = Arc::new(next);
    Ok(retired)
}

pub(super) fn drained(retired: Retired) -> BoxFuture<'static, ()> {
    Box::pin(retired.drain(Instant::now() + Duration::from_secs(30)))
}

#[tokio::test(start_paused = true)]
async fn what_is_queued_goes_to_the_successor_and_running_attempts_end() {
    let retries = "retry_on_failure: {initial_interval: 1h, max_interval: 1h, max_elapsed_time: 0}";
    let config = |size: u32| {
        format!(
            "in = {{}}\nout = {{{retries}, sending_queue: {{queue_size: {size}, num_consumers: 1}}}}\nlogs: in | | out"
        )
    };
    let (old, new) = (config(10), config(11));
    // The first is parked for an hour, the second is under way for two seconds, the third waits for it.
    let script = Script::new([Act::Retry, Act::TakeAfter(Duration::from_secs(2))]);
    let mut world = World::start(&old, &[("out", script.clone())]).await;
    let start = Instant::now();
    for n in 1..=3 {
        world.send(logs(n)).await.expect("queued");
        settle().await;
    }
    assert_eq!(script.sizes(), [1, 2]);
    let retired = reload(&mut world, &old, &new).await.expect("takes over");
    settle().await;
    assert_eq!(
        script.sizes(),
        [1, 2, 3, 1],
        "waiting and parked ones are sent at once"
    );
    world.send(logs(4)).await.expect("queued");
    drained(retired).await;
    assert_eq!(
        start.elapsed(),
        Duration::from_secs(2),
        "as long as the attempt takes"
    );
    assert_eq!(script.taken.lock().len(), 1 + 2 + 3 + 4);
    assert_eq!(world.row(exporter("out")).get(Column::Out), 10);
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_running_attempt_leaves_over_is_the_successors() {
    let config = |size: u32| {
        let retry = "retry_on_failure: {initial_interval: 1s, max_elapsed_time: 0}";
        format!(
            "in = {{}}\nout = {{timeout: 0, {retry}, sending_queue: {{queue_size: {size}}}}}\nlogs: in | | out"
        )
    };
    let (old, new) = (config(10), config(11));
    let script = Script::new([Act::Hang]);
    let mut world = World::start(&old, &[("out", script.clone())]).await;
    world.send(logs(5)).await.expect("queued");
    settle().await;
    let retired = reload(&mut world, &old, &new).await.expect("takes over");
    drained(retired).await;
    settle().await;
    assert_eq!(
        script.sizes(),
        [5, 5],
        "cut off at the deadline, and sent by the successor"
    );
    assert_eq!(world.row(exporter("out")).failed_all(), 0);
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_does_not_start_leaves_everything_as_it_was() {
    let old = "in = {}\nout = {}\nlogs: in | | out";
    let new =
        "in = {}\nin/taken = {}\nout = {timeout: 1s}\nout/more = {}\nlogs: in in/taken | | out out/more";
    let mut world = World::start(old, &[]).await;
    let fault = reload(&mut world, old, new)
        .await
        .err()
        .expect("the port is taken");
    assert_eq!(
        fault.to_string(),
        "cannot start pipelines: failed to start \"in/taken\" receiver: address already in use"
    );
    world.send(logs(2)).await.expect("goes on");
    assert_eq!(world.script("out").sizes(), [2]);
    assert_eq!(world.row(pipeline("logs")).get(Column::Out), 2);
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_payload_goes_all_the_way_where_it_began() {
    let old = "in = {}\nout = {}\nout/gone = {}\nlogs: in | | out out/gone";
    let new = "in = {}\nout = {}\nlogs: in | | out";
    let slow = Script::new([Act::TakeAfter(Duration::from_secs(1))]);
    let mut world = World::start(old, &[("out/gone", slow.clone())]).await;
    let output = world.output(Signal::Logs);
    let under_way = tokio::spawn(async move { output.consume(logs(3)).await });
    settle().await;
    let retired = reload(&mut world, old, new).await.expect("takes over");
    world.send(logs(4)).await.expect("taken");
    drained(retired).await;
    assert_eq!(under_way.await.expect("no panic"), Ok(Outcome::all()));
    assert_eq!((slow.sizes(), world.script("out").sizes()), (vec![3], vec![3, 4]));
    assert_eq!(slow.stopped.load(std::sync::atomic::Ordering::Relaxed), 1);
    world.finish().await;
}

// --- random configurations, payloads and troubles ---

#[derive(Clone, Debug)]
struct Step {
    /// Queue sizes of the exporters; 0 = no queue, none = no exporter. The first is always there.
    sizes: [u32; 2],
    second: bool,
    batch: bool,
    keeper: bool,
    forward: bool,
    sends: u8,
    retries: u8,
    /// Milliseconds until the next step.
    pause: u64,
}

impl Step {
    fn text(&self) -> String {
        let exporter = |id: &str, size: u32| {
            let queue = match size {
                0 => String::new(),
                size => format!(", sending_queue: {{queue_size: {size}, block_on_overflow: true}}"),
            };
            format!("{id} = {{retry_on_failure: {{initial_interval: 50ms, max_elapsed_time: 0}}{queue}}}\n")
        };
        let mut text = String::from("in = {}\nbatch = {}\nkeeper = {}\nstage = {edit: true}\n");
        text += &exporter("out/a", self.sizes[0]);
        let mut ends = "out/a".to_owned();
        if self.second {
            text += &exporter("out/b", self.sizes[1]);
            ends += " out/b";
        }
        let batch = if self.batch { " batch" } else { "" };
        let keeper = if self.keeper { "keeper " } else { "" };
        match self.forward {
            true => {
                text += "forward = {}\n";
                text +=
                    &format!("logs: in | {keeper}stage | forward\nlogs/behind: forward | {batch} | {ends}\n");
            }
            false => text += &format!("logs: in | {keeper}stage{batch} | {ends}\n"),
        }
        text
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = ([0_u32..3, 0..3], any::<[bool; 4]>(), 0_u8..6, 0_u8..4, 0_u64..300);
    let step = step.prop_map(
        |(sizes, [second, batch, keeper, forward], sends, retries, pause)| Step {
            sizes: sizes.map(|n| n * 20),
            second,
            batch,
            keeper,
            forward,
            sends,
            retries,
            pause,
        },
    );
    proptest::collection::vec(step, 2..7)
}

async fn live(steps: Vec<Step>) {
    let mut text = steps[0].text();
    let (a, b) = (Script::new([]), Script::new([]));
    let mut world = World::start(&text, &[("out/a", a.clone()), ("out/b", b.clone())]).await;
    let (mut retiring, mut sends) = (JoinSet::new(), JoinSet::new());
    let mut sent = Vec::new();
    for step in &steps {
        a.script((0..step.retries).map(|_| Act::Retry));
        for n in 1..=usize::from(step.sends) {
            let (output, payload) = (world.output(Signal::Logs), logs(n));
            let names = records(&payload);
            sends.spawn(async move { (output.consume(payload).await, names) });
        }
        settle().await;
        let next = step.text();
        let retired = reload(&mut world, &text, &next).await.expect("takes over");
        retiring.spawn(drained(retired));
        text = next;
        tokio::time::sleep(Duration::from_millis(step.pause)).await;
    }
    while let Some(done) = sends.join_next().await {
        let (answer, names) = done.expect("no panic");
        // Without a queue a caller hears of trouble, and keeps what it has.
        if answer.is_ok() {
            sent.extend(names);
        }
    }
    while let Some(done) = retiring.join_next().await {
        done.expect("no panic");
    }
    // A stop gives each batch one attempt only, and troubles may be left.
    while [exporter("out/a"), exporter("out/b")].map(|node| world.row(node).held()) != [0, 0] {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    a.forget();
    world.finish().await;
    let taken = a.taken.lock().clone();
    for name in &sent {
        assert_eq!(
            taken.iter().filter(|t| *t == name).count(),
            1,
            "record {name}: once"
        );
    }
    let failed = [exporter("out/a"), exporter("out/b")].map(|node| world.row(node).failed_all());
    assert_eq!(failed, [0, 0]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_or_doubled_and_the_books_balance(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        runtime.block_on(live(steps));
    }
}
